"""How a cell of labels is read: "A|B", lists of many kinds, their text, and flags."""

import ast
import collections
import dataclasses
import json
import re

import numpy as np

SEPARATORS = (";", ",", "/", "\t", " - ")  # which may stand between labels, "|" before them all
REPEATED = 0.75  # share of the pieces of split cells that must occur in other cells, too
LONGEST, LONGEST_LABEL = 1_000_000, 1_000  # signs of a cell, of a label
HALF = re.compile("[\ud800-\udfff]")  # of a character that no file can hold
HALVES = "Read the column anew in its own encoding, or use text.encode('utf-8', 'replace').decode()."
DEEPEST = 4  # brackets within brackets, in lists of dicts
GAPS = {"", "none", "nan", "nat", "<na>", "na", "null"}  # bare words in lists that are no labels
FLAGS = {"0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}

# A quoted string; one without its end goes to the end of the text, so that no text takes long.
QUOTED = r"""[bBuU]?'(?:[^'\\]|\\.)*+(?:'|\\?$)|[bBuU]?"(?:[^"\\]|\\.)*+(?:"|\\?$)"""
TOKEN = re.compile(
    rf"""\s*(?:(?P<text>{QUOTED})|(?P<scalar>(?:np|numpy)\.\w+\(\s*(?P<inner>{QUOTED}|[^()'"]*)\s*\))"""
    r"""|(?P<comma>,)|(?P<open>[\[{])|(?P<bare>[^\s,\[\]{}"'][^,\[\]{}"]*))""",
    re.DOTALL,
)
ARRAY = re.compile(r"^(?:np\.|numpy\.)?(?:array|set|frozenset|list|tuple)\((.*)\)$", re.DOTALL)
DTYPE = re.compile(r",\s*dtype\s*=.*$", re.DOTALL)
CLOSING = {"[": "]", "{": "}", "(": ")"}


class LabelError(ValueError):
    """A cell that holds no labels; `rule` and `fix` are the sentences about it."""

    def __init__(self, rule, fix):
        super().__init__(f"{rule} {fix}")
        self.rule, self.fix = rule, fix


@dataclasses.dataclass(frozen=True)
class Labels:
    """The labels of a cell.

    Attributes:
        names: list of different str, as they come; those of sets sorted.
        gaps: int, entries that hold nothing, such as None.
        whole: bool, whether all entries are whole numbers.
    """

    names: list
    gaps: int = 0
    whole: bool = False


def read_labels(cell, separator="|"):
    """`Labels` of a cell.

    Args:
        cell: str, bytes, list, tuple, set, array, dict of flags, list of dicts with a "name", their text, or a gap.
        separator: str, what stands between labels in strings without brackets.

    Raises:
        LabelError: a cell in none of these forms.

    Example:
        >>> read_labels("['War'\\n 'Crime']").names
        ['War', 'Crime']
        >>> read_labels({"War": 1, "Crime": 0}).names
        ['War']
    """
    if isinstance(cell, bytes):
        try:
            cell = cell.decode("utf-8")
        except UnicodeDecodeError as error:
            raise LabelError("Labels given as bytes must be UTF-8.", "Decode the column first.") from error
    if hasattr(cell, "as_py"):  # of Arrow
        cell = cell.as_py()
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, str):
        cell = _of_text(cell.strip(), separator)
    if isinstance(cell, dict):
        return _of_entries(_flagged(cell))
    if isinstance(cell, set | frozenset):
        labels = _of_entries(cell)
        return dataclasses.replace(labels, names=sorted(labels.names))
    if isinstance(cell, list | tuple):
        return _of_entries(cell)
    if is_gap(cell):
        return Labels([])
    fix = " A column of one number for each row is for MultiClass." if isinstance(cell, int | float | np.number) else ""
    raise LabelError("", f"Convert the column first.{fix}")


def entries_of(text):
    """What a string that is written as a list, a set or a dict stands for; the string itself where it is none.

    Raises:
        LabelError: a bracket that begins no list, a list in a list, or a text that is too long.

    Example:
        >>> entries_of("['a dog' 'a cat']"), entries_of("a dog")
        (['a dog', 'a cat'], 'a dog')
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise LabelError(f"A cell of labels must have at most {LONGEST:,} signs.", "Correct the cell.")
    return _bracketed(text) if text[:1] in ("[", "{") else text


def is_gap(value):
    """Whether a value is None, NaN, NaT or NA."""
    import pandas as pd

    return pd.api.types.is_scalar(value) and bool(pd.isna(value))


def flag(value):
    """True or False of a cell that says whether a label is there; None where it says neither."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return FLAGS.get(value.strip().lower())
    if isinstance(value, bool | np.bool_):
        return bool(value)
    try:
        return {0.0: False, 1.0: True}.get(float(value))
    except (TypeError, ValueError, OverflowError):
        return None


def _flagged(cell):
    """The keys of a dict whose values are true."""
    flags = {key: flag(value) for key, value in cell.items()}
    if None in flags.values():
        raise LabelError("", "Convert the column first.")
    return [key for key, there in flags.items() if there]


def _of_entries(entries):
    names, gaps, numbers = {}, 0, 0
    for entry in entries:
        name = _name(entry)
        if name == "":
            gaps += 1
            continue
        names[name] = True
        numbers += _is_whole(entry)
    return Labels(list(names), gaps, len(entries) > gaps == len(entries) - numbers)


def _is_whole(entry):
    return (
        isinstance(entry, int | float | np.integer | np.floating)
        and not isinstance(entry, bool)
        and entry == entry // 1
    )


def _name(entry):
    """The label of an entry of a list; '' of one that holds nothing."""
    if isinstance(entry, dict):
        if "name" not in entry:
            raise LabelError("", "Convert the column first.")
        entry = entry["name"]
    if isinstance(entry, bytes):
        entry = entry.decode("utf-8", "replace")
    if isinstance(entry, str):
        if len(entry) > LONGEST_LABEL:
            raise LabelError(f"A label must have at most {LONGEST_LABEL:,} signs.", "Correct the cell.")
        if HALF.search(entry):
            raise LabelError("A label must be text that UTF-8 can hold.", HALVES)
        return entry.strip()
    if is_gap(entry) or (isinstance(entry, float) and np.isinf(entry)):
        return ""
    if isinstance(entry, list | tuple | set | frozenset | dict) or getattr(entry, "ndim", 0):
        raise LabelError(
            "A list of labels must hold labels, not other lists.",
            "Flatten it first, for example [name for names in cell for name in names].",
        )
    return str(int(entry)) if _is_whole(entry) else str(entry)


# --- strings


def _of_text(text, separator):
    """What a string stands for: a list, a set, or a dict."""
    if len(text) > LONGEST:
        raise LabelError(f"A cell of labels must have at most {LONGEST:,} signs.", "Correct the cell.")
    wrapped = ARRAY.match(text)
    inner = _without_dtype(wrapped[1]) if wrapped else text
    if wrapped and not inner:
        return []
    if wrapped and inner[0] in CLOSING:
        text = inner
    if text[:1] in ("[", "{") or (
        text[:1] == "(" and text[-1] == ")" and re.match(r"\(\s*(['\"]|[\d., ]+\)$|\))", text)
    ):
        entries = _bracketed(text)
        return set(map(_hashable, entries)) if text[0] == "{" and isinstance(entries, list) else entries
    return [piece for piece in text.split(separator) if piece.strip()]


def _without_dtype(text):
    """The inside of NumPy's text of an array, without the dtype behind it."""
    behind = max(text.rfind("["), text.rfind("]")) + 1
    return (text[:behind] + DTYPE.sub("", text[behind:])).strip()


def _hashable(entry):
    return "" if is_gap(entry) else entry


def _bracketed(text):
    """The entries of a list, tuple or set that was written as text; or the dict.

    JSON, Python's literals, NumPy's text without commas, and words without quotes.
    """
    broken = LabelError(f"A label that begins with {text[0]!r} must be a JSON or Python list.", "Correct the cell.")
    if not text.endswith(CLOSING[text[0]]):
        raise broken
    bare = re.sub(QUOTED, "''", text, flags=re.DOTALL)
    if _depth(bare) > DEEPEST:
        raise broken
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if "{" in bare[1:] or (text[0] == "{" and ":" in bare):
        return _literal(text, bare, broken)
    return _entries(text[1:-1], broken)


def _depth(bare):
    depth = deepest = 0
    for sign in re.findall(r"[\[({\])}]", bare):
        depth += 1 if sign in CLOSING else -1
        deepest = max(deepest, depth)
    return deepest


def _literal(text, bare, broken):
    """A Python literal with dicts; `bare` is its text without what stands in quotes."""
    if re.search(r"[-+~]\s*[-+~]", bare):
        raise broken
    gaps = re.sub(rf"({QUOTED})|\b(?:nan|NaN|null|<NA>|NaT)\b", lambda match: match[1] or "None", text, flags=re.DOTALL)
    try:
        value = ast.literal_eval(gaps)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise broken from error
    return value


def _entries(text, broken):
    """Entries between brackets, one after the other."""
    entries, place, text = [], 0, text.rstrip()
    quoted = "'" in text or '"' in text
    while place < len(text):
        token = TOKEN.match(text, place)
        if token is None:
            raise broken
        place = token.end()
        if token["open"]:
            raise LabelError(
                "A list of labels must hold labels, not other lists.",
                "Flatten it first, for example [name for names in cell for name in names].",
            )
        if token["bare"]:
            entries += _bare(token["bare"].strip(), quoted)
        elif not token["comma"]:
            entries += _quoted(token["text"] or token["inner"], broken)
    return entries


def _bare(text, quoted):
    """Entries of words without quotes: numbers and gaps stand side by side, others are one label."""
    words = text.split()
    if "..." in words:
        raise LabelError(
            "Labels must be written in full, but NumPy left some out ('...') when it wrote this array as text.",
            "Write the column anew, for example with df['labels'].map('|'.join).",
        )
    values = [_word(word) for word in words]
    if quoted or all(not isinstance(value, str) for value in values):
        return values
    return [text]


def _word(word):
    """A word as a number or a gap, where it is one."""
    if word.lower() in GAPS:
        return None
    if len(word) > LONGEST_LABEL:
        return word
    try:
        return int(word)
    except ValueError:
        pass
    return float(word) if re.fullmatch(r"[+-]?(\d++\.?\d*|\.\d+)(e[+-]?\d+)?", word, re.IGNORECASE | re.ASCII) else word


def _quoted(text, broken):
    """The entry of a quoted string, or of words that NumPy wrote with its type."""
    if not re.match(r"[bBuU]?['\"]", text):
        return [_word(text.strip())]
    try:
        return [ast.literal_eval(text)]
    except (ValueError, SyntaxError) as error:
        raise broken from error


# --- what separates labels


def choose_separator(cells):
    """(what separates the labels of a column's cells, a sentence to tell or '').

    "|" where any cell has it. Else that of `SEPARATORS` which clearly makes labels that repeat: of all pieces of the
    distinct cells that have it, at least three in four occur in other distinct cells, too. So "Drama, War" is two labels where
    "War, Crime" and "Drama" are there as well, while "Sci-Fi, Fantasy and more" stays one. Where none does, "|".

    Args:
        cells: sequence of cells, of which strings without brackets are looked at.

    Example:
        >>> choose_separator(["Drama, War", "War, Crime", "Crime, Drama"])[0]
        ','
        >>> choose_separator(["Paris, France", "Lyon, France", "Nice, France"])[0]
        '|'
    """
    texts = {cell.strip() for cell in cells if isinstance(cell, str)}
    texts = sorted(text for text in texts if text and text[0] not in "[{(" and not ARRAY.match(text))
    if any("|" in text for text in texts):
        return "|", ""
    best, most = None, 0.0
    for separator in SEPARATORS:
        lists = [{piece.strip() for piece in text.split(separator)} - {""} for text in texts]
        counts = collections.Counter(piece for pieces in lists for piece in pieces)
        split = [piece for pieces in lists if len(pieces) > 1 for piece in pieces]
        share = sum(counts[piece] > 1 for piece in split) / max(1, len(split))
        if share >= REPEATED and share > most:
            best, most = separator, share
            labels = len(counts)
    if best is not None:
        return best, (
            f"is split at {best!r}, which makes {labels} labels of {len(texts)} different cells. Give separator={best!r} to say "
            "so, or separator='|' to keep cells whole."
        )
    for separator in SEPARATORS[:2]:
        if len(texts) > 1 and sum(separator in text for text in texts) > len(texts) / 2:
            return "|", (
                f"is not split: most cells hold {separator!r}, but the pieces do not repeat as labels do. Give "
                f"separator={separator!r} if it stands between labels, or separator='|' to say that it does not."
            )
    return "|", ""

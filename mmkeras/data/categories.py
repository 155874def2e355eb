"""Categories: cells as names, spelled in one way whatever the dtype they come in."""

import dataclasses
import hashlib
import re
import warnings

import numpy as np
import pandas as pd

from mmkeras import layers
from mmkeras.data.column import Claim, Column
from mmkeras.data.drift import MUCH, Drift, exceeds
from mmkeras.data.telling import shortened
from mmkeras.layers.cells import BLANKS

FEW = 20  # names that are surely a list
LONG = 1_000  # signs, from which on Python's patterns may take long
WRITTEN_OUT = 32  # numbers of a list that are spelled
MEASURED = re.compile(r"[^\w]*\d[\d.,]*+[^\d]+$")
MOST_BITS = 1023  # of a whole number that a float holds
MOST_KNOWN = 20_000  # names that are remembered, to tell how many cells hold others

# Spelling: [pattern, replacement] that Python and TensorFlow understand alike. Always:
ALWAYS = (
    (f"^[{BLANKS}]+|[{BLANKS}]+$", ""),
    (r"^([+-]?[0-9]+)\.0*$", r"\1"),  # 3.0 is 3
    (r"^([+-]?)\.([0-9]+)$", r"\10.\2"),
    (r"^\+([0-9])", r"\1"),
    (r"^-(0+)$", r"\1"),
    (r"^(?:TRUE|true)$", "True"),
    (r"^(?:FALSE|false)$", "False"),
    (r"^([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]00:00:00(?:\.0+)?$", r"\1"),  # a date that became a moment
)
# Unless two training strings differ by it alone, as "007" and "7", or "1.10" and "1.1".
UNLESS_TOLD_APART = (
    (r"^([+-]?)0+([0-9]+(?:\.[0-9]+)?)$", r"\1\2"),
    (r"^([+-]?[0-9]+\.[0-9]*[1-9])0+$", r"\1"),
)
AS_TRUTHS = (("^1$", "True"), ("^0$", "False"))
AS_NUMBERS = (("^True$", "1"), ("^False$", "0"))


@dataclasses.dataclass(frozen=True)
class CategoryColumn(Column):
    """Names from a list, as str; '' for a missing one.

    3, 3.0, "3", "3.0" and " 3 " are one name, and so are True and "true", and a date and its midnight. "03" and "3" are one, too,
    unless training strings hold both.

    Args:
        rules: pairs of a regular expression and what replaces it, applied one after the other; `adapt` finds them.
        known: the names of the training cells, or () where they are too many to be remembered.
    """

    rules: tuple = ()
    known: tuple = ()

    reads = "category"
    reads_text = True

    def __post_init__(self):
        object.__setattr__(self, "rules", tuple(tuple(rule) for rule in self.rules))
        object.__setattr__(self, "known", tuple(self.known))

    def adapt(self, series):
        cells = factorize(series)[1]
        distinct, strings = _written(cells), sorted({cell.strip() for cell in cells if isinstance(cell, str)})
        rules = list(ALWAYS)
        for rule in UNLESS_TOLD_APART:
            apart = _merged(strings, [*rules, rule], rules)
            if apart:
                warnings.warn(
                    f"Column {series.name!r}: {shortened(apart[0])} and {shortened(apart[1])} are kept apart, as both occur. The column must be "
                    "read as text everywhere, for numbers lose such zeros.",
                    stacklevel=4,
                )
            else:
                rules.append(rule)
        names = {spelled(name, rules) for name in distinct} - {""}
        if names and names <= {"True", "False"}:
            rules += AS_TRUTHS
        elif names and names <= {"0", "1"}:
            rules += AS_NUMBERS
        known = tuple(sorted(names)) if len(names) <= MOST_KNOWN else ()
        return dataclasses.replace(self, rules=tuple(rules), known=known)

    def values(self, series):
        codes, distinct = factorize(series)
        names = [spelled(name, self.rules) for name in _written(distinct)]
        return np.array([*names, ""], dtype=object)[codes]

    def read(self, raw, name):
        return layers.Spell(self.rules, name=name)(raw) if self.rules else raw

    def claim(self, sample):
        different, codes = len(sample.distinct), sample.codes
        if not different or sample.holds_lists or sample.dtype_letter in "mM":
            return None
        strength, doubt = _strength(sample)
        if strength == 0:
            return None
        listed = ", ".join(_shown(cell) for cell in sample.distinct[:3]) + (", …" if different > 3 else "")
        if different == 1:
            why = f"only {listed}, or nothing: it says whether there is one"
        else:
            why = f"{different:,} names that recur, each {sample.repeated:,.1f} times on average: {listed}"
        return Claim(strength, why, self.reads, doubt, values=codes)

    def findings(self, series, values):
        found, present = [], values[values != ""]
        if self.usual is None and len(present) and (new := self._strange(present)).mean() > 0.5:
            found.append(_told_of(present, new))
        if len(present) and len(set(present)) > 0.9 * len(present) and len(present) >= 100:
            found.append(
                f"nearly every cell is another category ({len(set(present)):,} of {len(present):,}), as of an id"
            )
        return found

    @property
    def held(self):
        if not self.known:
            return f"more than {MOST_KNOWN:,} categories" if (self.usual or {}).get("known") else ""
        return f"{len(self.known):,} categories: {', '.join(_shown(name) for name in self.known[:5])}" + ", …" * (
            len(self.known) > 5
        )

    def summary(self, known):
        counts = np.unique(known.astype(str), return_counts=True)[1]
        return {"known": len(known), "once": int((counts == 1).sum())}

    def differs(self, known):
        """Unknown ones are told where they are more than those that only one training cell has, as many as Good and Turing expect to be new."""
        if not self.known or not len(known):
            return Drift()
        new = self._strange(known)
        share = float(new.mean())
        if not exceeds(int(new.sum()), len(new), self.usual["once"], self.usual["known"], noise=3):
            return Drift(share)
        return Drift(share, findings=((_told_of(known, new), share >= MUCH),))

    def _strange(self, known):
        return ~np.isin(known, self.known) if self.known else np.zeros(len(known), bool)


def _told_of(known, new):
    return f"{new.sum():,} of {len(known):,} cells hold categories that training never saw (for example {shortened(known[new][0])})"


def _strength(sample):
    """(strength, doubt) of a claim on cells that may be names from a list; strength 0 where they hardly repeat."""
    different = len(sample.distinct)
    if sample.dtype_letter == "b" or isinstance(sample.series.dtype, pd.CategoricalDtype):
        return 0.95, ""
    if different == 1:
        return (0.6, "") if (sample.codes < 0).any() else (0, "")
    if sample.repeated < 2:
        return (0, "") if sample.unique or sample.repeated < 1.2 else (0.45, "few of them recur")
    cells = np.asarray(sample.distinct, dtype=object)
    numbers = as_floats(pd.Series(cells))
    known = ~np.isnan(numbers)
    if known.mean() > 0.9:
        return _strength_of_numbers(numbers[known], [str(cell).strip() for cell in cells])
    if sample.share(MEASURED.match) > 0.5:
        return 0.5, "they look like numbers with units"
    if different <= FEW:
        return 0.85, "they have several words, which may say more: mm.Text reads those" if sample.words >= 4 else ""
    return (0.8 if sample.words < 2 else 0.7) - (0.1 if sample.repeated < 4 else 0), ""


def _strength_of_numbers(numbers, written):
    if (numbers % 1 != 0).any():
        return (0.45 if len(written) <= FEW else 0), ""
    if len(written) <= 2:
        return 0.8, ""
    if sum(text[0] == "0" and text[1:2].isdigit() for text in written) > 0.02 * len(written):
        return 0.9, ""
    return (0.55 if len(written) <= FEW else 0.4), ""


def _shown(cell):
    """A cell in a sentence: without NumPy's type, and a whole number, which a gap made a float, as an int."""
    cell = cell.item() if hasattr(cell, "item") else cell
    cell = int(cell) if isinstance(cell, float) and cell.is_integer() else cell
    return shortened(cell, 32)


def factorize(series):
    """((rows,) numbers of distinct cells, −1 where missing; the distinct cells), for cells of any kind."""
    try:
        return pd.factorize(series)
    except TypeError:  # lists and alike have no hash
        cells = np.empty(len(series), dtype=object)  # as a Series they would become Unicode, which not all are
        cells[:] = [None if gone else _text(cell) for cell, gone in zip(series, series.isna(), strict=True)]
        return pd.factorize(cells)


def _text(cell):
    """A cell as text that tells it from others; of many numbers it has the first, and a digest of all, for NumPy leaves some out."""
    if hasattr(cell, "__len__") and len(cell) > WRITTEN_OUT:
        try:
            numbers = np.asarray(cell, "float64")
        except (TypeError, ValueError, OverflowError):
            return str(cell)
        if numbers.ndim:
            digest = hashlib.blake2b(numbers.tobytes(), digest_size=8).hexdigest()
            return f"{np.ravel(numbers)[:3].tolist()}… {numbers.shape} {digest}"
    return str(cell)


def as_floats(series):
    """(rows,) float64 of cells as pandas reads them; NaN of what is no number, or more than a float holds.

    Example:
        >>> as_floats(pd.Series(["1.5", "x", 10**400], dtype=object))
        array([1.5, nan, nan])
    """
    try:
        numbers = pd.to_numeric(series, errors="coerce")
    except OverflowError:
        beyond = [isinstance(cell, int) and cell.bit_length() > MOST_BITS for cell in series]
        numbers = pd.to_numeric(series.mask(beyond), errors="coerce")
    return numbers.to_numpy("float64", na_value=np.nan)


def inferred(series):
    """Objects in the dtype that their values have; texts with half a character, which pandas cannot store otherwise, stay objects."""
    try:
        return series.infer_objects()
    except UnicodeEncodeError:
        return series


def group(frame):
    """(rows,) numbers of rows of equal cells, as the groups come; (rows,) bools of rows that hold nothing at all.

    Args:
        frame: pandas DataFrame of cells of any kind; '' counts as missing, and missing cells equal each other.

    Example:
        >>> group(pd.DataFrame({"a": ["x", "", "x", None], "b": [1, 2, 1, None]}))
        (array([0, 1, 0, 2]), array([False, False, False,  True]))
    """
    codes = np.empty((len(frame), len(frame.columns)), "int64")
    for place in range(len(frame.columns)):
        numbers, distinct = factorize(frame.iloc[:, place].astype(object))
        empty = np.array([isinstance(cell, str) and cell == "" for cell in distinct] + [True])
        codes[:, place] = np.where(empty[numbers], -1, numbers)
    _, first, numbers = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers.ravel()], (codes == -1).all(axis=1)


def _written(cells):
    """Distinct cells as they are written, stripped of their dtype."""
    if getattr(cells, "dtype", None) in ("float16", "float32"):  # an Index gives them as doubles, with more digits
        cells = np.asarray(cells)
    return [_name(cell) for cell in cells]


def _name(cell):
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, float | np.floating) and float(cell).is_integer():
        cell = int(cell)
    return str(cell).encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # NumPy drops zeros at the end


def spelled(name, rules):
    """A name after all rules, as `layers.Spell` gives it; which takes a moment, but no longer for long names."""
    if len(name) > LONG:
        return layers.Spell(rules).call([name]).numpy()[0].decode()
    for pattern, replacement in rules:
        name = _compiled(pattern).sub(re.sub(r"\\([0-9])", r"\\g<\1>", replacement), name)
    return name


def _compiled(pattern):
    return re.compile(pattern)  # Python keeps those it compiled


def _merged(strings, rules, before):
    """Two strings that `rules` make one and `before` do not, or None."""
    seen = {}
    for text in strings:
        name = spelled(text, rules)
        other = seen.setdefault(name, text)
        if spelled(other, before) != spelled(text, before):
            return other, text
    return None

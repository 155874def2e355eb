"""What cells hold that training cells did not, and when that is more than chance.

N = training cells that were looked at, n = cells that are compared with them, K = bins.
"""

import dataclasses
import functools
import math
import unicodedata

import numpy as np

MOST_ROWS = 10_000  # that are looked at, evenly spread
LEAST = 0.01  # share of cells from which on they are told
MUCH = 0.1  # share of cells from which on predictions suffer from them
LEAST_MISSING = 0.05  # by which the share of missing cells must have grown
FEWEST = 5  # cells that are told
ERRORS = 4  # standard errors that are no chance
CHANCE = 1e-4  # of being told of cells like those of training
SHIFTED = 0.25  # population stability index of a distribution that is another
BINS = 10
LETTERS = 200  # of a text by which its script is told
SCRIPTS = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"}
FORMS = ("FULLWIDTH", "HALFWIDTH", "MODIFIER", "MATHEMATICAL", "COMBINING")  # of letters, which are no scripts


@dataclasses.dataclass(frozen=True)
class Drift:
    """How cells of a column differ from its training cells.

    Args:
        outside: float, share of known cells beyond what training held; NaN where nobody knows.
        shift: float, population stability index of numbers; NaN for others.
        findings: pairs of a sentence, and whether predictions may suffer.

    Example:
        >>> Drift(0.25, findings=(("a quarter is new", True),)).outside
        0.25
    """

    outside: float = math.nan
    shift: float = math.nan
    findings: tuple = ()


def spread(rows):
    """At most 10,000 rows of a pandas object, evenly spread."""
    return rows if len(rows) <= MOST_ROWS else rows.iloc[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(int)]


def exceeds(count, rows, before, rows_before, *, least=LEAST, noise=1.0):
    """Whether a share is larger than in training: by `least`, by five cells, and by four standard errors of two shares.

    Args:
        count: int of n = `rows`. before: int of N = `rows_before`.
        least: float, by how much it must have grown.
        noise: float, how much more the share of training varies than that of N independent cells.

    Example:
        >>> exceeds(60, 100, 2, 100), exceeds(3, 100, 2, 100)
        (True, False)
    """
    if count < FEWEST or not rows_before:
        return False
    both, usual = (count + before + 1) / (rows + rows_before + 2), (before + 1) / (rows_before + 2)
    error = math.sqrt(both * (1 - both) / rows + noise * usual * (1 - usual) / rows_before)
    return count / rows - before / rows_before > max(least, ERRORS * error)


def by_chance(count, rows, rows_before):
    """How probable it is that the `count` largest of n and N cells of one kind are all among the n.

    Example:
        >>> by_chance(1, 10, 30)
        0.25
    """
    places = np.arange(min(count, rows))
    return float(np.prod((rows - places) / (rows + rows_before - places)))


def range_of(known):
    """{"known": N, "low", "high"} of an array of numbers, or of dates as text; {} of nothing."""
    if not len(known):
        return {}
    low, high = min(known), max(known)
    return {
        "known": len(known),
        "low": getattr(low, "item", lambda: low)(),
        "high": getattr(high, "item", lambda: high)(),
    }


def beyond(usual, known, what, shown=str):
    """(share of known cells outside the range of training, findings).

    They are told from 1% on, and where fewer than one table in 10,000 of the same kind would hold so many of the smallest or largest.

    Args:
        usual: what `range_of` gave.
        known: (n,) array.
        what: str, the plural of what they are.
        shown: function of a value to str.
    """
    if "low" not in usual or not len(known):
        return math.nan, ()
    sides = [np.asarray(known < usual["low"], bool), np.asarray(known > usual["high"], bool)]
    outside = sides[0] | sides[1]
    share = float(outside.mean())
    chances = [by_chance(int(side.sum()), len(known), usual["known"]) for side in sides if side.any()]
    if outside.sum() < FEWEST or share < LEAST or min(chances, default=1) >= CHANCE:
        return share, ()
    text = (
        f"{outside.sum():,} of {len(known):,} {what} lie outside the range of training, {shown(usual['low'])} to {shown(usual['high'])} "
        f"(for example {shown(known[outside][0])})"
    )
    return share, ((text, share >= MUCH),)


def bins_of(known):
    """{"edges": [K − 1], "counts": [K], "median"} of numbers, cut where a tenth of them lies between two edges; {} of nothing.

    Example:
        >>> bins_of(np.array([0.0, 0.0, 0.0, 5.0]))["counts"]
        [3, 1]
    """
    if not len(known):
        return {}
    edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    edges = edges[edges < known.max()]
    return {
        "edges": edges.tolist(),
        "counts": _counts(edges, known),
        "median": float(np.quantile(known, 0.5, method="inverted_cdf")),
    }


def shift(usual, known, shown=str):
    """(population stability index of numbers against those of training, findings).

    Σ (pᵢ − qᵢ) ln(pᵢ / qᵢ) over bins that the deciles of training cut, half a cell added to each. It is told above .25, the usual rule, and above what
    samples of this size reach by chance: (1/n + 1/N) times the quantile of χ² with K − 1 degrees of freedom that one in 10,000 exceeds
    (Yurdakul, 2018, https://scholarworks.wmich.edu/dissertations/3208).

    Args:
        usual: what `bins_of` gave.
        known: (n,) array.
        shown: function of a value to str.
    """
    if len(usual.get("counts", ())) < 2 or not len(known):
        return math.nan, ()
    before, after = (np.array(each) + 0.5 for each in (usual["counts"], _counts(usual["edges"], known)))
    p, q = after / after.sum(), before / before.sum()
    index = float(np.sum((p - q) * np.log(p / q)))
    if index <= max(SHIFTED, (1 / len(known) + 1 / sum(usual["counts"])) * _chi_square(len(p) - 1)):
        return index, ()
    middle = shown(np.quantile(known, 0.5, method="inverted_cdf"))
    text = (
        f"the numbers are distributed otherwise than in training: their median is {middle}, then {shown(usual['median'])} "
        f"(population stability index {index:.2f})"
    )
    return index, ((text, True),)


def _counts(edges, known):
    places = np.searchsorted(np.asarray(edges, "float64"), np.asarray(known, "float64"), side="left")
    return np.bincount(places, minlength=len(edges) + 1).tolist()


def _chi_square(freedom, normal=3.719):
    """The quantile that `CHANCE` exceeds, by Wilson and Hilferty (1931); `normal` is that of a normal variable."""
    return freedom * (1 - 2 / (9 * freedom) + normal * math.sqrt(2 / (9 * freedom))) ** 3


def script_of(text):
    """The script of most of the first letters of a text, by Unicode's names of them; '' without letters.

    Example:
        >>> [script_of(text) for text in ("Ein Café", "Война и мир", "東京", "こんにちは", "12!")]
        ['Latin', 'Cyrillic', 'Han', 'Kana', '']
    """
    letters = [sign for sign in text[: 2 * LETTERS] if sign.isalpha()][:LETTERS]
    if not letters or text.isascii():
        return "Latin" if letters else ""
    counts = {}
    for letter in letters:
        script = _script(letter)
        counts[script] = counts.get(script, 0) + 1
    return max(counts, key=counts.get)


@functools.lru_cache(4096)
def _script(letter):
    words = [word for word in unicodedata.name(letter, "UNKNOWN").split() if word not in FORMS]
    return SCRIPTS.get(words[0], words[0].title()) if words else "Unknown"


def scripts_of(texts):
    """{script: texts}, most first, of those that have letters.

    Example:
        >>> scripts_of(["a", "b", "мир", ""])
        {'Latin': 2, 'Cyrillic': 1}
    """
    counts = {}
    for text in texts:
        script = script_of(text)
        if script:
            counts[script] = counts.get(script, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))

"""Vectors: cells that hold a list of numbers, such as features that were computed elsewhere."""

import dataclasses
import math

import numpy as np
import pandas as pd

from mmkeras.data.column import Claim, Column
from mmkeras.data.numbers import is_gap, tell_missing
from mmkeras.data.telling import quiet, shortened

FEWEST, FEWEST_BARE = (
    2,
    8,
)  # numbers that make a vector; without brackets, fewer may be a date or a number with blanks in it
NEARLY = 0.95  # share of cells that makes "nearly all"
BRACKETS = ("[]", "()")
NOTHING = np.zeros(0, "float32")
UNKNOWN = ("none", "null", "na", "<na>")  # how None, JSON and pandas stand in lists that were written as text


@dataclasses.dataclass(frozen=True)
class VectorColumn(Column):
    """Vectors of one length D, as (rows, D) float32; NaN in all of a missing one.

    Cells are lists, tuples, arrays of one axis, or text: "[0.1, 0.2]", "(0.1, 0.2)", "0.1, 0.2", "[0.1 0.2]", "0.1 0.2", with decimal
    points. None, NaN, "", words such as "NA", and lists without entries are missing. So are, with a warning, cells that are no lists of
    numbers, and lists with NaN, infinities or more than single precision holds (3.4e38) among their numbers.

    Args:
        size: int, D; None is found by `adapt`.
    """

    size: int | None = None

    reads = "vector"
    dtype = "float32"

    @property
    def shape(self):
        return (self.size,)

    @property
    def how(self):
        return f"of {self.size} numbers" if self.size else ""

    def adapt(self, series):
        size = next((len(vector) for vector in vectors_of(series) if vector is not None and len(vector)), None)
        if size is None:
            cells = series.dropna().astype(object)
            example = f" (for example {shortened(cells.iloc[0])})" if len(cells) else ""
            raise ValueError(
                f"A column of vectors must hold lists of numbers. Received: {series.name!r}, without any{example}. "
                "Give columns of numbers to `Tabular`, or several of them to one `Vector`."
            )
        return dataclasses.replace(self, size=size)

    def values(self, series):
        """(rows, D) float32 of a pandas Series.

        Raises:
            ValueError: a vector of another length than the others.
        """
        vectors, gaps = list(vectors_of(series)), series.isna().to_numpy(dtype=bool)
        filled = [row for row, vector in enumerate(vectors) if vector is not None and len(vector)]
        size = self.size or (len(vectors[filled[0]]) if filled else 0)
        wrong = next((row for row in filled if len(vectors[row]) != size), None)
        if wrong is not None:
            raise ValueError(
                f"All vectors of a column must have the same length. Received: {len(vectors[wrong])} numbers in row "
                f"{_label(series, wrong)} of {series.name!r}, where the first vector has {size}. Correct the row, or leave its cell empty."
            )
        values = np.full((len(vectors), size), np.nan, "float32")
        if filled:
            values[filled] = np.stack([vectors[row] for row in filled])
        tell_missing(np.array([vector is None for vector in vectors]) & ~gaps, series, "no lists of numbers")
        broken = np.zeros(len(vectors), bool)
        broken[filled] = ~np.isfinite(values[filled]).all(axis=1)
        tell_missing(broken, series, "lists with NaN or infinity among their numbers")
        values[broken] = np.nan
        return values

    def digests(self, values):
        return [row.tobytes() for row in values]

    def gaps(self, values):
        return np.isnan(values).all(axis=1)

    def claim(self, sample):
        fewest = FEWEST
        if sample.lists is None and sample.share(lambda text: text[:1] + text[-1:] in BRACKETS) < NEARLY:
            fewest = FEWEST_BARE
        some = [vector for vector in map(_vector, sample.lists or sample.texts or ()) if vector is None or len(vector)]
        lengths = {len(vector) for vector in some if vector is not None}
        read = sum(vector is not None for vector in some)
        if len(lengths) != 1 or min(lengths) < fewest or read < NEARLY * len(some):
            return None
        try:
            with quiet():
                values = self.values(sample.series)
        except ValueError:  # other lengths farther down
            return None
        known = values[~self.gaps(values)]
        if not len(known):
            return None
        doubt = ""
        if (known == np.floor(known)).all():
            doubt = "they are whole numbers, as of names from a list, whose size says nothing"
        return Claim(0.97, f"lists of {known.shape[1]} numbers each", self.reads, doubt)


def vectors_of(series):
    """For each cell, see `_vector`; nothing for one that is missing."""
    gaps = series.isna().to_numpy(dtype=bool)
    for cell, gone in zip(series.to_numpy(dtype=object), gaps, strict=True):
        yield NOTHING if gone else _vector(cell)


def _vector(cell):
    """(D,) float32 of a cell, D = 0 where it says that there is nothing; None where it is no list of numbers."""
    if isinstance(cell, str | bytes | bytearray):
        cell = _entries(cell if isinstance(cell, str) else bytes(cell).decode("utf-8", "replace"))
    try:
        vector = _array(cell)
    except TypeError:  # perhaps of pandas' NA, as lists of its nullable integers have them
        try:
            vector = _array([None if entry is pd.NA else entry for entry in cell])
        except (TypeError, ValueError, OverflowError):
            return None
    except (ValueError, OverflowError):
        return None
    return vector if vector.ndim == 1 else None


def _array(cell):
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(cell, dtype="float32")


def _entries(text):
    """The numbers of a list that is written as text; None where there are others."""
    text = text.strip()
    if is_gap(text):
        return []
    text = text[1:-1] if text[:1] + text[-1:] in BRACKETS else text
    parts = text.rstrip(", \t\n").split(",") if "," in text else text.split()
    try:
        return [float(part) for part in parts]
    except ValueError:
        parts = [math.nan if part.strip().lower() in UNKNOWN else part for part in parts]
    try:
        return list(map(float, parts))
    except ValueError:
        return None


def _label(series, row):
    """The index of a row, as a message shows it."""
    label = series.index[row]
    return shortened(getattr(label, "item", lambda: label)())

"""Some cells of a column, looked at once by everybody who may read them."""

import functools
import re

import numpy as np
import pandas as pd

from mmkeras.data.categories import factorize, inferred
from mmkeras.data.numbers import is_gap
from mmkeras.data.telling import shortened
from mmkeras.layers import count_words

MOST_TEXTS = 500  # of which words are counted
LONGEST_GAP = 8  # signs
WORD = re.compile(r"\w")
NEARLY = 0.95  # share of cells that makes "nearly all"


class Sample:
    """Cells of a column, and what is often asked of them.

    Args:
        series: pandas Series.

    Attributes:
        name, series: as given; objects of one kind in its dtype.

    Example:
        >>> sample = Sample(pd.Series(["a dog", "NA", "cats", "cats"], name="pet"))
        >>> len(sample.known), sample.codes.tolist(), sample.texts, sample.words
        (3, [0, -1, 1, 1], ['a dog', 'cats'], 1.5)
    """

    def __init__(self, series):
        self.name = series.name
        self.series = inferred(series) if series.dtype == object else series

    @functools.cached_property
    def _factorized(self):
        codes, distinct = factorize(self.series)
        gaps = np.array([_is_short(cell) and is_gap(cell) for cell in distinct] if self.may_hold_text else [], bool)
        if gaps.any():
            numbers = np.append(np.where(gaps, -1, np.cumsum(~gaps) - 1), -1)
            codes, distinct = numbers[codes], distinct[~gaps]
        return codes, distinct

    @functools.cached_property
    def dtype_letter(self):
        """NumPy's letter for the dtype: "i", "u", "f", "b", "m", "M", or "O" for all others."""
        return getattr(self.series.dtype, "kind", "O")

    @property
    def may_hold_text(self):
        return self.dtype_letter in "OSU" or isinstance(self.series.dtype, pd.CategoricalDtype)

    @property
    def codes(self):
        """(rows,) numbers of distinct cells; −1 for one that is missing, or a word such as "NA"."""
        return self._factorized[0]

    @property
    def distinct(self):
        """The distinct cells, in the order in which they come; lists and alike as text."""
        return self._factorized[1]

    @functools.cached_property
    def known(self):
        """pandas Series of the cells that hold something."""
        return self.series[self.codes >= 0]

    @functools.cached_property
    def count(self):
        """How many cells hold something."""
        return int((self.codes >= 0).sum())

    @property
    def repeated(self):
        """In how many cells a distinct one occurs, on average; 0 where all are empty."""
        return self.count / max(1, len(self.distinct))

    @property
    def unique(self):
        """Whether nearly no cell occurs twice."""
        return self.count > 1 and len(self.distinct) >= NEARLY * self.count

    @functools.cached_property
    def holds_lists(self):
        """Whether any cell holds others, as lists, arrays and dicts do: such cells cannot be compared."""
        return self.dtype_letter == "O" and any(map(_is_list, self.series))

    @functools.cached_property
    def texts(self):
        """The distinct cells as list of str, where all are text; else None."""
        if not self.may_hold_text:
            return None
        cells = np.asarray(self.distinct, dtype=object)
        if self.holds_lists or not all(isinstance(cell, str) for cell in cells):
            return None
        return [cell.strip() for cell in cells]

    @functools.cached_property
    def lists(self):
        """Some cells that hold others, such as lists, arrays and dicts, where nearly all do; else None."""
        if not self.may_hold_text:
            return None
        cells = self.known.head(MOST_TEXTS).tolist()
        lists = [cell for cell in cells if _is_list(cell)]
        return lists if lists and len(lists) >= NEARLY * len(cells) else None

    @functools.cached_property
    def _words(self):
        texts = (self.texts or [])[:MOST_TEXTS]
        counts = np.array([sum(map(bool, map(WORD.search, text.split()))) for text in texts], int)
        beyond = [place for place, text in enumerate(texts) if not text.isascii()]
        if beyond:
            counts[beyond] = count_words([texts[place] for place in beyond])
        return counts

    @property
    def words(self):
        """Words of a distinct text, on average; 0 where there are none."""
        return float(self._words.mean()) if len(self._words) else 0.0

    @property
    def most_words(self):
        """Words that nearly no text exceeds."""
        return int(np.quantile(self._words, 0.99)) if len(self._words) else 0

    def share(self, flag):
        """Share of some distinct texts for which a function says yes; 0 where cells are no text."""
        texts = (self.texts or [])[:MOST_TEXTS]
        return sum(map(bool, map(flag, texts))) / len(texts) if texts else 0.0


def _is_list(cell):
    return hasattr(cell, "__iter__") and not isinstance(cell, str | bytes | bytearray | memoryview)


def _is_short(cell):
    return isinstance(cell, str | bytes) and len(cell) <= LONGEST_GAP


def shown(value, most=40):
    """A cell, as a sentence shows it."""
    if isinstance(value, float | np.floating):
        return f"{value:,.6g}"
    return shortened(getattr(value, "item", lambda: value)(), most)

"""Texts: cells of any dtype as strings."""

import numpy as np
import pandas as pd

from mmkeras.data.column import Column
from mmkeras.data.examples import sentences
from mmkeras.data.telling import tell
from mmkeras.layers.scripts import valid

LARGEST_WHOLE = 2**53  # beyond it, floats skip whole numbers


class TextColumn(Column):
    """Texts, as str; '' for a missing one. See `texts`."""

    reads = "text"
    words = True
    reads_text = True

    def values(self, series):
        return texts(series)

    def lengths(self, values):
        return np.array([len(value) for value in values])

    def examples(self):
        return sentences()


def texts(series):
    """A column as a NumPy array of str: equal values are equal texts in any dtype, and missing ones are ''.

    Bytes are read as UTF-8. A whole number is written without decimals, as 3 for 3.0: a gap makes floats of a column of integers.
    Everything else is its `str`. What is no Unicode becomes U+FFFD, with a warning.

    Args:
        series: pandas Series of any dtype.

    Example:
        >>> import pandas as pd
        >>> texts(pd.Series(["a", b"caf\\xc3\\xa9", 3.0, None], dtype=object)).tolist()
        ['a', 'café', '3', '']
    """
    if isinstance(series.dtype, pd.CategoricalDtype):
        names = texts(pd.Series(series.cat.categories, name=series.name))
        return np.append(names, np.array([""], dtype=object))[series.cat.codes]
    cells, missing = series.to_numpy(dtype=object), series.isna().to_numpy(dtype=bool)
    values = np.empty(len(cells), dtype=object)
    values[:] = ["" if gone else _text(cell) for cell, gone in zip(cells, missing, strict=True)]
    _tell(cells, values, series.name)
    return values


def _text(cell):
    if type(cell) is str:
        return cell if cell.isascii() else valid(cell)
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell).decode("utf-8", "replace")
    if isinstance(cell, float | np.floating) and abs(cell) < LARGEST_WHOLE and cell == int(cell):
        return str(int(cell))
    if isinstance(cell, np.datetime64):
        return str(pd.Timestamp(cell))
    return valid(str(cell))


def _tell(cells, values, name):
    """Warn of cells in which something had to be replaced."""
    wrong = [place for place, text in enumerate(values) if "\ufffd" in text and _is_broken(cells[place])]
    if wrong:
        tell(
            f"Column {name!r}: {len(wrong)} values are not valid Unicode (for example {cells[wrong[0]]!r:.200}); U+FFFD stands for "
            "what cannot be read. Decode bytes of other encodings first, for example with .str.decode('latin-1').",
            stacklevel=4,
        )


def _is_broken(cell):
    """Whether U+FFFD was put in for something, rather than being there before."""
    if isinstance(cell, bytes | bytearray | memoryview):
        return "\ufffd".encode() not in bytes(cell)
    return "\ufffd" not in str(cell)

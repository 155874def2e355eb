"""Cells that hold any number of files."""

import os

import numpy as np

from mmkeras.data.files import Files, as_cell
from mmkeras.data.ragged import Ragged
from mmkeras.data.telling import shortened

MAX_FILES = 100  # of a cell


class FileLists(Files):
    """A column of which each cell holds any number of files: `np.asarray(lists[3:5])` is (2, K) bytes, b"" behind a row's last file.

    A row keeps the files that can be used, in their order; one without any has a single b"".

    Args:
        cells: sequence of lists, tuples or arrays of what cells of `Files` hold, or of such cells themselves.
        index, column, attempt: see `Files`.
        separator: str between the paths in a cell of text; None where text is one path.
        max_files: int, the most files of a cell.
        **settings: of `Files`.

    Attributes:
        shape: (rows, None), as of a tensor.
        faulty, count: ints, how many files could not be read or used, and how many there are.

    Raises:
        FileNotFoundError, ValueError: as `Files`; a cell of too many files.

    Example:
        >>> lists = FileLists([[b"GIF8", None, b"BM"], None], np.arange(2), "photos", len)
        >>> np.asarray(lists).tolist(), np.asarray(lists[1:]).tolist()
        ([[b'GIF8', b'BM'], [b'', b'']], [[b'']])
    """

    def __init__(self, cells, index, column, attempt, *, separator=None, max_files=MAX_FILES, **settings):
        lists = [files_of(cell, column, separator) for cell in cells]
        lengths = np.array([len(files) for files in lists], int)
        long = np.flatnonzero(lengths > max_files)
        if len(long):
            raise ValueError(
                f"A cell may hold {max_files:,} files. Received: {lengths[long[0]]:,} in {_place(index, long[0], column)}; "
                f"{len(long)} of {len(lists)} cells hold more. Give fewer, or raise `max_files`."
            )
        self._rows = np.repeat(np.arange(len(lists)), lengths)  # of each file
        flat = [file for files in lists for file in files]
        self._files = _Flat([*flat, b""], index[self._rows], column, attempt, **settings)
        self._number(len(lists))

    def _number(self, rows):
        """Find the numbers of the files that are there, row by row."""
        there = np.array([bool(cell) for cell in self._files.cells])
        kept = np.flatnonzero(there)
        lengths = np.bincount(self._rows[kept], minlength=rows)
        empty = np.flatnonzero(lengths == 0)
        nothing = len(there) - 1
        numbers = np.concatenate([kept, np.full(len(empty), nothing)])
        order = np.argsort(np.concatenate([self._rows[kept], empty]), kind="stable")
        self._numbers = Ragged(numbers[order], np.maximum(lengths, 1), nothing)

    @property
    def shape(self):
        return (len(self), None)

    @property
    def faulty(self):
        return self._files.faulty

    @property
    def count(self):
        return self._files.count

    @property
    def digests(self):
        """Bytes for each row: the digests of its files, one after another."""
        own = self._files.digests
        return [b"".join(own[number] for number in row) for row in self._numbers.rows()]

    def parts(self):
        """(`Files` of all rows one after another, (rows,) how many of them each row has)."""
        return self._files[self._numbers.values], self._numbers.lengths

    def examine(self):
        changed = self._files.examine()
        if changed:
            self._number(len(self))
        return changed

    def marks(self):
        """`Ragged` (rows, K) of bytes where there is a file and b"" where there is none, without reading any."""
        return Ragged(self._files.marks()[self._numbers.values], self._numbers.lengths, b"")

    def __len__(self):
        return len(self._numbers)

    def __getitem__(self, rows):
        column = object.__new__(FileLists)
        column._files, column._numbers = self._files, self._numbers.take(rows)
        return column

    def __array__(self, dtype=None, copy=None):
        numbers = self._numbers[:]
        distinct, places = np.unique(numbers, return_inverse=True)
        return np.asarray(self._files[distinct])[places].reshape(numbers.shape)


class _Flat(Files):
    """The files of all rows, and a last cell that stands for "no file"."""

    @property
    def count(self):
        return len(self.cells) - 1


def files_of(cell, column, separator=None):
    """The files of a cell, a list of paths and bytes; see `FileLists`.

    Example:
        >>> files_of(["a.jpg", None], "photos"), files_of("a.jpg| b.jpg|", "photos", "|"), files_of(None, "photos")
        (['a.jpg'], ['a.jpg', 'b.jpg'], [])
    """
    if separator and isinstance(cell, str):
        cell = cell.split(separator)
    files = [as_cell(file, column) for file in (cell if holds_several(cell) else [cell])]
    return [file for file in files if file]


def holds_several(cell):
    """Whether a cell holds others, as lists, tuples and arrays do.

    Example:
        >>> holds_several(["a.jpg"]), holds_several("a.jpg"), holds_several(b"GIF8")
        (True, False, False)
    """
    return hasattr(cell, "__iter__") and not isinstance(cell, str | bytes | bytearray | memoryview | os.PathLike | dict)


def single_files(series):
    """The cells of a pandas Series, of which none may hold more than one file.

    Raises:
        ValueError: one does.
    """
    cells = list(series)
    for row, cell in enumerate(cells):
        if holds_several(cell):
            files = files_of(cell, series.name)
            if len(files) > 1:
                raise ValueError(
                    f"A cell must hold one image, as in the rows that were learnt from. Received: {len(files)} in "
                    f"{_place(series.index, row, series.name)}. Adapt to rows of which some hold lists, as `fit` does, or give `separator`."
                )
            cells[row] = files[0] if files else None
    return cells


def _place(index, row, column):
    label = index[row]
    return f"row {shortened(getattr(label, 'item', lambda: label)())} of {shortened(column)}"

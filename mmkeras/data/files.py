"""Cells that hold the bytes of a file or its path, read when they are needed."""

import collections
import concurrent.futures
import hashlib
import os
import re
import warnings

import numpy as np
import tensorflow as tf

from mmkeras.data.paths import NoFile, read, state_of
from mmkeras.data.recent import Recent
from mmkeras.data.telling import shortened

MAX_BYTES = 1 << 27  # of a file
HEAD = 16  # bytes that are looked at before the rest is read
KEPT = 1 << 26  # bytes of files that a column keeps after it has read them for their digests
Known = collections.namedtuple("Known", "fault digest tried")
_known = Recent(
    200_000
)  # (what, path, size, time of change) → Known, so that a file is read and tried once; about 100 MB
_faults = Recent(100_000)  # (what, digest) → fault, so that the bytes of a cell are tried once, too; about 20 MB


class Files:
    """A column of files as an array of bytes that is read piece by piece: `np.asarray(files[3:5])`.

    Args:
        cells: sequence of paths (str or os.PathLike), bytes, or missing values and '' for "no file".
        index: row labels, for messages.
        column: str, for messages.
        attempt: function of bytes that raises `tf.errors.OpError` when they cannot be used.
        on_error: "raise", or "missing" to take a file that cannot be used for no file, with a warning.
        trust: function of bytes → bool, whether they may go without an attempt until somebody calls `examine`; None
            trusts nothing.
        max_bytes: int; a longer file, or cell, cannot be used, and is not read.
        begins: function of a file's first `HEAD` bytes → bool, whether the rest is worth reading; else only they are tried.

    Attributes:
        faulty, count: ints, how many cells count as missing because they could not be read or used, and how many there are.

    Raises:
        FileNotFoundError, ValueError: a cell that cannot be read or used, when `on_error="raise"`.
    """

    what = "image"  # what a file holds, for messages

    def __init__(
        self, cells, index, column, attempt, *, on_error="raise", trust=None, max_bytes=MAX_BYTES, begins=None
    ):
        self.cells = [as_cell(cell, column, self.what) for cell in cells]
        self.faulty, self._kept = 0, {}  # row: bytes that were read for their digest, until they are asked for
        self._index, self._column, self._attempt, self._on_error = index, column, attempt, on_error
        self._max_bytes, self._begins = max_bytes, begins
        self._look(trust)

    def examine(self):
        """Attempt also what was trusted.

        Returns:
            bool, whether a cell turned out to be at fault, and counts as missing now.

        Raises:
            As the constructor does.
        """
        before = self.faulty
        self._look(None)
        return self.faulty > before

    @property
    def count(self):
        return len(self.cells)

    def _look(self, trust):
        kept, size = self._kept, sum(map(len, self._kept.values()))

        def look(row):
            nonlocal size
            known, data = self._examine(self.cells[row], trust, kept.get(row))
            if data is not None and row not in kept and size + len(data) <= KEPT:
                kept[row], size = data, size + len(data)  # threads may both find room: a file more does no harm
            return known

        with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            known = list(pool.map(look, range(len(self.cells))))
        faulty = [row for row, cell in enumerate(known) if cell.fault]
        self.faulty += len(faulty)
        if faulty:
            row = faulty[0]
            label = getattr(self._index[row], "item", lambda: self._index[row])()  # 3, not np.int64(3)
            where = f"row {shortened(label)} of {shortened(self._column)} holds {_shown(self.cells[row])}: {known[row].fault}"
            if self._on_error == "raise":
                kind = FileNotFoundError if "no file" in known[row].fault else ValueError
                raise kind(
                    f"Every {self.what} must be readable. Received: {where}. {len(faulty)} of {self.count} cells are at fault. "
                    "Correct them, leave the cells empty, or use on_error='missing'."
                )
            warnings.warn(f"{len(faulty)} of {self.count} {self.what}s count as missing: {where}.", stacklevel=3)
        for row in faulty:
            self.cells[row], known[row] = b"", Known("", _digest(b""), True)
            kept.pop(row, None)
        self.digests = [cell.digest for cell in known]

    def _examine(self, cell, trust, data=None):
        """(Known of a cell, the bytes of its file or None); from memory when its file has not changed, or `data` was read."""
        key, head = None, None
        try:
            if isinstance(cell, bytes):
                self._check_size(len(cell))
            else:
                key = (self.what, cell, *state_of(cell))
                self._check_size(key[2])
                known = _known.get(key)
                if known and (known.tried or trust):
                    return known, None
                if key[2] == 0:
                    return Known("a file of zero bytes", b"", True), None
                head = read(cell, HEAD) if self._begins is not None and data is None else None
            data = head if head and not self._begins(head) else _read(cell) if data is None else data
        except NoFile as error:
            return Known(str(error), b"", True), None
        digest = _digest(data)
        if not data:
            known = Known("", digest, True)
        elif _faults.get((self.what, digest)) is None and trust and trust(data):
            known = Known("", digest, False)
        else:
            known = Known(_fault(data, (self.what, digest), self._attempt), digest, True)
        if key is not None:
            _known.put(key, known)
        return known, data if key else None

    def _check_size(self, size):
        if size > self._max_bytes:
            raise NoFile(f"it has {size:,} bytes, more than `max_bytes`, {self._max_bytes:,}")

    def marks(self):
        """An array with bytes where there is a file and b"" where there is none, without reading any."""
        return np.array([b"file" if cell else b"" for cell in self.cells], dtype=object)

    def __len__(self):
        return len(self.cells)

    def __getitem__(self, rows):
        column = object.__new__(type(self))
        numbers = np.arange(len(self.cells))[rows]
        column.cells = [self.cells[i] for i in numbers]
        column._kept = {row: self._kept.pop(i) for row, i in enumerate(numbers.tolist()) if i in self._kept}
        column.digests = [self.digests[i] for i in numbers]
        return column

    def __array__(self, dtype=None, copy=None):
        values = np.empty(len(self.cells), dtype=object)
        values[:] = [
            self.convert(self._kept.pop(row) if row in self._kept else _read(cell))
            for row, cell in enumerate(self.cells)
        ]
        return values

    def convert(self, data):
        """What the graph reads of the bytes of a file."""
        return data


def examine(columns):
    """Attempt all files of the columns that hold any; returns whether one turned out to be at fault, see `Files`."""
    changed = [values.examine() for values in columns if isinstance(values, Files)]
    return any(changed)


def as_cell(cell, column, what="image"):
    """A path as str, or bytes; b"" for no file.

    Raises:
        TypeError: neither.
    """
    if isinstance(cell, bytes | bytearray | memoryview):
        return bytes(cell)
    if isinstance(cell, str | os.PathLike):
        return os.fspath(cell).strip() or b""
    import pandas as pd

    if pd.isna(cell) is True:  # of an array, it is an array
        return b""
    raise TypeError(
        f"Cells of {column!r} must be paths or bytes of {what} files, or empty. Received: {type(cell).__name__}. "
        "Convert the column first."
    )


def _read(cell):
    return cell if isinstance(cell, bytes) else read(cell)


def file_bytes(cell, max_bytes=MAX_BYTES):
    """The bytes of a cell of a column of files: a path, bytes, or b"" for an empty one.

    Raises:
        NoFile: no regular file, or one of more than `max_bytes`.

    Example:
        >>> file_bytes(b"GIF8"), file_bytes(None)
        (b'GIF8', b'')
    """
    cell = as_cell(cell, "image")
    size = len(cell) if isinstance(cell, bytes) else state_of(cell)[0]
    if size > max_bytes:
        raise NoFile(f"it has {size:,} bytes, more than {max_bytes:,}")
    return _read(cell) if size else b""


def _fault(data, key, attempt):
    """Why bytes cannot be used, or ''; from memory when they were tried before."""
    fault = _faults.get(key)
    if fault is None:
        try:
            attempt(data)
            fault = ""
        except tf.errors.OpError as error:
            fault = _sentence(error.message)
        _faults.put(key, fault)
    return fault


def _sentence(message):
    """What an operation complains of, without the names of functions, nodes and operations around it."""
    message = re.sub(r"\{\{.*?\}\}|\[Op:\w+\]|^.*root error\(s\) found\.|\(0\) [A-Z_]+:", "", message)
    lines = [line.strip() for line in message.splitlines()]
    line = next((line for line in lines if line.strip("[]")), "it cannot be decoded")
    refused = re.search(r"^\s*assertion failed: \[(.*)\]\s*$", message, re.MULTILINE)  # of ours, wherever it stands
    return (refused[1] if refused else line)[:300].rstrip(".")


def _digest(data):
    return hashlib.blake2b(data, digest_size=16).digest()


def _shown(cell):
    return f"{len(cell)} bytes" if isinstance(cell, bytes) else shortened(cell)


LOOKED_FOR = 200  # files of a column


def looks_like(sample, endings, beginnings):
    """(share of cells that are paths or bytes of a kind of file, share of the paths' files that are there) of a column.

    Args:
        sample: `data.sample.Sample`.
        endings: tuple of str, of paths, in lower case.
        beginnings: tuple of bytes that such files begin with; b"." stands for any byte.

    Example:
        >>> import pandas as pd
        >>> from mmkeras.data.sample import Sample
        >>> looks_like(Sample(pd.Series(["no such file.png", b"\\x89PNG"])), (".png",), (b"\\x89PNG",))
        (1.0, 0.5)
    """
    if not sample.may_hold_text or sample.holds_lists:
        return 0.0, 0.0
    cells = sample.known.drop_duplicates().head(LOOKED_FOR).tolist()
    patterns = [re.compile(re.escape(beginning).replace(rb"\.", b"."), re.DOTALL) for beginning in beginnings]
    there = []
    for cell in cells:
        if isinstance(cell, bytes | bytearray | memoryview):
            data = bytes(cell[:16])
            there += [True] if any(pattern.match(data) for pattern in patterns) else []
        elif isinstance(cell, str | os.PathLike) and os.fspath(cell).strip().lower().endswith(endings):
            there.append(_is_there(os.fspath(cell).strip()))
    return len(there) / max(1, len(cells)), sum(there) / max(1, len(there))


def _is_there(path):
    if "://" in path:
        return False  # looking for it may take long
    try:
        return os.path.isfile(path)
    except ValueError:
        return False

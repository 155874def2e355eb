"""Rows of a DataFrame, or of many files of Parquet or CSV, in blocks that are read where they are needed."""

import dataclasses
import functools
import glob
import io
import pathlib

import numpy as np
import pandas as pd

from mmkeras.data.columns import check_frame
from mmkeras.data.frames import as_frame, is_table
from mmkeras.data.tables import read_parts
from mmkeras.data.telling import shortened
from mmkeras.trunk.parquet import pyarrow

PLACES = 100  # row groups that a sample is read from, at most


@dataclasses.dataclass(frozen=True)
class Failure:
    """Rows that could not be encoded.

    Attributes:
        source: str, the file. first, last: ints, numbers of the rows in it, from 0. why: str.
    """

    source: str
    first: int
    last: int
    why: str

    def __str__(self):
        rows = f"row {self.first:,}" if self.first == self.last else f"rows {self.first:,} to {self.last:,}"
        return f"{self.source}, {rows}: {self.why}"


@dataclasses.dataclass(frozen=True)
class Block:
    """Some rows that follow each other.

    Attributes:
        source: str, the file, or "the DataFrame".
        start, count: ints, the first row in it, and how many.
        columns: tuple of names that are read.
        frame: DataFrame of the rows, where they are not to be read from the file.
    """

    source: str
    start: int
    count: int
    columns: tuple
    frame: object = None

    def read(self):
        """DataFrame of the rows."""
        if self.frame is not None:
            return self.frame
        arrow, tables, first = pyarrow(), [], 0
        with opened(self.source) as file, arrow.parquet.ParquetFile(file) as parquet:
            for group in range(parquet.metadata.num_row_groups):
                rows = parquet.metadata.row_group(group).num_rows
                if first < self.start + self.count and first + rows > self.start:
                    table = parquet.read_row_group(group, columns=list(self.columns))
                    tables.append(
                        table.slice(max(0, self.start - first), self.start + self.count - max(first, self.start))
                    )
                first += rows
        return _as_pandas(arrow, arrow.concat_tables(tables))


class RowBlocks:
    """All rows, in blocks.

    Args:
        rows: DataFrame; or a path, a pattern such as "rows/*.parquet", a URL of either, or a list of these.
        columns: names of the columns that are read.
        size: int, rows of a block.
        what: str, what an error calls its reader.

    Attributes:
        failures: list of `Failure`, of files that cannot be opened.

    Raises:
        FileNotFoundError: no file. KeyError: a column is not in the first file. ValueError: a file has other columns, or is of a kind
        that is not read in blocks. ImportError: pyarrow, or what reads a URL, is not there.
    """

    def __init__(self, rows, columns, size, what="encode_table"):
        self.columns, self.size, self.failures, self._what = tuple(columns), size, [], what
        self.frame = as_frame(rows, what) if is_table(rows) else None
        self.paths, self._rows = [], {}
        if self.frame is not None:
            check_frame(self.frame, self.columns, what)
            return
        self.paths = _paths(rows)
        self._check()

    @functools.cached_property
    def total(self):
        """How many rows there are; None where that is known only once they are read."""
        if self.frame is not None:
            return len(self.frame)
        return None if any(map(_is_csv, self.paths)) else sum(self._rows.values())

    def __iter__(self):
        if self.frame is not None:
            for start in range(0, len(self.frame), self.size):
                part = self.frame.iloc[start : start + self.size][list(self.columns)]
                yield Block("the DataFrame", start, len(part), self.columns, part)
        for path in self.paths:
            yield from self._text_blocks(path) if _is_csv(path) else self._parquet_blocks(path)

    def frames(self):
        """(`Block`, DataFrame of its rows) of all of them, in their order; a file is read once, from its beginning.

        Raises:
            OSError: a file of Parquet that is gone, or damaged, by its name.
        """
        if self.frame is not None:
            yield from ((block, block.frame) for block in self)
        for path in self.paths:
            start = 0
            for df in self._read(path):
                yield Block(path, start, len(df), self.columns), df
                start += len(df)

    def _read(self, path):
        """DataFrames of the rows of a file of Parquet."""
        arrow = pyarrow()
        try:
            with opened(path) as file, arrow.parquet.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(self.size, columns=list(self.columns)):
                    yield _as_pandas(arrow, arrow.Table.from_batches([batch])).reset_index(drop=True)
        except (OSError, ValueError) as error:  # pyarrow's errors are of these
            raise OSError(
                f"Files of rows must stay as they are while they are read. Received: {path!r}, which cannot be read any more: {error}. Write it again."
            ) from error

    def sample(self, rows):
        """DataFrame of about so many rows, spread evenly over the files and over the row groups of each; of text the first of each.

        What cannot be read is left out.
        """
        if self.frame is not None:
            return self.frame.iloc[_spread(len(self.frame), rows)]
        paths = [path for path in self.paths if _is_csv(path) or self._rows.get(path)]
        paths = [paths[place] for place in _spread(len(paths), min(rows, PLACES))]
        each, groups = -(-rows // max(1, len(paths))), PLACES // max(1, len(paths))
        parts = [part for path in paths for part in self._samples(path, each, groups)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(self.columns))

    def _samples(self, path, rows, groups):
        """DataFrames of so many rows of a file, from so many of its row groups."""
        if _is_csv(path):
            yield next(read_parts(path, rows, tell=lambda sentence: None))[0][list(self.columns)]
            return
        arrow = pyarrow()
        with opened(path) as file, arrow.parquet.ParquetFile(file) as parquet:
            numbers = _spread(parquet.metadata.num_row_groups, groups)
            for number in numbers:
                try:
                    table = parquet.read_row_group(number, columns=list(self.columns))
                except (OSError, ValueError):  # told when its block is read
                    continue
                yield _as_pandas(arrow, table.take(_spread(len(table), -(-rows // len(numbers)))))

    def _parquet_blocks(self, path):
        for start in range(0, self._rows.get(path, 0), self.size):
            yield Block(path, start, min(self.size, self._rows[path] - start), self.columns)

    def _text_blocks(self, path):
        start = 0
        try:
            for part, _ in read_parts(path, self.size, tell=lambda sentence: None):
                yield Block(path, start, len(part), self.columns, part[list(self.columns)])
                start += len(part)
        except ValueError as error:
            self.failures.append(Failure(path, start, start, f"it and all that follow cannot be read: {error}"))

    def _check(self):
        """Every file has the columns, of the same kinds as in the first."""
        known = None
        for path in self.paths:
            try:
                kinds = self._kinds(path)
            except (OSError, ValueError) as error:  # pyarrow's errors are of these
                self.failures.append(Failure(path, 0, 0, f"the file cannot be read: {error}"))
                continue
            known = known or (path, kinds)
            for name in self.columns:
                if name not in kinds and path == known[0]:
                    check_frame(pd.DataFrame({column: [0] for column in kinds}), [name], self._what)
                if kinds.get(name) != known[1][name]:
                    raise ValueError(
                        f"All files must have the same columns. Received: {shortened(name)}, which is {known[1][name]} in {known[0]!r} "
                        f"and {kinds.get(name, 'absent')} in {path!r}. Write that file again, or leave it out."
                    )
        if known is None:
            raise ValueError(f"Rows need a file that can be read. Received: {self.failures[0]}. Write it again.")

    def _kinds(self, path):
        """{column: name of its type} of a file."""
        if _is_csv(path):
            return dict.fromkeys(next(read_parts(path, 1))[0].columns, "text")
        with opened(path) as file, pyarrow().parquet.ParquetFile(file) as parquet:
            self._rows[path] = parquet.metadata.num_rows
            return {field.name: str(field.type).removeprefix("large_") for field in parquet.schema_arrow}


def _spread(count, most):
    """Up to `most` of the numbers below `count`, evenly spread."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def opened(path):
    """An open file of bytes; a URL's is read by fsspec."""
    if "://" not in path:
        return open(path, "rb")
    return _fsspec().open(path, "rb").open()


def _fsspec():
    try:
        import fsspec
    except ImportError as error:
        raise ImportError(
            "A URL needs the package fsspec. Received: a Python without it. Run `pip install 'mmkeras[parquet]'`."
        ) from error
    return fsspec


def _paths(rows):
    """Paths and URLs of all files that were named."""
    patterns, paths = [rows] if isinstance(rows, str | pathlib.PurePath) else list(rows), []
    for pattern in map(str, patterns):
        if "://" in pattern:
            system, place = _fsspec().core.url_to_fs(pattern)
            files = [system.unstrip_protocol(path) for path in sorted(system.glob(place))]
        else:
            files = sorted(glob.glob(str(pathlib.Path(pattern).expanduser()), recursive=True))
        if not files:
            raise FileNotFoundError(
                f"There is no file {pattern!r}. Give a path, or a pattern such as 'rows/*.parquet'."
            )
        paths += files
    for path in paths:
        if not path.endswith(".parquet") and ("://" in path or not _is_csv(path)):
            raise ValueError(
                f"Rows in blocks must be Parquet, or CSV on this machine. Received: {path!r}. Write it as Parquet."
            )
    return list(dict.fromkeys(paths))


def _is_csv(path):
    return any(ending in pathlib.PurePath(path).suffixes for ending in (".csv", ".tsv", ".txt"))


def _as_pandas(arrow, table):
    """A table as `data.tables.read_table` gives it of a file."""
    file = io.BytesIO()
    arrow.parquet.write_table(table, file)
    return as_frame(pd.read_parquet(file, dtype_backend="numpy_nullable"))

"""Tables in files: text with a separator, of any usual encoding and compression, and Parquet and Feather."""

import bz2
import codecs
import collections
import contextlib
import csv
import gzip
import io
import itertools
import lzma
import pathlib
import sys
import warnings
import zipfile
import zlib

import numpy as np
import pandas as pd

from mmkeras.data import columnar, encodings
from mmkeras.data.telling import shortened

SEPARATORS = (",", "\t", ";", "|")
OPENERS = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
BROKEN = (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, OSError, RuntimeError)
SAMPLE = 1 << 16  # bytes, or characters, that are looked at first
MOST_SAMPLED = 1 << 22  # bytes of lines that are not ASCII, from which an encoding is guessed
AT_ONCE = 20_000  # rows


def _warn(sentence):
    warnings.warn(sentence, stacklevel=5)


def read_table(path, sep=None, encoding=None, tell=_warn):
    """The table of a file: every cell as it is written, a str, and only the empty one missing.

    What numbers, dates and gaps such as "NA" are is for columns to say. Files of Parquet and Feather keep their dtypes.

    Args:
        path: a file of text, also in gzip, bz2, xz or a zip of one file; or a `.parquet` or `.feather` file.
        sep: str, what separates cells; None finds the one of comma, tab, ";" and "|" that fits header and first rows.
        encoding: str; None takes what the first bytes mark, or UTF-8, or what the text looks like.
        tell: function of a sentence about what was guessed; warns unless given.

    Returns:
        DataFrame with a fresh index.

    Raises:
        FileNotFoundError, IsADirectoryError: no file.
        ValueError: no table, such as a row of another length than the header, or a quote without end; the message names the line.
        ImportError: Parquet or Feather without pyarrow.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "a.csv")
        >>> _ = path.write_text("country,size\\nNA,007\\n,1\\n")
        >>> read_table(path).to_dict("list")
        {'country': ['NA', nan], 'size': ['007', '1']}
    """
    path = pathlib.Path(path).expanduser()
    _check(path)
    if path.suffix.lower() in columnar.READERS:
        return columnar.read(path)
    with _told_of(path):
        encoding, sep = _form(path, sep, encoding, tell)
        with _text(path, encoding) as file, _long_cells():
            columns = _quick(file, sep)
        if columns is not None:
            return _frame(*columns)
        with _text(path, encoding) as file, _long_cells():
            return _parsed(path, _records(path, file, sep), sep)[0]


def read_parts(path, rows, sep=None, encoding=None, *, tell=_warn):
    """The table of a file in parts, read when they are asked for: the same cells as `read_table` gives, whatever the parts.

    A file of Feather is in memory as a whole.

    Args:
        path, sep, encoding, tell: see `read_table`, whose errors these are; of a row, when its part is read.
        rows: int, most rows of a part.

    Yields:
        (DataFrame, share of the file that is read): rows are numbered on; without rows, one part.
    """
    path = pathlib.Path(path).expanduser()
    _check(path)
    is_text, done = path.suffix.lower() not in columnar.READERS, 0
    parts = _text_parts(path, rows, sep, encoding, tell=tell) if is_text else columnar.read_parts(path, rows)
    for df, share in parts:
        if isinstance(df.index, pd.RangeIndex):
            df.index = pd.RangeIndex(done, done + len(df))
        done += len(df)
        yield df, share


def read_lines(path, sep=None, encoding=None, *, mend=False, tell=_warn):
    """(DataFrame, list of the lines at which its rows begin) of a file of text.

    Args:
        path, sep, encoding, tell: see `read_table`, whose errors these are.
        mend: bool; whether short rows are filled and long ones left out, both told; else they are an error.
    """
    path = pathlib.Path(path).expanduser()
    _check(path)
    with _told_of(path):
        encoding, sep = _form(path, sep, encoding, tell)
        with _text(path, encoding) as file, _long_cells():
            return _parsed(path, _records(path, file, sep), sep, tell if mend else None)


# --- the file


def _check(path):
    if path.is_dir():
        raise IsADirectoryError(f"A table must be a file. Received: the folder {str(path)!r}. Give a file in it.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    if path.suffix.lower() in SHEETS:
        raise ValueError(
            f"A table must be text with a separator, Parquet or Feather. Received: the spreadsheet {str(path)!r}. Save it as CSV "
            "in UTF-8."
        )


@contextlib.contextmanager
def _bytes(path):
    """A file as it is before compression."""
    with open(path, "rb") as raw, _unpacked(path, raw) as file:
        yield file


@contextlib.contextmanager
def _unpacked(path, raw):
    """An open file as it is before compression."""
    suffix = path.suffix.lower()
    if suffix != ".zip":
        with OPENERS[suffix](raw) if suffix in OPENERS else contextlib.nullcontext(raw) as file:
            yield file
        return
    with zipfile.ZipFile(raw) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
        if len(names) != 1:
            raise ValueError(
                f"A zip must hold one file. Received: {str(path)!r} with {names}. Unpack it, and give one."
            )
        with archive.open(names[0]) as file:
            yield file


@contextlib.contextmanager
def _text(path, encoding):
    with _bytes(path) as file, _decoded(file, encoding) as text:
        yield text


def _decoded(file, encoding):
    return io.TextIOWrapper(file, encoding=encoding, newline="")


@contextlib.contextmanager
def _told_of(path):
    """Errors of damaged files and of wrong encodings, with the file's name."""
    try:
        yield
    except BROKEN as error:
        if getattr(error, "errno", None) is not None:  # the system's
            raise
        raise ValueError(
            f"A compressed table must be whole. Received: {str(path)!r}: {error}. Compress or copy it again."
        ) from error
    except UnicodeError as error:
        raise ValueError(
            f"A table must be text in one encoding. Received: {str(path)!r}, which is not in the encoding "
            f"{getattr(error, 'encoding', '?')!r}{_line_of(path, error)}. Give its `encoding`, such as cp1252, or save it in UTF-8."
        ) from error


@contextlib.contextmanager
def _long_cells():
    """Python's csv refuses cells of more than 128 KiB unless told otherwise."""
    before = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        yield
    finally:
        csv.field_size_limit(before)


# --- its encoding and its separator


def _form(path, sep, encoding, tell):
    """(encoding, what separates cells), as given or found."""
    encoding = _known(encoding) if encoding else _encoding(path, tell)
    if sep is not None:
        if len(sep) != 1 or sep in '"\r\n':
            raise ValueError(f"`sep` must be one character, and no quote. Received: {sep!r} for {str(path)!r}.")
        return encoding, sep
    with _text(path, encoding) as file:
        return encoding, _separator(path, file.read(SAMPLE), tell)


def _known(encoding):
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise ValueError(
            f"`encoding` must be one that Python knows. Received: {encoding!r}. Use for example cp1252."
        ) from error
    return "utf-8-sig" if name == "utf-8" else name


def _encoding(path, tell):
    """The encoding of a file; told unless it is marked or UTF-8."""
    with _bytes(path) as file:
        head = file.read(SAMPLE)
        encoding = encodings.marked(head)
        if encoding is not None:
            return encoding
        if b"\0" in head:
            raise ValueError(
                f"A table must be text. Received: {str(path)!r}, whose bytes are not. Give a CSV file; a compressed one by its own "
                "ending, such as .csv.gz."
            )
        decoder, sample, failed = codecs.getincrementaldecoder("utf-8")(), b"", None
        for data in itertools.chain([head], iter(lambda: file.read(1 << 20), b"")):
            try:
                decoder.decode(data) if failed is None else None
            except UnicodeDecodeError as error:
                failed = error
            if len(sample) < MOST_SAMPLED and not data.isascii():
                sample += b"\n".join(line for line in data.splitlines() if not line.isascii()) + b"\n"
        try:
            decoder.decode(b"", final=True) if failed is None else None
        except UnicodeDecodeError as error:
            failed = error
    if failed is None:
        return "utf-8"
    encoding = encodings.guess(sample)
    if encoding is None:
        raise failed
    tell(f"Read {str(path)!r} as {encoding}, for it is not in UTF-8. Give `encoding` if it is another.")
    return encoding


def _line_of(path, error):
    """Where a text breaks its encoding, where lines can be told."""
    encoding = getattr(error, "encoding", "utf-16")
    if encoding.startswith(("utf-16", "utf_16", "utf-32", "utf_32")):
        return ""
    with _bytes(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode(encoding)
            except UnicodeError:
                return f", as line {number} shows: {line[:60]!r}"
    return ""


def _separator(path, sample, tell):
    """What separates the cells of a text: in the header, and as often in the next rows if one does so."""
    lines = sample.splitlines(keepends=True)
    lines = lines[:-1] if len(sample) == SAMPLE and len(lines) > 1 else lines
    tabs = {".tsv", ".tab"} & {suffix.lower() for suffix in path.suffixes}
    best, most, equal = SEPARATORS[0], (False, 1), []
    for sep in sorted(SEPARATORS, key=lambda sep: tabs and sep != "\t"):
        with _long_cells():
            rows = [row for row in csv.reader(lines, delimiter=sep) if row][:100]
        widths = [len(row) for row in rows] or [0]
        score = (widths.count(widths[0]) > 0.9 * len(widths), widths[0])
        if widths[0] > 1 and score > most:
            best, most, equal = sep, score, []
        elif widths[0] > 1 and score == most:
            equal.append(sep)
    if equal or (best != "," and not (tabs and best == "\t")):
        tell(f"Read {str(path)!r} with {best!r} between cells. Give `sep` if it is another.")
    return best


# --- its rows


def _text_parts(path, rows, sep, encoding, *, tell):
    """(DataFrame, share that is read) of parts of at most `rows`."""
    size = max(path.stat().st_size, 1)
    with _told_of(path):
        encoding, sep = _form(path, sep, encoding, tell)
        with open(path, "rb") as raw, _unpacked(path, raw) as file, _decoded(file, encoding) as text, _long_cells():
            records = _records(path, text, sep)
            header, first = list(itertools.islice(records, 1)), True
            while (part := list(itertools.islice(records, rows))) or first:
                share = raw.tell() / size if len(part) == rows else 1.0
                yield _parsed(path, itertools.chain(header, part), sep)[0], share
                first = False


def _records(path, file, sep):
    """(line where it begins, cells) of each row that is not blank."""
    reader = csv.reader(file, delimiter=sep, strict=True)
    start = 1
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "end of data" in str(error):
                raise ValueError(
                    f"Every quote must be closed. Received: {str(path)!r}, in which a row begins in line {start} with a quote that "
                    f"is still open in line {reader.line_num}, the last. Close it, or double a quote that belongs to a cell."
                ) from error
            raise ValueError(
                f"A quoted cell ends with its quote. Received: {str(path)!r}, line {reader.line_num}, in the row that begins in "
                f"line {start}: {error}. Double a quote that belongs to a cell, or close one before."
            ) from error
        if cells is None:
            return
        if cells:
            yield start, cells
        start = reader.line_num + 1


def _quick(file, sep):
    """(names, columns of cells) where every row is whole; None where some are blank or of another length, or quotes are open."""
    reader = csv.reader(file, delimiter=sep, strict=True)
    try:
        names = next(reader, [])
        columns = [[] for _ in names]
        while rows := list(itertools.islice(reader, AT_ONCE)):
            if set(map(len, rows)) != {len(names)}:
                return None
            for column, cells in zip(columns, zip(*rows, strict=True), strict=True):
                column.extend(cells)
    except csv.Error:
        return None
    return (names, columns) if names else None


def _parsed(path, records, sep, tell=None):
    """(DataFrame, lines) of the records, the first of which is the header.

    Args:
        path, sep: for messages.
        records: see `_records`.
        tell: function that is told of rows that were mended; None to mend none.
    """
    names = next(records, (0, None))[1]
    if names is None:
        raise ValueError(f"A table must begin with a row of names. Received: {str(path)!r}, which is empty.")
    width, columns, lines, damaged = len(names), [[] for _ in names], [], []
    for line, cells in records:
        extra = any(cells[width:])  # empty cells to the right of the header say nothing
        if extra or len(cells) < width:
            damaged.append((line, cells))
            if tell is None:
                raise _ragged(path, names, damaged[0], sep)
        if not extra:
            lines.append(line)
            for column, cell in itertools.zip_longest(columns, cells[:width], fillvalue=""):
                column.append(cell)
    if damaged:
        tell(_mended(path, names, damaged))
    return _frame(names, columns), lines


def _frame(names, columns):
    df = pd.DataFrame({place: _cells(column) for place, column in enumerate(columns)})
    names = [name or f"Unnamed: {place}" for place, name in enumerate(names)]  # as pandas has them
    df.columns = names
    return df


def _cells(column):
    cells = np.array(column, dtype=object)
    cells[cells == ""] = np.nan
    return cells


def _ragged(path, names, row, sep):
    line, cells = row
    return ValueError(
        f"Every row must have as many cells as the header, {len(names)}. Received: {len(cells)} in line {line} of {str(path)!r}: "
        f"{shortened(cells, 100)}. Put quotes around cells that hold {sep!r}, correct the row, or give `sep` if cells are separated otherwise."
    )


def _mended(path, names, damaged):
    counts = collections.Counter("short" if len(cells) < len(names) else "long" for _, cells in damaged)
    what = [f"{counts['short']} short rows are filled with missing cells"] if counts["short"] else []
    what += [f"{counts['long']} long rows are left out"] if counts["long"] else []
    line, cells = damaged[0]
    return (
        f"{str(path)!r}: {' and '.join(what)}, for they have not the {len(names)} cells of the header, for example line {line}: "
        f"{shortened(cells, 100)}."
    )

"""Predictions of tables of any size: read, predicted and written part by part."""

import collections
import contextlib
import pathlib
import re
import sys
import time
import warnings

import pandas as pd

from mmkeras.data.check import warn_of_columns
from mmkeras.data.frames import column_label
from mmkeras.data.telling import shortened
from mmkeras.fitting.fitted import MOST_UNCHECKED
from mmkeras.persistence import writing

NOT_WRITTEN = (".tsv", ".xlsx", ".xls", ".feather", ".json", ".gz", ".bz2", ".xz", ".zip")
# Rows that are predicted together, always: the last digits of a row's predictions depend on those beside it.
BLOCK = 1024
GROUP = 64  # blocks of a row group of Parquet
# What differs in sentences that say the same of other rows.
NUMBERS_AND_EXAMPLES = re.compile(r"\(for example .*|: row .*|\d[\d,]*", re.DOTALL)


FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d.])")  # with which a spreadsheet's formulas begin


class _Differ(Exception):
    """Decisions say more than predictions only from here on."""


def first_predictions(fitted, parts):
    """The table of predictions of the first part."""
    plain, full, differ = _predicted(fitted, next(parts)[0])
    return full if differ else plain


def write_predictions(fitted, read, out):
    """Write the predictions of all rows to a file, which stays as it was unless all of them can be written.

    Args:
        fitted: `fitting.Fitted`.
        read: function that gives an iterator of (DataFrame, share of the table that is read), such as `tables.read_parts`.
        out: str, a file that ends in .parquet, or one of CSV.

    Returns:
        int, rows.
    """
    check_ending(out)
    try:
        return _write(fitted, read(), out)
    except _Differ:
        return _write(fitted, read(), out, decided=True)


def check_ending(out):
    """Refuse what would be CSV under the name of something else."""
    if pathlib.Path(out or "").suffix.lower() in NOT_WRITTEN:
        raise ValueError(f"--out is written as .csv or .parquet. Received: {out!r}. Use one of these endings.")


def blocks(parts, size=BLOCK):
    """(DataFrame, share) of `size` rows each, but for the last, from parts of any size; at least one."""
    held, count, first = [], 0, True
    for df, share in parts:
        held, count = [*held, df] if count else [df], count + len(df)
        if count < size:
            continue
        df, full, first = pd.concat(held) if len(held) > 1 else df, count - count % size, False
        for start in range(0, full, size):
            yield df.iloc[start : start + size], share
        held, count = [df.iloc[full:]], count - full
    if count or first:
        yield pd.concat(held) if len(held) > 1 else held[0], 1.0


def _write(fitted, parts, out, decided=False):
    """Write predictions, with the decisions where they say more; raise `_Differ` where rows are written without them by then."""
    as_parquet, rows = pathlib.Path(out).suffix.lower() == ".parquet", 0
    with (
        writing(out) as file,
        (_parquet if as_parquet else _csv)(file) as write,
        _progress() as show,
        _hearing() as once,
    ):
        for df, share in blocks(parts):
            with once():
                plain, full, differ = _predicted(fitted, df)
                if not rows:
                    what = f"first {BLOCK:,} rows" if len(df) == BLOCK else "rows"
                    warn_of_columns(df, fitted.trunk.modalities, f"{what} to predict", MOST_UNCHECKED)
            if differ and rows and not decided:
                raise _Differ
            decided = decided or differ
            write(full if decided else plain)
            rows += len(df)
            show(rows, share)
    return rows


def _predicted(fitted, df):
    """(predictions as `Pipeline.predict` gives them, the same behind decisions, whether those say more) of some rows."""
    if not len(df):
        plain, full, differ = _predicted(fitted, df.reindex([0]))
        return plain.iloc[:0], full.iloc[:0], differ
    predictions, column = fitted.predict(df, keep=False), fitted.task.column
    plain, decisions = fitted.task.frame(predictions, df.index), list(fitted.task.decide(predictions))
    cells = ["|".join(map(str, cell)) if isinstance(cell, list) else cell for cell in decisions]
    full = plain.copy()
    # As objects, each cell is written for itself. A class may be called "predicted", too.
    full.insert(0, "predicted", pd.Series(cells, df.index, dtype=object), allow_duplicates=True)
    return plain, full, not (column in plain and plain[column].tolist() == decisions)


@contextlib.contextmanager
def _csv(path):
    """A function that writes tables one below the other as CSV."""
    header = True

    def write(table):
        nonlocal header
        if header:
            _tell_of_formulas(table)
        file.write(table.to_csv(header=header).encode())
        header = False

    with open(path, "wb") as file:
        yield write


def _tell_of_formulas(table):
    """Warn of names of classes that a spreadsheet would run; they are written as they are, so that they read back the same."""
    names = map(str, [*table.columns, *table.get("predicted", [])])
    formula = next((name for name in names if FORMULA.match(name)), None)
    if formula is not None:
        warnings.warn(
            f"A cell of predictions is written as it is. Received a name that begins as a formula does: {shortened(formula)}, which a "
            "spreadsheet may run when it opens the CSV. Import it as text, or write a .parquet.",
            stacklevel=5,
        )


@contextlib.contextmanager
def _parquet(path):
    """A function that writes tables one below the other as Parquet, many of them in a row group."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            "Writing .parquet needs the package pyarrow. Run `pip install pyarrow`, or write a .csv."
        ) from error
    held, writer = [], None

    def flush():
        nonlocal writer
        table = pd.concat(held).set_axis([column_label(name) for name in held[0].columns], axis=1)
        schema, index = None if writer is None else writer.schema, not isinstance(table.index, pd.RangeIndex)
        table = pyarrow.Table.from_pandas(table, schema, preserve_index=index)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
        held.clear()

    def write(table):
        held.append(table)
        if len(held) == GROUP:
            flush()

    try:
        yield write
        if held:
            flush()
    finally:
        if writer is not None:
            writer.close()


@contextlib.contextmanager
def _progress():
    """A function of (rows, share of all) that shows them on stderr, where a person looks on."""
    start, shown = time.monotonic(), getattr(sys.stderr, "isatty", bool)()

    def show(rows, share):
        if shown:
            rate = rows / max(time.monotonic() - start, 1e-9)
            print(f"\r{rows:>14,} rows {share:>5.0%} {rate:>11,.0f} rows/s", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if shown:
            print(file=sys.stderr)


@contextlib.contextmanager
def _hearing():
    """A context to predict a block in, of whose warnings only the first of a sort passes; how many more there were is told."""
    counts = collections.Counter()

    @contextlib.contextmanager
    def once():
        with warnings.catch_warnings(record=True) as caught:
            yield
        for warning in caught:
            sort = re.sub(NUMBERS_AND_EXAMPLES, "", str(warning.message))
            if not counts[sort]:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            counts[sort] += 1

    yield once
    more = sum(counts.values()) - len(counts)
    if more:
        warnings.warn(f"The same was found in further rows, {more} times in blocks of {BLOCK:,}.", stacklevel=5)

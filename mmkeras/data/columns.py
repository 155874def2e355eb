"""Columns of a DataFrame: which are read and how, and the raw values of all of them."""

import difflib
import hashlib

import numpy as np

from mmkeras.data.categories import CategoryColumn
from mmkeras.data.column import Column
from mmkeras.data.dates import DateColumn
from mmkeras.data.numbers import NumberColumn
from mmkeras.data.telling import shortened
from mmkeras.data.texts import TextColumn
from mmkeras.persistence import argument_names


def columns_of(modalities):
    """{name: Column} of everything that modalities read: one array of raw values for each name.

    A column that is read in several ways, such as text and category, is kept as it was written, and read in the graph.

    Raises:
        ValueError: two ways that cannot both read cells as they were written, such as text and image.
    """
    columns = {}
    for modality in modalities:
        for name, column in modality.readers.items():
            other = columns.setdefault(name, column)
            if other.reads == column.reads:
                continue
            if not (other.reads_text and column.reads_text):
                raise ValueError(
                    f"A column can be read as text, category, number and date at once, but vectors and files are read in one way. Received: "
                    f"{name!r} read both as {other.reads} and as {column.reads}. Copy the column under a second name."
                )
            columns[name] = TextColumn()
    return columns


def inputs_of(columns):
    """{name: keras.Input} of the raw values of {name: Column}."""
    names = argument_names(columns)
    return {name: column.input(names[name]) for name, column in columns.items()}


def raw_values(df, modalities, beside=()):
    """{column: array} of everything the modalities read, in the form `prepare` takes.

    Args:
        df: DataFrame.
        modalities: list of modalities.
        beside: others of the same model, whose columns are not wanted, though they may read one of these in another way.

    Raises:
        KeyError, TypeError, ValueError: see `check_frame` and `columns_of`.
    """
    wanted = {name for modality in modalities for name in modality.readers}
    columns = {name: column for name, column in columns_of([*modalities, *beside]).items() if name in wanted}
    check_frame(df, columns)
    values = {name: column.values(df[name]) for name, column in columns.items()}
    for modality in modalities:
        modality.check_values({name: values[name] for name in modality.readers}, df.index)
    return values


def example_values(modality):
    """{column: array} of a few made-up rows, always the same; None where a column has no examples.

    Args:
        modality: a modality.

    Example:
        >>> import mmkeras as mm
        >>> values = example_values(mm.Text(["text_1", "text_2"], encoder="lexical"))
        >>> [texts[0] for texts in values.values()]
        ['Thanks.', 'A dog runs along the beach.']
    """
    values = {name: column.examples() for name, column in modality.readers.items()}
    if any(examples is None for examples in values.values()):
        return None
    rows = min(map(len, values.values()), default=0)
    return {name: np.roll(examples[:rows], -place) for place, (name, examples) in enumerate(values.items())} or None


def row_keys(modality, values):
    """A 16-byte digest of the raw values of each row: equal rows have equal keys in every process.

    Args:
        modality: a modality.
        values: {column: array}, see `raw_values`.
    """
    cells = [column.digests(values[name]) for name, column in modality.readers.items()]
    return [digest(row) for row in zip(*cells, strict=True)]


__all__ = [
    "CategoryColumn", "Column", "DateColumn", "NumberColumn", "TextColumn", "check_frame", "columns_of", "digest",
    "example_values", "inputs_of", "lengths", "raw_values", "row_keys",
]  # fmt: skip


def digest(values):
    """16 bytes that stand for a sequence of strings, bytes or numbers."""
    state = hashlib.blake2b(digest_size=16)
    for value in values:
        data = value.encode() if isinstance(value, str) else bytes(value)
        state.update(len(data).to_bytes(8, "little") + data)
    return state.digest()


def lengths(modalities, values):
    """(rows,) how long each row is, as far as padding depends on it; zeros where nothing is padded.

    Args:
        modalities: list of modalities.
        values: {column: array}, see `raw_values`.
    """
    rows = len(next(iter(values.values())))
    own = [column.lengths(values[name]) for m in modalities for name, column in m.readers.items()]
    return sum(own, np.zeros(rows))


def check_frame(df, columns, what="the model"):
    """Raise unless `df` is a non-empty pandas DataFrame that has every column of `columns`.

    Raises:
        TypeError: `df` is not a DataFrame.
        KeyError: a column is missing; the message names the nearest existing one.
        ValueError: no rows, or two columns of the same name.
    """
    if not (hasattr(df, "columns") and hasattr(df, "iloc")):
        raise TypeError(f"{what} reads a pandas DataFrame. Received: {type(df).__name__}. Use pandas.DataFrame(...).")
    present = [str(name) for name in df.columns]
    for column in columns:
        if column not in df.columns:
            near = difflib.get_close_matches(str(column), present, n=1, cutoff=0.6)
            names = [name.strip() for name in str(column).split(",")]
            hint = f"Did you mean {near[0]!r}?" if near else "Rename the column or change the setting."
            if len(names) > 1 and set(names) <= set(present):
                hint = f"Give several columns as a list: {names}."
            raise KeyError(
                f"{what} needs the column {shortened(column)}. Received the columns: {shortened(present, 1_000)}. "
                f"{shortened(hint, 300, str)}"
            )
        if present.count(str(column)) > 1:
            raise ValueError(f"Column names must be unique. Received {column!r} twice. Rename one of them.")
    if len(df) == 0:
        raise ValueError(f"{what} needs at least one row. Received: an empty DataFrame. Check the filter before.")

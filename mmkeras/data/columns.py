"""Columns of a DataFrame: how a cell is read, told from others, measured, and shown."""

import abc
import difflib
import hashlib
import warnings

import keras
import numpy as np

from mmkeras.persistence import argument_name


class Column(abc.ABC):
    """How the cells of a column become raw values, one for each row.

    A concrete one writes `reads` and `values`, and more where its cells are no short texts.
    """

    reads = "value"  # in a word; modalities that share a column must agree on it
    dtype = "string"  # of the raw values
    words = False  # whether its cells are words, which simple models of words can read
    picture = False  # whether its cells are pictures, which a report shows

    def input(self, name):
        """keras.Input of a raw value per row."""
        return keras.Input(shape=(), dtype=self.dtype, name=argument_name(name))

    @abc.abstractmethod
    def values(self, series):
        """(rows,) array of the raw values of a pandas Series; never fails on a missing cell."""

    def digests(self, values):
        """Bytes or str for each row; equal rows have equal ones in every process. Keys of features are made of them."""
        return values

    def lengths(self, values):
        """(rows,) ints that padding depends on; 0 where nothing is padded."""
        return 0


class TextColumn(Column):
    """Texts, as str; '' for a missing one."""

    reads = "text"
    words = True

    def values(self, series):
        return texts(series)

    def lengths(self, values):
        return np.array([len(value) for value in values])


class NumberColumn(Column):
    """Numbers, as float32; NaN for a missing one."""

    reads = "number"
    dtype = "float32"

    def values(self, series):
        return numbers(series)


class CategoryColumn(Column):
    """Names from a list, as str; '' for a missing one."""

    reads = "category"

    def values(self, series):
        return categories(series)


class DateColumn(Column):
    """Dates, as ISO 8601 strings; '' for a missing one."""

    reads = "date"

    def values(self, series):
        return iso_dates(series)


def columns_of(modalities):
    """{name: Column} of everything that modalities read.

    Raises:
        ValueError: two modalities read one column in different ways, for it has one array of raw values; or two columns
            share the name of an argument, see `persistence.argument_name`.
    """
    columns, arguments = {}, {}
    for modality in modalities:
        for name, column in modality.columns_read.items():
            other = columns.setdefault(name, column)
            if other.reads != column.reads:
                raise ValueError(
                    f"A column must be read in one way. Received: {name!r} read both as {other.reads} and as "
                    f"{column.reads}. Copy the column under a second name."
                )
            twin = arguments.setdefault(argument_name(name), name)
            if twin != name:
                raise ValueError(
                    "Columns must differ in more than signs: a served model takes each as an argument of letters, digits "
                    f"and '_'. Received: {twin!r} and {name!r}, both {argument_name(name)!r}. Rename one of them."
                )
    return columns


def raw_values(df, modalities):
    """{column: array} of everything the modalities read, in the form `prepare` takes.

    Raises:
        KeyError, TypeError, ValueError: see `check_frame` and `columns_of`.
    """
    columns = columns_of(modalities)
    check_frame(df, columns)
    return {name: column.values(df[name]) for name, column in columns.items()}


def row_keys(modality, values):
    """A 16-byte digest of the raw values of each row: equal rows have equal keys in every process.

    Args:
        modality: a modality.
        values: {column: array}, see `raw_values`.
    """
    cells = [column.digests(values[name]) for name, column in modality.columns_read.items()]
    return [digest(row) for row in zip(*cells, strict=True)]


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
    own = [column.lengths(values[name]) for m in modalities for name, column in m.columns_read.items()]
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
            raise KeyError(f"{what} needs the column {column!r}. Received the columns: {present}. {hint}")
        if present.count(str(column)) > 1:
            raise ValueError(f"Column names must be unique. Received {column!r} twice. Rename one of them.")
    if len(df) == 0:
        raise ValueError(f"{what} needs at least one row. Received: an empty DataFrame. Check the filter before.")


def texts(series):
    """A column as a NumPy array of str objects: missing values become '', everything else its `str`."""
    missing = series.isna().to_numpy()
    values = series.to_numpy(dtype=object)
    return np.array(["" if gone else str(value) for value, gone in zip(values, missing, strict=True)], dtype=object)


def numbers(series):
    """A column as float32 with NaN for what is missing, infinite or not a number (warned about, with an example)."""
    import pandas as pd

    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    unread = np.isnan(values) & ~series.isna().to_numpy()
    infinite = np.isinf(values) | (np.abs(values) > np.finfo(np.float32).max)
    for flags, what in ((unread, "not numbers"), (infinite, "infinite")):
        _warn_of(flags, series, what)
    return np.where(infinite, np.nan, values).astype("float32")


def categories(series):
    """A column as strings: 3.0 becomes '3', so that integers with gaps keep their names; missing becomes ''."""
    values = series.to_numpy(dtype=object)
    missing = series.isna().to_numpy()

    def name(value):
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        return str(value)

    return np.array(["" if gone else name(v) for v, gone in zip(values, missing, strict=True)], dtype=object)


def iso_dates(series):
    """A column of dates as ISO 8601 strings; '' where missing or unreadable (warned about, with an example).

    Dates are datetimes, strings that pandas can read, or whole numbers from 1000 to 9999, which are years.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        # pandas would take whole numbers for nanoseconds since 1970.
        years = (series % 1 == 0) & series.between(1000, 9999)
        cells = [
            f"{int(v)}-01-01" if year else None if v != v else f"number {v}"
            for v, year in zip(series, years, strict=True)
        ]
        series = pd.Series(cells, dtype=object, name=series.name)
    dates = pd.to_datetime(series, errors="coerce", format=None if len(series) == 0 else "mixed", utc=True)
    unread = dates.isna().to_numpy() & ~series.isna().to_numpy() & (series.astype(str).str.strip() != "").to_numpy()
    _warn_of(unread, series, "not dates")
    return dates.dt.strftime("%Y-%m-%dT%H:%M:%S").fillna("").to_numpy(dtype=object)


def _warn_of(flags, series, what):
    """Warn of the flagged values of a column, if there are any."""
    if flags.any():
        example = series.to_numpy(dtype=object)[np.flatnonzero(flags)[0]]
        warnings.warn(
            f"Column {series.name!r}: {int(flags.sum())} values are {what} (for example {example!r}) "
            "and are treated as missing.",
            stacklevel=3,
        )

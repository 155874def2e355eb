"""Tables as people hold them: any DataFrame becomes a pandas one whose names are strings, and answers are given in kind."""

import datetime
import numbers
import os

import numpy as np
import pandas as pd


def as_frame(table, what="the model"):
    """A table as a pandas DataFrame whose column labels are strings; it is never modified.

    A pandas DataFrame of such labels is given back as it is. Tables of polars, Arrow, modin, and others that narwhals knows are
    converted without loss: a gap makes no float of an integer. A lazy one is collected.

    Args:
        table: the table.
        what: str, what an error calls its reader.

    Raises:
        TypeError: it is no table.
    """
    if not isinstance(table, pd.DataFrame):
        frame = _narwhal(table)
        if frame is None:
            raise TypeError(f"{what} reads a pandas DataFrame. Received: {_told(table)}")
        table = frame.to_pandas() if frame.implementation.is_pandas_like() else _converted(frame)
    labels = [column_label(label) for label in table.columns]
    if table.columns.nlevels == 1 and all(map(_same, labels, table.columns)):
        return table
    table = table.copy(deep=False)
    table.columns = labels
    return table


def frame_if_rows(value, what):
    """Rows as `as_frame` gives them; None, False or a share, which a user may give in place of rows, as it is."""
    if value is None or isinstance(value, numbers.Real | np.bool_):
        return value
    return as_frame(value, what)


def is_table(value):
    """Whether `as_frame` takes it."""
    return isinstance(value, pd.DataFrame) or _narwhal(value) is not None


def names_files(value):
    """Whether it is a path or pattern of files, or a list of these.

    Example:
        >>> names_files("rows/*.parquet"), names_files([{"a": 1}])
        (True, False)
    """
    some = value if isinstance(value, list | tuple) and value else [value]
    return all(isinstance(path, str | os.PathLike) for path in some)


def column_label(label):
    """The name of a column as a string, in tables and in settings alike.

    Levels of a MultiIndex are joined by ".", and empty ones are left out; a label that is empty itself gives "".

    Example:
        >>> column_label("a"), column_label(0), column_label(("f", 1)), column_label(("f", ""))
        ('a', '0', 'f.1', 'f')
    """
    if isinstance(label, tuple):
        return ".".join(filter(None, map(column_label, label)))
    if _is_empty(label):
        return ""
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    if isinstance(label, np.datetime64 | datetime.datetime):
        label = pd.Timestamp(label)
    return str(label)


def column_labels(names):
    """The names of one column or several, as a list of strings; a tuple is several names, but one inside a list."""
    several = hasattr(names, "__iter__") and not isinstance(names, str | bytes)
    return list(map(column_label, names)) if several else [column_label(names)]


def like(result, table):
    """A pandas DataFrame or Series of answers in the kind of `table`: polars for polars, Arrow for Arrow.

    Args:
        result: pandas DataFrame or Series.
        table: what the user gave. Kinds that only describe how rows are found, such as a query, are answered by pandas.
    """
    if isinstance(table, pd.DataFrame):
        return result
    import narwhals.stable.v2 as nw

    kind = nw.from_native(table).implementation
    if kind.is_pandas_like():
        return getattr(kind.to_native_namespace(), type(result).__name__)(result)
    if not (kind.is_polars() or kind.is_pyarrow()):
        return result
    if isinstance(result, pd.Series):
        name = "" if result.name is None else column_label(result.name)
        return nw.new_series(name, _cells(result), backend=kind).to_native()
    columns = {column_label(name): _cells(result.iloc[:, place]) for place, name in enumerate(result.columns)}
    return nw.from_dict(columns, backend=kind).to_native()


def take_rows(table, chosen):
    """The chosen rows of a table, in its own kind.

    Args:
        table: what `as_frame` takes.
        chosen: (rows,) bools.
    """
    return table[chosen] if isinstance(table, pd.DataFrame) else _narwhal(table).filter(chosen.tolist()).to_native()


def _narwhal(table):
    """A table as narwhals has it, collected; None for what it does not know."""
    import narwhals.stable.v2 as nw

    try:
        frame = nw.from_native(table)
    except TypeError:
        return None
    return frame.collect() if isinstance(frame, nw.LazyFrame) else frame


def _converted(frame):
    """A pandas DataFrame of a narwhals one, with its labels, of which two may be the same."""
    names = frame.columns
    columns = [_series(frame[name]) for name in names]
    table = pd.DataFrame(dict(enumerate(columns)), index=pd.RangeIndex(len(frame)))
    table.columns = names
    return table


def _series(column):
    """A pandas Series of a narwhals one, of the same values whether or not some are missing."""
    kind, gaps = type(column.dtype).__name__, column.is_null().any()
    if column.dtype.is_float() or (column.dtype.is_integer() and not gaps):
        return pd.Series(column.to_numpy())
    if column.dtype.is_integer() and "128" not in kind:
        return pd.Series(pd.array(column.to_list(), dtype=kind))
    return READERS.get(kind, _objects)(column)


def _objects(column):
    return pd.Series(column.to_list(), dtype=object)


def _truths(column):
    return pd.Series(column.to_list(), dtype="boolean" if column.is_null().any() else "bool")


def _moments(column):
    zone = getattr(column.dtype, "time_zone", None)
    moments = pd.Series(_counted(column.dt.timestamp("us"), "datetime64[us]"))
    return moments if zone is None else moments.dt.tz_localize("UTC").dt.tz_convert(zone)


def _spans(column):
    return pd.Series(_counted(column.dt.total_microseconds(), "timedelta64[us]"))


def _counted(column, dtype):
    """Microseconds, which Python's own dates may not reach, as NumPy's dates or spans."""
    return np.array(["NaT" if count is None else count for count in column.to_list()], dtype=object).astype(dtype)


def _categories(column):
    return pd.Series(pd.Categorical(column.to_list(), categories=getattr(column.dtype, "categories", None)))


# How cells of a dtype become pandas's; those of others stay the objects that they are.
READERS = {
    "Boolean": _truths, "Datetime": _moments, "Date": _moments, "Duration": _spans, "Categorical": _categories,
    "Enum": _categories,
}  # fmt: skip


def _cells(series):
    """The values of a pandas Series as any kind of table takes them: None where there is none."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
        return series.to_numpy()
    missing = series.isna().to_numpy(dtype=bool)
    return [None if gone else cell for cell, gone in zip(series.tolist(), missing, strict=True)]


def _told(table):
    """What was given in place of a table, and what to do."""
    if isinstance(table, str | os.PathLike):
        return f"the path {os.fspath(table)!r}. Read the file first, for example by pandas.read_csv."
    if isinstance(table, np.ndarray):
        return f"a NumPy array of shape {table.shape}. Name its columns: pandas.DataFrame(array, columns=[…])."
    name = type(table).__name__
    if isinstance(table, dict | list | tuple):
        return f"{name}. Use pandas.DataFrame(...)."
    if isinstance(table, pd.Series):
        return "a Series, one column. Use series.to_frame()."
    if "Dataset" in name and hasattr(table, "element_spec"):
        return (
            f"a tf.data.Dataset ({name}). Batches are made from rows, so give the DataFrame that it was made of; a Keras model, "
            "such as `pipe.model`, takes a Dataset in its own `fit`."
        )
    if hasattr(table, "to_pandas"):
        return f"{name}. Use its to_pandas()."
    return f"{name}. Use pandas.DataFrame(...)."


def _is_empty(level):
    return level == "" if isinstance(level, str) else pd.api.types.is_scalar(level) and pd.isna(level)


def _same(label, before):
    return type(before) is str and label == before

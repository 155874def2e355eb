"""Rows in two parts: those to learn from, and those to judge by."""

import warnings

import numpy as np

from mmkeras.data.columns import DateColumn
from mmkeras.data.frames import as_frame, column_label, column_labels, take_rows
from mmkeras.data.telling import quiet
from mmkeras.layers.cells import GAPS

# Held out of the training rows when no validation rows are given and there are enough to spare some.
VALIDATION_SHARE, VALIDATION_FROM = 0.1, 20


def split_frame(df, fraction, seed=0, *, by=None, time=None):
    """Split rows into (rest, part), `part` holding `fraction` of them: at random, by groups, or by time.

    The order of rows within each part is that of `df`; index labels stay with their rows.

    Args:
        df: pandas DataFrame, or a table of another kind that `as_frame` takes; never modified.
        fraction: float, the share of rows of `part`; with `by`, of the values of that column.
        seed: int; the same seed gives the same parts.
        by: name of a column, or a list of names, whose values never stand on both sides, such as "image" where several
            rows describe one image. Rows without a value are groups of their own.
        time: name of a column of dates or numbers, also as text; `part` holds the rows of its latest values, without any chance. Rows of
            one time stay together, on the side of the rest; rows without a time belong to the rest.

    Returns:
        (rest, part), two tables of the kind of `df`.

    Raises:
        KeyError: no such column.
        ValueError: unless 0 < fraction < 1 and both parts get a row; `by` with `time`; times that cannot be read.

    Example:
        >>> import mmkeras as mm
        >>> rest, part = mm.split_frame(mm.samples.movies(10, seed=0), 0.2, seed=0)
        >>> len(rest), len(part)
        (8, 2)
    """
    if by is not None and time is not None:
        raise ValueError(f"Rows are split by groups or by time. Received: by={by!r} and time={time!r}. Leave one out.")
    frame = as_frame(df, "A split")
    if by is not None:
        groups = _groups(frame, column_labels(by))
        chosen = _draw(groups.max(initial=-1) + 1, fraction, seed, "groups")[groups]
    elif time is not None:
        chosen = _latest(frame, column_label(time), fraction)
    else:
        chosen = _draw(len(frame), fraction, seed, "rows")
    return take_rows(df, ~chosen), take_rows(df, chosen)


def _draw(count, fraction, seed, what):
    """(count,) bools, of which the share `fraction` is drawn."""
    size = round(count * fraction) if 0 < fraction < 1 else 0
    if not 0 < size < count:
        raise ValueError(
            "`fraction` must lie between 0 and 1 and leave a row on each side. "
            f"Received: {fraction} of {count} {what}. Use a DataFrame of your own as validation_data instead."
        )
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[:size]] = True
    return chosen


def _column(df, name):
    if name not in df.columns:
        raise KeyError(f"A split needs the column {name!r}. Received the columns: {list(map(str, df.columns))}.")
    if df.columns.tolist().count(name) > 1:
        raise ValueError(f"Column names must be unique. Received {name!r} twice. Rename one of them.")
    return df[name]


def _groups(df, names):
    """(rows,) numbers of groups of equal values."""
    import pandas as pd

    keys = pd.DataFrame({name: _column(df, name).astype(object) for name in names})
    lone = keys.isna().all(axis=1).to_numpy() | (keys == "").all(axis=1).to_numpy()
    codes, _ = pd.factorize(pd.MultiIndex.from_frame(keys.where(keys.notna(), "")))
    codes = codes.astype("int64")
    codes[lone] = codes.max(initial=-1) + 1 + np.arange(lone.sum())
    return np.unique(codes, return_inverse=True)[1]


def _latest(df, name, fraction):
    """(rows,) bools of the rows of the latest times."""
    times = _times(_column(df, name))
    known = np.sort(times[~np.isnan(times)])
    size = round(len(df) * fraction) if 0 < fraction < 1 else 0
    chosen = times > known[-size - 1] if 0 < size < len(known) else np.zeros(len(df), bool)
    if not chosen.any():
        raise ValueError(
            "`fraction` must lie between 0 and 1 and leave rows of different times on each side. "
            f"Received: {fraction} of {len(df)} rows, {len(known)} of them with a time in {name!r}."
        )
    return chosen


def _times(column):
    """(rows,) numbers that grow with time, NaN where there is none, of a column of numbers or dates, also as text.

    Raises:
        ValueError: a cell that is neither.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy("float64", na_value=np.nan)
    empty = column.isna().to_numpy(dtype=bool) | column.astype(str).str.strip().str.lower().isin(("", *GAPS)).to_numpy(
        dtype=bool
    )
    no_numbers = ~empty
    if column.dtype.kind not in "mM":
        numbers = pd.to_numeric(column.astype(object).mask(empty), errors="coerce").to_numpy("float64", na_value=np.nan)
        no_numbers = np.isnan(numbers) & ~empty
        if not no_numbers.any():
            return numbers
    reader = DateColumn().adapt(column)
    with quiet():  # what cannot be read is an error here
        read = reader.values(column)
    dates = pd.to_datetime(pd.Series(read).replace("", None), errors="coerce", format="ISO8601", utc=True)
    unread = dates.isna().to_numpy() & ~empty
    if unread.any():
        unread = min(unread, no_numbers, key=np.sum)
        raise ValueError(
            f"`time` must name a column of dates or numbers. Received: {column.name!r} with {column[unread].iloc[0]!r}. "
            "Convert the column first."
        )
    return np.where(dates.isna(), np.nan, dates.astype("int64").to_numpy("float64"))


def hold_out(df, validation_data, seed):
    """(training rows, validation rows or None) for what a user gave `fit` as validation_data.

    Args:
        df: DataFrame.
        validation_data: DataFrame, a share of `df`, None for a tenth where there are enough rows, or False for none.
        seed: int.
    """
    if hasattr(validation_data, "columns"):
        return df, validation_data
    if validation_data is False:
        return df, None
    if validation_data is None and len(df) < VALIDATION_FROM:
        warnings.warn(
            f"{len(df)} rows are too few to hold any out: nothing is validated, and thresholds stay at 0.5. "
            "Give validation_data.",
            stacklevel=4,
        )
        return df, None
    return split_frame(df, VALIDATION_SHARE if validation_data is None else validation_data, seed)

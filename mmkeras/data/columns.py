"""Columns of a DataFrame: checks, and raw values as arrays."""

import difflib
import warnings

import numpy as np


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
            parts = [part.strip() for part in str(column).split(",")]
            hint = f"Did you mean {near[0]!r}?" if near else "Rename the column or change the setting."
            if len(parts) > 1 and set(parts) <= set(present):
                hint = f"Give several columns as a list: {parts}."
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


def check_kinds(modalities):
    """Raise a ValueError if two modalities read one column in different ways: it has one array of raw values."""
    kinds = {}
    for modality in modalities:
        for column, kind in modality.column_kinds.items():
            seen = kinds.setdefault(column, kind)
            if seen != kind:
                raise ValueError(
                    f"A column must be read in one way. Received: {column!r} read both as {seen} and as {kind}. "
                    "Copy the column under a second name."
                )


def raw_values(df, modalities):
    """{column: NumPy array} of everything the modalities read, in the form `prepare` takes."""
    check_kinds(modalities)
    check_frame(df, [column for modality in modalities for column in modality.all_columns])
    values = {}
    for modality in modalities:
        values.update({c: v for c, v in modality.raw_values(df).items() if c not in values})
    return values

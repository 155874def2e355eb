"""Columns of a DataFrame: checks, raw values as arrays, sentences, and splitting rows."""

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


def split_frame(df, fraction, seed=0):
    """Split rows at random into (rest, part), `part` holding `fraction` of them.

    The order of rows within each part is that of `df`; index labels stay with their rows.

    Args:
        df: pandas DataFrame; never modified.
        fraction: float, the share of rows of `part`.
        seed: int; the same seed gives the same parts.

    Returns:
        (rest, part), two DataFrames.

    Raises:
        ValueError: unless 0 < fraction < 1 and both parts get a row.

    Example:
        >>> import mmkeras as mm
        >>> rest, part = mm.split_frame(mm.samples.movies(10, seed=0), 0.2, seed=0)
        >>> len(rest), len(part)
        (8, 2)
    """
    count = round(len(df) * fraction) if 0 < fraction < 1 else 0
    if not 0 < count < len(df):
        raise ValueError(
            "`fraction` must lie between 0 and 1 and leave a row on each side. "
            f"Received: {fraction} of {len(df)} rows. Use a DataFrame of your own as validation_data instead."
        )
    chosen = np.zeros(len(df), bool)
    chosen[np.random.default_rng(seed).permutation(len(df))[:count]] = True
    return df[~chosen], df[chosen]


class Sentences:
    """Target sentences of rows, one or several for each: N sentences of T words.

    A batch holds rows with all their sentences, so that what is computed for a row, such as the patches of its image,
    serves them all.

    Args:
        rows: (N,) ints in ascending order, the row each belongs to.
        tokens: (N, T) ints, padded with 0 behind.
        name: str, the target; a model reads the words as "name.tokens", to answer the next ones, and as "name.row" to
            which row of the batch each sentence belongs.
    """

    def __init__(self, rows, tokens, name):
        self.tokens, self.name = tokens, name
        count = int(rows[-1]) + 1 if len(rows) else 0
        self.starts = np.searchsorted(rows, np.arange(count + 1))  # those of row r are starts[r] … starts[r + 1] − 1
        self.lengths = np.zeros(count, int)  # of each row's longest
        np.maximum.at(self.lengths, rows, (tokens > 0).sum(axis=1))

    def __len__(self):
        return len(self.tokens)

    def take(self, rows):
        """Sentences of some rows: ({"name.tokens": (n, longest − 1), "name.row": (n,)}, (n, longest − 1) to answer)."""
        counts = np.diff(self.starts)[rows]
        numbers = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        part = self.tokens[numbers, : self.lengths[rows].max(initial=2)]
        place = np.repeat(np.arange(len(rows), dtype="int32"), counts)
        return {f"{self.name}.tokens": part[:, :-1], f"{self.name}.row": place}, part[:, 1:]

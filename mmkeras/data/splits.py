"""Rows in two parts: those to learn from, and those to judge by; once, or in folds."""

import numbers
import warnings

import numpy as np

from mmkeras.data.categories import as_floats, factorize, group
from mmkeras.data.columns import DateColumn
from mmkeras.data.frames import as_frame, column_label, column_labels, take_rows
from mmkeras.data.telling import quiet, shortened
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
    _check_sides(by, time)
    frame = as_frame(df, "A split")
    if by is not None:
        groups = group_rows(frame, column_labels(by))
        chosen = _draw(groups.max(initial=-1) + 1, fraction, seed, "groups")[groups]
    elif time is not None:
        chosen = _latest(frame, column_label(time), fraction)
    else:
        chosen = _draw(len(frame), fraction, seed, "rows")
    return take_rows(df, ~chosen), take_rows(df, chosen)


def _check_sides(by, time):
    if by is not None and time is not None:
        raise ValueError(f"Rows are split by groups or by time. Received: by={by!r} and time={time!r}. Leave one out.")


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


def group_rows(df, names):
    """(rows,) numbers of groups of equal values in columns of these names; a row that has none is a group of its own."""
    import pandas as pd

    codes, lone = group(pd.DataFrame({name: _column(df, name) for name in names}))
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
    gaps = [str(cell).strip().lower() in ("", *GAPS) for cell in column]
    empty = column.isna().to_numpy(dtype=bool) | np.array(gaps, bool)
    no_numbers = ~empty
    if column.dtype.kind not in "mM":
        numbers = as_floats(column.astype(object).mask(empty))
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
            f"`time` must name a column of dates or numbers. Received: {column.name!r} with {shortened(column[unread].iloc[0])}. "
            "Convert the column first."
        )
    return np.where(dates.isna(), np.nan, dates.astype("int64").to_numpy("float64"))


def fold_rows(df, folds, *, classes=None, by=None, time=None, seed=0):
    """The folds of a cross-validation: [(numbers of rows to learn from, numbers of rows to judge), …]; no row is judged twice.

    Args:
        df: pandas DataFrame.
        folds: int; the name of a column with the fold in which each row is judged; or such a list as is returned.
        classes: (rows,) the class of each row, which drawn folds hold in like shares; None where there are none.
        by: name of a column, or a list of names, whose values never stand on both sides; see `split_frame`.
        time: name of a column of dates or numbers. Rows are then cut into `folds` + 1 spans of about as many rows; each but the first is
            judged after learning from all before it. Rows of one time stay together; those without a time are only learnt from.
        seed: int.

    Raises:
        KeyError: no such column.
        ValueError: folds that cannot be made, or that split a group of `by`.

    Example:
        >>> import pandas as pd
        >>> df = pd.DataFrame({"day": [3, 1, 2, 4], "fold": [0, 0, 1, 1]})
        >>> [(train.tolist(), test.tolist()) for train, test in fold_rows(df, "fold")]
        [([2, 3], [0, 1]), ([0, 1], [2, 3])]
        >>> [(train.tolist(), test.tolist()) for train, test in fold_rows(df, 3, time="day")]
        [([1], [2]), ([1, 2], [0]), ([0, 1, 2], [3])]
    """
    _check_sides(by, time)
    groups = None if by is None else group_rows(df, column_labels(by))
    if isinstance(folds, numbers.Integral) and not isinstance(folds, bool):
        if time is not None:
            return _forward_folds(df, column_label(time), folds)
        return _drawn_folds(len(df), folds, classes, groups, seed=seed)
    if time is not None:
        raise ValueError(
            f"`time` makes folds of its own: `folds` says how many. Received: {folds!r:.100}. Give an int."
        )
    places = _folds_of_column(df, folds) if isinstance(folds, str) else _checked_folds(folds, len(df))
    if by is not None:
        _refuse_shared_groups(df, column_labels(by), groups, places)
    return places


def _drawn_folds(rows, folds, classes, groups, *, seed):
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    count, what = (rows, "rows") if groups is None else (int(groups.max()) + 1, "groups")
    if not 2 <= folds <= count:
        raise ValueError(f"`folds` must be an int from 2 to the number of {what} ({count}). Received: {folds!r}.")
    codes = None
    if classes is not None:
        codes = _codes(classes)
        names, counts = np.unique(codes, return_counts=True)
        few = {
            str(classes[int(np.argmax(codes == n))]): int(c) for n, c in zip(names, counts, strict=True) if c < folds
        }
        if few:
            raise ValueError(
                f"Every class needs at least as many rows as there are folds ({folds}). Received: {few}. "
                "Use fewer folds, or drop the class."
            )
    plain, grouped = (KFold, GroupKFold) if classes is None else (StratifiedKFold, StratifiedGroupKFold)
    maker = (plain if groups is None else grouped)(folds, shuffle=True, random_state=seed)
    return list(maker.split(np.zeros(rows), codes, groups))


def _codes(classes):
    import pandas as pd

    return pd.factorize(np.array(list(classes), dtype=object))[0]


def _forward_folds(df, name, folds):
    times = _times(_column(df, name))
    known = np.sort(times[~np.isnan(times)])
    starts = (
        [known[number * len(known) // (folds + 1)] for number in range(folds + 1)] if len(known) > folds > 0 else []
    )
    if len(np.unique(starts)) <= max(folds, 1):
        raise ValueError(
            f"`folds` of `time` must be an int of 1 or more, and leave rows of different times in each span. Received: {folds!r} "
            f"of {len(known)} rows with a time in {name!r}, {len(np.unique(known))} different. Use fewer folds."
        )
    ends = [*starts[2:], np.inf]
    pairs = zip(starts[1:], ends, strict=True)
    return [
        (np.flatnonzero(np.isnan(times) | (times < start)), np.flatnonzero((times >= start) & (times < end)))
        for start, end in pairs
    ]


def _folds_of_column(df, name):
    import pandas as pd

    column = _column(df, column_label(name))
    gaps = int(column.isna().sum())
    broken = pd.api.types.is_float_dtype(column) and not gaps and bool((column % 1 != 0).any())
    try:
        codes, folds = pd.factorize(column, sort=True)
    except TypeError:  # lists and alike
        codes, folds = factorize(column)
    if gaps or broken or len(folds) < 2:
        received = (
            f"{gaps} rows without one" if gaps else f"fractions such as {column[column % 1 != 0].iloc[0]}" if broken
            else f"{list(folds)} in all rows"
        )  # fmt: skip
        raise ValueError(
            f"A column of folds must name one of at least two folds in every row. Received: {name!r} with {received}. "
            "Drop or fill these rows, or give `folds` an int."
        )
    return [(np.flatnonzero(codes != fold), np.flatnonzero(codes == fold)) for fold in range(len(folds))]


def _checked_folds(folds, rows):
    """Folds that a user gave, as arrays."""
    try:
        places = [(np.asarray(train), np.asarray(test)) for train, test in folds]
    except (TypeError, ValueError):
        places = []
    sides = [side for pair in places for side in pair]
    if not sides or any(side.ndim != 1 or side.dtype.kind not in "iu" or not len(side) for side in sides):
        raise ValueError(
            "`folds` must be an int, the name of a column, or a list of (rows to learn from, rows to judge), each numbers of rows. "
            f"Received: {folds!r:.100}."
        )
    judged = np.concatenate([test for _, test in places])
    for number, (train, test) in enumerate(places):
        every = np.concatenate([train, test])
        if every.min() < 0 or every.max() >= rows or len(np.unique(every)) < len(every):
            wrong = every[(every < 0) | (every >= rows)]
            what = f"row {wrong[0]} of {rows}" if len(wrong) else f"row {_twice(every)} twice"
            raise ValueError(
                f"A fold must hold each of its rows once, from 0 to {rows - 1}. Received in fold {number}: {what}."
            )
    if len(np.unique(judged)) < len(judged):
        raise ValueError(
            f"A row may be judged in one fold. Received: row {_twice(judged)} in several. Give folds that differ."
        )
    return places


def _twice(rows):
    values, counts = np.unique(rows, return_counts=True)
    return int(values[counts > 1][0])


def _refuse_shared_groups(df, names, groups, places):
    for number, (train, test) in enumerate(places):
        shared = np.intersect1d(groups[train], groups[test])
        if len(shared):
            cells = df[names].iloc[int(np.argmax(groups == shared[0]))].tolist()
            raise ValueError(
                f"A group must stand on one side of a fold. Received: {cells[0] if len(cells) == 1 else cells!r} of "
                f"{', '.join(map(repr, names))} on both sides of fold {number}, and {len(shared)} such groups in all. Give folds of "
                "whole groups, or `folds` as an int."
            )


def hold_out(df, validation_data, seed, by=None):
    """(training rows, validation rows or None) for what a user gave `fit` as validation_data.

    Args:
        df: DataFrame.
        validation_data: DataFrame, a share of `df`, None for a tenth where there are enough rows, or False for none.
        seed: int. by: name of a column whose values stay together, or None.
    """
    if hasattr(validation_data, "columns"):
        return df, validation_data
    if validation_data is False:
        return df, None
    count, what = (len(df), "rows") if by is None else (df[by].nunique(), "groups of rows")
    if validation_data is None and count < VALIDATION_FROM:
        warnings.warn(
            f"{count} {what} are too few to hold any out: nothing is validated, and nothing is tuned, such as thresholds. "
            "Give validation_data.",
            stacklevel=4,
        )
        return df, None
    return split_frame(df, VALIDATION_SHARE if validation_data is None else validation_data, seed, by=by)

"""Long tables, with a line for each step of time, as a table with a row for each series."""

import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.data.frames import as_frame
from mmkeras.data.telling import shortened, tell

UNEVEN = 1.5  # how much longer than the usual step one is that tells of a gap


def rows_of_steps(df, id, time, channels):
    """A DataFrame with a row for each series; see `mm.Series.rows`."""
    df, channels = as_frame(df), [channels] if isinstance(channels, str) else list(channels)
    check_frame(df, [id, time, *channels], "`rows`")
    _check(df, id, time, channels)
    moments, codes = _moments(df[time]), df[id].factorize()[0]
    together = np.argsort(codes, kind="stable")
    backward = int((_steps(moments[together], codes[together]) < 0).sum())
    if backward:
        tell(
            f"{backward:,} of {len(df):,} lines stood behind a later one of the same {id!r}: they were sorted by {time!r}."
        )
    order = np.lexsort((moments, codes))
    df, codes = df.iloc[order], codes[order]
    _check_times(df, _steps(moments[order], codes), id, time)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    others = [name for name in df.columns if name not in (id, time, *channels)]
    rows = df.iloc[starts][[id, *others]].set_index(id)
    for name in others:
        first = df[name].iloc[np.repeat(starts, np.diff(np.append(starts, len(df))))].reset_index(drop=True)
        own = df[name].reset_index(drop=True)
        varies = np.flatnonzero(((own != first) & ~(own.isna() & first.isna())).to_numpy(dtype=bool))
        if len(varies):
            raise ValueError(
                f"A column beside the channels must have one value in all lines of a series. Received: {name!r}, with "
                f"{_label(first[varies[0]])} and {_label(own[varies[0]])} for {id} {_label(df[id].iloc[varies[0]])}. "
                "Name it among `channels`, or leave it out of the table."
            )
    for name in channels:
        cells = np.empty(len(starts), object)
        cells[:] = np.split(df[name].to_numpy("float32", na_value=np.nan), starts[1:])
        rows[name] = cells
    return rows


def _check(df, id, time, channels):
    """Raise unless there are channels of numbers, and every line says whose step it is and when."""
    import pandas as pd

    if not channels or len({id, time, *channels}) != 2 + len(channels):
        raise ValueError(f"`id`, `time` and `channels` must be different columns. Received: {[id, time, *channels]}.")
    for name in (id, time):
        missing = np.flatnonzero(df[name].isna())
        if len(missing):
            raise ValueError(
                f"Every line must say in {name!r} {'whose step it is' if name == id else 'when it was measured'}. "
                f"Received: {len(missing):,} lines without, the first at row {_label(df.index[missing[0]])}. Leave them out."
            )
    kinds = pd.api.types
    if not (kinds.is_numeric_dtype(df[time]) or kinds.is_datetime64_any_dtype(df[time])):
        raise ValueError(
            f"`time` must be a column of numbers or of datetimes. Received: {time!r}, of {df[time].dtype} (for example "
            f"{shortened(df[time].iloc[0])}). Convert it first: df[{time!r}] = pandas.to_datetime(df[{time!r}])."
        )
    for name in channels:
        if not kinds.is_numeric_dtype(df[name]):
            raise ValueError(
                f"A channel must be a column of numbers. Received: {name!r}, of {df[name].dtype} (for example "
                f"{shortened(df[name].iloc[0])}). Convert it first: df[{name!r}] = pandas.to_numeric(df[{name!r}], errors='coerce')."
            )


def _moments(series):
    """(lines,) ints or floats, which can be sorted and subtracted."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(series):
        return pd.DatetimeIndex(series).asi8
    return series.to_numpy("int64" if pd.api.types.is_integer_dtype(series) else "float64")


def _steps(moments, codes):
    """(lines − 1,) how far each line is from the one before; NaN where that is another series."""
    return np.where(np.diff(codes) == 0, np.diff(moments).astype("float64"), np.nan)


def _check_times(df, steps, id, time):
    """Raise where a moment comes twice, and tell of gaps, in lines that are sorted."""
    twice = np.flatnonzero(steps == 0)
    if len(twice):
        line = df.iloc[twice[0]]
        raise ValueError(
            f"A series must have one line for each moment. Received: {len(twice):,} repeated, the first {time} "
            f"{_label(line[time])} of {id} {_label(line[id])}. Leave out the repetitions, or take their mean."
        )
    own = steps[~np.isnan(steps)]
    gaps = int((own > UNEVEN * np.median(own)).sum()) if len(own) else 0
    if gaps:
        tell(
            f"Steps are read as if they were even: {gaps:,} of {len(own):,} are more than {UNEVEN} times as long as the usual one. "
            "Where measurements are missing, add lines with NaN."
        )


def _label(value):
    return shortened(getattr(value, "item", lambda: value)())

"""Cells of a target that are numbers, durations or moments: read, and given back."""

import dataclasses

import numpy as np

from mmkeras.data.categories import inferred
from mmkeras.data.numbers import NumberColumn
from mmkeras.data.telling import quiet, shortened

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclasses.dataclass(frozen=True)
class NumberCells:
    """How a column of a target is read, and what predictions of it become.

    Args:
        name: str, of the column.
        column: config of its `NumberColumn`.
        time: name of the dtype of durations or moments; None of other cells.
    """

    name: str
    column: dict
    time: str | None = None

    @classmethod
    def learn(cls, series):
        """From a column of the training rows."""
        column = dataclasses.replace(NumberColumn().adapt(series), wide=True)
        return cls(series.name, column.get_config(), _time_dtype(series))

    def told(self):
        """The plain values of which it is made again, with its name."""
        return {"column": self.column, "time": self.time}

    def values(self, series, gaps=False):
        """(rows,) float64 of the cells.

        Args:
            series: pandas Series.
            gaps: bool, whether cells may be missing, as NaN; others must be numbers in any case.

        Raises:
            ValueError: a cell that is no finite number.
        """
        with quiet():  # an error says it
            values = NumberColumn(**self.column).values(series)
        bad = ~np.isfinite(values)
        if gaps:
            bad &= ~series.isna().to_numpy(dtype=bool)
        bad = np.flatnonzero(bad)
        if len(bad):
            cell = series.iloc[int(bad[0])]
            dates = " Dates as text must be read first, by pandas.to_datetime." if isinstance(cell, str) else ""
            raise ValueError(
                f"The target {self.name!r} must hold finite numbers. Received: {shortened(cell)}. Drop or correct the row; there are "
                f"{len(bad)} such cells.{dates}"
            )
        return values

    def series(self, numbers, index=None):
        """Numbers (rows,) as a pandas Series: float64, or durations or moments in the target's dtype."""
        import pandas as pd

        values = numbers if self.time is None else _as_time(numbers, self.time)
        return pd.Series(values, index=index, name=self.name)


def _time_dtype(series):
    """Name of the dtype of durations or moments; None of other cells."""
    import pandas as pd

    if getattr(series.dtype, "kind", "O") == "O" and pd.api.types.infer_dtype(series, skipna=True) == "date":
        return "datetime64[s]"
    dtype = inferred(series).dtype
    return str(dtype) if getattr(dtype, "kind", "O") in "mM" else None


def _as_time(seconds, name):
    """pandas array of a dtype of durations or moments, from seconds."""
    import pandas as pd

    dtype = pd.api.types.pandas_dtype(name)
    unit = getattr(dtype, "unit", None) or (np.datetime_data(dtype)[0] if isinstance(dtype, np.dtype) else "us")
    known = np.isfinite(seconds)
    counts = np.round(np.where(known, seconds, 0.0) * PER_SECOND[unit])
    counts = np.where(known, counts.clip(-(2.0**62), 2.0**62), 0).astype("int64")
    counts[~known] = np.iinfo("int64").min  # NumPy's missing time
    letter = "timedelta64" if name.startswith(("timedelta", "duration")) else "datetime64"
    series = pd.Series(counts.view(f"{letter}[{unit}]"))
    if getattr(dtype, "tz", None) is not None:
        series = series.dt.tz_localize("UTC").dt.tz_convert(dtype.tz)
    return series.astype(dtype).array

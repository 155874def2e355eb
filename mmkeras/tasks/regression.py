"""The task whose answer is a number."""

import dataclasses

import keras
import numpy as np

from mmkeras import layers
from mmkeras.data.column import Claim
from mmkeras.data.columns import check_frame
from mmkeras.data.numbers import NumberColumn
from mmkeras.data.telling import quiet
from mmkeras.evaluation import metrics
from mmkeras.losses import ExactLoss
from mmkeras.tasks.base import check_target
from mmkeras.tasks.decisions import Decisions

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclasses.dataclass(frozen=True)
class Regression(Decisions):
    """A number per row; squared error in units of the training rows' variance.

    Cells are read as numbers are, see `NumberColumn`: also "1,234.50", "$5" and "12 %". Durations are seconds, moments are seconds
    since 1970 in UTC; decisions about them come back as durations and moments. About anything else they are floats, also where
    the column holds ints, for what is expected of a count is no count. All of it is float64: seconds, ids and cents with a
    large offset are predicted to their own precision.

    Args:
        column: the target column.
        mean, scale: float, of the training rows; `fit` learns them.

    Predictions: (B, 1) float64, in the units of the column.

    Raises:
        ValueError: no column name; when adapting, cells that are no finite numbers, or the same in all rows.

    Example:
        >>> import mmkeras as mm
        >>> mm.Regression("price").column
        'price'
    """

    mean: float | None = None
    scale: float | None = None

    primary = "r2"
    metric_names = ("r2", "mae", "rmse")
    smaller_is_better = ("mae", "rmse")
    prior_name = "mean"
    option = "number"
    option_help = "target column of numbers"

    @property
    def loss_weight(self):
        """What squared errors are multiplied by."""
        return 1.0 / self.scale**2

    def choose_loss(self, loss, target=None):
        loss = super().choose_loss(loss, target)
        if loss is None or target is None:
            return loss
        # 1 for who predicts the mean, as squared errors have it: training does not depend on units.
        values = target.values
        start = float(ExactLoss(loss, reduction="sum")(values, np.full_like(values, values.mean()))) / len(values)
        return ExactLoss(loss, 1.0 / start if 0 < start < np.inf else self.loss_weight)

    def weighed(self, loss):
        return loss if isinstance(loss, ExactLoss) else ExactLoss(loss, self.loss_weight)

    @classmethod
    def claim(cls, samples, modalities=()):
        sample = samples[0]
        if len(samples) > 1 or len(sample.distinct) < 2:
            return None
        if sample.dtype_letter == "M":
            return Claim(0.95, "moments", "number")
        numbers = NumberColumn().claim(sample)
        if numbers is None:
            return None
        empty = sample.series.notna().to_numpy(dtype=bool) & np.isnan(numbers.values)
        unread = list(sample.series[empty].unique())
        few = (sample.codes >= 0).sum() * 0.05 > np.isnan(numbers.values[sample.codes >= 0]).sum()
        return dataclasses.replace(numbers, strength=numbers.strength * (1 if few else 0.6), unread=unread)

    def adapt(self, df):
        check_frame(df, [self.column], "the task")
        series = df[self.column]
        column = dataclasses.replace(NumberColumn().adapt(series), wide=True)
        values = self._numbers(series, column)
        if len(df) > 1 and np.ptp(values) == 0:
            raise ValueError(
                f"The target {self.column!r} must vary. Received: {values[0]:g} in all {len(df)} rows. Check the data."
            )
        return self.settings.learn(
            mean=float(values.mean()),
            scale=float(values.std()) or 1.0,
            column=column.get_config(),
            time=_time_dtype(series),
        )

    def encode(self, df):
        """(rows, 1) float64."""
        check_frame(df, [self.column], "the task")
        return self._numbers(df[self.column], NumberColumn(**(self.state or {}).get("column", {"wide": True})))[:, None]

    def _numbers(self, series, column):
        """(rows,) float64 of the cells, all of which must be numbers."""
        check_target(series)
        with quiet():  # an error says it
            values = column.values(series)
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            cell = series.iloc[int(bad[0])]
            dates = " Dates as text must be read first, by pandas.to_datetime." if isinstance(cell, str) else ""
            raise ValueError(
                f"The target {self.column!r} must hold finite numbers. Received: {cell!r}. Drop or correct the row; there are "
                f"{len(bad)} such cells.{dates}"
            )
        return values

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, 1), in units of the training target's standard deviation."""
        return keras.layers.Dense(1, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="units"):
        """Standard units → the units of the column."""
        return layers.Units(self.scale, self.mean, name=name)(logits)

    def loss(self):
        return "mean_squared_error"

    def metrics(self):
        return [keras.metrics.MeanAbsoluteError(name="mae", dtype="float64")]

    def frame(self, predictions, index):
        """Predictions (rows, 1) as a DataFrame with the target's column; durations and moments in seconds."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=[self.column])

    def read(self, target):
        """The number of each row, or its duration or moment."""
        return self.series(target.values).tolist()

    def decide(self, predictions):
        """The predicted number of each row, or its duration or moment."""
        return self.series(predictions).tolist()

    def series(self, predictions, index=None):
        """What was predicted of each row as a pandas Series: float64, or durations or moments in the target's dtype."""
        import pandas as pd

        values, time = np.asarray(predictions, "float64")[:, 0], (self.state or {}).get("time")
        if time is not None:
            values = _as_time(values, time)
        return pd.Series(values, index=index, name=self.column)

    def score(self, target, predictions):
        truth, numbers = target.values[:, 0].astype("float64"), predictions[:, 0].astype("float64")
        return lambda weights: metrics.regression(truth, numbers, weights)

    def fit_linear(self, terms, target):
        """Ridge regression."""
        from sklearn.linear_model import Ridge

        # About the mean, so that a large offset takes no digits from what differs.
        mean = target[:, 0].mean()
        model = Ridge(alpha=1.0).fit(terms, target[:, 0] - mean)
        return model.coef_[None], np.array([model.intercept_ + mean])


def _time_dtype(series):
    """Name of the dtype of durations or moments; None of other cells."""
    import pandas as pd

    if getattr(series.dtype, "kind", "O") == "O" and pd.api.types.infer_dtype(series, skipna=True) == "date":
        return "datetime64[s]"
    dtype = series.infer_objects().dtype
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

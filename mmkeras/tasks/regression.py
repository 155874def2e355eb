"""The task whose answer is a number."""

import dataclasses

import keras
import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.evaluation import metrics
from mmkeras.tasks.base import check_target
from mmkeras.tasks.decisions import Decisions


@dataclasses.dataclass(frozen=True)
class Regression(Decisions):
    """A number per row; squared error in units of the training rows' variance.

    Args:
        column: the target column.
        mean, scale: float, of the training rows; `fit` learns them.

    Predictions: (B, 1), in the units of the column.

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
        return 1.0 / self.scale**2

    def adapt(self, df):
        values = self.encode(df)
        if len(df) > 1 and np.ptp(values) == 0:
            raise ValueError(
                f"The target {self.column!r} must vary. Received: {values[0, 0]:g} in all {len(df)} rows. Check the data."
            )
        return self.settings.learn(mean=float(values.mean()), scale=float(values.std()) or 1.0)

    def encode(self, df):
        """(rows, 1) float32."""
        import pandas as pd

        check_frame(df, [self.column], "the task")
        check_target(df[self.column])
        values = pd.to_numeric(df[self.column], errors="coerce").to_numpy("float64")
        if not np.isfinite(values).all():
            bad = df[self.column].iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
            raise ValueError(
                f"The target {self.column!r} must hold finite numbers. Received: {bad!r}. Drop or correct the row."
            )
        return values.astype("float32")[:, None]

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, 1), in units of the training target's standard deviation."""
        return keras.layers.Dense(1, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="units"):
        """Standard units → the units of the column."""
        return keras.layers.Rescaling(self.scale, self.mean, dtype="float32", name=name)(logits)

    def loss(self):
        return "mean_squared_error"

    def metrics(self):
        return [keras.metrics.MeanAbsoluteError(name="mae")]

    def frame(self, predictions, index):
        """Predictions (rows, 1) as a DataFrame with the target's column."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=[self.column])

    def read(self, target):
        """The number of each row."""
        return [float(value) for value in target.values[:, 0]]

    def decide(self, predictions):
        """The predicted number of each row."""
        return [float(value) for value in predictions[:, 0]]

    def score(self, target, predictions):
        truth, numbers = target.values[:, 0].astype("float64"), predictions[:, 0].astype("float64")
        return lambda weights: metrics.regression(truth, numbers, weights)

    def fit_linear(self, terms, target):
        """Ridge regression."""
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1.0).fit(terms, target[:, 0])
        return model.coef_[None], np.array([model.intercept_])

"""The task whose answer is a number."""

import dataclasses

import keras
import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.tasks.base import Task, check_target


@dataclasses.dataclass(frozen=True)
class Regression(Task):
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

    kind = "regression"

    @property
    def loss_weight(self):
        return 1.0 / self.scale**2

    def adapt(self, df):
        values = self.encode(df)
        if len(df) > 1 and np.ptp(values) == 0:
            raise ValueError(
                f"The target {self.column!r} must vary. Received: {values[0, 0]:g} in all {len(df)} rows. Check the data."
            )
        return dataclasses.replace(self, mean=float(values.mean()), scale=float(values.std()) or 1.0)

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
        """Encoded targets as a person reads them: the number of each row."""
        return [float(value) for value in target[:, 0]]

    def decide(self, predictions, thresholds=None):
        """The predicted number of each row."""
        return [float(value) for value in predictions[:, 0]]

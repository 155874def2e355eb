"""Losses of numbers of several columns, on the scales of their transforms, and of quantiles.

B = rows, K = columns, Q = numbers that are predicted of each cell, such as quantiles.
"""

import keras
import numpy as np

from mmkeras.losses.around import PACKAGE, ExactLoss


def check_quantiles(quantiles):
    """Raise a ValueError unless they are rising numbers in (0, 1)."""
    numbers = all(isinstance(q, int | float | np.number) and 0 < q < 1 for q in quantiles) and len(quantiles)
    if not numbers or list(quantiles) != sorted(set(quantiles)):
        raise ValueError(
            f"`quantiles` must be different numbers between 0 and 1, the lowest first. Received: {quantiles}. Use for example "
            "(0.1, 0.5, 0.9)."
        )


@keras.saving.register_keras_serializable(PACKAGE)
class PinballLoss(keras.losses.Loss):
    """What a quantile q is off: q · e for a truth that is e above it, (1 − q) · |e| for one below; the mean over Q quantiles.

    Its least is at the quantiles themselves (Koenker & Bassett, 1978, https://doi.org/10.2307/1913643).

    Args:
        quantiles: list of Q floats in (0, 1).

    Call arguments:
        y_true: (B, 1). y_pred: (B, Q).

    Example:
        >>> import numpy as np
        >>> from mmkeras.tasks.number_losses import PinballLoss
        >>> round(float(PinballLoss([0.9])(np.array([[3.0]]), np.array([[1.0]]))), 4)
        1.8
    """

    def __init__(self, quantiles, reduction="sum_over_batch_size", name="pinball", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.quantiles = list(map(float, quantiles))

    def call(self, y_true, y_pred):
        error, shares = y_true - y_pred, keras.ops.convert_to_tensor(self.quantiles, y_pred.dtype)
        return keras.ops.mean(keras.ops.maximum(shares * error, (shares - 1.0) * error), axis=-1)

    def get_config(self):
        return {**super().get_config(), "quantiles": self.quantiles}


@keras.saving.register_keras_serializable(PACKAGE)
class UnitsLoss(ExactLoss):
    """A loss of numbers in standard units: the mean over K columns, of which a missing cell (NaN) adds nothing.

    Args:
        loss, factor: see `ExactLoss`; the loss takes (B, 1) and (B, Q).
        units: `layers.Units` of the columns.

    Call arguments:
        y_true: (B, K) in the units of the columns, NaN where a cell is missing. y_pred: (B, K · Q).

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> from mmkeras.tasks.number_losses import UnitsLoss
        >>> loss = UnitsLoss("mean_absolute_error", mm.layers.Units(10.0, 0.0))
        >>> float(loss(np.array([[20.0]]), np.array([[40.0]])))
        2.0
    """

    def __init__(self, loss, units, factor=1.0, **kwargs):
        super().__init__(loss, factor, **kwargs)
        self.units = keras.saving.deserialize_keras_object(units) if isinstance(units, dict) else units

    def call(self, y_true, y_pred):
        y_true = keras.ops.cast(y_true, "float64")
        known = keras.ops.logical_not(keras.ops.isnan(y_true))
        truth = self.units.standard(keras.ops.where(known, y_true, keras.ops.zeros_like(y_true)))
        said, columns = self.units.standard(y_pred), y_true.shape[-1]
        said = keras.ops.reshape(said, (-1, said.shape[-1] // columns))
        each = keras.ops.reshape(super().call(keras.ops.reshape(truth, (-1, 1)), said), (-1, columns))
        return keras.ops.mean(keras.ops.where(known, each, keras.ops.zeros_like(each)), axis=-1)

    def get_config(self):
        return {**super().get_config(), "units": keras.saving.serialize_keras_object(self.units)}


@keras.saving.register_keras_serializable(PACKAGE)
class KnownAbsoluteError(keras.metrics.Metric):
    """Mean absolute error of the known cells, float64: (B, K) with NaN where a cell is missing, (B, K · Q).

    Args:
        place: int, which of the Q numbers of a cell is judged.

    Example:
        >>> import numpy as np
        >>> from mmkeras.tasks.number_losses import KnownAbsoluteError
        >>> error = KnownAbsoluteError()
        >>> error.update_state(np.array([[1.0, np.nan]]), np.array([[3.0, 9.0]]))
        >>> float(error.result())
        2.0
    """

    def __init__(self, place=0, name="mae", **kwargs):
        super().__init__(name=name, **{**kwargs, "dtype": "float64"})
        self.place = place
        self.error = self.add_weight(shape=(), initializer="zeros", name="error")
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = (keras.ops.cast(x, "float64") for x in (y_true, y_pred))
        count = y_pred.shape[-1] // y_true.shape[-1]
        error = keras.ops.abs(y_pred[:, self.place :: count] - y_true)
        known = keras.ops.logical_not(keras.ops.isnan(error))
        weights = keras.ops.cast(known, "float64")
        if sample_weight is not None:
            weights = weights * keras.ops.reshape(keras.ops.cast(sample_weight, "float64"), (-1, 1))
        self.error.assign_add(keras.ops.sum(weights * keras.ops.where(known, error, keras.ops.zeros_like(error))))
        self.total.assign_add(keras.ops.sum(weights))

    def result(self):
        return keras.ops.divide_no_nan(self.error, self.total)

    def get_config(self):
        return {**super().get_config(), "place": self.place}

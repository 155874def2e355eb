"""Losses around another loss."""

import keras

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class ExactLoss(keras.losses.Loss):
    """A loss in float64, times a factor: numbers with a large offset differ by less than float32 can tell.

    Args:
        loss: Keras loss, its name, or a function of the target and the prediction.
        factor: float.

    Example:
        >>> from mmkeras.losses.around import ExactLoss
        >>> float(ExactLoss("mean_absolute_error")([[1_700_000_001.0]], [[1_700_000_000.0]]))
        1.0
    """

    def __init__(self, loss, factor=1.0, name=None, reduction=None, **kwargs):
        loss = keras.losses.get(loss)
        given = isinstance(loss, keras.losses.Loss)
        name = name or (loss.name if given else getattr(loss, "__name__", "loss"))
        reduction = reduction or (loss.reduction if given else "sum_over_batch_size")
        super().__init__(name=name, reduction=reduction, **{**kwargs, "dtype": "float64"})
        self.loss, self.factor = loss, factor

    def call(self, y_true, y_pred):
        losses = self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss
        return self.factor * losses(y_true, y_pred)

    def get_config(self):
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss), "factor": self.factor}


@keras.saving.register_keras_serializable(PACKAGE)
class EachMember(keras.losses.Loss):
    """The mean of the losses of k members: answers of B rows, predictions (B, k, C) → (B,) losses.

    Args:
        loss: Keras loss of answers and predictions (B, C), its name, or a function of them.

    Example:
        >>> import numpy as np
        >>> from mmkeras.losses.around import EachMember
        >>> float(EachMember("mean_squared_error")(np.array([[1.0]]), np.array([[[1.0], [3.0]]])))
        2.0
    """

    def __init__(self, loss, name=None, reduction="sum_over_batch_size", **kwargs):
        loss = keras.losses.get(loss)
        own = {"dtype": loss.dtype} if isinstance(loss, keras.losses.Loss) else {}
        super().__init__(name=name or "each_member", reduction=reduction, **{**own, **kwargs})
        self.loss = loss

    def call(self, y_true, y_pred):
        members, outputs = y_pred.shape[1:]
        losses = self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss
        each = losses(keras.ops.repeat(y_true, members, axis=0), keras.ops.reshape(y_pred, (-1, outputs)))
        return keras.ops.mean(keras.ops.reshape(each, (-1, members)), axis=1)

    def get_config(self):
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss)}

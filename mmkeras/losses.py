"""Losses that Keras lacks."""

import keras

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class SparseCategoricalFocalCrossentropy(keras.losses.Loss):
    """Focal loss of class numbers and probabilities: −α_t (1 − p_t)^γ ln p_t, with p_t that of the true class.

    Rows that are already decided well count less, the more so the larger γ; with γ = 0 and no α it is the
    cross-entropy. From Lin et al., 2017 (https://arxiv.org/abs/1708.02002). Keras has it for one-hot targets, and for
    labels as `keras.losses.BinaryFocalCrossentropy`.

    Args:
        gamma: float of at least 0.
        alpha: None for 1, a float for all classes, or a sequence with a weight for each class.
        reduction, name: as for every Keras loss.

    Call arguments:
        y_true: (B,) or (B, 1) ints.
        y_pred: (B, C) probabilities.

    Raises:
        ValueError: `gamma` or a weight below 0.

    Example:
        >>> import mmkeras as mm
        >>> loss = mm.losses.SparseCategoricalFocalCrossentropy(gamma=2.0)
        >>> round(float(loss([1], [[0.5, 0.5]])), 4)
        0.1733
    """

    def __init__(self, gamma=2.0, alpha=None, reduction="sum_over_batch_size", name="focal", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        weights = [] if alpha is None else [alpha] if isinstance(alpha, int | float) else list(alpha)
        for setting, values in (("gamma", [gamma]), ("alpha", weights)):
            if not all(value >= 0 for value in values):
                raise ValueError(f"`{setting}` of the focal loss must be at least 0. Received: {values}.")
        self.gamma = gamma
        self.alpha = weights if alpha is not None and not isinstance(alpha, int | float) else alpha

    def call(self, y_true, y_pred):
        y_pred = keras.ops.convert_to_tensor(y_pred)
        truth = keras.ops.one_hot(keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,)), y_pred.shape[-1])
        chance = keras.ops.clip(y_pred, keras.config.epsilon(), 1.0)
        chance = keras.ops.sum(keras.ops.cast(truth, chance.dtype) * chance, axis=-1)  # (B,)
        loss = -keras.ops.power(1.0 - chance, self.gamma) * keras.ops.log(chance)
        if self.alpha is None:
            return loss
        weights = keras.ops.zeros((y_pred.shape[-1],), loss.dtype) + keras.ops.convert_to_tensor(self.alpha, loss.dtype)
        return loss * keras.ops.sum(keras.ops.cast(truth, loss.dtype) * weights, axis=-1)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}

"""Losses and metrics of words of sentences."""

import keras

from mmkeras.backend import replicas

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class MaskedTokenCrossentropy(keras.losses.Loss):
    """Cross-entropy of the next word, over the targets that are no padding: (B, T) ints, (B, T, V) logits → scalar.

    It is the mean over all real words of the batch, so that a long caption weighs more than a short one. Padding adds
    exactly nothing: neither the logits there nor the number of padded columns change a bit of the result, because the
    losses of words are summed in whole steps of 2⁻²⁴, of which float64 loses none whatever their order.

    Args:
        label_smoothing: float, how much of the target is spread evenly over all words (Szegedy et al., 2016,
            https://arxiv.org/abs/1512.00567).
        padding: int, the target that does not count.
        reduction: "sum_over_batch_size" for the mean over words, "sum", or None for (B, T) with zeros at padding.
        name: as for every Keras loss.

    Call arguments:
        y_true: (B, T) ints.
        y_pred: (B, T, V) logits.
        sample_weight: None, (B,) or (B, T); multiplies losses, the mean is still over all real words.

    Raises:
        ValueError: a `label_smoothing` outside [0, 1).

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> loss = mm.losses.MaskedTokenCrossentropy()
        >>> round(float(loss(np.array([[1, 0]]), np.array([[[0.0, 0.0], [9.0, 0.0]]]))), 4)
        0.6931
    """

    def __init__(
        self, label_smoothing=0.0, padding=0, reduction="sum_over_batch_size", name="token_crossentropy", **kwargs
    ):  # fmt: skip
        super().__init__(name=name, reduction=reduction, **kwargs)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must lie in [0, 1). Received: {label_smoothing!r}.")
        self.label_smoothing, self.padding = label_smoothing, padding

    def call(self, y_true, y_pred):
        """(B, T) losses, 0 at padding."""
        y_true = keras.ops.cast(y_true, "int32")
        y_pred = keras.ops.cast(y_pred, "float32")
        losses = keras.ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        if self.label_smoothing:
            # (1 − ε) (lse − z_y) + ε mean(lse − z) = (lse − z_y) + ε (z_y − mean z)
            chosen = keras.ops.take_along_axis(y_pred, y_true[..., None], axis=-1)[..., 0]
            losses = losses + self.label_smoothing * (chosen - keras.ops.mean(y_pred, axis=-1))
        return keras.ops.where(keras.ops.equal(y_true, self.padding), 0.0, losses)

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true = keras.ops.convert_to_tensor(y_true)
        losses = self.call(y_true, keras.ops.convert_to_tensor(y_pred))
        if sample_weight is not None:
            losses = losses * _by_word(sample_weight, losses.dtype)
        if self.reduction is None or self.reduction == "none":
            return losses
        exact = keras.ops.cast(losses, "float64")
        whole = keras.ops.round(exact * 2.0**24) / 2.0**24
        total = keras.ops.sum(exact + keras.ops.stop_gradient(whole - exact))  # rounding has no gradient of its own
        if self.reduction != "sum":
            real = keras.ops.sum(keras.ops.cast(keras.ops.not_equal(y_true, self.padding), "float64"))
            total = total / keras.ops.maximum(real, 1.0)
        return keras.ops.cast(total / replicas(), losses.dtype)  # Keras adds the shares of devices up

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing, "padding": self.padding}


@keras.saving.register_keras_serializable(PACKAGE)
class MaskedTokenAccuracy(keras.metrics.Metric):
    """Share of the next words guessed right, over the targets that are no padding: (B, T) ints, (B, T, V) logits.

    Args:
        padding: int, the target that does not count.
        name, dtype: as for every Keras metric.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> accuracy = mm.losses.MaskedTokenAccuracy()
        >>> accuracy.update_state(np.array([[1, 1, 0]]), np.array([[[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]]))
        >>> float(accuracy.result())
        0.5
    """

    def __init__(self, padding=0, name="token_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.padding = padding
        self.right = self.add_weight(shape=(), initializer="zeros", name="right")
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = keras.ops.cast(y_true, "int32")
        counts = keras.ops.cast(keras.ops.not_equal(y_true, self.padding), self.dtype)
        if sample_weight is not None:
            counts = counts * _by_word(sample_weight, self.dtype)
        hits = keras.ops.equal(keras.ops.cast(keras.ops.argmax(y_pred, axis=-1), "int32"), y_true)
        self.right.assign_add(keras.ops.sum(counts * keras.ops.cast(hits, self.dtype)))
        self.total.assign_add(keras.ops.sum(counts))

    def result(self):
        return keras.ops.divide_no_nan(self.right, self.total)

    def get_config(self):
        return {**super().get_config(), "padding": self.padding}


def _by_word(sample_weight, dtype):
    """Weights of captions (B,) or of words (B, T) as what multiplies (B, T) values."""
    weight = keras.ops.cast(sample_weight, dtype)
    return weight[:, None] if len(weight.shape) == 1 else weight

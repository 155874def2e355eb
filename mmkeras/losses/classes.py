"""Losses of classes and of labels, and a metric of labels."""

import keras
import numpy as np

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
        ValueError: `gamma` or a weight below 0; another number of weights than of classes.

    Example:
        >>> import mmkeras as mm
        >>> loss = mm.losses.SparseCategoricalFocalCrossentropy(gamma=2.0)
        >>> round(float(loss([1], [[0.5, 0.5]])), 4)
        0.1733
    """

    def __init__(self, gamma=2.0, alpha=None, reduction="sum_over_batch_size", name="focal", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        weights = [] if alpha is None else [alpha] if np.isscalar(alpha) else list(alpha)
        for setting, values in (("gamma", [gamma]), ("alpha", weights)):
            if not all(isinstance(value, int | float | np.number) and 0 <= value < np.inf for value in values):
                each = ", or one for each class" if setting == "alpha" else ""
                raise ValueError(
                    f"`{setting}` of the focal loss must be a number of at least 0{each}. Received: {values}."
                )
        if alpha is not None and not weights:
            raise ValueError(
                "`alpha` of the focal loss must hold a weight for each class. Received: none. Use alpha=None."
            )
        self.gamma = gamma
        self.alpha = alpha if alpha is None or np.isscalar(alpha) else weights

    def call(self, y_true, y_pred):
        y_pred = keras.ops.convert_to_tensor(y_pred)
        truth = keras.ops.one_hot(keras.ops.reshape(keras.ops.cast(y_true, "int32"), (-1,)), y_pred.shape[-1])
        chance = keras.ops.clip(y_pred, keras.config.epsilon(), 1.0)
        chance = keras.ops.sum(keras.ops.cast(truth, chance.dtype) * chance, axis=-1)  # (B,)
        loss = -keras.ops.power(1.0 - chance, self.gamma) * keras.ops.log(chance)
        if self.alpha is None:
            return loss
        if isinstance(self.alpha, list) and len(self.alpha) != y_pred.shape[-1]:
            raise ValueError(
                f"`alpha` of the focal loss must hold a weight for each of {y_pred.shape[-1]} classes. Received: {self.alpha}."
            )
        weights = keras.ops.zeros((y_pred.shape[-1],), loss.dtype) + keras.ops.convert_to_tensor(self.alpha, loss.dtype)
        return loss * keras.ops.sum(keras.ops.cast(truth, loss.dtype) * weights, axis=-1)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma, "alpha": self.alpha}


@keras.saving.register_keras_serializable(PACKAGE)
class WeightedBinaryCrossentropy(keras.losses.Loss):
    """Cross-entropy of labels in which a label that is there weighs w_c: mean over c of −w_c y_c ln p_c − (1 − y_c) ln(1 − p_c).

    With weights above 1, rare labels are missed less often, at the price of more false ones (King & Zeng, 2001,
    https://doi.org/10.1093/oxfordjournals.pan.a004868, weigh both sides so).

    Args:
        weights: sequence of C floats of at least 0, see `label_weights`.
        reduction, name: as for every Keras loss.

    Call arguments:
        y_true: (B, C) of 0 and 1.
        y_pred: (B, C) probabilities.

    Raises:
        ValueError: a weight that is no finite number of at least 0; another number of weights than of labels.

    Example:
        >>> import numpy as np
        >>> from mmkeras.losses.classes import WeightedBinaryCrossentropy
        >>> loss = WeightedBinaryCrossentropy([3.0])
        >>> round(float(loss(np.array([[1.0]]), np.array([[0.5]]))), 4)
        2.0794
    """

    def __init__(self, weights, reduction="sum_over_batch_size", name="weighted_binary_crossentropy", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.weights = [float(weight) for weight in weights]
        if not self.weights or not all(0 <= weight < np.inf for weight in self.weights):
            raise ValueError(
                f"`weights` must be finite numbers of at least 0, one for each label. Received: {weights}."
            )

    def call(self, y_true, y_pred):
        y_pred = keras.ops.convert_to_tensor(y_pred)
        if y_pred.shape[-1] != len(self.weights):
            raise ValueError(
                f"`weights` must hold one number for each of {y_pred.shape[-1]} labels. Received: {len(self.weights)}."
            )
        truth, small = keras.ops.cast(y_true, y_pred.dtype), keras.config.epsilon()
        chance = keras.ops.clip(y_pred, small, 1.0 - small)
        weights = keras.ops.convert_to_tensor(self.weights, y_pred.dtype)
        losses = -weights * truth * keras.ops.log(chance) - (1.0 - truth) * keras.ops.log(1.0 - chance)
        return keras.ops.mean(losses, axis=-1)

    def get_config(self):
        return {**super().get_config(), "weights": self.weights}


@keras.saving.register_keras_serializable(PACKAGE)
class AsymmetricCrossentropy(keras.losses.Loss):
    """Loss of labels, (B, C), by which the many that are not there count less: of those that are, −(1 − p)^γ₊ ln p; of others, −q^γ₋ ln(1 − q)
    with q = max(p − margin, 0), so that a label that is clearly absent counts nothing; the mean over labels.

    It is the asymmetric loss of Ridnik et al., 2021 (https://arxiv.org/abs/2009.14119). With zeros it is the binary cross-entropy.

    Args:
        positive, negative: γ₊ and γ₋, floats of at least 0.
        margin: float in [0, 1).
        reduction, name: as for every Keras loss.

    Raises:
        ValueError: a setting outside its range.

    Example:
        >>> import mmkeras as mm
        >>> loss = mm.losses.AsymmetricCrossentropy(positive=1.0, negative=2.0, margin=0.1)
        >>> round(float(loss([[1.0, 0.0]], [[0.5, 0.6]])), 4)
        0.2599
    """

    def __init__(
        self, positive=0.0, negative=2.0, margin=0.05, reduction="sum_over_batch_size", name="asymmetric", **kwargs
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        for setting, value, most in (
            ("positive", positive, np.inf),
            ("negative", negative, np.inf),
            ("margin", margin, 1),
        ):
            if not isinstance(value, int | float | np.number) or not 0 <= value < most:
                raise ValueError(f"`{setting}` of the asymmetric loss must lie in [0, {most}). Received: {value!r}.")
        self.positive, self.negative, self.margin = positive, negative, margin

    def call(self, y_true, y_pred):
        y_pred = keras.ops.convert_to_tensor(y_pred)
        truth, small = keras.ops.cast(y_true, y_pred.dtype), keras.config.epsilon()
        chance = keras.ops.clip(y_pred, small, 1.0 - small)
        shifted = keras.ops.clip(chance - self.margin, small, 1.0 - small)
        there = keras.ops.power(1.0 - chance, self.positive) * keras.ops.log(chance)
        absent = keras.ops.power(shifted, self.negative) * keras.ops.log(1.0 - shifted)
        return -keras.ops.mean(truth * there + (1.0 - truth) * absent, axis=-1)

    def get_config(self):
        return {**super().get_config(), "positive": self.positive, "negative": self.negative, "margin": self.margin}


@keras.saving.register_keras_serializable(PACKAGE)
class LabelAUC(keras.metrics.Metric):
    """The number of `keras.metrics.AUC(curve="PR", multi_label=True, num_labels=C)`, of one sum in place of a graph for each label.

    Areas under precision-recall curves at evenly spread thresholds, interpolated as Davis and Goadrich do (2006,
    https://www.biostat.wisc.edu/~page/rocpr.pdf), and their mean over the labels. Targets (B, C) of 0 and 1, probabilities (B, C), weights (B,).

    Args:
        num_labels: int, C.
        num_thresholds: int.
        name, dtype: as for every Keras metric.

    Example:
        >>> from mmkeras.losses.classes import LabelAUC
        >>> area = LabelAUC(num_labels=2)
        >>> area.update_state([[1, 0], [0, 1]], [[0.9, 0.2], [0.1, 0.8]])
        >>> round(float(area.result()), 4)
        1.0
    """

    def __init__(self, num_labels, num_thresholds=200, name="map", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_labels, self.num_thresholds = num_labels, num_thresholds
        # Weights of cells whose probability lies between two thresholds: where the label is there, and all.
        self.cells = self.add_weight(shape=(num_labels, num_thresholds, 2), initializer="zeros", name="cells")

    def update_state(self, y_true, y_pred, sample_weight=None):
        ops = keras.ops
        chances = ops.clip(ops.cast(y_pred, self.dtype), 0.0, 1.0)
        there = ops.cast(ops.cast(y_true, "bool"), self.dtype)
        weights = ops.stack([there, ops.ones_like(there)], axis=-1)
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1, 1))
        last = ops.cast(ops.maximum(ops.ceil(chances * (self.num_thresholds - 1)) - 1.0, 0.0), "int32")
        places = last + self.num_thresholds * np.arange(self.num_labels, dtype="int32")
        count = self.num_labels * self.num_thresholds
        sums = ops.segment_sum(ops.reshape(weights, (-1, 2)), ops.reshape(places, (-1,)), count)
        self.cells.assign_add(ops.reshape(sums, self.cells.shape))

    def result(self):
        ops = keras.ops
        hits, cells = ops.unstack(self.cells, axis=2)
        positives = ops.sum(hits, axis=1, keepdims=True)
        # Of the cells above a threshold: those where the label is there, and all.
        right, above = (ops.relu(ops.sum(x, axis=1, keepdims=True) - ops.cumsum(x, axis=1)) for x in (hits, cells))
        slope = ops.divide_no_nan(hits, cells)
        ratio = ops.where(above > 0, ops.divide_no_nan(above + cells, above), 1.0)
        areas = slope * (hits + (right - slope * above) * ops.log(ratio))
        return ops.mean(ops.sum(ops.divide_no_nan(areas, positives), axis=1))

    def get_config(self):
        return {**super().get_config(), "num_labels": self.num_labels, "num_thresholds": self.num_thresholds}

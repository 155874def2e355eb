"""Losses and metrics that Keras lacks, and weights of rows for classes of unequal size."""

import keras
import numpy as np

PACKAGE = "mmkeras"
__all__ = [
    "AsymmetricCrossentropy",
    "MaskedTokenAccuracy",
    "MaskedTokenCrossentropy",
    "SparseCategoricalFocalCrossentropy",
    "sample_weights",
]


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
        >>> import mmkeras as mm
        >>> loss = mm.losses.WeightedBinaryCrossentropy([3.0])
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


def label_weights(target, most=10.0):
    """Weights of labels for `WeightedBinaryCrossentropy`: the root of rows without the label per row with it, from 1 to `most`.

    The root is a compromise: full weights would trade every miss of a rare label for many false ones.

    Args:
        target: (rows, C) of 0 and 1.
        most: float, the highest weight.

    Returns:
        list of C floats.

    Example:
        >>> import numpy as np
        >>> from mmkeras.losses import label_weights
        >>> label_weights(np.array([[1, 1], [0, 1], [0, 0], [0, 0], [0, 0]]))
        [2.0, 1.224744871391589]
    """
    there = np.asarray(target).sum(axis=0)
    return np.sqrt((len(target) - there) / np.maximum(there, 1)).clip(1.0, most).tolist()


@keras.saving.register_keras_serializable(PACKAGE)
class ExactLoss(keras.losses.Loss):
    """A loss in float64, times a factor: numbers with a large offset differ by less than float32 can tell.

    Args:
        loss: Keras loss, its name, or a function of the target and the prediction.
        factor: float.

    Example:
        >>> from mmkeras.losses import ExactLoss
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
        >>> from mmkeras.losses import EachMember
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
        return keras.ops.cast(total, losses.dtype)

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


def sample_weights(target, class_weight, classes=None):
    """Weights of rows by their class, for `keras.Model.fit(sample_weight=…)`; what `Pipeline.fit(class_weight=…)` uses.

    Keras refuses its own `class_weight` for models whose output is a dict, as that of `build_entailment_classifier` is.

    Args:
        target: (rows,) class numbers, or names.
        class_weight: "balanced", by which all classes count as much together, rows / (classes · rows of the class); or
            {class: weight}, in which a class that is not named weighs 1.
        classes: class names in the order of the numbers; None takes the values of `target` themselves.

    Returns:
        (rows,) float32.

    Raises:
        ValueError: a class that does not exist, or a weight that is no finite number of at least 0.

    Example:
        >>> import mmkeras as mm
        >>> mm.losses.sample_weights([0, 0, 0, 1], {1: 3}).tolist()
        [1.0, 1.0, 1.0, 3.0]
    """
    target = np.asarray(target)
    if classes is None:
        classes, target = np.unique(target, return_inverse=True)
    names = [str(name) for name in classes]
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(target, minlength=len(names))
        return (len(target) / (len(counts) * np.maximum(counts, 1)))[target].astype("float32")
    weights = {str(key): value for key, value in class_weight.items()} if isinstance(class_weight, dict) else {"": None}
    finite = all(isinstance(weight, int | float | np.number) and 0 <= weight < np.inf for weight in weights.values())
    if not finite or not set(weights) <= set(names):
        raise ValueError(
            f"`class_weight` must be None, 'balanced', or a dict from classes among {names} to finite numbers of at least 0. "
            f"Received: {class_weight!r}."
        )
    return np.array([weights.get(name, 1.0) for name in names])[target].astype("float32")

"""Losses that Keras lacks, and weights of rows for classes of unequal size."""

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
                raise ValueError(
                    f"`{setting}` of the focal loss must be a number of at least 0{', or one for each class' if setting == 'alpha' else ''}. "
                    f"Received: {values}."
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
        >>> mm.losses.sample_weights([0, 0, 0, 1], "balanced").round(3).tolist()
        [0.667, 0.667, 0.667, 2.0]
    """
    target = np.asarray(target)
    if classes is None:
        classes, target = np.unique(target, return_inverse=True)
    names = [str(name) for name in classes]
    if isinstance(class_weight, str) and class_weight == "balanced":
        counts = np.bincount(target, minlength=len(names))
        return (len(target) / (len(counts) * np.maximum(counts, 1)))[target].astype("float32")
    given = {str(key): value for key, value in class_weight.items()} if isinstance(class_weight, dict) else {"": None}
    fine = all(isinstance(v, int | float | np.number) and 0 <= v < np.inf for v in given.values())
    if not fine or not set(given) <= set(names):
        raise ValueError(
            f"`class_weight` must be None, 'balanced', or a dict from classes among {names} to finite numbers of at least 0. "
            f"Received: {class_weight!r}."
        )
    return np.array([given.get(name, 1.0) for name in names])[target].astype("float32")

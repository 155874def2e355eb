"""Weights of rows for classes and labels of unequal size."""

import numpy as np


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
        >>> from mmkeras.losses.weights import label_weights
        >>> label_weights(np.array([[1, 1], [0, 1], [0, 0], [0, 0], [0, 0]]))
        [2.0, 1.224744871391589]
    """
    there = np.asarray(target).sum(axis=0)
    return np.sqrt((len(target) - there) / np.maximum(there, 1)).clip(1.0, most).tolist()


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

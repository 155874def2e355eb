"""Tasks whose answer is one class, or any number of labels."""

import ast
import collections
import dataclasses
import json

import keras
import numpy as np

from mmkeras.data.columns import categories, check_frame
from mmkeras.losses import SparseCategoricalFocalCrossentropy, sample_weights
from mmkeras.tasks.base import Task, check_target


class _Classes(Task):
    """What the two classification tasks share."""

    def _with_classes(self, names):
        return dataclasses.replace(self, classes=tuple(names))

    def _check_classes(self):
        classes = None if self.classes is None else tuple(str(name) for name in self.classes)
        if classes is not None and (len(set(classes)) != len(classes) or not classes):
            raise ValueError(f"`classes` must be different names, at least one. Received: {self.classes!r}.")
        object.__setattr__(self, "classes", classes)

    def _indices(self):
        if self.classes is None:
            raise ValueError(f"The classes of {self.column!r} are not known yet. Give `classes`, or call `adapt(df)`.")
        return {name: index for index, name in enumerate(self.classes)}

    def frame(self, predictions, index):
        """Probabilities (rows, classes) as a DataFrame with one column per class."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=list(self.classes))


@dataclasses.dataclass(frozen=True)
class MultiLabel(_Classes):
    """Any number of labels per row; one sigmoid per class, binary cross-entropy.

    A cell is read by its own form: "A|B" (split at `separator`), a Python list or tuple of names, or a list of
    dicts with a "name", given as such or as a Python or JSON literal (the form of Kaggle's movies_metadata.csv).
    An empty or missing cell means no label.

    Args:
        column: the target column.
        classes: label names in the order of the outputs; None takes all labels of the training rows, sorted.
        separator: str between labels in strings.

    Predictions: (B, classes) probabilities.

    Raises:
        ValueError: no column name, `classes` without a name or with the same one twice; when adapting, labels in none of the
            forms, or the same in all rows.

    Example:
        >>> import mmkeras as mm
        >>> mm.MultiLabel("genres").names("Drama|War")
        ['Drama', 'War']
        >>> mm.MultiLabel("genres").names("[{'id': 18, 'name': 'Drama'}]")
        ['Drama']
    """

    classes: tuple | None = None
    separator: str = "|"

    kind = "multilabel"

    def __post_init__(self):
        super().__post_init__()
        self._check_classes()

    def names(self, cell):
        """The labels of one cell, as a list of strings.

        Raises:
            ValueError: a cell in none of the accepted forms.
        """
        import pandas as pd

        if isinstance(cell, str):
            text = cell.strip()
            if text.startswith("["):
                cell = _literal(text, self.column)
            else:
                return [part.strip() for part in text.split(self.separator) if part.strip()]
        if isinstance(cell, list | tuple | set | np.ndarray):
            try:
                return [str(item["name"] if isinstance(item, dict) else item) for item in cell]
            except KeyError:
                pass
        elif not isinstance(cell, dict) and pd.isna(cell):
            return []
        raise ValueError(
            f"Labels in {self.column!r} must be strings such as 'A{self.separator}B', lists of names, or lists of "
            f"{{'id', 'name'}} dicts. Received: {cell!r}. Convert the column first."
        )

    def adapt(self, df):
        check_frame(df, [self.column], "the task")
        if self.classes is not None:
            adapted = self
        else:
            found = sorted({name for cell in df[self.column] for name in self.names(cell)})
            if not found:
                raise ValueError(
                    f"The target {self.column!r} must hold labels. Received: {len(df)} rows without any. "
                    "Check the column, or give `classes`."
                )
            adapted = self._with_classes(found)
        target = adapted.encode(df)
        if len(df) > 1 and (target == target[0]).all():
            raise ValueError(
                f"The target {self.column!r} must differ between rows. Received: the same labels "
                f"{self.names(df[self.column].iloc[0])} in all {len(df)} rows. There is nothing to learn; check the data."
            )
        return adapted

    def encode(self, df):
        """(rows, classes) float32 of 0. and 1.; labels outside the classes are left out (see `unknown`)."""
        check_frame(df, [self.column], "the task")
        indices = self._indices()
        target = np.zeros((len(df), len(indices)), "float32")
        for row, cell in enumerate(df[self.column]):
            known = [indices[name] for name in self.names(cell) if name in indices]
            target[row, known] = 1.0
        return target

    def unknown(self, df):
        known = set(self.classes)
        counts = collections.Counter(n for cell in df[self.column] for n in set(self.names(cell)) - known)
        return dict(counts.most_common())

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, classes); the bias starts at the classes' log-odds in the training target."""
        bias = "zeros" if target is None else _Values(_log_odds(target).tolist())
        return keras.layers.Dense(len(self.classes), bias_initializer=bias, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="probabilities"):
        """Logits → probabilities, each class by itself."""
        return keras.layers.Activation("sigmoid", dtype="float32", name=name)(logits)

    def loss(self):
        return "binary_crossentropy"

    def focal_loss(self):
        return keras.losses.BinaryFocalCrossentropy(gamma=2.0)

    def metrics(self):
        return [keras.metrics.AUC(curve="PR", multi_label=True, num_labels=len(self.classes), name="map")]

    def read(self, target):
        """Encoded targets as a person reads them: a list of label names for each row."""
        return self.decide(target, 0.5)

    def decide(self, predictions, thresholds):
        """A list of label names for each row: those whose probability reaches the label's threshold."""
        names = np.array(self.classes, dtype=object)
        return [list(names[row >= thresholds]) for row in predictions]


@dataclasses.dataclass(frozen=True)
class MultiClass(_Classes):
    """Exactly one class per row; softmax, cross-entropy.

    Args:
        column: the target column; values are compared as strings.
        classes: class names in the order of the outputs; None takes all of the training rows, sorted.

    Predictions: (B, classes) probabilities that add to 1.

    Raises:
        ValueError: no column name, `classes` without a name or with the same one twice; when adapting, fewer than two classes,
            or classes that are not among the given ones.

    Example:
        >>> import mmkeras as mm
        >>> mm.MultiClass("label", classes=["no", "yes"]).classes
        ('no', 'yes')
    """

    classes: tuple | None = None

    kind = "multiclass"

    def __post_init__(self):
        super().__post_init__()
        self._check_classes()

    def adapt(self, df):
        check_frame(df, [self.column], "the task")
        check_target(df[self.column])
        adapted = self if self.classes is not None else self._with_classes(sorted(set(categories(df[self.column]))))
        if len(adapted.classes) < 2:
            raise ValueError(
                f"The target {self.column!r} must hold at least two classes. Received: {list(adapted.classes)} in all "
                f"{len(df)} rows. There is nothing to tell apart; check the data."
            )
        if self.classes is not None and adapted.unknown(df):
            raise ValueError(
                f"Training rows must hold only the given `classes` {list(self.classes)}. "
                f"Received also: {adapted.unknown(df)}. Add them, or drop the rows."
            )
        return adapted

    def encode(self, df):
        """(rows,) int32 class numbers; −1 for a class never seen in training (see `unknown`)."""
        check_frame(df, [self.column], "the task")
        check_target(df[self.column])
        indices = self._indices()
        return np.array([indices.get(name, -1) for name in categories(df[self.column])], "int32")

    def unknown(self, df):
        counts = collections.Counter(categories(df[self.column]))
        return {name: count for name, count in counts.most_common() if name not in set(self.classes)}

    def row_weights(self, target, class_weight):
        if class_weight is None:
            return None
        return sample_weights(target, class_weight, self.classes)

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, classes); the bias starts at the classes' log frequencies in the training target."""
        bias = "zeros"
        if target is not None:
            counts = np.bincount(target, minlength=len(self.classes)) + 0.5
            bias = _Values(np.log(counts / counts.sum()).tolist())
        return keras.layers.Dense(len(self.classes), bias_initializer=bias, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="probabilities"):
        """Logits → probabilities that add to 1."""
        return keras.layers.Softmax(dtype="float32", name=name)(logits)

    def loss(self):
        return "sparse_categorical_crossentropy"

    def focal_loss(self):
        return SparseCategoricalFocalCrossentropy(gamma=2.0)

    def metrics(self):
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def read(self, target):
        """Encoded targets as a person reads them: the class of each row."""
        return [self.classes[i] for i in target]

    def decide(self, predictions, thresholds=None):
        """The most probable class of each row."""
        return [self.classes[i] for i in predictions.argmax(axis=1)]


def _literal(text, column):
    """A list written as JSON or as a Python literal."""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError):
            continue
        if isinstance(value, list):
            return value
    raise ValueError(
        f"A label that begins with '[' must be a JSON or Python list. Received in {column!r}: {text[:80]!r}. Correct the cell."
    )


def _log_odds(target):
    """Log-odds of each column of a 0/1 matrix, with half a row added on each side so that none is infinite."""
    positive = target.sum(axis=0) + 0.5
    return np.log(positive / (len(target) + 1.0 - positive))


@keras.saving.register_keras_serializable("mmkeras")
class _Values(keras.initializers.Initializer):
    """Initialises a vector with given values."""

    def __init__(self, values):
        self.values = values

    def __call__(self, shape, dtype=None):
        return keras.ops.cast(keras.ops.reshape(keras.ops.convert_to_tensor(self.values, "float32"), shape), dtype)

    def get_config(self):
        return {"values": self.values}

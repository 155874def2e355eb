"""Tasks whose answer is one class, or any number of labels."""

import ast
import collections
import dataclasses
import json

import keras
import numpy as np

from mmkeras.data.columns import categories, check_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import confusion_section, label_section
from mmkeras.evaluation.thresholds import tune_thresholds
from mmkeras.losses import (
    SparseCategoricalFocalCrossentropy,
    WeightedBinaryCrossentropy,
    label_weights,
    sample_weights,
)
from mmkeras.tasks.base import check_target
from mmkeras.tasks.decisions import Decisions


@dataclasses.dataclass(frozen=True)
class _Classes(Decisions):
    """What the two classification tasks share."""

    ways = {"standard": {}, "weighted": {"loss": "weighted"}, "focal": {"loss": "focal"}}  # noqa: RUF012 never changed

    def _check_classes(self):
        classes = None if self.classes is None else tuple(str(name) for name in self.classes)
        if classes is not None and (len(set(classes)) != len(classes) or not classes):
            raise ValueError(f"`classes` must be different names, at least one. Received: {self.classes!r}.")
        self._set(classes=classes)

    def _indices(self):
        if self.classes is None:
            raise ValueError(f"The classes of {self.column!r} are not known yet. Give `classes`, or call `adapt(df)`.")
        return {name: index for index, name in enumerate(self.classes)}

    def choose_loss(self, loss, target=None):
        if loss == "focal":
            return self.focal_loss()
        return super().choose_loss(loss, target)

    def frame(self, predictions, index):
        """Probabilities (rows, classes) as a DataFrame with one column per class."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=list(self.classes))

    def told(self):
        thresholds = self.thresholds
        return {"classes": list(self.classes), "thresholds": None if thresholds is None else thresholds.tolist()}

    def _told_of_strangers(self, df):
        """A sentence about target values outside the classes, in a list; none where there are none."""
        unknown = self.unknown(df)
        if not unknown:
            return []
        listed = ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.items())
        return [
            f"Labels never seen in training, or left out of `classes`: {listed}. The model cannot predict them; they "
            "count in no metric."
        ]


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

    primary = "map"
    metric_names = ("map", "micro_f1", "macro_f1")
    tunes = True
    option = "labels"
    option_help = "target column of labels: 'A|B', or lists"

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
        classes = self.settings.classes
        if classes is None:
            classes = tuple(sorted({name for cell in df[self.column] for name in self.names(cell)}))
            if not classes:
                raise ValueError(
                    f"The target {self.column!r} must hold labels. Received: {len(df)} rows without any. "
                    "Check the column, or give `classes`."
                )
        adapted = self.settings.learn(classes=classes)
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

    @property
    def thresholds(self):
        """(classes,) array, tuned on validation rows; None before, or without such rows, which stands for 0.5."""
        learnt = (self.state or {}).get("thresholds")
        return None if learnt is None else np.asarray(learnt, "float64")

    def unknown(self, df):
        """{label: rows} of target values outside the classes."""
        known = set(self.classes)
        counts = collections.Counter(n for cell in df[self.column] for n in set(self.names(cell)) - known)
        return dict(counts.most_common())

    def judged(self, df):
        notes = self._told_of_strangers(df)
        if self.thresholds is None:
            notes.append("No validation rows were held out: thresholds are 0.5.")
        return df, notes

    def named_losses(self):
        return ("focal", "weighted")

    def choose_loss(self, loss, target=None):
        if loss == "weighted":
            return WeightedBinaryCrossentropy(label_weights(target.values))
        return super().choose_loss(loss, target)

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
        """A list of label names for each row."""
        return self._named(target.values > 0)

    def decide(self, predictions):
        """A list of label names for each row: those whose probability reaches the label's threshold."""
        return self._named(self._decisions(predictions))

    def _named(self, flags):
        names = np.array(self.classes, dtype=object)
        return [list(names[row]) for row in flags]

    def _decisions(self, predictions):
        return predictions >= (0.5 if self.thresholds is None else self.thresholds)

    def tune(self, target, predictions):
        return self.learn(thresholds=tune_thresholds(target.values, predictions).tolist())

    def pool(self, tasks, counts):
        each = [np.full(len(self.classes), 0.5) if task.thresholds is None else task.thresholds for task in tasks]
        return self.learn(thresholds=np.repeat(each, counts, axis=0).tolist())

    def score(self, target, predictions):
        decisions = self._decisions(predictions)
        return lambda weights: metrics.multilabel(target.values, predictions, decisions, weights)

    def sections(self, target, predictions, pictures=None):
        thresholds = np.full(len(self.classes), 0.5) if self.thresholds is None else self.thresholds
        return [label_section(self.classes, target.values, predictions, self._decisions(predictions), thresholds)]

    def fit_linear(self, terms, target):
        """Logistic regression of each label against the rest."""
        from sklearn.linear_model import LogisticRegression

        weights = np.zeros((target.shape[1], terms.shape[1]))
        bias = np.zeros(target.shape[1])
        for label, positive in enumerate(target.T):
            if positive.min() == positive.max():
                bias[label] = 20.0 if positive[0] else -20.0
                continue
            model = LogisticRegression(C=10.0, solver="liblinear").fit(terms, positive)
            weights[label], bias[label] = model.coef_[0], model.intercept_[0]
        return weights, bias

    def link(self, values):
        return 1 / (1 + np.exp(-np.clip(values, -60, 60)))


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

    primary = "macro_f1"
    metric_names = ("macro_f1", "accuracy", "map")
    ways = {"standard": {}, "weighted": {"class_weight": "balanced"}, "focal": {"loss": "focal"}}  # noqa: RUF012
    option = "label"
    option_help = "target column of one class per row"

    def __post_init__(self):
        super().__post_init__()
        self._check_classes()

    def adapt(self, df):
        check_frame(df, [self.column], "the task")
        check_target(df[self.column])
        classes = self.settings.classes or tuple(sorted(set(categories(df[self.column]))))
        adapted = self.settings.learn(classes=classes)
        if len(adapted.classes) < 2:
            raise ValueError(
                f"The target {self.column!r} must hold at least two classes. Received: {list(adapted.classes)} in all "
                f"{len(df)} rows. There is nothing to tell apart; check the data."
            )
        if adapted.unknown(df):
            raise ValueError(
                f"Training rows must hold only the given `classes` {list(adapted.classes)}. "
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
        """{class: rows} of target values outside the classes."""
        counts = collections.Counter(categories(df[self.column]))
        return {name: count for name, count in counts.most_common() if name not in set(self.classes)}

    def judged(self, df):
        notes = self._told_of_strangers(df)
        if notes:
            df = df[self.encode(df) >= 0]
        return df, notes

    def weights(self, target, how):
        return None if how is None else sample_weights(target.values, how, self.classes)

    def strata(self, target):
        return target.values

    def named_losses(self):
        return ("focal",)

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
        """The class of each row."""
        return [self.classes[i] for i in target.values]

    def decide(self, predictions):
        """The most probable class of each row."""
        return [self.classes[i] for i in predictions.argmax(axis=1)]

    def _flags(self, numbers):
        """(rows, classes) bools of class numbers."""
        return numbers[:, None] == np.arange(len(self.classes))

    def score(self, target, predictions):
        truth, decisions = self._flags(target.values), self._flags(predictions.argmax(axis=1))
        return lambda weights: metrics.multiclass(truth, predictions, decisions, weights)

    def sections(self, target, predictions, pictures=None):
        truth, decisions = self._flags(target.values), self._flags(predictions.argmax(axis=1))
        unused = np.full(len(self.classes), np.nan)
        return [
            label_section(self.classes, truth, predictions, decisions, unused),
            confusion_section(self.classes, target.values, predictions.argmax(axis=1)),
        ]

    def prior(self, target):
        return np.bincount(target, minlength=len(self.classes)) / len(target)

    def fit_linear(self, terms, target):
        """Softmax regression: two classes share one row in scikit-learn, unseen classes have none."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=10.0, max_iter=300).fit(terms, target)
        coefficients, intercepts = model.coef_, model.intercept_
        if len(coefficients) == 1:
            coefficients = np.vstack([-coefficients, coefficients]) / 2
            intercepts = np.append(-intercepts, intercepts) / 2
        weights, bias = np.zeros((len(self.classes), terms.shape[1])), np.full(len(self.classes), -20.0)
        weights[model.classes_], bias[model.classes_] = coefficients, intercepts
        return weights, bias

    def link(self, values):
        exp = np.exp(values - values.max(axis=1, keepdims=True))
        return exp / exp.sum(axis=1, keepdims=True)


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

"""The task whose answer is one class of several, and what it shares with that of any number of labels."""

import collections
import dataclasses

import keras
import numpy as np

from mmkeras.data.columns import categories, check_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import confusion_section, label_section
from mmkeras.losses import SparseCategoricalFocalCrossentropy, sample_weights
from mmkeras.tasks.base import check_target
from mmkeras.tasks.decisions import Decisions


@keras.saving.register_keras_serializable("mmkeras", name="_Values")
class StartValues(keras.initializers.Initializer):
    """Initialises a vector with these values, such as the bias that a target lets expect."""

    def __init__(self, values):
        self.values = values

    def __call__(self, shape, dtype=None):
        return keras.ops.cast(keras.ops.reshape(keras.ops.convert_to_tensor(self.values, "float32"), shape), dtype)

    def get_config(self):
        return {"values": self.values}


@dataclasses.dataclass(frozen=True)
class Classes(Decisions):
    """What `MultiClass` and `MultiLabel` share: names of classes, a probability for each."""

    ways = {"standard": {}, "weighted": {"loss": "weighted"}, "focal": {"loss": "focal"}}  # noqa: RUF012 never changed

    def check_classes(self):
        """Make the setting a tuple of strings; raise a ValueError unless they differ."""
        classes = None if self.classes is None else tuple(str(name) for name in self.classes)
        if classes is not None and (len(set(classes)) != len(classes) or not classes):
            raise ValueError(f"`classes` must be different names, at least one. Received: {self.classes!r}.")
        self._set(classes=classes)

    def fixed(self, df):
        return dataclasses.replace(self, classes=self.adapt(df).classes)

    def indices(self):
        """{class: its number}; raises a ValueError before they are known."""
        if self.classes is None:
            raise ValueError(f"The classes of {self.column!r} are not known yet. Give `classes`, or call `adapt(df)`.")
        return {name: index for index, name in enumerate(self.classes)}

    def frame(self, predictions, index):
        """Probabilities (rows, classes) as a DataFrame with one column per class."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=list(self.classes))

    def told(self):
        thresholds = self.thresholds
        return {"classes": list(self.classes), "thresholds": None if thresholds is None else thresholds.tolist()}

    def told_of_strangers(self, df):
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
class MultiClass(Classes):
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
        self.check_classes()

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
        indices = self.indices()
        return np.array([indices.get(name, -1) for name in categories(df[self.column])], "int32")

    def unknown(self, df):
        """{class: rows} of target values outside the classes."""
        counts = collections.Counter(categories(df[self.column]))
        return {name: count for name, count in counts.most_common() if name not in set(self.classes)}

    def judged(self, df):
        notes = self.told_of_strangers(df)
        if notes:
            df = df[self.encode(df) >= 0]
        return df, notes

    def weights(self, target, how):
        return None if how is None else sample_weights(target.values, how, self.classes)

    def strata(self, target):
        return target.values

    def named_losses(self):
        return {"focal": lambda target: SparseCategoricalFocalCrossentropy(gamma=2.0)}

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, classes); the bias starts at the classes' log frequencies in the training target."""
        bias = "zeros"
        if target is not None:
            counts = np.bincount(target, minlength=len(self.classes)) + 0.5
            bias = StartValues(np.log(counts / counts.sum()).tolist())
        return keras.layers.Dense(len(self.classes), bias_initializer=bias, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="probabilities"):
        """Logits → probabilities that add to 1."""
        return keras.layers.Softmax(dtype="float32", name=name)(logits)

    def loss(self):
        return "sparse_categorical_crossentropy"

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
            label_section(self.classes, truth, predictions, decisions=decisions, thresholds=unused),
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

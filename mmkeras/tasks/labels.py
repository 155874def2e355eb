"""The task whose answer is any number of labels."""

import ast
import collections
import dataclasses
import json

import keras
import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import label_section
from mmkeras.evaluation.thresholds import tune_thresholds
from mmkeras.losses import WeightedBinaryCrossentropy, label_weights
from mmkeras.tasks.classes import Classes, StartValues


@dataclasses.dataclass(frozen=True)
class MultiLabel(Classes):
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
        self.check_classes()

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
        indices = self.indices()
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
        notes = self.told_of_strangers(df)
        if self.thresholds is None:
            notes.append("No validation rows were held out: thresholds are 0.5.")
        return df, notes

    def named_losses(self):
        return {
            "focal": lambda target: keras.losses.BinaryFocalCrossentropy(gamma=2.0),
            "weighted": lambda target: WeightedBinaryCrossentropy(label_weights(target.values)),
        }

    def logits(self, hidden, target=None, name="logits"):
        """(B, D) → (B, classes); the bias starts at the classes' log-odds in the training target."""
        bias = "zeros" if target is None else StartValues(log_odds(target).tolist())
        return keras.layers.Dense(len(self.classes), bias_initializer=bias, dtype="float32", name=name)(hidden)

    def activate(self, logits, name="probabilities"):
        """Logits → probabilities, each class by itself."""
        return keras.layers.Activation("sigmoid", dtype="float32", name=name)(logits)

    def loss(self):
        return "binary_crossentropy"

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
        return [
            label_section(
                self.classes, target.values, predictions, decisions=self._decisions(predictions), thresholds=thresholds
            )
        ]

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


def log_odds(target):
    """Log-odds of each column of a 0/1 matrix, with half a row added on each side so that none is infinite."""
    positive = target.sum(axis=0) + 0.5
    return np.log(positive / (len(target) + 1.0 - positive))

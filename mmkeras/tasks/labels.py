"""The task whose answer is any number of labels."""

import collections
import dataclasses
import re
import warnings

import keras
import numpy as np

from mmkeras.data.column import Claim
from mmkeras.data.columns import check_frame
from mmkeras.data.frames import column_labels
from mmkeras.data.telling import shortened
from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import label_section
from mmkeras.evaluation.thresholds import tune_thresholds
from mmkeras.losses.classes import AsymmetricCrossentropy, LabelAUC, WeightedBinaryCrossentropy
from mmkeras.losses.weights import label_weights
from mmkeras.tasks.class_cells import ClassValues, natural_order, warn_of_names
from mmkeras.tasks.classes import Classes, StartValues
from mmkeras.tasks.label_cells import CLOSING, LabelError, Labels, choose_separator, flag, read_labels


@dataclasses.dataclass(frozen=True)
class MultiLabel(Classes):
    """Any number of labels per row; one sigmoid per class, binary cross-entropy.

    A cell is read by its own form: "A|B" (split at `separator`); a list, tuple, set or array of names; a list of dicts with a
    "name"; a dict of 0 and 1 by name; or any of these as JSON, as a Python literal, or as NumPy or a database writes them
    ("['A' 'B']", "{A,B}"). An empty or missing cell means no label; None and NaN within a list are left out, with a warning.
    2, 2.0 and "2" are one label.

    Args:
        column: the target column; or a list of columns of 0 and 1, one for each label.
        classes: label names in the order of the outputs; None takes all labels of the training rows, with numbers by value,
            and "item 2" before "item 10".
        separator: str between labels in strings; None is chosen from the training rows, with a warning if it is not "|", by the
            rule of `label_cells.choose_separator`.
        flags: the columns of 0 and 1, where the first argument named them; the output is then called "labels".

    Predictions: (B, classes) probabilities. Decisions are lists of labels: str, or int where all training labels are ints.

    Raises:
        ValueError: no column name, `classes` without a name or with the same one twice; when adapting, labels in none of the
            forms, or the same in all rows; columns of flags that hold anything but 0 and 1.

    Example:
        >>> import mmkeras as mm
        >>> mm.MultiLabel("genres").names("Drama|War")
        ['Drama', 'War']
        >>> mm.MultiLabel("genres").names("[{'id': 18, 'name': 'Drama'}]")
        ['Drama']
        >>> mm.MultiLabel(["toxic", "insult"]).columns
        ('toxic', 'insult')
    """

    classes: tuple | None = None
    separator: str | None = None
    flags: tuple | None = None

    logit_scale = "log_odds"
    primary = "map"
    metric_names = ("map", "micro_f1", "macro_f1")
    tunes = True
    set_unit = "labels"
    option = "labels"
    option_help = "target column of labels: 'A|B', or lists"

    def __post_init__(self):
        if isinstance(self.column, list | tuple) and len(self.column) > 1:
            self._set(flags=column_labels(self.column), column="labels")
        super().__post_init__()
        self.check_classes()
        if self.separator is not None and (not isinstance(self.separator, str) or not self.separator):
            raise ValueError(
                f"`separator` must be a string, or None. Received: {self.separator!r}. Use for example '|'."
            )
        if self.flags is not None:
            self._set(flags=tuple(self.flags))
            if not all(self.flags) or len(set(self.flags)) < len(self.flags):
                raise ValueError(f"The columns of labels must have different names. Received: {list(self.flags)}.")
            if not set(self.classes or ()) <= set(self.flags):
                raise ValueError(
                    f"`classes` must be some of the columns {list(self.flags)}. Received: {list(self.classes)}. Leave it out."
                )

    @property
    def columns(self):
        return (self.column,) if self.flags is None else self.flags

    @classmethod
    def claim(cls, samples, modalities=()):
        if len(samples) > 1:
            flags = all(flag(cell) is not None for sample in samples for cell in sample.distinct)
            return Claim(1.0, f"{len(samples)} columns of 0 and 1", "labels") if flags else None
        sample, settings = samples[0], {}
        if sample.lists is None and (sample.texts is None or not any(map(str.strip, sample.texts))):
            return None
        cells, strength = sample.lists or sample.texts, 1.0
        if sample.texts:
            separator, told = choose_separator(sample.texts)
            written = sample.share(lambda text: text[:1] in CLOSING and text[-1:] in CLOSING.values())
            split = sample.share(lambda text: separator in text)
            names = sample.share(lambda text: any(map(str.isalpha, text))) > 0.5  # "1,5" is a number
            if written < 0.9 and not (split and (separator == "|" or (told and names))):
                return None
            strength = 0.97 if written >= 0.9 or separator == "|" else 0.85
            settings = {"separator": separator} if written < 0.9 and separator != "|" else {}
        try:
            labels = [read_labels(cell, settings.get("separator", "|")).names for cell in cells]
        except LabelError:
            return None
        rows = np.bincount(sample.codes[sample.codes >= 0]).tolist() if sample.texts else [1] * len(labels)
        counts = collections.Counter()
        for names, times in zip(labels, rows, strict=True):
            counts.update(dict.fromkeys(names, times))
        few = len(counts) <= 0.5 * counts.total()
        shown = ", ".join(f"{name!r:.24}" for name, _ in counts.most_common(3))
        why = f"{len(counts):,} different labels, {counts.total() / max(1, sum(rows)):.1f} in a cell: {shown}"
        return Claim(strength if few else 0.5, why, "labels", "" if few else "most occur once", settings)

    def names(self, cell):
        """The labels of one cell, as a list of strings.

        Raises:
            ValueError: a cell in none of the accepted forms.
        """
        return self._read(cell).names

    def _read(self, cell):
        separator = self.separator or "|"
        try:
            return read_labels(cell, separator)
        except LabelError as error:
            shown = shortened(cell, 200)
            if error.rule:
                raise ValueError(f"{error.rule} Received in {self.column!r}: {shown}. {error.fix}") from error
            raise ValueError(
                f"Labels in {self.column!r} must be strings such as 'A{separator}B', lists of names, or lists of "
                f"{{'id', 'name'}} dicts. Received: {shown}. {error.fix}"
            ) from error

    def labels(self, df):
        """`Labels` of each row, as a list.

        Args:
            df: DataFrame.

        Raises:
            KeyError, ValueError: a column that is missing, or a cell in none of the forms.
        """
        check_frame(df, self.columns, "the task")
        if self.flags is not None:
            names, flags = np.array(self.flags, dtype=object), np.stack([_flags(df[name]) for name in self.flags], 1)
            return [Labels(list(names[row])) for row in flags]
        known = {}

        def read(cell):
            if not isinstance(cell, str):
                return self._read(cell)
            if cell not in known:
                known[cell] = self._read(cell)
            return known[cell]

        return [read(cell) for cell in df[self.column]]

    def adapt(self, df):
        check_frame(df, self.columns, "the task")
        settings = self.settings
        if self.flags is None:
            self._refuse_flags(df[self.column])
        separator, told = (settings.separator, "") if settings.separator or self.flags else self._chosen(df)
        labels = settings.learn(separator=separator).labels(df)
        counts = collections.Counter(name for each in labels for name in each.names)
        classes = settings.classes or self.flags or tuple(natural_order(counts))
        if not classes:
            raise ValueError(
                f"The target {self.column!r} must hold labels. Received: {len(df)} rows without any. "
                "Check the column, or give `classes`."
            )
        whole = all(each.whole for each in labels if each.names) and all(
            re.fullmatch(r"-?\d+", name) for name in classes
        )
        adapted = settings.learn(classes=classes, separator=separator, whole=whole)
        target = adapted.encode(df)
        if len(df) > 1 and (target == target[0]).all():
            raise ValueError(
                f"The target {self.column!r} must differ between rows. Received: the same labels "
                f"{labels[0].names} in all {len(df)} rows. There is nothing to learn; check the data."
            )
        for sentence in [*([told] if told else []), *_told_of_gaps(self.column, labels)]:
            warnings.warn(sentence, stacklevel=3)
        warn_of_names(self.column, counts)
        return adapted

    def _chosen(self, df):
        """(separator of the training rows, a sentence about it or '')."""
        separator, told = choose_separator(df[self.column])
        return separator, f"The target {self.column!r} {told}" if told else ""

    def _refuse_flags(self, series):
        """Raise a ValueError for a column that says only whether one label is there."""
        distinct = set(map(_hashable, series.dropna()))
        if 0 < len(distinct) <= 4 and all(flag(cell) is not None for cell in distinct):
            raise ValueError(
                f"`MultiLabel({self.column!r})` reads cells that name their labels. Received: a column of 0 and 1, which says "
                f"whether one label is there. Use MultiClass({self.column!r}) for this label alone, or a list of such columns, "
                f"MultiLabel([{self.column!r}, …])."
            )

    def fixed(self, df):
        adapted = self.adapt(df)
        return dataclasses.replace(self, classes=adapted.classes, separator=adapted.separator)

    def encode(self, df):
        """(rows, classes) float32 of 0. and 1.; labels outside the classes are left out (see `unknown`)."""
        indices, labels = self.indices(), self.labels(df)
        target = np.zeros((len(df), len(indices)), "float32")
        for row, each in enumerate(labels):
            target[row, [indices[name] for name in each.names if name in indices]] = 1.0
        return target

    @property
    def values(self):
        if (self.state or {}).get("whole"):
            return ClassValues([int(name) for name in self.classes], "object")
        return super().values

    @property
    def thresholds(self):
        """(classes,) array, tuned on validation rows; None before, or without such rows, which stands for 0.5."""
        learnt = (self.state or {}).get("thresholds")
        return None if learnt is None else np.asarray(learnt, "float64")

    def unknown(self, df):
        """{label: rows} of target values outside the classes."""
        known = set(self.classes)
        counts = collections.Counter(name for each in self.labels(df) for name in each.names if name not in known)
        return dict(counts.most_common())

    def judged(self, df):
        notes = [*self.told_of_strangers(df), *_told_of_gaps(self.column, self.labels(df))]
        if self.thresholds is None:
            notes.append("No validation rows were held out: thresholds are 0.5.")
        return df, notes

    def named_losses(self):
        return {
            "focal": lambda target: keras.losses.BinaryFocalCrossentropy(gamma=2.0),
            "asymmetric": lambda target: AsymmetricCrossentropy(),
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
        return [LabelAUC(num_labels=len(self.classes))]

    def read(self, target):
        """A list of labels for each row."""
        return self._named(target.values > 0)

    def decide(self, predictions):
        """A list of labels for each row: those whose probability reaches the label's threshold."""
        return self._named(self._decisions(predictions))

    def _named(self, flags):
        names = np.array(self.values.cells, dtype=object)
        return [list(names[row]) for row in flags]

    def _decisions(self, predictions):
        return predictions >= (0.5 if self.thresholds is None else self.thresholds)

    def tune(self, target, predictions):
        return self.learn(thresholds=tune_thresholds(target.values, predictions).tolist())

    def pool(self, tasks, counts):
        each = [np.full(len(self.classes), 0.5) if task.thresholds is None else task.thresholds for task in tasks]
        return self.learn(thresholds=np.repeat(each, counts, axis=0).tolist())

    @property
    def tuned(self):
        return ["thresholds", *super().tuned]

    def truth(self, target):
        return target.values > 0

    def score(self, target, predictions):
        decisions = self._decisions(predictions)
        return lambda weights: metrics.multilabel(target.values, predictions, decisions, weights)

    def sections(self, target, predictions, pictures=None):
        thresholds = np.full(len(self.classes), 0.5) if self.thresholds is None else self.thresholds
        return [
            label_section(
                self.classes, target.values, predictions, decisions=self._decisions(predictions), thresholds=thresholds
            ),
            self.told_of_calibration(target, predictions),
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


def _hashable(cell):
    return cell if isinstance(cell, str | bytes | int | float) else str(cell)


def _flags(series):
    """(rows,) bools of a column of 0 and 1."""
    import pandas as pd

    codes, distinct = pd.factorize(series.map(_hashable, na_action="ignore"))
    flags = [flag(cell) for cell in distinct]
    bad = np.flatnonzero(np.array([value is None for value in [*flags, None]])[codes])
    if len(bad):
        cell = series.iloc[bad[0]]
        raise ValueError(
            f"A column of a label must hold 0 or 1 in every row. Received: {shortened(cell)} in {series.name!r}, and {len(bad)} such cells "
            f"in all. Fill or drop them, for example df[{series.name!r}].fillna(0)."
        )
    return np.array([*flags, False], bool)[codes]


def _told_of_gaps(column, labels):
    """A sentence about entries of lists that hold nothing, in a list; none where there are none."""
    gaps = sum(each.gaps for each in labels)
    rows = sum(each.gaps > 0 for each in labels)
    return [
        f"The target {column!r}: {gaps} entries of lists, in {rows} rows, hold nothing, such as None: left out."
    ] * (gaps > 0)


def log_odds(target):
    """Log-odds of each column of a 0/1 matrix, with half a row added on each side so that none is infinite."""
    positive = target.sum(axis=0) + 0.5
    return np.log(positive / (len(target) + 1.0 - positive))

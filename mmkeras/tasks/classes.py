"""The task whose answer is one class of several, and what it shares with that of any number of labels."""

import collections
import dataclasses
import warnings

import keras
import numpy as np

from mmkeras.data.categories import CategoryColumn
from mmkeras.data.column import Claim
from mmkeras.data.columns import check_frame
from mmkeras.data.telling import shortened
from mmkeras.evaluation import metrics
from mmkeras.evaluation.calibration import FEWEST, calibration_section, learn_calibration
from mmkeras.evaluation.sections import confusion_section, label_section
from mmkeras.evaluation.trees import Trees
from mmkeras.graph import operation_of, parents, submodel
from mmkeras.layers import Calibration
from mmkeras.losses import SparseCategoricalFocalCrossentropy, sample_weights
from mmkeras.tasks.base import check_target
from mmkeras.tasks.class_cells import ClassValues, listed, natural_order, unplain, warn_of_names
from mmkeras.tasks.decisions import Decisions
from mmkeras.tasks.label_cells import HALF, HALVES

TINY = 1e-6  # a probability is taken for no less, and for no nearer to 1
FEW = 10  # numbers that are more likely classes
MANY = 200  # names that are less likely classes


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
    """What `MultiClass` and `MultiLabel` share: names of classes, a probability for each.

    A concrete one writes `values` where decisions are more than names.
    """

    rivals = (*Decisions.rivals, Trees)
    every_cell = True
    ways = {"standard": {}, "weighted": {"loss": "weighted"}, "focal": {"loss": "focal"}}  # noqa: RUF012 never changed

    def check_classes(self):
        """Make the setting a tuple of strings; raise a ValueError unless they differ."""
        classes = None if self.classes is None else tuple(read_names(CategoryColumn(), self.classes))
        if classes is not None and (len(set(classes)) != len(classes) or not classes or "" in classes):
            raise ValueError(f"`classes` must be different names, at least one. Received: {self.classes!r}.")
        self._set(classes=classes)

    def fixed(self, df):
        return dataclasses.replace(self, classes=self.adapt(df).classes)

    def indices(self):
        """{class: its number}; raises a ValueError before they are known."""
        if self.classes is None:
            raise ValueError(f"The classes of {self.column!r} are not known yet. Give `classes`, or call `adapt(df)`.")
        return {name: index for index, name in enumerate(self.classes)}

    worth_name = "log-odds"
    outcomes = property(lambda self: self.classes)

    def outcome(self, choice):
        return super().outcome(read_names(CategoryColumn(), [choice])[0])

    def usual_outcomes(self, predictions):
        return predictions.argmax(axis=1)

    def explained(self, head):
        """The logits, where the head shows them: probabilities that are near 0 or 1 no longer tell what brought them there."""
        logits = logits_of(head.output[self.column])
        if logits is None:
            return head, self.worth
        return submodel(head.input, {self.column: logits}), self.worth_of_logits

    def worth_of_logits(self, outputs, outcomes):
        """(B,) log-odds of a class of each row, from logits (B, C)."""
        return super().worth(outputs, outcomes)

    def worth(self, outputs, outcomes):
        """(B,) log-odds of a class of each row."""
        p = keras.ops.clip(super().worth(outputs, outcomes), TINY, 1 - TINY)
        return keras.ops.log(p) - keras.ops.log1p(-p)

    def truth(self, target):
        """(R, C) bools: which class or label a row has."""
        raise NotImplementedError

    # --- what probabilities mean

    @property
    def tuned(self):
        learnt = (self.state or {}).get("calibration")
        if learnt is None:
            return [f"no calibration (with fewer than {FEWEST} rows none is tried; else it would not lower log-loss)"]
        return [f"calibration (log-loss {learnt['before']:.3f} to {learnt['after']:.3f})"]

    def calibrate(self, target, predictions):
        return self.learn(calibration=learn_calibration(self.logit_scale, self.truth(target), predictions))

    def calibration(self, name):
        learnt = (self.state or {}).get("calibration")
        return None if learnt is None else Calibration(learnt["slope"], learnt["shift"], self.logit_scale, name=name)

    def told_of_calibration(self, target, predictions):
        """`Section` of a report."""
        learnt = (self.state or {}).get("calibration")
        return calibration_section(self.logit_scale, self.truth(target), predictions, learnt)

    # --- sets

    set_unit = "classes"

    def misfits(self, target, predictions):
        """One less the probability of each class that is true."""
        return [
            1.0 - p[so].astype("float64") for so, p in zip(self.truth(target).T, np.asarray(predictions).T, strict=True)
        ]

    def within(self, predictions, bounds):
        """{"_set": (B, C) bools}: the classes whose probability is at least one less their bound."""
        return {"_set": keras.ops.greater_equal(predictions, (1.0 - np.array(bounds)).astype("float32"))}

    def frame_sets(self, within, index):
        """A Series of lists of cells, in the order of the classes."""
        import pandas as pd

        cells = [unplain(cell) for cell in self.values.cells]
        rows = [[cells[place] for place in np.flatnonzero(row)] for row in within["_set"]]
        return pd.Series(rows, index, name=self.column, dtype=object)

    def covered(self, target, within):
        (sets,) = within.values()
        return np.where(self.truth(target), sets, np.nan), sets.sum(axis=1, keepdims=True)

    @property
    def values(self):
        """`ClassValues`: what the classes stand for in the target's column."""
        return ClassValues(list(self.classes), "str")

    def frame(self, predictions, index):
        """Probabilities (rows, classes) as a DataFrame with one column per class, named as the target's cells are."""
        import pandas as pd

        return pd.DataFrame(predictions, index=index, columns=self.values.columns())

    def told(self):
        thresholds = self.thresholds
        return {"classes": self.values.told(), "thresholds": None if thresholds is None else thresholds.tolist()}

    def told_of_strangers(self, df):
        """A sentence about target values outside the classes, in a list; none where there are none."""
        unknown = self.unknown(df)
        if not unknown:
            return []
        return [
            f"Labels never seen in training, or left out of `classes`: {listed(list(unknown), unknown)}. The model cannot "
            "predict them; they count in no metric."
        ]


def logits_of(probabilities):
    """The KerasTensor of logits behind that of probabilities, calibrated as these are; None where they are not to be seen."""
    layer, (before,) = operation_of(probabilities), parents(probabilities)[:1]
    if isinstance(layer, Calibration):
        logits = logits_of(before)
        return None if logits is None else logits * np.float32(layer.slope) + np.float32(layer.shift)
    plain = isinstance(layer, keras.layers.Softmax) or getattr(layer, "activation", None) is keras.activations.sigmoid
    return before if plain else None


def read_names(column, values):
    """Names of some values, as a `CategoryColumn` reads them: list of str."""
    import pandas as pd

    return column.values(pd.Series(list(values), dtype=object)).tolist()


@dataclasses.dataclass(frozen=True)
class MultiClass(Classes):
    """Exactly one class per row; softmax, cross-entropy.

    Cells are read as categories are, see `CategoryColumn`: 1, 1.0 and "1" are one class. Decisions come back as cells of the
    training rows are, in their dtype. Names such as "None" are classes; a missing or blank cell is an error.

    Args:
        column: the target column.
        classes: classes in the order of the outputs, as they stand in the column; None takes all of the training rows: those of
            an ordered categorical in its order, others with numbers by value, and "item 2" before "item 10".

    Predictions: (B, classes) probabilities that add to 1.

    Raises:
        ValueError: no column name, `classes` without a name or with the same one twice; when adapting, fewer than two classes,
            or classes that are not among the given ones.

    Example:
        >>> import pandas as pd
        >>> import mmkeras as mm
        >>> mm.MultiClass("label", classes=["no", "yes"]).classes
        ('no', 'yes')
        >>> mm.MultiClass("stars").adapt(pd.DataFrame({"stars": [10, 2, 2]})).classes
        ('2', '10')
    """

    classes: tuple | None = None

    logit_scale = "log_probabilities"
    primary = "macro_f1"
    metric_names = ("macro_f1", "accuracy", "map")
    ways = {"standard": {}, "weighted": {"class_weight": "balanced"}, "focal": {"loss": "focal"}}  # noqa: RUF012
    estimator_type = "classifier"
    option = "label"
    option_help = "target column of one class per row"

    def __post_init__(self):
        super().__post_init__()
        self.check_classes()

    @classmethod
    def claim(cls, samples, modalities=()):
        (sample, *others), different = samples, len(samples[0].distinct)
        names = CategoryColumn().claim(sample)
        if others or different < 2 or (names is None and different > 2):
            return None
        strength = 0.95 if different == 2 else max(names.strength, 0.6) if different <= FEW else names.strength
        strength -= 0.3 if different > MANY else 0
        blank = (
            [cell for cell in sample.series.unique() if isinstance(cell, str) and not cell.strip()]
            if sample.texts
            else []
        )
        counts = np.bincount(sample.codes[sample.codes >= 0])
        doubt = f"{(counts == 1).sum()} of the classes occur once" if (counts == 1).any() else ""
        return Claim(strength, f"{different} different classes", "class", doubt, unread=blank)

    def adapt(self, df):
        check_frame(df, [self.column], "the task")
        series = df[self.column]
        check_target(series)
        several = [cell for cell in series if isinstance(cell, list | set | dict | np.ndarray)]
        if several:
            raise ValueError(
                f"The target {self.column!r} must hold one class in a cell. Received: {shortened(several[0], 200)}. "
                f"Use MultiLabel({self.column!r}) for several."
            )
        halves = [cell for cell in series.unique() if isinstance(cell, str) and HALF.search(cell)]
        if halves:
            raise ValueError(
                f"A class's name must be text that UTF-8 can hold. Received in {self.column!r}: {shortened(halves[0])}. {HALVES}"
            )
        column = dataclasses.replace(CategoryColumn().adapt(series), known=())
        names = self._names(series, column)
        settings = self.settings
        classes = settings.classes or self._in_order(series, column, names)
        adapted = settings.learn(
            classes=classes,
            column=column.get_config(),
            values=dataclasses.asdict(ClassValues.of(series, names, read_names(column, classes))),
        )
        if len(set(adapted.indices())) < 2:
            raise ValueError(
                f"The target {self.column!r} must hold at least two classes. Received: {list(adapted.classes)} in all "
                f"{len(df)} rows. There is nothing to tell apart; check the data."
            )
        unknown = adapted.unknown(df)
        if unknown:
            raise ValueError(
                f"Training rows must hold only the given `classes` {list(adapted.classes)}. "
                f"Received also: {unknown}. Add them, or drop the rows."
            )
        self._tell(series, names)
        return adapted

    def _tell(self, series, names):
        """Warn of names that may be meant otherwise."""
        warn_of_names(self.column, collections.Counter(names))
        spaced = [cell for cell in series.unique() if isinstance(cell, str) and cell != cell.strip()]
        if spaced:
            warnings.warn(
                f"The target {self.column!r} holds labels with spaces around them (for example {shortened(spaced[0])}), which do not "
                "count. Strip the column, so that decisions compare with it.",
                stacklevel=4,
            )

    @staticmethod
    def _in_order(series, column, names):
        """Different names, as a person would list them."""
        present = set(names)
        if getattr(series.dtype, "ordered", False):
            return tuple(name for name in read_names(column, series.cat.categories) if name in present)
        return tuple(natural_order(present))

    def _column(self):
        """How cells are read: as the training rows taught it; as strings before, and in Pipelines of earlier versions."""
        return CategoryColumn(**(self.state or {}).get("column", {}))

    def _names(self, series, column=None):
        """(rows,) names of the cells, of which none may be missing."""
        check_target(series)
        names = (column or self._column()).values(series)
        blank = sum(not name.strip() for name in names)
        if blank:
            raise ValueError(
                f"The target {self.column!r} must be known in every row. Received: {blank} blank cells. "
                f"Use df[df[{self.column!r}].str.strip() != '']."
            )
        return names

    def indices(self):
        names = read_names(self._column(), super().indices())
        numbers = {name: number for number, name in enumerate(names)}
        if len(numbers) < len(names):
            raise ValueError(f"`classes` must be different names, at least one. Received: {self.classes!r}.")
        return numbers

    def encode(self, df):
        """(rows,) int32 class numbers; −1 for a class never seen in training (see `unknown`)."""
        check_frame(df, [self.column], "the task")
        indices = self.indices()
        return np.array([indices.get(name, -1) for name in self._names(df[self.column])], "int32")

    def unknown(self, df):
        """{class: rows} of target values outside the classes."""
        known, counts = self.indices(), collections.Counter(self._names(df[self.column]))
        return {name: count for name, count in counts.most_common() if name not in known}

    @property
    def values(self):
        learnt = (self.state or {}).get("values")
        return super().values if learnt is None else ClassValues(**learnt)

    def judged(self, df):
        notes = self.told_of_strangers(df)
        if notes:
            df = df[self.encode(df) >= 0]
        return df, notes

    def weights(self, target, how):
        if how is None:
            return None
        if isinstance(how, dict):
            how = dict(zip(read_names(self._column(), how), how.values(), strict=True))
        return sample_weights(target.values, how, list(self.indices()))

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

    def least_squares(self, target):
        return self._flags(target)

    def activate(self, logits, name="probabilities"):
        """Logits → probabilities that add to 1."""
        return keras.layers.Softmax(dtype="float32", name=name)(logits)

    def loss(self):
        return "sparse_categorical_crossentropy"

    def metrics(self):
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]

    def read(self, target):
        """The class of each row, as a cell of the target."""
        return self.values.series(target.values).tolist()

    def decide(self, predictions):
        """The most probable class of each row, as a cell of the target."""
        return self.series(predictions).tolist()

    def series(self, predictions, index=None):
        """The most probable class of each row as a pandas Series of the target's dtype."""
        return self.values.series(predictions.argmax(axis=1), index, self.column)

    def _flags(self, numbers):
        """(rows, classes) bools of class numbers."""
        return numbers[:, None] == np.arange(len(self.classes))

    def truth(self, target):
        return self._flags(target.values)

    def worth_of_logits(self, outputs, outcomes):
        logits = outputs[self.column]
        own = keras.ops.one_hot(outcomes, len(self.classes), dtype="bool")
        others = keras.ops.logsumexp(keras.ops.where(own, -1e9, logits), axis=1)
        return super().worth_of_logits(outputs, outcomes) - others

    def misfits(self, target, predictions):
        """One less the probability of the class that is true (Sadinle et al., 2019)."""
        return [1.0 - np.asarray(predictions, "float64")[self.truth(target)]]

    def within(self, predictions, bounds):
        """As of `Classes`; the most probable class is always in the set."""
        likely = keras.ops.greater_equal(predictions, keras.ops.max(predictions, axis=1, keepdims=True))
        return {name: keras.ops.logical_or(sets, likely) for name, sets in super().within(predictions, bounds).items()}

    def score(self, target, predictions):
        truth, decisions = self._flags(target.values), self._flags(predictions.argmax(axis=1))
        return lambda weights: metrics.multiclass(truth, predictions, decisions, weights)

    def sections(self, target, predictions, pictures=None):
        truth, decisions = self._flags(target.values), self._flags(predictions.argmax(axis=1))
        unused = np.full(len(self.classes), np.nan)
        return [
            label_section(self.classes, truth, predictions, decisions=decisions, thresholds=unused),
            confusion_section(self.classes, target.values, predictions.argmax(axis=1)),
            self.told_of_calibration(target, predictions),
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

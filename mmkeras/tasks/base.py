"""The contract of a task: what the target means, the head that answers it, and how answers are judged and read.

R = rows, B = rows of a batch, C = outputs, S = resamples.
"""

import dataclasses

import keras
import numpy as np

from mmkeras.data.frames import column_label
from mmkeras.data.telling import shortened
from mmkeras.evaluation.conformal import bound, check_coverage
from mmkeras.evaluation.sections import Section
from mmkeras.graph import submodel
from mmkeras.registry import Learner


@dataclasses.dataclass(frozen=True)
class Task(Learner):
    """Base of the tasks. Fields are settings; what `adapt` and `tune` learn is in `state`.

    A concrete one writes `adapt`, `target`, `build_head`, `training`, `predict`, `frame`, `decide`, `read` and `score`, with
    `primary` and `metric_names`; one of a family (`Decisions`) writes less. What else stands here has a default.
    """

    column: str

    # The metric that decides whether a model beats its rivals, and all there are; those of which less is better.
    primary = None
    metric_names = ()
    smaller_is_better = ()
    # Ways to train, for `ablate` and `search`: {name: settings of `Pipeline.fit`}, the first of them the plain one.
    ways = {"standard": {}}  # noqa: RUF012 never changed
    # Classes derived from `evaluation.rivals.Rival` that every evaluation shows beside the model.
    rivals = ()
    # On which scale of `layers.WeightedMean` predictions are logits, for means of several models; None for no other than their own.
    logit_scale = None
    # Whether predictions are means of numbers that `least_squares` tells, which solved heads and late modalities build on.
    mean_is_told = False
    # How many passes over some thousand rows training usually takes, and whether it then keeps the best of them by `primary`.
    usual_epochs = 10
    stops_early = False
    # Whether `tune` learns from validation rows, so that some should be held out.
    tunes = False
    # Rows of a batch where nobody chose, None leaves it to their number, see `Plan.of`; and how few there may be.
    usual_batch = None
    least_batch = 1
    # Name of a column of `units` whose values stay together: held out, put in a fold and drawn in resamples as one; None for none.
    together = None
    # {side: names of its modalities} of a task with sides.
    sides = {}  # noqa: RUF012 never changed
    # Whether the target's column may be read by modalities, because answers do not stand in it.
    answers_apart = False
    # Whether a report shows some rows with truth and decision beside each other.
    compares_rows = True
    # Whether predictions of models of several folds can be judged together.
    pools = True
    # Whether it learns from rows in files, a part at a time; and whether `adapt` must see every different cell of the target, or a sample of rows.
    streams = every_cell = False
    # Whether it answers a question that a text of the row asks.
    asks = False
    # Whether heads read sequences (B, T, D), such as the patches of an image, rather than vectors.
    sequences = False
    # What scikit-learn calls a model of it: "classifier", "regressor", or None for neither.
    estimator_type = None
    # The command line's option for the target column, without dashes, and what it says of it; None for no option.
    option = None
    option_help = ""

    def __post_init__(self):
        if isinstance(self.column, list) or not column_label(self.column):
            hint = ""
            if isinstance(self.column, list):
                hint = " Columns of 0 and 1, one for each label, are a list of at least two: MultiLabel(['toxic', 'insult'])."
            raise ValueError(f"`column` must be a column name. Received: {self.column!r}.{hint}")
        self._set(column=column_label(self.column))

    @property
    def thresholds(self):
        """What it decides by, tuned on validation rows; None where nothing is."""
        return None

    # --- suggestions

    @classmethod
    def claim(cls, samples, modalities=()):
        """`data.column.Claim` on target columns by some of their cells; None where they are not its own, or nobody should guess.

        Args:
            samples: list of `data.sample.Sample`, one unless a user named several columns.
            modalities: what would be read to answer it.
        """
        return None

    # --- rows

    @property
    def columns(self):
        """Names of the target's columns."""
        return (self.column,)

    def units(self, df, modalities):
        """A row for each thing that is judged, such as an image with all its captions.

        Args:
            df: DataFrame.
            modalities: what is read to answer it.
        """
        return df

    def adapt(self, df):
        """A copy that has learnt from the training rows: classes, vocabulary, mean."""
        raise NotImplementedError

    def fixed(self, df):
        """The task with what its outputs are written down, so that models of other rows have the same; see `adapt`."""
        return self

    def judged(self, df):
        """(rows whose target can be judged, sentences about the others)."""
        return df, []

    def target(self, df):
        """`Target` of the rows."""
        raise NotImplementedError

    def weights(self, target, how):
        """(R,) sample weights for `class_weight`, or None."""
        if how is None:
            return None
        raise ValueError(
            f"`class_weight` applies to MultiClass. Received: {how!r} for {type(self).__name__}. Leave it None."
        )

    def strata(self, target):
        """(R,) groups that cross-validation spreads evenly over its folds, or None."""
        return None

    # --- model

    def check_settings(self, names, fusion="concat", **settings):
        """Raise a ValueError unless `build_head` can take these settings with modalities of these names."""
        raise NotImplementedError

    def usual_fusion(self, modalities):
        """The label of the fusion where nobody chose.

        Args:
            modalities: all that a model reads, not adapted.
        """
        return "concat"

    def head_choices(self, modalities):
        """{setting of the head: values that `search` tries}, the first of them the usual one; [] where only a space names some.

        "dropout_text" is the setting "dropout" of the modality "text" alone, for a head that takes it by modality.

        Args:
            modalities: all that a model may have.
        """
        return {}

    def build_head(self, inputs, target=None, **settings):
        """Features → {output: (B, …)}, as one Functional keras.Model.

        Args:
            inputs: `HeadInputs`.
            target: `Target` of the training rows, for starting values; or None.
            **settings: "fusion" and the settings that the user gave the Pipeline.
        """
        raise NotImplementedError

    def choose_loss(self, loss, target=None):
        """A Keras loss for what a user gave `fit`: None (the task's own), a name, or a Keras loss.

        Args:
            loss: what was given.
            target: `Target` of the training rows, which some losses learn from.

        Raises:
            ValueError: a name that neither the task nor Keras knows.
        """
        if not isinstance(loss, str):
            return loss
        if loss in self.named_losses():
            return self.named_losses()[loss](target)
        try:
            return keras.losses.get(loss)
        except ValueError as error:
            known = ", ".join(map(repr, self.named_losses()))
            raise ValueError(
                f"`loss` must be None{', ' + known if known else ''}, or a Keras loss or its name. "
                f"Received: {loss!r} for {type(self).__name__}."
            ) from error

    def named_losses(self):
        """{name: function of the training rows' `Target` → Keras loss} of losses that are the task's own."""
        return {}

    def training(self, head, loss=None):
        """`Training` of a head: an output for each decision, with a loss each.

        Args:
            head: what `build_head` gave.
            loss: what `choose_loss` gave; None for the task's own.
        """
        raise NotImplementedError

    def watch(self, predict, df):
        """Keras callbacks that look at validation rows after each epoch.

        Args:
            predict: function of a DataFrame and settings of `predict` to predictions by the model as it is.
            df: the validation rows, or None.
        """
        return []

    def embedding(self, head, side=None):
        """The KerasTensor (B, D) of a head in which all modalities are joined: what its fusion gave.

        Args:
            head: what `build_head` gave.
            side: of a task with sides, which of them; else None.

        Raises:
            ValueError: a side that there is not.
        """
        if side is not None:
            raise ValueError(
                f"Only a Pipeline for Retrieval has sides. Received: side={side!r} for {type(self).__name__}. Leave it out."
            )
        if any(layer.name == "fusion" for layer in head.layers):
            return head.get_layer("fusion").output
        features = [x for key, x in head.input.items() if "." not in key]
        flat = [keras.ops.mean(x, axis=1) if len(x.shape) == 3 else x for x in features]
        return flat[0] if len(flat) == 1 else keras.ops.concatenate(flat, axis=-1)

    # --- predictions: anything of length R that NumPy can index and join, such as an array (R, C)

    def predict(self, run, head):
        """Predictions of a head, in the order of the rows.

        Args:
            run: function of (keras.Model of features, each=None) → {output: (R, …)}, see `Trunk.outputs`.
            head: what `build_head` gave.
        """
        raise NotImplementedError

    def write(self, run, head, grid=None, **settings):
        """`Captions` of the rows, for a task that writes sentences; see `generate`."""
        raise ValueError(f"`generate` writes captions. Received: a Pipeline for {type(self).__name__}. Use predict.")

    def fit_linear(self, terms, target):
        """(weights (C, D), bias (C,)) of a linear model of terms (R, D), for a task of decisions; see `linear_probe`."""
        raise ValueError(
            f"A linear model answers MultiClass, MultiLabel or Regression. Received: {type(self).__name__}."
        )

    def tune(self, target, predictions):
        """A copy that has learnt from validation rows, such as thresholds."""
        return self

    def calibrate(self, target, predictions):
        """A copy that has learnt from validation rows how predictions are brought to mean what they say, where that betters them."""
        return self

    def calibrates(self, aim=None):
        """Whether `calibrate` suits a loss or a metric that was asked for; None for the task's own."""
        return True

    def calibration(self, name):
        """The layer of this name from predictions to those that mean what they say; None where nothing was learnt."""
        return None

    def uncalibrated(self):
        """A copy that knows nothing of what the predictions of a model are worth, as those of another are worth something else."""
        return self._copy(state={k: v for k, v in (self.state or {}).items() if k not in ("calibration", "sets")})

    # What validation rows taught, in words.
    tuned = ()

    def pool(self, tasks, counts):
        """The task that judges rows of several folds together, `counts` of each, whose tasks were tuned apart."""
        return self

    def frame(self, predictions, index):
        """Predictions as a DataFrame, for a person."""
        raise NotImplementedError

    def decide(self, predictions):
        """A decision for each row, as a list."""
        raise NotImplementedError

    def series(self, predictions, index=None):
        """Decisions as a pandas Series named as the target, in its dtype where there is one."""
        import pandas as pd

        decisions = self.decide(predictions)
        dtype = object if any(isinstance(decision, list) for decision in decisions[:1]) else None
        return pd.Series(decisions, index=index, name=self.column, dtype=dtype)

    def read(self, target):
        """The true answer of each row, as a list, in the form of `decide`."""
        raise NotImplementedError

    # --- sets that hold the truth as often as they should

    # What `Pipeline.conformalize` learnt: {"coverage", "rows", "scores": a sorted list for each thing that is told of a row}; None before.
    sets = property(lambda self: (self.state or {}).get("sets"))
    # What the size of a set counts; None where a task has no sets.
    set_unit = None

    def in_sets(self, predictions, coverage=None):
        """What `within` gives, as arrays, at a coverage; None for that of `conformalize`.

        Raises:
            ValueError: no held-out rows were given yet, or a coverage out of range.
        """
        if self.sets is None:
            raise ValueError("Sets need held-out rows. Received: none yet. Call `pipe.conformalize(held_out)` first.")
        coverage = self.sets["coverage"] if coverage is None else check_coverage(coverage)
        return {end: np.asarray(x) for end, x in self.within(predictions, self.bounds(coverage)).items()}

    def bounds(self, coverage):
        """A bound on each of `misfits`, so that the truth is within it as often as `coverage`; see `evaluation.conformal.bound`."""
        return [bound(scores, coverage) for scores in self.sets["scores"]]

    def misfits(self, target, predictions):
        """How badly predictions of held-out rows fit the truth: a list with an array for each thing that is told of a row."""
        raise NotImplementedError

    def within(self, predictions, bounds):
        """What fits no worse than bounds, a number for each of `misfits`: {ending of its name: array or tensor (B, …)}.

        Args:
            predictions: (B, C), in units of the target. bounds: list of floats.
        """
        raise NotImplementedError

    def frame_sets(self, within, index):
        """What `within` gave as a pandas object, for a person."""
        raise NotImplementedError

    def covered(self, target, within):
        """((R, K) 1 where a set holds the truth, 0 where not, NaN without a truth; (R, K) sizes of sets)."""
        raise NotImplementedError

    # --- explanations

    # Names of what a prediction says of a row, of which one is explained; () where it is one thing.
    outcomes = ()
    # What an explanation divides, in a word or two; None where rows cannot be explained.
    worth_name = None

    def outcome(self, choice):
        """The number of the outcome that a user named."""
        if choice in self.outcomes:
            return self.outcomes.index(choice)
        rule = (
            f"one of {shortened(list(self.outcomes), 200)}"
            if self.outcomes
            else "None, as there is one thing to explain"
        )
        raise ValueError(f"`choice` must be {rule}. Received: {shortened(choice)}.")

    def usual_outcomes(self, predictions):
        """(R,) numbers of the outcomes that are explained where nobody chose."""
        return np.zeros(len(predictions), int)

    def chosen(self, choice, predictions):
        """((R, …) ints that tell `worth` what is explained of each row, R names of it, or None where it is one thing).

        Args:
            choice: what a user named, or None. predictions: of the rows.
        """
        usual = choice is None
        numbers = self.usual_outcomes(predictions) if usual else np.full(len(predictions), self.outcome(choice))
        return numbers, tuple(self.outcomes[number] for number in numbers) if self.outcomes else None

    def explained(self, head):
        """(keras.Model from features to what `worth` reads, `worth` of that head)."""
        return head, self.worth

    def worth(self, outputs, outcomes):
        """(B,) numbers that an explanation divides, such as log-odds; differentiable.

        Args:
            outputs: {output of the head: tensor} of B rows.
            outcomes: (B, …) ints, see `chosen`.
        """
        raise NotImplementedError

    # --- judgement

    def check_predictions(self, predictions):
        """A sentence about predictions that cannot be judged, such as NaN; '' where they can."""
        return ""

    def score(self, target, predictions):
        """A function of weights (S, R), how often each row counts in a resample, to {metric: (S,)}."""
        raise NotImplementedError

    def gallery(self, target, predictions):
        """Numbers of the rows whose pictures `sections` shows beside what of them counted; [] for none."""
        return []

    def sections(self, target, predictions, pictures=None) -> list[Section]:
        """What a report shows of this task beside scores.

        Args:
            target, predictions: of the judged rows.
            pictures: a picture (path or bytes) of each row, or None.
        """
        return []

    # --- serving

    def serving(self, head):
        """{signature: keras.Model from features to what is served}; "serve" is the main one, "predict_sets" that of sets."""
        if self.sets is None:
            return {"serve": head}
        said = head.output[self.column]
        within = self.within(said, self.bounds(self.sets["coverage"]))
        sets = submodel(head.input, {self.column: said, **{f"{self.column}{end}": x for end, x in within.items()}})
        return {"serve": head, "predict_sets": sets}

    def told(self):
        """Plain values about the answers, for `mmkeras.json` beside a served model."""
        return {"classes": [], "thresholds": None}


def check_target(series):
    """Raise a ValueError where the target is missing in a row."""
    missing = int(series.isna().sum())
    if missing:
        raise ValueError(
            f"The target {series.name!r} must be known in every row. Received: {missing} missing values. "
            f"Use df.dropna(subset=[{series.name!r}])."
        )


def finite(predictions):
    """'' where an array holds finite numbers, else a sentence."""
    bad = ~np.isfinite(predictions)
    if not bad.any():
        return ""
    half = "float16" in (keras.config.floatx(), keras.config.dtype_policy().compute_dtype)
    fix = (
        "Use keras.config.set_floatx('float32')" if half else "Use a lower learning_rate, and look for extreme numbers"
    )
    return f"Predictions must be finite numbers. Received: {bad.sum():,} of {bad.size:,} that are not: the training diverged. {fix}."

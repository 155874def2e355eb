"""A modality that joins a fitted model late: it learns from what the others leave unexplained, if that pays.

R = rows, D = width of the features, C = outputs.
"""

import dataclasses

import numpy as np
from scipy.optimize import minimize

from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import as_frame
from mmkeras.evaluation.metrics import interval
from mmkeras.evaluation.report import scores
from mmkeras.fitting import Recipe
from mmkeras.graph import functional
from mmkeras.inspection.folds import folds_of
from mmkeras.layers import AddLinear
from mmkeras.layers.averaging import SCALES
from mmkeras.modalities.base import PRESENT, Modality, adapt
from mmkeras.pipeline import Pipeline
from mmkeras.search.merging import one_trunk
from mmkeras.trunk.trunk import Trunk

PENALTIES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
FEWEST = 20  # rows that have the modality
STEPS = 80


def add_modality(pipe, modality, df, *, folds=3, seed=0, verbose=1):
    """A fitted Pipeline with one modality more, which cannot take much away from what it knows.

    Trained with all the others, a weak and wide modality (a poster of each film) is learnt by heart, and the model gets worse. Here the
    fitted model stays as it is. How much it leaves unexplained is told by models of its kind on rows that they did not learn from;
    a linear function of the new features, held small by a penalty, is fitted to that, and added to the logits of the rows that have
    them. The penalty is chosen on rows left out; where none is better than nothing, the modality is not added, and `notes` say so.

    Args:
        pipe: Pipeline of labels, classes or numbers that was fitted in this process.
        modality: one whose features need no training: a frozen tower with pooling, or a `Vector`; by a name that `pipe` does not have.
        df: DataFrame that `pipe` was fitted on, with the new columns. Rows on which it was validated tune thresholds alone.
        folds: int, in how many parts the rows are cut, one model of the Pipeline's kind for each.
        seed: int, of the folds.
        verbose: 0 silent; 1 tells what was found.

    Returns:
        `Pipeline`, of which `notes` begin with what the modality gave; `pipe` is not changed. Fitted again, it trains all together.

    Raises:
        TypeError: something that is no modality.
        ValueError: a Pipeline without its rows, or of another task; a name that is taken; features that train, or sequences; other
            rows; too few rows with the modality.
        KeyError: a column that is missing.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(80, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=2, verbose=0)
        >>> more = mm.add_modality(pipe, mm.Vector(["popularity", "revenue"]), df, verbose=0)
        >>> "vector" in more.notes[0]
        True
    """
    fitted = pipe.check_fitted()
    df = _checked(pipe, modality, as_frame(df), folds)
    learnt, validation = (_same_rows(rows, df) for rows in (fitted.rows, fitted.validation))
    trunk = Trunk([adapt(modality, learnt.df)], cache=fitted.trunk.cache, engine=fitted.trunk.engine)
    features = _features(trunk, modality, learnt.df, verbose)
    if features.there.sum() < FEWEST:
        raise ValueError(
            f"A modality is added where at least {FEWEST} training rows have it. Received: {features.there.sum()} of "
            f"{len(learnt.df)} for {modality.name!r}. Leave it out."
        )
    scale = fitted.task.logit_scale or "predictions"
    places = folds_of(fitted.task, learnt.df, folds, seed=seed)
    rest = Rest.of(fitted.task, learnt.target.values, _left_out(pipe, fitted, learnt, places), learnt.weights)
    penalty, losses = _choose(rest, features, places)
    if penalty is None:
        note = (
            f"{modality.name!r} was not added: no penalty explains rows left out better than nothing does "
            f"({losses[None]:.4f} against {min(losses[p] for p in PENALTIES):.4f})."
        )
        return _told(Pipeline.of(fitted, pipe.fusion, **pipe.head_settings), pipe, note, verbose)
    kernel = rest.solve(features, features.there, penalty)
    whole, _ = one_trunk([fitted.trunk, trunk])
    head = _with_addition(fitted.head, trunk, modality.name, scale)
    head.get_layer(f"add_{modality.name}").set_weights(features.folded(kernel))
    task = fitted.task.uncalibrated()
    more = dataclasses.replace(fitted, task=task, trunk=whole, head=head, rows=learnt, validation=validation, rivals={})
    note = f"{modality.name!r} was added with a penalty of {penalty:g}, chosen on training rows left out"
    if validation is not None:
        more.tune(calibrate=False)  # rows without the modality keep what they were told
        note += f"; {_gain(fitted, more, validation)}"
    return _told(Pipeline.of(more, pipe.fusion, **pipe.head_settings), pipe, f"{note}.", verbose)


def _checked(pipe, modality, df, folds):
    fitted = pipe.check_fitted()
    if not isinstance(modality, Modality):
        raise TypeError(
            f"`add_modality` takes a modality. Received: {type(modality).__name__}. Use for example mm.Image(…)."
        )
    if fitted.rows is None:
        raise ValueError(
            "A modality is added on the rows that a Pipeline learnt from. Received: one that was loaded. Fit it here first."
        )
    if not fitted.task.mean_is_told:
        raise ValueError(
            f"A modality is added to labels, classes and numbers. Received: {type(fitted.task).__name__}. Train with all modalities."
        )
    names = [other.name for other in fitted.trunk.modalities]
    if modality.name in names:
        raise ValueError(
            f"Names of modalities must differ. Received: {modality.name!r} beside {names}. Give another `name`."
        )
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise ValueError(f"`folds` must be an int of at least 2. Received: {folds!r}.")
    check_frame(df, list(columns_of([modality])))
    return df


def _same_rows(rows, df):
    """`Rows` with the columns of `df`; None of None."""
    if rows is None:
        return None
    if not df.index.is_unique or not rows.df.index.isin(df.index).all():
        raise ValueError(
            "A modality is added with the DataFrame that the Pipeline was fitted on, whose index names each row once. Received: "
            f"{len(df)} rows that do not hold the {len(rows.df)} it learnt from. Give those rows, with the new columns."
        )
    new = df.loc[rows.df.index]
    return dataclasses.replace(rows, df=rows.df.assign(**{c: new[c] for c in new.columns if c not in rows.df.columns}))


def _left_out(pipe, fitted, learnt, places):
    """(R, C) what models of the Pipeline's kind say of rows that they did not learn from."""
    settings = [modality.settings for modality in fitted.trunk.modalities]
    task, head = fitted.task.settings.fixed(learnt.df), {"fusion": pipe.fusion, **pipe.head_settings}
    recipe, plan = Recipe(settings, task, head, pipe.encode_engine), dataclasses.replace(fitted.plan, verbose=0)
    validation, said = None if fitted.validation is None else fitted.validation.df, None
    for train, judged in places:
        model, _ = recipe.learn(learnt.df.iloc[train], validation, plan, fitted.trunk.cache)
        values = model.predict(learnt.df.iloc[judged])
        said = np.zeros((len(learnt.df), values.shape[1])) if said is None else said
        said[judged] = values
    return said


@dataclasses.dataclass
class Features:
    """Features of rows, in standard units.

    Attributes:
        values: (R, D), of variance 1 / D where they are there. there: (R,) bools.
        mean, deviation: (D,), what they were brought to standard units by.
    """

    values: np.ndarray
    there: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    def folded(self, kernel):
        """[(D,), (D, C)] for `AddLinear`, of a kernel for `values`."""
        return [self.mean.astype("float32"), (kernel / self.deviation[:, None]).astype("float32")]


def _features(trunk, modality, df, verbose):
    name = modality.name
    if trunk.encode.trainable_weights:
        raise ValueError(
            f"A modality is added by features that need no training. Received: {name!r}, whose encoder trains with a head. Use a frozen "
            "pretrained encoder, or mm.Vector."
        )
    if len(trunk.encode.output[name].shape) != 2:
        raise ValueError(
            f"A modality is added by one vector of each row. Received: {name!r}, a sequence. Give it a `pooling`."
        )
    outputs = trunk.features(df, verbose=verbose)
    values, there = outputs[name].astype("float64"), outputs[f"{name}{PRESENT}"][:, 0] > 0
    some = values[there] if there.any() else values
    mean, deviation = some.mean(axis=0), np.maximum(some.std(axis=0), 1e-6) * np.sqrt(values.shape[1])
    return Features((values - mean) / deviation, there, mean, deviation)


@dataclasses.dataclass
class Rest:
    """What predictions leave unexplained, by the loss of their scale.

    Attributes:
        target: (R, C). start: (R, C), predictions on the scale. scale: of `layers.WeightedMean`.
        unit: (C,), by which numbers are divided. weights: (R,) of the rows.
    """

    target: np.ndarray
    start: np.ndarray
    scale: str
    unit: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, task, target, said, weights):
        scale = task.logit_scale or "predictions"
        target = np.asarray(target if scale == "predictions" else task.least_squares(target), "float64")
        unit = np.maximum(np.nanstd(target, axis=0), 1e-12) if scale == "predictions" else np.ones(target.shape[1])
        onto, _ = SCALES[scale]
        start = np.asarray(onto(said.astype("float64")), "float64") / unit
        return cls(target / unit, start, scale, unit, np.ones(len(target)) if weights is None else np.asarray(weights))

    def loss(self, moved, rows):
        """(sum of the losses of rows, its slopes (rows, C)) where predictions are moved by (rows, C)."""
        said, target, weights = self.start[rows] + moved, self.target[rows], self.weights[rows, None]
        if self.scale == "predictions":
            slopes = np.nan_to_num(said - target)  # a missing cell says nothing
            losses = 0.5 * slopes**2
        elif self.scale == "log_odds":
            losses, slopes = np.logaddexp(0, said) - target * said, 1 / (1 + np.exp(-said)) - target
        else:
            whole = np.logaddexp.reduce(said, axis=1, keepdims=True)
            losses, slopes = target * (whole - said), np.exp(said - whole) * target.sum(axis=1, keepdims=True) - target
        return float((losses * weights).sum()), slopes * weights

    def solve(self, features, rows, penalty):
        """(D, C) kernel, in the target's unit, of least loss on rows (flags), with half the penalty times its squares added."""
        x, rows = features.values[rows], np.flatnonzero(rows)
        shape = (x.shape[1], self.target.shape[1])

        def objective(flat):
            kernel = flat.reshape(shape)
            loss, slopes = self.loss(x @ kernel, rows)
            return loss + 0.5 * penalty * (kernel**2).sum(), (x.T @ slopes + penalty * kernel).ravel()

        flat = minimize(objective, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS}).x
        return flat.reshape(shape) * self.unit


def _choose(rest, features, places):
    """(the penalty of least loss on rows left out, or None where nothing is better, {penalty or None: mean loss})."""
    sums, count = dict.fromkeys([None, *PENALTIES], 0.0), 0
    for train, judged in places:
        learns = np.zeros(len(features.there), bool)
        learns[train] = features.there[train]
        left = judged[features.there[judged]]
        count += len(left)
        sums[None] += rest.loss(0.0, left)[0]
        for penalty in PENALTIES:
            kernel = rest.solve(features, learns, penalty) / rest.unit
            sums[penalty] += rest.loss(features.values[left] @ kernel, left)[0]
    losses = {penalty: value / max(1, count) for penalty, value in sums.items()}
    return min(losses, key=losses.get), losses


def _with_addition(head, trunk, name, scale):
    """A head whose predictions a modality moves, see `AddLinear`."""
    inputs = trunk.head_inputs([name])
    features, present = inputs(name), inputs.present(name)
    outputs = {}
    for key, said in head.output.items():
        outputs[key] = AddLinear(scale, name=f"add_{name}", dtype="float32")([said, features, present])
    return functional({**head.input, **inputs.inputs}, outputs, "head")


def _gain(before, after, rows):
    """What two models score on rows, and the interval of the difference, as a text."""
    primary = after.task.primary
    both = [scores(model.task, rows.target, model.predict(rows.df)) for model in (before, after)]
    (old, drawn_old), (new, drawn_new) = [(point[primary], drawn[primary]) for point, drawn in both]
    low, high = interval(drawn_new - drawn_old)
    return f"{primary} on {len(rows.df):,} validation rows {old:.3f} without, {new:.3f} with: {new - old:+.3f} [{low:+.3f}, {high:+.3f}]"


def _told(more, pipe, note, verbose):
    more.notes = [note, *pipe.notes]
    if verbose:
        print(note, flush=True)
    return more

"""Cross-validation: every row judged by a model that did not see it, and two settings compared on the same folds."""

import dataclasses
import gc
import inspect

import numpy as np

from mmkeras.data.categories import group
from mmkeras.data.columns import columns_of
from mmkeras.data.frames import as_frame
from mmkeras.data.splits import VALIDATION_FROM, VALIDATION_SHARE, split_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.report import indent, scores
from mmkeras.inspection.comparison import Comparison, corrected
from mmkeras.inspection.folds import folds_of, pooled_scores, read_rows
from mmkeras.pipeline import Pipeline
from mmkeras.trunk.store import CacheFolder

MEAN, TOGETHER = "mean", "together"  # rows of a table of scores behind those of the folds
OF_FIT = set(inspect.signature(Pipeline.fit).parameters)


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CrossValidation:
    """What `cross_validate` found. Print it, or see `to_frame`.

    Attributes:
        scores: DataFrame with a row for each fold: "learnt" and "judged" (rows), each metric, and the bounds of its 95% bootstrap
            interval as "…_low" and "…_high".
        metrics: {name: value}, the means over the folds.
        intervals: {name: (low, high)} of these means, 95%, corrected for the rows that folds share (Nadeau & Bengio, 2003).
        together: {name: value} of all judged rows together, and together_intervals: {name: (low, high)}, 95% bootstrap intervals.
        predictions: DataFrame on the index of the rows, in the task's form, such as a probability for each class; a row that no fold
            judges is empty.
        truth: pandas Series of the answers, on the same index.
        folds: list of (numbers of the rows learnt from, numbers of the rows judged).
        notes: list of sentences about what the figures allow one to say.
        target: str, the target column.
        primary: str, the metric that `compare` is about.
        smaller_is_better: names of the metrics of which less is better.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> table, task = [mm.Tabular(numeric=["budget"])], mm.Regression("popularity")
        >>> found = mm.cross_validate(table, task, df, folds=2, epochs=1, verbose=0)
        >>> found.predictions.shape, list(found.scores["judged"])
        ((60, 1), [30, 30])
    """

    scores: object
    metrics: dict
    intervals: dict
    together: dict
    together_intervals: dict
    predictions: object
    truth: object
    folds: list
    notes: list
    target: str
    primary: str
    smaller_is_better: tuple

    def to_frame(self):
        """Scores of the folds, their mean, and of all rows together, as a DataFrame."""
        import pandas as pd

        rows = {}
        for name, points, bounds in (
            (MEAN, self.metrics, self.intervals),
            (TOGETHER, self.together, self.together_intervals),
        ):
            rows[name] = {"judged": int(self.scores["judged"].sum()) if name == TOGETHER else np.nan}
            for metric, value in points.items():
                rows[name] |= {metric: value, f"{metric}_low": bounds[metric][0], f"{metric}_high": bounds[metric][1]}
        return pd.concat([self.scores.astype(object), pd.DataFrame.from_dict(rows, orient="index").astype(object)])

    def compare(self, other, metric=None):
        """What these settings score above other settings on the same folds, as `Comparison`: a paired test.

        Args:
            other: `CrossValidation` of the same rows, target and folds.
            metric: name of a metric; None takes the primary one.

        Raises:
            ValueError: other rows, targets or folds; fewer than two folds; a metric that one of them lacks.
        """
        metric = self.primary if metric is None else metric
        _check_comparable(self, other, metric)
        differences = (self.scores[metric] - other.scores[metric]).to_numpy("float64")
        return Comparison.of(metric, differences, self.folds, less=metric in self.smaller_is_better)

    def __str__(self):
        frame = self.to_frame()
        shown = frame[["learnt", "judged"]].map(lambda count: "" if count != count else f"{int(count)}")
        for name in self.metrics:
            shown[name] = [f"{value:.3f}" for value in frame[name]]
            bounds = zip(frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
            shown[f"{name} 95%"] = [f"[{low:.3f}, {high:.3f}]" for low, high in bounds]
        lines = [f"Cross-validation of {self.target!r} on {len(self.truth)} rows in {len(self.folds)} folds"]
        return "\n".join([*lines, indent(shown.to_string()), "", *(f"- {note}" for note in self.notes)])

    __repr__ = __str__


def cross_validate(modalities, task, df, folds=5, *, by=None, time=None, seed=0, cache_dir=None, verbose=1, **settings):
    """Learn from some folds of the rows and judge on the others, until every row was judged once by a model that did not see it.

    Frozen towers run once for each row: all folds read one feature cache.

    Args:
        modalities: list of modalities.
        task: a task, such as `MultiClass` or `Regression`.
        df: DataFrame, or a table of another kind that `as_frame` takes.
        folds: int, folds that are drawn, each with like shares of the classes; or the name of a column that says in which fold a row is
            judged; or a list of (numbers of rows to learn from, numbers of rows to judge), such as scikit-learn's splitters give.
        by: name of a column, or a list of names, whose values never stand on both sides of a fold, such as "patient".
        time: name of a column of dates or numbers: each fold is judged after learning from all rows before it. The earliest of the
            `folds` + 1 spans is only learnt from, as are rows without a time.
        seed: int, of the folds and of each fit.
        cache_dir: folder for cached features, see `Pipeline.fit`.
        verbose: 0 is silent; 1 prints a line for each fold.
        **settings: of `Pipeline` and `Pipeline.fit`, such as fusion, dropout, epochs and learning_rate. Where validation rows are held
            out of those learnt from, whole groups of `by` are, or the latest of `time`.

    Returns:
        `CrossValidation`.

    Raises:
        KeyError: no such column.
        TypeError, ValueError: rows or settings that cannot work; folds that cannot be made, or that split a group of `by`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> table, task = [mm.Tabular(numeric=["budget", "runtime"])], mm.Regression("popularity")
        >>> one, two = (mm.cross_validate(table, task, df, 2, epochs=n, verbose=0) for n in (1, 2))
        >>> two.compare(one).differences.shape
        (2,)
    """
    fit = {name: value for name, value in settings.items() if name in OF_FIT}
    head = {name: value for name, value in settings.items() if name not in OF_FIT}
    Pipeline(modalities, task, **head)  # refuses settings that it does not take
    frame = as_frame(df)
    rows, written, adapted = read_rows(modalities, task, frame)
    if len(rows) < len(frame) and not isinstance(folds, int | str):
        raise ValueError(
            f"Folds must number the rows that are judged. Received: a list for {len(frame)} rows, of which {type(task).__name__} "
            f"makes {len(rows)}. Give an int or the name of a column."
        )
    places = folds_of(adapted, rows, folds, by=by, time=time, seed=seed)
    cache, learnt, predictions, points = CacheFolder(cache_dir), [], [], []
    fit = {"cache_dir": cache.path, "seed": seed, "verbose": 0, **fit}
    for number, (train, test) in enumerate(places):
        pipe = Pipeline(modalities, written, **head)
        train, held = _held_out(rows.iloc[train], fit, by=by, time=time)
        pipe.fit(train, **{**fit, **held})
        fitted, judged = pipe.check_fitted(), rows.iloc[test]
        learnt.append(fitted.task)
        predictions.append(fitted.predict(judged))
        points.append(_fold_scores(fitted.task, judged, predictions[-1], places[number]))
        if verbose:
            value = points[-1][task.primary]
            print(f"Fold {number + 1} of {len(places)}: {task.primary} {value:.3f}", flush=True)
        del pipe, fitted  # they hold graphs and, in reference cycles, the rows' features
        gc.collect()
    notes = _told_of_copies(rows, list(columns_of(modalities)), places)
    return _summary(adapted, rows, places, learnt=learnt, predictions=predictions, points=points, notes=notes)


def _held_out(train, fit, *, by, time):
    """(rows to learn from, settings of `fit` about validation rows): held out by groups or time as the folds are."""
    share = fit.get("validation_data")
    if (by is None and time is None) or share is False or hasattr(share, "columns"):
        return train, {}
    if share is None and len(train) < VALIDATION_FROM:
        return train, {}
    try:
        train, validation = split_frame(
            train, VALIDATION_SHARE if share is None else share, fit["seed"], by=by, time=time
        )
    except ValueError:  # too few groups or times
        return train, {"validation_data": False}
    return train, {"validation_data": validation}


def _fold_scores(task, judged, predictions, places):
    point, drawn = scores(task, task.target(judged), predictions)
    row = {"learnt": len(places[0]), "judged": len(places[1])}
    for name, value in point.items():
        low, high = metrics.interval(drawn[name])
        row |= {name: value, f"{name}_low": low, f"{name}_high": high}
    return row


def _told_of_copies(df, inputs, places):
    """A sentence about judged rows whose inputs are those of a row that their model learnt from, in a list; none where none are."""
    codes, _ = group(df[inputs])
    copies = sum(int(np.isin(codes[test], codes[train]).sum()) for train, test in places)
    if not copies:
        return []
    judged = sum(len(test) for _, test in places)
    return [
        f"{copies} of {judged} judged rows hold the same in {', '.join(map(repr, inputs))} as a row that their model learnt from: scores "
        "say too much of new rows. Leave one of each, df.drop_duplicates(…), or keep them together by a column, by=…."
    ]


def _summary(task, df, places, *, learnt, predictions, points, notes):
    import pandas as pd

    judged = np.concatenate([test for _, test in places])
    _, together, drawn = pooled_scores(task, task.target(df.iloc[judged]), learnt, predictions)
    frame = pd.concat(
        [own.frame(values, df.index[test]) for own, values, (_, test) in zip(learnt, predictions, places, strict=True)]
    )
    if len(judged) < len(df):
        notes = [*notes, f"{len(df) - len(judged)} of {len(df)} rows are in no fold that is judged."]
    table = pd.DataFrame(points)
    table.index.name = "fold"
    means = {name: corrected(table[name], places) for name in together}
    return CrossValidation(
        scores=table,
        metrics={name: mean for name, (mean, _, _) in means.items()},
        intervals={name: bounds for name, (_, _, bounds) in means.items()},
        together=together,
        together_intervals={name: metrics.interval(values) for name, values in drawn.items()},
        predictions=frame.set_axis(judged).reindex(range(len(df))).set_axis(df.index),
        truth=pd.Series(task.read(task.target(df)), index=df.index, name=task.column, dtype=object),
        folds=places,
        notes=notes,
        target=task.column,
        primary=task.primary,
        smaller_is_better=tuple(task.smaller_is_better),
    )


def _check_comparable(ours, other, metric):
    """Raise a ValueError unless two cross-validations can be compared by a metric."""
    if not isinstance(other, CrossValidation):
        raise TypeError(f"`compare` takes a result of `cross_validate`. Received: {type(other).__name__}.")
    places = [[side for pair in each.folds for side in pair] for each in (ours, other)]
    same_rows = ours.truth.index.equals(other.truth.index) and ours.truth.tolist() == other.truth.tolist()
    if not same_rows or len(places[0]) != len(places[1]) or not all(map(np.array_equal, *places)):
        what = "other folds" if same_rows else "other rows or targets"
        raise ValueError(
            f"Two settings are compared on the same rows and folds. Received: {what}. Give both the same df, folds and seed."
        )
    lacking = [metric not in each.metrics for each in (ours, other)]
    if any(lacking) or len(ours.folds) < 2:
        known = [name for name in ours.metrics if name in other.metrics]
        what = f"{metric!r}; they share {known}" if any(lacking) else "one fold"
        raise ValueError(f"A comparison needs a metric of both, and at least two folds. Received: {what}.")

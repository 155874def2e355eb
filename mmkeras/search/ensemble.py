"""`Ensemble`: several fitted Pipelines as one, chosen and weighed on rows that they did not learn from."""

import dataclasses

import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.data.frames import frame_if_rows
from mmkeras.data.targets import Values
from mmkeras.pipeline import Pipeline
from mmkeras.registry import describe
from mmkeras.search.merging import joined, one_trunk, own_model
from mmkeras.search.selection import Selection, mean_of, select
from mmkeras.trunk.trunk import Rows

AVERAGES = ("chosen", "predictions", "logits")


class Ensemble(Pipeline):
    """Fitted Pipelines of one target as one model, which predicts a weighted mean of what they say.

    It is a Pipeline like any other, with one graph: it predicts, evaluates, saves, loads, exports and serves, and each row is
    prepared, and goes through a frozen tower that several members share, once. Weights come of a greedy selection with
    replacement (Caruana et al., 2004, https://doi.org/10.1145/1015330.1015432) on validation rows; who gets none is left out.
    Fitting it again trains the recipe of its heaviest member alone.

    Args:
        pipelines: list of fitted Pipelines of the same task. Modalities of one name must be alike, fitted on the same rows.
        validation_data: DataFrame of rows that none of them learnt from; None for those that they were all validated on.
        weights: list of numbers of 0 or more, one for each, in place of the selection.
        size: int, how many different members the selection may take.
        average: what is averaged: "predictions" (probabilities, numbers), "logits", which labels and classes have, or "chosen", whichever
            is better on the validation rows.
        objective: the metric of the selection; None for the one that reports compare by.

    Attributes:
        members: DataFrame with a row for each Pipeline given: "model", "weight" (they add to 1), and the objective's value by itself on the
            validation rows.

    Raises:
        TypeError: something that is no fitted Pipeline.
        ValueError: no Pipeline; other targets, classes or modalities; no rows to weigh them on; a setting that cannot be.
        KeyError: `validation_data` lacks a column.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(80, seed=0)
        >>> pipes = [
        ...     mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"), units=units)
        ...     for units in (16, 32)
        ... ]
        >>> for pipe in pipes:
        ...     history = pipe.fit(df, epochs=1, verbose=0)
        >>> float(mm.Ensemble(pipes).members["weight"].sum())
        1.0
    """

    def __init__(
        self, pipelines, validation_data=None, *, weights=None, size=8, average="chosen", objective=None
    ):  # fmt: skip
        pipelines, task = _checked(pipelines)
        objective = task.primary if objective is None else objective
        _check_settings(task, size, average=average, objective=objective)
        rows = _rows(pipelines, frame_if_rows(validation_data, "validation_data"))
        _check_weights(pipelines, rows, weights)
        selection = weigh(pipelines, rows, weights, size, scales=scales_of(task, average), objective=objective)
        order = np.argsort(-selection.counts, kind="stable")[: int((selection.counts > 0).sum())]
        first = pipelines[order[0]]
        fitted = merge([pipelines[i].check_fitted() for i in order], selection.counts[order], selection.scale)
        if rows is not None and selection.predictions is not None:
            fitted.tune(rows.target, selection.predictions, calibrate=task.calibrates(objective))
        super().__init__(
            [m.settings for m in fitted.trunk.modalities], task.settings, first.fusion, encode_engine=first.encode_engine,
            **first.head_settings,
        )  # fmt: skip
        self._fitted = fitted
        self.members = _table(pipelines, selection, objective)
        self.notes = [] if rows is None else [told(selection, objective, len(rows.df))]


def merge(members, weights, scale):
    """One `Fitted` of several, the heaviest first: a trunk that reads each modality once, and a head that is their weighted mean."""
    first, *others = members
    trunk, owners = one_trunk([member.trunk for member in members])
    models = [own_model(member.trunk, member.head, owners) for member in others]
    head = joined([first.head, *models], [float(weight) for weight in weights], scale)
    learnt = common_rows(first.task, [member.rows for member in members])
    validation = common_rows(first.task, [member.validation for member in members])
    task = first.task.uncalibrated()
    return dataclasses.replace(first, task=task, trunk=trunk, head=head, rows=learnt, validation=validation, rivals={})


def scales_of(task, average):
    """The scales of `layers.WeightedMean` that a value of `average` means for a task."""
    logits = () if task.logit_scale is None else (task.logit_scale,)
    return {"predictions": ("predictions",), "logits": logits, "chosen": ("predictions", *logits)}[average]


def weigh(pipelines, rows, weights, size, *, scales, objective):
    """`Selection` of Pipelines by what they say of `Rows`; of given weights it only tells the scores."""
    if rows is None:
        return Selection(np.asarray(weights, float), scales[0], None, np.nan, np.full(len(pipelines), np.nan))
    task, fitted = pipelines[0].task, [pipe.check_fitted() for pipe in pipelines]
    predictions = [member.predict(rows.df) for member in fitted]
    score = scorer(task, rows.target, objective)
    if weights is None:
        return select(predictions, score, size=size, scales=scales, smaller=objective in task.smaller_is_better)
    every, best = np.arange(len(rows.df)), scales[0]
    means = {scale: mean_of(predictions, weights, scale) for scale in scales}
    values = {scale: float(score(mean, every)) for scale, mean in means.items()}
    best = (min if objective in task.smaller_is_better else max)(values, key=values.get)
    alone = np.array([score(each, every) for each in predictions])
    return Selection(np.asarray(weights, float), best, means[best], values[best], alone)


def scorer(task, target, objective):
    """A function of predictions and the numbers of their rows → objective; thresholds are tuned on them where it needs some."""

    def score(predictions, rows):
        part = target if len(rows) == len(target) else Values(target.values[rows])
        judge = task if objective == task.primary or not task.tunes else task.tune(part, predictions)
        return float(judge.score(part, predictions)(np.ones((1, len(rows))))[objective][0])

    return score


def told(selection, objective, rows):
    """The sentence about an ensemble that goes with every report of it."""
    used = np.flatnonzero(selection.counts)
    each = ", ".join(f"{selection.alone[i]:.3f}" for i in used[np.argsort(-selection.counts[used], kind="stable")])
    what = "predictions" if selection.scale == "predictions" else "logits"
    return (
        f"An ensemble of {len(used)} members, a weighted mean of their {what}: {objective} {selection.score:.3f} on {rows:,} rows that "
        f"they did not learn from; each alone, the heaviest first: {each}. The weights were chosen on these rows: judge it on others."
    )


def _table(pipelines, selection, objective):
    import pandas as pd

    shares = selection.counts / selection.counts.sum()
    lines = [
        {"model": f"{pipe.fusion}, {', '.join(m.name for m in pipe.modalities)}", "weight": share, objective: alone}
        for pipe, share, alone in zip(pipelines, shares, selection.alone, strict=True)
    ]
    return pd.DataFrame(lines)


def _checked(pipelines):
    """(the Pipelines, the task of the first)."""
    if isinstance(pipelines, Pipeline) or not all(isinstance(pipe, Pipeline) for pipe in pipelines):
        kinds = [type(pipe).__name__ for pipe in pipelines] if isinstance(pipelines, list | tuple) else pipelines
        raise TypeError(f"An Ensemble takes a list of fitted Pipelines. Received: {kinds!r}. Use mm.Ensemble([a, b]).")
    pipelines = list(pipelines)
    if not pipelines:
        raise ValueError("An Ensemble needs a fitted Pipeline. Received: an empty list. Use mm.Ensemble([a, b]).")
    for pipe in pipelines:
        pipe.check_fitted()
    task, shapes = pipelines[0].task, {key: tuple(x.shape) for key, x in pipelines[0].head.output.items()}
    for pipe in pipelines[1:]:
        same = describe(pipe.task) == describe(task) and pipe.task.told()["classes"] == task.told()["classes"]
        if not same or {key: tuple(x.shape) for key, x in pipe.head.output.items()} != shapes:
            raise ValueError(
                "Members of an ensemble must answer the same: one target, one task, the same classes. Received: "
                f"{_said(task)} and {_said(pipe.task)}. Fit them on the same rows with the same task."
            )
    return pipelines, task


def _said(task):
    classes = task.told()["classes"]
    return f"{type(task).__name__}({task.column!r})" + (f" of {len(classes)} classes" if classes else "")


def _check_settings(task, size, *, average, objective):
    if average not in AVERAGES or (average == "logits" and task.logit_scale is None):
        raise ValueError(
            f"`average` must be one of {AVERAGES}, logits only of labels and classes. Received: {average!r} for "
            f"{type(task).__name__}. Use 'chosen'."
        )
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"`size` must be a positive int. Received: {size!r}.")
    if objective not in task.metric_names:
        raise ValueError(
            f"`objective` must be one of {task.metric_names} for {type(task).__name__}. Received: {objective!r}."
        )


def _check_weights(pipelines, rows, weights):
    if weights is None:
        if rows is None:
            raise ValueError(
                "Members of an ensemble are weighed on rows that none of them learnt from. Received: Pipelines that were not all "
                "validated on the same rows, or were loaded. Give `validation_data`, or `weights`."
            )
        return
    numbers = np.asarray(weights, float)
    bad = (
        numbers.shape != (len(pipelines),) or not np.isfinite(numbers).all() or (numbers < 0).any() or not numbers.any()
    )
    if bad:
        raise ValueError(
            f"`weights` must be a number of 0 or more for each of {len(pipelines)} Pipelines, not all 0. Received: {weights!r}."
        )


def _rows(pipelines, validation_data):
    """`Rows` to weigh members on: those given, or those that all were validated on."""
    fitted = [pipe.check_fitted() for pipe in pipelines]
    task, columns = (
        fitted[0].task,
        list(dict.fromkeys(c for f in fitted for m in f.trunk.modalities for c in m.all_columns)),
    )
    if validation_data is not None:
        check_frame(validation_data, [*columns, *task.columns], "validation_data")
        df, sentences = task.judged(task.units(validation_data, fitted[0].trunk.modalities))
        if not len(df):
            raise ValueError(f"`validation_data` must hold rows that can be judged. {' '.join(sentences)}")
        return Rows(df, task.target(df))
    return common_rows(task, [each.validation for each in fitted])


def common_rows(task, every):
    """`Rows` with the columns of all of some, which are the same rows; None where they are not, or some are not known.

    Args:
        task: adapted task.
        every: list of `Rows`, or None.
    """
    if any(rows is None for rows in every):
        return None
    first, *others = every
    df, target = first.df, list(task.columns)
    for rows in others:
        if not (rows.df.index.equals(df.index) and rows.df[target].equals(df[target])):
            return None
        new = rows.df.columns.difference(df.columns, sort=False)
        df = df.assign(**{column: rows.df[column].to_numpy() for column in new})
    return dataclasses.replace(first, df=df)

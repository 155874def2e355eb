"""linear_probe: what a linear model finds in a Pipeline's frozen features."""

import numpy as np

from mmkeras.data.frames import as_frame, frame_if_rows
from mmkeras.evaluation.report import Judgement
from mmkeras.evaluation.rivals import Bench, Prior
from mmkeras.inspection.folds import folds_of
from mmkeras.trunk.trunk import Rows


def linear_probe(pipe, df, task, test_data=None, *, side=None, folds=5, seed=0, verbose=0):
    """How well a linear model answers another question from what a fitted Pipeline makes of rows; nothing of the Pipeline trains.

    The usual judgement of features (Alain & Bengio, 2016, https://arxiv.org/abs/1610.01644): logistic regression, or ridge regression of
    numbers, on `mm.embed` of the rows.

    Args:
        pipe: a fitted `Pipeline` of any task.
        df: pandas DataFrame with the Pipeline's columns and the target, to learn from.
        task: `MultiClass`, `MultiLabel` or `Regression` of a column.
        test_data: DataFrame to judge on. None judges every row of `df` by a linear model of the other folds.
        side: of a Pipeline for `Retrieval`, "query" or "items"; whose columns alone are then needed.
        folds: int, or what else `mm.cross_validate` takes, where there is no `test_data`.
        seed: int, of the folds.
        verbose: 1 shows progress of encoding.

    Returns:
        `Report`: metrics with their intervals, beside the prior.

    Raises:
        KeyError, TypeError, ValueError: rows that cannot work, or a task that no linear model answers.

    Example:
        >>> import mmkeras as mm
        >>> train, test = mm.split_frame(mm.samples.movies(80, seed=0), 0.3, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(train, epochs=1, verbose=0)
        >>> sorted(mm.linear_probe(pipe, train, mm.Regression("popularity"), test).metrics)
        ['mae', 'r2', 'rmse']
    """
    fitted, df = pipe.check_fitted(), as_frame(df)
    test = frame_if_rows(test_data, "test_data")
    modalities = [m for m in fitted.trunk.modalities if side is None or m.name in fitted.task.sides.get(side, ())]
    rows = task.units(df, modalities)
    task = task.adapt(rows)
    features = fitted.embed(rows, verbose, side)
    if test is None:
        judged, predictions = rows, None
        for train, held in folds_of(task, rows, folds, seed=seed):
            answers = _answers(task, features[train], task.target(rows.iloc[train]), features[held])
            predictions = np.full((len(rows), *answers.shape[1:]), np.nan) if predictions is None else predictions
            predictions[held] = answers
        known = ~np.isnan(predictions.reshape(len(rows), -1)).any(axis=1)
        judged, predictions, told = rows[known], predictions[known], []
    else:
        judged, told = task.judged(task.units(test, modalities))
        predictions = _answers(task, features, task.target(rows), fitted.embed(judged, verbose, side))
    target = task.target(judged)
    judgement = Judgement(task, target, predictions)
    rivals = {}
    for name, rival in Prior.fit(Bench(task, modalities, Rows(rows, task.target(rows)))).items():
        rivals[name] = (task, rival.predict(None, judged))
    how = f"by {folds} folds" if test is None else f"learnt from {len(rows):,} rows"
    return judgement.report(
        rivals=rivals, notes=[*told, f"A linear model of {features.shape[1]} frozen features, {how}."]
    )


def _answers(task, features, target, others):
    """Predictions for other features by a linear model of some."""
    weights, bias = task.fit_linear(features.astype("float64"), target.values)
    return task.link(others @ weights.T.astype("float64") + bias)

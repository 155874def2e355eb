"""What every judgement in folds needs: rows as the task sees them, and scores of what several models predicted together."""

import numpy as np

from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.splits import fold_rows
from mmkeras.evaluation.report import scores
from mmkeras.trunk.stages import check_modalities


def read_rows(modalities, task, df):
    """(rows as units of the task, the task with its outputs written down, the task as all rows teach it).

    Models of different rows have the same outputs by the former; the latter reads and judges targets.

    Args:
        modalities: list of modalities.
        task: a task.
        df: pandas DataFrame.

    Raises:
        KeyError, TypeError, ValueError: see `check_frame` and the task's `adapt`.
    """
    check_modalities(modalities)
    if not task.pools:
        raise ValueError(
            "Folds and subsets set predictions of several models side by side, row by row. Received: "
            f"{type(task).__name__}, whose vectors belong to one model. Use split_frame, fit and evaluate, as often as you like."
        )
    check_frame(df, [*columns_of(modalities), *task.columns])
    df = task.units(df, modalities)
    written = task.fixed(df)
    return df, written, written.adapt(df)


def folds_of(task, df, folds, **how):
    """Folds of rows, alike in classes where the task has some; see `data.splits.fold_rows`.

    Args:
        task: adapted task.
        df: DataFrame, units of the task.
        folds: see `fold_rows`.
        **how: by, time and seed.
    """
    target = task.target(df)
    classes = None if task.strata(target) is None else task.read(target)
    return fold_rows(df, folds, classes=classes, **how)


def pooled_scores(task, target, learnt, predictions):
    """(predictions of all folds one after another, their metrics, their metrics in resamples); see `report.scores`.

    Args:
        task: adapted task.
        target: `Target` of the judged rows in the same order.
        learnt: the task of each fold's model, tuned.
        predictions: of each fold's model.
    """
    every = np.concatenate(predictions)
    return every, *scores(task.pool(learnt, list(map(len, predictions))), target, every)

"""Sets that hold the truth as often as they should, learnt from held-out rows by a model that is fitted."""

import warnings

from mmkeras.data.columns import check_frame, columns_of
from mmkeras.evaluation.conformal import check_coverage, kept_scores

FEWEST_HELD = 10  # rows that sets are learnt from


def learn_sets(fitted, df, coverage):
    """Let the task of a `Fitted` learn from held-out rows what holds the truth as often as it should, see `Pipeline.conformalize`."""
    check_coverage(coverage)
    if fitted.task.set_unit is None:
        raise ValueError(
            f"Sets go with classes, labels and numbers. Received: a Pipeline for {type(fitted.task).__name__}."
        )
    check_frame(df, [*columns_of(fitted.trunk.modalities), *fitted.task.columns])
    df, told = fitted.task.judged(fitted.task.units(df, fitted.trunk.modalities))
    if len(df) < FEWEST_HELD:
        raise ValueError(
            f"Sets need at least {FEWEST_HELD} held-out rows. Received: {len(df)}. {' '.join(told)} Hold out some hundreds."
        )
    seen = _seen(fitted, df)
    if seen > len(df) / 2:
        warnings.warn(
            f"Sets need rows that taught the model nothing. Received: {len(df):,}, of which {seen:,} stand among those that it learnt from or was "
            "validated on. Hold out others, or sets will hold the truth too seldom.",
            stacklevel=3,
        )
    target = fitted.task.target(df)
    scores = [kept_scores(some) for some in fitted.task.misfits(target, fitted.predict(df))]
    fitted.task = fitted.task.learn(sets={"coverage": float(coverage), "rows": len(df), "scores": scores})


def _seen(fitted, df):
    """How many rows are among those that taught the model something; 0 where they are not known."""
    columns = [*columns_of(fitted.trunk.modalities), *fitted.task.columns]

    def written(rows):
        return [str(row) for row in rows[columns].itertuples(index=False, name=None)]

    known = {row for rows in (fitted.rows, fitted.validation) if rows is not None for row in written(rows.df)}
    return sum(row in known for row in written(df)) if known else 0

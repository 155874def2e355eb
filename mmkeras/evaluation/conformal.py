"""Sets and intervals that hold the truth as often as they should (Vovk et al., 2005; Angelopoulos & Bates, 2021, https://arxiv.org/abs/2107.07511).

How badly each of n held-out rows fits its truth is its score; what fits a new row no worse than `coverage` of them is in its set.
"""

import numbers

import numpy as np

from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import Section

MOST = 5_000  # scores that are kept, drawn from more


def kept_scores(scores, seed=0):
    """Scores as a sorted list of floats, at most 5,000 of them, drawn."""
    scores = np.asarray(scores, "float64")
    if len(scores) > MOST:
        scores = np.random.default_rng(seed).choice(scores, MOST, replace=False)
    return np.sort(scores).tolist()


def bound(scores, coverage):
    """The largest score that is in a set, so that a new row's truth is in it with a probability of at least `coverage`.

    Args:
        scores: sorted list of n floats. coverage: float in (0, 1).

    Returns:
        The ⌈(n + 1) · coverage⌉-th score; infinite where n is too small for that, so that everything is in the set.

    Example:
        >>> bound([0.1, 0.2, 0.3, 0.4], 0.8), bound([0.1, 0.2, 0.3], 0.8)
        (0.4, inf)
    """
    place = int(np.ceil((len(scores) + 1) * coverage - 1e-9))
    return scores[place - 1] if place <= len(scores) else float("inf")


def check_coverage(coverage):
    """The coverage; raises a ValueError unless it lies between 0 and 1."""
    if isinstance(coverage, bool) or not isinstance(coverage, numbers.Real) or not 0 < coverage < 1:
        raise ValueError(f"`coverage` must lie between 0 and 1, such as 0.9. Received: {coverage!r}.")
    return coverage


def sets_section(coverage, rows, *, hits, sizes, what):
    """How often sets hold the truth, and how large they are, with intervals.

    Args:
        coverage: float, what was asked for. rows: int, held-out rows that the sets were learnt from.
        hits, sizes: (n, K) of each row and each thing that is told of it: 1 where its set holds the truth, NaN where there is no truth; and
            how large the set is.
        what: str, what a size counts.
    """
    import pandas as pd

    known = ~np.isnan(hits)
    held = np.where(known, hits, 0).sum(axis=1)

    def means(weights):
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "coverage": weights @ held / (weights @ known.sum(axis=1)),
                "size": weights @ sizes.mean(axis=1) / weights.sum(axis=1),
            }

    point, drawn = metrics.bootstrap(means, len(hits))
    table = pd.DataFrame.from_dict(
        {name: (value, *metrics.interval(drawn[name])) for name, value in point.items()},
        orient="index",
        columns=["value", "low", "high"],
    )
    note = f"Sets that should hold the truth in {coverage:.0%} of cases were learnt from {rows:,} held-out rows; a size counts {what}."
    return Section("sets", f"Sets that should hold the truth in {coverage:.0%} of cases", table, notes=[note])

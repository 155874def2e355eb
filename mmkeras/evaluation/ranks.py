"""Ranks of what belongs together among everything, by cosines of unit vectors.

Q = queries, N = items, D = numbers of a vector, S = resamples, R = rows.
"""

import numpy as np

AT_ONCE = 1 << 24  # cosines that are held together
FOUND = (1, 5, 10)  # of recall at k


def first_ranks(queries, items, query_groups, item_groups, *, apart=False):
    """((Q,) rank of the first item of a query's group, from 1; (Q,) average precision), NaN where there is no such item.

    What is exactly as near counts half as nearer, so that equal vectors are worth no more than chance.

    Args:
        queries, items: (Q, D) and (N, D) unit vectors.
        query_groups, item_groups: (Q,) and (N,) ints.
        apart: bool, whether queries and items are the same things in the same order, of which none finds itself.

    Example:
        >>> ranks, precision = first_ranks(np.eye(2), np.eye(2)[::-1], np.array([0, 1]), np.array([0, 1]))
        >>> ranks.tolist(), precision.tolist()
        ([2.0, 2.0], [0.5, 0.5])
    """
    ranks, precision = np.full(len(queries), np.nan), np.full(len(queries), np.nan)
    order = np.argsort(item_groups, kind="stable")
    starts, ends = (np.searchsorted(item_groups[order], query_groups, side=side) for side in ("left", "right"))
    step = max(1, AT_ONCE // max(len(items), 1))
    for begin in range(0, len(queries), step):
        cosines = queries[begin : begin + step] @ items.T
        if apart:
            cosines[np.arange(len(cosines)), begin + np.arange(len(cosines))] = -np.inf
        for row, values in enumerate(cosines, start=begin):
            own = order[starts[row] : ends[row]]
            own = own[own != row] if apart else own
            if len(own):
                places = np.sort(_places(values, values[own]))
                ranks[row] = places[0]
                precision[row] = np.mean(np.arange(1, len(own) + 1) / np.maximum(places, np.arange(1, len(own) + 1)))
    return ranks, precision


def _places(values, some):
    """Place of some of the values among all, the greatest first, from 1; what is equal shares the mean of its places."""
    if len(some) < 16:
        return np.array([1 + (values > value).sum() + ((values == value).sum() - 1) / 2 for value in some])
    every = np.sort(values)
    return len(every) - (np.searchsorted(every, some, "left") + np.searchsorted(every, some, "right") - 1) / 2


def recalls(ranks, precision, weights):
    """{"recall_1", "recall_5", "recall_10", "median_rank", "map"} of ranks under weights.

    Args:
        ranks, precision: (R,), see `first_ranks`; rows without a rank take no part.
        weights: (S, R).

    Returns:
        {metric: (S,)}; NaN where no row counts.
    """
    known = ~np.isnan(ranks)
    ranks, precision, weights = ranks[known], precision[known], weights[:, known]
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {f"recall_{k}": weights @ (ranks <= k) / total for k in FOUND}
        mean = weights @ precision / total
    return {**found, "median_rank": _medians(ranks, weights, total), "map": mean}


def _medians(ranks, weights, total):
    """(S,) ranks up to which half of the weight lies."""
    if not len(ranks):
        return np.full(len(total), np.nan)
    order = np.argsort(ranks)
    summed = np.cumsum(weights[:, order], axis=1)
    places = (summed < total[:, None] / 2).sum(axis=1).clip(max=len(ranks) - 1)
    return np.where(total > 0, ranks[order][places], np.nan)

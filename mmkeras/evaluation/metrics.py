"""Metrics under row weights, so that bootstrap intervals cost little more than the metric itself.

Every function takes weights (S, n): S resamples of n rows (how often each row was drawn), and returns (S,) values.
All ones give the plain metric. n = rows, C = classes.
"""

import functools

import numpy as np

BLOCK = 2_000_000  # drawn rows that are worked on together
KEPT = 8_000_000  # drawn rows that are remembered


def average_precision(positive, scores, weights):
    """Area under the precision-recall curve as a sum of steps, as scikit-learn's `average_precision_score`.

    Args:
        positive: (n,) bools. scores: (n,) floats. weights: (S, n).

    Returns:
        (S,) values in [0, 1]; NaN where a resample has no positive row.
    """
    order = np.argsort(-scores, kind="stable")
    positive = positive[order]
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # rows of equal score count together
    hits = np.cumsum(positive)[ends]
    rising = np.flatnonzero(np.diff(hits, prepend=0))  # recall, and so the area, grows at these ends only
    if not len(rising):
        return np.full(len(weights), np.nan)
    last, drawn = ends[rising], weights.T
    gained = _sums(drawn, order[positive], hits[rising])
    seen = np.cumsum(_sums(drawn, order[: last[-1] + 1], last + 1), axis=0)
    right = np.cumsum(gained, axis=0)
    total = right[-1].copy()
    right /= np.maximum(seen, 1e-12, out=seen)  # precision, in its place: these are what takes memory
    right *= gained
    with np.errstate(invalid="ignore", divide="ignore"):
        return right.sum(axis=0) / total


def _sums(drawn, rows, ends):
    """(parts, S) sums of some rows of `drawn` (n, S): of `rows[:ends[0]]`, of `rows[ends[0]:ends[1]]`, and so on."""
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(rows)), rows, np.append(0, ends)), shape=(len(ends), len(drawn))) @ drawn


def counts(target, decisions, weights):
    """True positives, false positives and false negatives: three (S, C) arrays of (n, C) bools."""
    target, decisions = target.astype(bool), decisions.astype(bool)
    return tuple(
        weights @ flags.astype("float64") for flags in (target & decisions, ~target & decisions, target & ~decisions)
    )


def f1(true_positive, false_positive, false_negative):
    """2·tp / (2·tp + fp + fn), elementwise; 0 where nothing was to be found and nothing was claimed."""
    total = 2 * true_positive + false_positive + false_negative
    return np.where(total > 0, 2 * true_positive / np.maximum(total, 1e-12), 0.0)


def multilabel(target, scores, decisions, weights):
    """{"map", "micro_f1", "macro_f1"} of (n, C) targets, probabilities and decisions.

    Labels without a positive row (in a resample) take no part in the macro averages.
    """
    target = target.astype(bool)
    per_label = np.stack([average_precision(target[:, c], scores[:, c], weights) for c in range(target.shape[1])], 1)
    tp, fp, fn = counts(target, decisions, weights)
    macro = np.where(tp + fn > 0, f1(tp, fp, fn), np.nan)
    return {
        "map": _mean_known(per_label),
        "micro_f1": f1(tp.sum(1), fp.sum(1), fn.sum(1)),
        "macro_f1": _mean_known(macro),
    }


def multiclass(target, scores, decisions, weights):
    """{"accuracy", "macro_f1", "map"} of (n, C) one-hot targets, probabilities and one-hot decisions; "roc_auc" of two classes."""
    values = multilabel(target, scores, decisions, weights)
    right = (target.astype(bool) & decisions.astype(bool)).any(axis=1)
    accuracy = weights @ right.astype("float64") / weights.sum(axis=1)
    both = {"roc_auc": roc_auc(target[:, 1].astype(bool), scores[:, 1], weights)} if target.shape[1] == 2 else {}
    return {"accuracy": accuracy, "macro_f1": values["macro_f1"], "map": values["map"], **both}


def roc_auc(positive, scores, weights):
    """How often a row with the class scores above one without, equal scores counting half, as scikit-learn's `roc_auc_score`.

    Args:
        positive: (n,) bools. scores: (n,) floats. weights: (S, n).

    Returns:
        (S,) values in [0, 1]; NaN where a resample lacks one of the two.

    Example:
        >>> roc_auc(np.array([True, False, True]), np.array([0.9, 0.5, 0.5]), np.ones((1, 3))).tolist()
        [0.75]
    """
    order = np.argsort(scores, kind="stable")
    positive, starts = positive[order], np.flatnonzero(np.append(True, np.diff(scores[order]) != 0))
    values = []
    for part in np.array_split(weights, max(1, weights.size // 10**7)):  # what it takes of memory is bounded
        drawn = part[:, order].astype("float64")
        with_it = np.add.reduceat(drawn * positive, starts, axis=1)
        without = np.add.reduceat(drawn * ~positive, starts, axis=1)
        below = np.cumsum(without, axis=1) - without / 2
        pairs = with_it.sum(axis=1) * without.sum(axis=1)
        with np.errstate(invalid="ignore"):
            values.append(np.where(pairs > 0, (with_it * below).sum(axis=1) / pairs, np.nan))
    return np.concatenate(values)


def regression(target, predictions, weights):
    """{"r2", "mae", "rmse"} of (n,) numbers."""
    target, predictions = np.asarray(target, "float64"), np.asarray(predictions, "float64")
    total = weights.sum(axis=1)
    error = predictions - target
    squared = weights @ error**2
    apart = target - target[:1]  # a large offset would take digits from what differs
    mean = (weights @ apart / np.maximum(total, 1e-300))[:, None]
    spread = (weights * (apart - mean) ** 2).sum(axis=1)
    rounding = total * (1e-13 * np.abs(apart).max(initial=0.0)) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        r2 = np.where(spread > rounding, 1 - squared / spread, np.nan)
        return {"r2": r2, "mae": weights @ np.abs(error) / total, "rmse": np.sqrt(squared / total)}


def regressions(target, predictions, weights):
    """{"r2", "mae", "rmse"} of (n, K) numbers: means over K columns, each of its own known cells (NaN is none)."""
    columns = []
    for truth, numbers in zip(np.asarray(target).T, np.asarray(predictions).T, strict=True):
        known = ~np.isnan(truth)
        own = (truth, numbers, weights) if known.all() else (truth[known], numbers[known], weights[:, known])
        columns.append(regression(*own))
    if len(columns) == 1:
        return columns[0]
    return {name: _mean_known(np.stack([scores[name] for scores in columns], axis=1)) for name in columns[0]}


def bootstrap(function, rows, samples=1000, seed=0, *, together=None):
    """Values of a metric function on the rows and on resamples of them.

    Args:
        function: weights (S, n) → {metric: (S,)}.
        rows: int, n.
        samples: int, number of resamples.
        seed: int.
        together: (n,) ints, equal where rows are drawn as one; None where each is drawn by itself.

    Returns:
        ({metric: float}, {metric: (samples,) array}).
    """
    if together is not None:
        _, places = np.unique(together, return_inverse=True)
        by_row, rows = function, int(places.max()) + 1
        function = lambda weights: by_row(weights[:, places])  # noqa: E731
    point = {name: float(values[0]) for name, values in function(np.ones((1, rows))).items()}
    blocks = [function(np.asfortranarray(drawn, "float64")) for drawn in _draws(rows, samples, seed)]
    return point, {name: np.concatenate([block[name] for block in blocks]) for name in point}


def _draws(rows, samples, seed):
    """How often each row is drawn in each resample, as ints (some of the samples, rows) at a time."""
    if rows * samples <= KEPT:
        drawn = _kept_draws(rows, samples, seed)
        step = max(1, BLOCK // max(rows, 1))
        return (drawn[start : start + step] for start in range(0, samples, step))
    return _new_draws(rows, samples, seed)


def _new_draws(rows, samples, seed):
    generator, step = np.random.default_rng(seed), max(1, min(samples, BLOCK // max(rows, 1)))
    for start in range(0, samples, step):
        yield generator.multinomial(rows, np.full(rows, 1 / rows), size=min(step, samples - start))


@functools.lru_cache(2)
def _kept_draws(rows, samples, seed):
    """All of them: a model, its rivals and its subsets are judged on the same."""
    dtype = np.min_scalar_type(rows)
    return np.concatenate([drawn.astype(dtype) for drawn in _new_draws(rows, samples, seed)])


def interval(values, level=0.95):
    """The (low, high) quantiles of resampled values that hold `level` of them."""
    known = values[np.isfinite(values)]
    if len(known) == 0:
        return (float("nan"), float("nan"))
    tail = (1 - level) / 2
    return (float(np.quantile(known, tail)), float(np.quantile(known, 1 - tail)))


def _mean_known(values):
    known = np.isfinite(values)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)

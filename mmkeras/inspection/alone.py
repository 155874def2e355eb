"""What a column alone tells of the target, by rules that need no model, on rows that they have not seen.

R = rows, K = numbers that stand for a target.
"""

import numpy as np

MOST_OUTPUTS = 20
FEWEST, FEWEST_VALUES = 20, 8  # rows, and different values whose order tells something
BINS = 64
PROMISING, SOME = 0.5, 0.1  # R²
SEEN = 0.5  # share of unseen rows whose value must be known to a rule of values


def outputs(values):
    """A target's values, (R,) class numbers or (R, C) numbers, as (R, K) floats; many different numbers by their ranks.

    Ranks make a copy of a target a copy also where a few numbers are much larger than the rest.

    Example:
        >>> outputs(np.array([7, 5, 5])).tolist()
        [[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    """
    if values.ndim == 1:
        numbers, counts = np.unique(values, return_counts=True)
        return (values[:, None] == numbers[np.argsort(-counts, kind="stable")][:MOST_OUTPUTS]).astype("float64")
    values = values.astype("float64")
    if values.shape[1] == 1:
        return _ranks(values[:, 0])[:, None]
    return values[:, np.argsort(-values.var(axis=0), kind="stable")[:MOST_OUTPUTS]]


def skills(values, codes, target, seed=0):
    """R² of unseen rows by three rules; 0 where one cannot be used, or promises little.

    "values" takes the mean of rows of the same value; "order" a line between the means of the nearest numbers or dates, the same among
    them; "near" does so for values that were not seen at all, which a number that only stands for groups of rows cannot do.
    Each half of the rows is told from the other half. 1 is perfect, and 0 what the mean of all rows tells.

    Args:
        values: (R,) what was read of a column, numbers or dates; or None.
        codes: (R,) ints of its distinct cells, −1 for an empty one.
        target: (R, K), see `outputs`.
        seed: int.

    Example:
        >>> x = np.arange(100.0)
        >>> {name: round(skill, 2) for name, skill in skills(x, np.arange(100), outputs(x[:, None])).items()}
        {'values': 0.0, 'order': 1.0, 'near': 1.0}
    """
    told, rows = {"values": 0.0, "order": 0.0, "near": 0.0}, len(target)
    if rows < FEWEST or not target.var(axis=0).any():
        return told
    rng = np.random.default_rng(seed)
    half = rng.permutation(rows) % 2 == 0
    codes = np.where(codes < 0, codes.max(initial=-1) + 1, codes)  # whether there is a cell may tell it, too
    told["values"] = _skill(_by_value, codes, target, half)
    numbers, different = _ordered(values), codes.max() + 1
    if numbers is None or different < FEWEST_VALUES:
        return told
    told["order"] = _skill(_by_order, numbers, target, half)
    if told["order"] >= PROMISING:  # means are surer than lines where there is noise
        told["order"] = max(told["order"], _skill(_by_bins, numbers, target, half))
    if max(told["order"] - PROMISING, told["values"] - SOME) >= 0:
        told["near"] = _skill(_by_order, numbers, target, (rng.permutation(different) % 2 == 0)[codes])
    return told


def _skill(rule, values, target, half):
    """R² of a rule on unseen rows; 0 where it cannot be used, or where the first half of them promises nothing."""
    errors = spread = 0.0
    for train in (half, ~half):
        predicted = rule(values, target, train)
        if predicted is None:
            return 0.0
        errors += ((predicted - target[~train]) ** 2).sum()
        spread += ((target[train].mean(axis=0) - target[~train]) ** 2).sum()
        if errors > (1 - PROMISING) * spread:
            break
    return max(0.0, float(1 - errors / spread)) if spread else 0.0


def _ordered(values):
    """(R,) float64 that grow with numbers and with dates; NaN for missing ones."""
    if values is None or len(values) == 0:
        return None
    if values.dtype.kind in "iuf":
        return values.astype("float64")
    texts, numbers = np.unique(values.astype(str), return_inverse=True)
    return np.where(texts == "", np.nan, np.arange(len(texts), dtype="float64"))[numbers]


def _by_value(codes, target, train):
    """The mean of the training rows of the same value; None where few unseen rows have a value that was seen."""
    means, counts = _means(codes[train], target[train], codes.max() + 1)
    seen = counts[codes[~train]] > 0
    if seen.mean() < SEEN:
        return None
    return np.where(seen[:, None], means[codes[~train]], target[train].mean(axis=0))


def _by_order(numbers, target, train):
    """A line between the means of the nearest numbers."""
    known = ~np.isnan(numbers)
    if (known & train).sum() < 2:
        return None
    places, order = np.unique(numbers[known & train], return_inverse=True)
    means, _ = _means(order, target[known & train], len(places))
    predicted = np.empty((int((~train).sum()), target.shape[1]))
    for place in range(target.shape[1]):
        predicted[:, place] = np.interp(numbers[~train], places, means[:, place])
    return _with_missing(predicted, known, target, train)


def _by_bins(numbers, target, train):
    """The mean of the training rows in the same of 64 bins."""
    known = ~np.isnan(numbers)
    if (known & train).sum() < 4 * BINS:
        return None
    edges = np.unique(np.quantile(numbers[known & train], np.linspace(0, 1, BINS + 1)[1:-1]))
    bins = np.searchsorted(edges, numbers)
    means, counts = _means(bins[known & train], target[known & train], len(edges) + 1)
    means[counts == 0] = target[train].mean(axis=0)
    return _with_missing(means[bins[~train]], known, target, train)


def _with_missing(predicted, known, target, train):
    gaps = ~known & train
    predicted[~known[~train]] = target[gaps if gaps.any() else train].mean(axis=0)
    return predicted


def _means(codes, target, count):
    counts = np.bincount(codes, minlength=count)
    sums = np.stack([np.bincount(codes, column, count) for column in target.T], axis=1)
    return sums / np.maximum(counts, 1)[:, None], counts


def _ranks(values):
    """Ranks from 0 to 1; equal values have their middle."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return ((np.cumsum(counts) - (counts + 1) / 2) / max(1, len(values) - 1))[places]

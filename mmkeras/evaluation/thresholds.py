"""Thresholds of labels, tuned on validation rows."""

import numpy as np


def tune_thresholds(target, probabilities, strength=50):
    """Per-label thresholds for F1 from validation rows.

    Each label's own best threshold is drawn towards the best common one, the more so the fewer positive rows
    the label has: weight n / (n + strength) on its own. Best thresholds of rare labels are mostly noise. But no threshold is so high
    that a label is told of fewer rows than have it: what is rare seldom gets the scores by which what is common is told.

    Args:
        target: (n, C) of 0 and 1. probabilities: (n, C).
        strength: float, the number of positive rows at which both count equally.

    Returns:
        (C,) float array.
    """
    target = target.astype(bool)
    common = _best_threshold(target.ravel(), probabilities.ravel())
    own = np.array([_best_threshold(target[:, c], probabilities[:, c], common) for c in range(target.shape[1])])
    trust = target.sum(axis=0) / (target.sum(axis=0) + strength)
    usual = [
        _threshold_of_count(scores, count) for scores, count in zip(probabilities.T, target.sum(axis=0), strict=True)
    ]
    return np.minimum(trust * own + (1 - trust) * common, usual)


def _threshold_of_count(scores, count):
    """The midpoint below the `count` highest scores; 1 for none, so that it limits nothing."""
    if not count:
        return 1.0
    falling = np.append(-np.sort(-scores), 0.0)
    return (falling[count - 1] + falling[count]) / 2


def _best_threshold(positive, scores, default=0.5):
    """The midpoint below the score at which F1 is highest; `default` without positive rows."""
    if not positive.any():
        return default
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
    f1[np.append(np.diff(scores[order]) == 0, False)] = -1  # a threshold cannot part equal scores
    best = int(np.argmax(f1))
    below = scores[order][best + 1] if best + 1 < len(order) else 0.0
    return float((scores[order][best] + below) / 2)

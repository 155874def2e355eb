"""Which models make the best ensemble: greedy selection with replacement (Caruana et al., 2004).

M = models, R = rows, C = outputs.
"""

import dataclasses

import numpy as np

from mmkeras.layers.averaging import SCALES

DRAWS = (
    25  # models that are drawn, one after another, with replacement: weights are multiples of a twenty-fifth or more
)
MOST_JUDGED = 10_000  # rows, evenly spread, on which draws are compared


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        counts: (M,) ints, how often each model was drawn: their weights.
        scale: what is averaged, one of `layers.averaging.SCALES`.
        predictions: (R, C) of the ensemble.
        score: float, of these rows.
        alone: (M,) floats, the score of each model by itself.
    """

    counts: np.ndarray
    scale: str
    predictions: np.ndarray
    score: float
    alone: np.ndarray


def select(predictions, score, *, size, scales=("predictions",), smaller=False):
    """`Selection` of models by what they say of rows that they did not learn from.

    The best model is drawn first, then whichever makes the mean best, and so on; the best of all these means counts. That
    no more is gained by chance than rows allow is due to the mean's being drawn out of few (https://doi.org/10.1145/1015330.1015432).

    Args:
        predictions: list of M arrays (R, C).
        score: function of (R', C) predictions and the numbers of their rows → float.
        size: int, the most different models.
        scales: those to choose from, see `layers.averaging.SCALES`.
        smaller: bool, whether less is better.
    """
    sign, count = -1.0 if smaller else 1.0, len(predictions[0])
    every = np.arange(count)
    rows = every if count <= MOST_JUDGED else np.linspace(0, count - 1, MOST_JUDGED).astype(int)
    best = None
    for scale in scales:
        stack = [_onto(p[rows], scale) for p in predictions]
        alone = [_known(sign * score(p[rows], rows)) for p in predictions]
        counts, value = _draw(stack, lambda mean: _known(sign * score(mean, rows)), alone, size=size, scale=scale)
        if best is None or value > best[1]:
            best = counts, value, scale
    counts, _, scale = best
    mean = mean_of(predictions, counts, scale)
    alone = np.array([score(p, every) for p in predictions])
    return Selection(counts, scale, mean, float(score(mean, every)), alone)


def mean_of(predictions, weights, scale):
    """(R, C) weighted mean of M arrays (R, C), see `layers.WeightedMean`."""
    used = [(p, weight / sum(weights)) for p, weight in zip(predictions, weights, strict=True) if weight]
    return _back(sum(_onto(p, scale) * share for p, share in used), scale).astype(predictions[0].dtype)


def _draw(stack, judge, alone, *, size, scale):
    """((M,) counts, score) of the best of `DRAWS` means, each of a model more than the one before."""
    counts, drawn, best = np.zeros(len(stack), int), 0.0, (None, -np.inf)
    for number in range(DRAWS):
        full = (counts > 0).sum() >= size
        open_ones = [model for model in range(len(stack)) if counts[model] or not full]
        if number:
            values = [judge(_back((drawn + stack[model]) / (number + 1), scale)) for model in open_ones]
        else:
            values = [alone[model] for model in open_ones]
        place = int(np.argmax(values))
        counts[open_ones[place]] += 1
        drawn = drawn + stack[open_ones[place]]
        if values[place] > best[1] or best[0] is None:
            best = counts.copy(), values[place]
    return best


def _known(value):
    return -np.inf if np.isnan(value) else float(value)


def _onto(values, scale):
    return np.asarray(SCALES[scale][0](values.astype("float64")))


def _back(values, scale):
    return np.asarray(SCALES[scale][1](values))

"""Whether predictions mean what they say: what corrects them, learnt from validation rows, and how a report shows it.

n = rows, C = classes or labels, K = columns of numbers, S = resamples.
"""

import numpy as np

from mmkeras.evaluation import metrics
from mmkeras.evaluation.sections import Section

FOLDS = 5  # parts of the validation rows, of which each is judged by what the others taught
FEWEST = 40  # validation rows from which anything is learnt
# How strongly a temperature is drawn to 1, and a label's slope and shift to those of all labels; chosen on held-out training rows of films and tweets.
CLASS_PULL, LABEL_PULL = 10.0, 20.0
BINS = 15
DRAWS = 200  # of outcomes that probabilities let expect
SMALL = 1e-7  # a probability is taken for no less, and for no nearer to 1


def learn_calibration(scale, truth, predictions, seed=0):
    """What slope and shift of the logits make log-loss smaller, where they do so by more than a standard error on rows they were not learnt from.

    For classes it is a temperature, 1 / slope (Guo et al., 2017, https://arxiv.org/abs/1706.04599). For labels it is Platt's scaling (1999) of
    each, drawn to that of all labels: rare ones have few rows to learn from.

    Args:
        scale: "log_probabilities" of classes, or "log_odds" of labels.
        truth: (n, C) bools. predictions: (n, C) probabilities. seed: int, of the folds.

    Returns:
        {"slope": [float], "shift": [float], "rows": n, "before": log-loss, "after": log-loss of the cross-fitted}; None where the
        predictions had better stay as they are.

    Example:
        >>> truth = np.eye(2)[[0, 0, 0, 1] * 25] > 0
        >>> sure = np.tile([0.99, 0.01], (100, 1))
        >>> learnt = learn_calibration("log_probabilities", truth, sure)
        >>> learnt["slope"][0] < 0.5, learnt["after"] < learnt["before"]
        (True, True)
    """
    truth, logits = np.asarray(truth, bool), _logits(scale, predictions)
    if len(truth) < FEWEST:
        return None
    folds = np.random.default_rng(seed).permutation(np.arange(len(truth)) % FOLDS)
    before, after = log_losses(scale, truth, _probabilities(scale, logits, 1.0, 0.0)), np.empty(len(truth))
    for fold in range(FOLDS):
        judged = folds == fold
        learnt = _fit(scale, truth[~judged], logits[~judged])
        after[judged] = log_losses(scale, truth[judged], _probabilities(scale, logits[judged], *learnt))
    gain = before - after
    if not gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):  # of few rows it may be chance
        return None
    slope, shift = _fit(scale, truth, logits)
    told = {"rows": len(truth), "before": float(before.mean()), "after": float(after.mean())}
    return {"slope": slope.tolist(), "shift": shift.tolist(), **told}


def learn_lines(truth, predictions, columns, seed=0):
    """What slope and shift bring numbers that were learnt on another scale to the means of what they tell.

    Who tells the mean of logarithms well tells a mean that is too low (Duan, 1983, https://doi.org/10.2307/2288126). The line is that of least squares
    in which a row weighs by 1 / prediction, as the errors of heavy tails grow with what is predicted. It is kept for a column whose mean error is
    more than two standard errors, where it lowers these errors on rows it was not learnt from.

    Args:
        truth: (n, K), NaN for gaps. predictions: (n, K). columns: numbers of those that may have a line. seed: int, of the folds.

    Returns:
        {"slope": [K floats], "shift": [K floats], "rows": n, "bias": [K floats]}, the last being the mean error before; None without any line.

    Example:
        >>> said = np.linspace(1, 9, 200)[:, None]
        >>> learnt = learn_lines(1.5 * said, said, [0])
        >>> round(learnt["slope"][0], 6), round(learnt["bias"][0], 6)
        (1.5, -2.5)
    """
    count = truth.shape[1]
    slopes, shifts, biases = np.ones(count), np.zeros(count), np.zeros(count)
    for column in columns:
        known = ~np.isnan(truth[:, column])
        numbers, said = truth[known, column], np.asarray(predictions[known, column], "float64")
        line = _line(numbers, said, seed) if len(numbers) >= FEWEST else None
        if line is not None:
            (slopes[column], shifts[column]), biases[column] = line, (said - numbers).mean()
    if not biases.any():
        return None
    return {"slope": slopes.tolist(), "shift": shifts.tolist(), "rows": len(truth), "bias": biases.tolist()}


def _line(truth, said, seed):
    """(slope, shift) of (n,) numbers; None where they had better stay as they are."""
    error = said - truth
    if not abs(error.mean()) > 2 * error.std(ddof=1) / np.sqrt(len(error)):
        return None
    weights = 1.0 / np.maximum(np.abs(said), np.abs(truth).mean() / 10)
    folds = np.random.default_rng(seed).permutation(np.arange(len(truth)) % FOLDS)
    after = np.empty(len(truth))
    for fold in range(FOLDS):
        judged = folds == fold
        slope, shift = _least_squares(truth[~judged], said[~judged], weights[~judged])
        after[judged] = slope * said[judged] + shift
    slope, shift = _least_squares(truth, said, weights)
    return (slope, shift) if weights @ error**2 > weights @ (after - truth) ** 2 and slope > 0 else None


def _least_squares(truth, said, weights):
    """(slope, shift) of the line from what was said to the truth; (1, 0) where the same was said of all. Where no truth is below 0, no shift is."""
    mean, middle = np.average(said, weights=weights), np.average(truth, weights=weights)
    spread = weights @ (said - mean) ** 2
    if not spread > 0:
        return 1.0, 0.0
    slope = weights @ ((said - mean) * (truth - middle)) / spread
    shift = middle - slope * mean
    if shift < 0 <= truth.min():
        return weights @ (said * truth) / (weights @ said**2), 0.0
    return slope, shift


def uncalibrated(scale, learnt, predictions):
    """(n, C) probabilities as they were before; those that nothing was learnt for, None, are as they were."""
    if learnt is None:
        return predictions
    slope, shift = np.array(learnt["slope"]), np.array(learnt["shift"])
    return _probabilities(scale, (_logits(scale, predictions) - shift) / slope, 1.0, 0.0)


def log_losses(scale, truth, predictions):
    """(n,) negative logarithms of what was said of the truth, in the mean of labels."""
    p = np.clip(np.asarray(predictions, "float64"), SMALL, 1 - SMALL)
    if scale == "log_probabilities":
        return -np.log(p)[truth]
    return -np.where(truth, np.log(p), np.log1p(-p)).mean(axis=1)


def _logits(scale, predictions):
    p = np.clip(np.asarray(predictions, "float64"), SMALL, 1 - SMALL)
    return np.log(p) if scale == "log_probabilities" else np.log(p) - np.log1p(-p)


def _probabilities(scale, logits, slope, shift):
    from scipy.special import expit, softmax

    return softmax(slope * logits, axis=1) if scale == "log_probabilities" else expit(slope * logits + shift)


def _fit(scale, truth, logits):
    """(slopes, shifts), one of each for classes, C of each for labels."""
    return _temperature(truth, logits) if scale == "log_probabilities" else _platt(truth, logits)


def _temperature(truth, logits):
    from scipy.optimize import minimize_scalar

    def loss(size):
        losses = log_losses("log_probabilities", truth, _probabilities("log_probabilities", logits, np.exp(size), 0))
        return losses.sum() + CLASS_PULL / 2 * size**2

    return np.exp([minimize_scalar(loss, bounds=(-3, 3), method="bounded").x]), np.zeros(1)


def _platt(truth, logits):
    from scipy.optimize import minimize
    from scipy.special import expit

    count = truth.shape[1]

    def loss(values):
        size, shift = values[:-2].reshape(2, count)
        slope, apart = np.exp(size), values[:-2].reshape(2, count) - values[-2:, None]
        z = slope * logits + shift
        wrong = expit(z) - truth
        total = np.logaddexp(0, z).sum() - z[truth].sum() + LABEL_PULL / 2 * (apart**2).sum()
        slopes = np.stack([(wrong * logits).sum(axis=0) * slope, wrong.sum(axis=0)]) + LABEL_PULL * apart
        return total, np.concatenate([slopes.ravel(), -LABEL_PULL * apart.sum(axis=1)])

    found = minimize(loss, np.zeros(2 * count + 2), jac=True, method="L-BFGS-B", bounds=[(-3, 3)] * (2 * count + 2)).x
    size, shift = found[:-2].reshape(2, count)
    return np.exp(size), shift


def calibration_section(scale, truth, predictions, learnt):
    """Log-loss, Brier score and expected calibration error, now and before calibration, with a reliability diagram.

    The error is that of the probability of the class that is told, or of every label, in 15 equal parts of [0, 1] (Naeini et al., 2015). Few
    rows give some error to the best of probabilities: "if true" is what each figure would be if every probability were so.

    Args:
        scale: see `learn_calibration`. truth: (n, C) bools. predictions: (n, C) probabilities. learnt: what `learn_calibration` gave.
    """
    import pandas as pd

    truth, predictions = np.asarray(truth, bool), np.asarray(predictions, "float64")
    kinds = {"": predictions, "_before": uncalibrated(scale, learnt, predictions)}
    kinds = kinds if learnt else {"": predictions}
    rows, curves = {}, {}
    for end, said in kinds.items():
        point, drawn = metrics.bootstrap(_figures(scale, truth, said), len(truth))
        for name, value in point.items():
            low, high = metrics.interval(drawn[name])
            rows.setdefault(name, {}).update({f"value{end}": value, f"low{end}": low, f"high{end}": high})
        curves["before" if end else "now"] = _curve(*_judged(scale, truth, said))
    for name, value in _if_true(scale, predictions).items():
        rows[name]["if_true"] = value
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "metric"

    def figure():
        from mmkeras.evaluation.figures import draw_reliability

        return draw_reliability(curves)

    title, notes = "Whether probabilities mean what they say, as the model gives them", []
    if learnt:
        title = "Whether probabilities mean what they say, calibrated"
        notes.append(
            f"Probabilities were calibrated on {learnt['rows']:,} validation rows, where log-loss fell from {learnt['before']:.4f} to "
            f"{learnt['after']:.4f}, each fifth of them by what the others taught."
        )
    return Section("calibration", title, table, figure, "How often what is told with a probability is true", notes)


def _judged(scale, truth, predictions):
    """((n, J) probabilities, (n, J) whether it was so) of what is judged: the class that is told, or each label."""
    if scale == "log_odds":
        return predictions, truth
    told = predictions.argmax(axis=1)[:, None]
    return np.take_along_axis(predictions, told, 1), np.take_along_axis(truth, told, 1)


def _figures(scale, truth, predictions):
    """A function of weights (S, n) to {"log_loss", "brier", "ece"}."""
    squares = (predictions - truth) ** 2
    squares = squares.sum(axis=1) if scale == "log_probabilities" else squares.mean(axis=1)
    each = {"log_loss": log_losses(scale, truth, predictions), "brier": squares}
    apart = _apart(*_judged(scale, truth, predictions))

    def figures(weights):
        total = weights.sum(axis=1)
        means = {name: weights @ values / total for name, values in each.items()}
        return {**means, "ece": np.abs(weights @ apart).sum(axis=1) / total}

    return figures


def _apart(said, right):
    """(n, BINS) by how much the probabilities in each part of [0, 1] exceed what was so, of each row; means of what it is judged by."""
    rows = np.repeat(np.arange(len(said)), said.shape[1])
    places = np.minimum((said.ravel() * BINS).astype(int), BINS - 1)
    apart = np.zeros((len(said), BINS))
    np.add.at(apart, (rows, places), (said - right).ravel() / said.shape[1])
    return apart


def _if_true(scale, predictions, seed=0):
    """{metric: what it would be of outcomes that are as likely as they are said to be}."""
    p = np.clip(predictions, SMALL, 1 - SMALL)
    if scale == "log_probabilities":
        told = {"log_loss": -(p * np.log(p)).sum(axis=1), "brier": (p * (1 - p)).sum(axis=1)}
    else:
        told = {"log_loss": -(p * np.log(p) + (1 - p) * np.log1p(-p)).mean(axis=1), "brier": (p * (1 - p)).mean(axis=1)}
    said, _ = _judged(scale, predictions > 1, predictions)
    rng = np.random.default_rng(seed)
    errors = [np.abs(_apart(said, rng.random(said.shape) < said).sum(axis=0)).sum() / len(said) for _ in range(DRAWS)]
    return {**{name: float(values.mean()) for name, values in told.items()}, "ece": float(np.mean(errors))}


def _curve(said, right):
    """(mean probability, share that was so, how many) of the parts of [0, 1] that hold any."""
    places = np.minimum((said.ravel() * BINS).astype(int), BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    held = counts > 0
    means = [np.bincount(places, values.ravel(), BINS)[held] / counts[held] for values in (said, right)]
    return *means, counts[held]

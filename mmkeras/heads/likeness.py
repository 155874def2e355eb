"""A head that decides by how alike a row is to rows that it keeps, solved at once instead of trained.

R = rows, N = rows that are kept, C = outputs.
"""

import dataclasses

import keras
import numpy as np
from scipy.linalg import lapack

from mmkeras.graph import call_of
from mmkeras.layers.kernel import Alike

MOST_KEPT = 10_000  # rows; of more, that many are drawn
TUNED_ON = 1_500  # rows on which widths are chosen
PENALTIES, START_PENALTY = (0.001, 10.0), 0.1  # bounds
FARTHEST = 7.0  # how far a width may go from where it starts, as a logarithm
APART = 0.003  # what it costs when widths differ by a factor of e, as a share of the variance: few rows tell little of many widths
STEPS = 60


def build_likeness(inputs, task, rows, target=None):
    """Features and prepared tensors → {task.column: prediction}, over so many rows that are kept; `solve` fills it.

    Args:
        inputs: `HeadInputs`. task: adapted task of decisions. rows: int, of training.
        target: encoded training target, or None.
    """
    vectors, bags, sizes = [], [], []
    for name in inputs.names:
        own_vectors, own_bags, own_sizes = inputs.alike(name) or ([], [], [])
        vectors, bags, sizes = vectors + own_vectors, bags + own_bags, sizes + own_sizes
    if not vectors and not bags:
        raise ValueError(
            f"Nothing of {inputs.names} can be compared before it is trained. Use a frozen tower, words or a table."
        )
    alike = Alike(min(rows, MOST_KEPT), sizes, dtype="float32", name="fusion")(vectors, bags)
    logits = task.logits(alike, target, name="logits")
    return keras.Model(inputs.inputs, {task.column: task.activate(logits)}, name="head")


def blocks(head, run):
    """(vectors [(R, D), …], bags [[(R, T), (R, T)], …]) that a head's rows are alike by.

    Args:
        head: what `build_likeness` gave.
        run: function of a keras.Model of features to {key: (R, …)}, see `Trunk.runner`.
    """
    vectors, bags = call_of(head.get_layer("fusion").output).arguments.args
    every = {f"{n}": x for n, x in enumerate([*vectors, *(x for bag in bags for x in bag)])}
    arrays = run(keras.Model(head.input, {key: keras.layers.Identity(dtype=x.dtype)(x) for key, x in every.items()}))
    flat = [arrays[str(number)] for number in range(len(every))]
    rest = flat[len(vectors) :]
    return flat[: len(vectors)], [rest[n : n + 2] for n in range(0, len(rest), 2)]


def compared(head, run):
    """`Compared` rows, by what a head of `build_likeness` reads; `run` as for `blocks`."""
    return Compared(*blocks(head, run), head.get_layer("fusion").terms)


def choose(rows, numbers, seed=0):
    """`Chosen` widths and penalty, by some of the rows, whose numbers are first taken about their mean.

    Args:
        rows: `Compared`.
        numbers: (R, C) what is learnt by least squares: numbers in standard units, or 0 and 1 for each class.
        seed: int, of the rows that are drawn.
    """
    some = np.random.default_rng(seed).permutation(len(numbers))[:TUNED_ON]
    few, apart = numbers[some].astype("float64"), rows.apart(some, some)
    about = few - few.mean(axis=0)
    settings = choose_widths(apart, about)
    return Chosen(settings[:-1], settings[-1], few - left_out(settings, apart, about)[2], few)


def solve(head, rows, numbers, chosen, *, logit_scale=None, seed=0):
    """Set the weights of a head of `build_likeness`: rows that are kept, and what each of them says.

    Args:
        head: keras.Model. rows: `Compared`. numbers: see `choose`. chosen: what `choose` gave.
        logit_scale: of the task: None where logits are the numbers themselves, see `layers.WeightedMean`.
        seed: int, of the rows that are drawn where there are too many.

    Returns:
        (N,) numbers of the rows that are kept.
    """
    fusion, decide = head.get_layer("fusion"), head.get_layer("logits")
    numbers = np.asarray(numbers, "float64")
    mean, kept = numbers.mean(axis=0), np.sort(np.random.default_rng(seed).permutation(len(numbers))[: fusion.rows])
    weights = _weights(rows, kept, numbers - mean, chosen)
    scale, shift = calibrated(chosen.said, chosen.truth, logit_scale)
    fusion.keep(chosen.widths, [x[kept] for x in rows.vectors], [[x[kept] for x in bag] for bag in rows.bags])
    decide.set_weights([(weights * scale).astype("float32"), (mean * scale + shift).astype("float32")])
    return kept


def decided(head, rows, chosen, kept):
    """(R, C) what a head that was solved gives for all rows that were compared; quicker than by its graph.

    Args:
        head, rows, chosen: see `solve`. kept: numbers of the rows that it keeps.
    """
    alike = head.get_layer("fusion").output
    last = keras.Model(alike, next(iter(head.output.values())))
    every = np.array_split(np.arange(rows.count), rows.count // 2000 + 1)
    return np.concatenate([np.asarray(last(rows.alike(chosen.widths, part, kept))) for part in every])


def _weights(rows, kept, numbers, chosen):
    """(N, C) weights of the rows that are kept: those of a ridge regression on the likeness to them."""
    from scipy.linalg import solve as solved

    every = np.arange(len(numbers))
    among = rows.alike(chosen.widths, kept, kept).astype("float64")
    if len(kept) == len(every):  # kept is sorted: these are all rows
        matrix, answers = among, numbers
    else:  # the projected process of Rasmussen & Williams, 2006, section 8.3.4
        matrix, answers = chosen.penalty * among, 0.0
        for part in np.array_split(every, len(every) // 2000 + 1):
            alike = rows.alike(chosen.widths, part, kept).astype("float64")
            matrix += alike.T @ alike
            answers = answers + alike.T @ numbers[part]
    matrix[np.diag_indices(len(matrix))] += chosen.penalty
    return solved(matrix, answers, assume_a="pos", overwrite_a=True, check_finite=False)


class Compared:
    """Rows that are compared block by block; args as `blocks` gives them, and the sizes of the bags' vocabularies."""

    def __init__(self, vectors, bags, sizes):
        from scipy.sparse import csr_matrix

        self.vectors, self.bags, self.sizes = vectors, bags, sizes
        self.count = len(vectors[0] if vectors else bags[0][0])
        self.blocks = [np.asarray(x, "float64") for x in vectors]
        for (ids, weights), size in zip(bags, sizes, strict=True):
            place = np.repeat(np.arange(len(ids)), ids.shape[1])
            terms = (np.ravel(weights).astype("float64"), (place, np.ravel(ids)))
            self.blocks.append(csr_matrix(terms, (len(ids), size)))

    def take(self, rows):
        """Those of some numbers."""
        return Compared([x[rows] for x in self.vectors], [[x[rows] for x in bag] for bag in self.bags], self.sizes)

    def apart(self, rows, others):
        """(blocks, rows, others) squared distances, float32."""
        return np.stack([_squares(x[rows], x[others]) for x in self.blocks])

    def alike(self, widths, rows, others):
        """(rows, others) exp(−Σ γ distances), float32."""
        from scipy.sparse import hstack

        def side_by_side(which):  # of blocks times √γ the distance is the sum
            scaled = [x[which] * np.sqrt(width) for width, x in zip(widths, self.blocks, strict=True)]
            dense, sparse = scaled[: len(self.vectors)], scaled[len(self.vectors) :]
            return [*([np.hstack(dense)] if dense else []), *([hstack(sparse, "csr")] if sparse else [])]

        total = np.zeros((len(rows), len(others)), "float32")
        for x, other in zip(side_by_side(rows), side_by_side(others), strict=True):
            total -= _squares(x, other)
        return np.exp(total, out=total)


def _squares(a, b):
    """(rows, others) squared distances of rows of two matrices, dense or sparse."""
    product = a @ b.T
    product = product.toarray() if hasattr(product, "toarray") else product
    own, others = (np.asarray((x.multiply(x) if hasattr(x, "multiply") else x * x).sum(axis=1)).ravel() for x in (a, b))
    return np.maximum(own[:, None] + others[None] - 2 * product, 0.0).astype("float32")


@dataclasses.dataclass
class Chosen:
    """What fits best.

    Attributes:
        widths: (blocks,) γ. penalty: float.
        said, truth: (R, C) what some rows are told to be when left out one at a time, and what they are.
    """

    widths: np.ndarray
    penalty: float
    said: np.ndarray
    truth: np.ndarray


def choose_widths(apart, numbers):
    """(blocks + 1,) widths and penalty for which rows that are left out one at a time are missed least, found by the slope of that.

    Args:
        apart: (blocks, R, R) squared distances. numbers: (R, C) of mean 0.
    """
    from scipy.optimize import minimize

    usual = apart.mean(axis=(1, 2)).clip(1e-6)
    start = np.log([*(1.0 / (2.0 * usual * len(usual))), START_PENALTY])
    bounds = [*((x - FARTHEST, x + FARTHEST) for x in start[:-1]), np.log(PENALTIES)]
    numbers = numbers / (numbers.std() or 1.0)  # so that it ends at the same digits, whatever the unit

    def loss(logs):
        error, slope, _ = left_out(np.exp(logs), apart, numbers)
        moved = (logs - start)[:-1]
        moved -= moved.mean()
        slope[:-1] += 2 * APART * moved / len(moved)
        return error + APART * (moved**2).mean(), slope

    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS, "ftol": 1e-4})
    return np.exp(found.x)


def left_out(settings, apart, numbers):
    """(mean square of what rows are missed by that are left out one at a time, its slope by the logs of the settings, (R, C) misses).

    Without row i it is missed by ((K + λI)⁻¹ y)_i / ((K + λI)⁻¹)_ii (Rasmussen & Williams, 2006, equation 5.12).

    Args:
        settings: widths of the blocks, and λ. apart, numbers: see `choose_widths`.
    """
    widths, penalty = settings[:-1], settings[-1]
    alike = np.exp(-np.tensordot(widths.astype("float32"), apart, 1)).astype("float64")
    inverse = alike + 0.0
    inverse[np.diag_indices(len(inverse))] += penalty
    factor, fault = lapack.dpotrf(inverse, lower=1, overwrite_a=1)
    if fault or not np.isfinite(factor).all():
        raise ValueError(
            "Rows that are compared must have finite numbers. Received: others. Look for numbers without bound."
        )
    inverse, _ = lapack.dpotri(factor, lower=1, overwrite_c=1)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    told, own = inverse @ numbers, np.diag(inverse)[:, None]
    missed, size = told / own, numbers.size
    by_told, by_own = 2 * missed / own / size, -2 * (missed**2 / own).sum(axis=1) / size
    slope = -((inverse @ by_told) @ told.T + (inverse * by_own) @ inverse)  # by each cell of K + λI
    by_widths = -np.tensordot(apart.reshape(len(apart), -1), (slope * alike).astype("float32").ravel(), 1) * widths
    return (missed**2).mean(), np.append(by_widths, np.trace(slope) * penalty), missed


def calibrated(said, truth, logit_scale):
    """(scale, (C,) shift) of predictions by least squares (R, C), so that scale · said + shift are logits.

    They have the least cross-entropy with 0 and 1 for each class, after Platt, 1999.
    """
    if logit_scale is None:
        return 1.0, 0.0
    from scipy.optimize import minimize
    from scipy.special import expit, softmax

    turn = expit if logit_scale == "log_odds" else lambda x: softmax(x, axis=1)

    def loss(settings):
        chance = np.clip(turn(settings[0] * said + settings[1:]), 1e-9, 1 - 1e-9)
        both = (1 - truth) * np.log(1 - chance) if logit_scale == "log_odds" else 0.0
        wrong = (chance - truth) / len(truth)
        slope = np.concatenate([[(wrong * said).sum()], wrong.sum(axis=0)])
        return -(truth * np.log(chance) + both).sum() / len(truth), slope

    start = np.concatenate([[4.0], np.full(truth.shape[1], -2.0)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B")
    return found.x[0], found.x[1:]

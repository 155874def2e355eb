"""A head that decides by how alike a row is to rows that it keeps, solved at once instead of trained.

R = rows, N = rows that are kept, C = outputs.
"""

import dataclasses

import keras
import numpy as np

from mmkeras.graph import call_of
from mmkeras.layers.kernel import Alike

MOST_KEPT = 10_000  # rows; of more, that many are drawn
TUNED_ON = 1_000  # rows on which widths are chosen
PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS = (0.25, 0.5, 2.0, 4.0)  # by which a width is tried smaller and larger
ROUNDS = 2


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
    few = numbers[some].astype("float64")
    chosen = choose_widths(rows.apart(some, some), few - few.mean(axis=0))
    return dataclasses.replace(chosen, said=few - chosen.missed, truth=few)


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
        total = np.zeros((len(rows), len(others)), "float32")
        for width, x in zip(widths, self.blocks, strict=True):
            total -= np.float32(width) * _squares(x[rows], x[others])
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
        error: float, mean square of what rows are missed by that are left out one at a time.
        widths: (blocks,) γ. penalty: float.
        missed: (R, C) these differences.
        said, truth: (R, C) what those rows are told to be when left out, and what they are; of `choose`.
    """

    error: float
    widths: np.ndarray
    penalty: float
    missed: np.ndarray
    said: np.ndarray | None = None
    truth: np.ndarray | None = None


def choose_widths(apart, numbers):
    """`Chosen` of squared distances (blocks, R, R) and numbers (R, C) of mean 0: each width in turn is made smaller and larger."""
    usual = apart.mean(axis=(1, 2)).clip(1e-6)
    best = _tried(1.0 / (2.0 * usual * len(usual)), apart, numbers)
    for _ in range(ROUNDS):
        before = best.error
        for block in [slice(None), *range(len(usual))] if len(usual) > 1 else [slice(None)]:
            for step in STEPS:
                widths = best.widths.copy()
                widths[block] *= step
                best = min(best, _tried(widths, apart, numbers), key=lambda chosen: chosen.error)
        if best.error > 0.999 * before:
            break
    return best


def _tried(widths, apart, numbers):
    """`Chosen` of given widths, with the best penalty.

    What a row is missed by that is left out is ((K + λI)⁻¹ y)_i / ((K + λI)⁻¹)_ii, for all rows and λ by one eigendecomposition.
    """
    values, vectors = np.linalg.eigh(np.exp(-np.tensordot(widths, apart, 1)))
    turned, squares, tried = vectors.T @ numbers, vectors**2, []
    for penalty in PENALTIES:
        inverse = 1.0 / (np.maximum(values, 0.0) + penalty)
        missed = (vectors * inverse) @ turned / (squares @ inverse)[:, None]
        tried.append(Chosen(float((missed**2).mean()), widths, penalty, missed))
    return min(tried, key=lambda chosen: chosen.error)


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

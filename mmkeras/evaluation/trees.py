"""Gradient-boosted trees of what tables hold, by scikit-learn."""

import keras
import numpy as np

from mmkeras.evaluation.rivals import Rival
from mmkeras.graph import load_model

MOST_ROWS = 5_000  # of more, that many are drawn
MOST_OUTPUTS = 40
ROUNDS, ROUNDS_OF_ALL = 100, 400  # trees of an output, and of all together
DEPTH = 4
SETTINGS = {"max_depth": DEPTH, "subsample": 0.5, "max_features": "sqrt"}  # after Friedman, 2002: quick
AT_ONCE = 2_000  # rows that are predicted together
NEVER = -20.0  # log-odds of a class that no training row has
ARRAYS = ("feature", "threshold", "left", "right", "value", "roots", "output", "start")


class Trees(Rival):
    """Boosted trees (Friedman, 2001) of the numbers, dates and categories of tables, apart for each output.

    Kept as plain arrays of their N nodes, so that they can be stored without pickling.

    Args:
        arrays: {name: array} of `ARRAYS`: the number that a node asks for, the most of it that goes left, the nodes that follow (of a leaf,
            itself), and what a leaf adds, (N,) each; the first node of each of the T trees and the output that it adds to, (T,) each;
            where each of the C outputs starts, (C,).
        model: keras.Model of features to {"table": (B, D)}.
    """

    def __init__(self, arrays, model):
        self.arrays, self.model = arrays, model

    @classmethod
    def fit(cls, bench):
        """Trees where there are tables and the task tells means."""
        model = _table(bench.trunk)
        if model is None or not bench.task.mean_is_told:
            return {}
        numbers = np.asarray(bench.task.least_squares(bench.rows.target.values), "float64")
        if numbers.shape[1] > MOST_OUTPUTS:
            return {}
        some = np.sort(np.random.default_rng(bench.plan.seed).permutation(len(numbers))[:MOST_ROWS])
        table = bench.trunk.outputs(model, bench.rows.df)["table"][some]
        rounds = min(ROUNDS, ROUNDS_OF_ALL // numbers.shape[1])
        settings = {**SETTINGS, "n_estimators": rounds, "random_state": bench.plan.seed}
        kind = _number if bench.task.logit_scale is None else _chance
        models = [kind(table, y, settings) for y in numbers[some].T]
        return {"boosted trees": cls(_joined(models), model)}

    def predict(self, trunk, df):
        table = trunk.outputs(self.model, df)["table"]
        parts = np.array_split(table, len(table) // AT_ONCE + 1)
        values = np.concatenate([self.values(part) for part in parts])
        if self.task.logit_scale == "log_probabilities":  # of each class against the others, until they add to 1
            values = -np.logaddexp(0, -values)
        return np.asarray(self.task.activate(keras.ops.convert_to_tensor(values, "float32")))

    def values(self, table):
        """(R, D) → (R, C), sums of what the leaves add."""
        nodes = self.arrays
        rows, place = np.arange(len(table))[:, None], np.tile(nodes["roots"], (len(table), 1))
        for _ in range(DEPTH):
            left = table[rows, nodes["feature"][place]] <= nodes["threshold"][place]
            place = np.where(left, nodes["left"][place], nodes["right"][place])
        adds = nodes["output"][:, None] == np.arange(len(nodes["start"]))  # (T, C)
        return nodes["start"] + nodes["value"][place] @ adds

    def write(self, path):
        self.model.save(path.with_suffix(".keras"))
        np.savez_compressed(path.with_suffix(".npz"), **self.arrays)
        return {}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            return cls({name: stored[name] for name in ARRAYS}, load_model(path.with_suffix(".keras")))


def _table(trunk):
    """keras.Model to {"table": (B, D)}, the prepared numbers of modalities of few features, 0 for NaN; None where there are none."""
    inputs, columns = trunk.head_inputs(), []
    for key, tensor in trunk.prepare.output.items():
        flat = len(tensor.shape) <= 2 and None not in tensor.shape[1:] and tensor.dtype != "string"
        if key.partition(".")[0] in inputs.whole and flat:
            size = tensor.shape[1] if len(tensor.shape) == 2 else 1
            numbers = keras.ops.cast(keras.ops.reshape(inputs(key), (-1, size)), "float32")
            gaps = keras.ops.isnan(numbers)
            columns += [keras.ops.where(gaps, 0.0, numbers), keras.ops.cast(gaps, "float32")]
    if not columns:
        return None
    return keras.Model(inputs.inputs, {"table": keras.ops.concatenate(columns, axis=-1)})


def _number(table, numbers, settings):
    """(start, trees) of numbers."""
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(**settings).fit(table, numbers)
    return float(np.ravel(model.init_.constant_)[0]), _told(model)


def _chance(table, flags, settings):
    """(start, trees) of the log-odds of 0 and 1."""
    from sklearn.ensemble import GradientBoostingClassifier

    if flags.min() == flags.max():
        return (-NEVER if flags[0] else NEVER), [np.array([[-1.0, 0, 0, -1, 0]])]
    model = GradientBoostingClassifier(**settings).fit(table, flags)
    never, ever = model.init_.class_prior_
    return float(np.log(ever / never)), _told(model)


def _told(model):
    """[(N, 5) of a tree, …]: the number a node asks for, the most that goes left, what follows, −1 behind a leaf, and what it adds."""
    nodes = [tree.tree_ for (tree,) in model.estimators_]
    return [
        np.stack([n.feature, n.threshold, n.children_left, n.children_right, n.value.ravel() * model.learning_rate], 1)
        for n in nodes
    ]


def _joined(models):
    """{name: array} of `ARRAYS` of several models, one for each output."""
    trees = [tree for _, each in models for tree in each]
    sizes = np.array([len(tree) for tree in trees])
    roots, nodes = np.cumsum(sizes) - sizes, np.concatenate(trees)
    feature, threshold, left, right, value = nodes.T
    own, first, leaf = np.arange(len(nodes)), np.repeat(roots, sizes), left < 0
    return {
        "feature": np.where(leaf, 0, feature).astype("int64"),
        "threshold": threshold,
        "left": np.where(leaf, own, first + left).astype("int64"),
        "right": np.where(leaf, own, first + right).astype("int64"),
        "value": np.where(leaf, value, 0.0),
        "roots": roots,
        "output": np.repeat(np.arange(len(models)), [len(each) for _, each in models]),
        "start": np.array([start for start, _ in models]),
    }

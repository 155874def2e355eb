"""AutoKeras blocks: fusion of several inputs, and heads that work on today's Keras.

Importing this file imports AutoKeras; `mmkeras.search` does so when one of its names is first used.
"""

import autokeras as ak
import keras
from autokeras import adapters, analysers
from autokeras.engine.block import Block
from autokeras.engine.head import Head
from keras import tree

from mmkeras.fusion import BilinearFusion, ConcatFusion, CrossAttentionFusion, EarlyFusion, GatedFusion, LateFusion

KINDS = ("concat", "early", "late", "gated", "bilinear", "cross_attention")


class NamedInput(ak.Input):
    """An input node whose array keeps its name, type and length: (rows, …) numbers.

    AutoKeras's own inputs are nameless, turn everything to float32 and fix the length of sequences.

    Args:
        name: str.
        shape: shape of a row; None for the length of a sequence.
        dtype: str.

    Example:
        >>> import mmkeras as mm
        >>> node = mm.search.NamedInput("text", shape=(8,))
        >>> node.build_node(None).name
        'text'
    """

    def __init__(self, name, shape=None, dtype="float32", **kwargs):
        super().__init__(name=name, shape=shape, **kwargs)
        self.dtype, self._given = dtype, shape

    def build_node(self, hp):
        shape = self.shape if self._given is None else self._given
        return keras.Input(tuple(None if n is None else int(n) for n in shape), dtype=self.dtype, name=self.name)

    def build(self, hp, inputs=None):
        return tree.flatten(inputs)[0]

    def config_from_analyser(self, analyser):
        dtype = self.dtype
        super().config_from_analyser(analyser)
        self.dtype = dtype

    def get_config(self):
        return {"name": self.name, "shape": self._given, "dtype": self.dtype}


class FusionBlock(Block):
    """Joins several nodes to one vector (B, U): what AutoKeras's `Merge` does, by the fusions of this package.

    Nodes of rank 3 are sequences: "cross_attention" is offered where there are two of them, other kinds take their mean;
    of images (rank 4) they take the mean over places. What is not given is searched.

    Args:
        fusion: None, one of "concat", "early", "late", "gated", "bilinear" and "cross_attention", or a list of them.
        units: None, an int U, or a list of ints.
        dropout: None, a float, or a list of floats.
        presence: bool; True takes twice as many nodes: the features, then in the same order masks (B, 1), 1 where the row
            has that feature.
        name: str.

    Raises:
        ValueError: an unknown fusion; an odd number of nodes with `presence=True`.

    Example:
        >>> import tempfile, autokeras as ak, mmkeras as mm
        >>> nodes = [mm.search.NamedInput("text", shape=(8,)), mm.search.NamedInput("table", shape=(3,))]
        >>> fused = mm.search.FusionBlock(fusion=["concat", "gated"])(nodes)
        >>> output = mm.search.ClassificationHead(multi_label=True)(fused)
        >>> model = ak.AutoModel(nodes, output, directory=tempfile.mkdtemp())
        >>> [node.name for node in model.inputs]
        ['text', 'table']
    """

    def __init__(self, fusion=None, units=None, dropout=None, presence=False, **kwargs):
        super().__init__(**kwargs)
        given = [] if fusion is None else [fusion] if isinstance(fusion, str) else list(fusion)
        if not set(given) <= set(KINDS):
            raise ValueError(f"`fusion` must be among {KINDS}. Received: {sorted(set(given) - set(KINDS))}.")
        self.fusion, self.units, self.dropout, self.presence = given, units, dropout, presence

    def get_config(self):
        config = {
            "fusion": self.fusion or None,
            "units": self.units,
            "dropout": self.dropout,
            "presence": self.presence,
        }
        return {**super().get_config(), **config}

    def build(self, hp, inputs=None):
        nodes = tree.flatten(inputs)
        if self.presence and len(nodes) % 2:
            raise ValueError(f"With `presence=True` every feature needs a mask. Received: {len(nodes)} nodes.")
        count = len(nodes) // 2 if self.presence else len(nodes)
        features = nodes[:count]
        there = nodes[count:] if self.presence else [_present(x) for x in features]
        sequences = [i for i, x in enumerate(features) if len(x.shape) == 3]
        offered = self.fusion or [kind for kind in KINDS if kind != "cross_attention" or len(sequences) > 1]
        kind = _choose(hp, "fusion", offered) if count > 1 else "concat"
        units = _choose(hp, "units", self.units or [256, 128, 512])
        dropout = _choose(hp, "dropout", [0.25, 0.0, 0.5] if self.dropout is None else self.dropout)
        x = _fuse(kind, features, there, sequences, units)
        return keras.layers.Dropout(dropout)(x)


def _fuse(kind, features, there, sequences, units):
    parts = []
    if kind == "cross_attention":
        if len(sequences) < 2:
            raise ValueError(
                "fusion='cross_attention' needs two nodes of shape (B, T, D). Received fewer. Use another."
            )
        tokens = [features[i] for i in sequences]
        masks = [keras.ops.ones_like(x[..., 0]) for x in tokens]
        parts.append(CrossAttentionFusion(units)(tokens, masks, [there[i] for i in sequences]))
        features, there = (
            [values[i] for i in range(len(values)) if i not in sequences] for values in (features, there)
        )
    flat = [x if len(x.shape) == 2 else keras.ops.mean(x, axis=tuple(range(1, len(x.shape) - 1))) for x in features]
    if kind in ("gated", "bilinear"):
        parts.append({"gated": GatedFusion, "bilinear": BilinearFusion}[kind](units)(flat, there))
    elif kind == "late":
        parts.append(LateFusion()([keras.layers.Dense(units, activation="gelu")(x) for x in flat], there))
    elif flat:
        joined = EarlyFusion()(flat, there) if kind == "early" else ConcatFusion()(flat, there)
        parts.append(keras.layers.Dense(units, activation="gelu")(keras.layers.BatchNormalization()(joined)))
    return parts[0] if len(parts) == 1 else keras.layers.Concatenate()(parts)


def _present(x):
    """(B, 1) of ones."""
    while len(x.shape) > 2:
        x = x[:, 0]
    return keras.ops.ones_like(x[:, :1])


def _choose(hp, name, values):
    values = values if isinstance(values, list | tuple) else [values]
    return values[0] if len(values) == 1 else hp.Choice(name, list(values), default=values[0])


class _WholeShape:
    """Heads of AutoKeras 3.0.0 hand NumPy's integers to Keras layers, which refuse them."""

    def build(self, hp, inputs=None):
        self.shape = tuple(int(n) for n in self.shape)
        return super().build(hp, inputs)


class ClassificationHead(_WholeShape, ak.ClassificationHead):
    """`ak.ClassificationHead` on today's Keras: one class of several, or with `multi_label=True` any number of labels.

    Predictions of labels are probabilities (rows, labels); AutoKeras 3.0.0 turns them into one label for each row.

    Args: those of `ak.ClassificationHead`: num_classes, multi_label, loss, metrics, dropout.

    Example:
        >>> import mmkeras as mm
        >>> mm.search.ClassificationHead(multi_label=True).multi_label
        True
    """

    def get_hyper_preprocessors(self):
        return [] if self.multi_label else super().get_hyper_preprocessors()


class RegressionHead(_WholeShape, ak.RegressionHead):
    """`ak.RegressionHead` on today's Keras: numbers (rows, outputs).

    Args: those of `ak.RegressionHead`: output_dim, loss, metrics, dropout.

    Example:
        >>> import mmkeras as mm
        >>> mm.search.RegressionHead(output_dim=1).output_dim
        1
    """


class OrdinaryBlock(Block):
    """What stands between inputs and prediction in `search`: the trained part of `encode` and `build_head`.

    Args:
        names: names of the inputs, in their order.
        build_plan: function of `hp` → keras.Model with dict inputs and one output.
    """

    def __init__(self, names, build_plan):
        super().__init__(name="head")
        self.names, self.build_plan = names, build_plan

    def _build_wrapper(self, hp, *args, **kwargs):
        return self._build(hp, *args, **kwargs)  # choices bring their groups along

    def build(self, hp, inputs=None):
        given = dict(zip(self.names, tree.flatten(inputs), strict=True))
        model = self.build_plan(hp)
        return tree.flatten(model({name: given[name] for name in model.input}))[0]


class DecisionHead(Head):
    """The end of a graph whose last block has decided already."""

    def build(self, hp, inputs=None):
        return tree.flatten(inputs)[0]

    def get_adapter(self):
        return adapters.InputAdapter()

    def get_analyser(self):
        return analysers.InputAnalyser()

    def get_hyper_preprocessors(self):
        return []

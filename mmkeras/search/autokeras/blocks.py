"""AutoKeras blocks: fusion of several inputs, and heads that work on today's Keras.

Importing this file imports AutoKeras; `mmkeras.search` does so when one of its names is first used.
"""

import autokeras as ak
import keras
from autokeras.engine.block import Block
from keras import tree

from mmkeras.fusion import ConcatFusion, Fusion
from mmkeras.heads.decisions import read_features
from mmkeras.heads.inputs import HeadInputs, JoinInputs
from mmkeras.modalities.base import PRESENT
from mmkeras.registry import named, names


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
        self.dtype, self.row_shape = dtype, shape

    def build_node(self, hp):
        shape = self.shape if self.row_shape is None else self.row_shape
        return keras.Input(tuple(None if n is None else int(n) for n in shape), dtype=self.dtype, name=self.name)

    def build(self, hp, inputs=None):
        return tree.flatten(inputs)[0]

    def config_from_analyser(self, analyser):
        dtype = self.dtype
        super().config_from_analyser(analyser)
        self.dtype = dtype

    def get_config(self):
        return {"name": self.name, "shape": self.row_shape, "dtype": self.dtype}


class FusionBlock(Block):
    """Joins several nodes to one vector (B, U): what AutoKeras's `Merge` does, by the fusions of this package.

    Nodes of rank 3 are sequences: "cross_attention" is offered where there are two of them, other fusions take their mean;
    of images (rank 4) they take the mean over places. What is not given is searched.

    Args:
        fusion: None, one of the fusions of `build_head`, such as "concat", or a list of them.
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
        labels = [] if fusion is None else [fusion] if isinstance(fusion, str) else list(fusion)
        for label in labels:
            named(Fusion, label, "fusion")
        self.fusion, self.units, self.dropout, self.presence = labels, units, dropout, presence

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
        tensors = [keras.ops.mean(x, axis=(1, 2)) if len(x.shape) == 4 else x for x in nodes[:count]]
        there = nodes[count:] if self.presence else [_ones(x) for x in tensors]
        sequences = sum(len(x.shape) == 3 for x in tensors)
        offered = self.fusion or [n for n in names(Fusion) if named(Fusion, n, "fusion").sequences <= sequences]
        label = _choose(hp, "fusion", offered) if count > 1 else ConcatFusion.label
        units = _choose(hp, "units", self.units or [256, 128, 512])
        dropout = _choose(hp, "dropout", [0.25, 0.0, 0.5] if self.dropout is None else self.dropout)
        keys = [f"node_{i}" for i in range(count)]
        features = dict(zip([*keys, *(f"{key}{PRESENT}" for key in keys)], [*tensors, *there], strict=True))
        fused = _fused(HeadInputs(features, keys, normalise=keys, whole=keys), named(Fusion, label, "fusion"), units)
        return keras.layers.Dropout(dropout)(fused({key: features[key] for key in fused.input}))


def _fused(inputs, fusion, units):
    """keras.Model from the features of `HeadInputs` to (B, units): a fusion as it sits in a head, with units for classes."""

    def hidden(activation):
        return lambda x, number=0: keras.layers.Dense(units, activation)(x)

    size = {"units": units, "dropout": 0.0, "attention_heads": 1}
    decide = {"decide": hidden("gelu"), "decide_linearly": hidden(None)}
    joined = fusion.join(JoinInputs(**read_features(inputs, fusion, {}), **size, **decide))
    return keras.Model(inputs.inputs, joined)


def _ones(x):
    """(B, 1): present in every row."""
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

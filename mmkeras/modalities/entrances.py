"""Where what a modality reads becomes numbers that a model is differentiable in."""

import collections.abc
import dataclasses

import keras

from mmkeras.graph import consumers


@dataclasses.dataclass(frozen=True)
class Entrance:
    """A place of `encode` at which explanations follow gradients.

    Attributes:
        place: a layer of `encode`, also within its towers; or the key of an input of `encode`.
        silent: function of what the layer reads, or of the input, to the same of a row that says nothing there.
        before: bool; True for what the layer reads, else what it gives.
    """

    place: keras.layers.Layer | str
    silent: collections.abc.Callable = keras.ops.zeros_like
    before: bool = False


def embeddings(tower, key, silent):
    """[`Entrance`] of the layers of a Functional model that embed an input of numbers of tokens.

    Args:
        tower: keras.Model. key: name of the input.
        silent: number of the token that says nothing.
    """
    tokens = tower.input[key]
    layers = [layer for layer in consumers(tokens) if isinstance(layer, keras.layers.Layer)]
    shapes = {id(layer): layer.compute_output_spec(tokens) for layer in layers}
    vectors = [layer for layer in layers if len(shapes[id(layer)].shape) == 3 and "float" in shapes[id(layer)].dtype]
    return [Entrance(layer, lambda ids: keras.ops.full_like(ids, silent)) for layer in vectors]

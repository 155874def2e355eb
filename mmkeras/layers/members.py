"""Layers of several models that share most of their weights."""

import keras

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class MemberDense(keras.layers.Layer):
    """A dense layer of k members that share its matrix: (B, D), or (B, k, D) of members already apart, → (B, k, U).

    Member i gives activation(s_i ∘ ((r_i ∘ x) W) + b_i): each has its own scales of inputs and outputs, and its own bias, after
    Wen et al., 2020 (BatchEnsemble, https://arxiv.org/abs/2002.06715). Where members part, their r_i start as random signs; else
    all scales start at 1, after Gorishniy et al., 2024 (TabM, https://arxiv.org/abs/2410.24210).

    Args:
        units: int, U.
        members: int, k.
        activation: as that of `keras.layers.Dense`.

    Raises:
        ValueError: units or members below 1; members of another number.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.MemberDense(5, members=3)(np.ones((2, 4))).shape
        TensorShape([2, 3, 5])
    """

    def __init__(self, units, members, activation=None, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("units", units), ("members", members)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` of MemberDense must be a positive int. Received: {value!r}.")
        self.units, self.members = units, members
        self.activation = keras.activations.get(activation)

    def build(self, shape):
        if len(shape) == 3 and shape[1] != self.members:
            raise ValueError(f"MemberDense takes (B, D) or (B, {self.members}, D). Received: {tuple(shape)}.")
        start = "ones" if len(shape) == 3 else _signs()
        self.inner = self.add_weight(shape=(self.members, shape[-1]), initializer=start, name="scale_in")
        self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
        self.outer = self.add_weight(shape=(self.members, self.units), initializer="ones", name="scale_out")
        self.bias = self.add_weight(shape=(self.members, self.units), initializer="zeros", name="bias")

    def call(self, x):
        x = keras.ops.expand_dims(x, 1) if len(x.shape) == 2 else x
        hidden = keras.ops.matmul(x * self.inner, self.kernel)  # (B, k, U)
        return self.activation(hidden * self.outer + self.bias)

    def compute_output_shape(self, shape):
        return (shape[0], self.members, self.units)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "units": self.units, "members": self.members, "activation": activation}


@keras.saving.register_keras_serializable(PACKAGE)
class MemberScale(keras.layers.Layer):
    """What each member listens to, before a layer that all share: (B, k, D) → (B, k, D), times a vector of its own.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.MemberScale()(np.ones((2, 3, 4))).shape
        TensorShape([2, 3, 4])
    """

    def build(self, shape):
        self.scale = self.add_weight(shape=tuple(shape[1:]), initializer=_signs(), name="scale_in")

    def call(self, x):
        return x * self.scale

    def compute_output_shape(self, shape):
        return shape


def _signs():
    """An initializer of −1 and 1 at random."""
    draw = keras.initializers.RandomUniform(-1.0, 1.0)
    return lambda shape, dtype=None: keras.ops.sign(draw(shape, dtype))

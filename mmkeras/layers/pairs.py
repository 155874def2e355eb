"""How alike two sides are: cosines of unit vectors, times a learnt scale."""

import keras

PACKAGE = "mmkeras"
MOST = 100.0  # times the cosine; beyond, a few pairs decide everything


@keras.saving.register_keras_serializable(PACKAGE)
class Similarity(keras.layers.Layer):
    """Likeness of the two sides of rows: unit vectors (B, D) and (B, D) → (B, 1), their cosines.

    With `every=True` it is of each row's first with every row's second: (B, B) logits, `scale` · cosine + `bias`. Both are learnt, as in
    Radford et al., 2021 (https://arxiv.org/abs/2103.00020), where the scale is exp of what is learnt and at most 100, and
    Zhai et al., 2023 (https://arxiv.org/abs/2303.15343), who add the bias.

    Args:
        scale: float above 0, at the start.
        bias: float, at the start; None for none, where a loss only compares logits: it would be learnt from rounding alone.
        learns: bool, whether they are learnt.

    Raises:
        ValueError: a scale that is not above 0.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> here, there = np.eye(2, dtype="float32"), np.array([[1.0, 0.0], [0.6, 0.8]], "float32")
        >>> layer = mm.layers.Similarity(scale=10.0)
        >>> layer(here, there).numpy().ravel().tolist() == [1.0, np.float32(0.8)]
        True
        >>> layer(here, there, every=True).numpy().round(2).tolist()
        [[10.0, 6.0], [0.0, 8.0]]
    """

    def __init__(self, scale=20.0, bias=None, learns=True, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        if not 0 < scale <= MOST:
            raise ValueError(f"`scale` of Similarity must lie above 0, at most {MOST:g}. Received: {scale!r}.")
        self.scale, self.bias, self.learns = scale, bias, learns

    def build(self, here_shape, there_shape=None):
        starts = {"log_scale": keras.ops.log(self.scale), "shift": self.bias}
        for name, start in starts.items():
            if start is not None:
                value = keras.initializers.Constant(float(start))
                setattr(self, name, self.add_weight(name=name, shape=(), initializer=value, trainable=self.learns))

    def call(self, here, there, every=False):
        if not every:
            return keras.ops.sum(here * there, axis=-1, keepdims=True)
        scale = keras.ops.exp(keras.ops.minimum(self.log_scale, keras.ops.log(MOST)))
        logits = scale * keras.ops.matmul(here, keras.ops.transpose(there))
        return logits if self.bias is None else logits + self.shift

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "bias": self.bias, "learns": self.learns}

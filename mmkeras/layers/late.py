"""A modality that is added to predictions, on the scale of their logits."""

import keras

from mmkeras.layers.averaging import SCALES

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class AddLinear(keras.layers.Layer):
    """Predictions (B, C), features (B, D) and their presence (B, 1) → predictions (B, C), moved by a linear function of the features.

    On the scale it gives back(onto(predictions) + present · (features − mean) W): rows without the features stay as they are, and so does
    the mean over rows that have them, on the scale. `set_weights` takes the mean (D,) and W (D, C); both start at 0.

    Args:
        scale: "predictions", "log_odds" or "log_probabilities", see `WeightedMean`.

    Raises:
        ValueError: an unknown scale.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> layer = mm.layers.AddLinear()
        >>> parts = [np.array([[1.0], [1.0]]), np.array([[4.0, 0.0], [4.0, 0.0]]), np.array([[1.0], [0.0]])]
        >>> unchanged = layer(parts)
        >>> layer.set_weights([np.array([1.0, 0.0]), np.array([[2.0], [5.0]])])
        >>> layer(parts).numpy().tolist()
        [[7.0], [1.0]]
    """

    def __init__(self, scale="predictions", **kwargs):
        super().__init__(**kwargs)
        if scale not in SCALES:
            raise ValueError(f"`scale` must be one of {tuple(SCALES)}. Received: {scale!r}.")
        self.scale = scale

    def build(self, shapes):
        said, features, _ = shapes
        self.mean = self.add_weight(shape=(features[-1],), initializer="zeros", trainable=False, name="mean")
        self.kernel = self.add_weight(
            shape=(features[-1], said[-1]), initializer="zeros", trainable=False, name="kernel"
        )

    def call(self, inputs):
        said, features, present = inputs
        onto, back = SCALES[self.scale]
        moved = keras.ops.matmul(keras.ops.cast(features, self.compute_dtype) - self.mean, self.kernel)
        return back(onto(said) + keras.ops.cast(present, self.compute_dtype) * moved)

    def compute_output_shape(self, shapes):
        return shapes[0]

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}

"""Standard units as the units of a column."""

import keras

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class Units(keras.layers.Layer):
    """Numbers of mean 0 and deviation 1 in the units of a column, in float64: (B, C) → (B, C), mean + scale · x.

    float32 would round seconds since 1970 to two minutes.

    Args:
        scale, mean: float.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.Units(2.0, 1_700_000_001.0)(np.array([[0.5]])).numpy().tolist()
        [[1700000002.0]]
    """

    def __init__(self, scale, mean, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float64"})
        self.scale, self.mean = float(scale), float(mean)

    def call(self, inputs):
        scale, mean = (keras.ops.convert_to_tensor(value, "float64") for value in (self.scale, self.mean))
        return mean + scale * keras.ops.cast(inputs, "float64")

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "float64")

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "mean": self.mean}

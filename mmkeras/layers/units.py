"""Standard units as the units of columns, and quantiles that never cross."""

import statistics

import keras
import numpy as np

from mmkeras.layers.transforms import transform_of

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class Units(keras.layers.Layer):
    """Numbers of mean 0 and deviation 1 in the units of K columns, in float64: (B, K · Q) → (B, K · Q), mean + scale · x.

    float32 would round seconds since 1970 to two minutes. Of each column there are Q numbers, side by side.

    Args:
        scale, mean: float; or a list of K floats.
        transforms: list of K configs of `transforms.transform_of`, on whose scales mean and scale are meant; None for none.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.Units(2.0, 1_700_000_001.0)(np.array([[0.5]])).numpy().tolist()
        [[1700000002.0]]
        >>> prices = mm.layers.Units(1.0, 0.0, [{"kind": "log1p", "most": 99.0}])
        >>> prices(np.log([[100.0]])).numpy().round(6).tolist()
        [[99.0]]
    """

    def __init__(self, scale, mean, transforms=None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float64"})
        several = isinstance(scale, list | tuple)
        self.scale, self.mean = (list(map(float, x)) if several else float(x) for x in (scale, mean))
        self.transforms = None if transforms is None else list(transforms)

    def call(self, inputs):
        scale, mean = self._settings()
        values = mean + scale * self._by_column(inputs)
        return keras.ops.reshape(self._each("inverse", values), keras.ops.shape(inputs))

    def standard(self, values):
        """The way back: (B, K · Q) in the units of the columns → standard units."""
        scale, mean = self._settings()
        numbers = (self._each("forward", self._by_column(values)) - mean) / scale
        return keras.ops.reshape(numbers, keras.ops.shape(values))

    def _settings(self):
        """Scale and mean as (K, 1)."""
        return (keras.ops.reshape(keras.ops.convert_to_tensor(x, "float64"), (-1, 1)) for x in (self.scale, self.mean))

    def _by_column(self, values):
        """(B, K · Q) as (B, K, Q) float64."""
        columns = np.size(self.scale)
        return keras.ops.reshape(keras.ops.cast(values, "float64"), (-1, columns, values.shape[-1] // columns))

    def _each(self, way, values):
        """(B, K, Q) on the transforms' scales, or back from there."""
        if self.transforms is None:
            return values
        ways = [getattr(transform_of(config), way) for config in self.transforms]
        return keras.ops.stack([go(values[:, column]) for column, go in enumerate(ways)], axis=1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "float64")

    def get_config(self):
        config = {**super().get_config(), "scale": self.scale, "mean": self.mean}
        return config if self.transforms is None else {**config, "transforms": self.transforms}


@keras.saving.register_keras_serializable(PACKAGE)
class RisingQuantiles(keras.layers.Layer):
    """Q numbers for each of K columns that never fall: (B, K · Q) → (B, K · Q), float64.

    The middle one is taken as it is; the others stand above or below their neighbour by a softplus. Zeros give the quantiles of a
    normal distribution, less that of the middle one.

    Args:
        quantiles: list of Q rising floats in (0, 1).

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.RisingQuantiles([0.1, 0.5, 0.9])(np.zeros((1, 3))).numpy().round(2).tolist()
        [[-1.28, 0.0, 1.28]]
    """

    def __init__(self, quantiles, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float64"})
        self.quantiles = list(map(float, quantiles))

    def call(self, inputs):
        count, middle = len(self.quantiles), len(self.quantiles) // 2
        numbers = keras.ops.reshape(keras.ops.cast(inputs, "float64"), (-1, inputs.shape[-1] // count, count))
        steps = np.diff([statistics.NormalDist().inv_cdf(q) for q in self.quantiles])
        base, starts = numbers[..., middle : middle + 1], np.log(np.expm1(steps))
        below = keras.ops.softplus(numbers[..., :middle] + starts[:middle])
        above = keras.ops.softplus(numbers[..., middle + 1 :] + starts[middle:])
        falls = keras.ops.flip(keras.ops.cumsum(keras.ops.flip(below, -1), -1), -1)
        rising = keras.ops.concatenate([base - falls, base, base + keras.ops.cumsum(above, -1)], axis=-1)
        return keras.ops.reshape(rising, keras.ops.shape(inputs))

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, "float64")

    def get_config(self):
        return {**super().get_config(), "quantiles": self.quantiles}

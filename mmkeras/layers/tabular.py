"""Layers of numbers with gaps."""

import keras
import numpy as np

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class CleanNumbers(keras.layers.Layer):
    """Numbers as they come → numbers or NaN: (B, K) → (B, K).

    Infinite values become NaN (missing); so do zeros in the columns where zero means unknown. Heavy-tailed
    columns are replaced by ln(1 + x), with negative values read as 0.

    Args:
        zero_is_missing: list of K bools.
        log1p: list of K bools.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> clean = mm.layers.CleanNumbers(zero_is_missing=[True, False], log1p=[False, True])
        >>> clean(np.array([[0.0, 0.0], [5.0, np.e - 1]])).numpy().round(3).tolist()
        [[nan, 0.0], [5.0, 1.0]]
    """

    def __init__(self, zero_is_missing, log1p, **kwargs):
        super().__init__(**kwargs)
        self.zero_is_missing = list(zero_is_missing)
        self.log1p = list(log1p)

    def call(self, numbers):
        # More than single precision holds is infinite, as `data.numbers` reads it.
        missing = ~keras.ops.isfinite(keras.ops.cast(numbers, "float32")) | (
            keras.ops.equal(numbers, 0) & keras.ops.convert_to_tensor(self.zero_is_missing, "bool")
        )
        log = keras.ops.log1p(keras.ops.maximum(numbers, 0))
        numbers = keras.ops.where(keras.ops.convert_to_tensor(self.log1p, "bool"), log, numbers)
        return keras.ops.where(missing, float("nan"), numbers)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "zero_is_missing": self.zero_is_missing, "log1p": self.log1p}


@keras.saving.register_keras_serializable(PACKAGE)
class Standardize(keras.layers.Layer):
    """Numbers to mean 0 and variance 1, subtracted in the layer's own precision: (B, K) → (B, K).

    `keras.layers.Normalization` keeps the mean in single precision, which cannot tell the seconds of a minute of this year apart.

    Args:
        mean, variance: lists of K floats.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> scale = mm.layers.Standardize([1_700_000_000.5], [0.25], dtype="float64")
        >>> scale(np.array([[1_700_000_000.0], [1_700_000_001.0]])).numpy().tolist()
        [[-1.0], [1.0]]
    """

    def __init__(self, mean, variance, **kwargs):
        super().__init__(**kwargs)
        self.mean, self.variance = [float(value) for value in mean], [float(value) for value in variance]

    def call(self, numbers):
        mean, variance = (
            np.array(values, keras.backend.standardize_dtype(numbers.dtype)) for values in (self.mean, self.variance)
        )
        return (numbers - mean) / np.sqrt(variance)

    def compute_output_spec(self, numbers):
        return keras.KerasTensor(numbers.shape, numbers.dtype)

    def get_config(self):
        return {**super().get_config(), "mean": self.mean, "variance": self.variance}


@keras.saving.register_keras_serializable(PACKAGE)
class PiecewiseLinear(keras.layers.Layer):
    """How far each number has gone through each of its bins: (B, K) → (B, M), M bins over all columns.

    For the bin [low, high] of a column: 0 below it, 1 above it, (x − low) / (high − low) inside; 0 for NaN.
    After Gorishniy et al., 2022, https://arxiv.org/abs/2203.05556.

    Args:
        bins: list of M [column, low, high] with low < high.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> bins = mm.layers.PiecewiseLinear([[0, 0.0, 10.0], [0, 10.0, 20.0]])
        >>> bins(np.array([[5.0], [12.5]])).numpy().round(3).tolist()
        [[0.5, 0.0], [1.0, 0.25]]
    """

    def __init__(self, bins, **kwargs):
        super().__init__(**kwargs)
        self.bins = [list(entry) for entry in bins]

    def call(self, numbers):
        column, low, high = zip(*self.bins, strict=True)
        low, high = (np.array(edge, keras.backend.standardize_dtype(numbers.dtype)) for edge in (low, high))
        inside = (keras.ops.take(numbers, column, axis=1) - low) / (high - low)
        return keras.ops.where(keras.ops.isnan(inside), 0.0, keras.ops.clip(inside, 0.0, 1.0))

    def compute_output_shape(self, shape):
        return (shape[0], len(self.bins))

    def get_config(self):
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable(PACKAGE)
class FillMissing(keras.layers.Layer):
    """Numbers with NaN → numbers and indicators: (B, K) → (B, 2K), a learned value in place of each NaN.

    The first K outputs are the numbers, the last K are 1 where the number was missing. The learned values
    start at 0, which is the mean of a standardised column.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.FillMissing()(np.array([[2.0, np.nan]])).numpy().tolist()
        [[2.0, 0.0, 0.0, 1.0]]
    """

    def build(self, shape):
        self.value = self.add_weight(shape=(shape[-1],), initializer="zeros", name="value")

    def call(self, numbers):
        missing = keras.ops.isnan(numbers)
        numbers = keras.ops.where(missing, keras.ops.cast(self.value, numbers.dtype), numbers)
        return keras.ops.concatenate([numbers, keras.ops.cast(missing, numbers.dtype)], axis=-1)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 2 * shape[-1])


@keras.saving.register_keras_serializable(PACKAGE)
class AnyNumber(keras.layers.Layer):
    """Whether a row has at least one number that is not NaN: (B, K) → (B, 1) of 0. and 1.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.AnyNumber()(np.array([[2.0, np.nan], [np.nan, np.nan]])).numpy().ravel().tolist()
        [1.0, 0.0]
    """

    def call(self, numbers):
        present = keras.ops.any(~keras.ops.isnan(numbers), axis=-1, keepdims=True)
        return keras.ops.cast(present, self.compute_dtype)

    def compute_output_spec(self, numbers):
        return keras.KerasTensor((numbers.shape[0], 1), self.compute_dtype)

"""Layers that vary sounds in training, so that a network hears what it knows from other voices and microphones, too.

B rows of N samples, T frames, M bands of frequencies. Outside training each gives what it reads.
"""

import keras
import numpy as np
from keras import ops

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class VarySound(keras.layers.Layer):
    """In training, a sound that is a little faster and higher, or slower and lower, and begins later; else the sound as it is.

    Args:
        speed: float, the most that the speed differs from 1.
        shift: float, the largest share of the row by which a sound is moved back.
        seed: int or None, of what is drawn.

    Call arguments:
        samples: (B, N).
        filled: (B, 1), the share of a row that is sound.
        training: bool.

    Returns:
        The same two of the varied sounds.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> samples, filled = mm.layers.VarySound()(np.ones((1, 4)), np.array([[0.5]]))
        >>> samples.numpy().tolist(), filled.numpy().tolist()
        ([[1.0, 1.0, 1.0, 1.0]], [[0.5]])
    """

    def __init__(self, speed=0.2, shift=0.1, seed=None, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.speed, self.shift, self.seed = speed, shift, seed
        self._draw = keras.random.SeedGenerator(seed)

    def call(self, samples, filled, training=False):
        if not training:
            return [samples, filled]
        rows, length = ops.shape(samples)[0], samples.shape[1]
        speed = keras.random.uniform((rows, 1), 1 - self.speed, 1 + self.speed, seed=self._draw)
        start = keras.random.uniform((rows, 1), 0.0, self.shift, seed=self._draw) * length
        places = (ops.arange(length, dtype="float32") - start) * speed
        below = ops.floor(places)
        padded = ops.pad(samples, [[0, 0], [1, 1]])  # silence on either side

        def at(whole):
            return ops.take_along_axis(padded, ops.cast(ops.clip(whole, -1, length), "int32") + 1, axis=1)

        varied = at(below) + (places - below) * (at(below + 1) - at(below))
        return [varied, ops.minimum(filled / speed + start / length, 1.0)]

    def compute_output_shape(self, samples_shape, filled_shape):
        return [samples_shape, filled_shape]

    def get_config(self):
        return {**super().get_config(), "speed": self.speed, "shift": self.shift, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class MaskBands(keras.layers.Layer):
    """In training, a spectrum (B, T, M) of which some bands and frames next to each other are 0 (Park et al., 2019, SpecAugment,
    https://arxiv.org/abs/1904.08779); else as it is.

    Args:
        bands, frames: floats, the largest share of all bands, and of all frames, that is masked at once.
        times: int, how often of each.
        seed: int or None, of what is drawn.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.MaskBands()(np.ones((1, 2, 2))).numpy().tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
    """

    def __init__(self, bands=0.2, frames=0.2, times=2, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.bands, self.frames, self.times, self.seed = bands, frames, times, seed
        self._draw = keras.random.SeedGenerator(seed)

    def call(self, spectrum, training=False):
        if not training:
            return spectrum
        _, frames, bands = spectrum.shape
        for _ in range(self.times):
            spectrum = spectrum * self._kept(spectrum, frames, self.frames)[:, :, None]
            spectrum = spectrum * self._kept(spectrum, bands, self.bands)[:, None, :]
        return spectrum

    def _kept(self, spectrum, size, share):
        """(B, size) of 0. where a stretch is masked, and 1."""
        rows = ops.shape(spectrum)[0]
        width = keras.random.uniform((rows, 1), 0.0, share, seed=self._draw) * size
        start = keras.random.uniform((rows, 1), seed=self._draw) * (size - width)
        places = ops.arange(size, dtype="float32")
        return ops.cast((places < start) | (places >= start + width), spectrum.dtype)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        own = {"bands": self.bands, "frames": self.frames, "times": self.times, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class VaryBands(keras.layers.Layer):
    """In training, a spectrum of logarithms (B, T, M) as through other microphones: a smooth curve over its bands is added; else as it is.

    The curve is of straight lines between heights drawn for some places of the bands (after Nam et al., 2022, FilterAugment,
    https://arxiv.org/abs/2107.13260).

    Args:
        deviation: float, of the heights, as natural logarithms of a power.
        places: int, how many heights there are.
        seed: int or None, of what is drawn.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.VaryBands()(np.ones((1, 2, 4))).numpy()[0, 0].tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(self, deviation=1.5, places=5, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.deviation, self.places, self.seed = deviation, places, seed
        self._draw = keras.random.SeedGenerator(seed)

    def call(self, spectrum, training=False):
        if not training:
            return spectrum
        heights = keras.random.normal((ops.shape(spectrum)[0], self.places), stddev=self.deviation, seed=self._draw)
        at = np.linspace(0, self.places - 1, spectrum.shape[2])
        lines = np.maximum(0, 1 - np.abs(at - np.arange(self.places)[:, None])).astype("float32")  # (places, M)
        return spectrum + ops.cast(ops.matmul(heights, lines), spectrum.dtype)[:, None, :]

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        own = {"deviation": self.deviation, "places": self.places, "seed": self.seed}
        return {**super().get_config(), **own}

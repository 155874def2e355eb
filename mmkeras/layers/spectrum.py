"""Layers of what is heard: samples → logarithms of a mel spectrum, on a scale of its own.

B rows of N samples, T frames, M bands of frequencies. "filled" (B, 1) says what share of a row is sound; behind it are zeros.
"""

import keras
import numpy as np
from keras import ops

PACKAGE = "mmkeras"
WINDOW, STEP = 0.025, 0.01  # seconds of a frame, and from one to the next
FLOOR = 1e-6  # power that is no sound
EPSILON = 1e-3


@keras.saving.register_keras_serializable(PACKAGE)
class LogMel(keras.layers.MelSpectrogram):
    """Samples → logarithms of the power in bands of frequencies: (B, N) → (B, T, M), a frame every 10 ms, T = 1 + N // (rate / 100).

    Keras's `MelSpectrogram` with frames of 25 ms under a Hann window, the samples reflected at both ends, and triangles that are linear in
    Hertz and 1 at their top, between places that are equally far on HTK's mel scale: what librosa gives for
    `htk=True, norm=None, center=True, pad_mode="reflect"`. Then the natural logarithm, of at least 1e-6.

    Args:
        sampling_rate: int, samples a second.
        bands: int, M.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> tone = np.sin(2 * np.pi * 1000 * np.arange(8000) / 8000)[None]
        >>> heard = mm.layers.LogMel(sampling_rate=8000, bands=20)(tone)
        >>> heard.shape, int(np.argmax(heard[0, 50]))
        (TensorShape([1, 101, 20]), 9)
    """

    def __init__(self, sampling_rate=16000, bands=64, **kwargs):
        length = round(WINDOW * sampling_rate)
        super().__init__(
            fft_length=1 << (length - 1).bit_length(),
            sequence_length=length,
            sequence_stride=round(STEP * sampling_rate),
            sampling_rate=sampling_rate,
            num_mel_bins=bands,
            power_to_db=False,  # it would be relative to the loudest of a batch
            mag_exp=2.0,
            **{**kwargs, "dtype": "float32"},
        )
        self.bands = bands

    def call(self, samples):
        return ops.log(ops.maximum(ops.swapaxes(super().call(samples), -1, -2), FLOOR))

    def linear_to_mel_weight_matrix(
        self, num_mel_bins, num_spectrogram_bins, sampling_rate, lower_edge_hertz, upper_edge_hertz, dtype="float32"
    ):
        """(bins, M) weights of each bin of frequencies in each band."""
        ends = _mel(np.array([lower_edge_hertz, upper_edge_hertz], "float64"))
        edges = 700 * (np.exp(np.linspace(*ends, num_mel_bins + 2) / 1127) - 1)
        apart = np.linspace(0, sampling_rate / 2, num_spectrogram_bins)[:, None] - edges
        steps = np.diff(edges)
        weights = np.maximum(0, np.minimum(apart[:, :-2] / steps[:-1], -apart[:, 2:] / steps[1:]))
        return ops.convert_to_tensor(weights.astype(dtype))

    def compute_output_shape(self, shape):
        return (shape[0], 1 + shape[1] // self.sequence_stride, self.bands)

    def get_config(self):
        own = keras.layers.Layer.get_config(self)
        return {**own, "sampling_rate": self.sampling_rate, "bands": self.bands}


def _mel(frequencies):
    return 1127 * np.log(1 + frequencies / 700)


@keras.saving.register_keras_serializable(PACKAGE)
class FramesPresent(keras.layers.Layer):
    """Which frames hold sound: (B, T, …) and (B, 1), the share of a row that does → (B, T) of 0. and 1.; the first always does.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.FramesPresent()(np.ones((3, 4, 2)), np.array([[0.5], [0.0], [1.0]])).numpy().tolist()
        [[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, frames, filled):
        count = ops.shape(frames)[1]
        ends = ops.maximum(ops.ceil(ops.cast(filled, "float32") * ops.cast(count, "float32")), 1)
        return ops.cast(ops.arange(count, dtype="float32") < ends, self.compute_dtype)

    def compute_output_shape(self, frames_shape, filled_shape):
        return tuple(frames_shape[:2])


@keras.saving.register_keras_serializable(PACKAGE)
class StandardizeFrames(keras.layers.Layer):
    """A spectrum of mean 0 and variance 1 over the frames of its sound, all bands together; 0 behind its end.

    So how loud a recording is says nothing, and what it holds of each band still does. In single precision: half cannot hold the sum.

    Call arguments:
        spectrum: (B, T, M).
        there: (B, T), which frames hold sound.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> spectrum = np.array([[[1.0], [3.0], [9.0]]])
        >>> mm.layers.StandardizeFrames()(spectrum, np.array([[1, 1, 0]])).numpy().round(2).tolist()
        [[[-1.0], [1.0], [0.0]]]
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})

    def call(self, spectrum, there):
        weights = ops.cast(there, spectrum.dtype)[:, :, None]
        count = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1) * spectrum.shape[-1]
        centred = (spectrum - ops.sum(spectrum * weights, axis=(1, 2), keepdims=True) / count) * weights
        variance = ops.sum(ops.square(centred), axis=(1, 2), keepdims=True) / count
        return centred / ops.sqrt(variance + EPSILON)

    def compute_output_shape(self, spectrum_shape, there_shape):
        return spectrum_shape

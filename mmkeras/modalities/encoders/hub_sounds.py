"""Sounds through the encoder half of a speech recogniser of KerasHub: Whisper or Moonshine."""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.modalities.encoders.presets import load
from mmkeras.modalities.encoders.sounds import SoundEncoder

PACKAGE = "mmkeras"
FEATURES, VALUES = "encoder_features", "encoder_input_values"  # what Whisper reads, and Moonshine


class HubSound(SoundEncoder):
    """What `Audio` takes an `encoder` for that no other encoder reads: a preset name, handle or directory; the mean over its steps.

    Whisper hears a window of its length, rounded up to whole seconds, instead of 30 seconds.
    """

    pretrained = True

    def features(self, samples, filled):
        tower = self.tower(samples.shape[1])
        return tower({"samples": samples, "filled": filled})

    def tower(self, length):
        """keras.Model from {"samples": (B, N), "filled": (B, 1)} to (B, D)."""
        encoder = self.modality.encoder
        backbone, converter = load_backbone(encoder), load_converter(encoder)
        self._check_rate(converter.sampling_rate)
        inputs = {"samples": keras.Input((length,), name="samples"), "filled": keras.Input((1,), name="filled")}
        samples, filled = inputs["samples"], inputs["filled"]
        if FEATURES in backbone.input:
            heard = keras.Model(backbone.input[FEATURES], backbone.output["encoder_sequence_output"])
            seconds = self._checked_seconds(math.ceil(length / converter.sampling_rate), backbone, converter)
            form = {**converter.get_config(), "max_audio_length": seconds, "dtype": "float32", "name": "mel"}
            steps = heard(WhisperMel(form, name="whisper_mel")(samples))
            filled = filled * (length / (seconds * converter.sampling_rate))
        else:
            reads = {name: backbone.input[name] for name in (VALUES, "encoder_padding_mask")}
            heard = keras.Model(reads, backbone.output["encoder_sequence_output"])
            there = keras.ops.cast(layers.FramesPresent(name="values_present")(samples, filled), "bool")
            steps = heard({VALUES: samples[:, :, None], "encoder_padding_mask": there})
        there = layers.FramesPresent(name="steps_present")(steps, filled)
        return keras.Model(inputs, layers.MaskedMean(name="steps_mean")(steps, there), name=f"{self.name}_tower")

    def _checked_seconds(self, seconds, backbone, converter):
        most = backbone.max_encoder_sequence_length * converter.stride // converter.sampling_rate
        if seconds > most:
            raise ValueError(
                f"`seconds` of {self.modality.encoder!r} must be at most {most}. Received: {self.modality.seconds_heard:g}. "
                "Hear a long recording in several `windows`."
            )
        return seconds

    def _check_rate(self, rate):
        if rate != self.modality.sampling_rate:
            raise ValueError(
                f"`sampling_rate` of {self.modality.encoder!r} must be {rate}. Received: {self.modality.sampling_rate}. Leave it out."
            )


def load_backbone(encoder):
    """A speech backbone of KerasHub.

    Raises:
        FileNotFoundError, ValueError: see `presets.load`; a backbone of something else.
    """
    import keras_hub

    backbone = load(keras_hub.models.Backbone, encoder, what="a speech backbone")
    names = list(backbone.input) if isinstance(backbone.input, dict) else [backbone.inputs[0].name]
    if not {FEATURES, VALUES} & set(names):
        raise ValueError(
            f"`encoder` of `Audio` must hear speech, as Whisper and Moonshine do. Received: {encoder!r}, a {type(backbone).__name__} that "
            f"reads {names}. Give the preset of one of those."
        )
    return backbone


@functools.lru_cache(8)
def load_converter(encoder):
    """The AudioConverter of a preset, with its sampling rate."""
    import keras_hub

    return load(keras_hub.layers.AudioConverter, encoder, what="an audio converter, which presets of speech have")


@keras.saving.register_keras_serializable(PACKAGE)
class WhisperMel(keras.layers.Layer):
    """Samples → the logarithms of a mel spectrum that Whisper reads: (B, N) → (B, T, M), what KerasHub's converter gives.

    Written anew, of operations that every engine knows.

    Args:
        form: dict, the configuration of a `keras_hub.layers.WhisperAudioConverter`, as `get_config` tells it.

    Example:
        >>> import keras_hub
        >>> form = keras_hub.layers.WhisperAudioConverter(max_audio_length=1).get_config()
        >>> WhisperMel(form)(keras.ops.zeros((1, 16000))).shape
        TensorShape([1, 100, 80])
    """

    def __init__(self, form, **kwargs):
        import keras_hub

        super().__init__(**{**kwargs, "dtype": "float32"})
        self.form = form
        self._convert = keras_hub.layers.WhisperAudioConverter.from_config(form)

    def call(self, samples):
        like = self._convert
        size, half = like.num_fft_bins, like.num_fft_bins // 2
        samples = tf.pad(samples, [[0, 0], [0, like.num_samples - samples.shape[1]]])
        ends = samples[:, 1 : half + 1], samples[:, -half - 1 : -1]  # which are reflected
        samples = tf.concat([ends[0][:, ::-1], samples, ends[1][:, ::-1]], axis=1)
        waves = tf.signal.stft(samples, size, like.stride, size)[:, :-1]
        power = tf.matmul(tf.square(tf.abs(waves)), tf.constant(like.mel_filters))
        heard = tf.math.log(tf.maximum(power, 1e-10)) / np.log(10)
        return (tf.maximum(heard, tf.reduce_max(heard, axis=(1, 2), keepdims=True) - 8) + 4) / 4

    def compute_output_spec(self, samples):
        frames = self._convert.num_samples // self._convert.stride
        return keras.KerasTensor((samples.shape[0], frames, self._convert.num_mels), "float32")

    def get_config(self):
        return {**super().get_config(), "form": self.form}

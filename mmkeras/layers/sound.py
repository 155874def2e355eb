"""Layers of sounds: bytes of WAV files → samples → what a network hears. B rows of N samples, T frames, M bands of frequencies."""

import functools

import keras
import tensorflow as tf

from mmkeras.layers.once import traced_once
from mmkeras.layers.parsing import bytes_of, first_bytes, length_of, number_at, refuse_unless
from mmkeras.layers.resampling import needed, resample

PACKAGE = "mmkeras"
MOST_CHUNKS = 1000  # of a file, up to its samples
MOST_CHANNELS = 64
RATES = (1_000, 768_000)  # samples a second
INTEGERS, FLOATS, EXTENSIBLE = 1, 3, 0xFFFE  # how a WAV file says what its samples are


@keras.saving.register_keras_serializable(PACKAGE)
class DecodeSound(keras.layers.Layer):
    """Bytes of WAV files → the first N samples of each, mixed to one channel, at one rate.

    Samples may be integers of 8, 16, 24 or 32 bits, or floats of 32 or 64; −1 to 1 is full scale. Channels are averaged. The rate is
    changed by a polyphase filter as `scipy.signal.resample_poly` does it. Behind the end of a sound are zeros. An empty string has none.

    Args:
        sampling_rate: int, samples a second.
        samples: int, N.

    Call arguments:
        sounds: (B,) strings.

    Returns:
        dict: "samples" (B, N) float32; "lengths" (B,) int32, how many of them are of the sound.

    Raises:
        tf.errors.InvalidArgumentError: bytes that are no WAV file of such samples, are cut short, hold no sample, or one that is no number.

    Example:
        >>> import numpy as np
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> file = tf.audio.encode_wav(np.full((4, 1), 0.5, "float32"), 8000)
        >>> sound = mm.layers.DecodeSound(sampling_rate=8000, samples=6)(tf.stack([file, ""]))
        >>> sound["samples"].numpy().round(2).tolist(), sound["lengths"].numpy().tolist()
        ([[0.5, 0.5, 0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]], [4, 0])
    """

    def __init__(self, sampling_rate, samples, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.sampling_rate, self.samples = int(sampling_rate), int(samples)

    def call(self, sounds):
        specs = {"samples": tf.TensorSpec((self.samples,), tf.float32), "lengths": tf.TensorSpec((), tf.int32)}
        return tf.map_fn(_decoder(self.sampling_rate, self.samples), sounds, fn_output_signature=specs)

    def compute_output_spec(self, sounds):
        rows = sounds.shape[0]
        return {
            "samples": keras.KerasTensor((rows, self.samples), "float32"),
            "lengths": keras.KerasTensor((rows,), "int32"),
        }

    def get_config(self):
        return {**super().get_config(), "sampling_rate": self.sampling_rate, "samples": self.samples}


@functools.lru_cache(64)
def _decoder(sampling_rate, samples):
    """The reader of one sound."""

    def decode(data):
        form = read_form(data)
        own = samples_of(data, form, tf.minimum(form["count"], needed(form["rate"], sampling_rate, samples)))
        return _cut(resample(own, form["rate"], sampling_rate, samples), samples)

    def nothing():
        return {"samples": tf.zeros((samples,)), "lengths": tf.constant(0)}

    return traced_once(lambda data: tf.cond(tf.strings.length(data) > 0, lambda: decode(data), nothing), shape=())


def _cut(sound, samples):
    sound = sound[:samples]
    length = tf.size(sound)
    return {"samples": tf.ensure_shape(tf.pad(sound, [[0, samples - length]]), (samples,)), "lengths": length}


def read_form(data):
    """What the head of a WAV file says, as scalars: "kind", "bits", "channels", "rate", "at" where samples begin, "count" of them.

    Raises:
        tf.errors.InvalidArgumentError: see `DecodeSound`.
    """
    wave = tf.equal(tf.strings.substr(data, 0, 4), b"RIFF") & tf.equal(tf.strings.substr(_padded(data), 8, 4), b"WAVE")
    rule = "A sound must be a WAV file, or be made one. Received: bytes that start with "
    data = refuse_unless(wave, data, rule, first_bytes(data), ". Convert it first.")
    size, zero = length_of(data), tf.constant(0, tf.int64)

    def step(at, form_at, data_at, left):
        head = tf.strings.substr(data, at, 8)
        name, length = tf.strings.substr(head, 0, 4), number_at(bytes_of(head, 0), 4, 4)
        form_at = tf.where(tf.equal(name, b"fmt ") & (length >= 16), at + 8, form_at)
        data_at = tf.where(tf.equal(name, b"data"), at + 8, data_at)
        return at + 8 + length + length % 2, form_at, data_at, left - 1

    def more(at, form_at, data_at, left):
        return (data_at == 0) & (at + 8 <= size) & (left > 0)

    start = (tf.constant(12, tf.int64), zero, zero, tf.constant(MOST_CHUNKS))
    _, form_at, data_at, _ = tf.while_loop(more, step, start)
    rule = "A WAV file must say what its samples are, and then hold them. Received: a file of "
    data = refuse_unless((form_at > 0) & (data_at > 0), data, rule, size, " bytes without both. Write it anew.")
    return _checked(data, form_at, data_at)


def _checked(data, form_at, data_at):
    head = bytes_of(tf.strings.substr(data, form_at, 40), 40)
    kind, channels, rate, bits = (number_at(head, *place) for place in ((0, 2), (2, 2), (4, 4), (14, 2)))
    kind = tf.where(kind == EXTENSIBLE, number_at(head, 24, 2), kind)
    known = (kind == INTEGERS) & tf.reduce_any(bits == tf.constant([8, 16, 24, 32], tf.int64))
    known |= (kind == FLOATS) & ((bits == 32) | (bits == 64))
    rule = "A WAV file must hold integers of 8, 16, 24 or 32 bits, or floats of 32 or 64. Received: form "
    data = refuse_unless(known, data, rule, kind, " of ", bits, " bits. Convert it, for example with ffmpeg.")
    rule = f"A WAV file must have from 1 to {MOST_CHANNELS} channels. Received: "
    data = refuse_unless((channels >= 1) & (channels <= MOST_CHANNELS), data, rule, channels, ". Write it anew.")
    rule = f"A WAV file must have from {RATES[0]:,} to {RATES[1]:,} samples a second. Received: "
    data = refuse_unless((rate >= RATES[0]) & (rate <= RATES[1]), data, rule, rate, ". Write it anew.")
    claimed, there = number_at(bytes_of(tf.strings.substr(data, data_at - 4, 4), 0), 0, 4), length_of(data) - data_at
    rule = "A WAV file must be whole. Received: a head that claims "
    received = (claimed, " bytes of samples, of which ", there, " are there. Copy or write it anew.")
    data = refuse_unless(claimed <= there, data, rule, *received)
    count = claimed // (channels * bits // 8)
    data = refuse_unless(count > 0, data, "A sound must have a sample at least. Received: none. Leave the cell empty.")
    with tf.control_dependencies([data]):
        form = {"kind": kind, "bits": bits, "channels": channels, "rate": rate, "at": data_at, "count": count}
        return {name: tf.identity(value) for name, value in form.items()}


def samples_of(data, form, count):
    """(count,) float32, the first samples of a WAV file, the mean of its channels.

    Args:
        data: scalar string. form: see `read_form`. count: scalar, int64.

    Raises:
        tf.errors.InvalidArgumentError: a sample is no finite number.
    """
    width = form["channels"] * form["bits"] // 8
    raw = tf.strings.substr(data, form["at"], count * width)
    readers = [_eight, _sixteen, _twenty_four, _thirty_two, _floats, _doubles]
    number = tf.where(form["kind"] == FLOATS, 4 + form["bits"] // 64, form["bits"] // 8 - 1)
    values = tf.switch_case(tf.cast(number, tf.int32), [lambda read=read: read(raw) for read in readers])
    mixed = tf.reduce_mean(tf.reshape(values, tf.stack([count, form["channels"]])), axis=1)
    rule = "Samples of a sound must be finite numbers. Received: NaN or infinity. Write it anew."
    return refuse_unless(tf.reduce_all(tf.math.is_finite(mixed)), mixed, rule)


def _eight(raw):
    return (tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.float32) - 128) / 128


def _sixteen(raw):
    return tf.cast(tf.io.decode_raw(raw, tf.int16), tf.float32) / 2**15


def _twenty_four(raw):
    low, middle, high = tf.unstack(tf.cast(tf.reshape(tf.io.decode_raw(raw, tf.uint8), (-1, 3)), tf.int32), axis=1)
    return tf.cast(low + 256 * middle + 65536 * (high - 256 * (high // 128)), tf.float32) / 2**23


def _thirty_two(raw):
    return tf.cast(tf.cast(tf.io.decode_raw(raw, tf.int32), tf.float64) / 2**31, tf.float32)


def _floats(raw):
    return tf.io.decode_raw(raw, tf.float32)


def _doubles(raw):
    return tf.cast(tf.io.decode_raw(raw, tf.float64), tf.float32)


def _padded(data):
    return tf.strings.join([data, b"\0" * 12])

"""Layers of series: B rows of T steps in C channels, padded behind their last step."""

import keras
import tensorflow as tf

PACKAGE = "mmkeras"
MOST_DEVIATIONS = 10.0  # standardised values are cut here: one with a wrong unit must not decide alone


@keras.saving.register_keras_serializable(PACKAGE)
class JoinChannels(keras.layers.Layer):
    """Channels of raw values, NaN where nothing is known → steps on one scale, with what is known of them, and where a row ends.

    A row ends at the last step at which any channel is known; of longer rows the last `length` steps are kept. Each channel is
    standardised and cut at 10 deviations. A gap is a straight line between the values beside it; before the first and behind the last
    value of a channel stand those, and 0 where it has none. A row without anything is one step long.

    Args:
        length: int, the most steps of a row.
        mean, deviation: lists of C floats, of each channel.
        whole: bool, whether T is always `length`, and not what the longest row of a batch has.

    Call arguments:
        channels: list of C tensors (B, T_c), NaN behind the end of a row.

    Returns:
        dict: "steps" (B, T, C, 2) float32, the value and whether it was known; "padding_mask" (B, T) int32; "present" (B, 1) float32.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> join = mm.layers.JoinChannels(length=8, mean=[1.0], deviation=[2.0])
        >>> row = join([np.array([[1.0, np.nan, 5.0, np.nan]])])
        >>> row["steps"].numpy()[0, :, 0].tolist(), row["padding_mask"].numpy().tolist()
        ([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]], [[1, 1, 1]])
    """

    def __init__(self, length, mean, deviation, whole=False, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.length, self.mean, self.deviation = int(length), list(map(float, mean)), list(map(float, deviation))
        self.whole = whole
        self.supports_jit = False  # how many values are known is seen when it runs

    def call(self, channels):
        raw, known, lengths = self._last_steps(_side_by_side(channels))
        scaled = (raw - tf.constant(self.mean)) / tf.constant(self.deviation)
        scaled = tf.clip_by_value(tf.where(known, scaled, 0.0), -MOST_DEVIATIONS, MOST_DEVIATIONS)
        mask = tf.sequence_mask(tf.maximum(lengths, 1), tf.shape(raw)[1])
        filled = tf.where(mask[:, :, None], _interpolated(scaled, known), 0.0)
        return {
            "steps": tf.stack([filled, tf.cast(known, tf.float32)], axis=-1),
            "padding_mask": tf.cast(mask, tf.int32),
            "present": tf.cast(lengths > 0, tf.float32)[:, None],
        }

    def _last_steps(self, raw):
        """(raw values (B, T, C), which are known, (B,) lengths) of the steps that are kept, T at least 1."""
        known = tf.math.is_finite(raw)
        steps = tf.range(1, tf.shape(raw)[1] + 1)
        lengths = tf.reduce_max(tf.where(tf.reduce_any(known, axis=2), steps, 0), axis=1)
        lengths = tf.maximum(lengths, 0)  # of no steps at all, the largest is the smallest int
        kept = tf.minimum(lengths, self.length)
        width = self.length if self.whole else tf.maximum(tf.reduce_max(kept), 1)
        places = tf.range(width) + (lengths - kept)[:, None]
        inside = tf.range(width) < kept[:, None]
        raw = tf.pad(raw, [[0, 0], [0, 1], [0, 0]])
        raw = tf.gather(raw, tf.where(inside, places, tf.shape(raw)[1] - 1), axis=1, batch_dims=1)
        known = tf.math.is_finite(raw) & inside[:, :, None]
        return raw, known, kept

    def compute_output_spec(self, channels):
        rows, steps = channels[0].shape[0], self.length if self.whole else None
        return {
            "steps": keras.KerasTensor((rows, steps, len(self.mean), 2), "float32"),
            "padding_mask": keras.KerasTensor((rows, steps), "int32"),
            "present": keras.KerasTensor((rows, 1), "float32"),
        }

    def get_config(self):
        own = {"length": self.length, "mean": self.mean, "deviation": self.deviation, "whole": self.whole}
        return {**super().get_config(), **own}


def _side_by_side(channels):
    """[(B, T_c), …] → (B, T, C), with NaN behind the shorter ones."""
    channels = [tf.cast(channel, tf.float32) for channel in channels]
    width = tf.reduce_max(tf.stack([tf.shape(channel)[1] for channel in channels]))
    nan = float("nan")
    padded = [tf.pad(c, [[0, 0], [0, width - tf.shape(c)[1]]], constant_values=nan) for c in channels]
    return tf.stack(padded, axis=-1)


def _interpolated(values, known):
    """Values (B, T, C) with straight lines in place of those that are not known; the nearest known one at both ends."""
    shape = tf.shape(values)
    values, known = (tf.reshape(tf.transpose(x, [0, 2, 1]), [-1, shape[1]]) for x in (values, known))  # (B · C, T)
    count = tf.cumsum(tf.cast(known, tf.int32), axis=1)  # known ones up to here
    total, steps = count[:, -1:], tf.range(shape[1])[None]
    places = tf.concat([tf.cast(tf.where(known)[:, 1], tf.int32), [0]], axis=0)
    first = tf.cumsum(total, axis=0, exclusive=True)
    before = tf.gather(places, first + tf.clip_by_value(count - 1, 0, tf.maximum(total - 1, 0)))
    behind = tf.gather(places, first + tf.clip_by_value(tf.where(known, count - 1, count), 0, tf.maximum(total - 1, 0)))
    low, high = (tf.gather(values, place, axis=1, batch_dims=1) for place in (before, behind))
    way = tf.cast(tf.clip_by_value(steps - before, 0, shape[1]), tf.float32)
    line = low + (high - low) * way / tf.cast(tf.maximum(behind - before, 1), tf.float32)
    filled = tf.where(known, values, tf.where(total > 0, line, 0.0))
    return tf.transpose(tf.reshape(filled, [shape[0], shape[2], shape[1]]), [0, 2, 1])


@keras.saving.register_keras_serializable(PACKAGE)
class PoolSteps(keras.layers.Layer):
    """Mean and maximum over the steps of a row, in single precision: (B, T, D) and (B, T) mask → (B, 2 D); zeros for an empty row.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> steps, mask = np.array([[[1.0], [3.0], [9.0]]]), np.array([[1, 1, 0]])
        >>> mm.layers.PoolSteps()(steps, mask).numpy().tolist()
        [[2.0, 3.0]]
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.supports_masking = True

    def compute_mask(self, steps, mask=None):
        return None  # no steps are left

    def call(self, steps, padding_mask):
        there = keras.ops.cast(keras.ops.expand_dims(padding_mask, -1), "bool")
        count = keras.ops.sum(keras.ops.cast(there, steps.dtype), axis=1)
        mean = keras.ops.sum(keras.ops.where(there, steps, 0.0), axis=1) / keras.ops.maximum(count, 1.0)
        most = keras.ops.max(keras.ops.where(there, steps, keras.ops.full_like(steps, -1e30)), axis=1)
        return keras.ops.concatenate([mean, keras.ops.where(count > 0, most, 0.0)], axis=-1)

    def compute_output_shape(self, steps_shape, padding_mask_shape):
        return (steps_shape[0], 2 * steps_shape[2])

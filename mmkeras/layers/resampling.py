"""A sound at another rate: the polyphase filter of `scipy.signal.resample_poly`, in the graph."""

import numpy as np
import tensorflow as tf

CROSSINGS = 10  # zeros of the filter on either side, in periods of the lower rate
BETA = 5.0  # of its Kaiser window
LARGEST = 1 << 22  # weights of a filter that is laid out; rates without a common measure have more
BLOCK = 1 << 10  # samples that are made at once where it is not


def resample(samples, rate, to, most):
    """(N,) samples at `rate` a second → (ceil(N · to / rate),) at `to`, at most `most`.

    Args:
        samples: (N,) float32. rate: scalar tensor, int64. to, most: ints.
    """
    shared = _common(rate, tf.constant(to, tf.int64))
    up, down = to // shared, rate // shared
    count = tf.minimum(-(-tf.size(samples, tf.int64) * up // down), most)
    half = CROSSINGS * tf.maximum(up, down)
    width = (half // up) + ((up - 1) * down + half) // up + 1
    return tf.cond(
        tf.equal(up, down),
        lambda: samples[:count],
        lambda: tf.cond(
            up * (width + down) <= LARGEST,
            lambda: _by_phases(samples, up, down, count),
            lambda: _by_blocks(samples, up, down, count),
        ),
    )


def needed(rate, to, samples):
    """How many samples at `rate` tell the first `samples` at `to`."""
    return (samples + CROSSINGS) * rate // to + CROSSINGS + 2


def _common(first, second):
    """The greatest common divisor."""
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, a % b), (first, second))[0]


def _by_phases(samples, up, down, count):
    """By a convolution of blocks of `down` samples to blocks of `up`."""
    half = CROSSINGS * tf.maximum(up, down)
    left = half // up
    width = left + ((up - 1) * down + half) // up + 1
    blocks = -(-width // down)  # that a block of output reads
    places = tf.range(blocks * down) - left
    weights = _weights(tf.range(up) * down - places[:, None] * up, up, down)  # (blocks · down, up)
    weights *= tf.cast(up, tf.float64) / tf.reduce_sum(weights)
    made = -(-count // up)
    wanted = (made + blocks - 1) * down
    padded = tf.pad(samples, [[left, tf.maximum(wanted - left - tf.size(samples, tf.int64), 0)]])[:wanted]
    shapes = tf.stack([tf.constant(1, tf.int64), -1, down]), tf.stack([blocks, down, up])
    kernel = tf.reshape(tf.cast(weights, tf.float32), shapes[1])
    return tf.reshape(tf.nn.conv1d(tf.reshape(padded, shapes[0]), kernel, 1, "VALID"), [-1])[:count]


def _by_blocks(samples, up, down, count):
    """Weights anew for each sample."""
    reach = CROSSINGS * tf.maximum(up, down) // up + 1
    padded = tf.pad(samples, [[reach, reach + BLOCK + down // up + 1]])
    offsets = tf.range(2 * reach + 1) - reach

    def block(start):
        at = tf.minimum(tf.range(start, start + BLOCK), count) * down
        weights = _weights((at % up)[:, None] - offsets * up, up, down) * tf.cast(up, tf.float64) / AREA
        places = tf.minimum((at // up)[:, None] + offsets + reach, tf.size(padded, tf.int64) - 1)
        return tf.reduce_sum(tf.gather(padded, places) * tf.cast(weights, tf.float32), axis=1)

    starts = tf.range(tf.constant(0, tf.int64), count, BLOCK)
    made = tf.map_fn(block, starts, fn_output_signature=tf.TensorSpec((BLOCK,), tf.float32), parallel_iterations=2)
    return tf.reshape(made, [-1])[:count]


def _weights(places, up, down):
    """The filter, a sinc under a Kaiser window, at whole places, as float64; zeros beyond its ends."""
    larger = tf.cast(tf.maximum(up, down), tf.float64)
    periods = tf.cast(places, tf.float64) / larger
    inside = tf.maximum(1 - tf.square(periods / CROSSINGS), 0.0)
    window = tf.math.bessel_i0(BETA * tf.sqrt(inside)) / np.i0(BETA)
    angle = np.pi * periods
    sinc = tf.where(places == 0, tf.ones_like(angle), tf.sin(angle) / tf.where(places == 0, tf.ones_like(angle), angle))
    return tf.where(tf.abs(periods) <= CROSSINGS, sinc * window, tf.zeros_like(sinc)) / larger


def _area():
    """The sum of the weights of a filter of many."""
    places = np.linspace(-CROSSINGS, CROSSINGS, 200_001)
    window = np.i0(BETA * np.sqrt(1 - (places / CROSSINGS) ** 2)) / np.i0(BETA)
    return float(np.sum(np.sinc(places) * window) * (places[1] - places[0]))


AREA = _area()

"""Reading the bytes of a file in the graph: numbers, and errors of a rule and what was received."""

import tensorflow as tf


def bytes_of(data, zeros):
    """The bytes of a scalar string and as many zeros behind them as (N,) uint8."""
    return tf.io.decode_raw(tf.strings.join([data, b"\0" * zeros]), tf.uint8)


def length_of(data):
    return tf.cast(tf.strings.length(data), tf.int64)


def head_of(data):
    """The first 64 bytes, with zeros where there are fewer."""
    return bytes_of(tf.strings.substr(data, 0, 64), 64)[:64]


def number_at(raw, at, width, big=False):
    """The integer in `width` of the bytes `raw`, the least significant first unless `big`."""
    digits = tf.cast(raw[at : at + width], tf.int64)
    return tf.reduce_sum((digits[::-1] if big else digits) * 256 ** tf.range(width, dtype=tf.int64))


def refuse_unless(holds, data, *message):
    """`data`, or an InvalidArgumentError of the words of `message`, strings and numbers, unless `holds`."""

    def refuse():
        words = [word if _is_text(word) else tf.strings.as_string(word) for word in message]
        with tf.control_dependencies([tf.raw_ops.Assert(condition=False, data=[tf.strings.join(words)])]):
            return tf.identity(data)

    return tf.cond(holds, lambda: tf.identity(data), refuse)


def _is_text(word):
    return isinstance(word, str) or word.dtype == tf.string


def first_bytes(data):
    """The first 12 bytes of a scalar string as people write them: "52 49 46 46 …"."""
    pairs = tf.gather([f"{n:02x}" for n in range(256)], tf.cast(bytes_of(tf.strings.substr(data, 0, 12), 0), tf.int32))
    return tf.strings.reduce_join(pairs, separator=" ")

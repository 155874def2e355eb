"""One step of decoding: which words may follow, and which one does. M = sequences still going on, V = words."""

import tensorflow as tf

MINUS_INFINITY = float("-inf")


def allowed(logits, settings, history, step):
    """Logits with −∞ for words that may not follow: (M, V) → (M, V).

    Args:
        history: (M, max_length) ints, the words so far, then 0.
        step: scalar int, how many words there are.
    """
    size = logits.shape[-1]
    never = tf.reduce_sum(tf.one_hot(settings.never, size), axis=0)  # (V,)
    never += tf.where(step < settings.min_length, tf.one_hot(settings.end, size), 0.0)
    logits += tf.where(never > 0, MINUS_INFINITY, 0.0)
    if not settings.forbid_repeats:
        return logits
    # No word twice in a row. Before the first word the last one is padding, which is forbidden anyway.
    last = history[:, tf.maximum(step - 1, 0)]
    logits = _without(logits, tf.stack([tf.range(tf.shape(last)[0]), last], axis=1))
    before = settings.forbid_repeats - 1  # words that, with the one to come, make up what may not come again
    windows = settings.max_length - before
    if before < 1 or windows < 1:
        return logits
    same = tf.range(windows)[None, :] + before < step  # what follows a window must be a word already
    for place in range(before):
        recent = history[:, tf.maximum(step - before + place, 0)][:, None]
        same &= history[:, place : place + windows] == recent  # (M, windows)
    where = tf.cast(tf.where(same), tf.int32)
    return _without(logits, tf.stack([where[:, 0], tf.gather_nd(history[:, before:], where)], axis=1))


def _without(logits, places):
    """−∞ at (row, word) places."""
    return tf.tensor_scatter_nd_update(logits, places, tf.fill(tf.shape(places)[:1], MINUS_INFINITY))


def draw(logits, settings, chance):
    """A word for each row, by the chances that the settings leave: (M, V) logits and (M,) numbers in [0, 1) → (M,) ints."""
    size, ids = logits.shape[-1], None
    logits = logits / settings.temperature
    if settings.top_k is not None or settings.top_p is not None:
        count = min(settings.top_k or size, size)
        logits, ids = tf.math.top_k(logits, count)  # the most likely first
    chances = tf.nn.softmax(logits)
    if settings.top_p is not None:
        # The fewest words that together reach `top_p`: those before which it is not reached.
        chances *= tf.cast(tf.cumsum(chances, axis=-1, exclusive=True) < settings.top_p, chances.dtype)
    upto = tf.cumsum(chances, axis=-1)
    place = tf.reduce_sum(tf.cast(upto <= chance[:, None] * upto[:, -1:], tf.int32), axis=-1)
    # Rounding may put the draw at the very end, where the last word may be a forbidden one.
    place = tf.where(place < tf.shape(logits)[1], place, tf.argmax(logits, axis=-1, output_type=tf.int32))
    return place if ids is None else tf.gather(ids, place, batch_dims=1)


def chances_of_rows(seed, rows, steps):
    """(B, steps) numbers in [0, 1) that depend on the seed and on each row's own number (B,) only."""

    def chances(row):
        return tf.random.stateless_uniform((steps,), tf.stack([seed, row]))

    return tf.map_fn(chances, rows, fn_output_signature=tf.TensorSpec((steps,), tf.float32))

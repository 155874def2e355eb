"""Greedy decoding, sampling and beam search, each one loop in the graph.

B = images, P = patches, W = width, V = words, T = `max_length`, K = beams, M = sequences that still go on: only for
those is the output layer computed, which is by far the most of a step.
"""

import tensorflow as tf

from mmkeras.decoding.step import MINUS_INFINITY, allowed, chances_of_rows, draw


def follow(decoder, patches, patch_mask, rows, seed, settings):
    """The most likely next word, or a drawn one, until every image has its end; see `decode`."""
    batch, length = tf.shape(patches)[0], settings.max_length
    shape = tf.shape(patches, tf.int64)[:1]
    projected = decoder.project(patches)
    chance = chances_of_rows(seed, rows, length) if settings.method == "sample" else None

    def step(number, last, state, live, tokens, logs, attention):
        hidden, state, weights = decoder.advance(last[:, None], state[:, None], projected, patch_mask)
        going = tf.where(live)  # (M, 1)
        logits = tf.cast(decoder.logits(tf.gather_nd(hidden[:, 0], going)), tf.float32)  # (M, V)
        fine = allowed(logits, settings, tf.gather_nd(tokens, going), number)
        if chance is None:
            chosen = tf.argmax(fine, axis=-1, output_type=tf.int32)
        else:
            chosen = draw(fine, settings, tf.gather_nd(chance[:, number], going))
        # The decoder's own log-probability, whatever was forbidden or sharpened.
        log = tf.gather(logits, chosen, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)
        last = tf.scatter_nd(going, chosen, shape)  # (B,), 0 for those that have ended
        tokens = _write(tokens, number, last)
        logs = _write(logs, number, tf.scatter_nd(going, log, shape))
        attention = attention.write(number, tf.cast(weights[:, 0], tf.float32))
        return number + 1, last, state[:, 0], live & (last != settings.end), tokens, logs, attention

    start = (
        tf.constant(0),
        tf.fill([batch], settings.start),
        decoder.initial_state(patches, patch_mask),
        tf.fill([batch], True),
        tf.zeros([batch, length], tf.int32),
        tf.zeros([batch, length]),
        tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=(None, patches.shape[1])),
    )
    *_, tokens, logs, attention = tf.while_loop(
        lambda *loop: tf.reduce_any(loop[3]), step, start, maximum_iterations=length
    )
    return _results(tokens, logs, tf.transpose(attention.stack(), (1, 0, 2)), settings)


def beam(decoder, patches, patch_mask, settings):
    """The captions with the highest log-probability / length ** penalty among K followed side by side; see `decode`.

    A beam that has reached its end keeps its place as long as no better one takes it. An image is done when no beam still
    going on could overtake the best finished one, even if every further word were certain.
    """
    batch, length, width = tf.shape(patches)[0], settings.max_length, settings.beam_width
    projected = decoder.project(patches)

    def step(number, last, state, live, scores, lengths, tokens, logs, came, attention):
        hidden, state, weights = decoder.advance(last, state, projected, patch_mask)  # of all beams: (B, K, ·)
        going = tf.where(live)  # (M, 2)
        logits = tf.cast(decoder.logits(tf.gather_nd(hidden, going)), tf.float32)  # (M, V)
        fine, words = tf.math.top_k(allowed(logits, settings, tf.gather_nd(tokens, going), number), width)  # (M, K)
        log = fine - tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
        # Each beam's K candidates; one that has ended has a single one, itself.
        itself = tf.where(tf.range(width) > 0, MINUS_INFINITY, tf.zeros([batch, width, width]))
        log = tf.tensor_scatter_nd_update(itself, going, log)  # (B, K, K)
        words = tf.scatter_nd(going, words, tf.shape(itself, tf.int64))
        lengths += tf.cast(live, tf.float32)
        total = scores[:, :, None] + log
        ranks = total / tf.maximum(lengths, 1.0)[:, :, None] ** settings.length_penalty
        ranks, best = tf.math.top_k(tf.reshape(ranks, [batch, width * width]), width)  # (B, K)
        parent = best // width

        def of_best(candidates):
            return tf.gather(tf.reshape(candidates, [batch, width * width]), best, batch_dims=1)

        def of_parent(x):
            return tf.gather(x, parent, batch_dims=1)

        last, scores, lengths = of_best(words), of_best(total), of_parent(lengths)
        live = of_parent(live) & (last != settings.end) & (scores > MINUS_INFINITY)
        finished = tf.reduce_max(tf.where(live, MINUS_INFINITY, ranks), axis=1, keepdims=True)
        live &= scores / length**settings.length_penalty > finished
        tokens = _write(of_parent(tokens), number, last)
        logs = _write(of_parent(logs), number, of_best(log))
        came = _write(of_parent(came), number, parent)
        attention = attention.write(number, tf.cast(weights, tf.float32))
        return number + 1, last, of_parent(state), live, scores, lengths, tokens, logs, came, attention

    state = decoder.initial_state(patches, patch_mask)
    first = tf.fill([batch, 1], True) & (tf.range(width) == 0)  # the beams are the same until the first word
    start = (
        tf.constant(0),
        tf.fill([batch, width], settings.start),
        tf.repeat(state[:, None], width, axis=1),
        first,
        tf.where(first, 0.0, MINUS_INFINITY),
        tf.zeros([batch, width]),
        tf.zeros([batch, width, length], tf.int32),
        tf.zeros([batch, width, length]),
        tf.zeros([batch, width, length], tf.int32),
        tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=(None, width, patches.shape[1])),
    )
    *_, tokens, logs, came, attention = tf.while_loop(
        lambda *loop: tf.reduce_any(loop[3]), step, start, maximum_iterations=length
    )
    seen = tf.transpose(attention.stack(), (1, 0, 2, 3))  # (B, steps, K, P)
    seen = tf.gather(seen, came[:, 0, : tf.shape(seen)[1]], batch_dims=2)  # by the beam that the best one then was
    return _results(tokens[:, 0], logs[:, 0], seen, settings)


def _write(sequences, number, values):
    """Put values (…) at place `number` of sequences (…, T)."""
    return tf.where(tf.range(sequences.shape[-1]) == number, values[..., None], sequences)


def _results(tokens, logs, attention, settings):
    given = tokens > 0
    missing = settings.max_length - tf.shape(attention)[1]
    attention = tf.pad(attention, [[0, 0], [0, missing], [0, 0]])
    return {
        "tokens": tokens,
        "log_probabilities": tf.reduce_sum(logs, axis=1),
        "step_log_probabilities": logs,
        "lengths": tf.reduce_sum(tf.cast(given & (tokens != settings.end), tf.int32), axis=1),
        "attention": tf.where(given[:, :, None], attention, 0.0),
    }

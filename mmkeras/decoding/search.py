"""Greedy decoding, sampling and beam search, each one loop in the graph.

B = images, P = patches, W = width, V = words, T = `max_length`, K = beams, M = sequences that still go on: only for
those is the output layer computed, which is by far the most of a step.
"""

import typing

import tensorflow as tf

from mmkeras.decoding.step import MINUS_INFINITY, allowed, draw


class Progress(typing.NamedTuple):
    """A caption for each image, as far as it has come."""

    number: tf.Tensor  # () words so far
    last: tf.Tensor  # (B,) the last word, 0 for captions that have ended
    state: tf.Tensor  # (B, W) of the decoder
    live: tf.Tensor  # (B,) whether it goes on
    tokens: tf.Tensor  # (B, T)
    logs: tf.Tensor  # (B, T) log-probabilities
    attention: tf.TensorArray  # of (B, P) for each word


class Beams(typing.NamedTuple):
    """K captions for each image, as far as they have come."""

    number: tf.Tensor  # () words so far
    last: tf.Tensor  # (B, K) the last word
    state: tf.Tensor  # (B, K, W) of the decoder
    live: tf.Tensor  # (B, K) whether it goes on
    scores: tf.Tensor  # (B, K) log-probability of all words
    lengths: tf.Tensor  # (B, K) words
    tokens: tf.Tensor  # (B, K, T)
    logs: tf.Tensor  # (B, K, T) log-probabilities
    parents: tf.Tensor  # (B, K, T) the beam that each word's own was then
    attention: tf.TensorArray  # of (B, K, P) for each word


def follow(decoder, patches, patch_mask, settings, *, chances=None):
    """The most likely next word, or one drawn by `chances` (B, T), until every image has its end; see `decode`."""
    batch, length = tf.shape(patches)[0], settings.max_length
    shape = tf.shape(patches, tf.int64)[:1]
    projected = decoder.project(patches)

    def step(now):
        hidden, state, weights = decoder.advance(now.last[:, None], now.state[:, None], projected, patch_mask)
        going = tf.where(now.live)  # (M, 1)
        logits = tf.cast(decoder.logits(tf.gather_nd(hidden[:, 0], going)), tf.float32)  # (M, V)
        candidates = allowed(logits, settings, tf.gather_nd(now.tokens, going), now.number)
        if chances is None:
            words = tf.argmax(candidates, axis=-1, output_type=tf.int32)
        else:
            words = draw(candidates, settings, tf.gather_nd(chances[:, now.number], going))
        # The decoder's own log-probability, whatever was forbidden or sharpened.
        log = tf.gather(logits, words, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)
        last = tf.scatter_nd(going, words, shape)
        following = Progress(
            number=now.number + 1,
            last=last,
            state=state[:, 0],
            live=now.live & (last != settings.end),
            tokens=_write(now.tokens, now.number, last),
            logs=_write(now.logs, now.number, tf.scatter_nd(going, log, shape)),
            attention=now.attention.write(now.number, tf.cast(weights[:, 0], tf.float32)),
        )
        return (following,)

    start = Progress(
        number=tf.constant(0),
        last=tf.fill([batch], settings.start),
        state=decoder.initial_state(patches, patch_mask),
        live=tf.fill([batch], True),
        tokens=tf.zeros([batch, length], tf.int32),
        logs=tf.zeros([batch, length]),
        attention=tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=(None, patches.shape[1])),
    )
    (end,) = tf.while_loop(lambda now: tf.reduce_any(now.live), step, (start,), maximum_iterations=length)
    return _results(end.tokens, end.logs, tf.transpose(end.attention.stack(), (1, 0, 2)), settings)


def beam(decoder, patches, patch_mask, settings):
    """The captions with the highest log-probability / length ** penalty among K followed side by side; see `decode`.

    A beam that has reached its end keeps its place as long as no better one takes it. An image is done when no beam still
    going on could overtake the best finished one, even if every further word were certain.
    """
    projected = decoder.project(patches)

    def step(now):
        hidden, state, weights = decoder.advance(now.last, now.state, projected, patch_mask)  # of all: (B, K, ·)
        attention = now.attention.write(now.number, tf.cast(weights, tf.float32))
        going = tf.where(now.live)  # (M, 2)
        logits = tf.cast(decoder.logits(tf.gather_nd(hidden, going)), tf.float32)  # (M, V)
        history = tf.gather_nd(now.tokens, going)
        likely, words = tf.math.top_k(allowed(logits, settings, history, now.number), settings.beam_width)  # (M, K)
        log = likely - tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
        return (_best(now._replace(state=state, attention=attention), going, (words, log), settings),)

    start = _first_beams(decoder, patches, patch_mask, settings)
    (end,) = tf.while_loop(lambda now: tf.reduce_any(now.live), step, (start,), maximum_iterations=settings.max_length)
    seen = tf.transpose(end.attention.stack(), (1, 0, 2, 3))  # (B, steps, K, P)
    seen = tf.gather(seen, end.parents[:, 0, : tf.shape(seen)[1]], batch_dims=2)
    return _results(end.tokens[:, 0], end.logs[:, 0], seen, settings)


def _first_beams(decoder, patches, patch_mask, settings):
    """Beams before the first word: all the same, so that only the first of each image goes on."""
    batch, width, length = tf.shape(patches)[0], settings.beam_width, settings.max_length
    first = tf.fill([batch, 1], True) & (tf.range(width) == 0)
    return Beams(
        number=tf.constant(0),
        last=tf.fill([batch, width], settings.start),
        state=tf.repeat(decoder.initial_state(patches, patch_mask)[:, None], width, axis=1),
        live=first,
        scores=tf.where(first, 0.0, MINUS_INFINITY),
        lengths=tf.zeros([batch, width]),
        tokens=tf.zeros([batch, width, length], tf.int32),
        logs=tf.zeros([batch, width, length]),
        parents=tf.zeros([batch, width, length], tf.int32),
        attention=tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=(None, width, patches.shape[1])),
    )


def _best(now, going, candidates, settings):
    """The K best of the beams' continuations.

    Args:
        now: `Beams` whose state and attention are those of the next word.
        going: (M, 2) places (image, beam) of the beams that go on.
        candidates: (words, log-probabilities), each (M, K), that may follow them.
    """
    words, log = candidates
    batch, width = tf.shape(now.live)[0], settings.beam_width
    # Each beam's K candidates; one that has ended has a single one, itself.
    itself = tf.where(tf.range(width) > 0, MINUS_INFINITY, tf.zeros([batch, width, width]))
    log = tf.tensor_scatter_nd_update(itself, going, log)  # (B, K, K)
    words = tf.scatter_nd(going, words, tf.shape(itself, tf.int64))
    lengths = now.lengths + tf.cast(now.live, tf.float32)
    total = now.scores[:, :, None] + log
    ranks = total / tf.maximum(lengths, 1.0)[:, :, None] ** settings.length_penalty
    ranks, best = tf.math.top_k(tf.reshape(ranks, [batch, width * width]), width)  # (B, K)
    parent = best // width

    def of_best(values):
        return tf.gather(tf.reshape(values, [batch, width * width]), best, batch_dims=1)

    def of_parent(values):
        return tf.gather(values, parent, batch_dims=1)

    last, scores = of_best(words), of_best(total)
    live = of_parent(now.live) & (last != settings.end) & (scores > MINUS_INFINITY)
    finished = tf.reduce_max(tf.where(live, MINUS_INFINITY, ranks), axis=1, keepdims=True)
    return Beams(
        number=now.number + 1,
        last=last,
        state=of_parent(now.state),
        live=live & (scores / settings.max_length**settings.length_penalty > finished),
        scores=scores,
        lengths=of_parent(lengths),
        tokens=_write(of_parent(now.tokens), now.number, last),
        logs=_write(of_parent(now.logs), now.number, of_best(log)),
        parents=_write(of_parent(now.parents), now.number, parent),
        attention=now.attention,
    )


def _write(sequences, number, values):
    """Put values (…) at place `number` of sequences (…, T)."""
    return tf.where(tf.range(sequences.shape[-1]) == number, values[..., None], sequences)


def _results(tokens, logs, attention, settings):
    there = tokens > 0
    missing = settings.max_length - tf.shape(attention)[1]
    attention = tf.pad(attention, [[0, 0], [0, missing], [0, 0]])
    return {
        "tokens": tokens,
        "log_probabilities": tf.reduce_sum(logs, axis=1),
        "step_log_probabilities": logs,
        "lengths": tf.reduce_sum(tf.cast(there & (tokens != settings.end), tf.int32), axis=1),
        "attention": tf.where(there[:, :, None], attention, 0.0),
    }

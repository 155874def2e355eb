"""Fusion in which each word of a question looks for its patches of a picture, and all of it is then read in order."""

import math

import keras
import numpy as np

from mmkeras.fusion.film import FilmFusion
from mmkeras.fusion.joint import ConcatFusion


class WordAttentionFusion(FilmFusion):
    """Words attend to patches, and are read with what they saw: (B, P, D), (B, P), (B, 1), (B, T, Q), (B, T), (B, 1) → (B, 3 · U).

    Patches get their places in the picture, −1 to 1 across and down, and are brought to U units. The words are queries of `heads`: of
    each, a softmax over the patches takes what is seen and where, and Σ sigmoid(score) tells how much of it there is, which a softmax cannot.
    A gated recurrent layer (Cho et al., 2014, https://arxiv.org/abs/1406.1078) reads the words, each with what it saw, so that "the
    circle left of the star" compares two places. Beside its last state stand mean and maximum of the patches as `FilmFusion` has them by
    the mean of the words: a network that sees from nothing learns from these what the words then look for. Where no word is known they alone
    answer, and where the picture is absent, the words do. The attention is that of Vaswani et al., 2017, from words to patches alone.

    Args:
        units: int, U.
        heads: int, attention heads; must divide `units`.
        blocks: int, see `FilmFusion`.

    Call arguments:
        patches: (B, P, D).
        there: (B, P), 1 where a patch is there.
        present: (B, 1), 1 where the row has a picture.
        words: (B, T, Q).
        said: (B, T), 1 where a word is no padding.
        asked: (B, 1), 1 where the row has words.

    Raises:
        ValueError: units or heads below 1; heads that do not divide units; patches or words that are not of rank 3.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> patches, words, there = np.ones((4, 9, 5)), np.ones((4, 7, 3)), np.ones((4, 1))
        >>> mm.fusion.WordAttentionFusion(8)(patches, np.ones((4, 9)), there, words, np.ones((4, 7)), there).shape
        TensorShape([4, 24])
    """

    label = "word_attention"
    sequences = 2

    def __init__(self, units, heads=4, blocks=2, **kwargs):
        super().__init__(units, blocks, **kwargs)
        if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1 or units % heads:
            raise ValueError(f"`heads` must be a positive int that divides `units`, {units}. Received: {heads!r}.")
        self.heads = heads

    @classmethod
    def make(cls, inputs):
        return cls(inputs.units, math.gcd(4, inputs.units), name="fusion")

    @classmethod
    def attending(cls, sequences):
        picture = super().attending(sequences)
        others = [name for name in sequences if name not in picture]
        return picture + sorted(others, key=lambda name: sequences[name][1] is not None)[:1]

    @classmethod
    def join(cls, inputs):
        """All but the picture and the words, those of no fixed length first, join what came of these."""
        both = inputs.sequence_names
        read = zip(inputs.sequences(), inputs.masks(), inputs.presence(both), strict=True)
        x = cls.make(inputs)(*[tensor for each in read for tensor in each])
        beside = [name for name in inputs.names if name not in both]
        if beside:
            vectors = ConcatFusion(name="beside")(inputs.vectors(beside), inputs.presence(beside))
            x = keras.ops.concatenate([x, vectors], axis=-1)
        return inputs.decide(x)

    def build(self, patches_shape, there_shape, present_shape, words_shape, said_shape, asked_shape):
        if len(words_shape) != 3:
            raise ValueError(
                f"{type(self).__name__} reads words (B, T, Q). Received shape: {words_shape}. Use pooling=None in `Text`."
            )
        self.grid = grid(patches_shape[1])
        placed = (*patches_shape[:2], patches_shape[-1] + self.grid.shape[-1])
        super().build(placed, there_shape, present_shape, (words_shape[0], words_shape[-1]))
        hidden, width = (*patches_shape[:2], self.units), self.units // self.heads
        self.keys = self.own(keras.layers.Dense, "keys", hidden, units=self.units)
        self.seen = self.own(keras.layers.Dense, "seen", hidden, units=width)
        self.queries = self.own(keras.layers.Dense, "queries", words_shape, units=self.units)
        looks = self.heads * (width + self.grid.shape[-1] + 1)
        both = (*words_shape[:2], words_shape[-1] + looks)
        self.meet = self.own(keras.layers.Dense, "meet", both, units=self.units, activation="relu")
        self.read = self.own(keras.layers.GRU, "read", (*words_shape[:2], self.units), units=self.units)

    def heard(self, words, said, asked):
        """(B, T, Q) words, zeros for those that were not said, and (B, T) bool, which were."""
        said = keras.ops.cast(said, "bool") & keras.ops.cast(asked, "bool")
        return keras.ops.where(said[..., None], words, keras.ops.zeros_like(words)), said

    def look(self, patches, there, present, words):
        """(B, T, heads, P) scores, (B, P, U) hidden patches, (B, P, 1) which are there, and (B, P, 2) their places."""
        places = keras.ops.cast(self.grid, patches.dtype) * keras.ops.ones_like(patches[..., :1])
        hidden, live = self.patches(keras.ops.concatenate([patches, places], axis=-1), there, present)
        apart = (self.heads, self.units // self.heads)
        queries = keras.ops.reshape(self.queries(words), (*keras.ops.shape(words)[:2], *apart))
        keys = keras.ops.reshape(self.keys(hidden), (*keras.ops.shape(hidden)[:2], *apart))
        scores = keras.ops.einsum("bthd,bphd->bthp", queries, keys) / apart[1] ** 0.5
        return keras.ops.where(live[:, None, None, :, 0], scores, -1e4), hidden, live, places

    def call(self, patches, there, present, words, said, asked):
        words, said = self.heard(words, said, asked)
        scores, hidden, there, places = self.look(patches, there, present, words)
        live = keras.ops.cast(there, scores.dtype)
        count = keras.ops.maximum(keras.ops.sum(live, axis=1), 1)  # (B, 1)
        weights = keras.ops.softmax(scores) * live[:, None, None, :, 0]  # all zeros where no patch is there
        seen = keras.ops.einsum("bthp,bpv->bthv", weights, keras.ops.concatenate([self.seen(hidden), places], axis=-1))
        much = keras.ops.sum(keras.ops.sigmoid(scores - 2), axis=-1, keepdims=True) / count[:, None, None] ** 0.5
        looks = keras.ops.concatenate([seen, much], axis=-1)
        looks = keras.ops.reshape(looks, (*keras.ops.shape(words)[:2], looks.shape[2] * looks.shape[3]))
        read = self.read(self.meet(keras.ops.concatenate([words, looks], axis=-1)), mask=said)
        length = keras.ops.sum(keras.ops.cast(said, words.dtype), axis=1, keepdims=True)  # (B, 1) words
        question = keras.ops.sum(words, axis=1) / keras.ops.maximum(length, 1)
        return keras.ops.concatenate([read, self.pooled(self.modulated(hidden, question), there)], axis=-1)

    def looked(self, patches, there, present, words, said, asked):
        """(B, P), the mean over the words and the heads of what they take of each patch."""
        words, said = self.heard(words, said, asked)
        scores, _, live, _ = self.look(patches, there, present, words)
        said = keras.ops.cast(said, scores.dtype)[..., None]
        weights = keras.ops.mean(keras.ops.softmax(scores), axis=2) * said
        mean = keras.ops.sum(weights, axis=1) / keras.ops.maximum(keras.ops.sum(said, axis=1), 1)
        return keras.ops.where(live[..., 0], mean, keras.ops.zeros_like(mean))

    def compute_output_shape(self, patches_shape, *shapes):
        return (patches_shape[0], 3 * self.units)

    def get_config(self):
        return {**super().get_config(), "heads": self.heads}


def grid(count):
    """Places of patches, −1 to 1: (P, 2) across and down of a square grid, (P, 1) of another row of them, (1, 0) where P is not fixed.

    Example:
        >>> grid(4).tolist(), grid(3).tolist(), grid(None).shape
        ([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]], [[-1.0], [0.0], [1.0]], (1, 0))
    """
    if count is None:
        return np.zeros((1, 0), "float32")
    side = math.isqrt(count)
    if side * side == count and side > 1:
        line = np.linspace(-1, 1, side, dtype="float32")
        return np.stack(np.meshgrid(line, line), axis=-1).reshape(count, 2)
    return np.linspace(-1, 1, count, dtype="float32")[:, None]

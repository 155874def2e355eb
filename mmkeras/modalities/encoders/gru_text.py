"""Texts through a recurrent layer that trains with the head, with a vocabulary learnt from the training rows."""

import keras

from mmkeras.modalities.encoders.scratch import ScratchText

WIDTH = 128


class GRUText(ScratchText):
    """A gated recurrent layer in both directions (Cho et al., 2014, https://arxiv.org/abs/1406.1078) over WordPiece tokens.

    It knows the order of words from its first step, which a transformer must learn. Each token is itself and what the layer says of it there, so
    that what looks for a thing finds its word at once. What "cls" takes is both directions at their ends.
    """

    label = "gru"

    def backbone(self):
        words, dtype = self.modality.state["tokenizer"].vocabulary_size(), {"dtype": self.modality.dtype}
        tokens = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "padding_mask")}
        spread = keras.initializers.RandomNormal(stddev=0.3)  # Keras's usual numbers are smaller, and learn slowly
        x = keras.layers.Embedding(words, WIDTH, spread, name="token_embedding", **dtype)(tokens["token_ids"])
        read = keras.layers.GRU(WIDTH // 2, return_sequences=True, **dtype)
        both = keras.layers.Bidirectional(read, name="gru", **dtype)
        there = keras.ops.cast(tokens["padding_mask"], "bool")
        return keras.Model(tokens, keras.ops.where(there[..., None], x + both(x, mask=there), 0.0))

    def _class_token(self, sequence, mask):
        last = keras.ops.sum(keras.ops.cast(mask, "int32"), axis=1) - 1
        forwards = keras.ops.take_along_axis(sequence[..., : WIDTH // 2], last[:, None, None], axis=1)[:, 0]
        return keras.ops.concatenate([forwards, sequence[:, 0, WIDTH // 2 :]], axis=-1)

"""Layers that bring texts, and rows of tokens, into the form that a pretrained encoder knows from its training."""

import re
import string

import keras
import tensorflow as tf

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class FormText(keras.layers.Layer):
    """Strings in a form of one kind: (B,) strings → (B,) strings.

    Args:
        prefix: str, what is put before each text, such as "query: ".
        lower: bool, whether capitals of ASCII become small letters.
        bare: bool, whether punctuation of ASCII is left out, and white space becomes single blanks.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.FormText("query: ", lower=True, bare=True)(tf.constant(["A dog,  running!"])).numpy().tolist()
        [b'query: a dog running']
    """

    def __init__(self, prefix="", lower=False, bare=False, **kwargs):
        super().__init__(**kwargs)
        self.prefix, self.lower, self.bare = prefix, lower, bare
        self.supports_jit = False  # strings

    def call(self, texts):
        if self.lower:
            texts = tf.strings.lower(texts)
        if self.bare:
            texts = tf.strings.regex_replace(texts, f"[{re.escape(string.punctuation)}]", "")
            texts = tf.strings.strip(tf.strings.regex_replace(texts, r"\s+", " "))
        return tf.strings.join([self.prefix, texts]) if self.prefix else texts

    def compute_output_spec(self, texts):
        return keras.KerasTensor(texts.shape, "string")

    def get_config(self):
        return {**super().get_config(), "prefix": self.prefix, "lower": self.lower, "bare": self.bare}


@keras.saving.register_keras_serializable(PACKAGE)
class PadTokens(keras.layers.Layer):
    """What `Tokenize` gives, padded to one length in every batch: (B, T) → (B, `sequence_length`) each.

    For encoders that read padding as they read words: it must be the same for a row whatever stands beside it.

    Args:
        sequence_length: int.
        pad_id: int, the token of padding.

    Call arguments:
        tokens: {"token_ids", "padding_mask", "segment_ids"} (B, T) int32, T at most `sequence_length`.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> ids = np.array([[5, 6]], "int32")
        >>> tokens = {"token_ids": ids, "padding_mask": ids * 0 + 1, "segment_ids": ids * 0}
        >>> mm.layers.PadTokens(4, pad_id=9)(tokens)["token_ids"].numpy().tolist()
        [[5, 6, 9, 9]]
    """

    def __init__(self, sequence_length, pad_id=0, **kwargs):
        super().__init__(**kwargs)
        self.sequence_length, self.pad_id = sequence_length, pad_id

    def call(self, tokens):
        padded = {}
        for key, ids in tokens.items():
            beside = self.sequence_length - tf.shape(ids)[1]
            fill = self.pad_id if key == "token_ids" else 0
            ids = tf.pad(ids, [[0, 0], [0, beside]], constant_values=fill)
            padded[key] = tf.ensure_shape(ids, [None, self.sequence_length])
        return padded

    def compute_output_spec(self, tokens):
        return {key: keras.KerasTensor((ids.shape[0], self.sequence_length), "int32") for key, ids in tokens.items()}

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length, "pad_id": self.pad_id}

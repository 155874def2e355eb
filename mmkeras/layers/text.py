"""Layers of text: tokens, TF-IDF terms, and sequences of token features."""

import hashlib

import keras
import tensorflow as tf

from mmkeras.layers.scripts import beginning, first_words

PACKAGE = "mmkeras"


def _sublayer(layer):
    """Accept a layer or its serialised form, so that configs can nest layers."""
    return keras.saving.deserialize_keras_object(layer) if isinstance(layer, dict) else layer


def _columns(texts):
    """A column of texts, or a list of them, as a list."""
    return list(texts) if isinstance(texts, list | tuple) else [texts]


@keras.saving.register_keras_serializable(PACKAGE)
class Present(keras.layers.Layer):
    """Whether a row has any text at all: (B,) strings, or a list of them, → (B, 1) of 0. and 1.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.Present()(tf.constant(["a film", " "])).numpy().ravel().tolist()
        [1.0, 0.0]
    """

    def call(self, texts):
        filled = [tf.strings.length(tf.strings.strip(text)) > 0 for text in _columns(texts)]
        present = tf.reduce_any(tf.stack(filled, axis=-1), axis=-1, keepdims=True)
        return tf.cast(present, self.compute_dtype)

    def compute_output_spec(self, texts):
        return keras.KerasTensor((_columns(texts)[0].shape[0], 1), self.compute_dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class Tokenize(keras.layers.Layer):
    """Strings → padded token ids of a transformer: `[CLS] a [SEP]`, or `[CLS] a [SEP] b [SEP]` for two columns.

    Rows are padded only to the longest row of their batch. A text that is too long is cut at the end; of a
    pair, the longer text is cut first until both have the same length (fair truncation). Of a text of megabytes only the
    first characters are looked at, see `scripts.beginning`.

    Args:
        tokenizer: a KerasHub tokenizer (or its serialised config).
        start_id, end_id, pad_id: int ids of [CLS], [SEP] and [PAD] in its vocabulary; a start of None is left out.
        sequence_length: int, the most tokens a row may have, special tokens included.
        separators: int, how many end tokens stand between the two texts of a pair (RoBERTa uses 2).

    Call arguments:
        texts: (B,) strings, or a list of two such tensors.

    Returns:
        dict of int32 tensors (B, T): "token_ids", "padding_mask" (1 = token), "segment_ids" (0 = first text).

    Raises:
        ValueError: when `sequence_length` cannot hold a token of text.

    Example:
        >>> import keras_hub
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film"]
        >>> tokenizer = keras_hub.tokenizers.BertTokenizer(vocabulary=words, lowercase=True)
        >>> tokens = mm.layers.Tokenize(tokenizer, start_id=2, end_id=3)(tf.constant(["A film", "film"]))
        >>> tokens["token_ids"].numpy().tolist()
        [[2, 5, 6, 3], [2, 6, 3, 0]]
    """

    def __init__(self, tokenizer, start_id, end_id, pad_id=0, sequence_length=256, separators=1, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = _sublayer(tokenizer)
        self.sequence_length = sequence_length
        self.separators = separators
        self.start_id, self.end_id, self.pad_id = start_id, end_id, pad_id
        if sequence_length < 3 + 2 * separators:
            raise ValueError(
                f"`sequence_length` must leave room for text between the special tokens. Received: {sequence_length}. "
                f"Use {3 + 2 * separators} or more."
            )
        # KerasHub tokenizers give Python lists when called eagerly; a graph gives ragged tensors everywhere.
        self._ragged_ids = tf.function(self.tokenizer.tokenize, autograph=False)

    def build(self, texts_shape):
        """Nothing to make: the vocabulary is the tokenizer's."""

    def call(self, texts):
        read = [beginning(tf.reshape(text, [-1]), self.sequence_length) for text in _columns(texts)]
        pieces = [tf.cast(self._ragged_ids(text), tf.int32) for text in read]
        _name_vocabulary(self.tokenizer)
        rows = pieces[0].nrows()
        starts = 0 if self.start_id is None else 1
        room = self.sequence_length - 1 - starts
        if len(pieces) == 2:
            room -= self.separators
            first, second = (piece.row_lengths() for piece in pieces)
            half = (room + 1) // 2
            keep_first = tf.minimum(first, tf.maximum(room - second, half))
            keep_second = tf.minimum(second, room - keep_first)
            pieces = [_keep(pieces[0], keep_first), _keep(pieces[1], keep_second)]
        else:
            pieces = [pieces[0][:, :room]]
        ends = self.separators if len(pieces) == 2 else 1  # behind the first text
        sequence = [pieces[0], tf.fill([rows, ends], self.end_id)]
        sequence = [tf.fill([rows, 1], self.start_id), *sequence] if starts else sequence
        if len(pieces) == 2:
            sequence += [pieces[1], tf.fill([rows, 1], self.end_id)]
        ids = tf.concat(sequence, axis=1)
        padded = ids.to_tensor(self.pad_id)  # (B, T)
        in_first = tf.sequence_mask(starts + pieces[0].row_lengths() + ends, tf.shape(padded)[1])
        mask = tf.sequence_mask(ids.row_lengths(), tf.shape(padded)[1])
        return {
            "token_ids": padded,
            "padding_mask": tf.cast(mask, tf.int32),
            "segment_ids": tf.cast(mask & ~in_first, tf.int32),
        }

    def compute_output_spec(self, texts):
        names = ("token_ids", "padding_mask", "segment_ids")
        return {name: keras.KerasTensor((_columns(texts)[0].shape[0], None), "int32") for name in names}

    def get_config(self):
        settings = ("start_id", "end_id", "pad_id", "sequence_length", "separators")
        tokenizer = keras.saving.serialize_keras_object(self.tokenizer)
        return {**super().get_config(), "tokenizer": tokenizer, **{name: getattr(self, name) for name in settings}}


def _name_vocabulary(tokenizer):
    """Give the vocabulary of a SentencePiece tokenizer a name of its own.

    TensorFlow Text keeps vocabularies by their names in the graph, which are all the same: without this, two of a SavedModel, or of two that a
    process loads, would be one, and one of the encoders would read the tokens of the other.
    """
    pieces = getattr(tokenizer, "_sentence_piece", None)
    if pieces is not None:
        proto = tokenizer.proto
        digest = hashlib.blake2b(proto if isinstance(proto, bytes) else str(proto).encode(), digest_size=16).hexdigest()
        pieces._model_resource._name = f"vocabulary_{digest}"


def _first_as_written(texts, most):
    words = tf.strings.split(beginning(texts, most))
    return tf.strings.reduce_join(words[:, :most], axis=-1, separator=" ")


def _keep(ragged, lengths):
    """The first `lengths[i]` values of each row i."""
    position = tf.ragged.range(ragged.row_lengths())
    mask = position.flat_values < tf.gather(lengths, ragged.value_rowids())
    return tf.ragged.boolean_mask(ragged, ragged.with_flat_values(mask))


@keras.saving.register_keras_serializable(PACKAGE)
class TermWeights(keras.layers.Layer):
    """Strings → the TF-IDF weights of their terms, padded to the longest row of the batch.

    weight = (1 + ln count) · idf, each row scaled to length 1; terms outside the vocabulary weigh nothing.

    Args:
        vectorizer: an adapted `keras.layers.TextVectorization(output_mode="count", sparse=True)`.
        idf: list of floats, one for each vocabulary entry, or None to be set later by loading.
        max_words: int, words read from each text; the rest is ignored, so that one huge row costs no more.
        unicode: bool, whether texts of every script are read, see `scripts.first_words`; else capitals and punctuation of ASCII
            alone, as in models of version 0.2 and before.

    Call arguments:
        texts: (B,) strings, or a list of such tensors, read as one text.

    Returns:
        dict: "term_ids" (B, T) int32, "term_weights" (B, T) float; both 0 where padded.

    Example:
        >>> import keras
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> bag = keras.layers.TextVectorization(output_mode="count", sparse=True, vocabulary=["red", "dog"])
        >>> terms = mm.layers.TermWeights(bag, idf=[1.0, 3.0, 4.0])(tf.constant(["a red dog", "a cat"]))
        >>> terms["term_weights"].numpy().astype(float).round(2).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """

    def __init__(self, vectorizer, idf=None, max_words=512, unicode=False, **kwargs):
        super().__init__(**kwargs)
        self.vectorizer = _sublayer(vectorizer)
        self.idf = None if idf is None else [float(v) for v in idf]
        self.max_words = max_words
        self.unicode = unicode

    def build(self, texts_shape):
        """Nothing to make: the vocabulary is the vectorizer's."""

    def terms(self, texts):
        """(B,) strings as the vectorizer counts what is in them."""
        return (first_words if self.unicode else _first_as_written)(texts, self.max_words)

    def call(self, texts):
        text = tf.strings.join([tf.reshape(text, [-1]) for text in _columns(texts)], separator=" ")
        counts = self.vectorizer(self.terms(text))
        known = counts.indices[:, 1] > 0  # term 0 stands for every unknown word
        row, term = tf.unstack(tf.boolean_mask(counts.indices, known), 2, axis=1)
        count = tf.cast(tf.boolean_mask(counts.values, known), tf.float32)
        weight = (1.0 + tf.math.log(count)) * tf.gather(tf.constant(self.idf, tf.float32), term)
        rows = counts.dense_shape[0]
        length = tf.sqrt(tf.math.unsorted_segment_sum(tf.square(weight), row, rows))
        weight /= tf.gather(length, row)
        term = tf.RaggedTensor.from_value_rowids(tf.cast(term, tf.int32), row, nrows=rows)
        weight = tf.cast(weight, self.compute_dtype)
        return {
            "term_ids": term.to_tensor(0),
            "term_weights": term.with_flat_values(weight).to_tensor(0),
        }

    def compute_output_spec(self, texts):
        shape = (_columns(texts)[0].shape[0], None)
        return {
            "term_ids": keras.KerasTensor(shape, "int32"),
            "term_weights": keras.KerasTensor(shape, self.compute_dtype),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "vectorizer": keras.saving.serialize_keras_object(self.vectorizer),
            "idf": self.idf,
            "max_words": self.max_words,
            "unicode": self.unicode,
        }


@keras.saving.register_keras_serializable(PACKAGE)
class TermBag(keras.layers.Layer):
    """Weighted bag of term embeddings: (B, T) ids and (B, T) weights → (B, D), the sum of weight · embedding.

    With weights from `TermWeights` it is the TF-IDF vector of a row times a trained matrix, at the cost of
    the row's own terms only. The idea is fastText's (Joulin et al., 2016, https://arxiv.org/abs/1607.01759).

    Args:
        vocabulary_size: int, number of terms.
        units: int, D.
        dropout: float, the share of a row's terms that training leaves out, the rest scaled up.
        scale: float, what the weights are multiplied by, and so how fast the table learns.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> bag = mm.layers.TermBag(vocabulary_size=100, units=8)
        >>> bag(np.array([[1, 2, 0]]), np.array([[0.6, 0.8, 0.0]])).shape
        TensorShape([1, 8])
    """

    def __init__(self, vocabulary_size, units, dropout=0.0, scale=4.0, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.units = units
        self.dropout = dropout
        self.scale = scale
        self._drop = keras.layers.Dropout(dropout, dtype=self.dtype_policy)

    def build(self, term_ids_shape, term_weights_shape=None):
        # Nearly zero: a term that training says little of must stay silent rather than add noise.
        initializer = keras.initializers.RandomNormal(stddev=1e-3)
        self.table = self.add_weight(shape=(self.vocabulary_size, self.units), initializer=initializer, name="table")

    def call(self, term_ids, term_weights, training=None):
        weights = self._drop(term_weights, training=training) * self.scale
        vectors = keras.ops.take(self.table, term_ids, axis=0)  # (B, T, D)
        return keras.ops.squeeze(keras.ops.matmul(keras.ops.expand_dims(weights, 1), vectors), 1)

    def compute_output_shape(self, term_ids_shape, term_weights_shape=None):
        return (term_ids_shape[0], self.units)

    def get_config(self):
        settings = ("vocabulary_size", "units", "dropout", "scale")
        return {**super().get_config(), **{name: getattr(self, name) for name in settings}}


@keras.saving.register_keras_serializable(PACKAGE)
class TermVector(keras.layers.Layer):
    """Weights of terms as a vector with a number for each term: (B, T) ids and (B, T) weights → (B, D).

    Terms that a row does not have are 0. What stands twice counts twice, as in `TermBag`.

    Args:
        vocabulary_size: int, D.
        scale: float, what the weights are multiplied by.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.TermVector(4)(np.array([[1, 3, 0]]), np.array([[0.5, 2.0, 0.0]])).numpy().tolist()
        [[0.0, 0.5, 0.0, 2.0]]
    """

    def __init__(self, vocabulary_size, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size, self.scale = vocabulary_size, scale

    def call(self, term_ids, term_weights):
        ids, weights = keras.ops.cast(term_ids, "int32"), keras.ops.cast(term_weights, self.compute_dtype) * self.scale
        rows = keras.ops.expand_dims(keras.ops.arange(keras.ops.shape(ids)[0], dtype="int32"), 1)
        places = keras.ops.stack([keras.ops.broadcast_to(rows, keras.ops.shape(ids)), ids], axis=-1)
        shape = (keras.ops.shape(ids)[0], self.vocabulary_size)
        return keras.ops.scatter(keras.ops.reshape(places, (-1, 2)), keras.ops.reshape(weights, (-1,)), shape)

    def compute_output_shape(self, term_ids_shape, term_weights_shape=None):
        return (term_ids_shape[0], self.vocabulary_size)

    def get_config(self):
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size, "scale": self.scale}


@keras.saving.register_keras_serializable(PACKAGE)
class MaskedMean(keras.layers.Layer):
    """Mean over the tokens that are not padding: (B, T, D) and (B, T) mask → (B, D); zeros for an empty row.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> tokens, mask = np.array([[[1.0], [3.0], [9.0]]]), np.array([[1, 1, 0]])
        >>> mm.layers.MaskedMean()(tokens, mask).numpy().tolist()
        [[2.0]]
    """

    def call(self, sequence, padding_mask):
        mask = keras.ops.cast(keras.ops.expand_dims(padding_mask, -1), sequence.dtype)
        count = keras.ops.maximum(keras.ops.sum(mask, axis=1), 1)
        return keras.ops.sum(sequence * mask, axis=1) / count

    def compute_output_shape(self, sequence_shape, padding_mask_shape):
        return (sequence_shape[0], sequence_shape[2])


@keras.saving.register_keras_serializable(PACKAGE)
def plain_spaces(texts):
    """Every white space that Python's `str.split` knows as a blank, for layers that split at ASCII's alone."""
    return tf.strings.regex_replace(
        texts, r"[\x{1c}-\x{1f}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]", " "
    )

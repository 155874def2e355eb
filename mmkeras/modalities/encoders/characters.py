"""Texts as a bag of the characters of their words, weighted by TF-IDF, times an embedding that trains with the head."""

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.columns import raw_values
from mmkeras.layers.scripts import first_words
from mmkeras.layers.text import TermWeights
from mmkeras.modalities.encoders.base import check_words, strings
from mmkeras.modalities.encoders.lexical import BATCH, TERMS, Lexical

LENGTHS = [3, 4, 5]
EDGE = "_"  # of a word


class Characters(Lexical):
    """The 30,000 most frequent sequences of 3 to 5 characters within words of the training rows; `sequence_length` counts words.

    Words that differ by an ending or a typing error have most of them in common, and so has a word never seen with its kin
    (Bojanowski et al., 2017, https://arxiv.org/abs/1607.04606).
    """

    label = "characters"

    def adapt(self, df):
        columns, words = raw_values(df, [self.modality]).values(), self.modality.length
        check_words(self.modality.columns, columns)
        rows = [" ".join(row) for row in zip(*columns, strict=True)]
        batches = tf.data.Dataset.from_tensor_slices(rows).batch(BATCH).map(lambda texts: sequences(texts, words))
        vectorizer = keras.layers.TextVectorization(TERMS, standardize=None, output_mode="count", sparse=True)
        vectorizer.adapt(batches)
        documents = np.zeros(vectorizer.vocabulary_size())
        for batch in batches:  # read anew: they are many times as long as the texts
            np.add.at(documents, vectorizer(batch).indices.numpy()[:, 1], 1)
        idf = np.log((1 + len(rows)) / (1 + documents)) + 1  # as of words
        return {"vectorizer": vectorizer, "idf": idf.tolist()}

    def prepare(self, raw):
        state, words = self.modality.state, self.modality.length
        weigh = CharacterWeights(state["vectorizer"], state["idf"], words, unicode=True, name=f"{self.name}_terms")
        return weigh(strings(raw))


def sequences(texts, most):
    """Every 3, 4 and 5 characters in a row of the first words of texts, with blanks between them: (B,) → (B,) strings.

    An edge, "_", stands before and behind each word.

    Args:
        texts: (B,) strings.
        most: int, the number of words.

    Example:
        >>> sequences(tf.constant(["A cat."]), 8).numpy()[0].decode()
        '_a_ _ca cat at. t._ _cat cat. at._ _cat. cat._'
    """
    words = tf.strings.split(first_words(texts, most))
    whole = tf.strings.unicode_split(tf.strings.join([EDGE, words.flat_values, EDGE]), "UTF-8")
    each = tf.strings.reduce_join(tf.strings.ngrams(whole, LENGTHS, separator=""), axis=-1, separator=" ")
    return tf.strings.reduce_join(words.with_flat_values(each), axis=-1, separator=" ")


@keras.saving.register_keras_serializable("mmkeras")
class CharacterWeights(TermWeights):
    """As `TermWeights`, of `sequences` of characters in place of words.

    Example:
        >>> bag = keras.layers.TextVectorization(standardize=None, output_mode="count", sparse=True, vocabulary=["cat", "at_"])
        >>> terms = CharacterWeights(bag, idf=[1.0, 3.0, 4.0])(tf.constant(["a cat", "CATS"]))
        >>> terms["term_weights"].numpy().astype(float).round(2).tolist()
        [[0.6, 0.8], [1.0, 0.0]]
    """

    def terms(self, texts):
        return sequences(texts, self.max_words)

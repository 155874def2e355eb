"""Texts as a bag of words and word pairs, weighted by TF-IDF, times an embedding that trains with the head."""

import keras
import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.columns import raw_values
from mmkeras.layers.scripts import first_words
from mmkeras.modalities.encoders.base import TextEncoder, strings

TERMS = 30_000
UNITS = 32
DROPOUT = 0.5
BATCH = 256  # rows that are read together


class Lexical(TextEncoder):
    """The 30,000 most frequent words and word pairs of the training rows; `sequence_length` counts words.

    Of scripts without blanks, such as Chinese, Japanese and Thai, each character is a word.
    """

    label = "lexical"

    def adapt(self, df):
        columns = raw_values(df, [self.modality]).values()
        return learn_terms([" ".join(row) for row in zip(*columns, strict=True)], self.modality.sequence_length)

    def prepare(self, raw):
        state, words = self.modality.state, self.modality.sequence_length
        weigh = layers.TermWeights(state["vectorizer"], state["idf"], words, unicode=True, name=f"{self.name}_terms")
        return weigh(strings(raw))

    def encode(self, tensors):
        bag = layers.TermBag(len(self.modality.state["idf"]), UNITS, DROPOUT, name=f"{self.name}_bag")
        return bag(tensors["term_ids"], tensors["term_weights"])


def learn_terms(rows, most_words):
    """Vocabulary and idf of the words and word pairs of the training rows."""
    vectorizer = keras.layers.TextVectorization(TERMS, ngrams=2, output_mode="count", sparse=True)
    texts = (
        tf.data.Dataset.from_tensor_slices(rows or [""]).batch(BATCH).map(lambda batch: first_words(batch, most_words))
    )
    vectorizer.adapt(texts)
    documents = np.zeros(vectorizer.vocabulary_size())
    for batch in texts:
        np.add.at(documents, vectorizer(batch).indices.numpy()[:, 1], 1)
    idf = np.log((1 + len(rows)) / (1 + documents)) + 1  # smoothed, as if one more row held every term once
    return {"vectorizer": vectorizer, "idf": idf.tolist()}

"""Texts as a bag of words and word pairs, weighted by TF-IDF, times an embedding that trains with the head."""

import keras
import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.columns import raw_values
from mmkeras.layers.scripts import first_words
from mmkeras.modalities.encoders.base import TextEncoder, check_words, strings
from mmkeras.modalities.entrances import Entrance

TERMS = 30_000
UNITS = 32
DROPOUT = 0.5
BATCH = 256  # rows that are read together
_read = tf.function(first_words, autograph=False, reduce_retracing=True)


class Lexical(TextEncoder):
    """The 30,000 most frequent words and word pairs of the training rows; `sequence_length` counts words.

    Of scripts without blanks, such as Chinese, Japanese and Thai, each character is a word.
    """

    label = "lexical"
    # How many terms it knows, and of how many words in a row one may be.
    most, words = TERMS, 2

    def adapt(self, df):
        columns = raw_values(df, [self.modality]).values()
        check_words(self.modality.columns, columns)
        rows = [" ".join(row) for row in zip(*columns, strict=True)]
        return learn_terms(rows, self.modality.length, self.most, self.words)

    def prepare(self, raw):
        state, words = self.modality.state, self.modality.length
        weigh = layers.TermWeights(state["vectorizer"], state["idf"], words, unicode=True, name=f"{self.name}_terms")
        return weigh(strings(raw))

    def alike(self, inputs):
        terms = [inputs(f"{self.name}.{key}") for key in ("term_ids", "term_weights")]
        return [], [terms], [len(self.modality.state["idf"])]

    def entrances(self, encode):
        return {"terms": Entrance(f"{self.name}.term_weights")}

    def recall(self, known):
        return {"vectorizer": known[f"{self.name}_terms"].vectorizer}

    def pieces(self, tensors, given):
        names = self.modality.state["vectorizer"].get_vocabulary()
        rows = zip(tensors["term_ids"], tensors["term_weights"], given["terms"], strict=True)
        return [
            [(names[term], float(value)) for term, weight, value in zip(*row, strict=True) if weight] for row in rows
        ]

    def encode(self, tensors):
        bag = layers.TermBag(len(self.modality.state["idf"]), UNITS, DROPOUT, name=f"{self.name}_bag")
        return bag(tensors["term_ids"], tensors["term_weights"])


def learn_terms(rows, most_words, most=TERMS, words=2):
    """Vocabulary and idf of the `most` frequent terms of training rows, each of 1 to `words` words in a row."""
    vectorizer = keras.layers.TextVectorization(most, ngrams=words, output_mode="count", sparse=True)
    batches = [_read(tf.constant(rows[start : start + BATCH]), most_words) for start in range(0, len(rows), BATCH)]
    vectorizer.adapt(tf.concat(batches, 0) if rows else [""], batch_size=BATCH)
    documents = np.zeros(vectorizer.vocabulary_size())
    for batch in batches:
        np.add.at(documents, vectorizer(batch).indices.numpy()[:, 1], 1)
    idf = np.log((1 + len(rows)) / (1 + documents)) + 1  # smoothed, as if one more row held every term once
    return {"vectorizer": vectorizer, "idf": idf.tolist()}

"""Texts as the TF-IDF weights of their words, for heads that are linear in them."""

from mmkeras import layers
from mmkeras.modalities.encoders.lexical import Lexical

LENGTH = 32.0  # of a row's vector, about that of a thousand numbers of variance 1


class Terms(Lexical):
    """The 4,000 most frequent words of the training rows, a number for each; `sequence_length` counts words.

    What a linear model of words reads. Nothing of it is learnt but the vocabulary and how rare each word is.
    """

    label, scaled, trains = "terms", True, False
    most, words = 4000, 1

    def encode(self, tensors):
        spread = layers.TermVector(len(self.modality.state["idf"]), LENGTH, name=f"{self.name}_vector")
        return spread(tensors["term_ids"], tensors["term_weights"])

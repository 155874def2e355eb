"""Texts through a small transformer that trains with the head, with a vocabulary learnt from the training rows."""

import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.columns import raw_values
from mmkeras.modalities.encoders.base import check_words
from mmkeras.modalities.encoders.transformer import Transformer

VOCABULARY = 6_000
SIZE = {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 256}


class ScratchText(Transformer):
    """Two blocks, 128 wide, over WordPiece tokens."""

    label = "scratch"

    def adapt(self, df):
        columns = raw_values(df, [self.modality]).values()
        check_words(self.modality.columns, columns)
        texts = np.concatenate(list(columns))
        return {"tokenizer": learn_tokenizer(texts, self.modality.length)}

    def prepare(self, raw):
        space = layers.SpaceCharacters(self.modality.length, name=f"{self.name}_characters")
        return super().prepare({column: space(texts) for column, texts in raw.items()})

    def backbone(self):
        import keras_hub

        words = self.modality.state["tokenizer"].vocabulary_size()
        size = {**SIZE, "max_sequence_length": self.modality.length}
        return keras_hub.models.BertBackbone(vocabulary_size=words, dtype=self.modality.dtype, **size)


def learn_tokenizer(rows, sequence_length):
    """A lower-case WordPiece tokenizer whose vocabulary comes from `rows` (Schuster & Nakajima, 2012)."""
    import keras_hub

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    space = layers.SpaceCharacters(sequence_length)
    dataset = tf.data.Dataset.from_tensor_slices(list(rows)).batch(256).map(space)
    # Accents are left out by the layer: the tokenizer takes the vowels of Thai and Hindi for such.
    vocabulary = keras_hub.tokenizers.compute_word_piece_vocabulary(
        dataset, VOCABULARY, reserved_tokens=special, lowercase=True, strip_accents=False
    )
    return keras_hub.tokenizers.BertTokenizer(vocabulary=vocabulary, lowercase=True, strip_accents=False)

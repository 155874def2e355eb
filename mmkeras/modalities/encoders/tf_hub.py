"""Pretrained text encoders of TensorFlow Hub: handles, and directories of their SavedModels."""

import os

import keras
import tensorflow as tf

from mmkeras import hub
from mmkeras.modalities.encoders.keras_hub import KerasHub


class TfHub(KerasHub):
    """BERT-like encoders, in KerasHub's form; a SavedModel trains as a whole, and its blocks are not at hand."""

    @classmethod
    def reads(cls, encoder):
        return hub.is_saved_model(encoder)

    def check(self):
        encoder, trainable, layers = self.modality.encoder, self.modality.trainable, self.modality.layers
        if not isinstance(trainable, bool):
            raise ValueError(
                "`trainable` of a TF-Hub encoder must be False or True: a SavedModel trains as a whole, and takes no adapters. "
                f"Received: {trainable!r} for {encoder!r}. Use True, or a KerasHub encoder."
            )
        if layers > 1:
            raise ValueError(
                "`layers` of a TF-Hub encoder must be 1: the blocks of a SavedModel are not at hand. "
                f"Received: {layers} for {encoder!r}. Use 1, or a KerasHub encoder."
            )

    @staticmethod
    def load_backbone(encoder, dtype=None):
        inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in hub.TENSORS.values()}
        return keras.Model(inputs, hub.HubEncoder(encoder, dtype=dtype)(inputs))

    @staticmethod
    def load_tokenizer(encoder):
        """A WordPiece tokenizer of the vocabulary that TF-Hub's BERT encoders bring along."""
        import keras_hub

        folder = hub.resolve(encoder)
        assets = folder / "assets"
        vocabulary = assets / "vocab.txt"
        if not vocabulary.is_file():
            held = sorted(path.name for path in assets.iterdir()) if assets.is_dir() else "nothing"
            raise ValueError(
                "A TF-Hub encoder without assets/vocab.txt needs `preprocessor`, the handle or directory of the "
                f"preprocessing model that its page names. Received: {encoder!r}, whose assets are {held}, and "
                "preprocessor=None."
            )
        lowercase = True
        if (folder / "variables" / "variables.index").is_file():
            # TF-Hub's encoders say so themselves, for there are cased ones.
            checkpoint, key = tf.train.load_checkpoint(str(folder / "variables" / "variables")), "do_lower_case"
            if checkpoint.has_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE"):
                lowercase = bool(checkpoint.get_tensor(f"{key}/.ATTRIBUTES/VARIABLE_VALUE"))
        return keras_hub.models.BertTokenizer(str(vocabulary), lowercase=lowercase, strip_accents=lowercase)


def load_backbone(encoder, dtype=None):
    """A pretrained text encoder, of TensorFlow Hub or of KerasHub, as a keras.Model in KerasHub's form.

    Raises:
        FileNotFoundError, ValueError: see `keras_hub.load`.
    """
    encoder = os.fspath(encoder)
    return (TfHub if TfHub.reads(encoder) else KerasHub).load_backbone(encoder, dtype)

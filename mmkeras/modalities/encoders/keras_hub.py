"""Pretrained text encoders of KerasHub: presets, handles, and local directories."""

from mmkeras import hub
from mmkeras.modalities.encoders import presets
from mmkeras.modalities.encoders.base import strings
from mmkeras.modalities.encoders.transformer import Transformer


class KerasHub(Transformer):
    """What `Text` takes an `encoder` for that no other encoder reads."""

    pretrained = True

    @staticmethod
    def load_backbone(encoder, dtype=None):
        """keras.Model of a preset, a handle or a directory; see `load`."""
        return load(encoder, "Backbone", dtype=dtype)

    @staticmethod
    def load_tokenizer(encoder):
        """The tokenizer that belongs to it; see `load`."""
        return load(encoder, "Tokenizer")

    def adapt(self, df):
        if self.modality.preprocessor is not None:
            return {}  # it brings its vocabulary along
        return {"tokenizer": self.load_tokenizer(self.modality.encoder)}

    def prepare(self, raw):
        if self.modality.preprocessor is None:
            return super().prepare(raw)
        length = self.modality.sequence_length
        tokenize = hub.HubPreprocessor(self.modality.preprocessor, length, name=f"{self.name}_tokens")
        return tokenize(strings(raw))

    def backbone(self):
        self.check()  # a directory may hold something else by now
        return self.load_backbone(self.modality.encoder, self.modality.dtype)

    def top_blocks(self):
        return 0 if self.modality.trainable is True else int(self.modality.trainable)

    def tower_layers(self, fine_tune):
        towers = {f"{self.name}_tower": fine_tune and self.modality.trainable is True}
        return {**towers, f"{self.name}_tower_top": fine_tune} if self.top_blocks() else towers


def load(encoder, kind, **settings):
    """Load the "Backbone" or the "Tokenizer" of a preset, a handle or a local directory, see `presets.load`."""
    import keras_hub

    part = {"Backbone": keras_hub.models.Backbone, "Tokenizer": keras_hub.tokenizers.Tokenizer}[kind]
    return presets.load(part, encoder, what=f"a text {kind.lower()}", **settings)

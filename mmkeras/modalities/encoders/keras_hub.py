"""Pretrained text encoders of KerasHub: presets, handles, and local directories."""

import os
import pathlib

from mmkeras import hub
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
    """Load the "Backbone" or the "Tokenizer" of a preset, a handle or a local directory.

    Raises:
        FileNotFoundError: a path that does not exist.
        ValueError: a directory that holds something else, or a preset that cannot be had.
    """
    import keras_hub

    path = pathlib.Path(encoder).expanduser()
    looks_local = "://" not in encoder and (
        path.is_absolute() or encoder.startswith((".", "~")) or os.sep in encoder or path.exists()
    )
    if looks_local:
        _check_directory(encoder, path)
    loader = keras_hub.models.Backbone if kind == "Backbone" else keras_hub.tokenizers.Tokenizer
    try:
        return loader.from_preset(str(path) if looks_local else encoder, **settings)
    except Exception as error:
        where = "the local directory" if looks_local else "KerasHub preset or handle (a download)"
        raise ValueError(
            f"`encoder` must be loadable by KerasHub as a text {kind.lower()}. Received: {where} {encoder!r}, which failed "
            f"with: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}. "
            "Check the name, the connection, or give a local directory."
        ) from error


def _check_directory(encoder, path):
    if not path.exists():
        raise FileNotFoundError(
            f"`encoder` looks like a local directory, and it does not exist. Received: {encoder!r}. "
            "Check the path, or give a KerasHub preset name."
        )
    if not (path / "config.json").is_file():
        held = sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else "a file"
        raise ValueError(
            "An `encoder` directory must hold config.json with weights and vocabulary, in KerasHub's or Hugging Face's "
            f"format, or a SavedModel of TensorFlow Hub. Received: {encoder!r}, which holds {held}. Save one with "
            "`backbone.save_to_preset` and `tokenizer.save_to_preset`."
        )

"""KerasHub presets: what names one, and loading a part of one with errors that say what to do."""

import os
import pathlib

import keras

WEIGHTS = ("*.weights.h5", "model.weights.json", "*.safetensors", "*.safetensors.index.json")


def is_local(encoder):
    """Whether a string names a local directory, rather than a preset or a handle.

    Example:
        >>> is_local("./towers/vit"), is_local("hf://google/vit"), is_local("vit_base_patch16_224_imagenet")
        (True, False, False)
    """
    if "://" in encoder:
        return False
    path = pathlib.Path(encoder).expanduser()
    return path.is_absolute() or encoder.startswith((".", "~")) or os.sep in encoder or path.exists()


def is_preset(encoder):
    """Whether a string names a preset: a handle, a local directory, or a name that KerasHub knows."""
    if "://" in encoder or is_local(encoder):
        return True
    if encoder != encoder.lower():
        return False  # as ResNet50V2; no preset is written so
    import keras_hub

    return encoder in keras_hub.models.Backbone.presets


def load(part, encoder, *, what, **settings):
    """Load a part of a preset, a handle or a local directory.

    Args:
        part: class of KerasHub with `from_preset`, such as `keras_hub.models.Backbone`.
        encoder: str.
        what: str, how errors call it, for example "a text backbone".
        **settings: of `from_preset`.

    Raises:
        FileNotFoundError: a path that does not exist.
        ValueError: a directory that holds something else or no weights; a preset that cannot be had.
    """
    local = is_local(encoder)
    path = pathlib.Path(encoder).expanduser()
    if local:
        check_directory(encoder, path)
        if settings.get("load_weights", issubclass(part, keras.Model)):
            _check_weights(encoder, path)
    try:
        return part.from_preset(str(path) if local else encoder, **settings)
    except Exception as error:
        said = str(error).strip().splitlines()
        said = said[0][:300] if said else type(error).__name__
        start = f"`encoder` must be loadable by KerasHub as {what}. Received: "
        if local:
            raise ValueError(
                f"{start}the local directory {encoder!r}, which failed with: {said}. Check what it holds, or give another."
            ) from error
        raise ValueError(
            f"{start}the KerasHub preset or handle (a download) {encoder!r}, which failed with: {said}. Check the name and the "
            f"connection. Files of presets are kept in {_downloads(encoder)}; without a connection, bring the preset's files into any "
            "folder and give its path."
        ) from error


def _downloads(encoder):
    """Where files of a preset are downloaded to."""
    home = os.path.expanduser("~/.cache")
    if encoder.startswith("hf://"):
        return os.environ.get("HF_HUB_CACHE") or os.path.join(os.environ.get("HF_HOME") or f"{home}/huggingface", "hub")
    return os.environ.get("KAGGLEHUB_CACHE") or f"{home}/kagglehub"


def check_directory(encoder, path):
    """Raise unless a path is a directory in KerasHub's or Hugging Face's format."""
    if not path.exists():
        raise FileNotFoundError(
            f"`encoder` looks like a local directory, and it does not exist. Received: {encoder!r}. "
            "Check the path, or give a KerasHub preset name."
        )
    if not (path / "config.json").is_file():
        raise ValueError(
            "An `encoder` directory must hold config.json with weights and what prepares inputs, in KerasHub's or Hugging Face's "
            f"format, or a SavedModel of TensorFlow Hub. Received: {encoder!r}, which holds {_held(path)}. Save one with "
            "`backbone.save_to_preset`, and its tokenizer or image converter likewise."
        )


def _check_weights(encoder, path):
    if not any(any(path.glob(pattern)) for pattern in WEIGHTS):
        raise ValueError(
            f"An `encoder` directory must hold weights. Received: {encoder!r}, which holds {_held(path)}. Save them with "
            "`backbone.save_to_preset`."
        )


def _held(path):
    return sorted(p.name for p in path.iterdir())[:8] if path.is_dir() else "a file"

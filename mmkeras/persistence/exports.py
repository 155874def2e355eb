"""A SavedModel that replaces an earlier one as a whole."""

import contextlib
import json
import logging
import pathlib
import shutil
import uuid

from mmkeras.persistence.names import argument_names
from mmkeras.persistence.writing import not_writable


def export_saved_model(models, path, info):
    """Write Keras models with dict inputs as a SavedModel, replacing an earlier one as a whole.

    Args:
        models: {signature: keras.Model from {name: tensor} to {name: tensor}}, all with the same inputs.
        path: the folder.
        info: plain values for `assets.extra/mmkeras.json`.
    """
    import keras
    import tensorflow as tf

    path = pathlib.Path(path).expanduser()
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file()):
        raise ValueError(
            "The folder must be new, empty, or hold a SavedModel, which is then replaced. "
            f"Received: {str(path)!r}, which holds something else. Choose another folder."
        )
    fresh = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    old = path.with_name(f"{fresh.name}-old")
    inputs = next(iter(models.values())).input
    names = argument_names(inputs)
    signature = {
        names[key]: tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=names[key])
        for key, tensor in inputs.items()
    }

    def serve(model):
        named = argument_names(model.output)

        def endpoint(inputs):
            outputs = model({key: inputs[names[key]] for key in model.input}, training=False)
            return {named[key]: value for key, value in outputs.items()}

        return endpoint

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        archive = keras.export.ExportArchive()
        for name, model in models.items():
            archive.track(model)
            archive.add_endpoint(name, serve(model), input_signature=[signature])
        with _quiet(tf.get_logger()):  # it would tell a folder that is renamed at once
            archive.write_out(str(fresh), verbose=False)
        (fresh / "assets.extra").mkdir()
        (fresh / "assets.extra" / "mmkeras.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    except OSError as error:
        raise not_writable(error, path) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _quiet(logger):
    """Only a logger's warnings and errors pass."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)

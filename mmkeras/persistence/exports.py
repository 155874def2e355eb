"""A SavedModel that replaces an earlier one as a whole: whatever ends the process, one of them is in force.

It is written beside its place, as `.name-01234567`, and changes places with the earlier one in one step. What killed exports
left is deleted by the next one.
"""

import contextlib
import ctypes
import json
import logging
import os
import pathlib
import re
import shutil

from mmkeras.persistence.claims import NAME, claimed, left_behind
from mmkeras.persistence.names import argument_names
from mmkeras.persistence.writing import telling

_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


def export_saved_model(models, path, info):
    """Write Keras models with dict inputs as a SavedModel, replacing an earlier one as a whole.

    Args:
        models: {signature: keras.Model from {name: tensor} to {name: tensor}}; the first has all inputs, others some.
        path: the folder, or a link to it.
        info: plain values for `assets.extra/mmkeras.json`.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the folder holds something that is no SavedModel.
    """
    given, path = path, pathlib.Path(os.path.realpath(os.path.expanduser(path)))
    _sweep(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").is_file()):
        raise ValueError(
            "The folder must be new, empty, or hold a SavedModel, which is then replaced. "
            f"Received: {str(given)!r}, which holds something else. Choose another folder."
        )
    with telling(given, "folder"), claimed(lambda name: _beside(path, name, ".lock")) as (name, _):
        fresh = _beside(path, name)
        try:
            _write(models, fresh)
            (fresh / "assets.extra").mkdir()
            (fresh / "assets.extra" / "mmkeras.json").write_text(json.dumps(info, indent=1), encoding="utf-8")
            _put(fresh, path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _write(models, folder):
    """Write models to a new folder."""
    import tensorflow as tf

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

    saved, signatures, tables = tf.train.Checkpoint(), {}, []
    for name, model in models.items():
        own = {names[key]: signature[names[key]] for key in model.input}
        # Traced once: what Keras's ExportArchive hands to TensorFlow is traced anew as it is saved.
        signatures[name] = tf.function(serve(model), autograph=False).get_concrete_function(own)
        setattr(saved, name, signatures[name])
        tables += _tables(model)
    saved.tables = tables
    for kind in ("variables", "trainable_variables", "non_trainable_variables"):  # as Keras's own exports have them
        known = {id(each): each.value for model in models.values() for each in getattr(model, kind)}
        setattr(saved, kind, list(known.values()))
    signatures["serving_default"] = next(iter(signatures.values()))
    with _quiet(tf.get_logger()):  # it would tell a folder that is renamed at once
        tf.saved_model.save(saved, str(folder), signatures=signatures)


def _tables(model):
    """Lookup tables and the like inside a model."""
    import tensorflow as tf

    parts = tf.train.TrackableView(model).descendants()
    return [part for part in parts if isinstance(part, tf.saved_model.experimental.TrackableResource)]


def _put(fresh, path):
    """Move a new folder to its place; an earlier one there takes its name."""
    try:
        fresh.rename(path)  # nothing is there, or an empty folder
        return
    except OSError:
        if not path.is_dir():
            raise
    if _exchanged(fresh, path):
        return
    old = fresh.with_name(f"{fresh.name}-old")
    try:
        path.rename(old)
        fresh.rename(path)
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def _exchanged(first, second):
    """Whether two folders changed places in one step, as Linux does it on its own file systems."""
    try:
        exchange = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError, TypeError):  # another system
        return False
    return exchange(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0


def _beside(path, name, ending=""):
    """The place of what an export writes beside its folder."""
    return path.with_name(f".{path.name}-{name}{ending}")


def _sweep(path):
    """Delete what killed exports left; an earlier SavedModel that they moved away comes back."""
    pattern = re.compile(rf"\.{re.escape(path.name)}-({NAME})(-old|\.lock)?")
    found = map(pattern.fullmatch, os.listdir(path.parent) if path.parent.is_dir() else [])
    for name in {match[1] for match in found if match}:
        fresh, old, lock = (_beside(path, name, ending) for ending in ("", "-old", ".lock"))
        with left_behind(lock) as free:
            if free is not False and old.is_dir() and not path.exists():
                old.rename(path)
            if free:
                for folder in (fresh, old):
                    shutil.rmtree(folder, ignore_errors=True)
                lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _quiet(logger):
    """Only a logger's warnings and errors pass."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)

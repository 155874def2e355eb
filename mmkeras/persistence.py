"""A folder of files that is replaced as one: an interrupted write leaves the earlier content in force.

The folder holds `pipeline.json` and a subfolder with the files it names. Saving writes a new subfolder, then replaces
`pipeline.json` in one step, then removes what is no longer named.
"""

import collections
import contextlib
import errno
import hashlib
import json
import logging
import os
import pathlib
import re
import shutil
import uuid

VERSION = "0.2.0"  # of mmkeras, which a manifest tells
MANIFEST = "pipeline.json"
FORMAT = 3


@contextlib.contextmanager
def replacing(path, manifest):
    """Yield an empty folder to write files into; on success they replace the content of `path`.

    Args:
        path: the model folder; made if absent.
        manifest: dict of plain values, stored beside the files' sizes and digests.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the folder holds something that is not a saved Pipeline.
    """
    path = pathlib.Path(path).expanduser()
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not _is_ours(path)):
        raise ValueError(
            "The folder must be new, empty, or hold a saved Pipeline, which is then replaced. "
            f"Received: {str(path)!r}, which holds something else. Choose another folder."
        )
    part = path / f"files-{uuid.uuid4().hex[:8]}"
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise _not_writable(error, path) from error
    try:
        yield part
        files = {p.relative_to(part).as_posix(): _stamp(p) for p in sorted(part.rglob("*")) if p.is_file()}
        # Made last, so that the caller may add to the manifest while it writes files.
        content = {"format": FORMAT, "folder": part.name, "files": files, **manifest}
        fresh = path / f"{MANIFEST}.{part.name}"
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path / MANIFEST)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        (path / f"{MANIFEST}.{part.name}").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.rmdir()  # only if it is empty, that is, if it was new
        raise
    for old in path.iterdir():
        if old.name.startswith("files-") and old != part:
            shutil.rmtree(old, ignore_errors=True)


def read(path):
    """The manifest and the folder of files of a saved Pipeline, checked.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: not a saved Pipeline, of a newer format, or with missing or damaged files.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"There is no folder {str(path)!r}. Give the folder that `pipe.save` wrote.")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if version not in range(1, FORMAT + 1):
        raise ValueError(
            f"This mmkeras reads formats 1 to {FORMAT} of saved Pipelines. Received: format {version}, written by mmkeras "
            f"{manifest.get('mmkeras', 'of an unknown version')}. Install that version, or fit and save again."
        )
    try:
        folder, files = _inside(path, manifest["folder"]), manifest["files"].items()
    except (AttributeError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    for name, stamp in files:
        file = _inside(folder, name)
        if not isinstance(stamp, dict) or "bytes" not in stamp:
            raise _unreadable(path, TypeError())
        if not file.is_file() or _stamp(file) != stamp:
            what = (
                "missing"
                if not file.is_file()
                else f"damaged ({file.stat().st_size} bytes, {stamp['bytes']} were written)"
            )
            raise ValueError(
                f"A saved Pipeline must be whole. Received: {str(path)!r}, in which {name!r} is {what}. Copy or save it again."
            )
    try:
        manifest = upgraded(manifest) if version == 1 else manifest
        # Before format 3 nothing was learnt of how columns are written.
        return {"columns": [], **manifest}, folder
    except (AttributeError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


# What 0.1.0 called the simple rivals, and what tasks learn, which it kept among their settings.
RIVALS_BEFORE = {
    "PriorBaseline": "Prior", "HeadBaseline": "Alone", "TfidfBaseline": "Linear", "OneCaption": "OneCaption",
    "NearestImage": "NearestImage",
}  # fmt: skip
LEARNT_BEFORE = ("classes", "vocabulary", "mean", "scale")


def upgraded(manifest):
    """The manifest of a Pipeline that 0.1.0 saved, in today's form."""
    task, thresholds = dict(manifest["task"]), manifest["thresholds"]
    state = {name: task.pop(name) for name in LEARNT_BEFORE if task.get(name) is not None}
    rivals = {}
    for name, saved in manifest["baselines"].items():
        tuned = {} if saved["thresholds"] is None else {"thresholds": saved["thresholds"]}
        rivals[name] = {**saved, "class": RIVALS_BEFORE[saved["class"]], "state": {**state, **tuned}}
        rivals[name].setdefault("output", task["column"])
    state.update({} if thresholds is None else {"thresholds": thresholds})
    return {**manifest, "task": task, "state": state, "rivals": rivals}


def _inside(folder, name):
    """The file or folder of this name in a folder; a name from a manifest must not lead out of it, nor may a link."""
    place = folder / name
    try:
        place.resolve().relative_to(folder.resolve())
        inside = place.resolve() != folder.resolve()
    except ValueError:  # elsewhere, or a name that no file has
        inside = False
    if not inside:
        raise ValueError(
            f"A saved Pipeline's {MANIFEST} names files inside its folder. Received: {name[:80]!r} in {str(folder)!r}, which "
            "leads out of it. Do not use this folder; get one from whom you trust, or fit and save again."
        )
    return place


def _not_writable(error, path, what="folder"):
    message = f"The output folder must be writable; {error.strerror or error}. Choose another {what}"
    return OSError(error.errno, message, str(path))


def _unreadable(path, error):
    return ValueError(
        f"A saved Pipeline has a readable {MANIFEST}. Received: {str(path)!r}, without one ({type(error).__name__}). "
        "Give the folder that `pipe.save` wrote, or save again."
    )


def _is_ours(path):
    """Whether the folder holds a saved Pipeline, or only what an interrupted save left behind."""
    return (path / MANIFEST).is_file() or all(p.name.startswith(("files-", MANIFEST)) for p in path.iterdir())


def _stamp(file):
    digest = hashlib.blake2b(digest_size=16)
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return {"bytes": file.stat().st_size, "blake2b": digest.hexdigest()}


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
        raise _not_writable(error, path) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(old, ignore_errors=True)


def argument_names(columns):
    """{column: its name in a graph and in a SavedModel's signature}: letters, digits and "_", beginning with a letter.

    Everything else becomes "_". Columns that this would make one have the numbers of such characters in their names instead.

    Args:
        columns: names of columns, all different.

    Example:
        >>> argument_names(["price ($)", "a b", "a_b"])
        {'price ($)': 'price____', 'a b': 'a_x20_b', 'a_b': 'a_b'}
    """
    plain = {column: argument_name(column) for column in columns}
    counts = collections.Counter(plain.values())
    names = {
        column: name if counts[name] == 1 or name == column else _spelt_out(column) for column, name in plain.items()
    }
    return names if len(set(names.values())) == len(names) else {column: _spelt_out(column) for column in names}


def argument_name(column):
    """A column's name where no other one is alike: everything but letters and digits as "_"."""
    name = re.sub("[^A-Za-z0-9]", "_", column)
    return name if name[:1].isalpha() else f"column_{name}"


def _spelt_out(column):
    """A name that no other column has, with runs of other characters as their numbers."""
    name = re.sub("_(?=(x[0-9a-f]+)+(_|[^A-Za-z0-9_]))", "_x5f_", column)  # what is no number must not look like one
    name = re.sub("[^A-Za-z0-9_]+", lambda run: f"_{''.join(f'x{ord(sign):x}' for sign in run[0])}_", name)
    return name if re.match("(?!column_)[A-Za-z]", name) else f"column_{name}"


def write_text(path, text):
    """Write a text file in UTF-8, see `write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path, data):
    """Write a file of bytes, see `writing`.

    Returns:
        pathlib.Path of the file.
    """
    with writing(path) as fresh, _telling(path):
        fresh.write_bytes(data)
    return pathlib.Path(path).expanduser()


@contextlib.contextmanager
def writing(path):
    """Yield an empty file beside a place, which it takes in the end: readers see the old or the new one, never half.

    Args:
        path: the place; its folder is made if absent.

    Raises:
        OSError: no file can be written there.
    """
    path = pathlib.Path(path).expanduser()
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with _telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            fresh.touch()
        yield fresh
        with _telling(path):
            os.replace(fresh, path)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


@contextlib.contextmanager
def _telling(path):
    """Errors of the system, with what to do."""
    try:
        yield
    except OSError as error:
        raise _not_writable(error, path, "path") from error


def write_changed(path, data):
    """Write a file, see `write_bytes`, unless it holds these bytes already.

    Returns:
        pathlib.Path of the file.
    """
    path = pathlib.Path(path).expanduser()
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return path
    return write_bytes(path, data)


@contextlib.contextmanager
def _quiet(logger):
    """Only a logger's warnings and errors pass."""
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)

"""What a model folder says of itself: `pipeline.json`, read and checked before anything else is opened."""

import hashlib
import json
import pathlib

MANIFEST = "pipeline.json"
FORMAT = 3
MOST_BYTES = 64 * 2**20  # of a manifest


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
        manifest = parsed(path)
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _unreadable(path, error) from error
    if type(version) is not int or version not in range(1, FORMAT + 1):
        raise ValueError(
            f"This mmkeras reads formats 1 to {FORMAT} of saved Pipelines. Received: format {version!r:.40}, written by mmkeras "
            f"{manifest.get('mmkeras', 'of an unknown version')!s:.40}. Install that version, or fit and save again."
        )
    try:
        folder, files = _inside(path, manifest["folder"]), manifest["files"].items()
    except (AttributeError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error
    for name, stamp in files:
        file = _inside(folder, name)
        if not isinstance(stamp, dict) or "bytes" not in stamp:
            raise _unreadable(path, TypeError())
        if not file.is_file() or file.stat().st_size != stamp["bytes"] or size_and_digest(file) != stamp:
            what = (
                "missing"
                if not file.is_file()
                else f"damaged ({file.stat().st_size} bytes, {stamp['bytes']!r:.40} were written)"
            )
            raise ValueError(
                f"A saved Pipeline must be whole. Received: {str(path)!r}, in which {name!r:.80} is {what}. Copy or save it again."
            )
    _check_named(path, folder, manifest["files"])
    try:
        manifest = upgraded(manifest) if version == 1 else manifest
        # Before format 3 nothing was learnt of how columns are written.
        return {"columns": [], **manifest}, folder
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error


def parsed(path):
    """The values in a folder's manifest, of a regular file that is not too large.

    Raises:
        OSError, ValueError, TypeError, RecursionError: it is none.
    """
    file = pathlib.Path(path) / MANIFEST
    if not file.is_file() or file.stat().st_size > MOST_BYTES:
        raise ValueError(f"a file of at most {MOST_BYTES:,} bytes")
    manifest = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(manifest, dict):
        raise TypeError("an object")
    return manifest


def _check_named(path, folder, files):
    """No file is there that the manifest does not name, but hidden ones."""
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if not file.is_dir() and name not in files and not file.name.startswith("."):
            raise ValueError(
                f"A saved Pipeline holds the files that its {MANIFEST} names. Received: {str(path)!r}, with {name!r:.80} beside "
                "them. Remove it if you know it, or save again."
            )


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


def _unreadable(path, error):
    return ValueError(
        f"A saved Pipeline has a readable {MANIFEST}. Received: {str(path)!r}, without one ({type(error).__name__}). "
        "Give the folder that `pipe.save` wrote, or save again."
    )


def size_and_digest(file):
    """A file's size and digest, as a manifest tells them."""
    digest = hashlib.blake2b(digest_size=16)
    with open(file, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return {"bytes": file.stat().st_size, "blake2b": digest.hexdigest()}

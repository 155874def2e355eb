"""A folder of files that is replaced as one: a reader finds the old content or the new, whatever ends a writer.

The folder holds `pipeline.json` and a subfolder with the files it names. Saving writes a new subfolder, then replaces
`pipeline.json` in one step, then removes what that named before, and what killed saves left. Several processes may save at
once: each writes files of its own, and the last one's are in force.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil

from mmkeras.persistence.claims import NAME, TRIES, claimed, in_use, left_behind, put
from mmkeras.persistence.manifest import FORMAT, MANIFEST, parsed, read, size_and_digest
from mmkeras.persistence.writing import telling

PART = re.compile(f"files-{NAME}")  # a subfolder


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
    try:
        with telling(path, "folder"), claimed(lambda name: _fresh(path, f"files-{name}")) as (name, file):
            part = path / f"files-{name}"
            try:
                part.mkdir()
                yield part
                files = {
                    p.relative_to(part).as_posix(): size_and_digest(p) for p in sorted(part.rglob("*")) if p.is_file()
                }
                # Made last, so that the caller may add to the manifest while it writes files.
                json.dump({"format": FORMAT, "folder": part.name, "files": files, **manifest}, file, indent=1)
                before = _named(path)
                put(file, path / MANIFEST)
            except BaseException:
                if _named(path) != part.name:  # an interrupt may come when it is in force
                    shutil.rmtree(part, ignore_errors=True)
                raise
            _sweep(path, before)
    except BaseException:
        with contextlib.suppress(OSError):
            path.rmdir()  # only if it is empty, that is, if it was new
        raise


def reading(path, build):
    """`build(manifest, folder)` of a saved Pipeline; anew where a save replaced it meanwhile.

    Args:
        path: the model folder.
        build: function of what `read` gives, which keeps nothing when it fails.

    Raises:
        FileNotFoundError, ValueError: see `read`.
    """
    path = pathlib.Path(path).expanduser()
    for left in reversed(range(TRIES)):
        before = _named(path)
        with in_use(path / (before or MANIFEST)):
            try:
                return build(*read(path))
            except Exception:
                if not left or _named(path) == before:
                    raise


def _is_ours(path):
    """Whether the folder holds a saved Pipeline, or only what an interrupted save left behind."""
    names = [p.name for p in path.iterdir()]
    return MANIFEST in names or all(PART.fullmatch(name.removeprefix(f"{MANIFEST}.")) for name in names)


def _fresh(path, part):
    """The manifest of a subfolder that is not yet in force."""
    return path / f"{MANIFEST}.{part}"


def _named(path):
    """The subfolder that the manifest names; None where there is none of ours."""
    try:
        name = parsed(path)["folder"]
        return name if PART.fullmatch(name) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _sweep(path, before):
    """Delete the subfolder that was in force before, and what killed saves left; nothing that a living process holds."""
    names = {name.removeprefix(f"{MANIFEST}.") for name in os.listdir(path)}
    for name in filter(PART.fullmatch, names):
        with left_behind(_fresh(path, name), path / name) as free:
            # Whoever could put it in force is gone, but may have done so just now.
            if _named(path) not in (None, name) and (free or (free is None and name == before)):
                shutil.rmtree(path / name, ignore_errors=True)
                _fresh(path, name).unlink(missing_ok=True)

"""A folder of files that is replaced as one: an interrupted write leaves the earlier content in force.

The folder holds `pipeline.json` and a subfolder with the files it names. Saving writes a new subfolder, then replaces
`pipeline.json` in one step, then removes what is no longer named.
"""

import contextlib
import json
import os
import pathlib
import shutil
import uuid

from mmkeras.persistence.manifest import FORMAT, MANIFEST, size_and_digest
from mmkeras.persistence.writing import not_writable


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
        raise not_writable(error, path) from error
    try:
        yield part
        files = {p.relative_to(part).as_posix(): size_and_digest(p) for p in sorted(part.rglob("*")) if p.is_file()}
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


def _is_ours(path):
    """Whether the folder holds a saved Pipeline, or only what an interrupted save left behind."""
    return (path / MANIFEST).is_file() or all(p.name.startswith(("files-", MANIFEST)) for p in path.iterdir())

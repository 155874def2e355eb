"""Arrays by name in a folder, as one file of safetensors that is replaced as a whole, with a digest of what it holds."""

import contextlib
import errno
import hashlib
import pathlib
import stat

from mmkeras.persistence.claims import claimed, left_behind
from mmkeras.persistence.writing import telling

FILE = "index.safetensors"


def write_tensors(folder, arrays, about):
    """Write {name: array} to a folder, in place of those that were written there before.

    Args:
        folder: its path; new, empty, or of an earlier call.
        arrays: of numbers.
        about: {str: str}, kept beside them.

    Raises:
        OSError: the folder cannot be written.
        ValueError: it holds something else.
    """
    import safetensors.numpy

    folder = pathlib.Path(folder).expanduser()
    if folder.is_file() or (folder.is_dir() and any(not _is_ours(path) for path in folder.iterdir())):
        raise ValueError(
            "The folder must be new, empty, or hold a saved index, which is then replaced. "
            f"Received: {str(folder)!r}, which holds something else. Choose another folder."
        )
    try:
        with telling(folder, "folder"), claimed(lambda name: folder / f".{FILE}.{name}") as (_, lock):
            fresh = pathlib.Path(f"{lock.name}.new")
            try:
                try:
                    safetensors.numpy.save_file(arrays, fresh, {**about, "digest": _digest(arrays, about)})
                except safetensors.SafetensorError as error:  # a full disk, say
                    raise OSError(errno.EIO, str(error)) from error
                fresh.replace(folder / FILE)
            finally:
                fresh.unlink(missing_ok=True)
            _sweep(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            folder.rmdir()  # only if it is empty, that is, if it was new
        raise


def read_tensors(folder):
    """({name: array}, {str: str}) that `write_tensors` wrote.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no file of this kind, one that is damaged, or a link to another.
    """
    import safetensors

    folder = pathlib.Path(folder).expanduser()
    if not folder.exists():
        raise FileNotFoundError(f"There is no folder {str(folder)!r}. Give the folder that `index.save` wrote.")
    file = folder / FILE
    try:
        if not stat.S_ISREG(file.lstat().st_mode):
            raise unreadable(folder, f"whose {FILE} is no regular file")
        with safetensors.safe_open(file, "numpy") as stored:
            about = dict(stored.metadata() or {})
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 it is no dict
    except (OSError, safetensors.SafetensorError, AttributeError, TypeError) as error:
        raise unreadable(folder, f"whose {FILE} cannot be read ({type(error).__name__})") from error
    if about.pop("digest", None) != _digest(arrays, about):
        raise unreadable(folder, f"whose {FILE} is damaged: its digest differs")
    return arrays, about


def unreadable(folder, what):
    """A ValueError about a saved index, and what to do."""
    return ValueError(
        f"A saved index must be as `index.save` writes it. Received: {str(folder)!r}, {what}. Copy it or make it again; "
        "do not use it if you do not know where it comes from."
    )


def _is_ours(path):
    return path.name == FILE or path.name.startswith(f".{FILE}.")


def _sweep(folder):
    """Delete what killed calls left."""
    for lock in folder.glob(f".{FILE}.????????"):
        with left_behind(lock) as free:
            if free:
                lock.with_name(f"{lock.name}.new").unlink(missing_ok=True)
                lock.unlink(missing_ok=True)


def _digest(arrays, about):
    digest = hashlib.blake2b(repr(sorted(about.items())).encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.reshape(-1).view("uint8").data)
    return digest.hexdigest()

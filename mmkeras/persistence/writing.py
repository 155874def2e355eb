"""Files that are written beside their place and renamed."""

import contextlib
import errno
import os
import pathlib
import uuid

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)  # what a disk may say


def write_text(path, text):
    """Write a text file in UTF-8, see `write_bytes`."""
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path, data):
    """Write a file of bytes, see `writing`.

    Returns:
        pathlib.Path of the file.
    """
    with writing(path) as fresh, telling(path):
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
        with telling(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            fresh.touch()
        yield fresh
        with telling(path):
            os.replace(fresh, path)
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()


@contextlib.contextmanager
def telling(path, what="path"):
    """Errors of the system, with what to do; also where TensorFlow or HDF5 tells them as errors of its own kinds."""
    try:
        yield
    except OSError as error:
        raise not_writable(error, path, what) from error
    except Exception as error:
        number = next((number for number in _FULL if os.strerror(number) in str(error)), None)
        if number is None:
            raise
        raise not_writable(OSError(number, os.strerror(number)), path, what) from error


def write_changed(path, data):
    """Write a file, see `write_bytes`, unless it holds these bytes already.

    Returns:
        pathlib.Path of the file.
    """
    path = pathlib.Path(path).expanduser()
    if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
        return path
    return write_bytes(path, data)


def not_writable(error, path, what):
    """An error of the system with the rule and the fix."""
    message = f"The output folder must be writable; {error.strerror or error}. Choose another {what}"
    return OSError(error.errno, message, str(path))

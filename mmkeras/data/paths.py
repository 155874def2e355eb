"""Files of any place, looked at before they are opened."""

import contextlib
import os
import stat

import tensorflow as tf

from mmkeras.data.telling import shortened


class NoFile(Exception):
    """Why a cell names no file that can be read."""


def state_of(path):
    """(bytes, time of change in ns) of a regular file, which is not opened; a path with "://" is looked at as TensorFlow does.

    Raises:
        NoFile: nothing of this name, a folder, a device, a pipe, a socket, or a name that no file can have.
    """
    with _told():
        if "://" not in path:
            state = os.stat(path)
            if stat.S_ISDIR(state.st_mode):
                raise NoFile("a folder, not a file")
            if not stat.S_ISREG(state.st_mode):
                raise NoFile("a device, pipe or socket, not a file")
            return state.st_size, state.st_mtime_ns
        if tf.io.gfile.isdir(path):
            raise NoFile("a folder, not a file")
        state = tf.io.gfile.stat(path)
        return state.length, state.mtime_nsec


def read(path, most=-1):
    """The bytes of a file, or its first ones.

    Raises:
        NoFile: it cannot be read.
    """
    with _told():
        if "://" not in path:
            with open(path, "rb", buffering=0 if most > 0 else -1) as file:
                return file.read(most)
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(most)


@contextlib.contextmanager
def _told():
    """Errors of the system and of TensorFlow as `NoFile`."""
    try:
        yield
    except (FileNotFoundError, tf.errors.NotFoundError) as error:
        raise NoFile("there is no file of this name") from error
    except OSError as error:
        raise NoFile(f"it cannot be read ({error.strerror or 'the system refuses'})") from error
    except tf.errors.OpError as error:
        raise NoFile(f"it cannot be read ({shortened(error.message.splitlines()[0], 200, str)})") from error
    except ValueError as error:  # a zero byte, or half a surrogate
        raise NoFile("there is no file of this name, nor can there be") from error

"""What a living process writes or reads: locked files, which a killed process leaves unlocked.

Where there are no locks (Windows, some network file systems), nothing counts as left behind.
"""

import contextlib
import os
import pathlib
import stat
import uuid

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError:  # Windows
    LOCK_EX = LOCK_NB = LOCK_SH = flock = None

NAME = "[0-9a-f]{8}"  # the pattern of names that `claimed` gives
TRIES = 20


@contextlib.contextmanager
def claimed(place):
    """Yield (a new name, a new text file that stands for it, locked while it is open and deleted in the end).

    Args:
        place: function from a name to the path of its file; the folder is made if absent.

    Raises:
        OSError: the file cannot be made.
    """
    name, file = _begin(place)
    with file:
        try:
            yield name, file
        finally:
            if flock is None:
                file.close()
            pathlib.Path(file.name).unlink(missing_ok=True)


def _begin(place):
    """(name, open file) of a claim; once more where another process took the file or its folder away."""
    for left in reversed(range(TRIES)):
        name = uuid.uuid4().hex[:8]
        path = pathlib.Path(place(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "x", encoding="utf-8")  # noqa: SIM115 it is closed where the claim ends
        except FileNotFoundError:
            if not left:
                raise
            continue
        if flock is None:
            break
        with contextlib.suppress(OSError):
            flock(file, LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            break
        file.close()
    return name, file


def put(file, place):
    """Move the file of a claim, with all that was written to it, to a place where readers see it."""
    file.flush()
    os.fsync(file.fileno())
    if flock is None:  # an open file stays where it is
        file.close()
    os.replace(file.name, place)


@contextlib.contextmanager
def left_behind(*paths):
    """Yield whether no living process holds any of these files, or those in these folders; None where nobody can know.

    None can begin to hold them meanwhile.

    Args:
        *paths: of files and folders; those that are not there are held by nobody.
    """
    with contextlib.ExitStack() as stack:
        files = [file for path in paths for file in _files(path)]
        locked = [None] if flock is None else [_locked(file, stack, "r+b", LOCK_EX) for file in files]
        yield False if False in locked else None if None in locked else True


@contextlib.contextmanager
def in_use(folder):
    """Hold a folder that is read, by its first file, if that can be locked."""
    with contextlib.ExitStack() as stack:
        for file in _files(folder)[: flock is not None]:
            _locked(file, stack, "rb", LOCK_SH)
        yield


def _files(path):
    """The regular files at a path or in the folder there; links are not followed."""
    there = sorted(path.rglob("*")) if path.is_dir() and not path.is_symlink() else [path]
    return [file for file in there if os.path.lexists(file) and stat.S_ISREG(file.lstat().st_mode)]


def _locked(path, stack, mode, how):
    """Whether a file could be locked until the stack ends; None where nobody can know. One that is gone needs no lock."""
    try:
        flock(stack.enter_context(path.open(mode)), how | LOCK_NB)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True

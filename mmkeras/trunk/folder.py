"""The folder of a feature cache: what in it is ours, how it is marked, and what may be deleted."""

import contextlib
import errno
import mmap
import os
import pathlib
import re
import uuid

from mmkeras.trunk.pages import Damaged, Snapshot

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

DATA, LOCK, TOWERS = "data.mdb", "lock.mdb", "towers"
TOWER = b"tower:"  # keys of what fingerprints stand for begin so
MARK = "CACHEDIR.TAG"  # programs that make backups leave such folders out
_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Features that mmkeras has encoded. `mmkeras cache clear` deletes them, and nothing else.\n"
)
_LOCK_BYTES = 40960  # a row for each of some 500 readers
# What lies in the folder of converted towers: a folder for each, notes of those that were refused, parts of either.
_PLACE = re.compile(r"[0-9a-f]{32}-[\w.+-]+|part-[0-9a-f]{8}")
_NOTE = re.compile(r"[0-9a-f]{32}-[\w.+-]+\.refused\.json|part-[0-9a-f]{8}")
_INSIDE = ("tower.xml", "tower.bin", "digests.json")


def default_directory():
    """Where `mmkeras cache` looks: $MMKERAS_CACHE_DIR, else ~/.cache/mmkeras."""
    return pathlib.Path(os.environ.get("MMKERAS_CACHE_DIR", "~/.cache/mmkeras")).expanduser()


def is_cache(path):
    """Whether a folder holds a feature cache.

    Raises:
        OSError: it holds data of the same names that are not a cache's, or links.
    """
    there = [name for name in (DATA, LOCK, TOWERS) if os.path.lexists(path / name)]
    links = [name for name in there if (path / name).is_symlink()]
    if marked(path) and not links:
        return True
    if there and (links or not _left_by_early_versions(path)):
        raise OSError(
            f"The folder of a feature cache must hold nothing of the names {DATA}, {LOCK} and {TOWERS} that is a link or "
            f"another program's. Received: {str(path)!r}, with {', '.join(links or there)}. Give another `cache_dir`, "
            "or delete them yourself."
        )
    return bool(there)


def marked(path):
    """Whether a folder has the mark of a feature cache."""
    file = path / MARK
    try:
        return not file.is_symlink() and file.read_bytes()[: len(_TEXT)] == _TEXT.encode()
    except OSError:
        return False


def mark(path):
    """Make a folder one of a feature cache; one of an early version becomes so.

    Raises:
        OSError: it cannot be written, or holds what is not ours.
    """
    path.mkdir(parents=True, exist_ok=True)
    if marked(path) and is_cache(path):
        return
    is_cache(path)
    fresh = path / f"{MARK}.{uuid.uuid4().hex[:8]}"
    try:
        fresh.write_text(_TEXT, encoding="utf-8")
        os.link(fresh, path / MARK)  # whole, and only if there is none
    except FileExistsError:
        if not marked(path):
            raise OSError(f"{MARK} is there, and says that the folder is another program's cache") from None
    finally:
        fresh.unlink(missing_ok=True)


def _left_by_early_versions(path):
    """Whether all that lies there is a cache as versions without a mark left it, by its keys."""
    if any(not _is_known(entry) for entry in _listed(path / TOWERS)):
        return False
    try:
        if (path / DATA).stat().st_size == 0:
            return True
        keys = list(Snapshot(path / DATA).keys())
    except (OSError, Damaged):
        return False
    towers = {key[len(TOWER) :] for key in keys if key.startswith(TOWER) and len(key) == len(TOWER) + 16}
    rows = [key for key in keys if key[len(TOWER) :] not in towers or not key.startswith(TOWER)]
    return all(len(key) == 32 and key[:16] in towers for key in rows)


def size_of(path):
    """The bytes of all files of a cache."""
    files = [path / DATA, path / LOCK, *_known_files(path)]
    return sum(file.lstat().st_size for file in files if file.is_file())


def delete_towers(path):
    """Delete the converted towers and notes of a cache, and nothing else; links are left alone."""
    for file in _known_files(path):
        file.unlink(missing_ok=True)
    for entry in _listed(path / TOWERS):
        if entry.is_dir(follow_symlinks=False) and _PLACE.fullmatch(entry.name):
            with contextlib.suppress(OSError):  # something else lies in it
                os.rmdir(entry.path)
    with contextlib.suppress(OSError):
        os.rmdir(path / TOWERS)


@contextlib.contextmanager
def in_turn(path):
    """Only one process at a time opens or clears a cache: the lock file of LMDB is made meanwhile."""
    if fcntl is None:
        yield
        return
    with open(path / MARK, "rb") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def alone(path):
    """The open lock file, locked as LMDB does it, where no process has the store open; else None."""
    if fcntl is None:
        yield None
        return
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def make_room(path):
    """Give the lock file of LMDB its bytes on the disk, before the first process opens the store.

    LMDB maps that file, and a process that writes to a map for which the disk has no page dies.

    Raises:
        OSError: no space.
    """
    with alone(path) as descriptor:
        if descriptor is None:
            return
        if os.pwrite(descriptor, bytes(_LOCK_BYTES), 0) < _LOCK_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
        data = path / DATA
        if data.is_file() and data.stat().st_size < 2 * mmap.PAGESIZE:  # of a process that could not even begin
            os.truncate(data, 0)


def _listed(folder):
    """Entries of a folder; none of a link, or where there is none."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_known(entry):
    if entry.is_dir(follow_symlinks=False):
        inside = _listed(pathlib.Path(entry))
        return bool(_PLACE.fullmatch(entry.name)) and all(
            one.name in _INSIDE and one.is_file(follow_symlinks=False) for one in inside
        )
    return bool(_NOTE.fullmatch(entry.name)) and entry.is_file(follow_symlinks=False)


def _known_files(path):
    for entry in _listed(path / TOWERS):
        if entry.is_dir(follow_symlinks=False) and _PLACE.fullmatch(entry.name):
            inside = [one for one in _listed(pathlib.Path(entry)) if one.name in _INSIDE]
            yield from (pathlib.Path(one) for one in inside if one.is_file(follow_symlinks=False))
        elif entry.is_file(follow_symlinks=False) and _NOTE.fullmatch(entry.name):
            yield pathlib.Path(entry)

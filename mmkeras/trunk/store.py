"""The feature cache: what frozen towers made of each row, on disk, so that a row is encoded once.

A key is the fingerprint of the tower (its configuration, its weights, and the preparation before it) followed by a
digest of the row's raw values. Added rows, other splits, other heads and other processes find the same keys. The
store is LMDB: every write is a transaction, so a killed process or a full disk leaves the last complete state,
and several processes may use one folder at a time. A value ends with a checksum of it and its key.
"""

import contextlib
import errno
import json
import os
import pathlib
import shutil
import tempfile
import threading
import time
import warnings
import weakref

from mmkeras.trunk import folder
from mmkeras.trunk.packing import content, fits, pad, sealed, unpack, unsealed
from mmkeras.trunk.pages import Damaged, Snapshot
from mmkeras.trunk.parquet import ParquetStore, is_store

_FIRST_SIZE = 1 << 28  # bytes of address space; grows by doubling
_open_stores = {}
_lock = threading.Lock()


class CacheFolder:
    """The folder of a feature cache: the one given, $MMKERAS_CACHE_DIR, or a temporary one that lives as long as this object.

    Args:
        directory: path, or None.

    Attributes:
        path: str or pathlib.Path.
    """

    def __init__(self, directory=None):
        self.path = directory or os.environ.get("MMKERAS_CACHE_DIR")
        if self.path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="mmkeras-features-", ignore_cleanup_errors=True)
            self.path = self._temporary.name
            weakref.finalize(self, close_store, self.path)

    def open(self):
        """The `Store`, see `open_store`."""
        return open_store(self.path)


def open_store(directory):
    """The `Store` in a folder, or the `ParquetStore` that it holds; one object per folder and process, as LMDB demands.

    Raises:
        OSError: the folder cannot be made or written, holds what is not ours, or is damaged; the message says so.
    """
    path = pathlib.Path(directory).expanduser().resolve()
    with _lock:
        if path not in _open_stores:
            _open_stores[path] = ParquetStore(path) if is_store(path) else Store(path)
        return _open_stores[path]


def close_store(directory):
    """Close the store of a folder in this process, if it is open."""
    store = _open_stores.get(pathlib.Path(directory).expanduser().resolve())
    if store is not None:
        store.close()


class Store:
    """Rows of features in one folder. Use `open_store`."""

    def __init__(self, path):
        import lmdb

        self.path, self._lmdb, self._bad = path, lmdb, None  # keys of damaged rows, once there are some
        try:
            folder.mark(path)
            with folder.in_turn(path):
                folder.make_room(path)
                self._env = lmdb.open(str(path), map_size=_FIRST_SIZE, max_readers=512, readahead=False)
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError, lmdb.MemoryError) as error:
            raise _damaged(path, error) from error
        except (OSError, lmdb.Error) as error:
            raise OSError(
                getattr(error, "errno", None) or errno.EIO,
                f"The feature cache needs a folder it can write to. Received: {str(path)!r}, which failed with: {error}. "
                "Give another `cache_dir`",
            ) from error
        if path.stat().st_mode & 0o002:
            warnings.warn(
                f"The folder of a feature cache must be writable by you alone. Received: {str(path)!r}, whose features anyone "
                "on this machine may change. Run `chmod o-w` on it, or give another `cache_dir`.",
                stacklevel=2,
            )
        try:
            self._check()
        except BaseException:
            self._env.close()
            raise

    def _check(self):
        """Raise unless every page of the file is whole, before LMDB trusts one."""
        with self._telling():
            self._env.reader_check()  # processes that were killed
        doubts = 0
        while True:
            with self._reading() as transaction:  # while it lasts, nobody writes these pages again
                try:
                    Snapshot(self.path / folder.DATA, transaction.id())
                    return
                except LookupError:  # two others were written meanwhile
                    continue
                except (Damaged, OSError) as error:
                    doubts += 1
                    if doubts == 3:  # once, a first page may have been written as it was read
                        raise _damaged(self.path, error) from error

    def close(self):
        with _lock:
            _open_stores.pop(self.path, None)
        self._env.close()

    @contextlib.contextmanager
    def _telling(self):
        """Turn what LMDB complains of into an OSError that says what to do."""
        lmdb = self._lmdb
        try:
            yield
        except (
            lmdb.CorruptedError,
            lmdb.PageNotFoundError,
            lmdb.PanicError,
            lmdb.InvalidError,
            lmdb.PageFullError,
        ) as error:
            raise _damaged(self.path, error) from error
        except lmdb.ReadersFullError as error:
            raise OSError(
                errno.EAGAIN,
                "At most 500 processes and threads may read a feature cache at a time. "
                f"Received: one more ({error}). Wait for some of them, or give another `cache_dir`",
                str(self.path),
            ) from error
        except lmdb.Error as error:
            raise OSError(
                errno.ENOSPC,
                f"The feature cache could not be written or read ({error}). What was stored before is intact. "
                "Free some space, or give another `cache_dir`",
                str(self.path),
            ) from error

    @contextlib.contextmanager
    def _reading(self):
        with self._telling(), self._begin() as transaction:
            yield transaction

    def _begin(self):
        try:
            return self._env.begin(buffers=True)
        except self._lmdb.MapResizedError:  # another process has made the store larger
            self._env.set_mapsize(0)
        except self._lmdb.ReadersFullError:
            self._env.reader_check()
        return self._env.begin(buffers=True)

    def write(self, items):
        """Add (key, value) pairs of bytes, all of them or none.

        Raises:
            OSError: no space left, or the folder is gone; nothing of `items` was written then.
        """
        items = ((key, sealed(key, value)) for key, value in items)
        kept = []  # of what is written again when the map has grown
        with self._telling():
            while True:
                try:
                    with self._env.begin(write=True) as transaction:
                        for key, value in kept:
                            transaction.put(key, value)
                        for key, value in items:
                            kept.append((key, value))
                            transaction.put(key, value)
                    if self._bad:
                        self._bad -= {key for key, _ in kept}
                    return
                except self._lmdb.MapFullError:
                    self._grow()
                except self._lmdb.MapResizedError:
                    self._env.set_mapsize(0)

    def _grow(self):
        """Twice the address space; its file is then as large as it, so that more than the disk has means damage."""
        size = self._env.info()["map_size"]
        room = shutil.disk_usage(self.path)
        if size > 4 * room.total + _FIRST_SIZE:
            raise self._lmdb.MapFullError(f"{size} bytes are taken, on a disk of {room.total}")
        self._env.set_mapsize(size * 2)

    def missing(self, keys, layout=None):
        """Positions of the first of each key that is not stored, or that is damaged.

        Args:
            keys: list of bytes.
            layout: see `read`; rows of another length are damaged. None does not ask.
        """
        unseen = {key: position for position, key in reversed(list(enumerate(keys)))}
        found, bad = [], set()
        with self._reading() as transaction:
            for key, position in unseen.items():
                value = transaction.get(key)
                if value is not None:
                    value = unsealed(key, value)
                    if value is not None and (layout is None or fits(value, layout)):
                        continue
                    bad.add(key)
                found.append(position)
        if bad and self._bad is None:
            warnings.warn(
                f"Features in the cache {str(self.path)!r} must be as they were written. Received: {len(bad):,} damaged rows, "
                "which are encoded anew. `mmkeras cache clear` deletes the others too; see to the disk.",
                stacklevel=2,
            )
        if bad or self._bad:
            self._bad = (self._bad or set()) - set(unseen) | bad
        return sorted(found)

    def read(self, keys, layout, beside=None):
        """{tensor: array (rows, …)} of stored rows; sequences are padded with zeros to the longest.

        Args:
            keys: list of bytes, each stored or beside.
            beside: {key: packed row} of rows that are not stored.
            layout: {tensor: {"dtype", "shape"}} as returned by `layout_of`; None in a shape is the time axis.

        Raises:
            KeyError: a row was cleared meanwhile.
            OSError: a row has another length, or a wrong checksum; `missing` looks at those, once for all epochs.
        """
        columns = {name: [] for name in layout}
        with self._reading() as transaction:
            for key in keys:
                fresh = beside.get(key) if beside else None
                value = transaction.get(key) if fresh is None else fresh
                if value is None:
                    raise KeyError(
                        f"The row is no longer in the feature cache {str(self.path)!r}; it was cleared meanwhile. Fit again."
                    )
                if fresh is None:
                    value = b"" if self._bad and key in self._bad else content(value)
                if not fits(value, layout):
                    raise OSError(
                        f"A row in the feature cache {str(self.path)!r} must be as it was written. Received: other bytes. "
                        "Call again: it is then encoded anew."
                    )
                for name, array in unpack(value, layout):
                    columns[name].append(array)
        return {name: pad(arrays) for name, arrays in columns.items()}

    def describe(self, fingerprint, text, layout=None, engine=""):
        """Record once what a fingerprint stands for, for `info`; rows are packed, so that their layout is not kept."""
        key = folder.TOWER + fingerprint
        with self._reading() as transaction:
            known = transaction.get(key) is not None
        if not known:
            self.write([(key, json.dumps({"tower": text, "created": time.strftime("%Y-%m-%d %H:%M")}).encode())])

    def info(self):
        """A list of {"tower", "created", "rows", "bytes"} of the towers whose features are stored."""
        towers, rows, prefix = {}, {}, len(folder.TOWER)
        with self._reading() as transaction:
            for key, value in transaction.cursor():
                if bytes(key[:prefix]) == folder.TOWER:
                    towers[bytes(key[prefix:])] = _description(unsealed(key, value))
                else:
                    count, size = rows.get(bytes(key[:16]), (0, 0))
                    rows[bytes(key[:16])] = (count + 1, size + len(value))
        return [
            {
                **towers.get(print_, _description(None)),
                "rows": rows.get(print_, (0, 0))[0],
                "bytes": rows.get(print_, (0, 0))[1],
            }
            for print_ in {**towers, **rows}
        ]

    def empty(self):
        """Delete all rows in one transaction: other processes go on, and find them missing."""
        with self._telling(), self._env.begin(write=True) as transaction:
            transaction.drop(self._env.open_db(), delete=False)


def clear(directory):
    """Delete what a feature cache holds, and nothing else in its folder. Returns the bytes freed; 0 if there is no cache.

    Where others have it open, their rows go all the same, and the file keeps its size for the next ones.

    Raises:
        OSError: the folder is not one of a feature cache, or cannot be written.
    """
    path = pathlib.Path(directory).expanduser().resolve()
    if not folder.is_cache(path):
        return 0
    folder.mark(path)
    with _lock:
        before, store = folder.size_of(path), _open_stores.get(path)
        folder.delete_towers(path)
        if store is not None:
            store.empty()
        elif not _renew(path):  # others have it open
            store = Store(path)
            try:
                store.empty()
            finally:
                store._env.close()
    return max(0, before - folder.size_of(path))


def _renew(path):
    """Begin the file of a store anew, if no process has it open. Returns whether."""
    with folder.in_turn(path), folder.alone(path) as descriptor:
        if descriptor is None:
            return False
        with open(path / folder.DATA, "wb"):
            return True


def _damaged(path, error):
    return OSError(
        errno.EIO,
        f"The file of the feature cache must be as it was written. Received: one that is damaged, or in use by a process that "
        f"was broken off ({error}). Run `mmkeras cache clear --cache-dir {path}`, or give another `cache_dir`",
        str(path),
    )


def _description(value):
    """What is recorded of a tower."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        facts = json.loads(bytes(value))
        return {"tower": str(facts["tower"]), "created": str(facts["created"])}
    return {"tower": "unknown", "created": ""}

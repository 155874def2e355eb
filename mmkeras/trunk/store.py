"""The feature cache: what frozen towers made of each row, on disk, so that a row is encoded once.

A key is the fingerprint of the tower (its configuration, its weights, and the preparation before it) followed by a
digest of the row's raw values. Added rows, other splits, other heads and other processes find the same keys. The
store is LMDB: every write is a transaction, so a killed process or a full disk leaves the last complete state,
and several processes may use one folder at a time.
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
import weakref

import keras
import numpy as np
import tensorflow as tf

TOWERS = "towers"  # the folder of towers that were converted for another engine
_TOWER = b"tower:"
_FIRST_SIZE = 1 << 28  # bytes of address space; grows by doubling
_open_stores = {}
_lock = threading.Lock()


def default_directory():
    """Where `mmkeras cache` looks: $MMKERAS_CACHE_DIR, else ~/.cache/mmkeras."""
    return pathlib.Path(os.environ.get("MMKERAS_CACHE_DIR", "~/.cache/mmkeras")).expanduser()


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
    """The `Store` in a folder; one object per folder and process, as LMDB demands.

    Raises:
        OSError: the folder cannot be made or written; the message says so.
    """
    path = pathlib.Path(directory).expanduser().resolve()
    with _lock:
        if path not in _open_stores:
            _open_stores[path] = Store(path)
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

        self.path = path
        self._lmdb = lmdb
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._env = lmdb.open(str(path), map_size=_FIRST_SIZE, max_readers=512, readahead=False)
        except (OSError, lmdb.Error) as error:
            raise OSError(
                f"The feature cache needs a folder it can write to. Received: {str(path)!r}, which failed with: {error}. "
                "Give another `cache_dir`."
            ) from error

    def close(self):
        with _lock:
            _open_stores.pop(self.path, None)
        self._env.close()

    @contextlib.contextmanager
    def _reading(self):
        try:
            transaction = self._env.begin(buffers=True)
        except self._lmdb.MapResizedError:  # another process has made the store larger
            self._env.set_mapsize(0)
            transaction = self._env.begin(buffers=True)
        with transaction:
            yield transaction

    def write(self, items):
        """Add (key, value) pairs of bytes, all of them or none.

        Raises:
            OSError: no space left, or the folder is gone; nothing of `items` was written then.
        """
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in items:
                        transaction.put(key, value)
                return
            except self._lmdb.MapFullError:
                self._env.set_mapsize(self._env.info()["map_size"] * 2)
            except self._lmdb.MapResizedError:
                self._env.set_mapsize(0)
            except self._lmdb.Error as error:
                raise OSError(
                    errno.ENOSPC,
                    f"The feature cache could not be written ({error}). What was stored before is intact. "
                    "Free some space, or give another `cache_dir`",
                    str(self.path),
                ) from error

    def missing(self, keys):
        """Positions of the first of each key that is not stored."""
        unseen = {key: position for position, key in reversed(list(enumerate(keys)))}
        with self._reading() as transaction:
            return sorted(position for key, position in unseen.items() if transaction.get(key) is None)

    def read(self, keys, layout, beside=None):
        """{tensor: array (rows, …)} of stored rows; sequences are padded with zeros to the longest.

        Args:
            keys: list of bytes, each stored or beside.
            beside: {key: packed row} of rows that are not stored.
            layout: {tensor: {"dtype", "shape"}} as returned by `layout_of`; None in a shape is the time axis.
        """
        columns = {name: [] for name in layout}
        with self._reading() as transaction:
            for key in keys:
                value = beside[key] if beside and key in beside else transaction.get(key)
                if value is None:
                    raise KeyError(
                        f"The row is no longer in the feature cache {str(self.path)!r}; it was cleared meanwhile. Fit again."
                    )
                for name, array in _unpack(value, layout):
                    columns[name].append(array)
        return {name: _pad(arrays) for name, arrays in columns.items()}

    def describe(self, fingerprint, text):
        """Record once what a fingerprint stands for, for `info`."""
        key = _TOWER + fingerprint
        with self._reading() as transaction:
            known = transaction.get(key) is not None
        if not known:
            self.write([(key, json.dumps({"tower": text, "created": time.strftime("%Y-%m-%d %H:%M")}).encode())])

    def info(self):
        """A list of {"tower", "created", "rows", "bytes"} of the towers whose features are stored."""
        towers, rows = {}, {}
        with self._reading() as transaction:
            for key, value in transaction.cursor():
                if bytes(key[: len(_TOWER)]) == _TOWER:
                    towers[bytes(key[len(_TOWER) :])] = json.loads(bytes(value))
                else:
                    count, size = rows.get(bytes(key[:16]), (0, 0))
                    rows[bytes(key[:16])] = (count + 1, size + len(value))
        unknown = {"tower": "unknown", "created": ""}
        return [
            {
                **towers.get(print_, unknown),
                "rows": rows.get(print_, (0, 0))[0],
                "bytes": rows.get(print_, (0, 0))[1],
            }
            for print_ in {**towers, **rows}
        ]


def clear(directory):
    """Delete the cache files in a folder. Returns the bytes freed; 0 if there is no cache."""
    close_store(directory)
    path = pathlib.Path(directory).expanduser().resolve()
    files = [path / "data.mdb", path / "lock.mdb", *(path / TOWERS).rglob("*")]
    freed = 0
    for file in [file for file in files if file.is_file()]:
        freed += file.stat().st_size
        file.unlink()
    shutil.rmtree(path / TOWERS, ignore_errors=True)
    return freed


def layout_of(tower):
    """{tensor: {"dtype", "shape"}} of a tower's outputs, one row each, in a fixed order."""
    return {
        key: {"dtype": keras.backend.standardize_dtype(tensor.dtype), "shape": list(tensor.shape[1:])}
        for key, tensor in sorted(tower.output.items())
    }


def row_bytes(layout):
    """The bytes of one row; infinite where rows differ in length."""
    shapes = [spec["shape"] for spec in layout.values()]
    if any(None in shape for shape in shapes):
        return float("inf")
    sizes = [np.dtype(tf.as_dtype(spec["dtype"]).as_numpy_dtype).itemsize for spec in layout.values()]
    return sum(int(np.prod(shape)) * size for shape, size in zip(shapes, sizes, strict=True))


def pack(row, layout, length):
    """The bytes of one row: for each tensor in the layout's order its values, sequences cut to their length."""
    parts = []
    for name, spec in layout.items():
        value = row[name]
        if None in spec["shape"]:
            value = value[:length]
            parts.append(len(value).to_bytes(4, "little"))
        parts.append(np.ascontiguousarray(value).tobytes())
    return b"".join(parts)


def _unpack(data, layout):
    position = 0
    for name, spec in layout.items():
        shape = list(spec["shape"])
        if None in shape:
            shape[shape.index(None)] = int.from_bytes(data[position : position + 4], "little")
            position += 4
        dtype = tf.as_dtype(spec["dtype"]).as_numpy_dtype
        count = int(np.prod(shape, dtype=np.int64))
        yield name, np.frombuffer(data, dtype, count, position).reshape(shape).copy()
        position += count * np.dtype(dtype).itemsize


def _pad(arrays):
    longest = max((len(a) for a in arrays if a.ndim > 1), default=None)
    if longest is None or all(len(a) == longest for a in arrays):
        return np.stack(arrays)
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for target, array in zip(padded, arrays, strict=True):
        target[: len(array)] = array
    return padded

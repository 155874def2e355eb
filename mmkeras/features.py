"""The feature cache: what frozen towers made of each row, on disk, so that a row is encoded once.

A key is the fingerprint of the tower (its configuration, its weights, and the preparation before it) followed by a
digest of the row's raw values. Added rows, other splits, other heads and other processes find the same keys. The
store is LMDB: every write is a transaction, so a killed process or a full disk leaves the last complete state,
and several processes may use one folder at a time.
"""

import collections
import contextlib
import errno
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import tempfile
import threading
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from mmkeras import engines
from mmkeras.datasets import batches
from mmkeras.graph import compiled, submodel

_TOWER = b"tower:"
WINDOW = 1024  # rows that are tokenised together, before they are sorted by length
MOST_ROWS = 64  # of short texts that a tower takes at a time
_FIRST_SIZE = 1 << 28  # bytes of address space; grows by doubling
_open_stores = {}
_lock = threading.Lock()


def default_directory():
    """Where `mmkeras cache` looks: $MMKERAS_CACHE_DIR, else ~/.cache/mmkeras."""
    return pathlib.Path(os.environ.get("MMKERAS_CACHE_DIR", "~/.cache/mmkeras")).expanduser()


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

    def read(self, keys, layout):
        """{tensor: array (rows, …)} of stored rows; sequences are padded with zeros to the longest.

        Args:
            keys: list of bytes, each stored.
            layout: {tensor: {"dtype", "shape"}} as returned by `layout_of`; None in a shape is the time axis.
        """
        columns = {name: [] for name in layout}
        with self._reading() as transaction:
            for key in keys:
                value = transaction.get(key)
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
    files = [path / "data.mdb", path / "lock.mdb", *(path / engines.TOWERS).rglob("*")]
    freed = 0
    for file in [file for file in files if file.is_file()]:
        freed += file.stat().st_size
        file.unlink()
    shutil.rmtree(path / engines.TOWERS, ignore_errors=True)
    return freed


def fingerprint(prepare, tower):
    """16 bytes that change when the graph, the settings, the weights or the vocabulary behind features change.

    Names of layers and of the modality do not count: they differ between processes and Pipelines.
    """
    digest = hashlib.blake2b(digest_size=16)
    for model in (prepare, tower):
        _digest_graph(digest, model)
        for layer in model._flatten_layers(include_self=False):
            if hasattr(layer, "save_assets") and hasattr(layer, "load_assets"):
                with tempfile.TemporaryDirectory() as folder:
                    layer.save_assets(folder)
                    for file in sorted(pathlib.Path(folder).rglob("*")):
                        digest.update(file.read_bytes() if file.is_file() else b"")
        for weight in model.weights:
            digest.update(f"{weight.shape}{weight.dtype}".encode())
            digest.update(np.ascontiguousarray(weight.numpy()).view(np.uint8).data)
    return digest.digest()


def _digest_graph(digest, model, keep=False):
    """Feed every operation with its settings and what it reads, numbered by the way from the outputs."""
    known = {id(tensor): f"input {key}" for key, tensor in _by_key(model.input, keep)}
    nodes = {}

    def label(value):
        if not isinstance(value, keras.KerasTensor):
            return repr(value)
        if id(value) not in known:
            operation, node_index, _ = value._keras_history
            node = operation._inbound_nodes[node_index]
            reads = keras.tree.map_structure(label, [node.arguments.args, node.arguments.kwargs])
            config = operation.get_config() if isinstance(operation, keras.layers.Layer) else {}
            if isinstance(operation, keras.Model):
                _digest_graph(digest, operation, keep=True)
                config = {}
            number = nodes.setdefault((id(operation), node_index), len(nodes))
            text = json.dumps(_nameless(config), sort_keys=True, default=repr)
            digest.update(f"{number} {type(operation).__name__} {text} {reads};".encode())
            known.update({id(tensor): f"{number}.{i}" for i, tensor in enumerate(node.output_tensors)})
        return known[id(value)]

    for key, tensor in _by_key(model.output, keep):
        digest.update(f"{key}={label(tensor)};".encode())


def _by_key(tensors, keep):
    """(key, tensor) in a fixed order; without `keep`, names of modalities and columns are taken off the keys."""
    if not isinstance(tensors, dict):
        return list(enumerate(keras.tree.flatten(tensors)))
    return [(key if keep else key.partition(".")[2], tensors[key]) for key in sorted(tensors)]


def _nameless(config):
    if isinstance(config, dict):
        dropped = ("name", "shared_object_id", "registered_name", "trainable", "build_config")
        return {key: _nameless(value) for key, value in config.items() if key not in dropped}
    return [_nameless(value) for value in config] if isinstance(config, list | tuple) else config


def layout_of(tower):
    """{tensor: {"dtype", "shape"}} of a tower's outputs, one row each, in a fixed order."""
    return {
        key: {"dtype": keras.backend.standardize_dtype(tensor.dtype), "shape": list(tensor.shape[1:])}
        for key, tensor in sorted(tower.output.items())
    }


def encode_rows(
    store, prepare, tower, columns, row_keys, *, describe="", engine="tensorflow", batch_size=None, verbose=1
):
    """Make sure that the tower's features of all rows are stored, encoding each missing distinct row once.

    Args:
        store: a `Store`.
        prepare: keras.Model from raw columns to the tower's inputs.
        tower: keras.Model, see `stages.cut_frozen`.
        columns: {column: array} of raw values.
        row_keys: list of 16-byte digests of the rows, see `Modality.row_keys`.
        describe: str, what `mmkeras cache info` shows for this tower.
        engine: one of `engines.ENGINES`, or an engine.
        batch_size: int, most rows of a pass; None leaves it to the engine.
        verbose: 0 for silence, else a progress bar in rows.

    Returns:
        list of bytes, the key of each row in the store.

    Raises:
        EngineError: an engine that was named cannot run the tower; "auto" warns and takes TensorFlow.
    """
    own = fingerprint(prepare, tower)
    for one in engines.candidates(engine):
        key = one.key(own)
        keys = [key + row for row in row_keys]
        todo = store.missing(keys)
        if not todo:
            return keys
        size = None if _masks(prepare) else min(batch_size or one.rows, len(todo))
        windows = _windows(prepare, {name: values[todo] for name, values in columns.items()}, size)
        first = next(windows)
        try:
            run = one.open(tower, key, store.path / engines.TOWERS, size, *_some(first))
            break
        except engines.EngineError as error:
            if engine != "auto":
                raise
            warnings.warn(f"{error} TensorFlow encodes in float32 instead.", stacklevel=2)
    if verbose:
        print(f"Encoding {len(todo):,} rows with {describe} by {one}: {one.why}")
    store.describe(key, describe if key == own else f"{describe} by {one}")
    parts = _parts(itertools.chain([first], windows), batch_size, one.tokens)
    _write_features(store, run, parts, layout_of(tower), [keys[row] for row in todo], verbose)
    return keys


def _write_features(store, run, parts, layout, keys, verbose):
    """Run a tower over parts of the rows, and write what it gives for each row under its key."""
    bar = keras.utils.Progbar(len(keys), unit_name="row", verbose=min(verbose, 1), stateful_metrics=["rows/s"])
    sent, done, pending, start = collections.deque(), 0, [], time.monotonic()
    last = start

    def tensors():
        for rows, lengths, part in parts:
            sent.append((rows, lengths))
            yield part

    for outputs in run(tensors()):
        rows, lengths = sent.popleft()
        for position, row in enumerate(rows):
            length = None if lengths is None else int(lengths[position])
            pending.append((keys[row], _pack({k: v[position] for k, v in outputs.items()}, layout, length)))
        done += len(rows)
        now = time.monotonic()
        if now - last > 1.0 or done == len(keys):  # what a killed process loses: a second's work
            store.write(pending)
            pending, last = [], now
        bar.update(done, [("rows/s", done / max(now - start, 1e-9))])


def _windows(prepare, columns, batch_size):
    """(row numbers, lengths or None, tensors) of rows in their order, made ready while earlier ones are encoded.

    Rows of tokens come in windows of many batches, for `_parts` to sort and cut; other rows in batches.
    """
    masks = _masks(prepare)
    dataset, order = batches(columns, batch_size=batch_size or WINDOW, prepare=prepare)
    done = 0
    for (tensors,) in dataset:
        count = len(next(iter(tensors.values())))
        lengths = np.max([tf.reduce_sum(tensors[key], axis=1).numpy() for key in masks], axis=0) if masks else None
        yield order[done : done + count], lengths, tensors
        done += count


def _parts(windows, most_rows, most_tokens):
    """(row numbers, lengths or None, tensors) of rows of nearly the same length, padded to the longest of them.

    The long ones come first: memory is then taken once, and the cores finish together.
    """
    for rows, lengths, tensors in windows:
        if lengths is None:
            yield rows, lengths, tensors
            continue
        arrays = {name: value.numpy() for name, value in tensors.items()}
        for part in plan_parts(lengths, most_rows or MOST_ROWS, most_tokens):
            longest, width = lengths[part[0]], lengths.max()
            cut = {
                name: v[part, :longest] if v.ndim > 1 and v.shape[1] == width else v[part] for name, v in arrays.items()
            }
            yield rows[part], lengths[part], cut


def plan_parts(lengths, most_rows, most_tokens, padding=0.05):
    """Positions of the rows of each part, the longest first; at most the share `padding` of a part is padding.

    Args:
        lengths: (rows,) ints.
        most_rows, most_tokens: ints, limits of a part. One row may be longer.
        padding: float.
    """
    order = np.argsort(-lengths, kind="stable")
    start, tokens = 0, 0
    for position, row in enumerate(order):
        size = (position + 1 - start) * lengths[order[start]]  # of the part with this row
        full = position - start >= most_rows or size > most_tokens or size - tokens - lengths[row] > padding * size
        if full and position > start:
            yield order[start:position]
            start, tokens = position, 0
        tokens += lengths[row]
    yield order[start:]


def _some(window, most=8):
    """(tensors of a few rows of a window, from all of it; their lengths or None)."""
    rows, lengths, tensors = window
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))
    some = {name: tf.gather(value, chosen) for name, value in tensors.items()}
    return some, None if lengths is None else lengths[chosen]


def _masks(prepare):
    return [key for key in prepare.output if key.endswith(".padding_mask")]


def token_lengths(prepare, columns, chunk=1024):
    """The longest tokenised length of each row over all token sequences, or None when there are none."""
    masks = _masks(prepare)
    if not masks:
        return None
    rows = len(next(iter(columns.values())))
    tokens = submodel(prepare.input, {key: prepare.output[key] for key in masks})
    run = compiled(tokens)
    found = []
    for start in range(0, rows, chunk):
        tensors = run({name: columns[name][start : start + chunk] for name in tokens.input})
        found.append(np.max([tf.reduce_sum(tensors[key], axis=1).numpy() for key in masks], axis=0))
    return np.concatenate(found)


def _pack(row, layout, length):
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

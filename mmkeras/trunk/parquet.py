"""Features in Parquet: for each tower a folder of files that any reader of Parquet opens, under the keys of the cache.

    folder/<first 16 bytes of the keys, in hex>/part-….parquet

B = rows of a file. Its columns are `key` (B, 32 bytes) and, for each tensor, its numbers in a flat list: of a fixed size, unless
rows differ in length. The schema's metadata hold what the tower is. Files are written beside their place and renamed, never changed.
"""

import collections
import errno
import json
import math
import pathlib
import threading
import time
import uuid

import numpy as np
import tensorflow as tf

from mmkeras.persistence.writing import write_bytes, writing
from mmkeras.trunk.packing import pad, unpack

MARK, SCHEMA, ABOUT = "mmkeras-features.json", "_common_metadata", b"mmkeras"
GROUP = 4096  # rows of a row group
RECENT = 16  # row groups that stay in memory
PREFIX = 16  # bytes of a key that stand for a tower


def pyarrow():
    """The library.

    Raises:
        ImportError: it is not there.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "Features in Parquet need the package pyarrow. Received: a Python without it. Run `pip install 'mmkeras[parquet]'`."
        ) from error
    return pyarrow


def is_store(path):
    """Whether a folder holds features in Parquet."""
    return (pathlib.Path(path) / MARK).is_file()


class ParquetStore:
    """Rows of features in a folder; it is made if absent.

    Args:
        path: the folder.

    Raises:
        ImportError: pyarrow is not there.
        OSError: the folder cannot be written.
        ValueError: it holds something else.

    Example:
        >>> import tempfile
        >>> layout = {"text": {"dtype": "float32", "shape": [2]}}
        >>> store, key = ParquetStore(tempfile.mkdtemp()), bytes(32)
        >>> store.describe(key[:16], "a tower", layout)
        >>> store.write([(key, np.array([1, 2], "float32").tobytes())])
        >>> store.read([key], layout)["text"].tolist()
        [[1.0, 2.0]]
    """

    def __init__(self, path):
        self._arrow, self.path = pyarrow(), pathlib.Path(path).expanduser().resolve()
        self._lock, self._indices, self._recent = threading.RLock(), {}, collections.OrderedDict()
        if not is_store(self.path):
            if self.path.is_dir() and any(self.path.iterdir()):
                raise ValueError(
                    f"Features need a folder that is empty, or holds features in Parquet. Received: {str(self.path)!r}. Give another."
                )
            write_bytes(self.path / MARK, b'{"format": 1}\n')

    def close(self):
        """Forget what was read."""
        self._indices.clear()
        self._recent.clear()

    # --- the four of the contract

    def describe(self, prefix, text, layout, engine=""):
        """Record once what the first 16 bytes of keys stand for.

        Args:
            prefix: bytes. text: str, of a tower. layout: see `packing.layout_of`. engine: str, what runs the tower.
        """
        place = self._folder(prefix) / SCHEMA
        if place.is_file():
            return
        plain = {_column(name): spec for name, spec in layout.items()}
        precision = "/".join(sorted({spec["dtype"] for spec in layout.values()}))
        created = time.strftime("%Y-%m-%d %H:%M")
        about = {"tower": text, "engine": engine, "precision": precision, "created": created, "layout": plain}
        schema = _schema(self._arrow, layout).with_metadata({ABOUT: json.dumps(about)})
        with writing(place) as fresh:
            self._arrow.parquet.write_metadata(schema, fresh)

    def missing(self, keys, layout=None):
        """Positions of the first of each key that is not stored.

        Args:
            keys: list of bytes. layout: not asked for, as all rows of a file have one.
        """
        unseen = {key: position for position, key in reversed(list(enumerate(keys)))}
        stored = self._find(list(unseen))[0] >= 0
        return sorted(position for position, there in zip(unseen.values(), stored, strict=True) if not there)

    def write(self, items):
        """Add (key, packed row) pairs, all those of a tower or none, as a file; those that are stored are left out.

        Raises:
            OSError: no space left; nothing was written then.
        """
        towers, items = {}, dict(items)
        keys = list(items)
        for place in self.missing(keys):
            towers.setdefault(keys[place][:PREFIX], []).append(keys[place])
        for prefix, own in towers.items():
            schema = self.schema(prefix)
            layout = json.loads(schema.metadata[ABOUT])["layout"]
            table = _table(self._arrow, schema, own, [items[key] for key in own], layout=layout)
            place = self._folder(prefix) / f"part-{uuid.uuid4().hex}.parquet"
            with writing(place) as fresh:
                self._arrow.parquet.write_table(
                    table,
                    fresh,
                    row_group_size=GROUP,
                    compression="zstd",
                    use_dictionary=False,
                    write_page_checksum=True,
                )

    def read(self, keys, layout, beside=None):
        """{tensor: array (rows, …)} of stored rows; sequences are padded with zeros to the longest.

        Args:
            keys: list of bytes, each stored or beside. layout: see `packing.layout_of`.
            beside: {key: packed row} of rows that are not stored.

        Raises:
            KeyError: a row is not there. OSError: a file is damaged.
        """
        keys, beside = list(keys), beside or {}
        files, rows = self._find([bytes(key) for key in keys])
        gathered = {name: [None] * len(keys) for name in layout}
        groups = collections.defaultdict(list)
        for position, key in enumerate(keys):
            if key in beside:
                for name, value in unpack(beside[key], layout):
                    gathered[name][position] = value
            elif files[position] < 0:
                raise KeyError(f"The row is no longer among the features in {str(self.path)!r}. Encode, or fit, again.")
            else:
                groups[key[:PREFIX], files[position], rows[position] // GROUP].append(position)
        for (prefix, file, group), positions in sorted(groups.items()):
            _, values = self.read_group(self._indices[prefix].paths[file], int(group), layout)
            for name, array in values.items():
                for position in positions:
                    gathered[name][position] = array[rows[position] % GROUP]
        return {name: pad(arrays) for name, arrays in gathered.items()}

    # --- as a whole

    def towers(self):
        """{first 16 bytes of keys: {"tower", "created", "precision", "layout", …}} of all that is stored."""
        places = sorted(self.path.glob(f"*/{SCHEMA}"))
        prefixes = [bytes.fromhex(place.parent.name) for place in places]
        return {prefix: json.loads(self.schema(prefix).metadata[ABOUT]) for prefix in prefixes}

    def schema(self, prefix):
        """pyarrow.Schema of a tower's files."""
        return self._arrow.parquet.read_schema(self._folder(prefix) / SCHEMA)

    def files(self, prefix):
        """Paths of a tower's files."""
        return sorted(self._folder(prefix).glob("part-*.parquet"))

    def count(self, prefix):
        """How many rows of a tower are stored."""
        return sum(self._arrow.parquet.read_metadata(path).num_rows for path in self.files(prefix))

    def row_groups(self, prefix):
        """(path, number) of each row group of a tower."""
        for path in self.files(prefix):
            for number in range(self._arrow.parquet.read_metadata(path).num_row_groups):
                yield path, number

    def read_group(self, path, number, layout):
        """((rows,) array "S32" of keys, {tensor: (rows, …) array, or list of arrays of their own length}) of a row group.

        Raises:
            OSError: the file is damaged.
        """
        with self._lock:
            if (path, number) not in self._recent:
                with self._arrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
                    try:
                        table = file.read_row_group(number)
                    except (OSError, self._arrow.ArrowException) as error:
                        raise OSError(
                            errno.EIO,
                            f"A file of features must be as it was written. Received: {str(path)!r}: {error}. Delete that "
                            "file, and encode again: its rows alone are encoded anew",
                        ) from error
                self._recent[path, number] = table
                while len(self._recent) > RECENT:
                    self._recent.popitem(last=False)
            self._recent.move_to_end((path, number))
            table = self._recent[path, number]
        values = {name: _rows(table.column(_column(name)), spec) for name, spec in layout.items()}
        return _keys(table.column("key")), values

    # --- where a key is

    def _folder(self, prefix):
        return self.path / prefix.hex()

    def _find(self, keys):
        """((keys,) numbers of files, −1 where a key is not stored; (keys,) rows in those files)."""
        files, rows = np.full(len(keys), -1), np.zeros(len(keys), int)
        for prefix in {key[:PREFIX] for key in keys}:
            own = np.array([place for place, key in enumerate(keys) if key[:PREFIX] == prefix])
            with self._lock:
                index = self._indices.setdefault(prefix, _Index())
                index.refresh(self.files(prefix), self._arrow)
                files[own], rows[own] = index.find(np.array([keys[place] for place in own], "S32"))
        return files, rows


class _Index:
    """Where the keys of a tower are, 44 bytes for each: sorted runs, which are joined as they grow, so that a new file costs little."""

    def __init__(self):
        self.paths, self._runs = [], []  # of (keys "S32", files int32, rows int64)

    def refresh(self, paths, arrow):
        """Look at new files; at all of them where one is gone."""
        if not set(self.paths) <= set(paths):
            self.__init__()
        fresh = sorted(set(paths) - set(self.paths))
        if not fresh:
            return
        parts = [
            _keys(arrow.parquet.read_table(path, columns=["key"], partitioning=None).column("key")) for path in fresh
        ]
        numbers = [np.full(len(part), len(self.paths) + place, "int32") for place, part in enumerate(parts)]
        self.paths = self.paths + fresh
        rows = [np.arange(len(part)) for part in parts]
        self._runs.append(_by_key(map(np.concatenate, (parts, numbers, rows))))
        while len(self._runs) > 1 and len(self._runs[-2][0]) <= 2 * len(self._runs[-1][0]):
            last, before = self._runs.pop(), self._runs.pop()
            self._runs.append(_by_key(map(np.concatenate, zip(before, last, strict=True))))

    def find(self, keys):
        """((keys,) numbers of files or −1, (keys,) rows)."""
        files, rows = np.full(len(keys), -1), np.zeros(len(keys), int)
        for own, numbers, places in self._runs:
            if len(own):
                at = np.minimum(np.searchsorted(own, keys), len(own) - 1)
                new = (own[at] == keys) & (files < 0)
                files, rows = np.where(new, numbers[at], files), np.where(new, places[at], rows)
        return files, rows


def _by_key(run):
    keys, files, rows = run
    order = np.argsort(keys, kind="stable")
    return keys[order], files[order], rows[order]


def _column(tensor):
    """The name of a tensor's column: it does not tell the modality's name, which fingerprints leave out, too."""
    ending = tensor.partition(".")[2]
    return tensor if tensor.partition(".")[0] == "features" else f"features.{ending}" if ending else "features"


def _stored_dtype(spec):
    """NumPy dtype of a tensor's numbers in a file; Arrow has no bfloat16."""
    return np.dtype("float32" if spec["dtype"] == "bfloat16" else spec["dtype"])


def _schema(arrow, layout):
    fields = [arrow.field("key", arrow.binary(32))]
    for name, spec in layout.items():
        size = () if None in spec["shape"] else (math.prod(spec["shape"]),)
        fields.append(arrow.field(_column(name), arrow.list_(arrow.from_numpy_dtype(_stored_dtype(spec)), *size)))
    return arrow.schema(fields)


def _table(arrow, schema, keys, packed, *, layout):
    """pyarrow.Table of packed rows."""
    columns = {name: [] for name in layout}
    for row in packed:
        for name, value in unpack(row, layout):
            columns[name].append(value.ravel())
    arrays = [arrow.array(keys, schema.field("key").type)]
    for name, values in columns.items():
        flat = arrow.array(np.concatenate(values).astype(_stored_dtype(layout[name]), copy=False))
        if None in layout[name]["shape"]:
            ends = np.cumsum([0, *map(len, values)]).astype("int32")
            arrays.append(arrow.ListArray.from_arrays(arrow.array(ends), flat))
        else:
            arrays.append(arrow.FixedSizeListArray.from_arrays(flat, len(values[0])))
    return arrow.Table.from_arrays(arrays, schema=schema)


def _keys(column):
    """(rows,) array "S32"; all keys have 32 bytes, so that zeros at the end do no harm."""
    return np.array(column.to_pylist(), "S32")


def _rows(column, spec):
    """(rows, …) array of a column, or a list of arrays where rows differ in length."""
    column = column.combine_chunks()
    dtype = tf.as_dtype(spec["dtype"]).as_numpy_dtype
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(dtype, copy=False)
    if None not in spec["shape"]:
        return flat.reshape(len(column), *spec["shape"])
    shape = [-1 if size is None else size for size in spec["shape"]]
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False))[:-1]
    return [part.reshape(shape) for part in np.split(flat, ends)]

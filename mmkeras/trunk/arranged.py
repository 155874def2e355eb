"""Rows on disk as models read them: what is prepared of each, what frozen towers gave and the answers, side by side.

They are arranged once, in the order of the rows; epochs read groups of neighbours in an order that is drawn anew. A tensor is a file of plain
numbers, row after row; where rows differ in length, a second file says where each ends.
"""

import itertools
import math
import pathlib

import numpy as np
import tensorflow as tf

from mmkeras.data.batches import watched
from mmkeras.data.ragged import Ragged

GROUP = 1024  # neighbours that are read together
HELD = 64  # groups whose rows are mixed
WINDOW = 1 << 26  # bytes of them, at most
AT_ONCE = 1024  # rows that are predicted together
JOINED = 1 << 23  # rows whose features are looked for together; each takes 40 bytes meanwhile
ANSWERS = ":answers"  # among the tensors; names of those of models begin with a letter


class Arranged:
    """Rows in a folder; stands in the place of a `Reading`.

    Args:
        folder: an empty one.

    Attributes:
        rows: int, how many there are.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> rows = Arranged(tempfile.mkdtemp())
        >>> rows.add({"x": np.array([[1.0], [2.0], [3.0]]), ANSWERS: np.array([0, 1, 0])})
        >>> rows.read(["x"], 1, 2)["x"].tolist(), len(rows)
        ([[2.0], [3.0]], 3)
    """

    files = varies = False

    def __init__(self, folder):
        self._folder, self.rows, self._tensors = pathlib.Path(folder), 0, {}

    def __len__(self):
        return self.rows

    def _tensor(self, key, make):
        if key not in self._tensors:
            self._tensors[key] = make(self._folder / f"{len(self._tensors)}.bin")
        return self._tensors[key]

    # --- writing

    def add(self, values):
        """More rows: {key: (b, …) array or `Ragged`}, of the same keys each time."""
        for key, rows in values.items():
            kind = _Fixed if isinstance(rows, np.ndarray) else _Varying
            self._tensor(key, lambda path, kind=kind, rows=rows: kind.like(path, rows)).add(rows)
        self.rows += len(next(iter(values.values())))

    def take_out(self, key):
        """Delete a tensor."""
        self._tensors.pop(key).path.unlink()

    def join(self, store, prefix, layout, keys):
        """Add the features of a tower to each row.

        Args:
            store: `ParquetStore`. prefix: 16 bytes, of its keys that stand for the tower.
            layout: see `packing.layout_of`.
            keys: the tensor (rows, 16) of uint8, the rest of each row's key.

        Returns:
            int, rows whose features are not there.
        """
        for name, spec in layout.items():
            dtype = tf.as_dtype(spec["dtype"]).as_numpy_dtype
            self._tensor(name, lambda path, dtype=dtype, spec=spec: _Fixed(path, dtype, spec["shape"]))
        missing = 0
        for start in range(0, self.rows, JOINED):
            wanted = _Wanted(self.read([keys], start, JOINED)[keys])
            for path, number in store.row_groups(prefix):
                there, values = store.read_group(path, number, layout)
                places, sources = wanted.find(there)
                for name in layout if len(places) else ():
                    self._tensors[name].put(start + places, values[name][sources])
            missing += wanted.missing
        return missing

    # --- reading

    def read(self, keys, start, count):
        """{key: (count, …) array or `Ragged`} of neighbours; fewer at the end."""
        count = min(count, self.rows - start)
        return {key: self._tensors[key].read(start, count) for key in keys}

    def serves(self, keys):
        """Whether it gives all of `keys`."""
        return set(keys) <= set(self._tensors)

    def answers(self):
        """The answers to all rows."""
        return self.read([ANSWERS], 0, self.rows)[ANSWERS]

    def at_once(self, keys, again=False):
        """{key: tensor} of all rows."""
        return {key: values[:] for key, values in self.read(keys, 0, self.rows).items()}

    def batches(self, order, keys, make=None):
        """Batches as `Reading.batches` gives them: to train and to be validated on, a tf.data.Dataset; to predict, in turn.

        Args:
            order: `data.batches.Order`; its target only says whether answers are wanted, which are those that were arranged.
            keys: of what a model takes.
        """
        if order.target is None:
            return self._pass(list(keys), max(AT_ONCE, order.batch_size))
        every, epochs = [*keys, ANSWERS], itertools.count()

        def epoch():
            if order.seed is None:
                parts = (tensors for _, tensors in self._pass(every, order.batch_size))
            else:
                parts = self._mixed(every, order.batch_size, np.random.default_rng([order.seed, next(epochs)]))
            for tensors in parts:
                yield {key: tensors[key] for key in keys}, dict.fromkeys(order.outputs, tensors[ANSWERS])

        specs = {key: self._tensors[key].spec for key in every}
        signature = ({key: specs[key] for key in keys}, dict.fromkeys(order.outputs, specs[ANSWERS]))
        dataset = tf.data.Dataset.from_generator(lambda: watched(epoch()), output_signature=signature)
        steps = math.ceil(self.rows / order.batch_size)
        return dataset.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(tf.data.AUTOTUNE)

    def _pass(self, keys, batch):
        """(row numbers, {key: array}) of batches in the order of the rows."""
        for start in range(0, self.rows, batch):
            values = self.read(keys, start, batch)
            yield np.arange(start, min(start + batch, self.rows)), {key: part[:] for key, part in values.items()}

    def _mixed(self, keys, batch, rng):
        """{key: array} of batches of an epoch: of some groups that `rng` draws, the rows are mixed; then of the next."""
        group, held = self._pace(keys)
        starts, rest = rng.permutation(np.arange(0, self.rows, group)), []
        for place in range(0, len(starts), held):
            parts = [*rest, *(self.read(keys, start, group) for start in starts[place : place + held])]
            window = {key: _joined([part[key] for part in parts]) for key in keys}
            order = rng.permutation(len(window[ANSWERS]))
            whole = len(order) if place + held >= len(starts) else len(order) - len(order) % batch
            for first in range(0, whole, batch):
                yield {key: values[order[first : first + batch]] for key, values in window.items()}
            rest = [{key: _taken(values, order[whole:]) for key, values in window.items()}]

    def _pace(self, keys):
        """(rows of a group, groups that are held)."""
        row = sum(self._tensors[key].bytes / self.rows for key in keys)
        group = int(min(GROUP, max(1, WINDOW / row / HELD)))
        return group, HELD


class _Fixed:
    """A tensor whose rows have one shape."""

    def __init__(self, path, dtype, shape):
        self.path, self.dtype, self.shape = path, np.dtype(dtype), tuple(shape)
        self.row = self.dtype.itemsize * math.prod(self.shape)
        path.touch()

    @classmethod
    def like(cls, path, rows):
        return cls(path, rows.dtype, rows.shape[1:])

    bytes = property(lambda self: self.path.stat().st_size)
    spec = property(lambda self: tf.TensorSpec([None, *self.shape], self.dtype))

    def add(self, rows):
        with open(self.path, "ab") as file:
            file.write(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")

    def put(self, places, rows):
        """Write rows at some places; neighbours together."""
        order = np.argsort(places, kind="stable")
        places, rows = places[order], np.ascontiguousarray(rows[order])
        cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        with open(self.path, "r+b") as file:
            for first, last in itertools.pairwise(cuts):
                file.seek(int(places[first]) * self.row)
                file.write(rows[first:last].tobytes())

    def read(self, start, count):
        values = np.fromfile(self.path, self.dtype, count * math.prod(self.shape), offset=start * self.row)
        return values.reshape(count, *self.shape)


class _Varying:
    """A tensor whose rows differ in length."""

    def __init__(self, path, dtype, shape):
        self.path, self._ends, self._padding = path, _Fixed(path.with_suffix(".ends"), "int64", ()), 0
        self._values, self._last = _Fixed(path, dtype, shape), 0

    @classmethod
    def like(cls, path, rows):
        return cls(path, rows.values.dtype, rows.values.shape[1:])

    bytes = property(lambda self: self._values.bytes)
    spec = property(lambda self: tf.TensorSpec([None, None, *self._values.shape], self._values.dtype))

    def add(self, rows):
        ends = self._last + np.cumsum(rows.lengths, dtype="int64")
        if len(set(rows.lengths)) > 1:  # only then does it know the padding
            self._padding = rows.padding
        self._values.add(rows.values)
        self._ends.add(ends)
        self._last = int(ends[-1])

    def read(self, start, count):
        ends = self._ends.read(max(0, start - 1), count + (start > 0))
        ends = ends if start else np.append(0, ends)
        return Ragged(self._values.read(int(ends[0]), int(ends[-1] - ends[0])), np.diff(ends), self._padding)


class _Wanted:
    """Rows whose features are looked for, by their keys (rows, 16) of uint8."""

    def __init__(self, keys):
        self._keys = np.ascontiguousarray(keys).view("u8")
        self._order = np.argsort(self._keys[:, 0], kind="stable")
        self._sorted = self._keys[self._order, 0]
        self._missing = np.ones(len(keys), bool)

    missing = property(lambda self: int(self._missing.sum()))

    def find(self, keys):
        """(rows that have one of some keys, the number of that key); keys are an array "S32" whose last half counts."""
        halves = keys.view("u8").reshape(-1, 4)[:, 2:]
        first, last = (np.searchsorted(self._sorted, halves[:, 0], side) for side in ("left", "right"))
        sources = np.repeat(np.arange(len(keys)), last - first)
        steps = np.arange(len(sources)) - np.repeat(np.cumsum(last - first) - (last - first), last - first)
        places = self._order[np.repeat(first, last - first) + steps]
        same = self._keys[places, 1] == halves[sources, 1]
        self._missing[places[same]] = False
        return places[same], sources[same]


def _joined(parts):
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else Ragged.joined(parts)


def _taken(values, rows):
    return values[rows] if isinstance(values, np.ndarray) else values.take(rows)

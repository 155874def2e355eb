"""The rows of a DataFrame as models read them: what is prepared of them, and what frozen towers gave."""

import functools

import numpy as np

from mmkeras.data.batches import batches
from mmkeras.data.files import Files
from mmkeras.data.ragged import Ragged
from mmkeras.trunk.packing import row_bytes
from mmkeras.trunk.prepared import longest_rows

IN_MEMORY = 1 << 26  # bytes of features that are read, and columns that are prepared, once and not in each epoch


class Stored:
    """Features of some rows that a frozen tower gave.

    Args:
        layout: see `packing.layout_of`.
        store: `Store` that has them.
        encode: function that encodes what is missing, and gives `keys` and `fresh` anew.
        keys: (rows,) array of keys in the store; or `Ragged`, where each row has features of several parts.
        fresh: {key: packed features} of those that are not kept.
    """

    def __init__(self, layout, store, encode, *, keys, fresh):
        self.layout, self._store, self._encode, self.keys, self._fresh = layout, store, encode, keys, fresh
        self.varies = not isinstance(keys, np.ndarray)

    @property
    def nbytes(self):
        """Bytes of all rows; infinite where they differ in length."""
        return row_bytes(self.layout) * len(self.keys.values if self.varies else self.keys)

    def read(self, rows):
        """{key: (rows, …) array, or `Ragged`} of some rows."""
        try:
            return self._read(rows)
        except KeyError:  # another process has cleared the cache
            self.keys, others = self._encode(verbose=0)
            self._fresh.update(others)
            return self._read(rows)

    def _read(self, rows):
        if not self.varies:
            return self._store.read(self.keys[rows], self.layout, self._fresh)
        keys = self.keys.take(rows)
        features = self._store.read(keys.values, self.layout, self._fresh)
        return {name: Ragged(values, keys.lengths) for name, values in features.items()}


class Reading:
    """What was read of some rows for one model; it serves others that need no more.

    Args:
        part: `PreparePart`, what is prepared for each row.
        raw: {column: array} of the raw values that it needs.
        stored: list of `Stored`, the rows' features of each frozen tower.

    Attributes:
        keys: of all that it gives.
        varies: bool, whether rows have features of different numbers of parts.
        files: bool, whether rows are read from files.
    """

    def __init__(self, part, raw, stored):
        self.part, self.raw, self._stored = part, raw, stored
        self.keys = frozenset(part.output).union(*(own.layout for own in stored))
        self.varies = any(own.varies for own in stored)
        self.files = any(isinstance(values, Files) for values in raw.values())

    def __len__(self):
        return len(next(iter(self.raw.values())))

    def fetch(self, rows, keys=None):
        """{key: array} of the features of some rows, from the cache; of those of `keys`, unless they are None."""
        return {key: np.asarray(values) for key, values in self._fetch(rows, keys).items()}

    def _fetch(self, rows, keys=None):
        wanted = [own for own in self._stored if keys is None or set(own.layout) & set(keys)]
        return {key: values for own in wanted for key, values in own.read(rows).items()}

    @functools.cached_property
    def prepared(self):
        """{key: array or `Ragged`} of all rows, or None where that is too large, or read from files."""
        return None if self.files else self.part.in_memory(self.raw, IN_MEMORY)

    @functools.cached_property
    def features(self):
        """{key: array or `Ragged`} of all rows, or None where that is too large."""
        return self._fetch(slice(None)) if sum(own.nbytes for own in self._stored) <= IN_MEMORY else None

    def serves(self, keys):
        """Whether it gives all of `keys`, and does not prepare more than them each time."""
        return set(keys) <= self.keys and (self.prepared is not None or set(self.part.output) <= set(keys))

    def at_once(self, keys, again=False):
        """{key: tensor} of all rows; `again` keeps them in memory for the next time."""
        if not again or self.prepared is None:
            return {**self.fetch(slice(None), keys), **self.part.run(self.raw)}
        features = self._fetch(slice(None), keys) if self.features is None else self.features
        return {
            **{key: values[:] for key, values in features.items()},
            **{key: values[:] for key, values in self.prepared.items() if key in keys},
        }

    def batches(self, order, keys, make=batches):
        """Batches of what a model takes, see `data.batches.batches`.

        Args:
            order: `data.batches.Order`; lengths are found here.
            keys: of what it takes.
            make: `batches` or `stream`.
        """
        fetch = functools.partial(self.fetch, keys=keys)
        if self.prepared is None:
            order.lengths = self.part.token_lengths(self.raw)
            return make(self.raw, order, prepare=self.part.run, fetch=fetch)
        columns = {key: values for key, values in self.prepared.items() if key in keys}
        order.lengths = longest_rows(columns)
        if self.features is None:
            return make(columns, order, fetch=fetch)
        return make({**{key: value for key, value in self.features.items() if key in keys}, **columns}, order)


class Readings:
    """Readings of some DataFrames, each made once for all models that need the same or less.

    Args:
        dfs: the DataFrames.
        reader: `Attached`, whose reading serves models that need less; None reads as is asked for first.
    """

    def __init__(self, dfs=(), reader=None):
        self._dfs, self._reader, self._kept = dfs, reader, []

    @classmethod
    def of(cls, known):
        """With readings that are there already: [(DataFrame, reading), …]."""
        readings = cls([df for df, _ in known])
        readings._kept = list(known)
        return readings

    def find(self, df, attached, read):
        """The `Reading` of a DataFrame for an `Attached`; None for other DataFrames.

        Args:
            df: DataFrame.
            attached: `Attached`.
            read: function of an `Attached` to its `Reading` of `df`.
        """
        if not any(df is own for own in self._dfs):
            return None
        keys = set(attached.model.input)
        wide = self._reader is not None and keys <= set(self._reader.model.input)
        for reader in ([self._reader] if wide else []) + [attached]:
            for own, reading in self._kept:
                if own is df and reading.serves(keys):
                    return reading
            self._kept.append((df, read(reader)))
        return self._kept[-1][1]

    def stop(self):
        """Give and keep nothing from now on."""
        self._dfs, self._reader, self._kept = (), None, []

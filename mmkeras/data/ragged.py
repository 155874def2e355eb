"""Sequences of rows that differ in length, without the padding between them."""

import numpy as np


class Ragged:
    """Rows of different length in memory; those that are taken out are padded to the longest of them.

    Args:
        values: (N, …) array, all rows one after another.
        lengths: (rows,) ints that add up to N.
        padding: value, or (…) array, behind the end of a row.

    Attributes:
        shape: (rows, None, …), as of a tensor.

    Example:
        >>> import numpy as np
        >>> from mmkeras.data.ragged import Ragged
        >>> rows = Ragged(np.array([5, 6, 7, 8]), np.array([3, 1]), padding=0)
        >>> rows[np.array([1, 0])].tolist(), rows[np.array([1])].tolist()
        ([[8, 0, 0], [5, 6, 7]], [[8]])
    """

    def __init__(self, values, lengths, padding=0):
        self.values, self.lengths, self.padding = values, lengths, padding
        self.shape = (len(lengths), None, *values.shape[1:])
        self._starts = np.cumsum(lengths) - lengths

    @classmethod
    def of(cls, padded, lengths):
        """From rows that are padded, (rows, T, …), and their lengths."""
        real = np.arange(padded.shape[1]) < lengths[:, None]
        padding = padded[~real][0] if not real.all() else np.zeros(padded.shape[2:], padded.dtype)
        return cls(padded[real], lengths, padding)

    @classmethod
    def joined(cls, parts):
        """Parts one after another."""
        values, lengths = (np.concatenate([getattr(part, of) for part in parts]) for of in ("values", "lengths"))
        padded = (part for part in parts if len(set(part.lengths)) > 1)  # they have met the padding
        return cls(values, lengths, next(padded, parts[0]).padding)

    @property
    def dtype(self):
        """Of the values."""
        return self.values.dtype

    @property
    def nbytes(self):
        """Bytes of the values."""
        return self.values.nbytes

    def __len__(self):
        return len(self.lengths)

    def __iter__(self):
        return iter(self.rows()[: len(self)])

    def __getitem__(self, rows):
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0))
        real = steps < lengths[:, None]
        padded = np.empty((*real.shape, *self.values.shape[1:]), self.values.dtype)
        padded[:] = self.padding
        padded[real] = self.take(rows).values
        return padded

    def __array__(self, dtype=None, copy=None):
        return self[:]

    def take(self, rows):
        """The same of some rows."""
        lengths = self.lengths[rows]
        starts = self._starts[rows] - np.cumsum(lengths) + lengths
        places = np.repeat(starts, lengths) + np.arange(lengths.sum())
        return Ragged(self.values[places], lengths, self.padding)

    def rows(self):
        """The values of each row, a list of arrays."""
        return np.split(self.values, np.cumsum(self.lengths)[:-1])


def lengths_of(tensors):
    """(rows,) ints: how far the longest of some padded sequences is not all 0.

    Args:
        tensors: list of (rows, T, …) arrays of one T.
    """
    used = np.any([(tensor != 0).any(tuple(range(2, tensor.ndim))) for tensor in tensors], axis=0)
    return np.max(used * np.arange(1, used.shape[1] + 1), axis=1, initial=0)

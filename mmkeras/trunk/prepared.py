"""What the first stage gives: as a graph, and in memory for the rows of many epochs."""

import functools

import numpy as np

from mmkeras.data.ragged import Ragged, lengths_of
from mmkeras.graph import compiled, consumers, submodel
from mmkeras.layers import Present
from mmkeras.modalities.base import PADDING
from mmkeras.trunk.encoding import masks_of, token_lengths

CHUNK = 1024  # rows that are prepared together


def longest_rows(tensors):
    """(rows,) how long the longest sequence of tokens of each row is, of {key: array or `Ragged`}; None without tokens."""
    masks = [values for key, values in tensors.items() if key.endswith(PADDING)]
    lengths = [lengths_of([mask]) if (own := getattr(mask, "lengths", None)) is None else own for mask in masks]
    return np.max(lengths, axis=0) if lengths else None


def _marks(tensor):
    """Whether nothing asks for more of a raw value than whether it is there."""
    return all(isinstance(operation, Present) for operation in consumers(tensor))


class Piece:
    """Some of what `prepare` gives of one modality; its graphs are traced once for all parts that have it.

    Args:
        prepare: keras.Model, the first stage.
        keys: which of its outputs.

    Attributes:
        model: keras.Model from the raw values that they need.
    """

    def __init__(self, prepare, keys):
        outputs = {key: tensor for key, tensor in prepare.output.items() if key in keys}
        self.model = submodel(prepare.input, outputs, name="prepare_rest")

    @functools.cached_property
    def run(self):
        """The model as one graph."""
        return compiled(self.model)

    @functools.cached_property
    def masks(self):
        """See `encoding.masks_of`."""
        return masks_of(self.model)


class PreparePart:
    """Some of what `prepare` gives.

    Args:
        pieces: list of `Piece`, one of each modality.

    Attributes:
        input: {column: KerasTensor} of the raw values that they need.
        output: {key: KerasTensor} of what they give.
        marked: set of the columns of which it matters only whether there is something.
    """

    def __init__(self, pieces):
        self._pieces, self.input, self.output, read = pieces, {}, {}, set()
        for piece in pieces:
            self.input.update(piece.model.input)
            self.output.update(piece.model.output)
            read |= {column for column, tensor in piece.model.input.items() if not _marks(tensor)}
        self.marked = set(self.input) - read

    @functools.cached_property
    def run(self):
        """The part as one function of {column: (rows,) values} to {key: tensor}; see `graph.compiled`."""
        graphs = [piece.run for piece in self._pieces]

        def run(raw):
            return {key: tensor for graph in graphs for key, tensor in graph(raw).items()}

        run.input, run.output = self.input, self.output
        return run

    def token_lengths(self, raw):
        """(rows,) the longest sequence of tokens of each row, None without tokens."""
        lengths = [token_lengths(piece.masks, raw) for piece in self._pieces if piece.masks is not None]
        return np.max(lengths, axis=0) if lengths else None

    def rows(self, raw):
        """{key: array or `Ragged`} of some rows, from {column: array} of raw values."""
        return self._without_padding({key: tensor.numpy() for key, tensor in self.run(raw).items()})

    def in_memory(self, raw, most):
        """{key: array or `Ragged`} of all rows, or None if they are large.

        Args:
            raw: {column: array} of raw values.
            most: int, bytes that they may have together.
        """
        rows, chunks, size = len(next(iter(raw.values()))), [], 0
        for start in range(0, rows, CHUNK):
            chunks.append(self.rows({name: values[start : start + CHUNK] for name, values in raw.items()}))
            size += sum(part.nbytes for part in chunks[-1].values())
            if size * rows > most * min(rows, start + CHUNK):
                return None
        return {
            key: (Ragged.joined if key in self._varying else np.concatenate)([chunk[key] for chunk in chunks])
            for key in chunks[0]
        }

    @functools.cached_property
    def _varying(self):
        """{key of a tensor whose rows differ in length: keys that tell how long a row is}."""
        varying = [key for key, tensor in self.output.items() if None in tensor.shape[1:2]]
        told = {}
        for key in varying:
            own = [other for other in varying if other.partition(".")[0] == key.partition(".")[0]]
            told[key] = [other for other in own if other.endswith(PADDING)] or own
        return told

    def _without_padding(self, tensors):
        cut = {
            key: Ragged.of(tensors[key], lengths_of([tensors[k] for k in told])) for key, told in self._varying.items()
        }
        return {**tensors, **cut}

"""An index of unit vectors: what is nearest to a query, with ids that are the user's.

N = vectors, D = numbers of a vector, Q = queries.
"""

import dataclasses
import json

import numpy as np

from mmkeras.data.telling import shortened
from mmkeras.evaluation.cosines import pair_cosines, top
from mmkeras.inference.cells import Cells, faiss
from mmkeras.inference.index_checks import check_k, checked_ids, unit_vectors
from mmkeras.persistence.tensors import read_tensors, unreadable, write_tensors

FORMAT = "mmkeras index 1"


@dataclasses.dataclass(frozen=True)
class Held:
    """What an index holds; it is replaced as a whole.

    Attributes:
        vectors: (N, D) float32. ids: (N,) int64, or objects that are str. numbers: (N,) int64 that increase, by which `cells`
        know the vectors. homes: (N,) int64, the cell of each; None of an exact index.
    """

    vectors: np.ndarray
    ids: np.ndarray
    numbers: np.ndarray
    homes: np.ndarray | None = None
    cells: Cells | None = None


class Index:
    """Vectors of length 1 with ids, to be found by their cosine with others.

    Args:
        vectors: (N, D) numbers, each row of length 1; kept as float32.
        ids: N ints or N strings, each once; None numbers them from 0.
        exact: bool. True compares a query with every vector. False looks only into the parts of space near it, by faiss
            (`pip install "mmkeras[index]"`): for hundreds of thousands of vectors and more; `recall` tells what it misses.

    Attributes:
        ids: (N,) array, in the order of the vectors. width: D. exact: as given.
        model: str that stands for the Pipeline that made the vectors, see `index_items`; None for vectors of your own.

    `len(index)` is N. A call that fails leaves the index as it was.

    Raises:
        ValueError: vectors of another length than 1 or not finite, ids that repeat or do not fit.
        TypeError: ids that are neither ints nor strings.
        ImportError: exact=False without faiss.

    Example:
        >>> import mmkeras as mm
        >>> index = mm.Index([[1.0, 0.0], [0.6, 0.8]], ids=["east", "north-east"])
        >>> ids, scores = index.search([[0.0, 1.0]], k=1)
        >>> ids.tolist(), scores.round(1).tolist()
        ([['north-east']], [[0.800000011920929]])
    """

    def __init__(self, vectors, ids=None, *, exact=True):
        vectors = np.array(unit_vectors(vectors))  # its own, whatever becomes of the user's
        ids = checked_ids(range(len(vectors)) if ids is None else ids, len(vectors))
        self.exact, self.model, self._next = bool(exact), None, len(vectors)
        if not exact:
            faiss()
        self._held = self._in_cells(Held(vectors, ids, np.arange(len(vectors))))

    def __len__(self):
        return len(self._held.vectors)

    def __repr__(self):
        return f"<Index of {len(self):,} vectors of {self.width}, {'exact' if self.exact else 'approximate'}>"

    ids = property(lambda self: self._held.ids.copy())
    width = property(lambda self: self._held.vectors.shape[1])

    def search(self, vectors, k=10):
        """The nearest vectors of each query.

        A query finds the same alone as among others. Memory does not grow with N and Q but for what is given back.

        Args:
            vectors: (Q, D), each row of length 1.
            k: int, how many; at most N.

        Returns:
            ((Q, k) ids, (Q, k) float32 cosines), best first; equal ones in the order in which they were added.

        Raises:
            ValueError: vectors of another width or length, or not finite; k below 1 or above N.
        """
        held = self._held
        numbers, scores = _nearest(held, unit_vectors(vectors, self.width), check_k(k, len(held.vectors)))
        return held.ids[numbers], scores

    def recall(self, vectors, k=10):
        """The share of the exact top k that a search finds, the mean of queries; 1 of an exact index.

        What is as near as the last of the exact top k counts as well.

        Args:
            vectors: (Q, D) queries, such as those of your users; at least one.
            k: int, at most N.

        Returns:
            float between 0 and 1.

        Raises:
            ValueError: as `search`; no query.
        """
        held = self._held
        queries, k = unit_vectors(vectors, self.width), check_k(k, len(held.vectors))
        if not len(queries):
            raise ValueError("`recall` needs at least one query. Received: none. Give rows such as users ask for.")
        _, best = top(queries, held.vectors, k)
        _, scores = _nearest(held, queries, k)
        return float((scores >= best[:, -1:]).mean())

    def add(self, vectors, ids):
        """Add vectors behind the others.

        Args:
            vectors: (M, D), each row of length 1.
            ids: M of the kind that the index holds, ints or strings; none of them there yet.

        Raises:
            TypeError, ValueError: as when an index is made; ids that are there already, or of the other kind.
        """
        held, vectors = self._held, unit_vectors(vectors, self.width)
        ids = checked_ids(ids, len(vectors), held.ids)
        if not len(ids):
            return
        numbers = np.arange(self._next, self._next + len(vectors))
        self._next += len(vectors)  # whatever fails below, its numbers come no second time
        every = np.concatenate([held.ids, ids]) if len(held.ids) else ids
        joined = Held(np.concatenate([held.vectors, vectors]), every, np.concatenate([held.numbers, numbers]))
        if held.cells is None or held.cells.outgrown(len(every)):
            self._held = self._in_cells(joined)
            return
        homes = held.cells.homes(vectors)
        joined = dataclasses.replace(joined, homes=np.concatenate([held.homes, homes]), cells=held.cells)
        held.cells.add(vectors, numbers, homes)
        self._held = joined

    def remove(self, ids):
        """Remove vectors.

        Args:
            ids: list of ids that are there, each once.

        Raises:
            KeyError: an id that is not there.
            TypeError, ValueError: ids that are neither ints nor strings, or repeat.
        """
        import pandas as pd

        held, ids = self._held, checked_ids(ids)
        places = pd.Index(held.ids, dtype=held.ids.dtype).get_indexer(pd.Index(ids, dtype=ids.dtype))
        if (places < 0).any():
            raise KeyError(
                f"`remove` takes ids that the index holds. Received: {shortened(ids[places < 0].tolist()[0])}, which is not among its "
                f"{len(held.ids):,}. Look at `index.ids`."
            )
        keep = np.ones(len(held.ids), bool)
        keep[places] = False
        homes = None if held.homes is None else held.homes[keep]
        self._held = Held(held.vectors[keep], held.ids[keep], held.numbers[keep], homes, held.cells)
        if held.cells is not None:
            held.cells.remove(held.numbers[~keep])

    def save(self, folder):
        """Write everything to a folder, in place of an index that was saved there before; an interrupted save changes nothing.

        Args:
            folder: new, empty, or of an earlier save.

        Raises:
            OSError: it cannot be written.
            ValueError: it holds something else.
        """
        held = self._held
        arrays = {"vectors": held.vectors}
        if held.ids.dtype == object:
            arrays["texts"] = np.frombuffer(json.dumps(held.ids.tolist()).encode(), "uint8")
        else:
            arrays["ids"] = held.ids
        about = {"format": FORMAT, "exact": json.dumps(self.exact), "model": json.dumps(self.model)}
        if held.cells is not None:
            arrays |= {"homes": held.homes, "centres": held.cells.centres}
            about["learnt"] = json.dumps(held.cells.learnt)
        write_tensors(folder, arrays, about)

    def _in_cells(self, held):
        """With cells, learnt anew, where the index is approximate; there are none of no vectors."""
        if self.exact or not len(held.vectors):
            return held
        cells = Cells.learn(held.vectors)
        return _filled(held, cells, cells.homes(held.vectors))

    @classmethod
    def _of(cls, arrays, about):
        """What `save` wrote, checked.

        Raises:
            KeyError, TypeError, ValueError: it is not as `save` writes it.
        """
        exact, model = json.loads(about["exact"]), json.loads(about["model"])
        ids = json.loads(arrays["texts"].tobytes()) if "texts" in arrays else arrays["ids"]
        if not isinstance(exact, bool) or not isinstance(model, str | None):
            raise TypeError("exact is a bool, and model a str")
        index = cls(arrays["vectors"], ids)
        index.exact, index.model = exact, model
        if exact or not len(index):
            return index
        centres, learnt = unit_vectors(arrays["centres"], index.width), json.loads(about["learnt"])
        homes = arrays["homes"]
        known = (
            homes.dtype == "int64" and homes.shape == (len(index),) and 0 <= homes.min() <= homes.max() < len(centres)
        )
        if not known or type(learnt) is not int or learnt < 1:
            raise ValueError("the cell of each vector")
        index._held = _filled(index._held, Cells(centres, learnt), homes)
        return index


def load_index(folder):
    """Load an `Index` that `Index.save` wrote.

    Args:
        folder: its path.

    Returns:
        `Index`, which finds what the saved one found.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no saved index, or one that is damaged.
        ImportError: an approximate one without faiss.

    Example:
        >>> import mmkeras as mm
        >>> mm.load_index("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: There is no folder 'no/such/folder'. Give the folder that `index.save` wrote.
    """
    arrays, about = read_tensors(folder)
    if about.get("format") != FORMAT:
        raise unreadable(folder, f"of the format {shortened(about.get('format'))} where {FORMAT!r} is read")
    try:
        return Index._of(arrays, about)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise unreadable(
            folder, f"in which something else is written ({type(error).__name__}: {error!s:.200})"
        ) from error


def _filled(held, cells, homes):
    """With cells that hold the vectors."""
    cells.add(held.vectors, held.numbers, homes)
    return dataclasses.replace(held, homes=homes, cells=cells)


def _nearest(held, queries, k):
    """((Q, k) places, (Q, k) cosines) as an index finds them; all vectors are looked at where cells hold too few."""
    if held.cells is None or not len(queries):
        return top(queries, held.vectors, k)
    numbers = held.cells.near(queries, k)
    places = np.searchsorted(held.numbers, numbers).clip(max=len(held.numbers) - 1)
    few = (held.numbers[places] != numbers).any(axis=1)
    rows = np.repeat(np.arange(len(queries)), k)
    scores = pair_cosines(queries, held.vectors, rows, places.ravel()).reshape(places.shape)
    order = np.lexsort((places, -scores))
    places, scores = (np.take_along_axis(array, order, axis=1) for array in (places, scores))
    if few.any():
        places[few], scores[few] = top(queries[few], held.vectors, k)
    return places, scores

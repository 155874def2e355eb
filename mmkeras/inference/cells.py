"""Unit vectors in cells of space, so that a search looks into a few of them: an inverted file, kept by faiss.

N = vectors, D = numbers of a vector, C = cells, Q = queries.

After Sivic and Zisserman, 2003 (https://doi.org/10.1109/ICCV.2003.1238663); the cells are those of spherical k-means.
"""

import math

import numpy as np

from mmkeras.evaluation.cosines import top

LEARNT, ROUNDS = 64, 6  # vectors of a cell that k-means learns from, and its rounds
LEAST = 39  # vectors of a cell
LOOKED_INTO = 16  # cells of a query
GROWTH = 4  # how much may be added before the cells are learnt anew


def faiss():
    """The library.

    Raises:
        ImportError: it is not there.
    """
    try:
        import faiss
    except ImportError as error:
        raise ImportError(
            "An index with `exact=False` needs the package faiss-cpu. Received: a Python without it. "
            "Run `pip install 'mmkeras[index]'`, or use exact=True."
        ) from error
    return faiss


class Cells:
    """Which of many vectors lie in the same cells as a query.

    Args:
        centres: (C, D) float32, the cells' centres of length 1.

    Attributes:
        learnt: int, how many vectors there were when the cells were learnt.
    """

    def __init__(self, centres, learnt):
        library = faiss()
        self.centres, self.learnt = centres, learnt
        width = centres.shape[1]
        self._centres = library.IndexFlatIP(width)  # it must outlive the next, which does not own it
        self._centres.add(centres)
        self._lists = library.IndexIVFFlat(self._centres, width, len(centres), library.METRIC_INNER_PRODUCT)
        self._lists.nprobe = min(LOOKED_INTO, len(centres))

    @classmethod
    def learn(cls, vectors):
        """Cells of (N, D) vectors, N > 0, as many as make a search quick: 2 √N."""
        count = max(1, min(round(2 * math.sqrt(len(vectors))), len(vectors) // LEAST))
        means = faiss().Kmeans(
            vectors.shape[1], count, niter=ROUNDS, seed=0, spherical=True, min_points_per_centroid=1,
            max_points_per_centroid=LEARNT,
        )  # fmt: skip
        means.train(vectors)
        return cls(means.centroids, len(vectors))

    def outgrown(self, count):
        """Whether so many vectors should have cells learnt anew."""
        return count > GROWTH * self.learnt

    def homes(self, vectors):
        """(N,) int64 numbers of the cells of (N, D) vectors."""
        return self._centres.assign(vectors, 1).ravel().astype("int64")

    def add(self, vectors, numbers, homes):
        """Keep vectors by numbers of one's own.

        Args:
            vectors: (N, D) float32. numbers: (N,) int64. homes: (N,) int64, what `homes` gave.
        """
        pointers = [faiss().swig_ptr(np.ascontiguousarray(array)) for array in (vectors, numbers, homes)]
        self._lists.add_core(len(vectors), *pointers)

    def remove(self, numbers):
        """Forget (N,) numbers."""
        self._lists.remove_ids(np.ascontiguousarray(numbers))

    def near(self, queries, k):
        """(Q, k) numbers of the nearest vectors in the nearest cells, −1 where these hold fewer than k."""
        cells, _ = top(queries, self.centres, self._lists.nprobe)
        return self._lists.search_preassigned(queries, k, cells, None)[1]

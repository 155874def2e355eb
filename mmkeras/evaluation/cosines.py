"""The nearest of many unit vectors, by one product of matrices after another.

Q = queries, N = items, D = numbers of a vector, P = pairs of a query and an item.
"""

import numpy as np

AT_ONCE = 1 << 22  # cosines, and numbers of vectors, that are held together
QUERIES = 256  # of a product
SMALL = 1 << 21  # multiplications of a product that several threads would wait for longer than they work
MANY = 1024  # items of a query that are worth a closer look; where there are more, the bar is raised


def top(queries, items, k):
    """((Q, k) numbers of the nearest items, nearest first; (Q, k) cosines), in memory that grows with neither Q nor N.

    Products of matrices round otherwise for other numbers of rows. So they only choose whom to look at; cosines are summed in float64,
    then rounded, so that a query gives the same alone as among others, and equal items are as near, in their order.

    Args:
        queries, items: (Q, D) and (N, D) float32, unit vectors.
        k: int, at most N.

    Example:
        >>> numbers, cosines = top(np.eye(2, dtype="float32"), np.array([[0.6, 0.8], [1.0, 0.0]], "float32"), 1)
        >>> numbers.tolist(), cosines.round(2).tolist()
        ([[1], [0]], [[1.0], [0.800000011920929]])
    """
    numbers, cosines = np.empty((len(queries), k), "int64"), np.empty((len(queries), k), "float32")
    for start in range(0, len(queries) if k else 0, QUERIES):
        rows = slice(start, start + QUERIES)
        numbers[rows], cosines[rows] = _top_of_some(queries[rows], items, k)
    return numbers, cosines


def _top_of_some(queries, items, k):
    """As `top`, of queries that are held together."""
    rounding = 2 * queries.shape[1] * np.finfo("float32").eps  # of what a product and an exact cosine may differ
    step = max(k, AT_ONCE // len(queries))
    numbers = np.zeros((len(queries), 0), "int64")
    cosines = np.zeros((len(queries), 0), "float32")
    for start in range(0, len(items), step):
        values = _product(queries, items[start : start + step])
        full = cosines.shape[1] == k
        bars = cosines[:, -1] - rounding if full else np.full(len(queries), -np.inf, "float32")
        above = values >= bars[:, None]
        if values.shape[1] >= k:
            crowded = above.sum(axis=1) > max(MANY, k)
            bars[crowded] = np.partition(values[crowded], -k, axis=1)[:, -k] - rounding
            above[crowded] = values[crowded] >= bars[crowded, None]
        rows, places = np.nonzero(above)
        pairs = rows, places + start, pair_cosines(queries, items, rows, places + start)
        numbers, cosines = _best((numbers, cosines), pairs, min(k, start + values.shape[1]))
    return numbers, cosines


def _product(queries, items):
    """(Q, N) of (Q, D) and (N, D); small ones by one thread, as waiting for others takes milliseconds on a busy machine."""
    if len(queries) * items.size <= SMALL:
        return np.einsum("qd,nd->qn", queries, items)
    return queries @ items.T


def pair_cosines(queries, items, rows, places):
    """(P,) float32 cosines of pairs, each the same whatever the others are.

    Args:
        queries, items: (Q, D) and (N, D) float32.
        rows, places: (P,) ints, numbers of queries and of items.
    """
    cosines = np.empty(len(rows), "float32")
    step = max(1, AT_ONCE // (4 * max(queries.shape[1], 1)))
    for start in range(0, len(rows), step):
        some = slice(start, start + step)
        pairs = queries[rows[some]].astype("float64"), items[places[some]].astype("float64")
        cosines[some] = np.einsum("pd,pd->p", *pairs)
    return cosines


def _best(before, pairs, k):
    """((Q, k) numbers, (Q, k) cosines): the best of those known before and of pairs (query, number, cosine), equal ones by number."""
    numbers, cosines = before
    queries, known = numbers.shape
    rows = np.concatenate([np.repeat(np.arange(queries), known), pairs[0]])
    numbers = np.concatenate([numbers.ravel(), pairs[1]])
    cosines = np.concatenate([cosines.ravel(), pairs[2]])
    order = np.lexsort((numbers, -cosines, rows))
    starts = np.searchsorted(rows[order], np.arange(queries))
    chosen = order[starts[:, None] + np.arange(k)]
    return numbers[chosen], cosines[chosen]

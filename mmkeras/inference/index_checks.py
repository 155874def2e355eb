"""What an index is asked for, checked: vectors, ids, and how many.

N = vectors, D = numbers of a vector.
"""

import numpy as np

from mmkeras.data.telling import shortened

FROM_UNIT = 0.01  # how much a length may differ from 1, as vectors in half floats do
AT_ONCE = 1 << 16  # vectors that are checked together


def check_k(k, count):
    """k as an int.

    Raises:
        ValueError: it is none between 1 and the number of vectors.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= count:
        raise ValueError(
            f"`k` must be an int from 1 to the number of items, {count:,}. Received: {shortened(k)}. Ask for fewer, or add items."
        )
    return int(k)


def unit_vectors(vectors, width=None):
    """(N, D) float32 vectors, checked.

    Args:
        vectors: rows of numbers.
        width: int, the D that they must have; None for any.

    Raises:
        ValueError: another shape, what is not finite, or another length than 1.
    """
    try:
        array = np.ascontiguousarray(vectors, "float32")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Vectors must be rows of numbers, all of one width. Received: {shortened(vectors)}. Use for example mm.embed."
        ) from error
    if array.ndim != 2 or not array.shape[1] or width not in (None, array.shape[1]):
        raise ValueError(
            f"Vectors must be of shape (rows, {'width' if width is None else width}). Received: {array.shape}. "
            "Give a row for each vector, made by the model that made the others."
        )
    for start in range(0, len(array), AT_ONCE):
        some = array[start : start + AT_ONCE]
        lengths = np.sqrt(np.einsum("nd,nd->n", some, some))
        wrong = ~(np.abs(lengths - 1) <= FROM_UNIT)
        if wrong.any():
            row = int(wrong.argmax())
            finite = np.isfinite(some[row]).all()
            what = f"of length {lengths[row]:.4g}" if finite else "which holds something that is no finite number"
            raise ValueError(
                f"Each vector must have finite numbers and length 1. Received: row {start + row}, {what}. "
                "Leave out what is not finite, and divide by the length: v / np.linalg.norm(v, axis=1, keepdims=True)."
            )
    return array


def checked_ids(ids, count=None, before=None):
    """(N,) ids, int64 or objects that are str.

    Args:
        ids: ints or strings.
        count: int, how many there must be; None for any number.
        before: (M,) those to which they are added.

    Raises:
        TypeError: others, or not the kind of those before.
        ValueError: another number of them; one that repeats.
    """
    import pandas as pd

    cells = ids.tolist() if hasattr(ids, "tolist") else list(ids)
    kinds = (str,) if any(isinstance(cell, str) for cell in cells) else (int, np.integer)
    for cell in cells:
        if isinstance(cell, bool) or not isinstance(cell, kinds):
            raise TypeError(
                f"Ids must be all ints or all strings. Received: {shortened(cell)}. Convert them, for example by str."
            )
    try:
        ids = np.array([str(cell) for cell in cells], object) if str in kinds else np.array(cells, "int64")
    except OverflowError as error:
        raise ValueError("Ids that are ints must fit in 64 bits. Received: a larger one. Use strings.") from error
    if count is not None and len(ids) != count:
        raise ValueError(f"There must be an id for each vector, {count:,}. Received: {len(ids):,}. Give as many.")
    before = ids[:0] if before is None or not len(before) else before
    if len(ids) and ids.dtype != before.dtype:
        raise TypeError(
            f"Ids must be of the kind that the index holds, such as {shortened(before[:1].tolist()[0])}. Received: {shortened(ids[:1].tolist()[0])}. Convert them."
        )
    again = (
        pd.Index(np.concatenate([before, ids]), dtype=ids.dtype).duplicated()[len(before) :]
        if len(ids)
        else np.zeros(0, bool)
    )
    if again.any():
        raise ValueError(
            f"Ids must be different. Received: {shortened(ids[again].tolist()[0])} twice. Remove it first, or leave it out."
        )
    return ids

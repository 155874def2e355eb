"""Numbers that stand for rows, whatever file and place they are in."""

import numpy as np

FACTOR = np.uint64(1_000_003)


def row_hashes(df, names):
    """(rows,) uint64, the same wherever cells are written the same.

    Args:
        df: DataFrame.
        names: of its columns, in any order.

    Example:
        >>> import pandas as pd
        >>> numbers, texts = pd.DataFrame({"id": [1, 2, 1]}), pd.DataFrame({"id": ["1"]})
        >>> row_hashes(numbers, ["id"])[[0, 2]].tolist() == 2 * row_hashes(texts, ["id"]).tolist()
        True
    """
    from pandas.util import hash_array

    total = np.zeros(len(df), "uint64")
    for name in sorted(names):
        total = total * FACTOR + hash_array(_written(df[name]), categorize=False)
    return total


def held_out(hashes, share):
    """(rows,) bools: the same rows at every call, and all of those of a smaller share."""
    return hashes.astype("float64") < share * 2.0**64


def _written(series):
    """(rows,) array of the cells as strings or bytes."""
    if series.dtype != object:
        return series.astype("string").to_numpy(dtype=object, na_value="")
    cells = np.empty(len(series), object)
    cells[:] = [cell if isinstance(cell, str | bytes) else _plain(cell) for cell in series]
    return cells


def _plain(cell):
    numbers = isinstance(cell, np.ndarray) and cell.dtype != object
    return cell.tobytes() if numbers else str(cell.tolist() if isinstance(cell, np.ndarray) else cell)

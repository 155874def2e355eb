"""Rows in two parts: those to learn from, and those to judge by."""

import numpy as np


def split_frame(df, fraction, seed=0):
    """Split rows at random into (rest, part), `part` holding `fraction` of them.

    The order of rows within each part is that of `df`; index labels stay with their rows.

    Args:
        df: pandas DataFrame; never modified.
        fraction: float, the share of rows of `part`.
        seed: int; the same seed gives the same parts.

    Returns:
        (rest, part), two DataFrames.

    Raises:
        ValueError: unless 0 < fraction < 1 and both parts get a row.

    Example:
        >>> import mmkeras as mm
        >>> rest, part = mm.split_frame(mm.samples.movies(10, seed=0), 0.2, seed=0)
        >>> len(rest), len(part)
        (8, 2)
    """
    count = round(len(df) * fraction) if 0 < fraction < 1 else 0
    if not 0 < count < len(df):
        raise ValueError(
            "`fraction` must lie between 0 and 1 and leave a row on each side. "
            f"Received: {fraction} of {len(df)} rows. Use a DataFrame of your own as validation_data instead."
        )
    chosen = np.zeros(len(df), bool)
    chosen[np.random.default_rng(seed).permutation(len(df))[:count]] = True
    return df[~chosen], df[chosen]

"""What columns hold as they are read, and what of it can teach a model nothing."""

import warnings

import numpy as np
import pandas as pd

from mmkeras.data.telling import quiet

MOST_ROWS = 10_000  # that are looked at, evenly spread
FEWEST_ROWS = 20  # of which anything can be said
COLUMNS = ("modality", "read as", "rows", "missing", "unread", "different", "finding")


def check_columns(df, modalities):
    """A row for each column that modalities read: how its cells were read, and what is wrong with them.

    Args:
        df: DataFrame, of which at most 10,000 rows are looked at.
        modalities: list of modalities.

    Returns:
        DataFrame on the columns' names with "modality", "read as", "rows", "missing" (empty cells), "unread" (cells that count as
        missing because they are not what they should be), "different" (values as they were read), and "finding": a sentence, or ''.
    """
    if len(df) > MOST_ROWS:
        df = df.iloc[np.linspace(0, len(df) - 1, MOST_ROWS).astype(int)]
    rows, names = [], []
    for modality in modalities:
        for name, column in modality.readers.items():
            if not column.picture:
                names.append(name)
                read = f"{column.reads}, {column.how}" if column.how else column.reads
                rows.append([modality.name, read, len(df), *_look(column, df[name])])
    return pd.DataFrame(rows, index=pd.Index(names, name="column"), columns=list(COLUMNS))


def warn_of_columns(df, modalities, what, fewest=FEWEST_ROWS):
    """Warn of what `check_columns` finds, once for all columns, where there are rows enough."""
    if len(df) < fewest:
        return
    found = check_columns(df, modalities)["finding"]
    told = [f"{name!r}: {finding}" for name, finding in found[found != ""].items()]
    if told:
        warnings.warn(
            f"Columns of the {what} may not say what they should. {'; '.join(told)}. See `pipe.check(df)`.",
            stacklevel=4,
        )


def _look(column, series):
    """(cells missing, cells unread, different values, what is wrong or '') of a column."""
    with quiet():  # what cannot be read is told of when the rows are
        values = column.values(series)
    empty, gaps = series.isna().to_numpy(dtype=bool), column.gaps(values)
    known = values[~gaps]
    unread, different = int((gaps & ~empty).sum()), len(pd.unique(pd.Series(column.digests(known))))
    found = []
    if unread > 0.5 * max((~empty).sum(), 1):
        found.append(f"{unread:,} of {int((~empty).sum()):,} cells are no {column.reads} and count as missing")
    if different == 1 and len(known) >= FEWEST_ROWS:
        found.append(f"all {len(known):,} cells are the same as {column.reads}")
    if len(known) >= FEWEST_ROWS:
        found += column.findings(series, values)
    return int(empty.sum()), unread, different, "; ".join(found)

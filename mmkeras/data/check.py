"""What columns hold as they are read, what of it can teach a model nothing, and what training never saw."""

import warnings

import pandas as pd

from mmkeras.data.columns import check_frame
from mmkeras.data.drift import spread
from mmkeras.data.telling import quiet

FEWEST_ROWS = 20  # of which anything can be said
COLUMNS = ("modality", "read as", "rows", "missing", "unread", "different", "outside", "shift", "finding")


def check_columns(df, modalities):
    """A row for each column that modalities read: how its cells were read, how they differ from training cells, and what is wrong with them.

    Of at least 20 rows it is told, beyond what chance does to rows like those of training, that

    - at least 1% of the known cells, and more than chance explains, are outside of what training held: numbers and dates outside their
      range, categories that training never saw, texts in a script that fewer than 1% of its texts have; see `data.drift.beyond` and `exceeds`;
    - numbers are distributed otherwise: a population stability index above .25 by bins of the training deciles; see `data.drift.shift`;
    - cells are missing, empty or unread, in at least 5% of the rows more than in training.

    Args:
        df: DataFrame, of which at most 10,000 rows are looked at.
        modalities: list of modalities.

    Returns:
        DataFrame on the columns' names with "modality", "read as", "rows", "missing" (empty cells), "unread" (cells that count as
        missing because they are not what they should be), "different" (values as they were read), "outside" (a share), "shift" (the index, of
        numbers), and "finding": a sentence, or ''. The two numbers are NaN where training cells are not known, as of models saved long ago.

    Raises:
        KeyError, ValueError: a column that is not there, or twice.
    """
    df, columns = spread(df), _columns(modalities)
    if len(df):
        check_frame(df, [name for _, name, _ in columns])
    rows, names = [], []
    for modality, name, column in columns:
        names.append(name)
        read = f"{column.reads}, {column.how}" if column.how else column.reads
        *facts, findings = _look(column, df[name])
        rows.append([modality.name, read, len(df), *facts, "; ".join(text for text, _ in findings)])
    return pd.DataFrame(rows, index=pd.Index(names, name="column"), columns=list(COLUMNS))


def warn_of_columns(df, modalities, what, fewest=FEWEST_ROWS):
    """Warn of what `check_columns` finds, once for all columns, where there are rows enough, and cells enough are concerned: from 10% on."""
    if len(df) < fewest:
        return
    df, told = spread(df), []
    for _, name, column in _columns(modalities):
        findings = [text for text, matters in _look(column, df[name])[-1] if matters]
        told += [f"{name!r}: {'; '.join(findings)}"] if findings else []
    if told:
        warnings.warn(
            f"Columns of the {what} may not say what they should. {'; '.join(told)}. See `pipe.check(df)`.",
            stacklevel=4,
        )


def _columns(modalities):
    return [(m, name, column) for m in modalities for name, column in m.readers.items() if not column.files]


def _look(column, series):
    """(cells missing, cells unread, different values, share outside, shift, [(what is wrong, whether predictions suffer), …]) of a column."""
    with quiet():  # what cannot be read is told of when the rows are
        values = column.values(series)
    empty, gaps = series.isna().to_numpy(dtype=bool), column.gaps(values)
    known = values[~gaps]
    unread, different = int((gaps & ~empty).sum()), len(pd.unique(pd.Series(column.digests(known))))
    found, drift = [], column.drift(values)
    if unread > 0.5 * max((~empty).sum(), 1):
        found.append(f"{unread:,} of {int((~empty).sum()):,} cells are no {column.reads} and count as missing")
    if different == 1 and len(known) >= FEWEST_ROWS:
        found.append(f"all {len(known):,} cells are the same as {column.reads}")
    if len(known) >= FEWEST_ROWS:
        found += column.findings(series, values)
    findings = [(text, True) for text in found] + (list(drift.findings) if len(values) >= FEWEST_ROWS else [])
    return int(empty.sum()), unread, different, drift.outside, drift.shift, findings

"""Films of the public movie data."""

import warnings

from mmkeras.sources.reading import HELP, read_csv

LARGEST_WHOLE = 2**53  # beyond it, floats skip whole numbers

# The columns both forms of the movie data have, as `movies` returns them.
MOVIE_COLUMNS = [
    "id",
    "title",
    "overview",
    "genres",
    "budget",
    "popularity",
    "revenue",
    "runtime",
    "release_date",
]


def movies(path):
    """Read films: Kaggle's raw `movies_metadata.csv` ("The Movies Dataset"), or the tidy CSV of the same data.

    The raw file has 24 columns, genres as a Python-literal list of dicts, numbers as strings, and a few broken rows
    (shifted columns, dates in place of ids). Rows whose id is no whole number, or that have neither title nor overview,
    are left out; so are repeated ids. Genres become "A|B". What is no number becomes NaN. All that is counted and told in a
    warning. Zeros stay: they mean
    "unknown" in budget, revenue and runtime; name those columns in `Tabular(zero_is_missing=…)`.

    Args:
        path: the CSV file.

    Returns:
        DataFrame with a fresh index and the columns id, title, overview, genres, budget, popularity, revenue, runtime,
        release_date (string), and those of vote_average, vote_count and poster that the file has.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file without these columns.

    Example:
        >>> import mmkeras as mm
        >>> mm.sources.movies("nowhere.csv")
        Traceback (most recent call last):
        FileNotFoundError: There is no file 'nowhere.csv'. data/README.md says how to get the public data.
    """
    import pandas as pd

    from mmkeras.tasks import MultiLabel

    df = read_csv(path, MOVIE_COLUMNS, "A movie CSV", "Give movies_metadata.csv or the tidy CSV.", mend=True)
    kept = [*MOVIE_COLUMNS, *(c for c in ("vote_average", "vote_count", "poster") if c in df.columns)]
    df = df[kept].copy()
    told = []
    for column in ("budget", "popularity", "revenue", "runtime", "vote_average", "vote_count"):
        if column in df:
            numbers = pd.to_numeric(df[column], errors="coerce").astype("float64")
            unread = numbers.isna() & df[column].notna()
            told += _about(df[column], unread, f"cells of {column!r} are no numbers and missing")
            df[column] = numbers
    ids = pd.to_numeric(df["id"], errors="coerce").astype("float64")
    ids = ids.where((ids.abs() < LARGEST_WHOLE) & (ids == ids.round()))
    blank = ids.notna() & df["title"].isna() & df["overview"].isna()
    kept = ids.notna() & ~blank
    again = ids.where(kept).duplicated() & kept
    told += _about(df["id"], ids.isna(), "rows are left out, whose id is no whole number")
    told += _about(df["id"], blank, "are left out that have neither title nor overview")
    told += _about(df["id"], again, "are left out whose id came before")
    if told:
        warnings.warn(f"{path}: {'; '.join(told)}. {HELP}", stacklevel=2)
    df["id"] = ids
    df = df[kept].drop_duplicates("id").reset_index(drop=True)
    df["id"] = df["id"].astype("int64")
    for column in ("title", "overview", "release_date", *(["poster"] if "poster" in df else [])):
        df[column] = df[column].fillna("").astype(object)
    task = MultiLabel("genres")
    df["genres"] = pd.Series(["|".join(task.names(cell)) for cell in df["genres"]], dtype=object)
    return df


def _about(cells, rows, what):
    """[sentence about some rows, with the line of the first and its cell], or [] where there are none."""
    if not rows.any():
        return []
    line = rows.index[rows.to_numpy().argmax()]
    return [f"{int(rows.sum())} {what} (for example {cells[line]!r} in line {line})"]

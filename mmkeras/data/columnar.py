"""Files of Parquet and Feather as tables, as a whole or in parts; see `tables`."""

import contextlib
import io

import pandas as pd

from mmkeras.data.frames import as_frame

READERS = {".parquet": "read_parquet", ".feather": "read_feather"}


def read(path):
    """The table of a file of Parquet or Feather."""
    with _told_of(path):
        return _lossless(getattr(pd, READERS[path.suffix.lower()]), path)


def _lossless(reader, file):
    """A table as a function of pandas reads it, with dtypes that lose nothing where cells are missing."""
    return as_frame(reader(file, dtype_backend="numpy_nullable"))


def read_parts(path, rows):
    """(DataFrame, share that is read) of parts of at most `rows`; Feather is in memory as a whole."""
    with _told_of(path):
        if path.suffix.lower() != ".parquet":
            df = _lossless(pd.read_feather, path)
            for start in range(0, max(len(df), 1), rows):
                yield df.iloc[start : start + rows], min(1, (start + rows) / max(len(df), 1))
            return
        import pyarrow
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            done, total = 0, file.metadata.num_rows
            whole = [file.read()] if not total else []
            for table in whole or (pyarrow.Table.from_batches([batch]) for batch in file.iter_batches(rows)):
                part, done = io.BytesIO(), done + table.num_rows
                parquet.write_table(table, part)  # pandas reads it as it reads the whole
                yield _lossless(pd.read_parquet, part), done / total if total else 1.0


@contextlib.contextmanager
def _told_of(path):
    """Errors of damaged files and of a missing package, with the file's name."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"Reading {str(path)!r} needs the package pyarrow, which mmkeras does not install. Run `pip install pyarrow`, or save "
            "the table as CSV."
        ) from error
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{str(path)!r} must be a whole {path.suffix} file. Received: {error}. Save it again."
        ) from error

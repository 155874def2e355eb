"""A fitted model on rows that stream from files: what it predicts of them is written, or judged."""

import contextlib
import copy
import dataclasses
import pathlib
import tempfile
import warnings

import numpy as np
import pandas as pd

from mmkeras.data.check import check_columns
from mmkeras.data.frames import column_label
from mmkeras.data.targets import Values
from mmkeras.evaluation.report import Judgement
from mmkeras.evaluation.sections import Section
from mmkeras.fitting.row_files import SAMPLE, RowFiles, features_of, placed
from mmkeras.persistence.writing import telling
from mmkeras.trunk.parquet import pyarrow

ENGINE = "tensorflow"  # that of `encode_table`
TOLD = 5  # sentences about rows


def predict_files(fitted, rows, out, *, features=None, key=None):
    """Write predictions of files of rows to a folder; see `Pipeline.predict`. Returns its pathlib.Path."""
    if out is None:
        raise ValueError(
            "Predictions of rows in files are written to files. Received: no `out`. Give a folder, such as out='predictions'."
        )
    files = RowFiles(rows, fitted.trunk.modalities, key=key, what="predict")
    out = pathlib.Path(out).expanduser()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"`out` must be a new folder, or an empty one. Received: {str(out)!r}. Give another.")
    with telling(out, "`out`"):
        out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as fresh:
        made = pathlib.Path(fresh, "predictions")
        made.mkdir()
        with reading(fitted, features) as reader, contextlib.closing(_Parquet(made, files.blocks.paths)) as written:
            for block, df in files:
                with placed(block):
                    table = fitted.task.frame(reader.predict(df, keep=False), df.index)
                    written.add(block.source, table if key is None else _beside(df[key], table))
        with telling(out, "`out`"):
            made.replace(out)
    return out


def evaluate_files(fitted, rows, *, features=None, train_data=None, by=None, rivals=(), notes=(), verbose=1):
    """`Report` on files of rows; see `Pipeline.evaluate`. Targets and predictions of all rows are held in memory, the rows are not."""
    task, modalities = fitted.task, fitted.trunk.modalities
    if not task.streams:
        raise ValueError(f"{type(task).__name__} judges rows together. Received: rows in files. Give a DataFrame.")
    files = RowFiles(rows, modalities, task, key=by, what="evaluate")
    with reading(fitted, features) as reader:
        every = {**reader.simple_rivals(train_data, verbose), **reader.fit_rivals(rivals, train_data, verbose)}
        fitted.rivals, seen = reader.rivals, _Seen(reader, every, by)
        for block, df in files:
            with placed(block):
                seen.add(df)
    if not seen.truths:
        raise ValueError(f"An evaluation needs a row that can be judged. Received: none. {' '.join(seen.told[:TOLD])}")
    notes = [*notes, *seen.told[:TOLD]]
    if len(seen.told) > TOLD:
        notes.append(f"So it is in other parts of the rows, {len(seen.told) - TOLD} sentences more.")
    if not every:
        notes.append("No baselines: the Pipeline was saved without them. Give `train_data=` some training rows.")
    said, sample = seen.said, pd.concat(seen.sample, ignore_index=True)
    judgement = Judgement(task, Values(np.concatenate(seen.truths)), np.concatenate(said.pop(None)))
    what = f"Columns as they were read, of {len(sample):,} rows"
    sections = [Section("columns", what, check_columns(sample, modalities))]
    if by is not None:
        sections.append(judgement.groups(np.concatenate(seen.groups), by))
    sections += judgement.sets()
    return judgement.report(
        rivals={name: (rival.task, np.concatenate(said[name])) for name, rival in every.items()},
        without={name: rival.without for name, rival in every.items() if rival.without},
        sections=sections,
        notes=[*notes, *fitted.trunk.notes(), *(note for modality in modalities for note in modality.notes(sample))],
    )


class _Seen:
    """What is kept of rows that are judged: answers, predictions of a `Fitted` and of its rivals, some rows."""

    def __init__(self, fitted, rivals, by):
        self._fitted, self._rivals, self._by = fitted, rivals, by
        self.truths, self.groups, self.told, self.sample = [], [], [], []
        self.said = {name: [] for name in (None, *rivals)}  # None for the model itself

    def add(self, df):
        """More rows."""
        fitted = self._fitted
        df, told = fitted.task.judged(df)
        self.told += [sentence for sentence in told if sentence not in self.told]
        if not len(df):
            return
        self.truths.append(fitted.task.target(df).values)
        self.groups += [df[self._by].to_numpy(dtype=object)] if self._by is not None else []
        more = SAMPLE - sum(map(len, self.sample))
        self.sample += [df.head(more)] if more > 0 else []
        trunk = fitted.trunk.over(df, model=fitted.head)  # rivals read the same features
        self.said[None].append(dataclasses.replace(fitted, trunk=trunk).predict(df, keep=False))
        for name, rival in self._rivals.items():
            self.said[name].append(rival.predict(trunk, df))


@contextlib.contextmanager
def reading(fitted, features):
    """The `Fitted`, but it reads features from a folder, and warns at the end of rows that had none there, which its towers encoded."""
    if features is None:
        yield fitted
        return
    store, trunk = _Counted(features_of(features)), copy.copy(fitted.trunk)
    trunk.cache, trunk.engine = store, ENGINE
    yield dataclasses.replace(fitted, trunk=trunk)
    if store.absent:
        warnings.warn(
            f"`features` should hold those of all rows. Received: {str(store.path)!r}, without {store.absent:,} different ones, which were encoded now. "
            "Call mm.encode_table first.",
            stacklevel=6,
        )


class _Counted:
    """A `ParquetStore` that is only read, as a `CacheFolder`; counts what was looked for and is not there."""

    def __init__(self, store):
        self.path, self.absent, self._store = store.path, 0, store
        self.read = store.read

    def open(self):
        return self

    def missing(self, keys, layout=None):
        places = self._store.missing(keys, layout)
        self.absent += len(places)
        return places


class _Parquet:
    """Files of Parquet in a folder, one for each file of rows."""

    def __init__(self, folder, paths):
        names = [pathlib.PurePath(path).name for path in paths]
        if len(set(names)) < len(names):
            names = [f"{number:05}-{name}" for number, name in enumerate(names)]
        self._places = {path: folder / name for path, name in zip(paths, names, strict=True)}
        self._source = self._writer = None

    def add(self, source, table):
        """Rows of predictions of a file, behind those that it has."""
        arrow, schema = pyarrow(), self._writer.schema if source == self._source else None
        table = table.set_axis([column_label(name) for name in table.columns], axis=1)
        table = arrow.Table.from_pandas(table, schema, preserve_index=False)
        if schema is None:
            self.close()
            self._source, self._writer = source, arrow.parquet.ParquetWriter(self._places[source], table.schema)
        self._writer.write_table(table)

    def close(self):
        if self._writer is not None:
            self._writer.close()


def _beside(key, table):
    """Predictions behind their rows' key."""
    if key.name in map(column_label, table.columns):
        raise ValueError(
            f"`key` must differ from the names of predictions. Received: {key.name!r}. Rename that column."
        )
    table = table.copy()
    table.insert(0, key.name, key)
    return table

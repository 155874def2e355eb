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
    truths, groups, told, sample = [], [], [], []
    with reading(fitted, features) as reader:
        every = {**reader.simple_rivals(train_data, verbose), **reader.fit_rivals(rivals, train_data, verbose)}
        fitted.rivals, said = reader.rivals, {name: [] for name in (None, *every)}
        for block, df in files:
            with placed(block):
                df, sentences = task.judged(df)
                told += sentences
                if not len(df):
                    continue
                truths.append(task.target(df).values)
                groups += [df[by].to_numpy(dtype=object)] if by is not None else []
                sample += [df.head(SAMPLE - sum(map(len, sample)))] if sum(map(len, sample)) < SAMPLE else []
                trunk = reader.trunk.over(df, model=fitted.head)
                said[None].append(dataclasses.replace(reader, trunk=trunk).predict(df, keep=False))
                for name, rival in every.items():
                    said[name].append(rival.predict(trunk, df))
    told = list(dict.fromkeys(told))
    if not truths:
        raise ValueError(f"An evaluation needs a row that can be judged. Received: none. {' '.join(told[:TOLD])}")
    said = {name: np.concatenate(parts) for name, parts in said.items()}
    target, sample = Values(np.concatenate(truths)), pd.concat(sample, ignore_index=True)
    judgement = Judgement(task, target, said.pop(None))
    what = f"Columns as they were read, of {len(sample):,} rows"
    sections = [Section("columns", what, check_columns(sample, modalities)), *judgement.sets()]
    if by is not None:
        sections.append(judgement.groups(np.concatenate(groups), by))
    if len(told) > TOLD:
        told = [*told[:TOLD], f"So it is in other parts of the rows, {len(told) - TOLD} sentences more."]
    return judgement.report(
        rivals={name: (rival.task, said[name]) for name, rival in every.items()},
        without={name: rival.without for name, rival in every.items() if rival.without},
        sections=sections,
        notes=[
            *notes,
            *told,
            *fitted.trunk.notes(),
            *(note for modality in modalities for note in modality.notes(sample)),
        ],
    )


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
        arrow = pyarrow()
        table = table.set_axis([column_label(name) for name in table.columns], axis=1)
        table = arrow.Table.from_pandas(table, preserve_index=False)
        if source != self._source:
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

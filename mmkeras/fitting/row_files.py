"""Rows in files of Parquet that no memory holds: read in parts, split by what stands in them, and what they teach at a first look."""

import contextlib
import dataclasses
import numbers
import warnings

import numpy as np
import pandas as pd

from mmkeras.data.columns import columns_of
from mmkeras.data.hashes import held_out, row_hashes
from mmkeras.data.splits import VALIDATION_FROM, VALIDATION_SHARE
from mmkeras.tasks.base import Task
from mmkeras.trunk.row_blocks import RowBlocks
from mmkeras.trunk.store import is_store, open_store

PART = 4096  # rows that are read together
SAMPLE = 10_000  # rows that vocabularies, means and rivals learn from


class RowFiles:
    """Files of rows.

    Args:
        rows: a path or pattern of files of Parquet, or a list of these; or a DataFrame.
        modalities, task: what is read.
        key: name of a column that names each row, or None.
        what: str, what an error calls its reader.

    Raises:
        FileNotFoundError, KeyError, OSError, ValueError: no file, or one that cannot be read, has other columns, or is no Parquet.
    """

    def __init__(self, rows, modalities, task=None, *, key=None, what="fit"):
        read = list(columns_of(modalities))
        columns = [*read, *(task.columns if task else ()), *([] if key is None else [key])]
        self.blocks = RowBlocks(rows, dict.fromkeys(columns), PART, what)
        others = [path for path in self.blocks.paths if not path.endswith(".parquet")]
        if others:
            raise ValueError(
                f"Rows that stream must be files of Parquet. Received: {others[0]!r}. Write it as Parquet."
            )
        if self.blocks.failures:
            raise OSError(f"All files of rows must be readable. Received: {self.blocks.failures[0]}. Write it again.")
        self._named, self.total = list(dict.fromkeys(columns)) if key is None else [key], self.blocks.total

    def __iter__(self):
        """(`Block`, DataFrame) of all rows, in their order."""
        return self.blocks.frames()

    def hashes(self, df):
        """(rows,) uint64 of the key, or of all columns that are read."""
        return row_hashes(df, self._named)


@contextlib.contextmanager
def placed(block):
    """Errors about rows say where these stand."""
    try:
        yield
    except (ValueError, KeyError, TypeError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        last = block.start + block.count - 1
        raise ValueError(f"{message} This is of {block.source}, rows {block.start:,} to {last:,}.") from error


@dataclasses.dataclass(frozen=True)
class Sides:
    """Which rows are held out.

    Attributes:
        train: `RowFiles`. validation: `RowFiles` of all that are held out, or None.
        share: float, of the rows of `train` that are held out.
    """

    train: RowFiles
    validation: RowFiles | None = None
    share: float = 0.0

    @classmethod
    def of(cls, train, validation, make):
        """For what a user gave `fit` as validation_data; `make` makes `RowFiles` of rows."""
        if validation is False:
            return cls(train)
        if validation is None and train.total < VALIDATION_FROM:
            warnings.warn(
                f"{train.total} rows are too few to hold any out: nothing is validated, and nothing is tuned. Give validation_data.",
                stacklevel=4,
            )
            return cls(train)
        share = VALIDATION_SHARE if validation is None else validation
        if not isinstance(share, numbers.Real):
            return cls(train, make(validation))
        if not 0 < share < 1:
            raise ValueError(
                f"A share of rows to hold out must lie between 0 and 1. Received: {share}. Use for example 0.1."
            )
        return cls(train, share=float(share))

    def __iter__(self):
        """(`Block`, DataFrame, hashes, bools of the rows that are held out) of all rows."""
        for block, df in self.train:
            hashes = self.train.hashes(df)
            yield block, df, hashes, held_out(hashes, self.share)
        for block, df in self.validation or ():
            yield block, df, self.validation.hashes(df), np.ones(len(df), bool)


@dataclasses.dataclass(frozen=True)
class Look:
    """What a first pass over all rows found.

    Attributes:
        task: adapted.
        train, validation: ints, how many rows are on each side.
        samples: (DataFrame of some rows to learn from, DataFrame of some that are held out).
        told: list of sentences.
    """

    task: Task
    train: int
    validation: int
    samples: tuple
    told: list


def look(sides, task, key, seed):
    """The `Look` at all rows: classes are those of all training rows, the rest is learnt from samples that `seed` draws."""
    rng, counts, samples, every, cells = np.random.default_rng(seed), [0, 0], ([], []), [], _Cells(task)
    totals = [sides.train.total * (1 - sides.share), sides.train.total * sides.share]
    totals[1] += sides.validation.total if sides.validation else 0
    for block, df, hashes, held in sides:
        for side, rows in enumerate((~held, held)):
            counts[side] += int(rows.sum())
            drawn = rows & (rng.random(len(df)) * totals[side] < SAMPLE)
            samples[side].append(df[drawn])
        cells.add(block, df[~held])
        if key is not None:
            every.append(hashes[~held] if sides.validation else hashes)
    _check_sides(sides, counts)
    if key is not None:
        _tell_of_duplicates(key, np.concatenate(every))
    train, validation = (pd.concat(parts, ignore_index=True) for parts in samples)
    learnt = "its target from all of them, " if task.every_cell else ""
    told = [
        f"Learnt from {counts[0]:,} rows of files: {learnt}vocabularies, means, starting values and rivals from {len(train):,} of them, drawn."
    ]
    return Look(cells.adapt(train), *counts, (train, validation), told)


class _Cells:
    """What stands in the target's columns of the training rows."""

    def __init__(self, task):
        self._task, self._columns, self._seen, self._parts, self._gap = task, list(task.columns), set(), [], None

    def add(self, block, df):
        gaps = df[self._columns].isna().any(axis=1).to_numpy()
        if gaps.any() and self._gap is None:
            self._gap = f"{block.source}, row {block.start + int(df.index[gaps][0]):,}"
        if self._task.every_cell:
            hashes, places = np.unique(row_hashes(df, self._columns), return_index=True)
            fresh = [place for hash_, place in zip(hashes.tolist(), places, strict=True) if hash_ not in self._seen]
            self._seen.update(hashes.tolist())
            self._parts.append(df[self._columns].iloc[sorted(fresh)])

    def adapt(self, sample):
        """The task that has learnt from every different cell, or from a sample of rows."""
        df = pd.concat(self._parts, ignore_index=True) if self._task.every_cell else sample
        try:
            return self._task.adapt(df)
        except ValueError as error:
            raise error if self._gap is None else ValueError(f"{error} The first stands in {self._gap}.") from error


def _check_sides(sides, counts):
    if counts[0] < 2:
        raise ValueError(
            f"`fit` needs at least two rows to learn from. Received: {counts[0]} in {sides.train.blocks.paths}. Add rows."
        )
    if (sides.share or sides.validation) and not counts[1]:
        raise ValueError(
            f"Rows that are held out must be at least one. Received: none of {sum(counts)}, which fall on a side by what stands in them. "
            "Give files of rows, or False, as validation_data."
        )


def _tell_of_duplicates(key, hashes):
    counts = np.unique(hashes, return_counts=True)[1]
    if (counts > 1).any():
        warnings.warn(
            f"`key` should name each row once. Received: {key!r}, of which {(counts > 1).sum():,} values stand in {counts[counts > 1].sum():,} "
            "rows. Those of one value are all learnt from, or all held out.",
            stacklevel=5,
        )


def features_of(folder):
    """The `ParquetStore` that `encode_table` wrote to a folder.

    Raises:
        ValueError: it holds none.
    """
    if not is_store(folder):
        raise ValueError(
            f"`features` must be a folder that `mm.encode_table` wrote. Received: {str(folder)!r}, which holds no features in Parquet. "
            "Call mm.encode_table(rows, modalities, folder) first."
        )
    return open_store(folder)


def check_no_files(**settings):
    """Raise a ValueError where a setting of rows in files goes with other rows."""
    for name, value in settings.items():
        if value is not None:
            raise ValueError(
                f'`{name}` goes with rows in files, such as "rows/*.parquet". Received: {value!r} with a DataFrame. Leave it out.'
            )

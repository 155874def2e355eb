"""What `mm.fit` learns from: the columns that are read, the rows, and which of them judge."""

import dataclasses

import numpy as np

from mmkeras.automl.members import NO_FOLD
from mmkeras.data.categories import group
from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import column_labels
from mmkeras.data.splits import VALIDATION_SHARE, fold_rows, group_rows, split_frame
from mmkeras.inspection.suggest import suggest
from mmkeras.tasks.base import Task
from mmkeras.trunk.stages import check_modalities
from mmkeras.trunk.training import CHOSEN

FOLDS, FOLDS_UP_TO = 5, 50_000  # rows; of more, a tenth is held out
HELD_OUT = 0.2  # by time
GROUP = "mmkeras group"  # the name of a column of the groups of rows


@dataclasses.dataclass
class Table:
    """Rows that can be learnt from, as `read` of the user's, and what reads them; sentences about it."""

    df: object
    modalities: list
    task: Task
    notes: list
    groups: list


def read_table(frame, target, modalities, task, *, text_encoder, verbose):
    """`Table`: what a user gave, and what is suggested for the rest."""
    if task is not None and not isinstance(task, Task):
        raise TypeError(f"`task` must be a task, such as mm.MultiLabel('genres'). Received: {type(task).__name__}.")
    if task is not None and list(task.columns) != column_labels(target):
        raise ValueError(
            f"`target` must name the columns of `task`. Received: {target!r} and {list(task.columns)}. Make them agree."
        )
    if task is not None and modalities is not None:
        table = Table(frame, list(modalities), task, [], [])
    else:
        suggestion = suggest(frame, target)
        if verbose:
            print(suggestion, flush=True)
        known = frame.iloc[np.flatnonzero(suggestion.rows)]
        table = Table(known, suggestion.modalities, suggestion.task, list(suggestion.notes), suggestion.groups)
        table.modalities = table.modalities if modalities is None else list(modalities)
        if task is not None:
            table.df, table.task = frame, task
        table.notes += [
            f"{name!r} is not read: {why}"
            for name, why, by in zip(
                suggestion.columns.index, suggestion.columns["why"], suggestion.columns["read by"], strict=True
            )
            if not by and modalities is None
        ]
    if text_encoder == CHOSEN:
        text_encoder = "characters" if modalities is None else None
    if text_encoder is not None:
        table.modalities += [tower for m in table.modalities for tower in m.beside(text_encoder, table.df)]
    check_modalities(table.modalities)
    trained = [m.name for m in table.modalities if m.pretrained and getattr(m, "trainable", False)]
    if trained:
        raise ValueError(
            f"Members of `mm.fit` read frozen towers. Received `trainable` in {trained}. Leave it False; fine-tune such a model by "
            "mm.Pipeline, and join both by mm.Ensemble."
        )
    return table


@dataclasses.dataclass
class JudgedRows:
    """Rows, the fold that each is judged in, and whether the ensemble learns from all of them at the end."""

    df: object
    folds: np.ndarray
    refit: bool


def judged_rows(table, validation, *, by, time, seed):
    """`JudgedRows` of a table, with the rows that members are judged on."""
    read = list(columns_of(table.modalities))
    columns = list(dict.fromkeys([*read, *table.task.columns]))
    beside = [*(column_labels(by) if by is not None else []), *(column_labels(time) if time is not None else [])]
    check_frame(table.df, list(dict.fromkeys([*columns, *beside])))
    df = table.task.units(table.df, table.modalities)
    if len(df) < 2:
        raise ValueError(f"`mm.fit` needs at least two rows to learn from. Received: {len(df)}. Add rows.")
    if validation is not None or time is not None or len(df) > FOLDS_UP_TO:
        return _held_out(table, df, validation, by=by, time=time, seed=seed, columns=columns)
    task = table.task.adapt(df)
    count, folds = min(FOLDS, len(df)), np.full(len(df), NO_FOLD)
    groups = _groups(table, df, by)
    if groups is not None:
        count = min(count, groups.max() + 1)
    strata = task.strata(task.target(df))
    if strata is not None and np.unique(strata, return_counts=True)[1].min() < count:
        strata = None  # folds cannot be alike in a class that is rarer than they are many
    grouped = df if groups is None else df.assign(**{GROUP: groups})
    by = None if groups is None else GROUP
    drawn = fold_rows(grouped, int(count), classes=strata, by=by, seed=seed)
    for number, (_, judged) in enumerate(drawn):
        folds[judged] = number
    return JudgedRows(df[columns], folds, refit=True)


def _groups(table, df, by):
    """(rows,) numbers of groups that stay on one side of a split: those told, or suggested, or copies of rows; None for none."""
    names = column_labels(by) if by is not None else table.groups[:1]
    if names:
        if by is None:
            table.notes.append(f"Rows that share {names[0]!r} stood on one side of every fold.")
        return group_rows(df, names)
    read = list(columns_of(table.modalities))
    codes, _ = group(df[read])
    copies = len(df) - len(np.unique(codes))
    if not copies or len(np.unique(codes)) < 2:
        return None
    table.notes.append(f"{copies:,} rows read the same as an earlier one; copies stood on one side of every fold.")
    return codes


def _held_out(table, df, validation, *, by, time, seed, columns):
    """`JudgedRows` whose last ones judge: rows given, the latest, or a tenth."""
    import pandas as pd

    if validation is not None:
        check_frame(validation, columns, "validation_data")
        train, task = df[columns], table.task.adapt(df)
        judged, sentences = task.judged(table.task.units(validation[columns].copy(), table.modalities))
        if not len(judged):
            raise ValueError(f"`validation_data` must hold rows that can be judged. {' '.join(sentences)}")
        table.notes += sentences
    else:
        share = HELD_OUT if time is not None else VALIDATION_SHARE
        if time is None and (groups := _groups(table, df, by)) is not None:
            by, df = GROUP, df.assign(**{GROUP: groups})
        train, judged = (part[columns] for part in split_frame(df, share, seed, by=by, time=time))
    folds = np.repeat([NO_FOLD, 0], [len(train), len(judged)])
    return JudgedRows(pd.concat([train, judged]), folds, refit=validation is None)

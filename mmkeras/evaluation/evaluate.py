"""An evaluation: a fitted model, its rivals and its subsets of modalities, scored on the same rows."""

import dataclasses
import itertools

import numpy as np

from mmkeras.data.check import check_columns
from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import column_label
from mmkeras.evaluation.looking import beside, looked_at
from mmkeras.evaluation.report import Judgement
from mmkeras.evaluation.sections import Section


def evaluate(fitted, df, *, rivals, missing=False, explain=False, by=None, notes=(), verbose=0):
    """`Report` of a model on rows that it did not learn from; see `Pipeline.evaluate`.

    Args:
        fitted: `fitting.Fitted`, a model with its task and trunk.
        df: DataFrame, as the user gave it.
        rivals: {name: fitted `Rival`}.
        missing, explain, by, verbose: see `Pipeline.evaluate`.
        notes: sentences to begin with.
    """
    task, trunk, columns = fitted.task, fitted.trunk, columns_of(fitted.trunk.modalities)
    by = by if by is None else column_label(by)
    check_frame(df, [*columns, *task.columns, *([by] if by is not None else [])])
    df, told = task.judged(task.units(df, trunk.modalities))
    notes = [*notes, *told]
    if not len(df):
        raise ValueError(
            f"An evaluation needs a row that can be judged. Received: none. {' '.join(told)} Check the target."
        )
    target = task.target(df)
    trunk = trunk.over(df, model=fitted.head)
    fitted, names = dataclasses.replace(fitted, trunk=trunk), [modality.name for modality in trunk.modalities]
    predictions = fitted.predict(df, verbose)
    judgement, sections = Judgement(task, target, predictions), []
    sections.append(Section("columns", "Columns as they were read", check_columns(df, trunk.modalities)))
    if by is not None:
        sections.append(judgement.groups(df[by].to_numpy(dtype=object), by))
    if missing or explain:
        known = {tuple(names): predictions}

        def of(there):
            if there not in known:
                known[there] = fitted.predict(df, absent=[name for name in names if name not in there])
            return known[there]

        if missing:
            kept = [some for size in range(len(names), 0, -1) for some in itertools.combinations(names, size)]
            sections.append(judgement.missing({" + ".join(some): of(some) for some in kept}))
        if explain:
            sections.append(judgement.earned(names, of))
    sections += judgement.sets()
    notes += [*trunk.notes(), *(note for modality in trunk.modalities for note in modality.notes(df))]
    pictures = [name for name, column in columns.items() if column.picture]
    own_pictures = [columns[pictures[0]].shown(cell) for cell in df[pictures[0]]] if pictures else None
    shown = task.gallery(target, predictions) if pictures else []
    looked = looked_at(trunk, fitted.head, df.iloc[shown]) if len(shown) else None
    for row, weights in zip(shown, () if looked is None else looked, strict=looked is not None):
        own_pictures[row] = beside(own_pictures[row], weights)
    return judgement.report(
        rivals={name: (rival.task, rival.predict(trunk, df)) for name, rival in rivals.items()},
        without={name: rival.without for name, rival in rivals.items() if rival.without},
        sections=sections,
        notes=notes,
        examples=_examples(judgement, df, columns) if task.compares_rows else None,
        pictures=pictures,
        drawn={name: column.html for name, column in columns.items() if column.drawn},
        own_pictures=own_pictures,
    )


def _examples(judgement, df, columns, count=12):
    """Some evaluated rows as a person would read them."""
    import pandas as pd

    rows = np.unique(np.linspace(0, len(df) - 1, min(count, len(df))).astype(int))
    task = judgement.task
    truth, decided = task.read(judgement.target), task.decide(judgement.predictions)
    shown = {  # what a reader wants to see first, left of columns that may be many
        f"{task.column} (true)": [_short(truth[row]) for row in rows],
        f"{task.column} (predicted)": [_short(decided[row]) for row in rows],
    }
    for name, column in columns.items():
        cells = list(df[name].iloc[rows])
        shown[name] = [column.shown(cell) if column.picture or column.drawn else _short(cell) for cell in cells]
    return pd.DataFrame(shown, index=df.index[rows])


def _short(value, length=90):
    if isinstance(value, float):
        return f"{value:.6g}" if value == value else "–"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "(none)"
    text = str(value)
    return text if len(text) <= length else text[: length - 1] + "…"

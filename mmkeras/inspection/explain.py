"""explain: what decided, by modality, word, column and pixel."""

import dataclasses

import numpy as np

from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import as_frame
from mmkeras.evaluation.shapley import shapley
from mmkeras.inspection.gradients import ENOUGH, NOTHING, Gradients
from mmkeras.inspection.why import draw_row, write_rows


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation:
    """What decided the predictions of R rows.

    Attributes:
        index: of the rows. outcomes: (R,) names of what is explained of each; None where there is one thing.
        worth_name: what is divided, such as "log-odds".
        worth: (R,) of the rows as they are. nothing: (R,) where no modality is there.
        modalities: DataFrame (R, M), the Shapley value of each modality: nothing + their sum = worth.
        errors: DataFrame (R, M), standard errors of those; None where they are exact.
        chosen: (R, …) ints that tell the task what is explained, see `tasks.base.Task.chosen`.
        pieces: {modality: list of R}: [(word or column, number), …], or an array (H, W) of a picture; {} where they were not asked for.
        missed: (R,) by how much the pieces miss the difference that they divide, as a share of it; None without pieces.
        steps: int, places on the way from rows that say nothing at which gradients were taken, the most of any row; None without pieces.
        pictures: {modality: list of R tuples with a cell of each column} of the pictures that pieces are of.
        cells: {modality: DataFrame (R, columns)} of the modalities whose pieces are columns, what these held.
        texts: names of the modalities whose pieces are words in their order.
        notes: sentences that belong to it.

    Example:
        >>> import numpy as np, pandas as pd
        >>> shares = pd.DataFrame({"text": [0.5], "table": [-0.2]})
        >>> explanation = Explanation(shares.index, ("cat",), "log-odds", np.array([0.4]), np.array([0.1]), shares)
        >>> explanation.to_frame().round(1).to_dict("records")
        [{'outcome': 'cat', 'log-odds': 0.4, 'nothing': 0.1, 'text': 0.5, 'table': -0.2}]
    """

    index: object
    outcomes: tuple | None
    worth_name: str
    worth: np.ndarray
    nothing: np.ndarray
    modalities: object
    errors: object = None
    chosen: np.ndarray | None = None
    pieces: dict = dataclasses.field(default_factory=dict)
    missed: np.ndarray | None = None
    steps: int | None = None
    pictures: dict = dataclasses.field(default_factory=dict)
    cells: dict = dataclasses.field(default_factory=dict)
    texts: tuple = ()
    notes: list = dataclasses.field(default_factory=list)

    def __len__(self):
        return len(self.index)

    def __repr__(self):
        return f"<Explanation of {len(self):,} rows by {list(self.modalities.columns)}>"

    def to_frame(self):
        """DataFrame, a line for each row: what is explained, its worth, that of nothing, and each modality's value."""
        import pandas as pd

        told = {} if self.outcomes is None else {"outcome": list(self.outcomes)}
        told |= {self.worth_name: self.worth, "nothing": self.nothing}
        return pd.concat([pd.DataFrame(told, index=self.index), self.modalities], axis=1)

    def plot(self, row=0):
        """A matplotlib Figure of one row: the modalities' values on top, then words, columns and the picture, coloured by what they gave.

        Args:
            row: int, its number.

        Raises:
            ValueError: there is no such row.
        """
        if row not in range(len(self)):
            raise ValueError(f"`row` must be a number from 0 to {len(self) - 1}. Received: {row!r}.")
        return draw_row(self, row)

    def to_html(self, path, most=50):
        """Write the first rows as a standalone HTML file, atomically. Returns the path.

        Args:
            path: str or pathlib.Path.
            most: int, rows that are shown.
        """
        return write_rows(self, path, most)


def explain(pipe, df, choice=None, *, inside=True, verbose=0):
    """What decided the predictions of rows: how much each modality gave, and what within it.

    **Modalities**: exact Shapley values over all subsets of them (for more than 10, drawn, with standard errors). One that is not there is
    taken for missing, as in `evaluate(missing=True)`: the model has learnt what to say then. A row that lacks a modality gives it 0.

    **Inside**: integrated gradients along a straight way from a row that says nothing: of texts padding, of numbers and categories a
    missing value, of pictures their mean colour. What the parts of a row gave adds up to the difference that this makes, which is
    not the Shapley value: the row is still there, and says nothing. More places on the way are taken until they miss at most 2% of it.

    Args:
        pipe: a fitted `Pipeline`.
        df: DataFrame with the modalities' columns.
        choice: the class, label or column of numbers that is explained, or a word of the captions; None takes what each row is most likely,
            the number, or the whole caption. A list explains all rows for its first, then for its second, and so on.
        inside: bool, whether words, columns and pixels are asked for, which takes gradients through the towers.
        verbose: 1 shows progress of encoding.

    Returns:
        `Explanation`. What is divided is the log-odds of a class or label, the number in its unit, the cosine of a pair,
        the log-probability of a caption's words, each after those before it.

    Raises:
        ValueError: no row, a choice that is no class, a task that cannot be explained.
        KeyError, TypeError: as `Pipeline.predict`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> words = mm.Text("overview", encoder="lexical", name="words")
        >>> pipe = mm.Pipeline([words, mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> explanation = mm.explain(pipe, df.head(3), "Drama")
        >>> list(explanation.modalities.columns), [name for name, value in explanation.pieces["tabular"][0]]
        (['words', 'tabular'], ['budget', 'runtime'])
    """
    import pandas as pd

    fitted, df = pipe.check_fitted(), as_frame(df)
    task = fitted.task
    if isinstance(choice, list | tuple) and not choice:
        raise ValueError("`choice` must be None, one thing, or a list of at least one. Received: an empty list.")
    if task.worth_name is None:
        raise ValueError(
            f"`explain` needs a task that says what its predictions are worth. Received: a Pipeline for {type(task).__name__}, without a `worth_name`."
        )
    check_frame(df, columns_of(fitted.trunk.modalities))
    trunk = fitted.trunk.over(df, model=fitted.head)
    fitted = dataclasses.replace(fitted, trunk=trunk)
    predictions = fitted.predict(df, verbose)
    choices = list(choice) if isinstance(choice, list | tuple) else [choice]
    numbers, outcomes = zip(*(task.chosen(one, predictions) for one in choices), strict=True)
    chosen, outcomes = np.concatenate(numbers), None if outcomes[0] is None else sum(outcomes, ())
    model, worth_of = task.explained(fitted.head)
    names = [modality.name for modality in trunk.modalities]

    def worth(there):
        absent = [name for name in names if name not in there]
        outputs = trunk.outputs(model, df, absent=absent)
        outputs = {key: np.concatenate([x] * len(choices)) for key, x in outputs.items()}
        return np.asarray(worth_of(outputs, chosen), "float64")

    whole = worth(names)
    values, errors = shapley(names, lambda there: whole if len(there) == len(names) else worth(there))
    df = df if len(choices) == 1 else pd.concat([df] * len(choices))
    tables = [None if some is None else pd.DataFrame(some.T, df.index, names) for some in (values, errors)]
    explanation = Explanation(
        df.index, outcomes, task.worth_name, whole, whole - values.sum(axis=0), *tables, chosen=chosen
    )
    return _looked_inside(explanation, fitted, df, chosen) if inside else explanation


def _looked_inside(explanation, fitted, df, chosen):
    """The same with pieces."""
    found, notes = Gradients(fitted).inside(df, chosen), []
    missed = found.error / np.maximum(np.abs(found.difference), NOTHING)
    if found.closed:
        notes.append(f"Not differentiable, so that only what they gave as a whole is told: {', '.join(found.closed)}.")
    many = (missed > ENOUGH).sum()
    if many:
        notes.append(f"The pieces of {many:,} of {len(df):,} rows miss more than {ENOUGH:.0%} of what they divide.")
    pictures, cells = {}, {}
    for modality in fitted.trunk.modalities:
        columns, rows = list(modality.all_columns), found.pieces.get(modality.name, [])
        names = {name for row in rows if isinstance(row, list) for name, _ in row}
        if names and names <= set(columns):
            cells[modality.name] = df[columns]
        shown = [name for name, column in modality.readers.items() if column.picture]
        if shown and modality.name in found.pieces:
            columns = [map(modality.readers[name].shown, df[name]) for name in shown]
            pictures[modality.name] = list(zip(*columns, strict=True))
    texts = tuple(m.name for m in fitted.trunk.modalities if m.name in found.pieces and m.reads_in_order)
    more = {
        "texts": texts,
        "pieces": found.pieces,
        "missed": missed,
        "steps": int(found.steps.max()),
        "pictures": pictures,
        "cells": cells,
    }
    return dataclasses.replace(explanation, **more, notes=notes)

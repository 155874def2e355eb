"""Answers of a fitted model to the cells of requests."""

import dataclasses

import numpy as np
import pandas as pd

from mmkeras.data.columns import columns_of
from mmkeras.data.frames import column_label
from mmkeras.data.numbers import is_gap
from mmkeras.serving.hearing import heard
from mmkeras.serving.limits import Refused
from mmkeras.serving.requests import SERVE

TOLD = (KeyError, TypeError, ValueError, OSError)  # errors that are about the rows


@dataclasses.dataclass
class Reply:
    """What a model says of some rows.

    Attributes:
        table: {name: list of a value for each row}, as `Pipeline.predict` gives them.
        decisions: list of what `Pipeline.predict_labels` gives, or None where the table holds the same.
        told: sentences about cells that count as missing.
    """

    table: dict
    decisions: list | None
    told: list = dataclasses.field(default_factory=list)

    def rows(self, start, stop):
        """The answer about some of the rows."""
        table = {name: values[start:stop] for name, values in self.table.items()}
        return Reply(table, None if self.decisions is None else self.decisions[start:stop], self.told)

    @classmethod
    def joined(cls, answers):
        """One answer about the rows of several."""
        first = answers[0]
        table = {name: [value for answer in answers for value in answer.table[name]] for name in first.table}
        decided = None if first.decisions is None else [d for answer in answers for d in answer.decisions]
        return cls(table, decided, list(dict.fromkeys(sentence for answer in answers for sentence in answer.told)))


@dataclasses.dataclass
class Part:
    """Rows of a request that are predicted together.

    Attributes:
        cells: {column: list}. rows: int, how many. start: int, the first one's number in the request.
    """

    cells: dict
    rows: int
    start: int = 0


class Answers:
    """The answers of a fitted `Pipeline`.

    Args:
        pipe: `Pipeline`.
        side: name of a side of a Pipeline for retrieval, of whose rows the vectors are the answer; None for predictions.
        sets: bool, whether sets that hold the truth are the answer.

    Attributes:
        columns: {name: Column} of what it reads.
        nothing: the `Reply` about no rows.
    """

    def __init__(self, pipe, side=None, sets=False):
        self._fitted, self._side, self._sets = pipe.check_fitted(), side, sets
        modalities = self._fitted.trunk.modalities
        own = [m for m in modalities if side is None or m.name in self._fitted.task.sides[side]]
        self.columns = columns_of(own)
        self.nothing = self.one(Part({name: [None] for name in self.columns}, 1)).rows(
            0, 0
        )  # it traces the graphs, too

    @property
    def about(self):
        """The answers in a sentence."""
        task = self._fitted.task
        if self._side is not None:
            return f"vectors of the side {self._side!r}"
        if self._sets:
            return f"sets that hold {task.column!r} with a probability of {task.sets['coverage']:g}"
        return f"{type(task).__name__} of {task.column!r}"

    def together(self, parts):
        """A `Reply` for each part, or the exception that it raised; equal to what the part gets by itself.

        What one of them is warned of, or fails by, is not told to the others: then each is predicted by itself.

        Args:
            parts: list of `Part`.
        """
        if len(parts) > 1:
            cells = {name: [cell for part in parts for cell in part.cells[name]] for name in self.columns}
            whole = self._tried(Part(cells, sum(part.rows for part in parts)))
            if isinstance(whole, Reply) and not whole.told:
                ends = np.cumsum([part.rows for part in parts]).tolist()
                return [whole.rows(end - part.rows, end) for part, end in zip(parts, ends, strict=True)]
        return [self._tried(part) for part in parts]

    def one(self, part):
        """The `Reply` of a part.

        Raises:
            Refused: a cell that its column cannot read, with its row; or what the model says of the rows.
        """
        frame = self._frame(part)
        with heard() as told:
            try:
                said = self._say(frame)
            except TOLD as error:
                sentence = error.args[0] if isinstance(error, KeyError) and error.args else error
                raise Refused(422, str(sentence)) from error
            if told:
                self._refuse_unread(frame, part)
                told[:] = dict.fromkeys(told)
            return dataclasses.replace(said, told=list(told))

    def _tried(self, part):
        try:
            return self.one(part)
        except Exception as error:  # told to whom it is about
            return error

    def _say(self, df):
        """The `Reply` about rows of a DataFrame."""
        if self._side is not None:
            return Reply({self._side: self._fitted.embed(df, side=self._side).tolist()}, None)
        task, predictions = self._fitted.task, self._fitted.answer(df)
        if self._sets:
            frame = task.frame_sets(task.in_sets(predictions), df.index)
            return Reply(_table(pd.DataFrame(frame)), None)
        table = _table(task.frame(predictions, df.index))
        decisions = task.series(predictions, df.index).tolist()
        return Reply(table, None if table.get(task.column) == decisions else decisions)

    def _frame(self, part):
        index = pd.RangeIndex(part.start, part.start + part.rows)
        return pd.DataFrame(
            {name: _series(column, part.cells[name], index) for name, column in self.columns.items()}, index=index
        )

    def _refuse_unread(self, frame, part):
        """Raise where a cell is something, but nothing that its column reads."""
        for name, column in self.columns.items():
            if column.files:  # the model's own setting says what becomes of those
                continue
            missing = np.asarray(column.gaps(column.values(frame[name])), dtype=bool)
            for row in np.flatnonzero(missing):
                cell = part.cells[name][row]
                empty = cell is None or cell == [] or cell != cell or is_gap(cell)
                if not empty:
                    where = f"in row {part.start + row}, column {name!r}"
                    raise Refused(
                        422, f"A cell of {name!r} must be a {column.reads}, or null. Received: {cell!r:.200} {where}."
                    )


def _table(frame):
    """{name: list} of a DataFrame."""
    return {column_label(name): frame[name].astype(object).tolist() for name in frame}


def _series(column, cells, index):
    """Cells as a column of a DataFrame, each as it was given."""
    if column.dtype != "string" and set(map(type, cells)) <= {int, float, type(None)}:
        try:
            return pd.Series(np.array([np.nan if cell is None else cell for cell in cells], "float64"), index)
        except OverflowError:
            pass
    return pd.Series(cells, index, dtype=object)


def signatures(pipe):
    """{signature: `Answers`} of a fitted Pipeline, named as in its exported model; "serve" is the main one."""
    sides = {f"embed_{side}": Answers(pipe, side) for side in pipe.check_fitted().task.sides}
    sets = {} if pipe.task.sets is None else {"predict_sets": Answers(pipe, sets=True)}
    return {SERVE: Answers(pipe), **sets, **sides}

"""What a table's columns are, which modalities and task would read them, and the code that says so."""

import dataclasses
import warnings

import numpy as np

from mmkeras.data.categories import group
from mmkeras.data.columns import DateColumn, check_frame
from mmkeras.data.frames import as_frame, column_labels
from mmkeras.data.sample import Sample
from mmkeras.data.telling import quiet
from mmkeras.inspection.alone import outputs
from mmkeras.inspection.as_code import as_program
from mmkeras.inspection.verdicts import CERTAIN, CLOSE, judge, judge_by_target, recurs, same_as
from mmkeras.modalities import with_claims
from mmkeras.pipeline import Pipeline
from mmkeras.registry import subclasses
from mmkeras.tasks.base import Task

MOST_ROWS, FEWEST_ROWS = 10_000, 500  # that are looked at, evenly spread
MOST_CELLS = 5_000_000
SPLIT_FROM = 20  # rows of which some can be held out
SHOWN = 200  # columns, where a suggestion is printed
MOST_TARGETS = 200_000  # cells of the target that are looked at
MOST_COMPARED = 20_000_000  # cells of a table of which equal rows are looked for
TOLD = ("kind", "read by", "unsure", "why", "missing", "different")


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Suggestion:
    """How a table could be learnt: a beginning to change, as code. It prints itself.

    Attributes:
        modalities: list of modalities.
        task: the task.
        columns: DataFrame with a row for each column, on its name: "kind", "read by" (names of modalities, or ''), "unsure", "why",
            "missing" (share of the cells), "different" (distinct cells among those looked at).
        notes: list of sentences about the rows, and about what could be done else.
        code: str, Python that makes a Pipeline of the table `df`, fits it, and judges it on rows held out.
        told: str, what was looked at.
        groups: list of columns whose rows of one value belong together.
        rows: (R,) bools, the rows that can be learnt from.

    Example:
        >>> import mmkeras as mm
        >>> suggestion = mm.suggest(mm.samples.movies(200, seed=0), "genres")
        >>> suggestion.columns["kind"]["overview"], suggestion.task
        ('text', MultiLabel(column='genres', classes=None, separator=None, flags=None))
    """

    modalities: list
    task: object
    columns: object
    notes: list
    code: str
    told: str
    groups: list
    rows: np.ndarray

    def pipeline(self, **settings):
        """A `Pipeline` of the modalities and the task, not fitted.

        Args:
            **settings: of `Pipeline`, such as fusion.
        """
        return Pipeline(list(self.modalities), self.task, **settings)

    def __str__(self):
        shown = self.columns.head(SHOWN)
        wide = max([len("column"), *map(len, shown.index)]), max([len("kind"), *map(len, shown["kind"])])
        lines = [f"{name:<{min(wide[0], 40)}}  {kind:<{wide[1]}}  {why}" for name, kind, why in
                 zip(shown.index, shown["kind"], shown["why"], strict=True)]  # fmt: skip
        if len(shown) < len(self.columns):
            lines.append(f"and {len(self.columns) - len(shown):,} more: see `.columns`")
        head = f"{'column':<{min(wide[0], 40)}}  {'kind':<{wide[1]}}  why"
        return "\n".join([self.told, "", self.code, head, *lines, "", *(f"- {note}" for note in self.notes)])

    __repr__ = __str__


def suggest(df, target):
    """Look at a table, and say as code which modalities and task would learn its target, with a sentence for each column.

    Kinds of columns are judged by their values, on at most 10,000 rows evenly spread: numbers (also "$1,234.50" and "12 %"), categories,
    dates, texts, pictures. Left out, with the reason, are ids, constants, links, files that are not there, columns that say the same as
    another or as the target, and those that tell the target almost alone on rows held out, as what is known only afterwards does.
    Where values do not say what a column is, the sentence begins with "unsure". Nothing is fitted or changed.

    Args:
        df: pandas DataFrame, or a table of another kind that `as_frame` takes.
        target: the column to be predicted, or a list of columns of 0 and 1, one for each label.

    Returns:
        `Suggestion`, with `code`, `modalities`, `task`, `columns`, `notes` and `pipeline()`.

    Raises:
        TypeError: `df` is no table.
        KeyError: no column of this name.
        ValueError: a target without values, with one value alone, or of which no task makes sense; no column that tells of it.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(200, seed=0)[["overview", "runtime", "genres"]]
        >>> print(mm.suggest(df, "genres").code)
        import mmkeras as mm
        <BLANKLINE>
        train, test = mm.split_frame(df, 0.2, seed=0)
        pipe = mm.Pipeline(
            [
                mm.Text("overview", encoder="lexical", sequence_length=64),
                mm.Tabular(numeric=["runtime"]),
            ],
            mm.MultiLabel("genres"),
        )
        pipe.fit(train)
        print(pipe.evaluate(test))
        <BLANKLINE>
    """
    frame, targets = as_frame(df, "`mm.suggest`"), column_labels(target)
    if not targets or len(set(targets)) < len(targets):
        raise ValueError(f"`target` must name a column, or several different ones. Received: {target!r}.")
    check_frame(frame, targets, "`mm.suggest`")
    goal = _goal(frame, targets)
    looked = frame.iloc[_spread(np.flatnonzero(goal.known), len(frame.columns))]
    verdicts = _judged(looked, targets)
    task, told = _task(goal, _modalities(verdicts))
    _judge_by_target(verdicts, task, looked, goal.unread)
    modalities = _modalities(verdicts, task.sequences)
    if not modalities:
        seen = "; ".join(f"{name!r}: {verdict.sentence}" for name, verdict in list(verdicts.items())[:20])
        raise ValueError(
            f"A column must tell something of {task.column!r}, and be known before it. Received: {seen or 'no other column'}."
        )
    groups, notes = _notes(frame, verdicts, modalities, goal)
    lines = _known_lines(df, frame, goal, task)
    code = as_program(modalities, task, lines, _split(len(frame), groups))
    if len(looked) < len(frame):
        notes.append(f"{len(looked):,} of {len(frame):,} rows were looked at.")
    told = f"{task.column!r} of {len(frame):,} rows: {told}"
    rows = _learnable(frame, goal) if lines else np.ones(len(frame), bool)
    return Suggestion(modalities, task, _table(verdicts, modalities), notes, code, told, groups, rows)


def suggest_task(df, targets, modalities):
    """The task that `suggest` would choose for a target.

    Args:
        df: pandas DataFrame with the target.
        targets: list of its columns.
        modalities: what would be read to answer it.

    Raises:
        ValueError: see `suggest`.

    Example:
        >>> import mmkeras as mm
        >>> suggest_task(mm.samples.movies(60, seed=0), ["runtime"], []).column
        'runtime'
    """
    return _task(_goal(df, targets), modalities)[0]


@dataclasses.dataclass
class _Goal:
    """The target: names of its columns, a `Sample` of each, (rows,) bools where it has a value; cells that its task cannot read."""

    names: list
    samples: list
    known: np.ndarray
    unread: list = dataclasses.field(default_factory=list)


def _goal(frame, targets):
    known = frame[targets].notna().all(axis=1).to_numpy(dtype=bool)
    if not known.any():
        raise ValueError(
            f"The target {targets} must be known in some rows. Received: {len(frame)} rows without a value."
        )
    rows = np.flatnonzero(known)
    samples = [Sample(frame[name].iloc[rows[:: 1 + len(rows) // MOST_TARGETS]]) for name in targets]
    cells = samples[0].distinct if len(targets) == 1 and samples[0].lists is None else ()
    if len(targets) == 1 and samples[0].lists is None and len(cells) < 2:
        cells = cells if len(cells) else samples[0].series.unique()
        raise ValueError(
            f"The target {targets[0]!r} must vary. Received: {cells[0]!r:.60} in all of {len(rows)} rows that have a value. "
            "There is nothing to learn; check the data."
        )
    return _Goal(targets, samples, known)


def _spread(rows, columns):
    """Some of the rows, evenly spread: fewer where there are many columns."""
    most = int(np.clip(MOST_CELLS // max(1, columns), FEWEST_ROWS, MOST_ROWS))
    return rows[np.linspace(0, len(rows) - 1, most).astype(int)] if len(rows) > most else rows


def _judged(looked, targets):
    """{column: Verdict} by cells alone; of a name that two columns have, or none, nothing can be read."""
    verdicts, twice = {}, set(looked.columns[looked.columns.duplicated()])
    for place, name in enumerate(looked.columns):
        if name not in targets:
            verdicts[name] = judge(Sample(looked.iloc[:, place]))
            if name in twice or not name:
                verdicts[name].leave_out("no name", "it has no name of its own, by which it could be read: rename it")
    return verdicts


def _modalities(verdicts, sequences=False):
    """The modalities of what verdicts say, in the order of their classes."""
    modalities = []
    for cls in with_claims():
        claims = {name: verdict.readers[cls] for name, verdict in verdicts.items() if cls in verdict.readers}
        made = cls.of_claims(claims, sequences=sequences) if claims else []
        modalities += [modality for modality in made if modality.sequence or not sequences]
    return modalities


def _task(goal, modalities):
    """(task, why in words) of a target; `goal` learns which cells it cannot read."""
    claims = [(cls.claim(goal.samples, modalities), cls) for cls in subclasses(Task) if "claim" in vars(cls)]
    claims = sorted([pair for pair in claims if pair[0]], key=lambda pair: -pair[0].strength)
    if not claims:
        cells = goal.samples[0]
        raise ValueError(
            "A target must hold classes that recur, labels, numbers, or, beside pictures that are there, sentences. Received: "
            f"{goal.names} with {len(cells.distinct):,} different cells in {len(cells.series):,} rows, such as "
            f"{cells.distinct[0]!r:.60}. Choose another column, or make it one of these."
        )
    (best, cls), *others = claims
    column = goal.names[0] if len(goal.names) == 1 else goal.names
    doubts = [best.doubt] if best.doubt else []
    for claim, other in others:
        if claim.strength >= best.strength - CLOSE and best.strength < CERTAIN:
            doubts.append(f"mm.{other.__name__}({column!r}) may be meant ({claim.why})")
    goal.unread = best.unread
    return cls(column, **best.settings), "; ".join([best.why, *(f"unsure: {doubt}" for doubt in doubts)])


def _judge_by_target(verdicts, task, looked, unread):
    """Judge columns by what they tell of the target, and beside each other."""
    read = (
        ~looked[list(task.columns)].isin(unread).any(axis=1).to_numpy(dtype=bool)
        if unread
        else np.ones(len(looked), bool)
    )
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # `fit` says it
        values = task.adapt(looked[read]).target(looked[read]).values
    if values is not None:
        target = outputs(values)
        codes = np.unique(values.reshape(len(values), -1), axis=0, return_inverse=True)[1].reshape(-1)
        for verdict in verdicts.values():
            judge_by_target(verdict, target, codes, read)
    for name, other in same_as(verdicts).items():
        verdicts[name].leave_out("duplicate", f"it says the same as {other!r}, row for row")


# --- what is told


def _table(verdicts, modalities):
    import pandas as pd

    readers = {name: [] for name in verdicts}
    for modality in modalities:
        for name in modality.columns_read:
            readers[name].append(modality.name)
    rows = [
        [
            verdict.reads, ", ".join(readers[name]), bool(verdict.doubts), verdict.sentence,
            float((verdict.sample.codes < 0).mean()), len(verdict.sample.distinct),
        ]
        for name, verdict in verdicts.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, index=pd.Index(list(verdicts), name="column", dtype=object), columns=list(TOLD))


def _notes(frame, verdicts, modalities, goal):
    """(columns whose rows of one value belong together, sentences)."""
    groups = [name for name, verdict in verdicts.items() if verdict.group]
    groups += [name for name, verdict in verdicts.items() if name not in groups and recurs(verdict, frame[name])]
    notes = []
    for name in groups:
        notes.append(
            f"Rows share values of {name!r}, and what is learnt of one of them helps with the others: keep them on one side, "
            f"mm.split_frame(df, 0.2, by={name!r})."
        )
    dates = [name for name, verdict in verdicts.items() if verdict.readers and verdict.claim.reads == DateColumn.reads]
    if dates:
        notes.append(f"If later rows are to be predicted, judge on such: mm.split_frame(df, 0.2, time={dates[0]!r}).")
    notes += dict.fromkeys(modality.advice for modality in modalities if modality.advice)
    twice = _doubled(frame)
    if twice:
        notes.append(
            f"{twice:,} rows are copies of others, and may stand on both sides of a split: df.drop_duplicates() leaves one."
        )
    if (gone := int((~goal.known).sum())) > 0:
        notes.append(f"{gone:,} of {len(frame):,} rows have no target.")
    if goal.unread:
        rows = int(frame[goal.names[0]].isin(goal.unread).sum())
        notes.append(
            f"Of {rows:,} rows the target cannot be read, such as {goal.unread[0]!r:.40}; the code leaves them out."
        )
    return groups, notes


def _doubled(frame):
    """How many rows are equal to an earlier one, as far as they can be compared."""
    if frame.size > MOST_COMPARED or len(frame.columns) > FEWEST_ROWS or frame.columns.duplicated().any():
        return 0
    return len(frame) - len(np.unique(group(frame)[0]))


def _known_lines(df, frame, goal, task):
    """Lines of code that leave out rows whose target cannot be learnt."""
    lines = []
    if not goal.known.all() and _refuses(task, frame.iloc[_with_gap(goal.known)]):
        lines = [f"df = df[{_cells(df, frame, name)}.notna()]" for name in goal.names]
    if goal.unread:
        lines.append(f"df = df[~{_cells(df, frame, goal.names[0])}.isin({goal.unread!r})]")
    if lines and not hasattr(df, "iloc"):
        lines.insert(0, "df = df.to_pandas()")
    return lines


def _learnable(frame, goal):
    """(rows,) bools of those that the lines of code leave."""
    return goal.known & ~frame[goal.names].isin(goal.unread).any(axis=1).to_numpy(dtype=bool)


def _with_gap(known):
    """A few rows, one of them without a target."""
    return np.sort(np.append(np.flatnonzero(known)[:1000], np.flatnonzero(~known)[0]))


def _refuses(task, rows):
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        try:
            task.adapt(rows)
        except ValueError:
            return True
    return False


def _cells(df, frame, name):
    """Code of a column of `df`, whose own label may be no string."""
    place = frame.columns.get_loc(name)
    same = not hasattr(df, "iloc") or (df.columns.nlevels == 1 and isinstance(df.columns[place], str))
    return f"df[{name!r}]" if same else f"df.iloc[:, {place}]"


def _split(rows, groups):
    """The setting of the split in code, such as "by='case'"; None where there are too few rows to hold any out."""
    return None if rows < SPLIT_FROM else f", by={groups[0]!r}" if groups else ""

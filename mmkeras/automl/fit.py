"""`fit`: a table and a time to a model, by what is known to work and what turns out to."""

import time as clock

import numpy as np

from mmkeras.automl.members import EVERY_ROW, NO_FOLD
from mmkeras.automl.portfolio import candidates, plan_of
from mmkeras.automl.rows import judged_rows, read_table
from mmkeras.automl.run import Run, make_bench
from mmkeras.data.frames import as_frame, frame_if_rows
from mmkeras.fitting import Fitted
from mmkeras.pipeline import Pipeline
from mmkeras.search.ensemble import scales_of, scorer
from mmkeras.search.selection import select
from mmkeras.search.trail import Trail
from mmkeras.search.trials import check_objective
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.training import CHOSEN
from mmkeras.trunk.trunk import Rows

SPARE = 0.05  # of the time, for choosing and joining
MORE_ROWS = 1.3  # how much longer a head takes that leaves no rows out, at most


def fit(
    df, target, minutes=20, *, modalities=None, task=None, by=None, time=None, validation_data=None, ensemble=8,
    text_encoder=CHOSEN, objective=None, seed=0, cache_dir=None, verbose=1,
):  # fmt: skip
    """Look at a table, train what is known to work on it and variations of what works best, and return an ensemble as one Pipeline.

    What `mm.suggest` would suggest is read, unless you say what. Members are heads on the same cached features. Each is trained once
    for every fold, all folds in one pass, and judged on the rows it left out; a greedy selection chooses and weighs them by these, and who
    is chosen learns from all rows. Ctrl-C, or the end of the time, gives the best so far. `pipe.trail` tells what was tried, `pipe.notes` what
    was found.

    Args:
        df: pandas DataFrame to learn from, or a table of another kind that `as_frame` takes. Keep the rows that the model is to be
            judged on out of it.
        target: the column to be predicted, or a list of columns of 0 and 1, one for each label.
        minutes: float, about how long it may take; frozen towers, and a pass over the rows by the first member, take the time that they need.
        modalities: list of modalities, in place of the suggested ones.
        task: the task, in place of the suggested one.
        by: name of a column, or a list of names, whose values never stand on both sides of a split, see `split_frame`.
        time: name of a column of dates or numbers; members are judged on its latest fifth. The ensemble then learns from that, too.
        validation_data: DataFrame to judge members on, in place of folds; nothing is learnt from it.
        ensemble: int, how many members it may have; 1 for the best alone.
        text_encoder: what reads texts, frozen, beside their words: see `encoder` of `Text`; but for texts that recur more than ten times
            on average, which words tell apart as well. None for words alone; left out, the characters of those words that were suggested.
        objective: a metric of the task, such as "accuracy" or "mae", by which members are judged and chosen; None for the one that
            reports compare by.
        seed: int. Where time does not cut it short, the same seed gives the same model.
        cache_dir: folder of the feature cache, see `Pipeline.fit`.
        verbose: 0 silent; 1 tells what is read, and each member.

    Returns:
        `Pipeline`, with `trail` (`search.Trail`).

    Raises:
        KeyError, TypeError, ValueError: columns, rows or settings that cannot work; see `mm.suggest` for what it cannot read.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(80, seed=0)[["runtime", "budget", "genres"]]
        >>> pipe = mm.fit(df, "genres", minutes=0.01, verbose=0)
        >>> pipe.predict(df).shape[0]
        80
    """
    _check(minutes, ensemble, by=by, time=time, validation_data=validation_data)
    start = clock.monotonic()
    table = read_table(as_frame(df, "`mm.fit`"), target, modalities, task, text_encoder=text_encoder, verbose=verbose)
    rows = judged_rows(table, frame_if_rows(validation_data, "validation_data"), by=by, time=time, seed=seed)
    check_objective(table.task, objective)
    bench = make_bench(table, rows, CacheFolder(cache_dir), seed=seed, verbose=verbose)
    end, count = start + 60.0 * minutes * (1 - SPARE), len(set(rows.folds) - {NO_FOLD})
    more = MORE_ROWS if rows.refit else 0.0  # the time of a head more of each member, kept for the end
    share, now = count / (count + more), clock.monotonic()
    run = Run(bench, objective or table.task.primary, now + share * (end - now), verbose)
    run.portfolio(candidates(bench.task, bench.trunk.modalities))
    return _finish(run, table, rows, size=ensemble, end=end)


def _check(minutes, ensemble, *, by, time, validation_data):
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < float("inf"):
        raise ValueError(f"`minutes` must be a number above 0. Received: {minutes!r}. Use for example 20.")
    if isinstance(ensemble, bool) or not isinstance(ensemble, int) or ensemble < 1:
        raise ValueError(f"`ensemble` must be a positive int. Received: {ensemble!r}. Use 1 for no ensemble.")
    given = {"by": by, "time": time, "validation_data": validation_data}
    given = [name for name, value in given.items() if value is not None]
    if len(given) > 1:
        raise ValueError(f"Rows to judge members on are found in one way. Received: {given}. Leave all but one out.")


def _finish(run, table, rows, *, size, end):
    """The Pipeline of the best members, and what is told of them.

    Args:
        run: `Run`. table: `Table`. rows: `JudgedRows`.
        size: int, the most members.
        end: moment of `time.monotonic()` by which it should be done.
    """
    bench, objective = run.bench, run.objective
    task, target = bench.task, bench.judged_target
    selection = select(
        [member.predictions for member in run.members], scorer(task, target, objective), size=size,
        scales=scales_of(task, "chosen"), smaller=objective in task.smaller_is_better,
    )  # fmt: skip
    order = np.argsort(-selection.counts, kind="stable")[: int((selection.counts > 0).sum())]
    chosen, counts = [run.members[i] for i in order], selection.counts[order]
    weighed = _learn_from_all(run, chosen, counts, end) if rows.refit else []
    weighed = weighed or [(head, n / len(m.heads)) for m, n in zip(chosen, counts, strict=True) for head in m.heads]
    trunk, head = bench.combine([head for head, _ in weighed], [weight for _, weight in weighed], selection.scale)
    first = chosen[0].candidate
    fitted = Fitted(
        task, trunk, head, first.head, _part(bench, rows.folds != 0), _part(bench, rows.folds == 0),
        plan_of(first, task, len(rows.df), bench.seed),
    )  # fmt: skip
    fitted.tune(target, selection.predictions, calibrate=task.calibrates(objective))
    pipe = Pipeline.of(fitted, **first.head)
    pipe.notes = [*_told(run, chosen, counts, selection), *run.notes, *table.notes]
    pipe.trail = _trail(run, selection, len(bench.judged), task.column)
    if run.verbose:
        print(f"\n{pipe.notes[0]}", flush=True)
    return pipe


def _part(bench, flags):
    """`Rows` of some rows of a workbench: rivals are fitted on some and tuned on others."""
    df = bench.df.iloc[np.flatnonzero(flags)]
    return Rows(df, bench.task.target(df))


def _learn_from_all(run, members, counts, end):
    """[(`Head`, weight), …] of the same candidates, trained on all rows; [], which is noted, where there is no time for it."""
    needs = MORE_ROWS * sum(member.seconds / len(member.heads) for member in members)
    if not run.interrupted and clock.monotonic() + needs < end:
        groups, weighed = {}, []
        for member, count in zip(members, counts, strict=True):
            groups.setdefault(member.candidate.group, []).append((member.candidate, count))
        try:
            for group in groups.values():
                heads = group[0][0].train(run.bench, [(candidate, EVERY_ROW) for candidate, _ in group]).heads
                weighed += [(head, float(count)) for head, (_, count) in zip(heads, group, strict=True)]
            return sorted(weighed, key=lambda pair: -pair[1])
        except KeyboardInterrupt:
            pass
    run.notes.append("There was no time to train members on all rows: the heads that left out some predict together.")
    return []


def _told(run, members, counts, selection):
    """Sentences about an ensemble and each of its members."""
    best, objective = run.best_first()[0], run.objective
    lines = [
        f"An ensemble of {len(members)} of {len(run.members)} members, a weighted mean of their "
        f"{'predictions' if selection.scale == 'predictions' else 'logits'}: {objective} {selection.score:.3f} on "
        f"{len(run.bench.judged):,} rows that the judged heads did not learn from; the best member alone, {best.candidate.name!r}, "
        f"{best.score:.3f}. They were chosen on these rows: judge the model on others."
    ]
    for member, count in zip(members, counts, strict=True):
        lines.append(
            f"Member {member.candidate.name!r} ({', '.join(member.candidate.reads)}): weight {count / sum(counts):.2f}, {objective} "
            f"{member.score:.3f} alone."
        )
    return lines


def _trail(run, selection, rows, target):
    """`Trail` of all members."""
    import pandas as pd

    shares, number, lines = selection.counts / selection.counts.sum(), 0, []
    for record in run.records:
        facts = {name: record.get(name, np.nan) for name in ("score", "low", "high", "seconds")}
        share = 0.0
        if not record["failure"]:
            share, number = float(shares[number]), number + 1
        lines.append({**record["choices"], **facts, "weight": share, "failure": record["failure"]})
    direction = "max" if run.sign > 0 else "min"
    return Trail(pd.DataFrame(lines), run.objective, direction, list(run.notes), rows, target)

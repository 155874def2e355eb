"""Ablation: what each modality, and each way to handle imbalance, is worth."""

import contextlib
import dataclasses
import gc
import inspect
import tempfile
import warnings

from mmkeras.data.check import warn_of_columns
from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import as_frame, frame_if_rows
from mmkeras.evaluation import metrics
from mmkeras.evaluation.report import indent
from mmkeras.evaluation.rivals import Bench
from mmkeras.fitting import Recipe, Series
from mmkeras.inspection.folds import folds_of, pooled_scores, read_rows
from mmkeras.pipeline import Pipeline
from mmkeras.trunk.store import CacheFolder, close_store
from mmkeras.trunk.trunk import Rows

NO_WAY = "–"  # of baselines, which know only one way to be trained


@dataclasses.dataclass(frozen=True, repr=False)
class Ablation:
    """What `ablate` found. Print it, or see `to_html`.

    Attributes:
        table: DataFrame with a row per variant and baseline, best first: the columns modalities and loss, then each
            metric with the bounds of its 95% interval as "…_low" and "…_high".
        notes: list of sentences about what the figures allow one to say.
        rows: int, how many rows were judged.
        target: str, the target column.
        primary: str, the metric that the order and the notes are about.
        predictions: {(modalities, loss): predictions}, in the order of the judged rows, such as (rows, outputs).

    Example:
        >>> import mmkeras as mm
        >>> train, test = mm.split_frame(mm.samples.movies(60, seed=0), 0.3, seed=0)
        >>> modalities = [mm.Tabular(numeric=["budget", "runtime"])]
        >>> found = mm.ablate(modalities, mm.MultiLabel("genres"), train, test, losses=["focal"], epochs=1, verbose=0)
        >>> found.rows
        18
    """

    table: object
    notes: list
    rows: int
    target: str
    primary: str
    predictions: dict

    def to_html(self, path):
        """Write table and plot as one HTML file. Returns the path."""
        from mmkeras.evaluation.pages import write_ablation

        return write_ablation(self, path)

    def __str__(self):
        shown = self.table[[c for c in self.table if not c.endswith(("_low", "_high"))]].round(3)
        for name in [c for c in shown if f"{c}_low" in self.table]:
            bounds = zip(self.table[f"{name}_low"], self.table[f"{name}_high"], strict=True)
            shown.insert(shown.columns.get_loc(name) + 1, f"{name} 95%", [f"[{a:.3f}, {b:.3f}]" for a, b in bounds])
        lines = [f"Ablation of {self.target!r} on {self.rows} rows (95% bootstrap intervals)"]
        lines += [indent(shown.to_string(index=False)), ""]
        return "\n".join(lines + [f"- {note}" for note in self.notes])

    __repr__ = __str__


def ablate(
    modalities, task, df, test_data=None, *, folds=5, by=None, time=None, losses=None, fusion="concat", head=None,
    cache_dir=None, seed=0, verbose=1, **fit,
):  # fmt: skip
    """Train and judge all modalities together and each alone, in each way that the task knows.

    Everything reads one feature cache, so frozen towers run once. Baselines that know little (label frequencies, TF-IDF
    with a linear model) are fitted on the same rows. It is the table of ablations that the tutorial on multimodal
    entailment ends with, with intervals.

    Args:
        modalities: list of modalities.
        task: a task, such as `MultiClass` or `MultiLabel`.
        df: DataFrame to learn from; with `folds`, every row is judged once by models that did not see it.
        test_data: DataFrame to judge on instead of folds.
        folds: int, for cross-validation, stratified by class; or folds of your own; see `cross_validate`.
        by, time: columns by which folds are made; see `cross_validate`.
        losses: some of the task's ways to train, such as "standard", "weighted" (or "class-weighted") and "focal"; None takes
            all.
        fusion: str, of the model with all modalities; see `build_head`.
        head: dict of further settings of the task's head, see `build_head`.
        cache_dir: folder for cached features; None uses a temporary one.
        seed: int.
        verbose: 0 is silent; 1 prints a line for each model.
        **fit: settings of `Pipeline.fit`, for example epochs, batch_size and learning_rate.

    Returns:
        `Ablation`.

    Raises:
        TypeError: settings that `Pipeline.fit` does not take.
        ValueError: unknown losses, settings that `ablate` makes itself, a modality named "all", a class with fewer rows than
            folds; folds that cannot be made.

    Example:
        >>> import mmkeras as mm
        >>> train, test = mm.split_frame(mm.samples.movies(60, seed=0), 0.3, seed=0)
        >>> table = [mm.Tabular(numeric=["runtime"], name="length"), mm.Tabular(numeric=["budget"], name="money")]
        >>> ablation = mm.ablate(table, mm.Regression("popularity"), train, test, epochs=1, verbose=0)
        >>> list(ablation.table.columns[:2])
        ['modalities', 'loss']
    """
    inspect.signature(Pipeline.fit).bind_partial(**fit)  # a TypeError names what it does not take
    ways = _chosen_ways(task, losses, fit)
    test_data, notes = frame_if_rows(test_data, "test_data"), []
    df, written, task = read_rows(modalities, task, as_frame(df))
    if "all" in [modality.name for modality in modalities]:
        raise ValueError("No modality may be named 'all': the table calls all of them so. Received: one. Rename it.")
    if test_data is None:
        places = folds_of(task, df, folds, by=by, time=time, seed=seed)
        splits = [(df.iloc[train], df.iloc[test]) for train, test in places]
    else:
        test_data, notes = _judged(test_data, modalities, task)
        splits = [(df, test_data)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `fit` says it
        notes += [note for modality in modalities for note in modality.notes(df)]
    subsets = {"all": list(modalities)} if len(modalities) > 1 else {}
    subsets.update({modality.name: [modality] for modality in modalities})
    tested, judged = [], {}
    with contextlib.ExitStack() as stack:
        if cache_dir is None:
            cache_dir = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            stack.callback(close_store, cache_dir)
        settings = {"validation_data": None if task.tunes else False, "seed": seed, "cache_dir": cache_dir, **fit}
        for number, (train, test) in enumerate(splits):
            tested.append(test)
            for name, rival in _simple(train, modalities, task):
                judged.setdefault((name, NO_WAY), []).append((task, rival.predict(None, test)))
            for name, chosen in subsets.items():
                recipe = Recipe(chosen, written, {"fusion": fusion, **_head_of(chosen, head or {})})
                for way, learnt, predictions in _learnt(recipe, (train, test), ways, settings):
                    judged.setdefault((name, way), []).append((learnt, predictions))
                    if verbose:
                        print(f"{number + 1} of {len(splits)}: {name}, {way}", flush=True)
    return _summary(task, tested, judged, notes)


def _learnt(recipe, split, ways, fit):
    """(way, task, predictions) of a recipe that is learnt in each way; what is the same in all is done once.

    Args:
        recipe: `Recipe`.
        split: (training rows, judged rows).
        ways: see `_chosen_ways`.
        fit: settings of `Pipeline.fit`.
    """
    fit, (train, test) = dict(fit), split
    weight, callbacks = fit.pop("sample_weight", None), fit.pop("callbacks", ())
    cache, series = CacheFolder(fit.pop("cache_dir")), Series((test,))
    train, validation = recipe.rows(train, fit.pop("validation_data"), fit["seed"], weight)
    how = {"sample_weight": weight, "callbacks": callbacks, "series": series}
    for way, settings in ways.items():
        first = series.trunk is None
        fitted, _ = recipe.learn(train, validation, recipe.plan(len(train), verbose=0, **fit, **settings), cache, **how)
        if first:
            warn_of_columns(train, fitted.trunk.modalities, "training rows")
        yield way, fitted.task, fitted.predict(test)
    del fitted, series  # they hold graphs and, in reference cycles, the rows' features
    gc.collect()


def _chosen_ways(task, losses, fit):
    """{way: settings of `fit`} that were chosen of the task's own.

    Args:
        task: a task.
        losses, fit: see `ablate`.
    """
    taken = {name for settings in task.ways.values() for name in settings} & set(fit)
    if taken:
        raise ValueError(
            f"`ablate` sets {' and '.join(sorted(taken))} itself. Received: {sorted(taken)}. Choose `losses` instead."
        )
    if losses is None:
        return task.ways
    losses = [losses] if isinstance(losses, str) else list(losses)
    losses = ["weighted" if name == "class-weighted" else name for name in losses]
    if not losses or not set(losses) <= set(task.ways):
        raise ValueError(f"`losses` must be some of {list(task.ways)} for {type(task).__name__}. Received: {losses}.")
    return {name: task.ways[name] for name in losses}


def _head_of(modalities, head):
    """Settings of a head of these modalities alone."""
    if not isinstance(head.get("dropout"), dict):
        return head
    names = {modality.name for modality in modalities}
    return {**head, "dropout": {name: share for name, share in head["dropout"].items() if name in names}}


def _judged(test_data, modalities, task):
    """(rows that can be judged, sentences about the others)."""
    check_frame(test_data, [*columns_of(modalities), *task.columns])
    rows, notes = task.judged(task.units(test_data, modalities))
    if not len(rows):
        raise ValueError(f"`test_data` must hold a row that can be judged. Received: none. {' '.join(notes)}")
    return rows, notes


def _simple(train, modalities, task):
    """(name, fitted rival) of the task's that need no network."""
    bench = Bench(task, modalities, Rows(train, task.target(train)))
    for kind in task.rivals:
        if not kind.needs_trunk:
            yield from kind.fit(bench).items()


def _summary(task, tested, judged, notes):
    import pandas as pd

    target, rows, drawn, predictions = task.target(pd.concat(tested)), [], {}, {}
    for key, folds in judged.items():
        predictions[key], point, drawn[key] = pooled_scores(task, target, *zip(*folds, strict=True))
        row = {"modalities": key[0], "loss": key[1]}
        for name, value in point.items():
            row[name] = value
            row[f"{name}_low"], row[f"{name}_high"] = metrics.interval(drawn[key][name])
        rows.append(row)
    primary, sign = task.primary, -1 if task.primary in task.smaller_is_better else 1
    table = pd.DataFrame(rows).sort_values(primary, ascending=sign < 0, ignore_index=True)
    best = tuple(table.loc[0, ["modalities", "loss"]])
    for rival, what in _rivals(table, best):
        low, high = metrics.interval(drawn[best][primary] - drawn[rival][primary])
        gain = _value(table, best, primary) - _value(table, rival, primary)
        verdict = "is beyond" if min(sign * low, sign * high) > 0 else "is NOT beyond"
        notes.append(
            f"{_name(best)} against {what}, {_name(rival)}: {primary} {gain:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"which {verdict} what chance in the judged rows explains."
        )
    notes.append("The best of several variants looks better than it is: it was chosen on the rows it is judged on.")
    return Ablation(table, notes, len(target), task.column, primary, predictions)


def _rivals(table, best):
    """The best variant of each other group than the best's: a baseline, all modalities, one alone."""
    groups = {"the best baseline": [], "the best of all modalities": [], "the best of one alone": []}
    for key in table[["modalities", "loss"]].itertuples(index=False, name=None):
        what = "the best of all modalities" if key[0] == "all" else "the best of one alone"
        groups["the best baseline" if key[1] == NO_WAY else what].append(key)
    return [(keys[0], what) for what, keys in groups.items() if keys and best not in keys]


def _value(table, key, primary):
    return float(table[(table["modalities"] == key[0]) & (table["loss"] == key[1])][primary].iloc[0])


def _name(key):
    return f"{key[0]!r}" if key[1] == NO_WAY else f"{key[0]!r} ({key[1]})"

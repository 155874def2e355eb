"""Ablation: what each modality, and each way to handle imbalance, is worth."""

import contextlib
import dataclasses
import gc
import tempfile
import warnings

import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.evaluation import metrics
from mmkeras.evaluation.report import PRIMARY, indent, scores
from mmkeras.evaluation.rivals import PriorBaseline, TfidfBaseline, text_columns
from mmkeras.pipeline import Pipeline
from mmkeras.trunk.stages import check_modalities
from mmkeras.trunk.store import close_store

# name → settings of `fit`
LOSSES = {"standard": {}, "class-weighted": {"class_weight": "balanced"}, "focal": {"loss": "focal"}}


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
        predictions: {(modalities, loss): (rows, outputs)}, in the order of the judged rows.

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
    modalities, task, df, test_data=None, *, folds=5, losses=None, fusion="concat", head=None, cache_dir=None, seed=0,
    verbose=1, **fit,
):  # fmt: skip
    """Train and judge all modalities together and each alone, with each way to handle imbalance.

    Everything reads one feature cache, so frozen towers run once. Baselines that know little (label frequencies, TF-IDF
    with a linear model) are fitted on the same rows. It is the table of ablations that the tutorial on multimodal
    entailment ends with, with intervals.

    Args:
        modalities: list of modalities.
        task: `MultiClass` or `MultiLabel`.
        df: DataFrame to learn from; with `folds`, every row is judged once by models that did not see it.
        test_data: DataFrame to judge on instead of folds.
        folds: int, for cross-validation, stratified by class.
        losses: some of "standard", "class-weighted" and "focal"; None takes all that the task has.
        fusion: str, of the model with all modalities; see `build_head`.
        head: dict of further settings of `build_head`.
        cache_dir: folder for cached features; None uses a temporary one.
        seed: int.
        verbose: 0 is silent; 1 prints a line for each model.
        **fit: settings of `Pipeline.fit`, for example epochs, batch_size and learning_rate.

    Returns:
        `Ablation`.

    Raises:
        ValueError: unknown losses, settings that `ablate` makes itself, a modality named "all", a task without classes, a class with fewer rows than folds.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> table = [mm.Tabular(numeric=["runtime"], name="length"), mm.Tabular(numeric=["budget"], name="money")]
        >>> found = mm.ablate(table, mm.MultiLabel("genres"), df, folds=2, losses=["focal"], epochs=1, verbose=0)
        >>> list(found.table.columns[:2])
        ['modalities', 'loss']
    """
    if task.kind not in ("multiclass", "multilabel"):
        raise ValueError(f"`ablate` compares losses of classes. Received the task: {type(task).__name__}.")
    taken = {"class_weight", "loss"} & set(fit)
    if taken:
        raise ValueError(
            f"`ablate` sets class_weight and loss itself. Received: {sorted(taken)}. Choose `losses` instead."
        )
    names = [modality.name for modality in modalities]
    check_modalities(modalities)
    if "all" in names:
        raise ValueError("No modality may be named 'all': the table calls all of them so. Received: one. Rename it.")
    known = [name for name in LOSSES if task.kind == "multiclass" or name != "class-weighted"]
    losses = known if losses is None else [losses] if isinstance(losses, str) else list(losses)
    if not losses or not set(losses) <= set(known):
        raise ValueError(f"`losses` must be some of {known}. Received: {losses}.")
    columns = [c for m in modalities for c in m.all_columns] + [task.column]
    for table in (df, test_data):
        if table is not None:
            check_frame(table, columns)
    task, notes = task.adapt(df), []
    if test_data is not None and task.kind == "multiclass":
        unknown = task.unknown(test_data)
        test_data = test_data[task.encode(test_data) >= 0]
        if unknown:
            notes.append(f"Rows with classes never seen in training count in no metric: {unknown}.")
        if not len(test_data):
            raise ValueError(f"No row of `test_data` has a class of {list(task.classes)}. Received: {unknown}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `fit` says it
        notes += [note for modality in modalities for note in modality.notes(df)]
    splits = _splits(df, test_data, task, folds, seed)
    subsets = {"all": list(modalities)} if len(modalities) > 1 else {}
    subsets.update({modality.name: [modality] for modality in modalities})
    found = {}
    with contextlib.ExitStack() as stack:
        if cache_dir is None:
            cache_dir = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            stack.callback(close_store, cache_dir)
        for number, (train, test) in enumerate(splits):
            for name, baseline in _simple(train, modalities, task):
                found.setdefault((name, "–"), []).append((baseline.predict(None, test), None))
            for name, some in subsets.items():
                for loss in losses:
                    pipe = Pipeline(some, task, fusion, **_head_of(some, head or {}))
                    settings = {"validation_data": None if task.kind == "multilabel" else False, **fit, **LOSSES[loss]}
                    pipe.fit(train, seed=seed, cache_dir=cache_dir, verbose=0, **settings)
                    found.setdefault((name, loss), []).append((pipe.predict(test).to_numpy(), pipe.thresholds))
                    del pipe  # each holds graphs and, in reference cycles, its rows' features
                    gc.collect()
                    if verbose:
                        print(f"{number + 1} of {len(splits)}: {name}, {loss}", flush=True)
    target = np.concatenate([task.encode(test) for _, test in splits])
    return _summary(task, target, found, notes)


def _head_of(modalities, head):
    """Settings of a head of these modalities alone."""
    if not isinstance(head.get("dropout"), dict):
        return head
    names = {modality.name for modality in modalities}
    return {**head, "dropout": {name: share for name, share in head["dropout"].items() if name in names}}


def _splits(df, test_data, task, folds, seed):
    """[(training rows, judged rows), …]."""
    from sklearn.model_selection import KFold, StratifiedKFold

    if test_data is not None:
        return [(df, test_data)]
    if not isinstance(folds, int) or not 2 <= folds <= len(df):
        raise ValueError(f"`folds` must be an int from 2 to the number of rows ({len(df)}). Received: {folds!r}.")
    if task.kind == "multilabel":
        parts = KFold(folds, shuffle=True, random_state=seed).split(df)
    else:
        target = task.encode(df)
        counts = dict(zip(task.classes, np.bincount(target, minlength=len(task.classes)).tolist(), strict=True))
        few = {name: count for name, count in counts.items() if count < folds}
        if few:
            raise ValueError(
                f"Every class needs at least as many rows as there are folds ({folds}). Received: {few}. "
                "Use fewer folds, or drop the class."
            )
        parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(df, target)
    return [(df.iloc[train], df.iloc[test]) for train, test in parts]


def _simple(train, modalities, task):
    """(name, fitted baseline) of those that need no network."""
    target = task.encode(train)
    yield PriorBaseline.name(task), PriorBaseline.fit(task, target)
    words = text_columns(modalities)
    tfidf = TfidfBaseline.fit(train, words, task, target) if words else None
    if tfidf is not None:
        yield "TF-IDF + linear model", tfidf


def _summary(task, target, found, notes):
    import pandas as pd

    primary, rows, drawn = PRIMARY[task.kind], [], {}
    for key, parts in found.items():
        predictions = np.concatenate([values for values, _ in parts])
        cuts = [np.broadcast_to(0.5 if cut is None else cut, values.shape) for values, cut in parts]
        point, drawn[key] = scores(task, target, predictions, np.concatenate(cuts))
        row = {"modalities": key[0], "loss": key[1]}
        for name, value in point.items():
            row[name] = value
            row[f"{name}_low"], row[f"{name}_high"] = metrics.interval(drawn[key][name])
        rows.append(row)
    table = pd.DataFrame(rows).sort_values(primary, ascending=False, ignore_index=True)
    best = tuple(table.loc[0, ["modalities", "loss"]])
    for rival, what in _rivals(table, best):
        low, high = metrics.interval(drawn[best][primary] - drawn[rival][primary])
        gain = _value(table, best, primary) - _value(table, rival, primary)
        said = "is beyond" if low > 0 else "is NOT beyond"
        notes.append(
            f"{_name(best)} against {what}, {_name(rival)}: {primary} {gain:+.3f} [{low:+.3f}, {high:+.3f}], "
            f"which {said} what chance in the judged rows explains."
        )
    notes.append("The best of several variants looks better than it is: it was chosen on the rows it is judged on.")
    predictions = {key: np.concatenate([values for values, _ in parts]) for key, parts in found.items()}
    return Ablation(table, notes, len(target), task.column, primary, predictions)


def _rivals(table, best):
    """The best variant of each other kind than the best: a baseline, all modalities, one alone."""
    kinds = {"the best baseline": [], "the best of all modalities": [], "the best of one alone": []}
    for key in table[["modalities", "loss"]].itertuples(index=False, name=None):
        kind = "the best baseline" if key[1] == "–" else "the best of all modalities" if key[0] == "all" else None
        kinds[kind or "the best of one alone"].append(key)
    return [(keys[0], what) for what, keys in kinds.items() if keys and best not in keys]


def _value(table, key, primary):
    return float(table[(table["modalities"] == key[0]) & (table["loss"] == key[1])][primary].iloc[0])


def _name(key):
    return f"{key[0]!r}" if key[1] == "–" else f"{key[0]!r} ({key[1]})"

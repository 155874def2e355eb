"""Checks of what answers and judges: tasks, rivals."""

import pathlib
import tempfile
import warnings

import numpy as np

from mmkeras.evaluation.report import scores
from mmkeras.evaluation.rivals import Bench, Rival, load_rival, save_rival
from mmkeras.inspection.ablation import ablate
from mmkeras.modalities import Tabular
from mmkeras.pipeline import Pipeline, load
from mmkeras.registry import describe, rebuild
from mmkeras.tasks.base import Task
from mmkeras.testing.must import must, must_equal, must_raise
from mmkeras.trunk.trunk import Rows

QUICK = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-2, "verbose": 0}


def check_task(task, df, modalities=None, **fit):
    """Check that a task keeps the contract of `tasks.base.Task`, from rows to a served model.

    Args:
        task: as a user writes it, not adapted.
        df: DataFrame of at least 40 rows with its target.
        modalities: what a Pipeline for it reads; None takes all columns of numbers.
        **fit: settings of `Pipeline.fit`.

    Raises:
        AssertionError: it does not; the message says where.

    Example:
        >>> import mmkeras as mm
        >>> mm.testing.check_task(mm.Regression("popularity"), mm.samples.movies(60, seed=0))
    """
    what = type(task).__name__
    must(issubclass(type(task), Task), f"{what} must derive from Task.")
    must(rebuild(Task, describe(task)) == task, f"{what} must be made anew from its settings.")
    must(task.primary in task.metric_names, f"{what}.primary must be one of its metric_names.", task.primary)
    must(next(iter(task.ways.values())) == {}, f"The first of {what}.ways must be the plain one.", task.ways)
    if modalities is None:
        numeric = [c for c in df.select_dtypes("number").columns if c not in task.columns]
        modalities = [Tabular(numeric=numeric)]
    names = [modality.name for modality in modalities]
    must_raise(
        ValueError, lambda: task.check_settings(names, no_such_setting=3), f"{what} must refuse unknown settings."
    )
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        _check_learning(task, df, modalities)
        units = task.units(df, modalities)
        train, test = units.iloc[: len(units) * 3 // 4], units.iloc[len(units) * 3 // 4 :]
        pipe = Pipeline(modalities, task, encode_engine="tensorflow")
        pipe.fit(train, validation_data=0.25, **{**QUICK, **fit})
        _check_predictions(what, pipe, test)
        _check_judgement(what, pipe, test, pathlib.Path(folder))
        _check_keeping(what, pipe, test, pathlib.Path(folder))
        if not task.pools:
            return
        way = next(iter(task.ways))
        ablation = ablate(modalities[:1], task, train, test, losses=[way], **{**QUICK, **fit})
        must(way in set(ablation.table["loss"]), f"`ablate` must be able to judge {what}.")


def _check_learning(task, df, modalities):
    """State apart from settings, and targets."""
    what, before = type(task).__name__, dict(vars(task))
    units = task.units(df, modalities)
    adapted = task.adapt(units)
    must(vars(task) == before, f"{what}.adapt must leave the original as it was.")
    must(adapted.state is not None and adapted.settings == task, f"{what}.adapt must give a copy by `learn`.")
    must(adapted.adapt(units).state == adapted.state, f"{what}.adapt must learn anew from the rows alone.")
    rows, told = adapted.judged(units)
    must(len(rows) and isinstance(told, list), f"{what}.judged must give rows, and a list of sentences.")
    target = adapted.target(rows)
    must(
        len(target) == len(rows) == len(adapted.read(target)),
        f"{what}.target and .read must have a value for each row.",
    )
    inputs, answers = target.take(np.arange(2))
    must(isinstance(inputs, dict) and len(answers), f"{what}.target must give answers of some rows.", answers)


def _check_predictions(what, pipe, test):
    """The index, one row as in a batch, decisions."""
    frame, decided = pipe.predict(test), pipe.predict_labels(test)
    must(frame.index.equals(test.index), f"{what}.frame must keep the index of the rows.")
    must(decided.index.equals(test.index), f"{what}.decide must give a decision for each row.")
    alone = pipe.predict(test.iloc[[2]])
    for column in frame:
        must_equal(
            alone[column].to_numpy(), frame[column].to_numpy()[[2]],
            f"{what}: {column!r} of one row must equal that of the row in a batch.", 1e-4,
        )  # fmt: skip


def _check_judgement(what, pipe, test, folder):
    """Scores under weights, sections, rivals, the page."""
    fitted = pipe.check_fitted()
    target, predictions = fitted.task.target(test), fitted.predict(test)
    must(not fitted.task.check_predictions(predictions), f"{what}.check_predictions must let finite predictions pass.")
    score = fitted.task.score(target, predictions)
    twice = np.concatenate([np.ones((1, len(test))), 2 * np.ones((1, len(test)))])
    values = score(twice)
    must(set(values) >= set(fitted.task.metric_names), f"{what}.score must give its metric_names.", sorted(values))
    for name, (once, doubled) in values.items():
        must_equal(once, doubled, f"{what}.score: {name!r} must not change when every row counts twice.", 1e-6)
    report = pipe.evaluate(test, verbose=0, missing=True)
    must(set(report.metrics) == set(values), f"A report must hold the metrics of {what}.")
    if fitted.task.rivals:
        must(len(report.baselines), f"A report must hold the rivals of {what}.")
    must(
        report.to_html(folder / "report.html").stat().st_size > 1000 and str(report),
        f"A report of {what} must have a page.",
    )


def _check_keeping(what, pipe, test, folder):
    """Saved, loaded and exported, it answers the same."""
    pipe.save(folder / "model")
    loaded = load(folder / "model")
    must(loaded.task.settings == pipe.task.settings, f"{what} must keep its settings when it is saved.")
    must_equal(
        loaded.check_fitted().predict(test), pipe.check_fitted().predict(test),
        f"{what} must predict the same once saved and loaded.",
    )  # fmt: skip
    must(list(loaded.check_fitted().rivals) == list(pipe.check_fitted().rivals), f"The rivals of {what} must be kept.")
    pipe.export(folder / "served")
    must((folder / "served" / "saved_model.pb").is_file(), f"A Pipeline for {what} must be exported.")


def check_rival(rival, pipe, df):
    """Check that a class of rivals keeps the contract of `evaluation.rivals.Rival`.

    Args:
        rival: the class.
        pipe: a fitted `Pipeline` for a task that it can rival.
        df: DataFrame of rows with the target.

    Raises:
        AssertionError: it does not; the message says where.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> mm.testing.check_rival(mm.evaluation.rivals.Prior, pipe, df)
    """
    what = rival.__name__
    must(issubclass(rival, Rival), f"{what} must derive from Rival.")
    fitted = pipe.check_fitted()
    rows = Rows(df, fitted.task.target(df))
    trunk = fitted.trunk if rival.needs_trunk else None
    learnt = rival.fit(
        Bench(fitted.task, fitted.trunk.modalities, rows, trunk, settings=fitted.settings, plan=fitted.plan)
    )
    must(
        isinstance(learnt, dict) and learnt,
        f"{what}.fit must give {{name: rival}} where it has something to learn from.",
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, model in learnt.items():
            model.task = fitted.task
            predictions = model.predict(trunk, df)
            must(len(predictions) == len(df), f"{what}.predict must give a prediction for each row.", len(predictions))
            point, _ = scores(fitted.task, rows.target, predictions, samples=2)
            must(
                set(point) >= set(fitted.task.metric_names), f"The task must be able to judge {name!r}.", sorted(point)
            )
            saved = save_rival(model, pathlib.Path(folder), "rival")
            again = load_rival(pathlib.Path(folder), saved, fitted.task)
            must_equal(again.predict(trunk, df), predictions, f"{what} must predict the same once saved and loaded.")
    report = pipe.evaluate(df, verbose=0, rivals=[rival])
    must(set(learnt) <= set(report.baselines.index), f"`evaluate(rivals=[{what}])` must show it.")

"""`search`: checks, trials, and the winner rebuilt by the ordinary builder."""

import importlib
import pathlib
import tempfile
import warnings
import weakref

import numpy as np

from mmkeras.data.columns import check_frame
from mmkeras.data.splits import split_frame
from mmkeras.persistence import write_text
from mmkeras.pipeline import Pipeline
from mmkeras.search.space import candidates, fit_settings, make_plan, make_space
from mmkeras.search.study import Study, claim, describe, read_records
from mmkeras.search.trail import make_trail, warning
from mmkeras.trunk.stages import check_modalities
from mmkeras.trunk.store import close_store

ENGINES = ("autokeras", "kerastuner")
TUNERS = ("greedy", "bayesian", "hyperband", "random")
METRICS = {
    "multilabel": ("map", "micro_f1", "macro_f1"),
    "multiclass": ("macro_f1", "accuracy", "map"),
    "regression": ("r2", "mae", "rmse"),
}
SMALLER_IS_BETTER = ("mae", "rmse")
# Held out of the rows when no validation rows are given: scores of few rows would choose by chance.
VALIDATION_SHARE = 0.2
# The best of many trials are near one another, and of which one leads the split and the start decide as much as its choices.
FINALISTS, FINALS_FROM, ROUNDS = 4, 10, 2


def search(
    df, modalities, task, *, validation_data=None, max_trials=30, engine="autokeras", space=None, objective=None,
    tuner="greedy", finalists=None, seed=0, directory=None, cache_dir=None, verbose=1,
):  # fmt: skip
    """Search for the best modalities, encoders, fusion, head and training, and return the winner as a Pipeline.

    Each trial is built by the ordinary builder, trained on training rows and scored on validation rows. The best of them,
    and the first, are then trained twice more on other splits from other starts, and the winner has the best mean. It is built
    once more, trained with its settings, and comes back as a `Pipeline` like any other: it saves, exports and loads
    without AutoKeras or KerasTuner. `pipe.trail` tells what was tried.

    Args:
        df: pandas DataFrame to learn from. Keep the rows that the model is to be judged on out of it.
        modalities: list of modalities; a list among them stands for alternatives, of which a trial uses one at most, such as
            `[[mm.Text("overview", "a", name="a"), mm.Text("overview", "b", name="b")], mm.Tabular(...)]`.
        task: `MultiLabel`, `MultiClass` or `Regression`.
        validation_data: DataFrame that trials are scored on, or the share of `df` to hold out for that (None: 0.2). Of a
            share, the winner learns too at the end, but for a tenth of `df`, on which thresholds are tuned.
        max_trials: int. A finished search in `directory` goes on when it is raised.
        engine: "autokeras" searches heads over features in memory, through an `ak.AutoModel`; frozen towers run once.
            "kerastuner" makes a Pipeline of each trial and streams its rows, for towers that train and tables that do not
            fit in memory; with KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set, several processes
            that share `directory` search together (the chief returns the Pipeline, workers return None).
        space: {choice: a value, a list of values, or (low, high)}, in place of the defaults: modalities, fusion, units,
            depth, dropout, dropout_NAME (of one modality), learning_rate, optimizer, loss ("standard", "weighted",
            "focal"); and, fixed unless named, epochs, batch_size, modality_dropout, attention_heads; with "kerastuner" also
            trainable (False, N top blocks, or True), fine_tune_epochs, fine_tune_learning_rate. Values that come first are
            those of the first trial.
        objective: a metric of the task: "map", "micro_f1", "macro_f1", "accuracy", "r2", "mae" or "rmse"; None for the
            one its report compares by.
        tuner: "greedy" (AutoKeras's: change a part of the best so far), "bayesian", "hyperband" (its trials share out the
            `epochs` of the space), or "random".
        finalists: int, how many of the best trials are trained twice more; 0 for none; None for 4 where there are 10 trials
            or more. With a DataFrame of validation rows they only start anew.
        seed: int, of trials, tuner and the winner.
        directory: folder that an interrupted search resumes from; None for one that is deleted.
        cache_dir: folder of the feature cache; None for $MMKERAS_CACHE_DIR, or else a temporary one.
        verbose: 0 silent, 1 a line for each trial.

    Returns:
        `Pipeline`, with `trail` (`search.Trail`).

    Raises:
        KeyError, TypeError, ValueError: rows, columns or settings that cannot work; a directory with another search; all
            trials failed.
        ImportError: a package is missing; the message says which to install.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(80, seed=0)
        >>> modalities = [mm.Text("overview", "lexical"), mm.Tabular(numeric=["budget", "runtime"])]
        >>> space = {"epochs": 1, "fusion": ["hybrid", "gated"], "units": 16}
        >>> pipe = mm.search(df, modalities, mm.MultiLabel("genres"), max_trials=2, space=space, verbose=0)
        >>> pipe.predict(df).shape[0]
        80
    """
    _check(max_trials, engine, tuner, task, objective, finalists)
    finalists = FINALISTS * (max_trials >= FINALS_FROM) if finalists is None else finalists
    every = candidates(modalities)
    check_modalities(every)
    columns = [c for m in every for c in m.all_columns] + [task.column]
    check_frame(df, columns)
    space = make_space(modalities, task, space, engine == "kerastuner")
    task = task.adapt(df)
    train, validation, fit_validation = _split(df, validation_data, columns, task, seed)
    for package in ("autokeras", "keras_tuner") if engine == "autokeras" or tuner == "greedy" else ("keras_tuner",):
        need(package)
    objective = objective or task.primary
    about = describe(
        modalities, task, space, train, validation, engine=engine, tuner=tuner, objective=objective, seed=seed
    )
    temporary = []

    def place(given, what):
        if given is not None:
            return pathlib.Path(given).expanduser()
        temporary.append(tempfile.TemporaryDirectory(prefix=f"mmkeras-{what}-", ignore_cleanup_errors=True))
        return pathlib.Path(temporary[-1].name)

    directory = claim(place(directory, "search"), about)
    cache_dir = _cache(cache_dir, place)

    def split(number):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # was said of the first
            return _split(df, validation_data, columns, task, seed + number)[:2]

    best, trail = _run_trials(
        every, modalities, task, train, validation, space, engine, tuner, objective, max_trials, seed, directory, cache_dir,
        verbose, finalists, split,
    )  # fmt: skip
    if best is None:
        return None
    pipe = _winner(best, modalities, task, df, fit_validation, cache_dir, seed)
    pipe.trail, pipe.notes = trail, [warning(trail)]
    if temporary:
        weakref.finalize(pipe, _close, temporary, cache_dir)
    return pipe


def _run_trials(
    every, modalities, task, train, validation, space, engine, tuner, objective, max_trials, seed, directory, cache_dir,
    verbose, finalists, split,
):  # fmt: skip
    """(the best trial's choices, `Trail`); (None, None) in a worker process."""
    from mmkeras.search import trials
    from mmkeras.search.autokeras import tuners

    kind = trials.HeadTrials if engine == "autokeras" else trials.PipelineTrials

    def make(train, validation, seed):
        judge = trials.Judge(task, task.encode(validation), objective)
        return kind(every, task, train, validation, judge, cache_dir, seed, verbose)

    maker = make(train, validation, seed)
    direction = "min" if objective in SMALLER_IS_BETTER else "max"
    study = Study(directory, modalities, task, space, tuner, objective, direction, max_trials, seed, verbose, maker.run)
    done = tuners.run_autokeras(study, maker) if engine == "autokeras" else tuners.run_kerastuner(study)
    if done._is_worker():
        return None, None
    del maker
    records = [r for r in read_records(directory) if r["trial"] in done.oracle.trials]
    _run_finals(study, records, finalists, lambda number: make(*split(number), seed + number))
    trail = make_trail(records, objective, direction, len(validation), task.column)
    if len(every) == 1:
        trail.notes.append(f"{every[0].name!r} is the only modality: there was nothing to fuse, only a head to choose.")
    write_text(directory / "trail.csv", trail.table.to_csv(index=False))
    if trail.best is None:
        raise ValueError(
            f"A search needs a trial that succeeds. Received: {len(records)} trials, which all failed, the last with: "
            f"{records[-1]['failure'] if records else 'nothing'}. Change `space` or `modalities`."
        )
    trail.to_html(directory / "trail.html")
    return records[trail.best]["choices"], trail


def _run_finals(study, records, finalists, make):
    """Train the best trials, and the first, in `ROUNDS` further rounds; their scores go to `record["finals"]`.

    Args:
        study: `Study`. records: of all trials.
        finalists: int.
        make: function of a round's number → trials of its split.
    """
    done = [r for r in records if "score" in r]
    best = sorted(done, key=lambda r: r["score"], reverse=study.direction == "max")[:finalists]
    if best and done[0] not in best:
        best.append(done[0])  # the defaults: what not searching would give
    for number in range(1, ROUNDS + 1):
        left = [r for r in best if len(r.get("finals", ())) < number]
        maker = make(number) if left else None
        for record in left:
            try:
                score = maker.run(make_plan(record["choices"], study.modalities, study.task))["score"]
            except Exception as error:  # it counts for nothing, and the others go on
                warnings.warn(f"Trial {int(record['trial']) + 1} failed in its final: {error}", stacklevel=4)
                score = float("-inf" if study.direction == "max" else "inf")
            study.end_final(record, score, number, ROUNDS)


def _winner(choices, modalities, task, df, validation, cache_dir, seed):
    """The Pipeline of these choices, fitted on the training rows."""
    plan = make_plan(choices, modalities, task)
    settings = fit_settings(plan, task, task.encode(df))
    pipe = Pipeline(plan.modalities, task, plan.fusion, **plan.head)
    if task.kind != "multilabel" and not hasattr(validation, "columns"):
        validation = False  # there are no thresholds to tune
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few rows, and of labels that validation rows alone have: said before
        pipe.fit(df, validation_data=validation, cache_dir=cache_dir, seed=seed, verbose=0, **settings)
    return pipe


def _check(max_trials, engine, tuner, task, objective, finalists):
    if isinstance(max_trials, bool) or not isinstance(max_trials, int) or max_trials < 1:
        raise ValueError(f"`max_trials` must be a positive int. Received: {max_trials!r}.")
    if finalists is not None and (isinstance(finalists, bool) or not isinstance(finalists, int) or finalists < 0):
        raise ValueError(f"`finalists` must be None or an int of at least 0. Received: {finalists!r}.")
    for name, value, known in (("engine", engine, ENGINES), ("tuner", tuner, TUNERS)):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known}. Received: {value!r}.")
    known = METRICS.get(task.kind)
    if known is None:
        raise ValueError(f"`search` serves MultiLabel, MultiClass and Regression. Received: {type(task).__name__}.")
    if objective is not None and objective not in known:
        raise ValueError(f"`objective` must be one of {known} for {type(task).__name__}. Received: {objective!r}.")


def _split(df, validation_data, columns, task, seed):
    """(training rows, validation rows, what `Pipeline.fit` gets as validation rows)."""
    if hasattr(validation_data, "columns"):
        check_frame(validation_data, columns, "validation_data")
        train, validation, for_fit = df, validation_data, validation_data
    else:
        train, validation = split_frame(df, VALIDATION_SHARE if validation_data is None else validation_data, seed)
        for_fit = None
    if task.kind == "regression":
        return train, validation, for_fit
    target = task.encode(validation)
    known = target >= 0 if task.kind == "multiclass" else np.ones(len(target), bool)
    seen = set(target[known]) if task.kind == "multiclass" else set(np.flatnonzero(target.any(axis=0)))
    learnt = task.encode(train)
    learnt = set(learnt) if task.kind == "multiclass" else set(np.flatnonzero(learnt.any(axis=0)))
    if not seen & learnt:
        raise ValueError(
            f"Validation rows must share a class with the training rows. Received: training rows with {len(learnt)} of "
            f"{list(task.classes)[:8]}, and {len(validation)} validation rows with {task.unknown(validation) or 'none of them'}. "
            "Give other `validation_data`."
        )
    if not known.all():
        warnings.warn(
            f"validation_data holds classes never seen in training, whose rows are left out: {task.unknown(validation)}.",
            stacklevel=3,
        )
        validation = validation[known]
    return train, validation, validation if for_fit is not None else None


def _cache(given, place):
    import os

    return place(given or os.environ.get("MMKERAS_CACHE_DIR"), "features")


def _close(temporary, cache_dir):
    close_store(cache_dir)
    for folder in temporary:
        folder.cleanup()


def need(package):
    """Import a package that only searches use.

    Raises:
        ImportError: it is missing; the message says what to install.
    """
    names = {"keras_tuner": "keras-tuner"}
    try:
        return importlib.import_module(package)
    except ImportError as error:
        lacking = (error.name or package).partition(".")[0]
        raise ImportError(
            f"`mmkeras.search` needs the package {names.get(lacking, lacking)!r}. Received: {error}. "
            f"Install it: pip install {names.get(lacking, lacking)}",
            name=lacking,
        ) from error

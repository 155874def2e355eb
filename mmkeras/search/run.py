"""`search`: checks, trials, and the winner rebuilt by the ordinary builder."""

import contextlib
import dataclasses
import functools
import importlib
import pathlib
import tempfile
import warnings

from mmkeras.data.frames import as_frame, frame_if_rows
from mmkeras.persistence import write_text
from mmkeras.pipeline import Pipeline
from mmkeras.search.ensemble import Ensemble, scales_of, scorer, told
from mmkeras.search.on_ray import check_place, run_on_ray
from mmkeras.search.rows import SearchRows
from mmkeras.search.selection import select
from mmkeras.search.space import candidates, make_space, make_variant
from mmkeras.search.study import Study, read_records
from mmkeras.search.trail import make_trail, warning
from mmkeras.search.trials import HeadTrials, RecipeTrials, check_judged, check_objective
from mmkeras.tasks.base import Task
from mmkeras.trunk.stages import check_modalities
from mmkeras.trunk.store import CacheFolder

# The trials of each engine.
ENGINES = {"autokeras": HeadTrials, "kerastuner": RecipeTrials}
TUNERS = ("greedy", "bayesian", "hyperband", "random")
# The best of many trials are near one another, and of which one leads the split and the start decide as much as its choices.
FINALISTS, FINALS_FROM, ROUNDS = 4, 10, 2


def search(
    df, modalities, task, *, validation_data=None, max_trials=30, engine="autokeras", space=None, objective=None,
    tuner="greedy", finalists=None, seed=0, directory=None, cache_dir=None, verbose=1, ensemble=1,
    on="local", workers=2, gpus_per_worker=0,
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
        task: `MultiLabel`, `MultiClass`, `Regression`, `Caption`, or a task of your own.
        validation_data: DataFrame that trials are scored on, or the share of `df` to hold out for that (None: 0.2). Of a
            share, the winner learns too at the end, but for a tenth of `df`, on which thresholds are tuned.
        max_trials: int. A finished search in `directory` goes on when it is raised.
        engine: "autokeras" searches heads over features in memory, through an `ak.AutoModel`; frozen towers run once.
            "kerastuner" makes a Pipeline of each trial and streams its rows, for towers that train and tables that do not
            fit in memory; with KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT set, several processes
            that share `directory` search together (the chief returns the Pipeline, workers return None).
        space: {choice: a value, a list of values, or (low, high)}, in place of the defaults: modalities, fusion, units,
            depth, dropout, dropout_NAME (of one modality), learning_rate, optimizer, loss (the task's ways, such as
            "standard", "weighted", "focal"); and, fixed unless named, epochs, batch_size, modality_dropout, attention_heads;
            with "kerastuner" also trainable (False, N top blocks, or True), fine_tune_epochs, fine_tune_learning_rate. Of
            `Caption`, width and dropout, and where named tied, heads, first_state, in place of what is of other heads. Values
            that come first are those of the first trial.
        objective: a metric of the task, such as "map", "micro_f1", "macro_f1", "accuracy", "r2", "mae", "rmse" or "cider";
            None for the one its report compares by.
        tuner: "greedy" (AutoKeras's: change a part of the best so far), "bayesian", "hyperband" (its trials share out the
            `epochs` of the space), or "random".
        finalists: int, how many of the best trials are trained twice more; 0 for none; None for 4 where there are 10 trials
            or more. With a DataFrame of validation rows they only start anew.
        seed: int, of trials, tuner and the winner.
        directory: folder that an interrupted search resumes from; None for one that is deleted.
        cache_dir: folder of the feature cache; None for $MMKERAS_CACHE_DIR, or else a temporary one.
        verbose: 0 silent, 1 a line for each trial.
        ensemble: int; above 1, the search ends in an ensemble of at most so many trials instead of the best one, chosen and weighed by
            what they said of the validation rows, without finals; see `mm.Ensemble`.
        on: "local", in this process; "ray", with engine="kerastuner" alone: trials run on the cluster of $RAY_ADDRESS, or else on this
            machine, in workers to which rows are shipped once. `directory`, pictures, weights of towers, and `cache_dir`, if
            any, which on several machines is a folder that `mm.encode_table` wrote, lie where all machines see them. Finals and
            the winner are trained here.
        workers: int, processes on Ray, each with a CPU of its own.
        gpus_per_worker: float, GPUs of each.

    Returns:
        `Pipeline`, with `trail` (`search.Trail`).

    Raises:
        KeyError, TypeError, ValueError: rows, columns or settings that cannot work; a directory with another search; all
            trials failed.
        ImportError: a package is missing; the message says which to install.
        ConnectionError, RuntimeError: a cluster that does not answer, has no room, or lost a process; what was done stays.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(80, seed=0)
        >>> modalities = [mm.Text("overview", "lexical"), mm.Tabular(numeric=["budget", "runtime"])]
        >>> space = {"epochs": 1, "fusion": ["hybrid", "gated"], "units": 16}
        >>> pipe = mm.search(df, modalities, mm.MultiLabel("genres"), max_trials=2, space=space, verbose=0)
        >>> pipe.predict(df).shape[0]
        80
    """
    _check(task, objective, engine, tuner, max_trials=max_trials, finalists=finalists)
    check_place(on, engine, directory, workers)
    few = max_trials < FINALS_FROM or ensemble != 1
    finalists = FINALISTS * (not few) if finalists is None else finalists
    df, validation_data = as_frame(df), frame_if_rows(validation_data, "validation_data")
    every = candidates(modalities)
    check_modalities(every)
    space = make_space(modalities, task, space, engine == "kerastuner")
    rows = SearchRows(df, validation_data, every, task, seed=seed)
    split = rows.split()
    objective = objective or task.primary
    check_judged(split, objective)
    check_means(split, ensemble)
    for package in ("autokeras", "keras_tuner") if engine == "autokeras" or tuner == "greedy" else ("keras_tuner",):
        need(package)
    with contextlib.ExitStack() as stack:
        if directory is None:
            temporary = tempfile.TemporaryDirectory(prefix="mmkeras-search-", ignore_cleanup_errors=True)
            directory = stack.enter_context(temporary)
        place = pathlib.Path(directory).expanduser().absolute()
        study = Study(place, modalities, task, space, engine, tuner, objective, max_trials, seed, verbose, ensemble > 1)
        study.claim(rows.digest(split))
        if on == "ray":
            _run_on_ray(study, split, cache_dir, workers=workers, gpus=gpus_per_worker)
        cache = CacheFolder(cache_dir)
        trail, records = _run(study, rows, split, cache, finalists=finalists)
        if records is None:
            return None
        winner = functools.partial(_winner, study, df=df, validation_data=validation_data, cache=cache)
        if ensemble > 1:
            return _ensemble(study, records, trail, winner, split=split, size=ensemble)
        pipe = winner(records[trail.best]["choices"])
    pipe.trail, pipe.notes = trail, [warning(trail)]
    return pipe


def _run_on_ray(study, split, cache_dir, *, workers, gpus):
    """Run the trials on a cluster; `_run` then finds them in the study's folder."""
    every = candidates(study.modalities)
    make = functools.partial(ENGINES[study.engine], every, split, study.objective, seed=study.seed)
    place = None if cache_dir is None else str(pathlib.Path(cache_dir).expanduser().absolute())
    run_on_ray(study, make, place, workers=workers, gpus=gpus)


def _run(study, rows, split, cache, *, finalists):
    """(`Trail`, records of the trials); the latter None in a worker process."""
    from mmkeras.search.autokeras import tuners

    every, engine = candidates(study.modalities), ENGINES[study.engine]

    def trials(split, number=0):
        settings = {"seed": study.seed + number, "verbose": study.verbose}
        return engine(every, split, study.objective, cache, **settings)

    done = tuners.run(study, trials(split).run)
    if done is None:
        return None, None
    records = [record for record in read_records(study.directory) if record["trial"] in done]
    _run_finals(study, records, finalists, lambda number: trials(rows.split(number), number))
    trail = make_trail(
        records, study.objective, study.direction, rows=len(split.validation.df), target=study.task.column
    )
    if len(every) == 1:
        trail.notes.append(f"{every[0].name!r} is the only modality: there was nothing to fuse, only a head to choose.")
    write_text(study.directory / "trail.csv", trail.table.to_csv(index=False))
    if trail.best is None:
        raise ValueError(
            f"A search needs a trial that succeeds. Received: {len(records)} trials, which all failed, the last with: "
            f"{records[-1]['failure'] if records else 'nothing'}. Change `space` or `modalities`."
        )
    trail.to_html(study.directory / "trail.html")
    return trail, records


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # was said of the first split
            trials = make(number) if left else None
        for record in left:
            try:
                score = trials.run(make_variant(record["choices"], study.modalities, study.task))["score"]
            except Exception as error:  # it counts for nothing, and the others go on
                warnings.warn(f"Trial {int(record['trial']) + 1} failed in its final: {error}", stacklevel=4)
                score = float("-inf" if study.direction == "max" else "inf")
            study.end_final(record, score, number, ROUNDS)


def _ensemble(study, records, trail, winner, *, split, size):
    """`Ensemble` of the trials that are best together, each learnt anew from the rows as the user gave them.

    Args:
        study: `Study`. records: of its trials, in the order of `trail`, a `Trail`.
        winner: function of choices to a fitted Pipeline.
        split: `Split` of the trials.
        size: int, the most different members.
    """
    said = {n: study.predictions(record) for n, record in enumerate(records) if "score" in record}
    said = {number: predictions for number, predictions in said.items() if predictions is not None}
    if not said:
        raise ValueError(
            "`ensemble` weighs trials by what they said of the validation rows. Received: a finished search in `directory` that kept "
            "none. Raise `max_trials`, or use another `directory`."
        )
    task, target, numbers = split.task, split.validation.target, list(said)
    smaller = study.objective in task.smaller_is_better
    judge = scorer(task, target, study.objective)
    selection = select(list(said.values()), judge, size=size, scales=scales_of(task, "chosen"), smaller=smaller)
    weights = {n: int(count) for n, count in zip(numbers, selection.counts, strict=True) if count}
    pipes = [winner(records[n]["choices"]) for n in weights]
    average = "predictions" if selection.scale == "predictions" else "logits"
    pipe = Ensemble(pipes, weights=list(weights.values()), average=average, objective=study.objective)
    shares = [weights.get(n, 0) / sum(weights.values()) for n in range(len(records))]
    pipe.trail = dataclasses.replace(trail, table=trail.table.assign(weight=shares))
    pipe.notes = [told(selection, study.objective, len(split.validation.df))]
    return pipe


def _winner(study, choices, df, validation_data, *, cache):
    """The Pipeline of these choices, fitted on the rows as the user gave them."""
    variant = make_variant(choices, study.modalities, study.task)
    pipe = Pipeline(variant.modalities, study.task, **variant.head)
    if not hasattr(validation_data, "columns"):  # the winner learns from what was held out of the trials, too
        validation_data = None if study.task.tunes else False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few rows, and of labels that validation rows alone have: said before
        settings = {"cache_dir": cache.path, "seed": study.seed, "verbose": 0}
        pipe.fit(df, validation_data=validation_data, **settings, **variant.fit)
    pipe.trunk.cache = cache  # a temporary one lives as long as the Pipeline
    return pipe


def check_means(split, ensemble):
    """Raise a ValueError unless a search may end in an ensemble of so many."""
    if isinstance(ensemble, bool) or not isinstance(ensemble, int) or ensemble < 1:
        raise ValueError(f"`ensemble` must be a positive int. Received: {ensemble!r}. Use 1 for the best trial alone.")
    if ensemble > 1 and split.validation.target.values is None:
        raise ValueError(
            f"An ensemble is a mean of numbers: labels, classes and numbers have one. Received: {type(split.task).__name__} with "
            f"ensemble={ensemble}. Use ensemble=1."
        )


def _check(task, objective, engine, tuner, *, max_trials, finalists):
    if isinstance(max_trials, bool) or not isinstance(max_trials, int) or max_trials < 1:
        raise ValueError(f"`max_trials` must be a positive int. Received: {max_trials!r}.")
    if finalists is not None and (isinstance(finalists, bool) or not isinstance(finalists, int) or finalists < 0):
        raise ValueError(f"`finalists` must be None or an int of at least 0. Received: {finalists!r}.")
    for name, value, known in (("engine", engine, tuple(ENGINES)), ("tuner", tuner, TUNERS)):
        if value not in known:
            raise ValueError(f"`{name}` must be one of {known}. Received: {value!r}.")
    if not isinstance(task, Task):
        raise TypeError(f"`search` takes a task, such as mm.MultiLabel('genres'). Received: {type(task).__name__}.")
    check_objective(task, objective)


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

"""AutoKeras's and KerasTuner's tuners, made to run our trials: recorded one by one, resumable, stopped by no failure.

Importing this file imports AutoKeras and KerasTuner.
"""

import contextlib
import gc
import io
import json
import os
import time

import autokeras as ak
import keras_tuner
import numpy as np
import tensorflow as tf
from autokeras import tuners as ak_tuners
from autokeras.tuners.greedy import GreedyOracle
from keras_tuner.engine import base_tuner

from mmkeras.persistence import write_text
from mmkeras.search.space import declare, first_values, make_variant
from mmkeras.search.trials import FailedTrial
from mmkeras.trunk.training import Diverged

AUTOKERAS = {
    "greedy": ak_tuners.Greedy,
    "bayesian": ak_tuners.BayesianOptimization,
    "hyperband": ak_tuners.Hyperband,
    "random": ak_tuners.RandomSearch,
}
ORACLES = {
    "greedy": GreedyOracle,
    "bayesian": keras_tuner.oracles.BayesianOptimizationOracle,
    "hyperband": keras_tuner.oracles.HyperbandOracle,
    "random": keras_tuner.oracles.RandomSearchOracle,
}
PROJECT, ALONE = "tuner", "tuner0.json"
MOST_STARTS = 2  # of one trial: a process that dies twice in it dies of it


class Trials:
    """What `search` changes in a tuner; mixed into AutoKeras's and KerasTuner's classes.

    A trial's choices, score, seconds and failure go to a file of its own, in one step, by the process that ran it; so
    do the tuner's own files, which KerasTuner would leave half written when it is killed.
    """

    study = run = None  # `Study`, and the function of (`Variant`, epochs) that runs a trial

    def __init__(self, *args, **kwargs):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it reloads
            super().__init__(*args, **kwargs)
        if not self._is_worker():
            _make_careful(self)
            if self.study.tuner != "hyperband":  # whose rounds it keeps book of
                _begin_with(self.oracle, first_values(self.study.space))

    @property
    def is_worker(self):
        """Whether this process only runs trials that a chief gives it."""
        return self._is_worker()

    def _get_tuner_fname(self):
        """A chief goes on with what a process alone began, and the other way round."""
        return super()._get_tuner_fname() if self._is_worker() else os.path.join(self.project_dir, ALONE)

    def _populate_initial_space(self):
        """The space is known without building a model; see `search`."""

    def search(self, *args, **kwargs):
        """KerasTuner's loop. AutoKeras's own trains the winner at its end, which `search` does by the ordinary builder."""
        hp = self.oracle.get_space()
        declare(self.study.space, hp)
        self.oracle.update_space(hp)
        self.oracle.max_consecutive_failed_trials = None
        self.save()
        base_tuner.BaseTuner.search(self, verbose=0)

    def pre_create_trial(self):
        if not self._is_worker():  # the greedy oracle draws from NumPy's global state
            np.random.seed((self.study.seed + len(self.oracle.trials)) % 2**32)

    def save(self):
        if not self._is_worker():
            self.oracle.save()
        write_text(self._get_tuner_fname(), json.dumps(self.get_state()))

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        hp, start = trial.hyperparameters, time.perf_counter()
        record = self.study.begin(trial.trial_id, declare(self.study.space, hp))
        try:
            if record["starts"] > MOST_STARTS:
                raise FailedTrial(f"the process ended {MOST_STARTS} times in this trial, for lack of memory perhaps")
            outcome = self.run_trial(trial)
            self.oracle.update_trial(trial.trial_id, {"score": outcome["score"]})
            trial.status = "COMPLETED"
        except (Exception, MemoryError) as error:  # whatever it is, the other trials can go on
            outcome = {"failure": reason(error)}
            trial.status, trial.message = "FAILED", outcome["failure"]
            gc.collect()
        if "tuner/epochs" in hp.values:
            outcome["trained_epochs"] = hp.values["tuner/epochs"]
        self.study.end(record, {**outcome, "seconds": round(time.perf_counter() - start, 2)})

    def run_trial(self, trial):
        study, hp = self.study, trial.hyperparameters
        variant = make_variant(declare(study.space, hp), study.modalities, study.task)
        return self.run(variant, hp.values.get("tuner/epochs"))


def _make_careful(tuner):
    """Files of an oracle are written in one step; a trial that its own file knows but the oracle's does not never was."""
    oracle = tuner.oracle
    known = set(oracle.start_order)
    oracle.trials = {name: trial for name, trial in oracle.trials.items() if name in known}
    oracle.save = lambda: write_text(oracle._get_oracle_fname(), json.dumps(oracle.get_state()))
    end = oracle.end_trial

    def end_trial(trial):  # of a chief it is saved only while the trial still counts as running, and would run again
        end(trial)
        oracle.save()

    oracle.end_trial = end_trial
    oracle._save_trial = lambda trial: write_text(
        os.path.join(tuner.get_trial_dir(trial.trial_id), "trial.json"), json.dumps(trial.get_state())
    )


def _begin_with(oracle, values):
    """Make the first trial that of the defaults, so that a search is never worse than not searching, on its own rows."""
    draw = oracle.populate_space

    def populate(trial_id):
        return draw(trial_id) if oracle.trials else {"status": "RUNNING", "values": dict(values)}

    oracle.populate_space = populate


def reason(error):
    """What went wrong, as a line for the trail."""
    if isinstance(error, FailedTrial | Diverged):
        return str(error)
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return f"out of memory: {_line(error)}"
    return f"{type(error).__name__}: {_line(error)}"


def _line(error, length=300):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def run(study, run_trial):
    """Search; with KerasTuner's environment variables and the engine "kerastuner", as chief or worker of several processes.

    Args:
        study: `Study`.
        run_trial: function of (`Variant`, epochs) → {"score", "low", "high", "predictions"}.

    Returns:
        set of the numbers of the trials, as str; None in a worker.
    """
    search = _run_autokeras if study.engine == "autokeras" else _run_kerastuner
    base = AUTOKERAS[study.tuner] if study.engine == "autokeras" else keras_tuner.Tuner
    tuner = search(study, type("Tuner", (Trials, base), {"study": study, "run": staticmethod(run_trial)}))
    return None if tuner.is_worker else set(tuner.oracle.trials)


def _run_autokeras(study, tuner):
    """The tuner of an `ak.AutoModel` after its search, whose graph stands for the trials, which build their own models."""
    rows = ak.Input()
    settings = {"max_epochs": study.most_epochs} if study.tuner == "hyperband" else {}
    model = ak.AutoModel(
        rows, ak.RegressionHead()(rows), project_name=PROJECT, max_trials=study.max_trials, directory=str(study.directory),
        objective=keras_tuner.Objective("score", study.direction), tuner=tuner, seed=study.seed + 1, **settings,
    )  # fmt: skip
    numbers = np.zeros((1, 1), "float32")
    model.fit(numbers, numbers, validation_data=(numbers, numbers), verbose=0)
    return model.tuner


def _run_kerastuner(study, tuner):
    """The tuner after its search."""
    settings = {"max_epochs": study.most_epochs} if study.tuner == "hyperband" else {"max_trials": study.max_trials}
    oracle = ORACLES[study.tuner](
        objective=keras_tuner.Objective("score", study.direction), seed=study.seed + 1, **settings
    )
    oracle.max_trials = study.max_trials
    running = tuner(oracle, lambda hp: None, directory=str(study.directory), project_name=PROJECT)
    running.search()
    return running

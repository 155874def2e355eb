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
import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from autokeras import graph as ak_graph
from autokeras import tuners as ak_tuners
from autokeras.tuners.greedy import GreedyOracle
from keras_tuner.engine import base_tuner

from mmkeras.graph import submodel
from mmkeras.persistence import write_text
from mmkeras.search.autokeras.blocks import DecisionHead, NamedInput, OrdinaryBlock
from mmkeras.search.space import declare, first_values, make_plan
from mmkeras.search.trials import FailedTrial

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
PROJECT = "tuner"
MOST_STARTS = 2  # of one trial: a process that dies twice in it dies of it


class Trials:
    """What `search` changes in a tuner; mixed into AutoKeras's and KerasTuner's classes.

    A trial's choices, score, seconds and failure go to a file of its own, in one step, by the process that ran it; so
    do the tuner's own files, which KerasTuner would leave half written when it is killed.
    """

    study = None  # of `Study`

    def __init__(self, *args, **kwargs):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that it reloads
            super().__init__(*args, **kwargs)
        if not self._is_worker():
            _make_careful(self.oracle)
            if self.study.tuner != "hyperband":  # whose rounds it keeps book of
                _begin_with(self.oracle, first_values(self.study.space))

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
            found = self.run_trial(trial)
            self.oracle.update_trial(trial.trial_id, {"score": found["score"]})
            trial.status = "COMPLETED"
        except (Exception, MemoryError) as error:  # whatever it is, the other trials can go on
            found = {"failure": reason(error)}
            trial.status, trial.message = "FAILED", found["failure"]
            gc.collect()
        if "tuner/epochs" in hp.values:
            found["trained_epochs"] = hp.values["tuner/epochs"]
        self.study.end(record, {**found, "seconds": round(time.perf_counter() - start, 2)})

    def run_trial(self, trial):
        values = trial.hyperparameters.values
        return self.study.run(self._plan(trial.hyperparameters), values.get("tuner/epochs"))

    def _plan(self, hp):
        return make_plan(declare(self.study.space, hp), self.study.modalities, self.study.task)


class _GraphTrials(Trials):
    """Trials of an AutoKeras graph."""

    def __init__(self, hypermodel, **kwargs):
        super().__init__(hypermodel=OrdinaryGraph(hypermodel.inputs, hypermodel.outputs), **kwargs)

    def run_trial(self, trial):
        hp = trial.hyperparameters
        keras.utils.set_random_seed(self.study.seed)  # the same start for all
        model = self.hypermodel.build(hp)
        return self.study.run(self._plan(hp), hp.values.get("tuner/epochs"), model)


class OrdinaryGraph(ak_graph.Graph):
    """An AutoKeras graph whose model has named inputs and output; how it is compiled is the trial's matter."""

    def __init__(self, inputs=None, outputs=None):
        super().__init__(inputs=inputs, outputs=outputs)

    def _compile_keras_model(self, hp, model):
        inputs = dict(zip([node.name for node in self.inputs], model.inputs, strict=True))
        return submodel(inputs, {self.blocks[-1].name: model.outputs[0]}, name="trial")

    def save(self, filepath):
        """The space is stored beside it, as plain values."""


def _make_careful(oracle):
    """Files of an oracle are written in one step; a trial that its own file knows but the oracle's does not never was."""
    known = set(oracle.start_order)
    oracle.trials = {name: trial for name, trial in oracle.trials.items() if name in known}
    oracle.save = lambda: write_text(oracle._get_oracle_fname(), json.dumps(oracle.get_state()))
    oracle._save_trial = lambda trial: write_text(
        os.path.join(oracle._get_trial_dir(trial.trial_id), "trial.json"), json.dumps(trial.get_state())
    )


def _begin_with(oracle, values):
    """Make the first trial that of the defaults, so that a search is never worse than not searching, on its own rows."""
    draw = oracle.populate_space

    def populate(trial_id):
        return draw(trial_id) if oracle.trials else {"status": "RUNNING", "values": dict(values)}

    oracle.populate_space = populate


def reason(error):
    """What went wrong, as a line for the trail."""
    if isinstance(error, FailedTrial):
        return str(error)
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return f"out of memory: {_line(error)}"
    return f"{type(error).__name__}: {_line(error)}"


def _line(error, length=300):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 1] + "…"


def run_autokeras(study, heads):
    """Search with an `ak.AutoModel` over the arrays of `heads` (`HeadTrials`)."""
    column = study.task.column
    arrays = heads.train.arrays
    names = list(arrays)
    inputs = [NamedInput(name, shape=tuple(heads.shapes[name]), dtype=str(arrays[name].dtype)) for name in names]
    block = OrdinaryBlock(
        names, lambda hp: heads.build(make_plan(declare(study.space, hp), study.modalities, study.task))
    )
    output = DecisionHead(name=column)(block(inputs))
    tuner = type("Tuner", (_GraphTrials, AUTOKERAS[study.tuner]), {"study": study})
    settings = {"max_epochs": study.most_epochs} if study.tuner == "hyperband" else {}
    model = ak.AutoModel(
        inputs, output, project_name=PROJECT, max_trials=study.max_trials, directory=str(study.directory),
        objective=keras_tuner.Objective("score", study.direction), tuner=tuner, seed=study.seed + 1, **settings,
    )  # fmt: skip
    target = heads.target if heads.target.ndim > 1 else heads.target[:, None]
    judged = heads.judge.target if heads.judge.target.ndim > 1 else heads.judge.target[:, None]
    model.fit(
        list(arrays.values()), target, validation_data=(list(heads.validation.arrays.values()), judged), verbose=0
    )
    return model.tuner


def run_kerastuner(study):
    """Search with KerasTuner alone; with its environment variables, as chief or worker of several processes."""
    settings = {"max_epochs": study.most_epochs} if study.tuner == "hyperband" else {"max_trials": study.max_trials}
    oracle = ORACLES[study.tuner](
        objective=keras_tuner.Objective("score", study.direction), seed=study.seed + 1, **settings
    )
    oracle.max_trials = study.max_trials
    tuner = type("Tuner", (Trials, keras_tuner.Tuner), {"study": study})
    tuner = tuner(oracle, lambda hp: None, directory=str(study.directory), project_name=PROJECT)
    tuner.search()
    return tuner

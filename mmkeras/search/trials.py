"""One trial: a head on features that are encoded once, or a model with its towers; and its score on validation rows."""

import dataclasses
import gc

import keras
import numpy as np

from mmkeras.evaluation.metrics import interval
from mmkeras.evaluation.report import scores
from mmkeras.evaluation.rivals import Bench, fit_rivals
from mmkeras.fitting import Recipe
from mmkeras.modalities.base import adapt
from mmkeras.search.rows import unjudged
from mmkeras.trunk.stages import cut_frozen
from mmkeras.trunk.training import Plan
from mmkeras.trunk.trunk import Trunk

SAMPLES = 300  # of the bootstrap: enough for an interval that nobody reads to three digits


class FailedTrial(Exception):
    """A trial that gave no score, with its reason."""


def judge(task, target, predictions, objective):
    """{"score", "low", "high"} of predictions by an adapted task, which is tuned on them.

    Raises:
        FailedTrial: predictions that cannot be judged.
    """
    reason = task.check_predictions(predictions)
    if reason:
        raise FailedTrial(reason)
    point, drawn = scores(task.tune(target, predictions), target, predictions, samples=SAMPLES)
    if not np.isfinite(point[objective]):
        raise FailedTrial(f"the validation rows give no {objective}")
    low, high = interval(drawn[objective])
    return {"score": float(point[objective]), "low": float(low), "high": float(high)}


def check_objective(task, objective):
    """Raise a ValueError unless a metric is one of the task's; None is."""
    if objective is not None and objective not in task.metric_names:
        raise ValueError(
            f"`objective` must be one of {task.metric_names} for {type(task).__name__}. Received: {objective!r}."
        )


def check_judged(split, objective):
    """Raise a ValueError unless the validation rows allow a score: a rival that needs no features is judged on them."""
    task, validation = split.task, split.validation
    quick = [rival for rival in task.rivals if not rival.needs_trunk][:1]
    for rival in fit_rivals(quick, Bench(task, [], split.train)).values():
        try:
            judge(task, validation.target, rival.predict(None, validation.df), objective)
        except FailedTrial as error:
            raise unjudged(len(validation.df), " ".join(task.judged(validation.df)[1])) from error


class HeadTrials:
    """Trials that train heads, and what is not frozen before them, on one `Trunk`.

    Args:
        modalities: all candidates.
        split: `Split`.
        objective: name of the metric that is to be best.
        cache: `CacheFolder`.
        seed: int; in all trials, what the modalities train starts from the same weights.
        verbose: 1 shows the encoding of rows that are not yet cached.
    """

    def __init__(self, modalities, split, objective, cache, *, seed=0, verbose=0):
        self.split, self.objective, self.seed = split, objective, seed
        keras.utils.set_random_seed(seed)
        self.trunk = Trunk([adapt(modality, split.train.df) for modality in modalities], cache=cache)
        for rows in (split.train, split.validation):
            self._encode(rows.df, verbose)
        trained = cut_frozen(self.trunk.encode).rest
        self._start = [] if trained is None else [(variable, variable.numpy()) for variable in trained.variables]

    def _encode(self, df, verbose):
        """Fill the cache, so that the first trial takes no longer than the others."""
        names = [modality.name for modality in self.trunk.modalities if modality.pretrained]
        inputs = self.trunk.head_inputs(names)
        features = {name: keras.layers.Identity(dtype=inputs(name).dtype)(inputs(name)) for name in names}
        if names:
            model = keras.Model(inputs.inputs, features)
            self.trunk.outputs(model, df, each=lambda outputs, rows: {"row": rows}, verbose=verbose)

    def run(self, variant, epochs=None):
        """Train and judge. Returns {"score", "low", "high", "predictions"}, the last of the validation rows.

        Args:
            variant: `Variant`.
            epochs: int, in place of the variant's own, or None.

        Raises:
            FailedTrial, Diverged: the loss, or a prediction, is no number.
        """
        keras.utils.set_random_seed(self.seed)
        for variable, value in self._start:
            variable.assign(value)
        trunk, task, rows = self.trunk, self.split.task, self.split.train
        plan = plan_of(variant, epochs, self.seed)
        inputs = trunk.head_inputs([modality.name for modality in variant.modalities])
        head = task.build_head(inputs, rows.target, **variant.head)
        training = task.training(head, task.choose_loss(plan.loss, rows.target))
        training.metrics = {}  # nobody watches, and some cost as much as the training
        rows = dataclasses.replace(rows, weights=task.weights(rows.target, plan.class_weight))
        trunk.train(training, rows, plan)
        validation = self.split.validation
        predictions = task.predict(trunk.runner(validation.df), head)
        return {**judge(task, validation.target, predictions, self.objective), "predictions": predictions}


class RecipeTrials:
    """Trials as `Pipeline.fit` learns, whose towers may train: rows are streamed, nothing is held in memory.

    Args: as for `HeadTrials`.
    """

    def __init__(self, modalities, split, objective, cache, *, seed=0, verbose=0):
        self.split, self.objective, self.cache, self.seed = split, objective, cache, seed

    def run(self, variant, epochs=None):
        """Train and judge; see `HeadTrials.run`."""
        train, validation = self.split.train.df, self.split.validation
        recipe = Recipe(variant.modalities, self.split.task.settings, variant.head)
        fitted, _ = recipe.learn(train, None, plan_of(variant, epochs, self.seed), self.cache)
        predictions = fitted.predict(validation.df)
        score = judge(fitted.task, validation.target, predictions, self.objective)
        del fitted  # it holds graphs and, in reference cycles, its rows' features
        gc.collect()
        return {**score, "predictions": predictions}


def plan_of(variant, epochs, seed):
    """`Plan` of a variant, with other epochs unless they are None."""
    return Plan(**{**variant.fit, **({} if epochs is None else {"epochs": epochs})}, seed=seed, verbose=0)

"""Heads of one trunk, trained beside each other, of which each may leave out a fold of the rows to be judged on it."""

import dataclasses
import math
import time

import keras
import numpy as np

from mmkeras.automl.portfolio import Candidate, plan_of
from mmkeras.data.targets import Values
from mmkeras.heads.likeness import build_likeness, choose, compared, decided, solve
from mmkeras.search.merging import joined
from mmkeras.trunk.optimizers import WarmupCosine
from mmkeras.trunk.training import Training, side_by_side
from mmkeras.trunk.trunk import Rows, Trunk

PREFIX = "head_"
NO_FOLD = -1  # of rows that are only learnt from
EVERY_ROW = -2  # in place of the fold that a head leaves out
SOME_STEPS = 50  # that tell how long one takes
PREDICTING = 0.5  # of an epoch's time, about


class OutOfFold(keras.losses.Loss):
    """A loss of the rows that do not belong to a fold: answers (B, C + 1), whose last column is the fold, and predictions → (B,).

    Args:
        loss: Keras loss, or its name.
        fold: int.

    Example:
        >>> import numpy as np
        >>> from mmkeras.automl.members import OutOfFold
        >>> float(OutOfFold("mean_squared_error", 1)(np.array([[3.0, 0], [9.0, 1]]), np.array([[1.0], [1.0]])))
        2.0
    """

    def __init__(self, loss, fold, **kwargs):
        loss = keras.losses.get(loss)
        own = {"dtype": loss.dtype} if isinstance(loss, keras.losses.Loss) else {}
        super().__init__(name="out_of_fold", **{**own, **kwargs})
        self.loss, self.fold = loss, fold

    def call(self, y_true, y_pred):
        losses = (self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss)(y_true[:, :-1], y_pred)
        return losses * keras.ops.cast(y_true[:, -1] != self.fold, losses.dtype)

    def get_config(self):
        return {**super().get_config(), "loss": keras.losses.serialize(self.loss), "fold": self.fold}


@dataclasses.dataclass
class Head:
    """A trained head.

    Attributes:
        head: keras.Model of the trunk's features.
        trunk: `Trunk` whose `encode` has what trains with it, see `Trunk.branch`.
        model: keras.Model of cached features and prepared tensors.
    """

    head: object
    trunk: Trunk
    model: object


@dataclasses.dataclass
class Member:
    """Heads of one candidate, each trained without a fold, and what they say of the rows left out.

    Attributes:
        candidate: `Candidate`.
        heads: list of `Head`.
        predictions: (judged rows, C).
        score: float, of these.
        seconds: float, that it took.
    """

    candidate: Candidate
    heads: list
    predictions: np.ndarray
    score: float = np.nan
    seconds: float = 0.0


@dataclasses.dataclass
class Trained:
    """What was trained together.

    Attributes:
        heads: list of `Head`.
        run: function without arguments to what they all give for all rows, {key: (R, …)}, whose keys begin with `PREFIX` and the number
            of a head.
        share: float, of the epochs that the rows call for; less than the candidate's where time was short.
    """

    heads: list
    run: object
    share: float = 1.0


class InTime(keras.callbacks.Callback):
    """Ends a training by a moment, and its rates with it: where time is short, they fall to 0 over as many epochs as there is time for.

    After some steps, and then after each epoch, it is told anew how many these are, by the steps until then; one at least. Some time is
    kept for predicting all rows at the end.

    Args:
        plan: `Plan`, whose rate is a number.
        until: the moment of `time.monotonic()`.

    Attributes:
        plan: that plan, with a rate that heeds the time.
        epochs: int, how many of its epochs there is time for.
    """

    def __init__(self, plan, until):
        super().__init__()
        self.until, self.epochs, self.step = until, plan.epochs, 0
        self.steps = keras.Variable(1.0, trainable=False, dtype="float32", name="steps")
        self.plan = dataclasses.replace(plan, learning_rate=WarmupCosine(plan.learning_rate, self.steps, plan.warmup))

    def on_train_begin(self, logs=None):
        self.steps.assign(float(self.epochs * self.params["steps"]))

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step == 1:
            self.began = time.monotonic()  # the first step is traced
        elif self.step == SOME_STEPS:
            self._look_ahead()

    def on_epoch_end(self, epoch, logs=None):
        self._look_ahead()
        self.model.stop_training = self.model.stop_training or epoch + 1 >= self.epochs

    def _look_ahead(self):
        now, each = time.monotonic(), self.params["steps"]
        seconds = (now - self.began) / max(1, self.step - 1)
        there = (self.step + max(0.0, self.until - now) / max(seconds, 1e-9)) / each
        self.epochs = int(np.clip(there - PREDICTING, math.ceil(self.step / each), self.plan.epochs))
        self.steps.assign(float(self.epochs * each))


class Workbench:
    """Rows and a trunk on which heads are trained.

    Args:
        task: adapted task.
        trunk: `Trunk` that has read the rows once, see `Trunk.over`.
        df: DataFrame.
        folds: (rows,) ints, the fold that each row is judged in; `NO_FOLD` for those that are only learnt from.
        seed: int.
    """

    def __init__(self, task, trunk, df, *, folds, seed=0):
        self.task, self.trunk, self.df, self.folds, self.seed = task, trunk, df, folds, seed
        self.target = task.target(df)
        values = self.target.values
        flat = values[:, None] if values.ndim == 1 else values
        self.answers = Values(np.concatenate([flat, folds[:, None].astype(values.dtype)], axis=1))
        self.judged = np.flatnonzero(folds != NO_FOLD)

    @property
    def judged_target(self):
        return Values(self.target.values[self.judged])

    def member(self, candidate, until):
        """`Member` of a candidate, whose `share` is that of the epochs there was time for."""
        start, folds = time.monotonic(), sorted(set(self.folds[self.judged].tolist()))
        trained = candidate.train(self, [(candidate, fold) for fold in folds], until)
        said = trained.run()  # of all rows by all heads: they are read already
        predictions = None
        for number, (fold, head) in enumerate(zip(folds, trained.heads, strict=True)):
            own = {key: said[f"{PREFIX}{number}/{key}"] for key in head.head.output}
            own = self.task.predict(lambda model, each=None, own=own: own, head.head)
            predictions = own.copy() if predictions is None else predictions
            predictions[self.folds == fold] = own[self.folds == fold]
        candidate = dataclasses.replace(candidate, share=trained.share)
        return Member(candidate, trained.heads, predictions[self.judged], seconds=time.monotonic() - start)

    def train(self, jobs, until=np.inf):
        """`Trained` heads that share a plan, in the same passes over the rows.

        Args:
            jobs: list of (`Candidate`, fold to leave out), whose settings of `fit` are alike.
            until: the moment of `time.monotonic()` to end at.
        """
        keras.utils.set_random_seed(self.seed)
        plan = plan_of(jobs[0][0], self.task, len(self.df), self.seed)
        loss = self.task.choose_loss(plan.loss, self.target)
        heads, trainings = [], {}
        for number, (candidate, fold) in enumerate(jobs):
            branch = self.trunk.branch()
            known = Values(self.target.values[self.folds != fold])
            head = self.task.build_head(branch.head_inputs(candidate.reads), known, **candidate.head)
            training = self.task.training(head, loss)
            model = branch.attach(training.model).model
            heads.append(Head(head, branch, branch.attach(head).model))
            losses = {key: OutOfFold(each, fold) for key, each in training.losses.items()}
            trainings[f"{PREFIX}{number}"] = Training(model, losses, {}, training.loss_weights, training.main)
        weights = self.task.weights(self.target, plan.class_weight)
        in_time, together = InTime(plan, until), side_by_side(trainings)
        self.trunk.train(together, Rows(self.df, self.answers, weights), in_time.plan, callbacks=[in_time])
        share = jobs[0][0].share * (in_time.epochs / plan.epochs)
        return Trained(heads, lambda: self.trunk.outputs(together.model, self.df), share)

    def solve(self, jobs):
        """`Trained` heads that decide by likeness, see `heads.likeness`; jobs as for `train`."""
        heads, said, every = [], [], self.task.least_squares(self.target.values)
        rows = chosen = None
        inputs = self.trunk.head_inputs([name for candidate, _ in jobs[:1] for name in candidate.reads])
        for number, (_, fold) in enumerate(jobs):
            known = np.flatnonzero(self.folds != fold)
            head = build_likeness(inputs, self.task, len(known))
            rows = rows or compared(head, self.trunk.runner(self.df))
            learnt, numbers, scale = rows.take(known), every[known], self.task.logit_scale
            chosen = chosen or choose(learnt, numbers, self.seed)
            kept = solve(head, learnt, numbers, chosen, logit_scale=scale, seed=self.seed)
            heads.append(Head(head, self.trunk, self.trunk.attach(head).model))
            said.append((f"{PREFIX}{number}/{self.task.column}", head, known[kept]))
        return Trained(heads, lambda: {key: decided(head, rows, chosen, kept) for key, head, kept in said})

    def combine(self, heads, weights, scale):
        """(`Trunk` whose features the first head reads, one head of all); see `merging.joined`.

        Args:
            heads: list of `Head`, the heaviest first. weights: list of floats. scale: see `merging.joined`.
        """
        first, *others = heads
        trunk = Trunk(
            self.trunk.modalities,
            self.trunk.prepare,
            self.trunk.encode,
            cache=self.trunk.cache,
            engine=self.trunk.engine,
        )
        for modality in trunk.modalities:  # what trains before the first head moves to where its Pipeline has it
            for own, trained in zip(_weights(trunk, modality.name), _weights(first.trunk, modality.name), strict=True):
                own.assign(trained)
        return trunk, joined([first.head, *(each.model for each in others)], weights, scale)


def _weights(trunk, name):
    """Weights of what is not frozen before a modality's feature."""
    inputs = trunk.head_inputs([name])
    feature = keras.layers.Identity(dtype=inputs(name).dtype)(inputs(name))
    return trunk.attach(keras.Model(inputs.inputs, {name: feature})).model.weights

"""How models are trained: the plan, what is compiled of it, and a loss for each of several decisions."""

import contextlib
import dataclasses
import itertools
import logging
import random

import keras
import numpy as np

from mmkeras.trunk.optimizers import OPTIMIZERS, WarmupCosine, make_optimizer

CHOSEN = "chosen"  # by the rows, see `Plan.of`
MANY_ROWS = 10_000  # above, batches grow, and passes and decay shrink
FEWEST_STEPS, MOST_EPOCHS = 1500, 60
ADAPTERS_RATE, ADAPTERS_TOWER_RATE = 3e-4, 10.0  # adapters begin at 0, and the head has learnt


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a model is trained; the arguments of `Pipeline.fit`, which says what they mean.

    Raises:
        ValueError: a value outside its range.
    """

    epochs: int = 10
    batch_size: int = 32
    seed: int = 0
    learning_rate: object = 1e-3
    fine_tune_epochs: int = 0
    fine_tune_learning_rate: object = 5e-5
    optimizer: str = "adamw"
    weight_decay: float = 0.3
    loss: object = None
    class_weight: object = None
    verbose: int = 1
    warmup: float = 0.05  # the share of the steps in which the rate rises
    early_stopping: bool = False
    clip_norm: float | None = None
    tower_rate: float = 1.0
    unfreeze: tuple = ()

    @classmethod
    def of(cls, rows, usual=10, stops=True, batch=None, *, adapters=False, **settings):
        """A plan in which what is "chosen" follows from the number of rows, by the rule that docs/defaults.md tells and measures.

        Args:
            rows: int, of training.
            usual: int, the task's usual epochs.
            stops: bool, whether the task's chosen epochs end early.
            batch: int, the task's usual rows of a batch, or None.
            adapters: bool, whether all towers that train do so by adapters.
            **settings: of the plan; epochs, batch_size, weight_decay, early_stopping and rates may be "chosen", or left out.

        Example:
            >>> plan = Plan.of(600, batch_size="chosen")
            >>> plan.epochs, plan.batch_size, plan.learning_rate
            (60, 32, 0.001)
        """
        times = max(1.0, rows / MANY_ROWS)
        batch_size = settings.get("batch_size", CHOSEN)
        if _is_chosen(batch_size):
            batch_size = batch or min(512, 32 * 2 ** round(np.log2(times)))
        valid = isinstance(batch_size, int) and batch_size > 0  # else the plan refuses it
        steps = max(1.0, rows / batch_size) if valid else 1.0
        second = (
            adapters
            and settings.get("fine_tune_epochs")
            and _is_chosen(settings.get("fine_tune_learning_rate", CHOSEN))
        )
        chosen = {
            "epochs": min(MOST_EPOCHS, round(max(usual / times**0.35, FEWEST_STEPS / steps, 4))),
            "batch_size": batch_size,
            "learning_rate": 1e-3 * (batch_size / 32) ** 0.5 if valid else 1e-3,
            "weight_decay": max(0.03, 0.3 / times**0.5),
            "early_stopping": stops and _is_chosen(settings.get("epochs", CHOSEN)),
            "fine_tune_learning_rate": ADAPTERS_RATE if second else cls.fine_tune_learning_rate,
            "tower_rate": ADAPTERS_TOWER_RATE if second else cls.tower_rate,
        }
        return cls(**{**chosen, **{name: value for name, value in settings.items() if not _is_chosen(value)}})

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("fine_tune_epochs", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                rule = "a positive int" if least else "an int of 0 or more"
                raise ValueError(f"`{name}` must be {rule}. Received: {value!r}.")
        if isinstance(self.weight_decay, str) or not 0 <= self.weight_decay < float("inf"):
            raise ValueError(
                f"`weight_decay` must be 0 or more. Received: {self.weight_decay!r}. Use for example 0.05."
            )
        for name in ("learning_rate", "fine_tune_learning_rate"):
            rate = getattr(self, name)
            if isinstance(rate, str) or (isinstance(rate, float | int) and not 0 <= rate < float("inf")):
                raise ValueError(
                    f"`{name}` must be a number of 0 or more, or a schedule. Received: {rate!r}. Use for example 1e-3."
                )
        self._check_paces()
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"`optimizer` must be one of {OPTIMIZERS}. Received: {self.optimizer!r}.")

    def _check_paces(self):
        for name in ("clip_norm", "tower_rate"):
            value = getattr(self, name)
            if (value is not None or name == "tower_rate") and (
                type(value) not in (int, float) or not 0 < value < float("inf")
            ):
                raise ValueError(
                    f"`{name}` must be a number above 0. Received: {value!r}. Leave it out for the usual value."
                )
        object.__setattr__(self, "unfreeze", tuple(self.unfreeze) if np.iterable(self.unfreeze) else (self.unfreeze,))
        phase = self.fine_tune_epochs or self.epochs
        starts = [-1, *self.unfreeze, phase]
        if not all(type(epoch) is int for epoch in starts) or any(a >= b for a, b in itertools.pairwise(starts)):
            raise ValueError(
                "`unfreeze` must name epochs of the phase in which towers train, each after the one before: ints from 0 to "
                f"{phase - 1}. Received: {self.unfreeze!r}. Use for example [0, 1, 2]."
            )

    @property
    def paced(self):
        """Whether towers learn at a pace of their own."""
        return self.tower_rate != 1.0 or bool(self.unfreeze)

    def second(self):
        """The plan of the phase that fine-tunes, as a first phase."""
        return dataclasses.replace(
            self,
            epochs=self.fine_tune_epochs,
            learning_rate=self.fine_tune_learning_rate,
            warmup=0.1,
            fine_tune_epochs=0,
        )

    def schedule(self, steps, callbacks=()):
        """The learning rate of `steps` per epoch: a `WarmupCosine`, unless a callback or a schedule sets it."""
        rate = self.learning_rate
        setters = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
        if not isinstance(rate, float | int) or any(isinstance(callback, setters) for callback in callbacks):
            return rate
        return WarmupCosine(float(rate), int(self.epochs * steps), self.warmup)


def _is_chosen(value):
    return isinstance(value, str) and value == CHOSEN


@dataclasses.dataclass
class Training:
    """A model as it trains.

    Attributes:
        model: keras.Model to one output for each decision.
        losses: {output: Keras loss}. metrics: {output: list of Keras metrics}. loss_weights: {output: float}.
        main: the output whose metrics bear their plain names in the History.
        callbacks: list of Keras callbacks that the losses need.
        after: keras.Model from what `model` gives to what the losses judge, where these set the rows of a batch against each other; or None.
        rows_at_once: int, how many rows then go through `model` at once, see `chunks.InChunks`; None for the whole batch.
    """

    model: object
    losses: dict
    metrics: dict
    loss_weights: dict
    main: str
    callbacks: list = dataclasses.field(default_factory=list)
    after: object = None
    rows_at_once: int | None = None


def side_by_side(trainings):
    """Trainings as one, so that one pass over the rows trains them all; without metrics.

    Args:
        trainings: {name: `Training`}.
    """
    inputs, outputs, losses, weights = {}, {}, {}, {}
    for name, training in trainings.items():
        for key, tensor in training.model.input.items():
            if key not in inputs:
                inputs[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
        model = keras.Model(training.model.input, training.model.output, name=f"{name}_beside")  # a name of its own
        for key, tensor in model({key: inputs[key] for key in model.input}).items():
            outputs[f"{name}/{key}"] = tensor
            losses[f"{name}/{key}"], weights[f"{name}/{key}"] = training.losses[key], training.loss_weights[key]
    callbacks = [callback for training in trainings.values() for callback in training.callbacks]
    return Training(keras.Model(inputs, outputs), losses, {}, weights, next(iter(outputs)), callbacks)


def compile_for_training(model, training, plan, learning_rate, *, pace=None):
    """Compile a model whose outputs are those of `training.model`; for `pace` see `optimizers.Paced`."""
    settings = {"clip_norm": plan.clip_norm, "pace": pace}
    model.compile(
        optimizer=make_optimizer(learning_rate, plan.optimizer, plan.weight_decay, **settings),
        loss=training.losses,
        loss_weights=training.loss_weights,
        metrics=training.metrics,
        jit_compile=False,  # the longest row of a batch sets its width: XLA would compile anew for each
    )
    model.optimizer.build(model.trainable_variables)  # so that Keras traces the training step once, not twice


def make_loss_means(model, answers):
    """Let Keras make the means that it keeps of several losses, so that it traces the training step once, not twice.

    Args:
        model: keras.Model, compiled.
        answers: (1, …) of one row.
    """
    shapes = {key: tensor.shape[1:] for key, tensor in model.output.items()}
    if len(shapes) > 1 and not any(None in shape for shape in shapes.values()):
        predictions = {key: np.zeros((1, *shape), "float32") for key, shape in shapes.items()}
        model.compute_loss(y=dict.fromkeys(shapes, answers), y_pred=predictions)


class Diverged(ValueError):
    """A loss or a prediction that is no number."""


def diverged(what):
    """A sentence about what is no number, and what helps."""
    narrow = "float16" in (keras.config.floatx(), keras.config.dtype_policy().name.removeprefix("mixed_"))
    fix = "Use keras.config.set_floatx('float32') and its dtype policy" if narrow else "Use a lower learning_rate"
    return f"{what}: the training diverged. {fix}, or look for numbers without bound in the rows."


class StopAtNaN(keras.callbacks.Callback):
    """Raises `Diverged` at the end of an epoch whose loss is no number."""

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise Diverged(diverged(f"The loss became {loss} in epoch {epoch + 1}"))


class BestEpoch(keras.callbacks.Callback):
    """Ends a training whose score has not risen for a third of its epochs, and brings back the weights of the best one.

    Args:
        score: function without arguments to the score of the model as it is; more is better.
        name: str, of the score in the History.
        sign: −1 where the History should have the score's negative, of which less is better.
    """

    def __init__(self, score, name, sign=1):
        super().__init__()
        self.score, self.name, self.sign = score, name, sign
        self.best, self.epoch, self.weights = -np.inf, 0, None

    def on_epoch_end(self, epoch, logs=None):
        value = self.score()
        if logs is not None:
            logs[f"val_{self.name}"] = self.sign * value
        if not value < self.best:  # also where there is nothing to tell them apart: the later one
            self.best, self.epoch, self.weights = value, epoch, self.model.get_weights()
        elif epoch - self.epoch >= max(5, self.params["epochs"] // 3):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        if self.weights is not None:
            self.model.set_weights(self.weights)


class PlainLogs(keras.callbacks.Callback):
    """Metrics of the main output under their plain names, "map" and "val_map", however many outputs a model has."""

    def __init__(self, main, outputs):
        super().__init__()
        self.main, self.outputs = main, list(outputs)

    def on_epoch_end(self, epoch, logs=None):
        if logs is None or len(self.outputs) < 2:
            return
        plain = {}
        for key, value in logs.items():
            prefix, name = ("val_", key.removeprefix("val_")) if key.startswith("val_") else ("", key)
            if not any(name == f"{output}_loss" for output in self.outputs):
                plain[prefix + name.removeprefix(f"{self.main}_")] = value
        logs.clear()  # the loss first, as Keras does it for one output
        logs.update(sorted(plain.items(), key=lambda item: (item[0].startswith("val_"), not item[0].endswith("loss"))))


@contextlib.contextmanager
def quiet_tracing(whose="TensorFlowTrainer"):
    """Every fit has a training step of its own, which TensorFlow takes for one that is traced again and again; `whose` is its class."""

    def other(record):
        return not (whose in str(record.msg) + str(record.args) and "retracing" in str(record.msg))

    logger = logging.getLogger("tensorflow")
    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


@contextlib.contextmanager
def seeded(seed):
    """Keras draws from a seed, as after `keras.utils.set_random_seed`; the generators of the caller go on where they were.

    Keras's layers and initializers draw their seeds from Python's generator.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)

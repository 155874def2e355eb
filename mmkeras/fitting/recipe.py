"""What a user wrote of a model, and how it is learnt from rows."""

import dataclasses
import warnings

import keras
import numpy as np

from mmkeras.data.categories import as_floats
from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import column_label
from mmkeras.data.sample import shown
from mmkeras.data.splits import hold_out
from mmkeras.fitting.fitted import Fitted
from mmkeras.modalities.base import adapt
from mmkeras.tasks.base import Task
from mmkeras.trunk.engines import check_engine
from mmkeras.trunk.mirrored import check_distribute, devices_of
from mmkeras.trunk.stages import check_modalities
from mmkeras.trunk.training import Plan
from mmkeras.trunk.trunk import Rows, Trunk


@dataclasses.dataclass
class Recipe:
    """What a user wrote of a model, and how it is learnt.

    Attributes:
        modalities, task: not adapted.
        head: settings of the task's head, its fusion among them.
        engine: what runs frozen towers; distribute: on which devices it trains; see `Pipeline`.

    Raises:
        As `Pipeline` does.
    """

    modalities: list
    task: Task
    head: dict
    engine: str = "auto"
    distribute: str | None = None

    def __post_init__(self):
        self.modalities = list(self.modalities)
        check_modalities(self.modalities)
        self.task.check_settings([modality.name for modality in self.modalities], **self.head)
        check_engine(self.engine)
        check_distribute(self.distribute)

    def rows(self, df, validation_data, seed, sample_weight=None):
        """(training rows, validation rows or None) as units of the task, copied, of those columns alone that are read.

        Args:
            df, validation_data, seed, sample_weight: see `Pipeline.fit`.
        """
        read = list(columns_of(self.modalities))
        columns = list(dict.fromkeys([*read, *self.task.columns]))
        weighed = columns if sample_weight is None else list(dict.fromkeys([*columns, column_label(sample_weight)]))
        check_frame(df, weighed)
        for column in set() if self.task.answers_apart else set(read) & set(self.task.columns):
            warnings.warn(
                f"The target {column!r} is also read by a modality: the model will copy it. "
                "Take it out of the modality's columns.",
                stacklevel=3,
            )
        if hasattr(validation_data, "columns"):
            check_frame(validation_data, columns, "validation_data")
            validation_data = self.task.units(validation_data[columns].copy(), self.modalities)
        df = self.task.units(df[weighed].copy(), self.modalities)
        if len(df) < 2:
            raise ValueError(f"`fit` needs at least two rows to learn from. Received: {len(df)}. Add rows.")
        return hold_out(df, validation_data, seed, self.task.together)

    def plan(self, rows, **settings):
        """`Plan` of training on so many rows; see `Plan.of` for settings that are "chosen"."""
        task = self.task
        adapters = {modality.trainable for modality in self.modalities} - {False} == {"lora"}
        plan = Plan.of(rows, task.usual_epochs, task.stops_early, task.usual_batch, adapters=adapters, **settings)
        if plan.batch_size < task.least_batch:
            raise ValueError(
                f"`batch_size` must be at least {task.least_batch} for {type(task).__name__}, which sets the rows of a batch against each "
                f"other. Received: {plan.batch_size}. Use hundreds where you can."
            )
        return plan

    def learn(self, train, validation, plan, cache, *, sample_weight=None, callbacks=(), series=None):
        """(`Fitted`, History of all phases) from the rows that `rows` gave.

        Args:
            train, validation: DataFrames; the latter may be None.
            plan: `Plan`. cache: `CacheFolder`.
            sample_weight: name of a column of weights, or None.
            callbacks: Keras callbacks.
            series: `Series` that this fit is one of, or None.
        """
        with devices_of(self.distribute):
            more = {"sample_weight": sample_weight, "callbacks": callbacks, "series": series}
            return self._learn(train, validation, plan, cache, **more)

    def _learn(self, train, validation, plan, cache, *, sample_weight, callbacks, series):
        task, alone = self.task.adapt(train), series is None
        series, target = series or Series(), task.target(train)
        weights = _weights(task.weights(target, plan.class_weight), train, sample_weight)
        loss, rows = task.choose_loss(plan.loss, target), Rows(train, target, weights)
        validation = series.validation or _judged(task, train, validation)
        keras.utils.set_random_seed(plan.seed)
        trunk = self._trunk(train, validation, cache, series)
        trunk.paces(plan)  # refuses what cannot be, before anything trains
        head = task.build_head(trunk.head_inputs(), target, **self.head)
        fitted = Fitted(task, trunk, head, self.head, rows, validation, plan)
        history = self.train(fitted, loss, callbacks, alone)
        series.trunk, series.validation = trunk, validation
        if alone:
            fitted.trunk = trunk.over()
        return fitted, history

    def train(self, fitted, loss, callbacks=(), alone=True):
        """Train what was built, by its plan, on its rows; returns the History of all phases.

        Args:
            fitted: `Fitted`, with a head that knows nothing yet.
            loss: see `Task.training`.
            callbacks: Keras callbacks.
            alone: bool, whether a person looks on.
        """
        task, trunk, plan, validation = fitted.task, fitted.trunk, fitted.plan, fitted.validation
        watching = task.watch(fitted.predict, None if validation is None else validation.df)
        settings = {"validation": validation, "callbacks": [*watching, *callbacks]}
        early = plan.early_stopping and validation is not None
        training = task.training(fitted.head, loss)
        if not alone and not settings["callbacks"]:  # nobody watches, and some metrics cost as much as the training
            training.metrics, settings["validation"] = {}, None
        best = fitted.best_epoch if early else list
        watched = settings["callbacks"]
        settings["callbacks"] = [*best(), *watched]
        history = trunk.train(training, fitted.rows, plan, fine_tune=not plan.fine_tune_epochs, **settings)
        if plan.fine_tune_epochs:
            settings["callbacks"] = [*best(), *watched]
            first = history.epoch[-1] + 1
            second = trunk.train(training, fitted.rows, plan.second(), fine_tune=True, first=first, **settings)
            history.epoch += second.epoch
            for name, values in second.history.items():
                history.history.setdefault(name, []).extend(values)
        if validation is not None:
            fitted.tune(calibrate=task.calibrates(plan.loss))
        if plan.verbose and alone:
            print(_told_of_validation(fitted, early), flush=True)
        return history

    def _trunk(self, train, validation, cache, series):
        """A `Trunk` with new weights, on which each of these rows is read once."""
        if series.trunk is not None:
            return series.trunk.anew()
        trunk = Trunk([adapt(modality, train) for modality in self.modalities], cache=cache, engine=self.engine)
        return trunk.over(train, *series.judged, *([] if validation is None else [validation.df]))


@dataclasses.dataclass
class Series:
    """Fits of one `Recipe` on the same rows one after another, of which only the predictions are wanted.

    What modalities learn of the rows, and what is read and prepared of them, is so once; weights are each fit's own.

    Attributes:
        judged: DataFrames that all will predict.
        trunk, validation: of the fit before.
    """

    judged: tuple = ()
    trunk: Trunk | None = None
    validation: Rows | None = None


def _weights(weights, df, column):
    """(rows,) products of class weights, which may be None, and a column of weights, which may be None."""
    if column is None:
        return weights
    column = column_label(column)
    own = as_floats(df[column]).astype("float32")
    bad = ~(np.isfinite(own) & (own >= 0)) | (not own.any())
    if bad.any():
        raise ValueError(
            f"`sample_weight` must name a column of finite numbers of 0 or more, not all 0. Received: {column!r} with "
            f"{shown(df[column].iloc[int(bad.argmax())])}. Fill or drop such rows."
        )
    return own if weights is None else weights * own


def _judged(task, train, validation):
    """`Rows` of the validation rows that can be judged, with a warning of the others; None when none is left."""
    if validation is None:
        return None
    kept, told = task.judged(validation)
    known = task.judged(train)[1]
    for sentence in told:
        if sentence not in known and (len(kept) < len(validation) or not known):
            warnings.warn(f"Validation rows: {sentence}", stacklevel=4)
    return Rows(kept, task.target(kept)) if len(kept) else None


def _told_of_validation(fitted, early):
    """A sentence on what validation rows were used for."""
    if fitted.validation is None:
        return "No validation rows: the last epoch was kept, and nothing was tuned or calibrated."
    uses = [*(["the epoch that was kept"] if early else []), *fitted.task.tuned]
    return f"{len(fitted.validation.target):,} validation rows taught {', '.join(uses) or 'nothing but figures'}."

"""How a Pipeline learns from rows, and what it has learnt."""

import dataclasses
import warnings

import keras
import numpy as np

from mmkeras import persistence
from mmkeras.data.categories import as_floats
from mmkeras.data.check import warn_of_columns
from mmkeras.data.columns import Column, check_frame, columns_of
from mmkeras.data.frames import column_label
from mmkeras.data.sample import shown
from mmkeras.data.splits import hold_out
from mmkeras.evaluation.rivals import DEFAULT_PLAN, Bench, fit_rivals, load_rival, save_rival
from mmkeras.graph import load_model, loading, submodel
from mmkeras.modalities.base import Modality, adapt
from mmkeras.modalities.encoders import lora
from mmkeras.registry import describe, rebuild
from mmkeras.tasks.base import Task
from mmkeras.trunk.engines import check_engine
from mmkeras.trunk.mirrored import check_distribute, devices_of
from mmkeras.trunk.stages import chain, check_modalities
from mmkeras.trunk.training import BestEpoch, Diverged, Plan
from mmkeras.trunk.trunk import Rows, Trunk

MOST_UNCHECKED = 100  # fewer rows to predict are not looked at: they may well be alike
STAGES = ("prepare", "encode", "head")
ADAPTERS = "adapters.h5"  # of `encode`


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
        if self.distribute is not None and not self.task.mirrors:
            raise ValueError(
                f"`distribute` goes with classes, labels and numbers. Received: {self.distribute!r} with {type(self.task).__name__}, whose "
                "training on several devices differs from that on one. Leave it out."
            )

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
        plan = Plan.of(rows, task.usual_epochs, task.stops_early, task.usual_batch, **settings)
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
        watching = task.watch(fitted.predict, None if validation is None else validation.df)
        settings = {"validation": validation, "callbacks": [*watching, *callbacks]}
        early = plan.early_stopping and validation is not None
        training = task.training(head, loss)
        if not alone and not settings["callbacks"]:  # nobody watches, and some metrics cost as much as the training
            training.metrics, settings["validation"] = {}, None
        best = fitted.best_epoch if early else list
        watched = settings["callbacks"]
        settings["callbacks"] = [*best(), *watched]
        history = trunk.train(training, rows, plan, fine_tune=not plan.fine_tune_epochs, **settings)
        if plan.fine_tune_epochs:
            settings["callbacks"] = [*best(), *watched]
            first = history.epoch[-1] + 1
            second = trunk.train(training, rows, plan.second(), fine_tune=True, first=first, **settings)
            history.epoch += second.epoch
            for name, values in second.history.items():
                history.history.setdefault(name, []).extend(values)
        if validation is not None:
            fitted.tune()
        series.trunk, series.validation = trunk, validation
        if alone:
            fitted.trunk = trunk.over()
        return fitted, history

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


def _leading_to(stage, keys):
    """The part of a stage that gives some of its outputs."""
    return submodel(stage.input, {key: tensor for key, tensor in stage.output.items() if key in keys}, stage.name)


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


@dataclasses.dataclass
class Fitted:
    """What a Pipeline has learnt; it becomes it in one step.

    Attributes:
        task: adapted and tuned. trunk: `Trunk` of adapted modalities. head: keras.Model. settings: the head's.
        rows, validation: `Rows` that it learnt from and was validated on, for the rivals; None once loaded.
        plan: `Plan` of the training. rivals: {name: `Rival`} once an evaluation has fitted them.
        embeddings: {side: (head, keras.Model of its vectors)} once they were asked for.
    """

    task: Task
    trunk: Trunk
    head: keras.Model
    settings: dict
    rows: Rows | None = None
    validation: Rows | None = None
    plan: Plan = DEFAULT_PLAN
    rivals: dict = dataclasses.field(default_factory=dict)
    embeddings: dict = dataclasses.field(default_factory=dict)

    def predict(self, df, verbose=0, absent=(), keep=True, **settings):
        """Predictions, in the task's form.

        Args:
            df: DataFrame.
            verbose, absent, keep: see `Trunk.outputs`.
            **settings: of the task's `predict`.

        Raises:
            Diverged: a prediction is no number.
        """
        run = self.trunk.runner(df, verbose=verbose, absent=absent, keep=keep)
        predictions = self.task.predict(run, self.head, **settings)
        fault = self.task.check_predictions(predictions)
        if fault:
            raise Diverged(fault)
        return predictions

    def answer(self, df, verbose=0, cache=False):
        """Predictions for a user, who is warned of columns that cannot be what they should be; see `Pipeline.predict`."""
        check_frame(df, columns_of(self.trunk.modalities))
        warn_of_columns(df, self.trunk.modalities, "rows to predict", MOST_UNCHECKED)
        return self.predict(df, verbose, keep=cache)

    def formed(self, form, df, verbose, cache):
        """`form` of predictions and their index, which is that of `df`; for no rows it has none, but is the same otherwise."""
        rows = df if len(df) else df.iloc[:0].set_axis(range(0)).reindex([0])  # of nothing but gaps
        return form(self.answer(rows, verbose, cache), rows.index).iloc[: len(df)].set_axis(df.index)

    def replace_head(self, model):
        """Predict by another head, which must read and give what this one does, by names and shapes."""
        for what, old, new in (("read", self.head.input, model.input), ("give", self.head.output, model.output)):
            shapes = ({key: tuple(tensor.shape) for key, tensor in tensors.items()} for tensors in (old, new))
            must, does = shapes
            if must != does:
                raise ValueError(
                    f"A head must {what} {must}. Received one with {does}. Build it on `pipe.encode.output`."
                )
        self.head = model

    def best_epoch(self):
        """[callback that keeps the epoch that does best on the validation rows], for one phase of training."""
        task, validation = self.task, self.validation
        sign = -1 if task.primary in task.smaller_is_better else 1
        every = np.ones((1, len(validation.df)))

        def score():
            return sign * float(task.score(validation.target, self.predict(validation.df))(every)[task.primary][0])

        return [BestEpoch(score, task.primary, sign)]

    def tune(self):
        """Let the task learn from the validation rows."""
        self.task = self.task.tune(self.validation.target, self.predict(self.validation.df))

    def embed(self, df, verbose=0, side=None):
        """(rows, D) fused features, or the vectors of a side."""
        head, model = self.embeddings.get(side, (None, None))
        if head is not self.head:
            model = submodel(self.head.input, {"embedding": self.task.embedding(self.head, side)})
            self.embeddings[side] = (self.head, model)  # kept, so that its graph is traced once
        return self.trunk.outputs(model, df, verbose=verbose)["embedding"]

    # --- rivals

    def simple_rivals(self, train_data=None, verbose=0):
        """{name: `Rival`} of the task's own kinds, fitted at the first call; {} where no training rows are known."""
        if not self.rivals:
            self.rivals = self.fit_rivals(self.task.rivals, train_data, verbose)
        return self.rivals

    def fit_rivals(self, kinds, train_data=None, verbose=0):
        """{name: `Rival`} of some classes; {} where no training rows are known."""
        rows = self.rows
        if rows is None and train_data is not None:
            df = self.task.units(train_data, self.trunk.modalities)
            rows = Rows(df, self.task.target(df))
        if rows is None or not kinds:
            return {}
        if verbose:
            print(f"Fitting baselines on {len(rows.df):,} training rows, once …", flush=True)
        judged = [] if self.validation is None else [self.validation.df]
        trunk = self.trunk.over(*judged, model=self.head)
        bench = Bench(self.task, trunk.modalities, rows, trunk, self.validation, self.settings, self.plan)
        return fit_rivals(kinds, bench)

    # --- keeping and serving

    def served(self):
        """{signature: keras.Model from raw values}; "serve" is the main one."""
        trunk, models = self.trunk, {}
        for name, head in self.task.serving(self.head).items():
            encode, prepare = trunk.encode, trunk.prepare
            if self.task.sides:  # each is served from its own columns
                encode = _leading_to(encode, head.input)
                prepare = _leading_to(prepare, {**encode.input, **head.input})
            models[name] = chain(prepare, encode, head, name=name.replace("serve", "serving"))
        return models

    def export(self, path):
        """Write a SavedModel, see `Pipeline.export`."""
        inputs = self.trunk.prepare.input
        names = persistence.argument_names(inputs)
        info = {
            "inputs": {column: {"name": names[column], "dtype": tensor.dtype} for column, tensor in inputs.items()},
            "output": persistence.argument_names(self.head.output)[self.task.column],
            **self.task.told(),
        }
        models = {name: lora.without_adapters(model, merged=True) for name, model in self.served().items()}
        persistence.export_saved_model(models, path, info)

    def save(self, path, about):
        """Write everything to a folder, see `Pipeline.save`; `about` goes into its manifest."""
        manifest = {
            "mmkeras": persistence.VERSION,
            "keras": keras.__version__,
            "modalities": [describe(modality) for modality in self.trunk.modalities],
            "columns": [
                {name: describe(column) for name, column in modality.readers.items()}
                for modality in self.trunk.modalities
            ],
            "task": describe(self.task),
            "state": self.task.state,
            **about,
            "rivals": {},
        }
        # What a tower was before training lies in the folder once, and its adapters beside it.
        adapters = lora.adapter_values(self.trunk.encode)
        stages = (self.trunk.prepare, lora.without_adapters(self.trunk.encode, merged=False), self.head)
        with persistence.replacing(path, manifest) as folder:
            for name, model in zip(STAGES, stages, strict=True):
                model.save(folder / f"{name}.keras")
            if adapters:
                persistence.write_arrays(folder / ADAPTERS, adapters)
            for number, (name, rival) in enumerate(self.rivals.items()):
                manifest["rivals"][name] = save_rival(rival, folder, f"baseline_{number}")

    @classmethod
    def load(cls, path, classes=(), safe_mode=True):
        """(`Fitted`, manifest) of a folder that `save` wrote; see `mmkeras.load`."""
        with loading(safe_mode):
            return persistence.reading(
                path, lambda manifest, folder: (cls.checked(manifest, folder, classes), manifest)
            )

    @classmethod
    def checked(cls, manifest, folder, classes=()):
        """As `of`; whatever classes make of settings that they do not know is one error, with what to do."""
        persistence.check_values(manifest)
        try:
            return cls.of(manifest, folder, classes)
        except (OSError, ImportError, ValueError):  # that tell it themselves
            raise
        except Exception as error:
            raise ValueError(
                "A saved Pipeline must hold what its classes take. Received: values with which they fail: "
                f"{type(error).__name__}: {error!s:.300}. Use the version of the classes that it was saved with, or fit and save again."
            ) from error

    @classmethod
    def of(cls, manifest, folder, classes=()):
        """What a manifest and the files in its folder say."""
        modalities = [rebuild(Modality, config, classes) for config in manifest["modalities"]]
        for number, configs in enumerate(manifest["columns"]):
            columns = {name: rebuild(Column, config, classes) for name, config in configs.items()}
            modalities[number] = modalities[number].read_by(columns)
        task = rebuild(Task, manifest["task"], classes).learn(**manifest["state"])
        prepare, encode, head = (load_model(folder / f"{name}.keras", classes) for name in STAGES)
        for modality in modalities:
            modality.add_adapters(encode)
        if lora.has_adapters(encode):
            lora.assign_adapters(encode, persistence.read_arrays(folder / ADAPTERS))
        settings = {"fusion": manifest["fusion"], **manifest["head"]}
        fitted = cls(task, Trunk(modalities, prepare, encode), head, settings)
        for name, saved in manifest["rivals"].items():
            fitted.rivals[name] = load_rival(folder, saved, task, classes)
        return fitted

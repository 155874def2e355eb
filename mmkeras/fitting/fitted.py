"""What a Pipeline has learnt, kept and served."""

import dataclasses

import keras
import numpy as np

from mmkeras import persistence
from mmkeras.data.check import warn_of_columns
from mmkeras.data.columns import Column, check_frame, columns_of
from mmkeras.evaluation.rivals import DEFAULT_PLAN, Bench, fit_rivals, load_rival, save_rival
from mmkeras.graph import functional, load_model, loading, submodel, unused_name
from mmkeras.modalities.base import Modality
from mmkeras.modalities.encoders import lora
from mmkeras.registry import describe, rebuild
from mmkeras.tasks.base import Task
from mmkeras.trunk.stages import chain
from mmkeras.trunk.training import BestEpoch, Diverged, Plan
from mmkeras.trunk.trunk import Rows, Trunk

MOST_UNCHECKED = 100  # fewer rows to predict are not looked at: they may well be alike
STAGES = ("prepare", "encode", "head")
ADAPTERS = "adapters.h5"  # of `encode`


def _leading_to(stage, keys):
    """The part of a stage that gives some of its outputs."""
    return submodel(stage.input, {key: tensor for key, tensor in stage.output.items() if key in keys}, stage.name)


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
        self.head, self.task = model, self.task.uncalibrated()

    def best_epoch(self):
        """[callback that keeps the epoch that does best on the validation rows], for one phase of training."""
        task, validation = self.task, self.validation
        sign = -1 if task.primary in task.smaller_is_better else 1
        every = np.ones((1, len(validation.target)))

        def score():
            return sign * float(task.score(validation.target, self.predict(validation.df))(every)[task.primary][0])

        return [BestEpoch(score, task.primary, sign)]

    def tune(self, target=None, predictions=None, *, calibrate=True):
        """Let the task learn from the validation rows, and the head give what then means what it says.

        Args:
            target, predictions: of other rows that the model did not learn from; None for the validation rows.
            calibrate: bool; False leaves what is predicted as it is.
        """
        if target is None:
            target, predictions = self.validation.target, self.predict(self.validation.df)
        task, column = self.task.uncalibrated(), self.task.column
        task = task.calibrate(target, predictions) if calibrate else task
        layer = task.calibration(unused_name(self.head, "calibration"))
        if layer is not None:
            outputs = {**self.head.output, column: layer(self.head.output[column])}
            self.head, predictions = functional(self.head.input, outputs, "head"), np.asarray(layer(predictions))
        self.task = task.tune(target, predictions)

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
        bench = Bench(
            self.task.uncalibrated(), trunk.modalities, rows, trunk, self.validation, self.settings, self.plan
        )
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
        if (folder / ADAPTERS).exists():
            lora.assign_adapters(encode, persistence.read_arrays(folder / ADAPTERS))
        settings = {"fusion": manifest["fusion"], **manifest["head"]}
        fitted = cls(task, Trunk(modalities, prepare, encode), head, settings)
        for name, saved in manifest["rivals"].items():
            fitted.rivals[name] = load_rival(folder, saved, task, classes)
        return fitted

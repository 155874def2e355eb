"""Pipeline: modalities, a task and the three stages, used on DataFrames."""

import dataclasses

from mmkeras.data.check import warn_of_columns
from mmkeras.data.frames import as_frame, frame_if_rows, names_files
from mmkeras.fitting import Fitted, Recipe, check_no_files, fit_files
from mmkeras.fitting.model import Model
from mmkeras.modalities.base import Modality
from mmkeras.tasks.base import Task
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.training import CHOSEN


class Pipeline(Model):
    """A multimodal model of DataFrames.

    Args:
        modalities: list of `Text`, `Image`, `Tabular`, …, with different names.
        task: what the target means: `MultiLabel`, `MultiClass`, `Regression`, `Caption`, or a task of your own.
        fusion: how the head joins the modalities, see `build_head`; None for the task's usual way, "concat" for all but `Answer`.
        encode_engine: what runs frozen towers: "tensorflow", "openvino" or "auto", see `mmkeras.trunk.engines`. It belongs
            to the machine: a saved Pipeline is loaded with "auto".
        distribute: "mirrored" trains on all GPUs of the machine, with batches shared among them, None on one. It is not saved either.
        **head: further settings of the task's head, such as units, dropout, depth and modality_dropout of `build_head`.

    Attributes:
        task, modalities: as given; once fitted, with what they learnt.
        prepare, encode, head: the three stages (plain `keras.Model`s), once fitted or loaded, else None.
        trunk: `Trunk`, the first two with their cache, else None.
        notes: list of sentences that every report begins with; `search` says there how the model was chosen.
        trail: `search.Trail` of the search that chose the model, else None; it is not saved.

    Raises:
        ValueError: no modality, or two of the same name; an unknown fusion, engine, way to distribute or setting of the head.
        TypeError: no list of modalities, or no task.
        ImportError: an engine whose package is missing.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> pipe.predict(df).shape[0]
        60
    """

    def __init__(self, modalities, task, fusion=None, *, encode_engine="auto", distribute=None, **head):
        if isinstance(modalities, Modality) or not isinstance(task, Task):
            raise TypeError(
                "A Pipeline takes a list of modalities and a task. "
                f"Received: {type(modalities).__name__} and {type(task).__name__}. "
                "Use for example mm.Pipeline([mm.Text('overview')], mm.MultiLabel('genres'))."
            )
        fusion = task.usual_fusion(list(modalities)) if fusion is None else fusion
        self._recipe = Recipe(modalities, task, {"fusion": fusion, **head}, encode_engine, distribute)
        self.fusion, self.head_settings = fusion, head
        self.notes, self.trail = [], None
        self._fitted = None

    def __repr__(self):
        names = ", ".join(f"{modality.name}: {type(modality).__name__}" for modality in self.modalities)
        state = "not fitted" if self._fitted is None else "fitted"
        return f"<Pipeline ({names}) → {type(self.task).__name__}({self.task.column!r}), {self.fusion}, {state}>"

    @classmethod
    def of(cls, fitted, fusion=None, **head):
        """A Pipeline of stages that were made elsewhere, as `Fitted`."""
        pipe = cls([m.settings for m in fitted.trunk.modalities], fitted.task.settings, fusion, **head)
        pipe._fitted = fitted
        return pipe

    # --- what it holds

    distribute = property(lambda self: self._recipe.distribute)
    encode_engine = property(lambda self: self._recipe.engine, doc="What runs frozen towers; may be set.")

    @encode_engine.setter
    def encode_engine(self, engine):
        self._recipe = dataclasses.replace(self._recipe, engine=engine)
        if self._fitted is not None:
            self._fitted.trunk.engine = engine

    task = property(lambda self: self._fitted.task if self._fitted else self._recipe.task)
    modalities = property(lambda self: self._fitted.trunk.modalities if self._fitted else self._recipe.modalities)

    # --- training

    def fit(
        self, df, validation_data=None, epochs=CHOSEN, batch_size=CHOSEN, seed=0, class_weight=None, cache_dir=None,
        callbacks=(), verbose=1, *, learning_rate=CHOSEN, fine_tune_epochs=0, fine_tune_learning_rate=CHOSEN, loss=None,
        weight_decay=CHOSEN, optimizer="adamw", sample_weight=None, early_stopping=CHOSEN, clip_norm=None, tower_rate=CHOSEN, unfreeze=(),
        features=None, key=None,
    ):  # fmt: skip
        """Learn from the rows of `df`, which is not modified. A call that fails leaves the Pipeline as it was.

        Frozen towers run once per distinct row and their features are cached. With `fine_tune_epochs`, a first
        phase trains everything but the pretrained towers for `epochs`, and a second one trains also what their
        `trainable` names. Without it, what `trainable` names trains from the start.

        Args:
            df: pandas DataFrame with the modalities' columns and the target; or files of Parquet, a path, a pattern such as "rows/*.parquet"
                or a list of these, whose rows stream, see docs/scale.md: no memory holds them.
            validation_data: DataFrame, or the share of `df` to hold out (float). None holds out a tenth when `df`
                has at least 20 rows, False nothing. Thresholds are tuned on these rows. With files: other files, or a share of rows that are
                told by what stands in them, so that a row is on the same side in whatever file.
            epochs: int, passes over the training rows in the first phase. What is "chosen" follows from their number, see docs/defaults.md.
            batch_size, seed: ints. The same seed gives the same model; it sets Python's, NumPy's and TensorFlow's global seeds.
            class_weight: None, "balanced", or {class: weight}, for `MultiClass`; see `losses.sample_weights`.
            cache_dir: folder for cached features; None uses $MMKERAS_CACHE_DIR, or else one that lives as long as the Pipeline.
            callbacks: Keras callbacks.
            verbose: 0 silent, 1 progress bars, 2 a line per epoch.
            learning_rate: float, the peak of the first phase, reached after a short warm-up, from which it falls to 0
                along a cosine; or a Keras LearningRateSchedule. With callbacks that set the rate it stays constant.
            fine_tune_epochs, fine_tune_learning_rate: int and float, passes and rate of the second phase.
            loss: None for the task's own; "focal" for the focal loss with γ = 2, which heeds rare classes and hard rows more; of labels
                also "weighted", by which rare ones count more, and "asymmetric", by which absent ones count less; of numbers "huber" and
                "absolute"; or a Keras loss, such as `mm.losses.SparseCategoricalFocalCrossentropy(gamma=1, alpha=[1, 1, 0.5])`.
            weight_decay, clip_norm: floats; the latter is the longest that a step's gradients, as one vector, may be, None for any length.
            early_stopping: bool, whether the epoch with the best primary metric on the validation rows is kept; "chosen": where epochs are.
            optimizer: "adamw", "adam" or "sgd" (with Nesterov's momentum).
            sample_weight: name of a column of `df` that says how much each row counts in training, or None.
            tower_rate: float, the share of the learning rate at which pretrained towers learn, where they train.
            unfreeze: list of epochs of the phase that trains towers, from which their layers learn, by groups, last layers first.
            features: with files, the folder of frozen towers' features that `encode_table` wrote.
            key: with files, name of a column that says on which side a row is; None takes all columns that are read.

        Returns:
            keras.callbacks.History of both phases.

        Raises:
            KeyError, TypeError, ValueError: columns, rows or settings that cannot work.
            OSError: the cache folder cannot be written.
        """
        cache = self._fitted.trunk.cache if self._fitted and cache_dir is None else CacheFolder(cache_dir)
        settings = {
            "epochs": epochs, "batch_size": batch_size, "seed": seed, "learning_rate": learning_rate, "optimizer": optimizer, "loss": loss,
            "fine_tune_epochs": fine_tune_epochs, "fine_tune_learning_rate": fine_tune_learning_rate, "weight_decay": weight_decay, "unfreeze": unfreeze,
            "class_weight": class_weight, "verbose": verbose, "early_stopping": early_stopping, "clip_norm": clip_norm, "tower_rate": tower_rate,
        }  # fmt: skip
        streams = {"features": features, "key": key}
        if names_files(df):
            settings["sample_weight"] = sample_weight
            fitted, history, notes = fit_files(
                self._recipe, df, cache, settings, validation_data=validation_data, callbacks=callbacks, **streams
            )
            self._fitted, self.notes, self.trail = fitted, notes, None
            warn_of_columns(fitted.rows.df, self.modalities, "training rows")
            return history
        check_no_files(**streams)
        validation_data = frame_if_rows(validation_data, "validation_data")
        train, validation = self._recipe.rows(as_frame(df), validation_data, seed, sample_weight)
        plan = self._recipe.plan(len(train), **settings)
        fitted, history = self._recipe.learn(
            train, validation, plan, cache, sample_weight=sample_weight, callbacks=callbacks
        )
        self._fitted, self.notes, self.trail = fitted, [], None
        warn_of_columns(train, self.modalities, "training rows")
        return history


def load(path, classes=(), *, safe_mode=True):
    """Load a Pipeline that `Pipeline.save` wrote.

    Args:
        path: the folder.
        classes: classes of yours that it needs (tasks, layers …) and whose file is not imported; nothing is because a folder names it.
        safe_mode: bool. False runs code that the folder holds, such as a SavedModel, where you trust its maker; see SECURITY.md.

    Returns:
        `Pipeline`, ready to predict, evaluate, export, and to be fitted anew.

    Raises:
        FileNotFoundError, ValueError: see `persistence.read`; a class that is not defined, or code where `safe_mode` allows none.

    Example:
        >>> import mmkeras as mm
        >>> mm.load("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: There is no folder 'no/such/folder'. Give the folder that `pipe.save` wrote.
    """
    fitted, manifest = Fitted.load(path, classes, safe_mode)
    pipe = Pipeline.of(fitted, manifest["fusion"], **manifest["head"])
    pipe.notes = list(manifest.get("notes", ()))
    return pipe

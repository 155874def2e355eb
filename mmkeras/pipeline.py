"""Pipeline: modalities, a task and the three stages, used on DataFrames."""

import dataclasses

from mmkeras.data.check import check_columns, warn_of_columns
from mmkeras.data.frames import as_frame, frame_if_rows, like
from mmkeras.evaluation.evaluate import evaluate
from mmkeras.fitting import Fitted, Recipe
from mmkeras.modalities.base import Modality
from mmkeras.tasks.base import Task
from mmkeras.trunk.stages import chain
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.training import CHOSEN


class Pipeline:
    """A multimodal model of DataFrames.

    Args:
        modalities: list of `Text`, `Image`, `Tabular`, …, with different names.
        task: what the target means: `MultiLabel`, `MultiClass`, `Regression`, `Caption`, or a task of your own.
        fusion: how the head joins the modalities, see `build_head`.
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

    def __init__(self, modalities, task, fusion="concat", *, encode_engine="auto", distribute=None, **head):
        if isinstance(modalities, Modality) or not isinstance(task, Task):
            raise TypeError(
                "A Pipeline takes a list of modalities and a task. "
                f"Received: {type(modalities).__name__} and {type(task).__name__}. "
                "Use for example mm.Pipeline([mm.Text('overview')], mm.MultiLabel('genres'))."
            )
        self._recipe = Recipe(modalities, task, {"fusion": fusion, **head}, encode_engine, distribute)
        self.fusion, self.head_settings = fusion, head
        self.notes, self.trail = [], None
        self._fitted = None

    def __repr__(self):
        names = ", ".join(f"{modality.name}: {type(modality).__name__}" for modality in self.modalities)
        state = "not fitted" if self._fitted is None else "fitted"
        return f"<Pipeline ({names}) → {type(self.task).__name__}({self.task.column!r}), {self.fusion}, {state}>"

    @classmethod
    def of(cls, fitted, fusion="concat", **head):
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
    trunk = property(lambda self: self._fitted and self._fitted.trunk)
    prepare = property(lambda self: self._fitted and self._fitted.trunk.prepare)
    encode = property(lambda self: self._fitted and self._fitted.trunk.encode)

    @property
    def head(self):
        """The third stage; may be set to another model of the same inputs and outputs."""
        return self._fitted and self._fitted.head

    @head.setter
    def head(self, model):
        self.check_fitted().replace_head(model)

    @property
    def thresholds(self):
        """What the task decides by, tuned on validation rows, such as (classes,) of `MultiLabel`; None where nothing is."""
        return self.task.thresholds

    @property
    def model(self):
        """keras.Model from prepared tensors to {target column: prediction}."""
        self.check_fitted()
        return chain(self.encode, self.head, name="model")

    @property
    def serving_model(self):
        """keras.Model from {column: raw values} to what the task serves, such as {target column: prediction}."""
        return self.check_fitted().served()["serve"]

    def check_fitted(self):
        """What was learnt, `fitting.Fitted`; raises ValueError unless there is a model."""
        if self._fitted is None:
            raise ValueError("The Pipeline has no model yet. Call `fit(df)` first, or `mm.load(path)`.")
        return self._fitted

    # --- training

    def fit(
        self, df, validation_data=None, epochs=CHOSEN, batch_size=CHOSEN, seed=0, class_weight=None, cache_dir=None,
        callbacks=(), verbose=1, *, learning_rate=CHOSEN, fine_tune_epochs=0, fine_tune_learning_rate=5e-5, loss=None,
        weight_decay=CHOSEN, optimizer="adamw", sample_weight=None, early_stopping=CHOSEN, clip_norm=None, tower_rate=1.0, unfreeze=(),
    ):  # fmt: skip
        """Learn from the rows of `df`, which is not modified. A call that fails leaves the Pipeline as it was.

        Frozen towers run once per distinct row and their features are cached. With `fine_tune_epochs`, a first
        phase trains everything but the pretrained towers for `epochs`, and a second one trains also what their
        `trainable` names. Without it, what `trainable` names trains from the start.

        Args:
            df: pandas DataFrame with the modalities' columns and the target.
            validation_data: DataFrame, or the share of `df` to hold out (float). None holds out a tenth when `df`
                has at least 20 rows, False nothing. Thresholds are tuned on these rows.
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

        Returns:
            keras.callbacks.History of both phases.

        Raises:
            KeyError, TypeError, ValueError: columns, rows or settings that cannot work.
            OSError: the cache folder cannot be written.
        """
        cache = self._fitted.trunk.cache if self._fitted and cache_dir is None else CacheFolder(cache_dir)
        validation_data = frame_if_rows(validation_data, "validation_data")
        train, validation = self._recipe.rows(as_frame(df), validation_data, seed, sample_weight)
        settings = {"sample_weight": sample_weight, "callbacks": callbacks}
        plan = self._recipe.plan(
            len(train), epochs=epochs, batch_size=batch_size, seed=seed, learning_rate=learning_rate, optimizer=optimizer, loss=loss,
            fine_tune_epochs=fine_tune_epochs, fine_tune_learning_rate=fine_tune_learning_rate, weight_decay=weight_decay, unfreeze=unfreeze,
            class_weight=class_weight, verbose=verbose, early_stopping=early_stopping, clip_norm=clip_norm, tower_rate=tower_rate,
        )  # fmt: skip
        fitted, history = self._recipe.learn(train, validation, plan, cache, **settings)
        self._fitted, self.notes, self.trail = fitted, [], None
        warn_of_columns(train, self.modalities, "training rows")
        return history

    # --- prediction

    def predict(self, df, verbose=0, *, cache=False):
        """Predictions as a DataFrame on the index of `df`, of its kind: a polars DataFrame for one, say.

        Args:
            df: pandas DataFrame with the modalities' columns; other columns are left alone.
            verbose: 1 shows progress of encoding.
            cache: bool, whether what frozen towers give for new rows goes to the cache, which grows with each of them.

        Returns:
            DataFrame in the task's own form, such as a probability column per class, or the target's numbers.

        Raises:
            KeyError, TypeError, ValueError: columns or rows that cannot work, or an unfitted Pipeline.
        """
        fitted = self.check_fitted()
        return like(fitted.formed(fitted.task.frame, as_frame(df), verbose, cache), df)

    def predict_labels(self, df, verbose=0, *, cache=False):
        """Decisions as a Series on the index of `df`, of its kind, such as a list of labels, a class, or a number for each row.

        A class is a cell as the training rows hold it, in their dtype: ints for ints, categories for categories.

        Args and errors are those of `predict`: df, verbose and cache.
        """
        fitted = self.check_fitted()
        return like(fitted.formed(fitted.task.series, as_frame(df), verbose, cache), df)

    def check(self, df):
        """How the columns of `df` are read and what is wrong with them, a row for each; see `data.check.check_columns`."""
        return check_columns(as_frame(df), self.check_fitted().trunk.modalities)

    # --- evaluation

    def evaluate(self, df, train_data=None, verbose=1, *, missing=False, by=None, rivals=()):
        """Score on rows that were not trained on, beside simple rivals fitted on the training rows.

        Args:
            df: pandas DataFrame with the target column too.
            train_data: the training rows, needed only when a Pipeline was saved before its first `evaluate`, so
                that it came without rivals.
            verbose: 0 silent; 1 tells when rivals are trained, and shows progress.
            missing: bool; True also scores the model for every subset of modalities, as if the others were missing in
                all rows (`Report.missing`).
            by: name of a column; also scores the rows of each of its values (`Report.groups`).
            rivals: classes derived from `evaluation.rivals.Rival`, to be shown beside the task's own.

        Returns:
            `Report`.

        Raises:
            KeyError, TypeError, ValueError: as `predict`; or a target in none of its forms.
        """
        fitted, notes, df = self.check_fitted(), list(self.notes), as_frame(df)
        train_data = frame_if_rows(train_data, "train_data")
        every = {**fitted.simple_rivals(train_data, verbose), **fitted.fit_rivals(rivals, train_data, verbose)}
        if not every:
            notes.append("No baselines: the Pipeline was saved without them. Give `train_data=` the training rows.")
        elif rivals and train_data is None and fitted.rows is None:
            notes.append("The rivals asked for are not shown: a loaded Pipeline needs `train_data=` to fit them.")
        settings = {"missing": missing, "by": by, "notes": notes, "verbose": verbose}
        return evaluate(fitted, df, rivals=every, **settings)

    # --- keeping and serving

    def save(self, path):
        """Write everything to a folder. An interrupted save leaves an earlier one in that folder intact.

        It holds the stages as `.keras` files, settings, what was learnt, and rivals that `evaluate` fitted; no rows.

        Args:
            path: the folder, new or of an earlier save.

        Raises:
            ValueError: the folder holds something else, or the Pipeline has no model yet.
            OSError: the folder cannot be written.
        """
        self.check_fitted().save(path, {"fusion": self.fusion, "head": self.head_settings, "notes": self.notes})

    def export(self, path):
        """Write a SavedModel that takes raw strings and numbers, for TensorFlow Serving or `tf.saved_model.load`.

        Its `serve` signature takes {column: (B,) strings or float32} and returns what the task serves, such as {target
        column: (B, outputs)}. In names of columns, everything but letters and digits becomes "_". Numbers may be NaN, strings
        empty: missing; dates are strings such as "1995-10-30". A WordPiece tokenizer needs `import tensorflow_text` before
        the SavedModel is loaded. `assets.extra/mmkeras.json` tells names and what the task tells of its answers.

        Args:
            path: the folder, new, empty, or of an earlier export.

        Raises:
            ValueError: the folder holds something that is no SavedModel, or the Pipeline has no model yet.
            OSError: the folder cannot be written.
        """
        self.check_fitted().export(path)


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

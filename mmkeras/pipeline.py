"""Pipeline: modalities, a task and the three stages, used on DataFrames."""

import itertools
import os
import tempfile
import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf

from mmkeras import modalities as modality_classes
from mmkeras import persistence, tasks
from mmkeras.data.batches import settle
from mmkeras.data.columns import check_frame
from mmkeras.data.splits import split_frame
from mmkeras.evaluation.report import make_report, tune_thresholds
from mmkeras.evaluation.rivals import BASELINE_SETTINGS, fit_baselines, load_baseline
from mmkeras.heads.decisions import build_head, check_fusion
from mmkeras.heads.writing import build_caption_head, writing_head
from mmkeras.inference.writing import WatchCider, fit_caption_baselines, image_column, write_captions
from mmkeras.modalities.base import Modality
from mmkeras.tasks.base import Task
from mmkeras.trunk.engines import check_engine
from mmkeras.trunk.stages import build_encode, build_prepare, chain, check_modalities
from mmkeras.trunk.store import close_store, open_store
from mmkeras.trunk.training import check_optimizer, compile_for_training, planned_rate
from mmkeras.trunk.trunk import CachedModel

STAGES = ("prepare", "encode", "head")
# Held out of the training rows when no validation rows are given and there are enough to spare some.
VALIDATION_SHARE, VALIDATION_FROM = 0.1, 20


class Pipeline:
    """A multimodal model of DataFrames.

    Args:
        modalities: list of `Text`, `Tabular`, … with different names.
        task: `MultiLabel`, `MultiClass` or `Regression`.
        fusion: "concat", "early", "late", "hybrid", "gated", "bilinear" or "cross_attention", see `build_head`.
        encode_engine: what runs frozen towers. "tensorflow"; "openvino" (needs `mmkeras[openvino]`), in bfloat16 where the
            processor has units for it; or "auto", which takes OpenVINO where it is installed and has such units,
            TensorFlow in mixed precision on a GPU, and TensorFlow in float32 otherwise. It belongs to the machine: a saved
            Pipeline is loaded with "auto".
        **head: further settings of `build_head`: units, dropout, modality_dropout, attention_heads.

    Attributes:
        prepare, encode, head: the three stages (plain `keras.Model`s), once fitted or loaded.
        model: encode and head as one model, on prepared tensors.
        serving_model: all three as one model, on raw values.
        thresholds: (classes,) array of `MultiLabel`, tuned on validation rows; None before, or without such rows.
        notes: list of sentences that every report begins with; `search` says there how the model was chosen.
        trail: `search.Trail` of the search that chose the model, else None; it is not saved.

    Raises:
        ValueError: no modality, or two of the same name; an unknown fusion or engine.
        TypeError: no list of modalities, or no task.
        ImportError: `encode_engine="openvino"` without the package.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(df, epochs=1, verbose=0)
        >>> pipe.predict(df).shape[0]
        60
    """

    def __init__(self, modalities, task, fusion="concat", *, encode_engine="auto", **head):
        if isinstance(modalities, Modality) or not isinstance(task, Task):
            raise TypeError(
                "A Pipeline takes a list of modalities and a task. "
                f"Received: {type(modalities).__name__} and {type(task).__name__}. "
                "Use for example mm.Pipeline([mm.Text('overview')], mm.MultiLabel('genres'))."
            )
        self.modalities = list(modalities)
        check_modalities(self.modalities)
        check_fusion(fusion)
        check_engine(encode_engine)
        self.task = task
        self.fusion = fusion
        self.encode_engine = encode_engine
        self.head_settings = head
        self.prepare = self.encode = self.head = None
        self.thresholds = None
        self.notes, self.trail = [], None
        self._given = (self.modalities, task)
        self._cache_dir = self._temporary = None
        self._fit_rows = None  # (training rows, validation rows, settings), for the baselines
        self._baselines = {}
        self._parts = {}

    def __repr__(self):
        names = ", ".join(f"{modality.name}: {type(modality).__name__}" for modality in self.modalities)
        state = "not fitted" if self.head is None else "fitted"
        return f"<Pipeline ({names}) → {type(self.task).__name__}({self.task.column!r}), {self.fusion}, {state}>"

    # --- the stages joined

    @property
    def model(self):
        """keras.Model from prepared tensors to {target column: prediction}."""
        self.check_fitted()
        return chain(self.encode, self.head, name="model")

    @property
    def serving_model(self):
        """keras.Model from {column: raw values} to {target column: prediction}; for Caption to strings and "score"."""
        self.check_fitted()
        head = self.head
        if self.task.kind == "caption":
            head = writing_head(head, self.task, **self.task.decode_settings)
        return chain(self.prepare, self.encode, head, name="serving")

    def check_fitted(self):
        """Raise ValueError unless there is a model."""
        if self.head is None:
            raise ValueError("The Pipeline has no model yet. Call `fit(df)` first, or `mm.load(path)`.")

    # --- training

    def fit(
        self, df, validation_data=None, epochs=10, batch_size=32, seed=0, class_weight=None, cache_dir=None,
        callbacks=(), verbose=1, *, learning_rate=1e-3, fine_tune_epochs=0, fine_tune_learning_rate=5e-5, loss=None,
        weight_decay=0.3, optimizer="adamw",
    ):  # fmt: skip
        """Learn from the rows of `df`, which is not modified.

        Frozen towers run once per distinct row and their features are cached. With `fine_tune_epochs`, a first
        phase trains everything but the pretrained towers for `epochs`, and a second one trains also what their
        `trainable` names. Without it, what `trainable` names trains from the start.

        Args:
            df: pandas DataFrame with the modalities' columns and the target.
            validation_data: DataFrame, or the share of `df` to hold out (float). None holds out a tenth when `df`
                has at least 20 rows, False nothing. Thresholds are tuned on these rows.
            epochs: int, passes over the training rows in the first phase.
            batch_size: int.
            seed: int. The same seed gives the same model; it sets Python's, NumPy's and TensorFlow's global seeds.
            class_weight: None, "balanced", or {class: weight}, for `MultiClass`; see `losses.sample_weights`.
            cache_dir: folder for cached features; None uses $MMKERAS_CACHE_DIR, or else a temporary folder that
                lives as long as the Pipeline.
            callbacks: Keras callbacks.
            verbose: 0 silent, 1 progress bars, 2 a line per epoch.
            learning_rate: float, the peak of the first phase, reached after a short warm-up, from which it falls to 0
                along a cosine; or a Keras LearningRateSchedule. With callbacks that set the rate it stays constant.
            fine_tune_epochs: int, passes in the second phase.
            fine_tune_learning_rate: the same for the second phase.
            loss: None for cross-entropy (squared error for `Regression`); "focal" for the focal loss with γ = 2, which
                heeds rare classes and hard rows more; or a Keras loss of the target and the prediction, such as
                `mm.losses.SparseCategoricalFocalCrossentropy(gamma=1, alpha=[1, 1, 0.5])`.
            weight_decay: float, of AdamW; what trains from scratch on many rows does better with less.
            optimizer: "adamw", "adam" or "sgd" (with Nesterov's momentum, which wants a higher learning rate).

        Returns:
            keras.callbacks.History of both phases.

        Raises:
            KeyError, TypeError, ValueError: columns, rows or settings that cannot work; nothing is changed then.
            OSError: the cache folder cannot be written.
        """
        if self._given[1].kind == "caption":
            df, validation_data = self._group(df), self._group(validation_data)
        train, validation = self._split(df, validation_data, seed)
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a positive int. Received: {value!r}.")
        if not 0 <= weight_decay < float("inf"):
            raise ValueError(f"`weight_decay` must be 0 or more. Received: {weight_decay!r}. Use for example 0.05.")
        for name, rate in (("learning_rate", learning_rate), ("fine_tune_learning_rate", fine_tune_learning_rate)):
            if isinstance(rate, str) or (isinstance(rate, float | int) and not 0 <= rate < float("inf")):
                raise ValueError(
                    f"`{name}` must be a number of 0 or more, or a schedule. Received: {rate!r}. Use for example 1e-3."
                )
        loss = self._given[1].choose_loss(loss)
        check_optimizer(optimizer)
        keras.utils.set_random_seed(seed)
        self._build(train, class_weight)
        validation = self._known(validation)
        self._use_cache(cache_dir)
        weights = self.task.row_weights(self.task.encode(train), class_weight)
        settings = {
            "batch_size": batch_size, "seed": seed, "verbose": verbose, "weights": weights, "loss": loss,
            "optimizer": optimizer, "weight_decay": weight_decay,
        }  # fmt: skip
        self._fit_rows = (train, validation, {**settings, "epochs": epochs, "learning_rate": learning_rate})
        self._baselines, self.thresholds, self.notes = {}, None, []
        settings["callbacks"] = list(callbacks)
        part = self._part(self.head, fine_tune=fine_tune_epochs == 0)
        rate = planned_rate(learning_rate, callbacks, warmup=0.05)
        history = self._train(part, part.training_model(self.task), train, validation, epochs, rate, **settings)
        if fine_tune_epochs:
            part = self._part(self.head, fine_tune=True)
            rate = planned_rate(fine_tune_learning_rate, callbacks, warmup=0.1)
            settings["first"] = history.epoch[-1] + 1
            model = part.training_model(self.task)
            second = self._train(part, model, train, validation, fine_tune_epochs, rate, **settings)
            history.epoch += second.epoch
            for name, values in second.history.items():
                history.history.setdefault(name, []).extend(values)
        self._parts = {}
        if validation is not None and self.task.kind == "multilabel":
            self.thresholds = tune_thresholds(self.task.encode(validation), self._predict(validation, verbose))
        return history

    def _group(self, df):
        """One row for each image, with all its captions; anything but a DataFrame as it is."""
        if not hasattr(df, "columns"):
            return df
        return self._given[1].group(df, [c for m in self.modalities for c in m.all_columns])

    def _split(self, df, validation_data, seed):
        columns = [c for m in self.modalities for c in m.all_columns] + [self.task.column]
        check_frame(df, columns)
        if self.task.column in columns[:-1]:
            warnings.warn(
                f"The target {self.task.column!r} is also read by a modality: the model will copy it. "
                "Take it out of the modality's columns.",
                stacklevel=3,
            )
        if len(df) < 2:
            raise ValueError(f"`fit` needs at least two rows to learn from. Received: {len(df)}. Add rows.")
        if hasattr(validation_data, "columns"):
            check_frame(validation_data, columns, "validation_data")
            return df, validation_data
        if validation_data is False:
            return df, None
        if validation_data is None:
            if len(df) < VALIDATION_FROM:
                warnings.warn(
                    f"{len(df)} rows are too few to hold any out: nothing is validated, and thresholds stay at 0.5. "
                    "Give validation_data.",
                    stacklevel=3,
                )
                return df, None
            validation_data = VALIDATION_SHARE
        return split_frame(df, validation_data, seed)

    def _build(self, train, class_weight):
        """New stages from the training rows; the Pipeline changes only when all of it has worked."""
        given, task = self._given
        task = task.adapt(train)
        target = task.encode(train)
        task.row_weights(target, class_weight)
        modalities = [modality.adapt(train) for modality in given]
        prepare = build_prepare(modalities)
        encode = build_encode(modalities, prepare)
        tensors = {**prepare.output, **encode.output}
        head = self._new_head(tensors, task, target, modalities)
        self.task, self.modalities = task, modalities
        self.prepare, self.encode, self.head, self._parts = prepare, encode, head, {}

    def _new_head(self, tensors, task, target, modalities):
        names = [m.name for m in modalities]
        if task.kind == "caption":
            return build_caption_head(tensors, task, names, **self.head_settings)
        return build_head(
            tensors, task, self.fusion, target=target, modalities=names,
            normalise=[m.name for m in modalities if m.normalise], whole=[m.name for m in modalities if m.few_features],
            **self.head_settings,
        )  # fmt: skip

    def _known(self, validation):
        """The validation rows but those of classes that no training row has; None when none is left."""
        unknown = {} if validation is None else self.task.unknown(validation)
        if not unknown:
            return validation
        rows_go = self.task.kind == "multiclass"
        if rows_go or self._given[1] is not self.task:  # some labels may be left out on purpose
            what = "Their rows are left out." if rows_go else "They count in no metric."
            warnings.warn(f"Validation rows hold labels never seen in training: {unknown}. {what}", stacklevel=3)
        if rows_go:
            validation = validation[self.task.encode(validation) >= 0]
        return validation if len(validation) else None

    def _use_cache(self, cache_dir):
        directory = cache_dir or self._cache_dir or os.environ.get("MMKERAS_CACHE_DIR")
        if directory is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="mmkeras-features-", ignore_cleanup_errors=True)
            directory = self._temporary.name
            weakref.finalize(self, close_store, directory)
        open_store(directory)
        self._cache_dir = directory

    def cache(self):
        """The folder of the feature cache, opened if need be."""
        if self._cache_dir is None:
            self._use_cache(None)
        return self._cache_dir

    def _part(self, head, fine_tune=False, fresh=False):
        """What trains, or predicts, on cached features: made once for each head and phase."""
        key = (id(head), fine_tune)
        if key not in self._parts:
            stages = (self.prepare, self.encode, head)
            settings = {"fine_tune": fine_tune, "fresh": fresh, "engine": self.encode_engine}
            self._parts[key] = CachedModel(self.modalities, *stages, self._cache_dir, **settings)
        self._parts[key].set_trainable()
        return self._parts[key]

    def _train(
        self, part, model, train, validation, epochs, rate, *, batch_size, seed, verbose,
        callbacks=(), weights=None, first=0, watched=True, loss=None, optimizer="adamw", weight_decay=0.3,
    ):  # fmt: skip
        """One phase of training of `model`, which takes what `part` takes."""
        target = self.task.encode(train)
        rows, _ = part.dataset(train, batch_size, verbose, target=target, seed=seed + first, weights=weights)
        held_out = None
        if validation is not None:
            held_out, _ = part.dataset(validation, batch_size, verbose, target=self.task.encode(validation))
            if self.task.kind == "caption":
                callbacks = [WatchCider(self, validation), *callbacks]
        steps = int(rows.cardinality())
        rate = rate(epochs * steps)
        compile_for_training(model, self.task, rate, watched, loss, optimizer, weight_decay)
        try:
            return model.fit(
                # One iterator for all epochs: Keras makes two for each otherwise, and both would prepare rows.
                rows.repeat(epochs),
                steps_per_epoch=steps,
                validation_data=held_out,
                validation_steps=None if held_out is None else int(held_out.cardinality()),
                initial_epoch=first,
                epochs=first + epochs,
                callbacks=[*callbacks, keras.callbacks.LambdaCallback(on_train_end=lambda logs: settle())],
                verbose=verbose,
                shuffle=False,  # the dataset does it
            )
        except BaseException:  # an interruption, too
            settle()
            raise

    # --- prediction

    def predict(self, df, verbose=0):
        """Predictions as a DataFrame on the index of `df`.

        Args:
            df: pandas DataFrame with the modalities' columns; one row or many.
            verbose: 1 shows progress of encoding.

        Returns:
            DataFrame: for MultiLabel and MultiClass a probability column per class; for Regression the target's; for
            Caption the captions under the target's name and "score", the log-probability of their words.

        Raises:
            KeyError, TypeError, ValueError: columns or rows that cannot work, or an unfitted Pipeline.
        """
        self.check_fitted()
        if self.task.kind == "caption":
            import pandas as pd

            found = write_captions(self, df, verbose)
            return pd.DataFrame({self.task.column: found.texts, "score": found.log_probabilities}, index=df.index)
        return self.task.frame(self._predict(df, verbose), df.index)

    def predict_labels(self, df, verbose=0):
        """Decisions as a Series on the index of `df`: a list of labels, a class, or a number for each row.

        Args and errors are those of `predict`: df, and verbose.
        """
        import pandas as pd

        self.check_fitted()
        decisions = self.task.decide(self._predict(df, verbose), self._cuts())
        return pd.Series(
            decisions,
            index=df.index,
            name=self.task.column,
            dtype=object if decisions and isinstance(decisions[0], list) else None,
        )

    def _cuts(self):
        return 0.5 if self.thresholds is None else self.thresholds

    def _predict(self, df, verbose=0, head=None):
        return self._predict_without([()], df, verbose, head)[0]

    def _predict_without(self, absent, df, verbose=0, head=None):
        """Predictions (rows, outputs) for each tuple of modalities' names in `absent`, taken for missing in all rows."""
        self.cache()
        if self.task.kind == "caption":
            return [np.array(write_captions(self, df, verbose).texts, dtype=object)]
        part = self._part(self.head if head is None else head)
        dataset, order = part.dataset(df, batch_size=64, verbose=verbose)
        found = [[] for _ in absent]
        for (tensors,) in dataset:
            for names, values in zip(absent, found, strict=True):
                gone = {f"{name}.present": tf.zeros_like(tensors[f"{name}.present"]) for name in names}
                values.append(part.run({**tensors, **gone})[self.task.column].numpy())
        in_order = np.argsort(order)
        return [np.concatenate(values)[in_order] for values in found]

    # --- evaluation

    def evaluate(self, df, train_data=None, verbose=0, *, missing=False):
        """Score on rows that were not trained on, beside baselines fitted on the training rows.

        Args:
            df: pandas DataFrame with the target column too.
            train_data: the training rows, needed only when a Pipeline was saved before its first `evaluate`, so
                that it came without baselines.
            verbose: 1 shows progress.
            missing: bool; True also scores the model for every subset of modalities, as if the others were missing in
                all rows (`Report.missing`).

        Returns:
            `Report`.

        Raises:
            KeyError, TypeError, ValueError: as `predict`; or a target in none of its forms.
        """
        self.check_fitted()
        check_frame(df, [c for m in self.modalities for c in m.all_columns] + [self.task.column])
        notes = list(self.notes)
        unknown = self.task.unknown(df)
        if unknown:
            listed = ", ".join(f"{name!r} ({count} rows)" for name, count in unknown.items())
            notes.append(
                f"Labels never seen in training, or left out of `classes`: {listed}. The model cannot predict them; they "
                "count in no metric."
            )
        if self.task.kind == "caption":
            if missing and len(self.modalities) > 1:
                raise ValueError("`missing=True` scores classes and numbers. Received it for captions. Leave it False.")
            df, missing = self._group(df), False
        target = list(df[self.task.column]) if self.task.kind == "caption" else self.task.encode(df)
        if self.task.kind == "multiclass":
            df, target = df[target >= 0], target[target >= 0]
            if not len(df):
                raise ValueError(
                    f"No row has a class of {list(self.task.classes)}. Received: {unknown}. Check the column."
                )
        if self.task.kind == "multilabel" and self.thresholds is None:
            notes.append("No validation rows were held out: thresholds are 0.5.")
        if not self._baselines and (self._fit_rows is not None or train_data is not None):
            rows = self._fit_rows or (train_data, None, dict(BASELINE_SETTINGS))
            if self.task.kind == "caption":
                self._baselines = fit_caption_baselines(self, self._group(rows[0]))
            else:
                self._baselines = fit_baselines(self, *rows)
        if not self._baselines:
            notes.append("No baselines: the Pipeline was saved without them. Give `train_data=` the training rows.")
        names = [modality.name for modality in self.modalities]
        kept = [names]
        for size in range(len(names) - 1, 0, -1):
            kept += itertools.combinations(names, size) if missing else ()
        found = self._predict_without([tuple(set(names) - set(some)) for some in kept], df, verbose)
        predictions = found[0]
        subsets = {" + ".join(some): values for some, values in zip(kept, found, strict=True)} if missing else {}
        notes += [note for modality in self.modalities for note in modality.notes(df)]
        baselines = {name: (base.predict(self, df), base.thresholds) for name, base in self._baselines.items()}
        examples = self._examples(df, target, predictions)
        images = image_column(self, df) if self.task.kind == "caption" else None
        return make_report(
            self.task, target, predictions, self.thresholds, baselines, notes, examples, subsets, images=images
        )

    def _examples(self, df, target, predictions, count=12):
        """Some evaluated rows as a person would read them."""
        import pandas as pd

        rows = np.unique(np.linspace(0, len(df) - 1, min(count, len(df))).astype(int))
        decided = self.task.decide(predictions[rows], self._cuts())
        columns = dict.fromkeys(c for m in self.modalities for c in m.all_columns)
        truth = [target[row] for row in rows] if isinstance(target, list) else target[rows]
        shown = {  # what a reader wants to see first, left of columns that may be many
            f"{self.task.column} (true)": [_short(v) for v in self.task.read(truth)],
            f"{self.task.column} (predicted)": [_short(v) for v in decided],
            **{c: [_short(value) for value in df[c].iloc[rows]] for c in columns},
        }
        return pd.DataFrame(shown, index=df.index[rows])

    # --- keeping and serving

    def save(self, path):
        """Write everything to a folder. An interrupted save leaves an earlier one in that folder intact.

        The folder holds the three stages as `.keras` files, settings, thresholds, and the baselines if
        `evaluate` has fitted them; no training rows.

        Args:
            path: the folder, new or of an earlier save.

        Raises:
            ValueError: the folder holds something else, or the Pipeline has no model yet.
            OSError: the folder cannot be written.
        """
        import mmkeras

        self.check_fitted()
        manifest = {
            "mmkeras": mmkeras.__version__,
            "keras": keras.__version__,
            "modalities": [{"class": type(m).__name__, **m.get_config()} for m in self.modalities],
            "task": {"class": type(self.task).__name__, **self.task.get_config()},
            "fusion": self.fusion,
            "head": self.head_settings,
            "thresholds": None if self.thresholds is None else [float(t) for t in self.thresholds],
            "notes": self.notes,
            "baselines": {},
        }
        with persistence.replacing(path, manifest) as folder:
            for stage in STAGES:
                getattr(self, stage).save(folder / f"{stage}.keras")
            for number, (name, baseline) in enumerate(self._baselines.items()):
                manifest["baselines"][name] = baseline.save(folder, f"baseline_{number}")

    def export(self, path):
        """Write a SavedModel that takes raw strings and numbers, for TensorFlow Serving or `tf.saved_model.load`.

        Its `serve` signature takes {column: (B,) strings or float32} and returns {target column: (B, outputs)}; in names
        of columns, everything but letters and digits becomes "_". Numbers may be NaN, strings empty: missing; dates
        are strings such as "1995-10-30". A WordPiece tokenizer needs `import tensorflow_text` before the SavedModel is
        loaded. For Caption it returns strings and "score", by the task's way of decoding, and `serve_greedy` does so by
        the fastest. `assets.extra/mmkeras.json` tells names, classes and thresholds.

        Args:
            path: the folder, new, empty, or of an earlier export.

        Raises:
            ValueError: the folder holds something that is no SavedModel, or the Pipeline has no model yet.
            OSError: the folder cannot be written.
        """
        self.check_fitted()
        info = {
            "inputs": {
                column: {"name": persistence.argument_name(column), "dtype": tensor.dtype}
                for column, tensor in self.prepare.input.items()
            },
            "output": persistence.argument_name(self.task.column),
            "classes": list(getattr(self.task, "classes", [])),
            "thresholds": None if self.thresholds is None else [float(t) for t in self.thresholds],
        }
        others = {}
        if self.task.kind == "caption":
            greedy = writing_head(self.head, self.task, max_length=self.task.sequence_length - 1)
            others = {"serve_greedy": chain(self.prepare, self.encode, greedy, name="serving_greedy")}
        persistence.export_saved_model(self.serving_model, path, info, others)


def load(path):
    """Load a Pipeline that `Pipeline.save` wrote.

    Args:
        path: the folder.

    Returns:
        `Pipeline`, ready to predict, evaluate, export, and to be fitted anew.

    Raises:
        FileNotFoundError, ValueError: see `persistence.read`.

    Example:
        >>> import mmkeras as mm
        >>> mm.load("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: There is no folder 'no/such/folder'. Give the folder that `pipe.save` wrote.
    """
    manifest, folder = persistence.read(path)
    modalities = [_rebuild(modality_classes, config) for config in manifest["modalities"]]
    pipe = Pipeline(modalities, _rebuild(tasks, manifest["task"]), manifest["fusion"], **manifest["head"])
    for stage in STAGES:
        setattr(pipe, stage, keras.saving.load_model(folder / f"{stage}.keras", compile=False))
    if manifest["thresholds"] is not None:
        pipe.thresholds = np.array(manifest["thresholds"])
    pipe.notes = list(manifest.get("notes", ()))
    pipe._baselines = {name: load_baseline(folder, saved) for name, saved in manifest["baselines"].items()}
    return pipe


def _rebuild(module, config):
    config = dict(config)
    return getattr(module, config.pop("class"))(**config)


def _short(value, length=90):
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, float) and value != value:
        return "–"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value)) or "(none)"
    text = str(value)
    if text.lower().endswith((".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")) and " " not in text:
        return text  # a report shows the picture
    return text if len(text) <= length else text[: length - 1] + "…"

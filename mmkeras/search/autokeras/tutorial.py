"""The well-known call of AutoKeras on columns of a DataFrame, and its result as a Pipeline that takes raw values.

Importing this file imports AutoKeras.
"""

import contextlib
import tempfile
import warnings

import autokeras as ak
import keras
import numpy as np

from mmkeras.data.batches import batches
from mmkeras.data.columns import check_frame, raw_values
from mmkeras.data.splits import split_frame
from mmkeras.evaluation.report import tune_thresholds
from mmkeras.modalities import AdoptedImage, AdoptedTabular, AdoptedText
from mmkeras.pipeline import Pipeline
from mmkeras.search.autokeras.adopt import adopt, prepare_image
from mmkeras.search.autokeras.blocks import ClassificationHead, RegressionHead
from mmkeras.tasks import MultiClass, MultiLabel, Regression
from mmkeras.trunk.stages import check_modalities

# Of the rows, held out of training when no validation rows are given; as AutoKeras does.
VALIDATION_SHARE = 0.2


def auto_model(
    text=None, structured=None, image=None, *, target, multi_label=False, regression=False, image_size=(64, 64),
    image_block="vanilla", max_trials=10, tuner="greedy", seed=0, directory=None, **settings,
):  # fmt: skip
    """AutoKeras's `AutoModel([TextInput(), StructuredDataInput()], ClassificationHead())`, for columns of a DataFrame.

    It searches AutoKeras's own space: embeddings, convolutions and dense blocks, learnt from these rows alone.

    Args:
        text: column of text, or None.
        structured: columns of numbers and categories, or None. Columns of numbers stay numbers, others are categories.
        image: column of image paths or bytes, or None.
        target: the target column.
        multi_label: bool; True for any number of labels a row ("A|B", lists), False for one class a row.
        regression: bool; True for numbers.
        image_size: (height, width).
        image_block: "vanilla", "resnet", "xception" or "efficient"; None searches all, some with downloaded weights.
        max_trials, tuner, seed, directory: of `ak.AutoModel`; without a directory a temporary one.
        **settings: further ones of `ak.AutoModel`.

    Returns:
        `ColumnModel`, an `ak.AutoModel`: `fit(df)`, `predict(df)`, `pipeline()`.

    Raises:
        ValueError: no input, or `multi_label` with `regression`.
        ImportError: AutoKeras, or a package it needs, is missing.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(60, seed=0)
        >>> auto = mm.search.auto_model(
        ...     text="overview", structured=["budget", "runtime"], target="genres", multi_label=True, max_trials=1
        ... )
        >>> history = auto.fit(df, epochs=1, verbose=0)
        >>> auto.pipeline().predict(df).shape[0]
        60
    """
    if not (text or structured or image) or (multi_label and regression) or not isinstance(text or "", str):
        raise ValueError(
            "`auto_model` needs an input, and one kind of target. Received: "
            f"text={text!r}, structured={structured!r}, image={image!r}, multi_label={multi_label}, regression={regression}. "
            "Name a column of text, of images, or several structured ones, and at most one of `multi_label` and `regression`."
        )
    modalities = []
    if text:
        modalities.append(AdoptedText(text, encoder="scratch", name="text"))
    if structured:
        modalities.append(AdoptedTabular(numeric=structured, name="structured"))  # kinds of columns: seen in `fit`
    if image:
        modalities.append(AdoptedImage(image, encoder="scratch", image_size=tuple(image_size), name="image"))
    task = (MultiLabel if multi_label else Regression if regression else MultiClass)(target)
    temporary = None
    if directory is None:
        settings["overwrite"] = True
        temporary = tempfile.TemporaryDirectory(prefix="mmkeras-auto-model-", ignore_cleanup_errors=True)
        directory = temporary.name
    model = ColumnModel(
        modalities, task, image_block, max_trials=max_trials, tuner=tuner, seed=seed + 1, directory=str(directory),
        **settings,
    )  # fmt: skip
    model._temporary = temporary  # it lives as long as the model
    return model


class _ImageInput(ak.ImageInput):
    """An image input with a given kind of block."""

    block_type = None

    def get_block(self):
        return ak.ImageBlock(block_type=self.block_type)


@contextlib.contextmanager
def without_optimizer():
    """AutoKeras loads its best model without the optimizer's state, which nobody needs any more: no word of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
        yield


class ColumnModel(ak.AutoModel):
    """An `ak.AutoModel` of columns. Use `auto_model`.

    Attributes:
        modalities: what the inputs read.
        task: the task, adapted once fitted.
    """

    def __init__(self, modalities, task, image_block=None, **settings):
        self.modalities, self.task, self._fit_rows = modalities, task, None
        nodes = []
        for modality in modalities:
            kind = {"text": ak.TextInput, "structured": ak.StructuredDataInput, "image": _ImageInput}[modality.name]
            node = kind(name=modality.name)
            node.block_type = image_block
            nodes.append(node)
        head = (
            RegressionHead() if task.kind == "regression" else ClassificationHead(multi_label=task.kind == "multilabel")
        )
        super().__init__(nodes, head, **settings)

    def fit(self, df, validation_data=None, epochs=None, batch_size=32, callbacks=None, verbose=1, **settings):
        """Search for the best model, on rows of a DataFrame.

        Args:
            df: pandas DataFrame.
            validation_data: DataFrame that trials are scored on, or the share of `df` for that (None: 0.2).
            epochs: int, the most of each trial; None for 1,000. Trials stop early either way.
            batch_size, callbacks, verbose, **settings: of `ak.AutoModel.fit`.

        Returns:
            None: AutoKeras gives a History only when it trains the winner again, which is of no use here.
        """
        columns = [c for m in self.modalities for c in m.all_columns] + [self.task.column]
        check_frame(df, columns)
        check_modalities(self.modalities)
        self.task = self.task.adapt(df)
        if hasattr(validation_data, "columns"):
            check_frame(validation_data, columns, "validation_data")
            train, validation = df, validation_data
        else:
            train, validation = split_frame(df, validation_data or VALIDATION_SHARE, 0)
        self._tell_columns(train)
        callbacks = list(callbacks or [])
        if not any(isinstance(callback, keras.callbacks.EarlyStopping) for callback in callbacks):
            # With one of ours AutoKeras trains no winner anew, whose vocabulary would not be that of its best trial.
            callbacks.append(keras.callbacks.EarlyStopping(patience=10, min_delta=1e-4))
        self._fit_rows = (
            train, validation,
            {"epochs": min(epochs or 10, 10), "batch_size": batch_size, "seed": 0, "learning_rate": 1e-3, "verbose": 0},
        )  # fmt: skip
        with without_optimizer():
            return super().fit(
                self.arrays(train), self._targets(train), epochs=epochs, batch_size=batch_size, callbacks=callbacks,
                validation_data=(self.arrays(validation), self._targets(validation)), verbose=verbose, **settings,
            )  # fmt: skip

    def predict(self, df, batch_size=64, verbose=0, **settings):
        """What `ak.AutoModel.predict` gives for rows of a DataFrame."""
        with without_optimizer():
            return super().predict(self.arrays(df), batch_size=batch_size, verbose=verbose, **settings)

    def export_model(self):
        """The best model as a keras.Model of AutoKeras's numeric inputs."""
        with without_optimizer():
            return super().export_model()

    def _tell_columns(self, df):
        """Which structured columns are numbers: by their type, and not, as AutoKeras does, by how often values repeat."""
        import pandas as pd

        for number, modality in enumerate(self.modalities):
            if modality.name == "structured":
                columns = modality.all_columns
                numeric = [c for c in columns if pd.api.types.is_numeric_dtype(df[c])]
                modality = AdoptedTabular(numeric, [c for c in columns if c not in numeric], name="structured")
                self.modalities[number] = modality
                node = self.inputs[number]
                node.column_names = list(modality.all_columns)
                node.column_types = {c: "numerical" if c in numeric else "categorical" for c in modality.all_columns}

    def arrays(self, df):
        """The inputs of `ak.AutoModel` for rows of a DataFrame: a list of NumPy arrays, or the only one."""
        found = []
        for modality in self.modalities:
            raw = raw_values(df, [modality])
            if modality.name == "text":
                found.append(next(iter(raw.values())).astype(str))
            elif modality.name == "structured":
                found.append(np.stack([raw[c].astype(object) for c in modality.all_columns], axis=1))
            else:
                prepare = prepare_image(modality)
                dataset, order = batches(raw, batch_size=64, prepare=prepare)
                pixels = np.concatenate([tensors["image.pixels_0"].numpy() for (tensors,) in dataset])
                found.append(pixels[np.argsort(order)])
        return found[0] if len(found) == 1 else found

    def _targets(self, df):
        target = self.task.encode(df)
        if self.task.kind != "multiclass":
            return target
        known = target[:, None]
        return known if len(self.task.classes) == 2 else np.eye(len(self.task.classes), dtype="float32")[target]

    def pipeline(self):
        """The best model as an ordinary `Pipeline` that takes raw values, saves, exports, and loads without AutoKeras.

        Its predictions are those of `export_model()`, for one class of several as probabilities of all classes.

        Raises:
            ValueError: it is not fitted yet.
        """
        if self._fit_rows is None:
            raise ValueError("The model is not fitted yet. Call `fit(df)` first.")
        steps = self.tuner.get_best_pipeline().inputs
        pipe = Pipeline(self.modalities, self.task)
        pipe.prepare, pipe.encode, pipe.head = adopt(self.export_model(), self.modalities, steps, self.task)
        train, validation, settings = self._fit_rows
        pipe._fit_rows = (train, validation, settings)
        if self.task.kind == "multilabel":
            pipe.thresholds = tune_thresholds(self.task.encode(validation), pipe.predict(validation).to_numpy())
        pipe.notes = [
            f"Chosen by AutoKeras as the best of {len(self.tuner.oracle.trials)} trials by its {self.objective.name} on "
            f"{len(validation)} validation rows: selection makes the score on them look better than new rows will show."
        ]
        return pipe

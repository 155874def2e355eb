"""The well-known call of AutoKeras on columns of a DataFrame, and its result as a Pipeline that takes raw values.

Importing this file imports AutoKeras.
"""

import contextlib
import tempfile
import warnings

import autokeras as ak
import keras

from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.frames import as_frame, frame_if_rows
from mmkeras.data.splits import split_frame
from mmkeras.fitting import Fitted
from mmkeras.pipeline import Pipeline
from mmkeras.search.autokeras.adopt import adopt
from mmkeras.search.autokeras.inputs import ImageSource, StructuredSource, TextSource, answers_of
from mmkeras.trunk.stages import check_modalities
from mmkeras.trunk.training import Plan, quiet_tracing
from mmkeras.trunk.trunk import Rows, Trunk

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
    sources = [TextSource(text)] if text else []
    sources += [StructuredSource(structured)] if structured else []
    sources += [ImageSource(image, image_size, image_block)] if image else []
    temporary = None
    if directory is None:
        settings["overwrite"] = True
        temporary = tempfile.TemporaryDirectory(prefix="mmkeras-auto-model-", ignore_cleanup_errors=True)
        directory = temporary.name
    answers = answers_of(target, multi_label, regression)
    settings = {"max_trials": max_trials, "tuner": tuner, "seed": seed + 1, "directory": str(directory), **settings}
    model = ColumnModel(sources, answers, **settings)
    model.temporary = temporary  # it lives as long as the model
    return model


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

    def __init__(self, sources, answers, **settings):
        self.task, self._sources, self._answers, self._learnt = answers.task, sources, answers, None
        super().__init__([source.node for source in sources], answers.head, **settings)

    @property
    def modalities(self):
        return [source.modality for source in self._sources]

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
        df, validation_data = as_frame(df), frame_if_rows(validation_data, "validation_data")
        columns = [*columns_of(self.modalities), *self.task.columns]
        check_frame(df, columns)
        check_modalities(self.modalities)
        self.task = self.task.adapt(df)
        if hasattr(validation_data, "columns"):
            check_frame(validation_data, columns, "validation_data")
            train, validation = df, validation_data
        else:
            train, validation = split_frame(df, validation_data or VALIDATION_SHARE, 0)
        for source in self._sources:
            source.look(train)
        callbacks = list(callbacks or [])
        if not any(isinstance(callback, keras.callbacks.EarlyStopping) for callback in callbacks):
            # With one of ours AutoKeras trains no winner anew, whose vocabulary would not be that of its best trial.
            callbacks.append(keras.callbacks.EarlyStopping(patience=10, min_delta=1e-4))
        plan = Plan(epochs=min(epochs or 10, 10), batch_size=batch_size, verbose=0)
        learnt = {"rows": self._rows(train), "validation": self._rows(validation), "plan": plan}
        x, y, judged = (
            self.arrays(train),
            self._answers.array(self.task, train),
            self._answers.array(self.task, validation),
        )
        settings.update(epochs=epochs, batch_size=batch_size, callbacks=callbacks, verbose=verbose)
        with without_optimizer(), quiet_tracing():
            super().fit(x, y, validation_data=(self.arrays(validation), judged), **settings)
        self._learnt = learnt

    def predict(self, df, batch_size=64, verbose=0, **settings):
        """What `ak.AutoModel.predict` gives for rows of a DataFrame."""
        with without_optimizer():
            return super().predict(self.arrays(df), batch_size=batch_size, verbose=verbose, **settings)

    def export_model(self):
        """The best model as a keras.Model of AutoKeras's numeric inputs."""
        with without_optimizer():
            return super().export_model()

    def arrays(self, df):
        """The inputs of `ak.AutoModel` for rows of a DataFrame: a list of NumPy arrays, or the only one."""
        df = as_frame(df)
        arrays = [source.array(df) for source in self._sources]
        return arrays[0] if len(arrays) == 1 else arrays

    def _rows(self, df):
        df = df[[*columns_of(self.modalities), *self.task.columns]].copy()
        return Rows(df, self.task.target(df))

    def pipeline(self):
        """The best model as an ordinary `Pipeline` that takes raw values, saves, exports, and loads without AutoKeras.

        Its predictions are those of `export_model()`, for one class of several as probabilities of all classes.

        Raises:
            ValueError: it is not fitted yet.
        """
        if self._learnt is None:
            raise ValueError("The model is not fitted yet. Call `fit(df)` first.")
        steps = self.tuner.get_best_pipeline().inputs
        prepare, encode, head = adopt(self.export_model(), self._sources, steps, answers=self._answers, task=self.task)
        fitted = Fitted(self.task, Trunk(self.modalities, prepare, encode), head, {"fusion": "concat"}, **self._learnt)
        fitted.tune(calibrate=False)  # it predicts what AutoKeras's own model does
        pipe = Pipeline.of(fitted)
        pipe.notes = [
            f"Chosen by AutoKeras as the best of {len(self.tuner.oracle.trials)} trials by its {self.objective.name} on "
            f"{len(fitted.validation.df)} validation rows: selection makes the score on them look better than new rows will show."
        ]
        return pipe

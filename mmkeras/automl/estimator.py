"""Estimator: a Pipeline with scikit-learn's habits."""

import inspect
import io
import pathlib
import tempfile
import zipfile

import numpy as np

from mmkeras.data.frames import as_frame, is_table
from mmkeras.inspection.suggest import suggest, suggest_task
from mmkeras.modalities import Tabular
from mmkeras.pipeline import Pipeline, load

OF_FIT = set(inspect.signature(Pipeline.fit).parameters)
LEARNT = ("pipeline_", "suggestion_", "classes_", "n_features_in_", "feature_names_in_")


class Estimator:
    """A `Pipeline` that scikit-learn can clone, validate, search over and look into: `cross_val_score`, `GridSearchCV`, and others.

    X is a DataFrame, or an array (rows, D) of numbers, whose columns are then called "0", "1", …. It may hold the target's column, too,
    which no modality should read.

    Args:
        modalities: list of modalities; None reads arrays as `Tabular` numbers, and DataFrames as `suggest` says.
        task: a task; or a class of tasks, such as `MultiClass` or `Regression`, of the column `target`; None chooses by y in `fit`.
            scikit-learn takes it for a classifier or a regressor, and stratifies folds, only where it is given.
        target: str, the name that y gets as a column, where `task` is no task with a column of its own.
        **settings: of `Pipeline` and `Pipeline.fit`, such as dropout, epochs, seed and cache_dir, which can be set and searched, too. They
            are checked in `fit`. With a `cache_dir`, fits on rows of the same table run frozen towers once.

    Attributes:
        pipeline_: the fitted `Pipeline`.
        suggestion_: `Suggestion` where it chose the columns.
        classes_: (classes,) sorted, of a classifier.
        n_features_in_: int, columns of X; feature_names_in_: their names, where they are strings.

    Raises:
        TypeError, ValueError: in `fit`, what cannot work of X, y and settings. A call that fails changes nothing.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> X = np.random.default_rng(0).normal(size=(60, 2))
        >>> estimator = mm.Estimator(task=mm.MultiClass, epochs=1, seed=0).fit(X, X[:, 0] > 0)
        >>> estimator.classes_, estimator.predict_proba(X).shape, sorted(estimator.get_params())
        (array([False,  True]), (60, 2), ['epochs', 'modalities', 'seed', 'target', 'task'])
    """

    def __init__(self, modalities=None, task=None, target="target", **settings):
        self.modalities, self.task, self.target, self._settings = modalities, task, target, settings

    def __repr__(self):
        given = {name: value for name, value in self.get_params().items() if value not in (None, "target")}
        shown = (
            f"{name}={value.__name__ if isinstance(value, type) else repr(value)}" for name, value in given.items()
        )
        return f"Estimator({', '.join(shown)})"

    # --- settings

    def get_params(self, deep=True):
        """{name: value} of all that was given, as scikit-learn's `clone` needs it; `deep` changes nothing."""
        return {"modalities": self.modalities, "task": self.task, "target": self.target, **self._settings}

    def set_params(self, **params):
        """Change settings; returns the Estimator."""
        params = {**self.get_params(), **params}
        self.modalities, self.task, self.target = (params.pop(name) for name in ("modalities", "task", "target"))
        self._settings = params
        return self

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        kind = self._kind()
        return Tags(
            estimator_type=kind,
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags() if kind == "classifier" else None,
            regressor_tags=RegressorTags() if kind == "regressor" else None,
            input_tags=InputTags(allow_nan=True),
        )

    def _kind(self):
        """What scikit-learn calls it: "classifier", "regressor", or None for neither or not known yet."""
        task = self.pipeline_.task if "pipeline_" in vars(self) else self.task
        return getattr(task, "estimator_type", None)

    # --- learning

    def fit(self, X, y):
        """Learn.

        Args:
            X: DataFrame, or (rows, D) array of numbers.
            y: (rows,) answers; or as many columns as the task has.

        Returns:
            The Estimator.
        """
        twin = type(self)(**self.get_params())
        frame = twin._read(X, y, reset=True)
        rows = twin._with_answers(frame, y)
        modalities, task = twin._chosen(rows, numbers=not is_table(X))
        head = {name: value for name, value in self._settings.items() if name not in OF_FIT}
        fit = {name: value for name, value in self._settings.items() if name in OF_FIT}
        twin.pipeline_ = Pipeline(modalities, task, **head)
        twin.pipeline_.fit(rows, **{"verbose": 0, **fit})
        if twin._kind() == "classifier":
            twin.classes_ = twin._classes()[0]
        for name in LEARNT:
            vars(self).pop(name, None)
        vars(self).update(vars(twin))
        return self

    def _read(self, X, y=None, *, reset):
        """X as a DataFrame; `reset` learns its columns, else they must be those learnt from."""
        from sklearn.utils.validation import check_array, check_consistent_length, validate_data

        checked = {"y": y} if reset else {}
        if is_table(X):
            validate_data(self, X, **checked, reset=reset, skip_check_array=True)
            frame = as_frame(X)
        else:
            import pandas as pd

            if getattr(getattr(X, "dtype", None), "kind", "") in ("U", "S"):
                raise ValueError(
                    f"An array must hold numbers. Received: {X.dtype}. Give texts in a DataFrame, with names."
                )
            X = check_array(
                X, ensure_all_finite="allow-nan", ensure_min_samples=1 + reset, estimator=self, input_name="X"
            )
            validate_data(self, X, **checked, reset=reset, skip_check_array=True)
            frame = as_frame(pd.DataFrame(X))
        if y is not None:
            check_consistent_length(X, y)
        names = getattr(self, "feature_names_in_", None)
        return frame.set_axis(map(str, range(frame.shape[1])) if names is None else list(names), axis=1)

    def _with_answers(self, frame, y):
        """The rows with the target's columns."""
        columns = getattr(self.task, "columns", None)
        columns = [self.target] if columns is None or isinstance(self.task, type) else list(columns)
        answers = _answers(y, columns, self._kind())
        for name, series in answers.items():
            series = series.set_axis(frame.index)
            if name in frame and frame[name].astype(object).tolist() != series.astype(object).tolist():
                raise ValueError(
                    f"The target's column may be in X only with the values of y. Received: another column {name!r}. "
                    "Rename it, or give `target` another name."
                )
            frame = frame.assign(**{name: series})
        return frame

    def _chosen(self, rows, numbers):
        """(modalities, task); `numbers` says that X is an array."""
        modalities, task, targets = self.modalities, self.task, [self.target]
        if isinstance(task, type):
            task = task(self.target)
        elif task is not None:
            targets = list(task.columns)
        weight = self._settings.get("sample_weight")
        if modalities is None and not numbers:
            self.suggestion_ = suggest(rows.drop(columns=[] if weight is None else [weight]), targets)
            modalities, task = self.suggestion_.modalities, task or self.suggestion_.task
        elif modalities is None:
            modalities = [Tabular(numeric=[name for name in rows if name not in (*targets, weight)])]
        return modalities, suggest_task(rows, targets, modalities) if task is None else task

    def _classes(self):
        """(classes as the target has them, sorted; where each stands among the outputs)."""
        task = self.pipeline_.task
        classes = task.frame(np.zeros((0, len(task.classes))), []).columns.to_numpy()
        try:
            order = np.argsort(classes, kind="stable")
        except TypeError:  # of several kinds
            order = np.arange(len(classes))
        return classes[order], order

    # --- answers

    def predict(self, X):
        """(rows,) answers: classes as y had them, numbers, or what the task decides.

        Args:
            X: as in `fit`.

        Raises:
            ValueError: not fitted, or other columns.
        """
        pipe = self._check_fitted()
        frame = self._read(X, reset=False)
        if self._kind() == "classifier":
            return self.classes_[self.predict_proba(X).argmax(axis=1)]
        return pipe.predict_labels(frame).to_numpy()

    @property
    def predict_proba(self):
        """Function of X to (rows, classes) probabilities, in the order of `classes_`; only of a classifier."""
        known = self.task is not None or "pipeline_" in vars(self)
        if known and self._kind() != "classifier":
            raise AttributeError(
                "`predict_proba` is that of a classifier. Give `task=mm.MultiClass`, or use `predict`."
            )
        return self._probabilities

    def _probabilities(self, X):
        pipe = self._check_fitted()
        return pipe.predict(self._read(X, reset=False)).to_numpy()[:, self._classes()[1]]

    def score(self, X, y, sample_weight=None):
        """Accuracy of classes, R² of numbers, the primary metric of other tasks; more is better.

        Args:
            X, y: as in `fit`.
            sample_weight: (rows,) how much each row counts, or None.
        """
        fitted = self._check_fitted().check_fitted()
        rows = self._with_answers(self._read(X, y, reset=False), y)
        target, predictions = fitted.task.target(rows), fitted.answer(rows)
        weights = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, "float64")
        values = fitted.task.score(target, predictions)(weights[None])
        name = "accuracy" if "accuracy" in values else fitted.task.primary
        return float(values[name][0]) * (-1 if name in fitted.task.smaller_is_better else 1)

    def _check_fitted(self):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return self.pipeline_

    # --- copies

    def __getstate__(self):
        """For pickle: what was learnt as the bytes of what `Pipeline.save` writes."""
        state = dict(vars(self))
        if "pipeline_" in state:
            state["pipeline_"] = _packed(self.pipeline_)
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        if "pipeline_" in state:
            self.pipeline_ = _unpacked(state["pipeline_"])


def _answers(y, columns, kind):
    """{column: pandas Series} of y."""
    import pandas as pd
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import assert_all_finite, column_or_1d

    if len(columns) > 1:
        table = as_frame(y) if is_table(y) else as_frame(pd.DataFrame(np.asarray(y)))
        if table.shape[1] != len(columns):
            raise ValueError(f"y must have a column for each of {columns}. Received: {table.shape[1]} columns.")
        return {name: table.iloc[:, place] for place, name in enumerate(columns)}
    series = y if isinstance(y, pd.Series) else pd.Series(column_or_1d(y, warn=True))
    if series.dtype.kind == "f":
        assert_all_finite(series.to_numpy(), input_name="y")
    if kind == "classifier":
        if series.isna().any():
            raise ValueError(
                f"y must be known in every row. Received: {int(series.isna().sum())} missing classes. Drop these rows."
            )
        check_classification_targets(series)
    return {columns[0]: series}


def _packed(pipe):
    """A saved Pipeline as bytes."""
    with tempfile.TemporaryDirectory() as folder:
        root, packed = pathlib.Path(folder) / "pipeline", io.BytesIO()
        pipe.save(root)
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root))
    return packed.getvalue()


def _unpacked(packed):
    """The Pipeline that was `_packed`."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            archive.extractall(folder)
        return load(folder, safe_mode=False)  # who unpickles has said already that he trusts it

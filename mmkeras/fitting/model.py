"""What a user asks of a fitted model."""

from mmkeras.data.check import check_columns
from mmkeras.data.frames import as_frame, frame_if_rows, like, names_files
from mmkeras.evaluation.evaluate import evaluate
from mmkeras.fitting.row_files import check_no_files
from mmkeras.fitting.sets import learn_sets
from mmkeras.fitting.use_files import evaluate_files, predict_files
from mmkeras.trunk.stages import chain


class Model:
    """What is asked of a `Fitted`, and of its task by name; base of `Pipeline`, which says how it is made."""

    _fitted = None
    notes = ()

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

    # --- prediction

    def predict(self, df, verbose=0, *, cache=False, features=None, key=None, out=None):
        """Predictions as a DataFrame on the index of `df`, of its kind: a polars DataFrame for one, say.

        Args:
            df: pandas DataFrame with the modalities' columns; other columns are left alone. Or files of Parquet, a path, a pattern such as
                "rows/*.parquet" or a list of these, whose rows stream.
            verbose: 1 shows progress of encoding.
            cache: bool, whether what frozen towers give for new rows goes to the cache, which grows with each of them.
            features: with files, the folder of features that `encode_table` wrote; None lets towers run.
            key: with files, name of a column that is written before the predictions, or None.
            out: with files, a new or empty folder, in which there is then a file of Parquet for each of them, with rows in their order.

        Returns:
            DataFrame in the task's own form, such as a probability column per class, or the target's numbers; with files, pathlib.Path of
            the folder of such tables.

        Raises:
            KeyError, TypeError, ValueError: columns or rows that cannot work, or an unfitted Pipeline.
            OSError: with files, one that cannot be read or written; then nothing is.
        """
        fitted = self.check_fitted()
        if names_files(df):
            return predict_files(fitted, df, out, features=features, key=key)
        check_no_files(features=features, key=key, out=out)
        return like(fitted.formed(fitted.task.frame, as_frame(df), verbose, cache), df)

    def predict_labels(self, df, verbose=0, *, cache=False):
        """Decisions as a Series on the index of `df`, of its kind, such as a list of labels, a class, or a number for each row.

        A class is a cell as the training rows hold it, in their dtype: ints for ints, categories for categories.

        Args and errors are those of `predict`: df, verbose and cache.
        """
        fitted = self.check_fitted()
        return like(fitted.formed(fitted.task.series, as_frame(df), verbose, cache), df)

    def conformalize(self, df, coverage=0.9):
        """Learn from held-out rows which sets hold the truth as often as `coverage` says, for `predict_sets`, `evaluate`, `save` and `export`.

        Split conformal prediction (Vovk et al., 2005): it holds for any model, where new rows are like the held-out ones. These must have
        taught the model nothing: neither its weights nor when to stop, thresholds or calibration.

        Args:
            df: DataFrame of at least 10 rows, better some hundreds, with the target.
            coverage: float between 0 and 1, what is served and judged; others may be asked for later.

        Raises:
            KeyError, TypeError, ValueError: as `evaluate`; a coverage out of range; a task without sets; too few rows.
        """
        learn_sets(self.check_fitted(), as_frame(df), coverage)

    def predict_sets(self, df, coverage=None, verbose=0, *, cache=False):
        """For each row a set of classes, or of labels, or an interval of numbers, that holds the truth as often as `coverage` says.

        Of classes it is a list with the most probable one and others that are likely enough; of labels those that may well be there, so that of the
        rows that have a label the share of `coverage` has it in their list; of numbers two columns, "…_low" and "…_high".

        Args:
            df, verbose, cache: see `predict`.
            coverage: float between 0 and 1; None takes that of `conformalize`.

        Returns:
            Series of lists, or DataFrame of ends, on the index of `df`.

        Raises:
            ValueError: `conformalize` was not called before, or a coverage out of range; and as `predict`.
        """
        fitted = self.check_fitted()

        def form(predictions, index):
            return fitted.task.frame_sets(fitted.task.in_sets(predictions, coverage), index)

        return like(fitted.formed(form, as_frame(df), verbose, cache), df)

    def check(self, df):
        """How the columns of `df` are read and what is wrong with them, a row for each; see `data.check.check_columns`."""
        return check_columns(as_frame(df), self.check_fitted().trunk.modalities)

    # --- evaluation

    def evaluate(
        self, df, train_data=None, verbose=1, *, missing=False, explain=False, by=None, rivals=(), features=None
    ):
        """Score on rows that were not trained on, beside simple rivals fitted on the training rows.

        Args:
            df: pandas DataFrame with the target column too; or files of Parquet, as for `fit`, without `missing` and `explain`.
            train_data: the training rows, needed only when a Pipeline was saved before its first `evaluate`, so
                that it came without rivals.
            verbose: 0 silent; 1 tells when rivals are trained, and shows progress.
            missing: bool; True also scores the model for every subset of modalities, as if the others were missing in
                all rows (`Report.missing`).
            explain: bool; True also divides the primary metric among the modalities by Shapley values (`Report.earned`).
            by: name of a column; also scores the rows of each of its values (`Report.groups`).
            rivals: classes derived from `evaluation.rivals.Rival`, to be shown beside the task's own.
            features: with files, see `predict`.

        Returns:
            `Report`.

        Raises:
            KeyError, TypeError, ValueError: as `predict`; or a target in none of its forms.
        """
        fitted, notes, train_data = self.check_fitted(), list(self.notes), frame_if_rows(train_data, "train_data")
        if names_files(df):
            if missing or explain:
                raise ValueError(
                    "Rows in files are read once. Received: `missing` or `explain`, which predict them many times. Give a DataFrame of some."
                )
            settings = {"train_data": train_data, "by": by, "rivals": rivals, "notes": notes, "verbose": verbose}
            return evaluate_files(fitted, df, features=features, **settings)
        check_no_files(features=features)
        df = as_frame(df)
        every = {**fitted.simple_rivals(train_data, verbose), **fitted.fit_rivals(rivals, train_data, verbose)}
        if not every:
            notes.append("No baselines: the Pipeline was saved without them. Give `train_data=` the training rows.")
        elif rivals and train_data is None and fitted.rows is None:
            notes.append("The rivals asked for are not shown: a loaded Pipeline needs `train_data=` to fit them.")
        settings = {"missing": missing, "explain": explain, "by": by, "notes": notes, "verbose": verbose}
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

"""The simple models that every evaluation shows beside the real one."""

import keras
import numpy as np

from mmkeras.data.columns import texts
from mmkeras.evaluation.report import tune_thresholds
from mmkeras.heads.decisions import side_by_side
from mmkeras.modalities import Text
from mmkeras.trunk.training import planned_rate

# How baselines of a loaded Pipeline are trained, whose own settings are not kept.
BASELINE_SETTINGS = {"epochs": 10, "batch_size": 32, "seed": 0, "learning_rate": 1e-3}


class Baseline:
    """`predict(pipe, df)` gives (rows, outputs); `save` writes files and returns what `load_baseline` needs."""

    thresholds = None

    def save(self, folder, stem):
        cuts = None if self.thresholds is None else [float(t) for t in self.thresholds]
        return {"class": type(self).__name__, "stem": stem, "thresholds": cuts, **self._write(folder / stem)}


class PriorBaseline(Baseline):
    """The same for every row: label frequencies of the training rows, or their mean."""

    def __init__(self, values):
        self.values = np.asarray(values, "float64")

    @staticmethod
    def name(task):
        return "mean" if task.kind == "regression" else "label prior"

    @classmethod
    def fit(cls, task, target):
        if task.kind == "multiclass":
            return cls(np.bincount(target, minlength=len(task.classes)) / len(target))
        return cls(target.mean(axis=0))

    def predict(self, pipe, df):
        return np.tile(self.values, (len(df), 1))

    def _write(self, path):
        return {"values": self.values.tolist()}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["values"])


class HeadBaseline(Baseline):
    """A model of the Pipeline's own kind that sees one modality, on the same cached features."""

    def __init__(self, head):
        self.head = head

    def predict(self, pipe, df):
        return pipe._predict(df, head=self.head)

    def _write(self, path):
        self.head.save(path.with_suffix(".keras"))
        return {}

    @classmethod
    def read(cls, path, saved):
        return cls(keras.saving.load_model(path.with_suffix(".keras"), compile=False))


class TfidfBaseline(Baseline):
    """TF-IDF of words and word pairs with one linear model per output.

    Logistic regression (one against the rest) for labels, softmax regression for classes, ridge regression for
    numbers, by scikit-learn. Kept as plain arrays, so that it can be stored without pickling.
    """

    def __init__(self, columns, vocabulary, idf, weights, bias, kind):
        self.columns = list(columns)
        self.vocabulary, self.idf = vocabulary, idf
        self.weights, self.bias, self.kind = weights, bias, kind

    @classmethod
    def fit(cls, df, columns, task, target):
        """Learn from columns of text and an encoded target; None when they hold no word twice."""
        from sklearn.linear_model import LogisticRegression, Ridge

        vectorizer = _vectorizer()
        try:
            terms = vectorizer.fit_transform(_joined(df, columns))
        except ValueError:  # scikit-learn's word for an empty vocabulary
            return None
        if task.kind == "regression":
            model = Ridge(alpha=1.0).fit(terms, target[:, 0])
            weights, bias = model.coef_[None], np.array([model.intercept_])
        elif task.kind == "multiclass":
            model = LogisticRegression(C=10.0, max_iter=300).fit(terms, target)
            weights, bias = _all_classes(model, len(task.classes))
        else:
            weights = np.zeros((target.shape[1], terms.shape[1]))
            bias = np.zeros(target.shape[1])
            for label, positive in enumerate(target.T):
                if positive.min() == positive.max():
                    bias[label] = 20.0 if positive[0] else -20.0
                    continue
                model = LogisticRegression(C=10.0, solver="liblinear").fit(terms, positive)
                weights[label], bias[label] = model.coef_[0], model.intercept_[0]
        words = vectorizer.get_feature_names_out()
        return cls(columns, words, vectorizer.idf_, weights.astype("float32"), bias, task.kind)

    def predict(self, pipe, df):
        vectorizer = _vectorizer(vocabulary={word: i for i, word in enumerate(self.vocabulary)})
        vectorizer.idf_ = np.asarray(self.idf)
        values = vectorizer.transform(_joined(df, self.columns)) @ self.weights.T.astype("float64") + self.bias
        if self.kind == "regression":
            return values
        if self.kind == "multiclass":
            exp = np.exp(values - values.max(axis=1, keepdims=True))
            return exp / exp.sum(axis=1, keepdims=True)
        return 1 / (1 + np.exp(-np.clip(values, -60, 60)))

    def _write(self, path):
        arrays = {"vocabulary": np.array(self.vocabulary, dtype=str), "idf": self.idf}
        np.savez_compressed(path.with_suffix(".npz"), weights=self.weights, bias=self.bias, **arrays)
        return {"columns": self.columns, "kind": self.kind}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return cls(saved["columns"], kind=saved["kind"], **arrays)


def text_columns(modalities):
    """Names of the columns of text, each once."""
    return list(dict.fromkeys(c for m in modalities if isinstance(m, Text) for c in m.all_columns))


def fit_baselines(pipe, train, validation, settings):
    """{name: fitted Baseline} for a fitted Pipeline.

    Args:
        pipe: the Pipeline.
        train, validation: DataFrames; thresholds are tuned on the latter, which may be None.
        settings: how `pipe` was fitted: epochs, learning_rate, batch_size, seed.
    """
    task, target = pipe.task, pipe.task.encode(train)
    found = {PriorBaseline.name(task): PriorBaseline.fit(task, target)}
    words = text_columns(pipe.modalities)
    tfidf = TfidfBaseline.fit(train, words, task, target) if words else None
    if tfidf is not None:
        found["TF-IDF + linear model"] = tfidf
    if len(pipe.modalities) > 1:
        found.update(_fit_alone(pipe, train, target, **{**settings, "verbose": 0}))
    if validation is not None and task.kind == "multilabel":
        truth = task.encode(validation)
        for baseline in found.values():
            baseline.thresholds = tune_thresholds(truth, baseline.predict(pipe, validation))
    return found


def _fit_alone(pipe, train, target, epochs, learning_rate, **settings):
    """A HeadBaseline for each modality, all trained in the same passes over the rows."""
    keras.utils.set_random_seed(settings["seed"])
    tensors = {**pipe.prepare.output, **pipe.encode.output}
    heads = [pipe._new_head(tensors, pipe.task, target, [modality]) for modality in pipe.modalities]
    parts = [pipe._part(head, fresh=True) for head in heads]
    model = side_by_side([part.training_model(pipe.task) for part in parts], pipe.task.column)
    rate = planned_rate(learning_rate, (), warmup=0.05)
    pipe._train(pipe._part(pipe.head), model, train, None, epochs, rate, watched=False, **settings)
    return {f"{m.name} alone": HeadBaseline(part.model) for m, part in zip(pipe.modalities, parts, strict=True)}


def load_baseline(folder, saved):
    """A baseline from what its `save` wrote and returned."""
    kinds = {kind.__name__: kind for kind in Baseline.__subclasses__()}
    baseline = kinds[saved["class"]].read(folder / saved["stem"], saved)
    baseline.thresholds = None if saved["thresholds"] is None else np.array(saved["thresholds"])
    return baseline


def _joined(df, columns):
    return [" ".join(row) for row in zip(*(texts(df[c]) for c in columns), strict=True)]


def _vectorizer(vocabulary=None):
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A word seen once in training says nothing of other rows; a given vocabulary needs no such limit.
    fewest = 1 if vocabulary else 2
    return TfidfVectorizer(ngram_range=(1, 2), min_df=fewest, sublinear_tf=True, vocabulary=vocabulary)


def _all_classes(model, count):
    """Weights for all classes: two classes share one row in scikit-learn, unseen classes have none."""
    coefficients, intercepts = model.coef_, model.intercept_
    if len(coefficients) == 1:
        coefficients, intercepts = (
            np.vstack([-coefficients, coefficients]) / 2,
            np.append(-intercepts, intercepts) / 2,
        )
    weights, bias = np.zeros((count, coefficients.shape[1])), np.full(count, -20.0)
    weights[model.classes_], bias[model.classes_] = coefficients, intercepts
    return weights, bias

"""A linear model of words, by scikit-learn."""

import numpy as np

from mmkeras.data.columns import texts
from mmkeras.evaluation.rivals import Rival


class Linear(Rival):
    """TF-IDF of words and word pairs with one linear model per output, see `fit_linear` of the task.

    Kept as plain arrays, so that it can be stored without pickling.
    """

    needs_trunk = False

    def __init__(self, task, columns, *, vocabulary, idf, weights, bias):
        self.task, self.columns = task, list(columns)
        self.vocabulary, self.idf, self.weights, self.bias = vocabulary, idf, weights, bias

    @classmethod
    def fit(cls, bench):
        """One where columns hold words, some of them twice."""
        columns = word_columns(bench.modalities)
        if not columns:
            return {}
        vectorizer = _vectorizer()
        try:
            terms = vectorizer.fit_transform(_joined(bench.rows.df, columns))
        except ValueError:  # scikit-learn's word for an empty vocabulary
            return {}
        weights, bias = bench.task.fit_linear(terms, bench.rows.target.values)
        rival = cls(
            bench.task, columns, vocabulary=vectorizer.get_feature_names_out(), idf=vectorizer.idf_,
            weights=weights.astype("float32"), bias=bias,
        )  # fmt: skip
        return {"TF-IDF + linear model": rival}

    def predict(self, trunk, df):
        vectorizer = _vectorizer(vocabulary={word: i for i, word in enumerate(self.vocabulary)})
        vectorizer.idf_ = np.asarray(self.idf)
        values = vectorizer.transform(_joined(df, self.columns)) @ self.weights.T.astype("float64") + self.bias
        return self.task.link(values)

    def write(self, path):
        arrays = {"vocabulary": np.array(self.vocabulary, dtype=str), "idf": self.idf}
        np.savez_compressed(path.with_suffix(".npz"), weights=self.weights, bias=self.bias, **arrays)
        return {"columns": self.columns}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return cls(None, saved["columns"], **arrays)


def word_columns(modalities):
    """Names of the columns of words, each once."""
    return list(dict.fromkeys(name for m in modalities for name, column in m.columns_read.items() if column.words))


def _joined(df, columns):
    return [" ".join(row) for row in zip(*(texts(df[c]) for c in columns), strict=True)]


def _vectorizer(vocabulary=None):
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A word seen once in training says nothing of other rows; a given vocabulary needs no such limit.
    fewest = 1 if vocabulary else 2
    return TfidfVectorizer(ngram_range=(1, 2), min_df=fewest, sublinear_tf=True, vocabulary=vocabulary)

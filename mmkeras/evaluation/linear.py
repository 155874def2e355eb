"""A linear model of words, by scikit-learn."""

import numpy as np

from mmkeras.data.texts import texts
from mmkeras.evaluation.rivals import Rival
from mmkeras.layers.scripts import EMOJI, UNSPACED, plain_text

# Words of two letters or more, as scikit-learn has them, and what is a word of its own in `plain_text`.
WORD = rf"(?u)\b\w\w+\b|[{UNSPACED}{EMOJI}]\S*"
AT_ONCE = 10_000  # texts that are read together


class Linear(Rival):
    """TF-IDF of words and word pairs with one linear model per output, see `fit_linear` of the task.

    Kept as plain arrays, so that it can be stored without pickling. Texts of every script are read as "lexical" reads them, unless
    `unicode` says that it was learnt before that was so.
    """

    needs_trunk = False

    def __init__(self, task, columns, *, vocabulary, idf, weights, bias, unicode=True):
        self.task, self.columns, self.unicode = task, list(columns), unicode
        self.vocabulary, self.idf, self.weights, self.bias = vocabulary, idf, weights, bias

    @classmethod
    def fit(cls, bench):
        """One where columns hold words, some of them twice."""
        columns = word_columns(bench.modalities)
        if not columns:
            return {}
        reader = vectorizer()
        try:
            terms = reader.fit_transform(joined_words(bench.rows.df, columns))
        except ValueError:  # scikit-learn's word for an empty vocabulary
            return {}
        weights, bias = bench.task.fit_linear(terms, bench.rows.target.values)
        rival = cls(
            bench.task, columns, vocabulary=reader.get_feature_names_out(), idf=reader.idf_,
            weights=weights.astype("float32"), bias=bias,
        )  # fmt: skip
        return {"TF-IDF + linear model": rival}

    def predict(self, trunk, df):
        reader = vectorizer({word: i for i, word in enumerate(self.vocabulary)}, self.unicode)
        reader.idf_ = np.asarray(self.idf)
        rows = joined_words(df, self.columns, self.unicode)
        values = reader.transform(rows) @ self.weights.T.astype("float64") + self.bias
        return self.task.link(values)

    def write(self, path):
        arrays = {"vocabulary": np.array(self.vocabulary, dtype=str), "idf": self.idf}
        np.savez_compressed(path.with_suffix(".npz"), weights=self.weights, bias=self.bias, **arrays)
        return {"columns": self.columns, "unicode": self.unicode}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return cls(None, saved["columns"], unicode=saved.get("unicode", False), **arrays)


def fit_ridge(terms, numbers, quantiles=None):
    """(weights (C, D), bias (C,)) of a ridge regression for each of K columns; of quantiles, as far apart as those of what it leaves.

    Args:
        terms: (R, D) sparse. numbers: (R, K), NaN for gaps. quantiles: Q floats, or None.
    """
    from sklearn.linear_model import Ridge

    weights, bias = [], []
    for column in numbers.T:
        known = ~np.isnan(column)
        # About the mean, so that a large offset takes no digits from what differs.
        mean = column[known].mean()
        apart = column[known] - mean
        model = Ridge(alpha=1.0).fit(terms[known], apart)
        ends = [0.0] if quantiles is None else np.quantile(apart - model.predict(terms[known]), quantiles)
        weights += [model.coef_] * len(ends)
        bias += [model.intercept_ + mean + end for end in ends]
    return np.stack(weights), np.array(bias)


def word_columns(modalities):
    """Names of the columns of words, each once."""
    return list(dict.fromkeys(name for m in modalities for name, column in m.columns_read.items() if column.words))


def joined_words(df, columns, unicode=True):
    rows = [" ".join(row) for row in zip(*(texts(df[c]) for c in columns), strict=True)]
    if not unicode:
        return rows
    starts = range(0, len(rows), AT_ONCE)
    return [text.decode() for start in starts for text in plain_text(rows[start : start + AT_ONCE]).numpy()]


def vectorizer(vocabulary=None, unicode=True):
    from sklearn.feature_extraction.text import TfidfVectorizer

    # A word seen once in training says nothing of other rows; a given vocabulary needs no such limit.
    settings = {"min_df": 1 if vocabulary else 2, "vocabulary": vocabulary}
    pattern = {"token_pattern": WORD} if unicode else {}
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **settings, **pattern)

"""Simple rivals of retrieval: chance, a linear map from the features of a side to those of the other, and shared words."""

import numpy as np

from mmkeras.evaluation.linear import joined_words, vectorizer, word_columns
from mmkeras.evaluation.nearest import mean_features
from mmkeras.evaluation.rivals import Rival
from mmkeras.heads.sides import ITEMS, QUERY, paired

PENALTIES = (0.01, 0.1, 1.0, 10.0)  # of the map, times the mean variance of a feature
CONCEPTS = 512  # numbers that words are brought to


class Chance(Rival):
    """A direction drawn for each thing on each side."""

    needs_trunk = False

    @classmethod
    def fit(cls, bench):
        return {"chance": cls()}

    def predict(self, trunk, df):
        target, drawn = self.task.target(df), []
        for number, side in enumerate((QUERY, ITEMS)):
            places = np.unique(target.distinct[side], return_inverse=True)[1]
            vectors = np.random.default_rng(0 if self.task.apart else number).normal(size=(places.max() + 1, 32))
            drawn.append(_unit(vectors)[places])
        return paired(*drawn)

    def write(self, path):
        return {}

    @classmethod
    def read(cls, path, saved):
        return cls()


class LinearMap(Rival):
    """Ridge regression from the mean features of the query's modalities to those of the items', compared by their cosine.

    Its penalty is that which does best on the validation rows, where there are some.
    """

    def __init__(self, sides, weights, bias):
        self.sides, self.weights, self.bias, self._models = sides, weights, bias, None

    @classmethod
    def fit(cls, bench):
        """One where the sides differ."""
        if bench.task.apart:
            return {}
        reader, rows = cls(bench.task.sides, None, None), bench.validation
        x, y = reader._features(bench.trunk, bench.rows.df)
        mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
        apart = x - mean_x
        gram, both = apart.T @ apart, apart.T @ (y - mean_y)
        held = None if rows is None else reader._features(bench.trunk, rows.df)
        best, most = None, -np.inf
        for penalty in PENALTIES if rows is not None else PENALTIES[1:2]:
            weights = np.linalg.solve(gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram)), both)
            rival = cls(reader.sides, weights.astype("float32"), (mean_y - mean_x @ weights).astype("float32"))
            rival._models, worth = reader._models, 0.0
            if rows is not None:
                score = bench.task.score(rows.target, rival._mapped(*held))
                worth = float(score(np.ones((1, len(rows.df))))[bench.task.primary][0])
            if best is None or worth > most:
                best, most = rival, worth
        return {"linear map of features": best}

    def _features(self, trunk, df):
        if self._models is None:
            self._models = [mean_features(trunk, self.sides[side]) for side in (QUERY, ITEMS)]
        return [trunk.outputs(model, df)["features"].astype("float32") for model in self._models]

    def predict(self, trunk, df):
        return self._mapped(*self._features(trunk, df))

    def _mapped(self, x, y):
        return paired(_unit(x @ self.weights + self.bias), _unit(y))

    def write(self, path):
        np.savez_compressed(path.with_suffix(".npz"), weights=self.weights, bias=self.bias)
        return {"sides": {side: list(names) for side, names in self.sides.items()}}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            return cls(saved["sides"], stored["weights"], stored["bias"])


class SharedWords(Rival):
    """TF-IDF of the words of both sides, brought to 512 numbers by a truncated singular value decomposition."""

    needs_trunk = False

    def __init__(self, columns, vocabulary, idf, concepts):
        self.columns, self.vocabulary, self.idf, self.concepts = columns, vocabulary, idf, concepts

    @classmethod
    def fit(cls, bench):
        """One where both sides hold words."""
        from sklearn.decomposition import TruncatedSVD

        own = {modality.name: modality for modality in bench.modalities}
        columns = [word_columns([own[name] for name in bench.task.sides[side]]) for side in (QUERY, ITEMS)]
        if not all(columns):
            return {}
        reader = vectorizer()
        try:
            terms = reader.fit_transform([text for some in columns for text in joined_words(bench.rows.df, some)])
        except ValueError:  # scikit-learn's word for an empty vocabulary
            return {}
        size = min(CONCEPTS, terms.shape[1] - 1)
        if size < 1:
            return {}
        concepts = TruncatedSVD(size, random_state=0).fit(terms).components_
        return {
            "TF-IDF of shared words": cls(
                columns, reader.get_feature_names_out(), reader.idf_, concepts.astype("float32")
            )
        }

    def predict(self, trunk, df):
        reader = vectorizer({word: i for i, word in enumerate(self.vocabulary)})
        reader.idf_ = np.asarray(self.idf)
        return paired(*(_unit(reader.transform(joined_words(df, some)) @ self.concepts.T) for some in self.columns))

    def write(self, path):
        arrays = {"vocabulary": np.array(self.vocabulary, dtype=str), "idf": self.idf, "concepts": self.concepts}
        np.savez_compressed(path.with_suffix(".npz"), **arrays)
        return {"columns": self.columns}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as arrays:
            return cls(saved["columns"], **arrays)


def _unit(vectors):
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

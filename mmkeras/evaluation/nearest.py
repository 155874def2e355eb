"""Simple rivals of what writes sentences: the most frequent sentence, and that of the nearest training row."""

import keras
import numpy as np

from mmkeras.evaluation.rivals import Rival
from mmkeras.heads.writing import written
from mmkeras.layers.words import plain_words


class OneCaption(Rival):
    """The same for every image: the most frequent caption of the training rows."""

    needs_trunk = False

    def __init__(self, caption):
        self.caption = caption

    @classmethod
    def fit(cls, bench):
        texts = plain_words([text for sentences in bench.rows.target.texts for text in sentences]).numpy()
        values, counts = np.unique(texts, return_counts=True)
        return {"most frequent caption": cls(values[counts.argmax()].decode())}

    def predict(self, trunk, df):
        return written([self.caption] * len(df))

    def write(self, path):
        return {"caption": self.caption}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["caption"])


class NearestImage(Rival):
    """The first caption of the training row whose mean features point most nearly the same way."""

    def __init__(self, features, captions, model=None):
        self.features, self.captions, self._model = features, list(captions), model

    @classmethod
    def fit(cls, bench):
        model = mean_features(bench.trunk)
        features = bench.trunk.outputs(model, bench.rows.df)["features"].astype("float16")
        return {"nearest training image": cls(features, [texts[0] for texts in bench.rows.target.texts], model)}

    def predict(self, trunk, df):
        if self._model is None:
            self._model = mean_features(trunk)
        features = trunk.outputs(self._model, df)["features"].astype("float16").astype("float32")
        near = (features @ self.features.T.astype("float32")).argmax(axis=1)
        return written([self.captions[row] for row in near])

    def write(self, path):
        np.savez_compressed(path.with_suffix(".npz"), features=self.features, captions=np.array(self.captions))
        return {}

    @classmethod
    def read(cls, path, saved):
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
            return cls(stored["features"], stored["captions"].tolist())


def mean_features(trunk, names=None):
    """keras.Model to {"features": (B, D)} of length 1: each modality's features, averaged over its sequence.

    Args:
        trunk: `Trunk`.
        names: of the modalities; None takes all.
    """
    inputs, means = trunk.head_inputs(names), []
    for name in inputs.names:
        x = inputs(name)
        x = keras.layers.GlobalAveragePooling1D()(x) if len(x.shape) == 3 else x
        means.append(keras.ops.cast(x, "float32") * inputs.present(name))
    joined = keras.ops.concatenate(means, axis=-1)
    return keras.Model(inputs.inputs, {"features": keras.layers.UnitNormalization()(joined)})

"""What a Pipeline does with captions: writing them, watching CIDEr in training, and simple rivals."""

import keras
import numpy as np

from mmkeras.decoding import generate_from_patches
from mmkeras.evaluation.rivals import Baseline
from mmkeras.evaluation.sentences import score_captions
from mmkeras.heads.writing import patches_of
from mmkeras.layers.words import plain_words
from mmkeras.modalities import Image
from mmkeras.trunk.trunk import CachedModel

MOST_WATCHED = 500  # validation images that are captioned after each epoch


def write_captions(pipe, df, verbose=0, batch_size=64, **settings):
    """`Captions` of the rows of `df` by a fitted Pipeline; see `decoding.decode` for the settings."""
    key = ("patches", id(pipe.head))
    if key not in pipe._parts:
        stages = (pipe.prepare, pipe.encode, patches_of(pipe.head))
        pipe._parts[key] = CachedModel(pipe.modalities, *stages, pipe.cache(), engine=pipe.encode_engine)
    dataset, order = pipe._parts[key].dataset(df, batch_size, verbose)
    found = (pipe._parts[key].run(tensors) for (tensors,) in dataset)
    batches = ((part["patches"], part["mask"]) for part in found)
    settings = {**pipe.task.decode_settings, **settings}
    captions = generate_from_patches(
        pipe.head.get_layer("decoder"), batches, list(pipe.task.vocabulary), grid=_grid(pipe), **settings
    )
    return captions.in_order(np.argsort(order))


def image_column(pipe, df):
    """Paths or bytes of the first image of each row, or None when the Pipeline reads none."""
    for modality in pipe.modalities:
        if isinstance(modality, Image):
            return list(df[modality.columns[0]])
    return None


def _grid(pipe):
    """(h, w) of the patches when they all come from one image, else None."""
    if len(pipe.modalities) != 1 or len(getattr(pipe.modalities[0], "columns", ())) != 1:
        return None
    layers = {layer.name: layer for layer in pipe.encode.layers}
    tower = layers.get(f"{pipe.modalities[0].name}_tower")
    shape = () if tower is None else tower.output.shape
    return tuple(shape[1:3]) if len(shape) == 4 else None


class WatchCider(keras.callbacks.Callback):
    """CIDEr-D of greedy captions of the validation images after each epoch, in the logs as "val_cider".

    `keras.callbacks.EarlyStopping("val_cider", mode="max", restore_best_weights=True)` can follow it.
    """

    def __init__(self, pipe, df):
        super().__init__()
        self.pipe, self.df = pipe, df.head(MOST_WATCHED)

    def on_epoch_end(self, epoch, logs=None):
        texts = write_captions(self.pipe, self.df, method="greedy").texts
        if logs is not None:
            logs["val_cider"] = score_captions(texts, list(self.df[self.pipe.task.column])).metrics["cider"]


class OneCaption(Baseline):
    """The same for every image: the most frequent caption of the training rows."""

    def __init__(self, caption):
        self.caption = caption

    @classmethod
    def fit(cls, captions):
        texts = plain_words([text for some in captions for text in some]).numpy()
        values, counts = np.unique(texts, return_counts=True)
        return cls(values[counts.argmax()].decode())

    def predict(self, pipe, df):
        return np.array([self.caption] * len(df), dtype=object)

    def _write(self, path):
        return {"caption": self.caption}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["caption"])


class NearestImage(Baseline):
    """The first caption of the training row whose mean features point most nearly the same way."""

    def __init__(self, features, captions):
        self.features, self.captions = features, list(captions)

    @classmethod
    def fit(cls, pipe, df):
        return cls(_mean_features(pipe, df), [texts[0] for texts in df[pipe.task.column]])

    def predict(self, pipe, df):
        near = (_mean_features(pipe, df).astype("float32") @ self.features.T.astype("float32")).argmax(axis=1)
        return np.array([self.captions[row] for row in near], dtype=object)

    def _write(self, path):
        np.savez_compressed(path.with_suffix(".npz"), features=self.features, captions=np.array(self.captions))
        return {}

    @classmethod
    def read(cls, path, saved):
        stored = np.load(path.with_suffix(".npz"))
        return cls(stored["features"], stored["captions"].tolist())


def _mean_features(pipe, df):
    """(rows, D) in half precision, of length 1: each modality's features, averaged over its sequence."""
    key = ("features", id(pipe.head))
    if key not in pipe._parts:
        names = [modality.name for modality in pipe.modalities]
        tensors = {**pipe.prepare.output, **pipe.encode.output}
        inputs = {
            key: keras.Input(tensors[key].shape[1:], dtype=tensors[key].dtype, name=key)
            for name in names
            for key in (name, f"{name}.present")
        }
        means = []
        for name in names:
            x = inputs[name]
            x = keras.layers.GlobalAveragePooling1D()(x) if len(x.shape) == 3 else x
            means.append(keras.ops.cast(x, "float32") * inputs[f"{name}.present"])
        joined = keras.ops.concatenate(means, axis=-1)
        model = keras.Model(inputs, {"features": keras.layers.UnitNormalization()(joined)})
        pipe._parts[key] = CachedModel(
            pipe.modalities, pipe.prepare, pipe.encode, model, pipe.cache(), engine=pipe.encode_engine
        )
    dataset, order = pipe._parts[key].dataset(df, 64)
    found = np.concatenate([pipe._parts[key].run(tensors)["features"].numpy() for (tensors,) in dataset])
    return found[np.argsort(order)].astype("float16")


def fit_caption_baselines(pipe, train):
    """{name: baseline} of grouped training rows."""
    return {
        "most frequent caption": OneCaption.fit(train[pipe.task.column]),
        "nearest training image": NearestImage.fit(pipe, train),
    }

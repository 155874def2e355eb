"""The contract of an encoder: what a modality's setting `encoder` names, in one file for each kind.

A new one for texts, which `mm.Text("overview", encoder="initials")` finds by its label:

    class Initials(TextEncoder):
        label = "initials"

        def prepare(self, raw):
            first = tf.strings.substr(raw[self.modality.columns[0]], 0, 1)  # in a registered layer, see `layers`
            …
            return {"numbers": numbers}

        def encode(self, tensors):
            return keras.layers.Embedding(256, 8, name=f"{self.name}_embed")(tensors["numbers"])

It must be defined where it is used: import its file before a Pipeline is made, or loaded.
"""

import abc
import itertools
import os

import keras
import numpy as np

from mmkeras import layers
from mmkeras.modalities.entrances import Entrance
from mmkeras.registry import subclasses

STRETCHES = 8  # of time, whose parts in a prediction are told


class Encoder(abc.ABC):
    """How a modality prepares and encodes, for some values of its setting `encoder`.

    `modality` holds the settings, and what `adapt` gave as `modality.state`; `name` is the modality's, which names of
    layers begin with. The modality puts its name before the keys of tensors, and says which rows have it.

    Args:
        modality: the modality, with its settings checked as far as they hold for all encoders.
    """

    # The value of `encoder` that asks for it; None for an encoder of many names, which writes `reads`.
    label = None
    # Whether it comes with weights of its own, which stay frozen unless `trainable` names them.
    pretrained = False
    # Whether it has features of each token of a text, of which `pooling` makes those of a text.
    tokens = False
    # Whether something of it trains with the head, where it has no pretrained weights.
    trains = True
    # Whether features have one scale that all their numbers share, see `Modality.scaled`.
    scaled = False

    def __init__(self, modality):
        self.modality, self.name = modality, modality.name

    @classmethod
    def reads(cls, encoder):
        """Whether it is what the value `encoder` asks for, where no label is."""
        return False

    @classmethod
    def kept(cls, encoder):
        """The value `encoder` as settings keep it, which asks for this class also where its files are gone."""
        return encoder

    @property
    def normalise(self):
        """Whether the head should bring the features to mean 0 and variance 1 first."""
        return self.pretrained

    @property
    def sequence(self):
        """Whether it gives a sequence (B, T, D)."""
        return False

    def check(self):
        """Raise a ValueError where the modality's settings do not go with it."""
        return None

    def adapt(self, df):
        """{name: what it learnt} from the training rows `df`; `raw_values(df, [self.modality])` reads their cells."""
        return {}

    @abc.abstractmethod
    def prepare(self, raw):
        """{column: (B,) raw values} → {key: tensor}, without trainable weights."""

    def alike(self, inputs):
        """What of a row may be compared with another, before anything is trained, see `Modality.alike`; None for a tower's feature."""
        return None

    def entrances(self, encode):
        """{name: `Entrance`} at which `explain` looks into it; {} where it is not differentiable."""
        return {}

    def recall(self, known):
        """What of the modality's state `entrances` and `pieces` read, from {name: layer} of `prepare`, see `Modality.recalled`."""
        return {}

    def pieces(self, tensors, given):
        """What each part of a row gave, see `Modality.pieces`; `tensors` are without the modality's name."""
        raise NotImplementedError

    @abc.abstractmethod
    def encode(self, tensors):
        """{key: tensor} → features (B, D) or (B, T, D)."""

    def tower_layers(self, fine_tune):
        """{layer name: whether it trains} of the pretrained tower, in a fine-tuning phase or out of it."""
        return {}


class TextEncoder(Encoder):
    """Base of the encoders of `Text`: raw values are strings."""

    # How many columns it can read together.
    most_columns = 10**6


class SeriesEncoder(Encoder):
    """Base of the encoders of `Series`: a concrete one writes `vectors`."""

    normalise = True  # maxima are of any size: a head that begins with them as they are learns slowly

    def prepare(self, raw):
        state, windows = self.modality.state, self.modality.windows
        settings = {"mean": state["mean"], "deviation": state["deviation"], "whole": windows > 1}
        join = layers.JoinChannels(self.modality.length * windows, **settings, name=f"{self.name}_join")
        return join(list(raw.values()))

    def encode(self, tensors):
        steps, mask = self.windows(tensors)
        features = self.vectors(steps, mask)
        if self.modality.windows == 1:
            return features
        held = keras.ops.reshape(keras.ops.sum(mask, axis=1), (-1, self.modality.windows))
        return mean_of_windows(features, held, self.name)

    def windows(self, tensors):
        """(steps, mask) of the windows of all rows, or of rows that are one."""
        steps, mask = tensors["steps"], tensors["padding_mask"]
        if self.modality.windows == 1:
            return steps, mask
        length = self.modality.length
        return keras.ops.reshape(steps, (-1, length, *steps.shape[2:])), keras.ops.reshape(mask, (-1, length))

    @abc.abstractmethod
    def vectors(self, steps, mask):
        """(B, T, C, 2) steps, each a value and whether it was known, and (B, T) which are there → (B, D)."""

    def entrances(self, encode):
        return {"steps": Entrance(f"{self.name}.steps")}

    def pieces(self, tensors, given):
        """Of each channel eight stretches of time."""
        pieces = []
        for mask, row in zip(tensors["padding_mask"], given["steps"], strict=True):
            ends = np.unique(np.linspace(0, mask.sum(), STRETCHES + 1).round().astype(int))
            pieces.append([
                (f"{channel}, steps {start + 1} to {end}", float(row[start:end, place].sum()))
                for place, channel in enumerate(self.modality.columns)
                for start, end in itertools.pairwise(ends)
            ])  # fmt: skip
        return pieces


class ImageEncoder(Encoder):
    """Base of the encoders of `Image`: one tower for the images of all columns. A concrete one writes `tower`."""

    # What `pooling` may be, and whether `layers` may be more than 1.
    poolings = ("avg", "max", None)
    has_layers = False
    # The size of images where the modality leaves it out, and whether that is known only when the tower's files are read.
    usual_size, tells_size = (224, 224), False

    @abc.abstractmethod
    def tower(self):
        """keras.Model from float pixels in 0 to 255, (B, H, W, 3), to (B, D), or (B, h, w, D) for `pooling=None`."""

    @property
    def image_size(self):
        """(height, width) of the images that the tower sees."""
        return self.modality.image_size or tuple((self.modality.state or {}).get("image_size") or self.usual_size)

    def adapt(self, df):
        return {"image_size": list(self.image_size)} if self.tells_size else {}

    @property
    def sequence(self):
        return self.modality.pooling is None

    def prepare(self, raw):
        pixels, scans, blocks = self.modality.limits
        settings = {"max_pixels": pixels, "max_scans": scans, "max_blocks": blocks}
        decode = layers.DecodeImage(self.image_size, **settings, name=f"{self.name}_decode")
        return {f"pixels_{number}": decode(raw[column]) for number, column in enumerate(self.modality.columns)}

    def encode(self, tensors):
        if self.modality.several:
            return self._encode_files(tensors["pixels_0"], tensors["each_present"])
        settings, ops = self.modality, keras.ops
        count, (height, width) = len(settings.columns), self.image_size
        frames = ops.stack([tensors[f"pixels_{i}"] for i in range(count)], axis=1)  # (B, columns, H, W, 3)
        features = self._features(ops.reshape(frames, (-1, height, width, 3)))
        depth = features.shape[-1]
        patches = 1 if settings.pooling else features.shape[1] * features.shape[2]
        features = ops.reshape(features, (-1, count, patches, depth))
        features = features * tensors["each_present"][:, :, None, None]
        if settings.pooling is None and self.pretrained and not settings.trainable:
            features = ops.cast(features, "float16")  # grids are large; the cache keeps half of them
        return ops.reshape(features, (-1, count * depth) if settings.pooling else (-1, count * patches, depth))

    def _features(self, frames):
        """(F, H, W, 3) pixels → (F, D) or (F, h, w, D), through the tower."""
        frames = keras.ops.cast(frames, "float32")
        if self.modality.augment and (self.modality.trainable or not self.pretrained):
            frames = keras.layers.RandomFlip("horizontal", name=f"{self.name}_flip")(frames)
            frames = keras.layers.RandomTranslation(0.1, 0.1, name=f"{self.name}_shift")(frames)
        tower = self.tower()
        tower.name = f"{self.name}_tower"
        return keras.ops.cast(tower(frames), "float32")

    def entrances(self, encode):
        towers = [layer for layer in encode.layers if layer.name == f"{self.name}_tower"]
        return {} if self.modality.several or not towers else {"pixels": Entrance(towers[0], _one_colour, before=True)}

    def pieces(self, tensors, given):
        """Of several columns, the pictures beside each other."""
        rows = len(tensors["pixels_0"])
        maps = given["pixels"].reshape(rows, -1, *given["pixels"].shape[1:])
        return [np.concatenate(list(each), axis=1) for each in maps]

    def _encode_files(self, pixels, there):
        """(B, K, H, W, 3) pixels and (B, K), which files are there → (B, D), the mean of their features."""
        frames = layers.TakeFiles(name=f"{self.name}_take")(pixels, there)
        features = layers.PlaceFiles(name=f"{self.name}_place")(self._features(frames), there)
        return layers.MeanOfFiles(name=f"{self.name}_mean")(features, there)

    def tower_layers(self, fine_tune):
        return {f"{self.name}_tower": fine_tune and bool(self.modality.trainable)} if self.pretrained else {}


def encoder_name(encoder):
    """An encoder's name or path as str.

    Raises:
        ValueError: it is neither, such as a model.
    """
    try:
        return os.fspath(encoder)
    except TypeError:
        raise ValueError(
            f"`encoder` must be a name or a path. Received: {type(encoder).__name__}. Save a model of your own, "
            "model.save('mine.keras'), and give its path."
        ) from None


def find_encoder(family, encoder, default):
    """The class that a value of `encoder` asks for; of two with one label, the latest.

    Args:
        family: `TextEncoder` or `ImageEncoder`.
        encoder: str.
        default: the class for what none of the others reads.
    """
    classes = subclasses(family)[::-1]
    labelled = (cls for cls in classes if cls.label == encoder)
    return next(itertools.chain(labelled, (cls for cls in classes if cls.reads(encoder))), default)


def _one_colour(frames):
    """(F, H, W, 3) pictures, each of its own mean colour."""
    return keras.ops.zeros_like(frames) + keras.ops.mean(frames, axis=(1, 2), keepdims=True)


def mean_of_windows(features, held, name):
    """(B · W, D) features of windows and (B, W), how much each holds → (B, D) their mean, weighed by that; zeros where none holds anything."""
    held = keras.ops.cast(held, "float32")
    shares = held / keras.ops.maximum(keras.ops.sum(held, axis=1, keepdims=True), 1e-9)
    features = keras.ops.reshape(keras.ops.cast(features, "float32"), (-1, held.shape[1], features.shape[-1]))
    return layers.MeanOfFiles(dtype="float32", name=f"{name}_mean")(features, shares)


def strings(raw):
    """What layers of texts take of {column: (B,) strings}: those of one column, or a list of several."""
    columns = list(raw.values())
    return columns[0] if len(columns) == 1 else columns


def check_words(names, columns):
    """Raise unless a text of the training rows holds something; `columns` are the raw values of those `names`."""
    if not any(text.strip() for texts in columns for text in texts):
        rows = len(next(iter(columns), ()))
        raise ValueError(
            f"A vocabulary is learnt from words of the training rows. Received: columns {list(names)}, which are empty in all "
            f"{rows:,} rows. Leave them out, or give the rows their texts."
        )

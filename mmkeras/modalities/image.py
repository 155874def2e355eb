"""Images: files or bytes through a network of keras.applications, or a small one trained from scratch."""

import contextlib
import dataclasses
import difflib
import functools
import inspect
import os
import pathlib
import warnings

import keras
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.columns import check_frame
from mmkeras.data.files import Files
from mmkeras.modalities.base import Modality, check_name, column_names, digest, string_input

POOLINGS = ("avg", "max", None)


@dataclasses.dataclass(frozen=True)
class Image(Modality):
    """Columns of images as one feature vector, or as a sequence of patch features.

    A cell is a path (local, or one that `tf.io.gfile` reads, such as gs://…) or the bytes of a JPEG, PNG, GIF (first
    frame), BMP or WebP (not animated) file. '' and missing values mean "no image". See `layers.DecodeImage` for colours and scaling; pixels
    are brought to the range of the encoder inside it.

    Args:
        columns: a column name, or several, which then share one tower.
        encoder: a name of keras.applications ("ResNet50V2", "MobileNetV2", …), or "scratch": four convolutions, trained
            with the head.
        weights: "imagenet" (downloaded by Keras), None (random), or a path of a weights file, with or without the
            classification top.
        image_size: (height, width).
        pooling: "avg", "max", or None for the grid of patches.
        trainable: for keras.applications: False (frozen) or True.
        augment: whether training sees images flipped and shifted at random, when the tower trains.
        on_error: "raise", or "missing" to take a file that cannot be read for no image.
        dtype: Keras dtype policy of the tower, for example "mixed_bfloat16"; None for Keras's default.
        name: str, name of the modality.

    Features: (B, D · columns) float, or (B, P · columns, D) for `pooling=None`, in half precision from a frozen tower;
    zeros for an absent image.

    Raises:
        ValueError: a setting outside the above; a weights file that does not fit.
        FileNotFoundError: a weights file that does not exist.

    Example:
        >>> import mmkeras as mm
        >>> mm.Image("photo", encoder="scratch", image_size=(64, 64)).all_columns
        ('photo',)
    """

    columns: tuple
    encoder: str = "ResNet50V2"
    weights: str | None = "imagenet"
    image_size: tuple = (224, 224)
    pooling: str | None = "avg"
    trainable: bool = False
    augment: bool = True
    on_error: str = "raise"
    dtype: str | None = None
    name: str = "image"
    state: dict = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Image`"))
        check_name(self.name)
        if not self.columns:
            raise ValueError(
                "`columns` of `Image` must name a column. Received: none. Give a column of paths or bytes."
            )
        if self.weights is not None:
            self._set(weights=os.fspath(self.weights))
        if self.encoder != "scratch":
            application(self.encoder)
        size = self.image_size if isinstance(self.image_size, list | tuple) else ()
        if len(size) != 2 or not all(isinstance(side, int) and side >= 8 for side in size):
            raise ValueError(
                f"`image_size` must be (height, width), ints of at least 8. Received: {self.image_size!r}."
            )
        self._set(image_size=tuple(size))
        for setting, choices in (
            ("pooling", POOLINGS),
            ("on_error", ("raise", "missing")),
            ("trainable", (False, True)),
            ("augment", (False, True)),
        ):
            if getattr(self, setting) not in choices:
                raise ValueError(f"`{setting}` must be one of {choices}. Received: {getattr(self, setting)!r}.")

        try:
            keras.dtype_policies.get(self.dtype or "float32")
        except ValueError as error:
            raise ValueError(
                f"`dtype` of `Image` must be a Keras dtype policy or None. Received: {self.dtype!r}. "
                "Use for example 'float32' or 'mixed_bfloat16'."
            ) from error

    @property
    def all_columns(self):
        return self.columns

    @property
    def pretrained(self):
        """Whether the tower is one of keras.applications, which stays frozen unless `trainable`."""
        return self.encoder != "scratch"

    @property
    def normalise(self):
        return self.pretrained

    def raw_inputs(self):
        return {column: string_input(column) for column in self.columns}

    def raw_values(self, df):
        settings = (_attempt, self.on_error, _whole_jpeg)
        return {column: Files(df[column], df.index, column, *settings) for column in self.columns}

    def notes(self, df):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was said when the rows were read
            faulty = {column: files.faulty for column, files in self.raw_values(df).items() if files.faulty}
        return [f"{count} of {len(df)} images in {column!r} could not be read and counted as missing."
                for column, count in faulty.items()]  # fmt: skip

    def row_keys(self, columns):
        return [digest(row) for row in zip(*(columns[name].digests for name in self.columns), strict=True)]

    def adapt(self, df):
        check_frame(df, self.columns, f"modality {self.name!r}")
        return dataclasses.replace(self)

    def prepare(self, raw):
        tensors = {}
        decode = layers.DecodeImage(self.image_size, name=f"{self.name}_decode")
        for number, column in enumerate(self.columns):
            tensors[f"{self.name}.pixels_{number}"] = decode(raw[column])
        given = [layers.Present(name=f"{self.name}_present_{i}")(raw[c]) for i, c in enumerate(self.columns)]
        tensors[f"{self.name}.each_present"] = keras.ops.concatenate(given, axis=1)
        tensors[f"{self.name}.present"] = keras.ops.max(tensors[f"{self.name}.each_present"], axis=1, keepdims=True)
        return tensors

    def encode(self, tensors):
        given = {key.removeprefix(f"{self.name}."): value for key, value in tensors.items()}
        count, (height, width) = len(self.columns), self.image_size
        frames = keras.ops.stack([given[f"pixels_{i}"] for i in range(count)], axis=1)  # (B, columns, H, W, 3)
        frames = keras.ops.cast(keras.ops.reshape(frames, (-1, height, width, 3)), "float32")
        if self.augment and (self.trainable or not self.pretrained):
            frames = keras.layers.RandomFlip("horizontal", name=f"{self.name}_flip")(frames)
            frames = keras.layers.RandomTranslation(0.1, 0.1, name=f"{self.name}_shift")(frames)
        tower = image_tower(self.encoder, self.weights, self.image_size, self.pooling, self.dtype)
        tower.name = f"{self.name}_tower"
        features = keras.ops.cast(tower(frames), "float32")  # (B · columns, D) or (B · columns, h, w, D)
        depth = features.shape[-1]
        patches = 1 if self.pooling else features.shape[1] * features.shape[2]
        features = keras.ops.reshape(features, (-1, count, patches, depth))
        features = features * given["each_present"][:, :, None, None]
        if self.pooling is None and self.pretrained and not self.trainable:
            features = keras.ops.cast(features, "float16")  # grids are large; the cache keeps half of them
        return keras.ops.reshape(features, (-1, count * depth) if self.pooling else (-1, count * patches, depth))

    def tower_layers(self, fine_tune):
        return {f"{self.name}_tower": fine_tune and self.trainable} if self.pretrained else {}


def _attempt(data):
    """Raise `tf.errors.OpError` if bytes cannot be decoded."""
    _small_decoder()(tf.constant([data]))


def _whole_jpeg(data):
    """Whether bytes begin and end as a JPEG does: what cuts or replaces files would show. Decoding finds the rest."""
    return data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")


@functools.cache
def _small_decoder():
    decode = layers.DecodeImage((8, 8))  # whether it can be decoded shows at an eighth of the size
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(lambda images: decode(images), input_signature=signature, autograph=False)


def image_tower(encoder, weights=None, image_size=(224, 224), pooling="avg", dtype=None):
    """keras.Model from float pixels in 0 to 255, (B, H, W, 3), to features; see `Image` for the arguments."""
    with _policy(dtype):
        pixels = keras.Input((*image_size, 3))
        if encoder == "scratch":
            return keras.Model(pixels, _scratch(pixels, pooling))
        build, preprocess = application(encoder)
        bare = build(include_top=False, weights=None, input_shape=(*image_size, 3), pooling=pooling)
        _load_weights(bare, build, encoder, weights, image_size, pooling)
        return keras.Model(pixels, bare(preprocess(pixels)))


def application(name):
    """(builder, preprocess_input) of a network of keras.applications.

    Raises:
        ValueError: no such network.
    """
    for _, module in inspect.getmembers(keras.applications, inspect.ismodule):
        if inspect.isfunction(getattr(module, name, None)) and name[:1].isupper():
            return getattr(module, name), module.preprocess_input
    names = sorted(n for n, thing in inspect.getmembers(keras.applications, inspect.isfunction) if n[:1].isupper())
    near = difflib.get_close_matches(name, names, 1)
    raise ValueError(
        f"`encoder` of `Image` must be 'scratch' or a network of keras.applications. Received: {name!r}. "
        + (f"Did you mean {near[0]!r}?" if near else f"Use one of {', '.join(names)}.")
    )


def _load_weights(bare, build, encoder, weights, image_size, pooling):
    if weights is None:
        return
    if weights == "imagenet":
        try:
            source = build(include_top=False, weights="imagenet", input_shape=(*image_size, 3), pooling=pooling)
        except Exception as error:  # Keras has no kind of its own for a failed download
            raise ValueError(
                f"`weights='imagenet'` needs to download the weights of {encoder} once. Received: {error}. "
                "Check the connection, or give a file of weights, or None for random ones."
            ) from error
        bare.set_weights(source.get_weights())
        return
    if not pathlib.Path(weights).is_file():
        raise FileNotFoundError(
            f"`weights` must be 'imagenet', None, or a file of weights. Received: {weights!r}, which does not exist. "
            "Check the path."
        )
    try:
        _load_all(bare, weights)
        return
    except Exception:  # perhaps it holds the classification layer too
        whole = build(include_top=True, weights=None)
    try:
        _load_all(whole, weights)
        bare.set_weights(whole.get_weights()[: len(bare.weights)])
    except Exception as error:
        raise ValueError(
            f"`weights` must fit {encoder}, with or without its top. Received: {weights!r}, which does not: "
            f"{str(error).splitlines()[0][:200]}. Save them with `save_weights` of that network."
        ) from error


def _load_all(network, path):
    """Load weights, and refuse a file that holds only some of them, of which Keras merely warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network.load_weights(path)


def _scratch(pixels, pooling):
    """Four convolutions, each halving height and width: (B, H, W, 3) → (B, 128) or (B, H/16, W/16, 128)."""
    x = keras.layers.Rescaling(1 / 127.5, -1)(pixels)
    for filters in (16, 32, 64, 128):
        x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.Activation("relu")(x)
    pool = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}.get(pooling)
    return x if pool is None else pool()(x)


@contextlib.contextmanager
def _policy(dtype):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

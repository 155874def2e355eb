"""Images: files or bytes through a pretrained network, one of your own, or a small one trained from scratch."""

import dataclasses
import functools
import os
import re
import warnings

import keras
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.column import Claim
from mmkeras.data.columns import Column, raw_values
from mmkeras.data.examples import photos
from mmkeras.data.files import MAX_BYTES, Files, looks_like
from mmkeras.layers.image import MAX_BLOCKS, MAX_PIXELS, MAX_SCANS
from mmkeras.modalities.base import EACH_PRESENT, PRESENT, EncodedModality, check_name, column_names, split_names
from mmkeras.modalities.encoders import Application, ImageEncoder, lora

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF....WEBP")  # any byte for a point
SMALL = (96, 96)  # pixels, for a network that trains with the head
WIDE_DROPOUT = [0.93, 0.5, 0.8]


@dataclasses.dataclass(frozen=True)
class ImageColumn(Column):
    """Images, as paths or bytes, read when they are needed; b"" for a missing one.

    Args:
        on_error: "raise", or "missing" to take a file that cannot be read for no image.
        max_bytes: int; longer files are not read.
        limits: (most pixels, scans, blocks) of an image, see `layers.DecodeImage`.
    """

    on_error: str = "raise"
    max_bytes: int = MAX_BYTES
    limits: tuple = (MAX_PIXELS, MAX_SCANS, MAX_BLOCKS)

    reads = "image"
    picture = True

    def values(self, series):
        settings = {"on_error": self.on_error, "max_bytes": self.max_bytes, "trust": _whole_jpeg, "begins": _begins}
        return Files(series, series.index, series.name, _attempt(*self.limits), **settings)

    def digests(self, values):
        return values.digests

    def examples(self):
        return photos()

    def claim(self, sample):
        share, there = looks_like(sample, ENDINGS, BEGINNINGS)
        if share < 0.5 or there == 0:
            return None
        missing = {} if share == there == 1 else {"on_error": "missing"}
        told = "" if share == there == 1 else f"; of those that were looked for, {share * there:.0%} are there"
        return Claim(0.98, f"pictures, as files or bytes{told}", self.reads, settings=missing, of_things=True)


@dataclasses.dataclass(frozen=True)
class Image(EncodedModality):
    """Columns of images as one feature vector, or as a sequence of patch features.

    A cell is a path (local, or one that `tf.io.gfile` reads, such as gs://…) or the bytes of a JPEG, PNG, GIF (first
    frame), BMP or WebP (not animated) file. '' and missing values mean "no image". See `layers.DecodeImage` for colours and scaling; pixels
    are brought to the range of the encoder inside it.

    Args:
        columns: a column name, or several, which then share one tower.
        encoder: what turns images into features:
            - a name of keras.applications ("ResNet50V2", "MobileNetV2", …);
            - a KerasHub preset name of images ("vit_base_patch16_224_imagenet", "dinov2_small", …), or of images and texts, of which
              the vision half is taken ("clip_vit_base_patch32", "siglip_base_patch16_224", …); a handle ("hf://…", "kaggle://…"); or a
              local directory in KerasHub's preset format, with the image converter, which says how pixels are scaled;
            - the path of a `.keras` file: a model of your own, from pixels in 0 to 255;
            - "scratch": four convolutions, trained with the head.
        weights: of keras.applications: "imagenet" (downloaded by Keras), None (random), or a path of a weights file, with or without the
            classification top; of a preset: None for random ones, or left out; of a `.keras` file: left out.
        image_size: (height, width); None for (224, 224), or for the size that a preset or a model of your own is made for.
        pooling: "avg", "max", "cls" (the class token, where a preset has one), or None for the grid of patches.
        trainable: False (frozen), True, or "lora": small matrices beside the queries and values of its attention, or beside all kernels
            where it has none (Hu et al., 2021, https://arxiv.org/abs/2106.09685); not for "scratch", which always trains.
        augment: whether training sees images flipped and shifted at random, when the tower trains.
        on_error: "raise", or "missing" to take a file that cannot be read for no image.
        dtype: Keras dtype policy of the tower, for example "mixed_bfloat16"; None for Keras's default.
        name: str, name of the modality.
        max_bytes, max_pixels, max_scans, max_blocks: ints, limits of a file and of its image: a file that is longer is not read, and
            one whose first bytes claim more pixels, or that holds more scans (JPEG) or blocks (GIF), is not decoded.
        layers: int, of a preset: how many of the top blocks' features stand side by side.
        lora_rank: int, the rank of the matrices of "lora"; None for 8.

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
    image_size: tuple | None = None
    pooling: str | None = "avg"
    trainable: bool | str = False
    augment: bool = True
    on_error: str = "raise"
    dtype: str | None = None
    name: str = "image"
    max_bytes: int = MAX_BYTES
    max_pixels: int = MAX_PIXELS
    max_scans: int = MAX_SCANS
    max_blocks: int = MAX_BLOCKS
    layers: int = 1
    lora_rank: int | None = None

    family, usual = ImageEncoder, Application
    preparing = "heavy"
    option = "image"
    advice = (
        "Pictures go through a small network that learns from these rows alone. A pretrained one sees more, and is downloaded: "
        "mm.Image(…, encoder='MobileNetV2', image_size=(224, 224))."
    )

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Image`"))
        check_name(self.name)
        if not self.columns:
            raise ValueError(
                "`columns` of `Image` must name a column. Received: none. Give a column of paths or bytes."
            )
        if self.weights is not None:
            self._set(weights=os.fspath(self.weights))
        self._set(encoder=os.fspath(self.encoder))
        encoder = self.made_encoder()
        encoder.check()
        if self.image_size is not None or not encoder.tells_size:
            self._set(image_size=_checked_size(encoder.usual_size if self.image_size is None else self.image_size))
        for setting, choices in (
            ("pooling", encoder.poolings),
            ("on_error", ("raise", "missing")),
            ("trainable", (False, True, "lora")),
            ("augment", (False, True)),
        ):
            if getattr(self, setting) not in choices:
                raise ValueError(f"`{setting}` must be one of {choices}. Received: {getattr(self, setting)!r}.")

        lora.check(self)
        for number in ("max_bytes", "max_pixels", "max_scans", "max_blocks", "layers"):
            if type(getattr(self, number)) is not int or getattr(self, number) < 1:
                raise ValueError(
                    f"`{number}` must be an int of at least 1. Received: {getattr(self, number)!r}. Leave it out for the usual value."
                )
        if self.layers > 1 and not encoder.has_layers:
            raise ValueError(
                f"`layers` above 1 go with KerasHub presets. Received: {self.layers} with encoder={self.encoder!r}. Leave it out."
            )
        try:
            keras.dtype_policies.get(self.dtype or "float32")
        except ValueError as error:
            raise ValueError(
                f"`dtype` of `Image` must be a Keras dtype policy or None. Received: {self.dtype!r}. "
                "Use for example 'float32' or 'mixed_bfloat16'."
            ) from error

    @property
    def columns_read(self):
        return dict.fromkeys(self.columns, ImageColumn(self.on_error, self.max_bytes, self.limits))

    @property
    def limits(self):
        """(most pixels, scans, blocks) of an image."""
        return self.max_pixels, self.max_scans, self.max_blocks

    def notes(self, df):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was said when the rows were read
            faulty = {column: files.faulty for column, files in raw_values(df, [self]).items() if files.faulty}
        return [f"{count} of {len(df)} images in {column!r} could not be read and counted as missing."
                for column, count in faulty.items()]  # fmt: skip

    def presence(self, raw):
        present = [layers.Present(name=f"{self.name}_present_{i}")(cells) for i, cells in enumerate(raw.values())]
        each = keras.ops.concatenate(present, axis=1)
        return {f"{self.name}{EACH_PRESENT}": each, f"{self.name}{PRESENT}": keras.ops.max(each, axis=1, keepdims=True)}

    def grid(self, encode):
        towers = [layer for layer in encode.layers if layer.name == f"{self.name}_tower"]
        shape = towers[0].output.shape if towers and len(self.columns) == 1 else ()
        return tuple(shape[1:3]) if len(shape) == 4 else None

    def choices(self):
        return {f"dropout_{self.name}": WIDE_DROPOUT} if self.pretrained else {}

    def train_tower(self, trainable):
        if not self.pretrained or trainable not in (True, "lora"):
            return self
        return dataclasses.replace(self, trainable=trainable, lora_rank=self.lora_rank if trainable == "lora" else None)

    @classmethod
    def claims(cls, sample):
        claim = ImageColumn().claim(sample)
        return [claim] if claim else []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        """All columns through a small network that needs no download; pretrained ones are a setting away."""
        settings = {"pooling": None} if sequences else {}
        for claim in claims.values():
            settings.update(claim.settings)
        return [cls(list(claims), "scratch", image_size=SMALL, **settings)]

    @classmethod
    def add_options(cls, parser, towers=True):
        parser.add_argument(
            "--image", type=split_names, default=[], help="columns of image paths, which share one tower"
        )
        parser.add_argument(
            "--image-encoder",
            default="ResNet50V2",
            help="a network of keras.applications, a KerasHub preset, handle or folder, a .keras file, or scratch",
        )
        parser.add_argument("--image-weights", default="imagenet", help="imagenet, none, or a file of weights")

    @classmethod
    def from_options(cls, options, sequences=False):
        if not options.image:
            return []
        weights = None if options.image_weights == "none" else options.image_weights
        pooling = None if sequences else "avg"
        return [cls(options.image, options.image_encoder, weights, pooling=pooling, on_error="missing")]


def _checked_size(size):
    sides = size if isinstance(size, list | tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 8 for side in sides):
        raise ValueError(f"`image_size` must be (height, width), ints of at least 8. Received: {size!r}.")
    return tuple(sides)


def _whole_jpeg(data):
    """Whether bytes begin and end as a JPEG does: what cuts or replaces files would show. Decoding finds the rest."""
    return data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")


BEGINNING = re.compile(b"|".join(re.escape(start).replace(rb"\.", b".") for start in BEGINNINGS), re.DOTALL)


def _begins(data):
    """Whether a file begins as an image does, so that the rest of it is worth reading."""
    return BEGINNING.match(data) is not None


@functools.lru_cache(8)
def _attempt(max_pixels, max_scans, max_blocks):
    """A function of bytes that raises `tf.errors.OpError` if they cannot be decoded."""
    # Whether it can be decoded shows at an eighth of the size.
    decode = layers.DecodeImage((8, 8), max_pixels, max_scans, max_blocks=max_blocks)
    signature = [tf.TensorSpec([None], tf.string)]
    run = tf.function(lambda images: decode(images), input_signature=signature, autograph=False)
    return lambda data: run(tf.constant([data]))


def image_tower(encoder, weights=None, image_size=(224, 224), pooling="avg"):
    """keras.Model from float pixels in 0 to 255, (B, H, W, 3), to features; see `Image` for the arguments."""
    return Image("image", encoder, weights, image_size, pooling).made_encoder().tower()

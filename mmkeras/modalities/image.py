"""Images: files or bytes through a pretrained network, one of your own, or a small one trained from scratch."""

import dataclasses
import os

import keras

from mmkeras import layers
from mmkeras.data.file_lists import MAX_FILES
from mmkeras.data.files import MAX_BYTES
from mmkeras.data.images import ImageColumn
from mmkeras.layers.image import MAX_BLOCKS, MAX_PIXELS, MAX_SCANS
from mmkeras.modalities.base import (
    EACH_PRESENT,
    PRESENT,
    EncodedModality,
    check_name,
    column_names,
    split_names,
    unique_names,
)
from mmkeras.modalities.encoders import Application, ImageEncoder, lora
from mmkeras.modalities.encoders.base import encoder_name

SMALL = (96, 96)  # pixels, for a network that trains with the head


@dataclasses.dataclass(frozen=True)
class Image(EncodedModality):
    """Columns of images as one feature vector, or as a sequence of patch features.

    A cell is a path (local, or one that `tf.io.gfile` reads, such as gs://…) or the bytes of a JPEG, PNG, GIF (first
    frame), BMP or WebP (not animated) file. '' and missing values mean "no image". See `layers.DecodeImage` for colours and scaling; pixels
    are brought to the range of the encoder inside it.

    Where cells of the training rows hold lists, tuples or arrays of those, or `separator` is given, a row has any number of images, and its
    feature is the mean over them: one tower encodes each file by itself, a frozen one every distinct file once. Such an `Image` reads one
    column, and no grids of patches.

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
        trainable: False (frozen), True, or "lora": small matrices beside its kernels (Hu et al., 2021,
            https://arxiv.org/abs/2106.09685); not for "scratch", which always trains.
        augment: whether training sees images flipped and shifted at random, when the tower trains.
        on_error: "raise", or "missing" to take a file that cannot be read for no image.
        dtype: Keras dtype policy of the tower, for example "mixed_bfloat16"; None for Keras's default.
        name: str, name of the modality.
        max_bytes, max_pixels, max_scans, max_blocks: ints, limits of a file and of its image: a file that is longer is not read, and
            one whose first bytes claim more pixels, or that holds more scans (JPEG) or blocks (GIF), is not decoded.
        layers: int, of a preset: how many of the top blocks' features stand side by side.
        lora_rank: int, the rank of the matrices of "lora"; None for 8.
        separator: str between the paths in a cell that names several, such as "|"; None where a text is one path.
        max_files: int, the most files of a cell.

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
    separator: str | None = None
    max_files: int = MAX_FILES

    family, usual = ImageEncoder, Application
    dropouts = 0.93, 0.5, 0.8
    things = "images"
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
        encoder = encoder_name(self.encoder)
        self._set(encoder=self.encoder_class(encoder).kept(encoder))
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
        for number in ("max_bytes", "max_pixels", "max_scans", "max_blocks", "layers", "max_files"):
            if type(getattr(self, number)) is not int or getattr(self, number) < 1:
                raise ValueError(
                    f"`{number}` must be an int of at least 1. Received: {getattr(self, number)!r}. Leave it out for the usual value."
                )
        if self.separator is not None and (not isinstance(self.separator, str) or not self.separator):
            raise ValueError(
                f"`separator` must be a str such as '|', or None. Received: {self.separator!r}. Leave it out where a cell is one path."
            )
        self._check_several()
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
        several = {"separator": self.separator, "max_files": self.max_files, "several": self.separator is not None}
        return dict.fromkeys(self.columns, ImageColumn(self.on_error, self.max_bytes, self.limits, **several))

    @property
    def several(self):
        """Whether a cell may hold any number of images."""
        return any(column.several for column in self.readers.values())

    def reading(self, df):
        learnt = super().reading(df)
        learnt._check_several()
        return learnt

    def _check_several(self):
        if self.several and (self.pooling is None or len(self.columns) > 1):
            names = [name for name, column in self.readers.items() if column.several]
            fix = "Give each column an `Image` of its own." if self.pooling else "Use pooling='avg'."
            raise ValueError(
                "Cells of several images are read by an `Image` of one column, and pooled. Received: several in "
                f"{names}, columns={list(self.columns)}, pooling={self.pooling!r}. {fix}"
            )

    @property
    def limits(self):
        """(most pixels, scans, blocks) of an image."""
        return self.max_pixels, self.max_scans, self.max_blocks

    def presence(self, raw):
        look = layers.FilesPresent if self.several else layers.Present
        present = [look(name=f"{self.name}_present_{i}")(cells) for i, cells in enumerate(raw.values())]
        each = keras.ops.concatenate(present, axis=1)
        return {f"{self.name}{EACH_PRESENT}": each, f"{self.name}{PRESENT}": keras.ops.max(each, axis=1, keepdims=True)}

    def grid(self, encode):
        towers = [layer for layer in encode.layers if layer.name == f"{self.name}_tower"]
        shape = towers[0].output.shape if towers and len(self.columns) == 1 else ()
        return tuple(shape[1:3]) if len(shape) == 4 else None

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
        """Through a small network that needs no download, which all columns of one image share; pretrained ones are a setting away."""
        groups = [[name for name, claim in claims.items() if not claim.several]]
        groups += [[name] for name, claim in claims.items() if claim.several and not sequences]
        groups = [group for group in groups if group]
        names, images = unique_names([group[0] for group in groups], "image"), []
        for group in groups:
            settings = {"pooling": None} if sequences else {}
            for name in group:
                settings.update(claims[name].settings)
            images.append(cls(group, "scratch", image_size=SMALL, name=names[group[0]], **settings))
        return images

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
        parser.add_argument(
            "--image-separator", help="what stands between the paths of a cell that names several, such as '|'"
        )

    @classmethod
    def from_options(cls, options, sequences=False):
        if not options.image:
            return []
        weights = None if options.image_weights == "none" else options.image_weights
        settings = {"pooling": None if sequences else "avg", "separator": options.image_separator}
        return [cls(options.image, options.image_encoder, weights, on_error="missing", **settings)]


def _checked_size(size):
    sides = size if isinstance(size, list | tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 8 for side in sides):
        raise ValueError(f"`image_size` must be (height, width), ints of at least 8. Received: {size!r}.")
    return tuple(sides)


def image_tower(encoder, weights=None, image_size=(224, 224), pooling="avg"):
    """keras.Model from float pixels in 0 to 255, (B, H, W, 3), to features; see `Image` for the arguments."""
    return Image("image", encoder, weights, image_size, pooling).made_encoder().tower()

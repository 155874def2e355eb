"""Images through a backbone of KerasHub, or the vision half of an image-text preset."""

import dataclasses
import functools
import math
import os

import keras

from mmkeras.data.telling import shortened
from mmkeras.modalities.encoders.base import ImageEncoder
from mmkeras.modalities.encoders.presets import is_preset, load
from mmkeras.modalities.encoders.whole import whole


class HubImage(ImageEncoder):
    """Preset names, handles and local directories; pixels are brought to the range that the preset's image converter says."""

    pretrained = tells_size = has_layers = True
    poolings = ("avg", "max", "cls", None)

    @classmethod
    def reads(cls, encoder):
        return not encoder.endswith(".keras") and is_preset(encoder)

    @classmethod
    def kept(cls, encoder):
        bare = "://" not in encoder and os.path.basename(encoder) == encoder and os.path.isdir(encoder)
        return os.path.join(os.curdir, encoder) if bare else encoder

    def check(self):
        if self.modality.weights not in ("imagenet", None):
            raise ValueError(
                "`weights` of a KerasHub preset are its own, or None for random ones. "
                f"Received: {self.modality.weights!r}. Leave it out."
            )

    @property
    def usual_size(self):
        return load_converter(self.modality.encoder).image_size or super().usual_size

    def tower(self):
        settings, size = self.modality, self.image_size
        backbone = vision_half(load_backbone(settings.encoder, settings.weights is not None), settings.encoder)
        backbone = backbone if settings.dtype is None else in_dtype(backbone, settings.dtype)
        check_size(size, backbone, settings.encoder)
        converter = load_converter(settings.encoder)
        pixels = keras.Input((*size, 3))
        scale, offset = (_plain(value, usual) for value, usual in ((converter.scale, 1.0), (converter.offset, 0.0)))
        scaled = keras.layers.Rescaling(scale, offset, name="scaled")(pixels)
        inner = cut(backbone, top_features(backbone, settings.layers, settings.encoder))
        grids = [
            Grid.of(features, size, getattr(backbone, "patch_size", None), length)
            for features, length in zip(run(inner, scaled), lengths(inner, size), strict=True)
        ]
        pooled = join_features([grid.pooled(settings.pooling, settings.encoder) for grid in grids], settings)
        return keras.Model(pixels, pooled)


def load_backbone(encoder, weights=True):
    import keras_hub

    return load(keras_hub.models.Backbone, encoder, what="an image backbone", load_weights=weights)


@functools.lru_cache(8)
def load_converter(encoder):
    """The ImageConverter of a preset: `scale`, `offset` and `image_size`."""
    import keras_hub

    return load(keras_hub.layers.ImageConverter, encoder, what="an image converter, which presets of images have")


def _plain(value, usual):
    if value is None:
        return usual
    return list(map(float, value)) if hasattr(value, "__len__") else float(value)


def vision_half(backbone, encoder):
    """What of a backbone reads images alone.

    Raises:
        ValueError: a backbone that reads none, such as one of texts.
    """
    backbone = getattr(backbone, "vision_encoder", backbone)
    names = [tensor.name for tensor in backbone.inputs]
    if len(backbone.inputs) != 1 or len(backbone.inputs[0].shape) != 4:
        raise ValueError(
            f"`encoder` of `Image` must read images. Received: {encoder!r}, a {type(backbone).__name__} that reads {names}. Give the "
            "preset of an image model, or give this one to `mm.Text`."
        )
    return backbone


def in_dtype(backbone, dtype):
    """A backbone of the same weights by another dtype policy: KerasHub's own setting does not reach the halves of image-text presets."""
    copy = type(backbone).from_config({**backbone.get_config(), "dtype": dtype})
    copy.set_weights(backbone.get_weights())
    return copy


def check_size(size, backbone, encoder):
    """Raise unless a backbone takes images of a size."""
    takes = backbone.inputs[0].shape[1:3]
    if any(known is not None and known != side for known, side in zip(takes, size, strict=True)):
        raise ValueError(
            f"`image_size` must be {tuple(takes)} for {encoder!r}, whose positions are learnt for it. Received: {tuple(size)}. "
            f"Use {tuple(takes)}."
        )


def top_features(backbone, count, encoder):
    """Features of the top `count` blocks of a backbone, a list whose last are those that the backbone gives itself.

    Raises:
        ValueError: more blocks than it tells.
    """
    output = backbone.output
    blocks = [block.output for block in getattr(backbone, "encoder_layers", [])]
    pyramid = getattr(backbone, "pyramid_outputs", {})
    if hasattr(backbone, "stage_names"):  # HGNetV2 gives those of all stages
        pyramid = {name: output[name] for name in backbone.stage_names if name in output}
        output = list(pyramid.values())[-1]
    elif isinstance(output, dict):
        if "sequence_output" not in output:
            raise ValueError(
                f"`encoder` of `Image` must give features of an image. Received: {encoder!r}, a {type(backbone).__name__} that gives "
                f"{shortened(list(output))}. Use a preset of a classifier, such as a ViT."
            )
        output = output["sequence_output"]
    elif hasattr(backbone, "post_layer_norm"):  # SigLIP ends in a pooling of its own
        output = backbone.post_layer_norm.output
    blocks = blocks or [features for name, features in pyramid.items() if name != "stem"]
    if count > max(1, len(blocks)):
        raise ValueError(
            f"`layers` must be at most the number of blocks whose features {encoder!r} tells, {max(1, len(blocks))}. "
            f"Received: {count}. Use a smaller number."
        )
    return [*blocks[len(blocks) - count : -1], output]


def cut(backbone, features):
    """The model from a backbone's input to a list of features; where they are its own output, see `whole`."""
    return whole(backbone) if features == [backbone.output] else keras.Model(backbone.input, features)


def run(model, pixels):
    """The features, a list, that a model of `cut` gives for pixels."""
    features = model({next(iter(model.input)): pixels} if isinstance(model.input, dict) else pixels)
    return features if isinstance(features, list) else [features]


def lengths(model, size):
    """What the second axes of a model's features really are: some of KerasHub's layers tell a token too many."""
    return [features.shape[1] for features in run(model, keras.ops.zeros((1, *size, 3)))]


@dataclasses.dataclass(frozen=True)
class Grid:
    """Features of an image's patches, and of the tokens before them.

    Attributes:
        patches: (B, h, w, D).
        before: (B, n, D), the first of them the class token; None where there are none.
    """

    patches: object
    before: object = None

    @classmethod
    def of(cls, features, size, patch, length):
        """Of (B, h, w, D) or (B, n + h · w, D).

        Args:
            features: tensor.
            size: (height, width) of the image.
            patch: int or two ints, pixels of a patch; None where `features` are a grid.
            length: int, n + h · w; see `lengths`.
        """
        if len(features.shape) == 4:
            return cls(features)
        height, width = (
            side // each for side, each in zip(size, (patch,) * 2 if isinstance(patch, int) else patch, strict=True)
        )
        count = length - height * width
        if count < 0:  # patches were merged, as in a Swin transformer
            shrink = round(math.sqrt(height * width / length))
            height, width, count = height // shrink, width // shrink, 0
        grid = keras.ops.reshape(features[:, count:], (-1, height, width, features.shape[-1]))
        return cls(grid, features[:, :count] if count else None)

    def pooled(self, pooling, encoder):
        """(B, D), or (B, h, w, D) where `pooling` is None.

        Raises:
            ValueError: "cls" without a class token.
        """
        if pooling is None:
            return self.patches
        if pooling == "cls":
            if self.before is None:
                raise ValueError(
                    f"`pooling='cls'` needs an encoder with a class token, as ViT has. Received: {encoder!r}. Use 'avg'."
                )
            return self.before[:, 0]
        return (keras.ops.mean if pooling == "avg" else keras.ops.max)(self.patches, axis=(1, 2))


def join_features(features, settings):
    """Features of several blocks side by side.

    Raises:
        ValueError: grids of patches of different sizes.
    """
    sizes = [tuple(each.shape[1:-1]) for each in features]
    if len(set(sizes)) > 1:
        raise ValueError(
            f"`layers` with `pooling=None` needs blocks with equal grids of patches. Received: {settings.layers} layers of "
            f"{settings.encoder!r}, with grids {sizes}. Use layers=1, or pooling='avg'."
        )
    return features[0] if len(features) == 1 else keras.ops.concatenate(features, axis=-1)

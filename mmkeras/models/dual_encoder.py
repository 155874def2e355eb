"""The dual encoder of words and images: two towers, a vector each, one space."""

import keras

from mmkeras.layers import MaskedMean, Similarity
from mmkeras.modalities.encoders.tf_hub import load_backbone
from mmkeras.modalities.encoders.transformer import check_length
from mmkeras.modalities.image import image_tower
from mmkeras.models.entailment import SMALL_BERT


def build_dual_encoder(
    text_encoder=None, image_encoder="ResNet50V2", image_weights=None, *, width=256, units=256, dropout=0.1,
    sequence_length=64, image_size=(128, 128), trainable=False,
):  # fmt: skip
    """A text and an image as unit vectors of one space, which are near where both belong together, as one model.

    The mean of BERT's tokens, and an image tower's mean over places; each projected: Dense `units`, then gelu → Dense `units` → Dropout,
    added and normalised → Dense `width`, of length 1. Radford et al., 2021 (CLIP, https://arxiv.org/abs/2103.00020), with frozen towers.

    Args:
        text_encoder: None for a BERT of 2 layers, 256 wide, with random weights; or a KerasHub preset, handle or local directory of a BERT.
        image_encoder: a network of keras.applications.
        image_weights: "imagenet" (downloaded by Keras), None (random), or a path, see `Image`.
        width, units: ints, numbers of a vector and of the layers before it.
        dropout: float.
        sequence_length: int, tokens the text is padded to; None for any length.
        image_size: (H, W).
        trainable: bool, whether the towers train.

    Returns:
        keras.Model, not compiled, to {"text": (B, width) and "image": (B, width) unit vectors, "logits": (B, B) scaled cosines of every
        text with every image of the batch}, from {"token_ids", "padding_mask", "segment_ids": (B, T) int32, "image": (B, H, W, 3) pixels
        from 0 to 255}. Train it by `mm.losses.InfoNCE` on "logits", with numbers of groups as answers.

    Raises:
        ValueError: a width that is no positive int, a text encoder that is no BERT.

    Example:
        >>> import mmkeras as mm
        >>> model = mm.build_dual_encoder(image_encoder="MobileNetV2", width=64)
        >>> model.output["text"].shape, model.output["logits"].shape
        ((None, 64), (None, None))
    """
    import keras_hub

    for name, value in (("width", width), ("units", units)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive int. Received: {value!r}.")
    backbone = keras_hub.models.BertBackbone(**SMALL_BERT) if text_encoder is None else load_backbone(text_encoder)
    if not isinstance(backbone.output, dict) or "segment_ids" not in backbone.input:
        raise ValueError(f"`text_encoder` must be a BERT. Received: {text_encoder!r}, a {type(backbone).__name__}.")
    check_length(sequence_length, backbone, text_encoder)
    tower = image_tower(image_encoder, image_weights, image_size, "avg")
    backbone.trainable = tower.trainable = trainable
    tokens = {
        key: keras.Input((sequence_length,), dtype="int32", name=key)
        for key in ("token_ids", "padding_mask", "segment_ids")
    }
    image = keras.Input((*image_size, 3), name="image")
    words = MaskedMean(name="words")(backbone(tokens)["sequence_output"], tokens["padding_mask"])
    vectors = {
        name: _projected(x, name, units=units, width=width, dropout=dropout)
        for name, x in (("text", words), ("image", tower(image)))
    }
    logits = Similarity(1 / 0.07, name="similarity")(vectors["text"], vectors["image"], every=True)
    return keras.Model({**tokens, "image": image}, {**vectors, "logits": logits}, name="dual_encoder")


def _projected(x, name, *, units, width, dropout):
    projected = keras.layers.Dense(units, name=f"{name}_projection")(x)
    x = keras.layers.Activation("gelu", name=f"{name}_gelu")(projected)
    x = keras.layers.Dense(units, name=f"{name}_hidden")(x)
    x = keras.layers.Dropout(dropout, name=f"{name}_drop")(x)
    x = keras.layers.Add(name=f"{name}_add")([projected, x])
    x = keras.layers.LayerNormalization(name=f"{name}_norm")(x)
    x = keras.layers.Dense(width, dtype="float32", name=f"{name}_width")(x)
    return keras.layers.UnitNormalization(dtype="float32", name=f"{name}_vector")(x)

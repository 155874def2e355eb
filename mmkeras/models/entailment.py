"""The multimodal entailment model: two posts, each a text and an image; does one imply or contradict the other?"""

import keras

from mmkeras.fusion import ConcatFusion, CrossAttentionFusion, ModalityDropout
from mmkeras.modalities.encoders.tf_hub import load_backbone
from mmkeras.modalities.encoders.transformer import check_length
from mmkeras.modalities.image import image_tower

# Turc et al., 2019 (https://arxiv.org/abs/1908.08962), "L-2_H-256_A-4": 9,591,040 parameters.
SMALL_BERT = {
    "vocabulary_size": 30522,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 256,
    "intermediate_dim": 1024,
    "max_sequence_length": 512,
}
UNITS = 256
MODALITIES = ("text", "image")


def build_entailment_classifier(
    text_encoder=None, image_encoder="ResNet50V2", image_weights=None, *, num_classes=3, sequence_length=128,
    image_size=(128, 128), modalities=MODALITIES, modality_dropout=0.0, cross_attention=False, trainable=False,
):  # fmt: skip
    """The graph of the tutorial "multimodal entailment", as one model.

    The packed pair of texts → BERT's pooled output; both images → one tower → side by side. Each side is projected:
    Dense 256, then gelu → Dense 256 → Dropout .1, added and normalised. Both joined → Dense with softmax. With the
    defaults 34,404,611 parameters, of which 1,248,771 train.

    Two options are named as in the tutorial and do what the names say. `modality_dropout` leaves out a whole modality of
    a row, where the tutorial zeroed single features. `cross_attention` runs over the tokens and the image patches of
    one row, where the tutorial's, on vectors, ran across the batch.

    Args:
        text_encoder: None for a BERT of 2 layers, 256 wide, with random weights; a KerasHub preset of a BERT
            ("bert_tiny_en_uncased"), a handle or a local directory for pretrained ones.
        image_encoder: a network of keras.applications.
        image_weights: "imagenet" (downloaded by Keras), None (random), or a path, see `Image`.
        num_classes: int.
        sequence_length: int, tokens the pair is padded to; None for any length.
        image_size: (H, W) of both images.
        modalities: ("text", "image"), or one of them alone.
        modality_dropout: float, the chance that training takes a modality of a row for absent. Above 0 the model also
            reads which are there, and puts a learned vector where one is not.
        cross_attention: bool, tokens and patches attend to each other before they are averaged.
        trainable: bool, whether the towers train.

    Returns:
        keras.Model, not compiled, to {"label": (B, num_classes)} probabilities, from a dict of
            "token_ids", "padding_mask", "segment_ids": (B, T) int32, `[CLS] a [SEP] b [SEP]`;
            "image_1", "image_2": (B, H, W, 3), pixels from 0 to 255;
            "text_present", "image_present": (B, 1) of 0 and 1, if `modality_dropout` is above 0.

    Raises:
        ValueError: settings outside the above; "cross_attention" or `modality_dropout` with one modality; a text encoder
            without BERT's pooled output.

    Example:
        >>> import mmkeras as mm
        >>> mm.build_entailment_classifier().count_params()
        34404611
    """
    modalities = (modalities,) if isinstance(modalities, str) else tuple(modalities)
    if not modalities or not set(modalities) <= set(MODALITIES) or len(set(modalities)) != len(modalities):
        raise ValueError(f"`modalities` must be some of {MODALITIES}, each once. Received: {modalities}.")
    if len(modalities) == 1 and (cross_attention or modality_dropout):
        raise ValueError(
            "`cross_attention` and `modality_dropout` need both modalities. "
            f"Received: {modalities}, cross_attention={cross_attention}, modality_dropout={modality_dropout}."
        )
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 2:
        raise ValueError(f"`num_classes` must be an int of at least 2. Received: {num_classes!r}.")
    if not (isinstance(image_size, list | tuple) and len(image_size) == 2):
        raise ValueError(f"`image_size` must be (height, width). Received: {image_size!r}. Use for example (128, 128).")
    inputs, features, masks = {}, [], []
    if "text" in modalities:
        tokens = {
            key: keras.Input((sequence_length,), dtype="int32", name=key)
            for key in ("token_ids", "padding_mask", "segment_ids")
        }
        inputs.update(tokens)
        output = _bert(text_encoder, trainable, sequence_length)(tokens)
        features.append(output["sequence_output" if cross_attention else "pooled_output"])
        masks.append(tokens["padding_mask"])
    if "image" in modalities:
        images = {name: keras.Input((*image_size, 3), name=name) for name in ("image_1", "image_2")}
        inputs.update(images)
        tower = image_tower(image_encoder, image_weights, image_size, None if cross_attention else "avg")
        tower.trainable = trainable
        seen = [tower(image) for image in images.values()]
        if cross_attention:
            seen = [keras.layers.Reshape((-1, x.shape[-1]))(x) for x in seen]  # (B, P, D)
            features.append(keras.ops.concatenate(seen, axis=1))
            masks.append(keras.ops.ones_like(features[-1][..., 0]))
        else:
            features.append(keras.ops.concatenate(seen, axis=-1))
    presence = [keras.ops.ones_like(next(iter(inputs.values()))[:, :1])] * len(features)
    if modality_dropout:
        presence = [keras.Input((1,), name=f"{name}_present") for name in modalities]
        inputs.update({tensor.name: tensor for tensor in presence})
        presence = ModalityDropout(modality_dropout, name="modality_dropout")(presence)
    if cross_attention:
        joined = CrossAttentionFusion(UNITS, dropout=0.1, name="cross_attention")(features, masks, presence)
        features = keras.ops.split(joined, len(features), axis=-1)
    else:
        features = [_project(x, name) for x, name in zip(features, modalities, strict=True)]
    if modality_dropout:
        joined = ConcatFusion(name="fusion")(features, presence)
    elif len(features) > 1:
        joined = keras.layers.Concatenate(name="fusion")(features)
    else:
        joined = features[0]
    label = keras.layers.Dense(num_classes, activation="softmax", dtype="float32", name="label")(joined)
    return keras.Model(inputs, {"label": label}, name="entailment_classifier")


def _bert(encoder, trainable, sequence_length):
    import keras_hub

    backbone = keras_hub.models.BertBackbone(**SMALL_BERT) if encoder is None else load_backbone(encoder)
    if not isinstance(backbone.output, dict) or "pooled_output" not in backbone.output:
        raise ValueError(
            "`text_encoder` must be a BERT, which gives a pooled output of a pair of segments. "
            f"Received: {encoder!r}, a {type(backbone).__name__}. Use a Pipeline for other encoders."
        )
    check_length(sequence_length, backbone, encoder)
    backbone.trainable = trainable
    return backbone


def _project(x, name):
    """Dense 256, then gelu → Dense 256 → Dropout .1, added and normalised: (B, D) → (B, 256)."""
    projected = keras.layers.Dense(UNITS, name=f"{name}_projection")(x)
    x = keras.layers.Activation("gelu", name=f"{name}_gelu")(projected)
    x = keras.layers.Dense(UNITS, name=f"{name}_hidden")(x)
    x = keras.layers.Dropout(0.1, name=f"{name}_drop")(x)
    x = keras.layers.Add(name=f"{name}_add")([projected, x])
    return keras.layers.LayerNormalization(name=f"{name}_norm")(x)

"""The genre classifier: DistilBERT beside numbers, many labels per film."""

import keras

from mmkeras.modalities.encoders.tf_hub import load_backbone
from mmkeras.modalities.encoders.transformer import check_length, sequence_output

# DistilBERT-base (Sanh et al., 2019, https://arxiv.org/abs/1910.01108): 66,362,880 parameters.
DISTILBERT_BASE = {
    "vocabulary_size": 30522,
    "num_layers": 6,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
    "max_sequence_length": 512,
}


def build_genre_classifier(encoder=None, num_numeric=4, num_classes=20, sequence_length=512, trainable=False):
    """The graph of the tutorial "multimodal models with Keras" for film genres, as one model.

    Token 0 of the text tower → BatchNormalization → Dense 128 → Dropout .2 → Dense 64 → Dense 32; numbers → Dense 20;
    both joined → Dense 44 → Dense `num_classes` with sigmoid. With the defaults 66,478,052 parameters, of which
    113,636 train. The tutorial fed raw dollars and padded every text to 512 tokens; `Pipeline` does neither.

    Args:
        encoder: None for DistilBERT-base with random weights; a KerasHub preset ("distil_bert_base_en_uncased"),
            a handle or a local directory for pretrained ones.
        num_numeric: int, how many numbers a row has.
        num_classes: int, number of labels.
        sequence_length: int, tokens a row is padded to; None for any length.
        trainable: bool, whether the text tower trains.

    Returns:
        keras.Model from {"token_ids": (B, T) int32, "padding_mask": (B, T) int32, "numeric": (B, num_numeric)} to
        {"genres": (B, num_classes)} probabilities; not compiled.

    Raises:
        ValueError: counts below 1, or an encoder that cannot be loaded.

    Example:
        >>> import mmkeras as mm
        >>> model = mm.build_genre_classifier()
        >>> model.count_params()
        66478052
    """
    for name, value in (("num_numeric", num_numeric), ("num_classes", num_classes)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a positive int. Received: {value!r}.")
    if encoder is None:
        import keras_hub

        backbone = keras_hub.models.DistilBertBackbone(**DISTILBERT_BASE)
    else:
        backbone = load_backbone(encoder)
    check_length(sequence_length, backbone, encoder)
    backbone.trainable = trainable

    # === Inputs ===
    token_ids = keras.Input((sequence_length,), dtype="int32", name="token_ids")
    padding_mask = keras.Input((sequence_length,), dtype="int32", name="padding_mask")
    numeric = keras.Input((num_numeric,), name="numeric")

    # === Text ===
    tokens = {"token_ids": token_ids, "padding_mask": padding_mask}
    if "segment_ids" in backbone.input:
        tokens["segment_ids"] = keras.ops.zeros_like(token_ids)
    x = sequence_output(backbone(tokens))[:, 0]  # (B, T, D) → (B, D)
    x = keras.layers.BatchNormalization(name="text_normalise")(x)
    x = keras.layers.Dense(128, activation="relu", name="text_1")(x)
    x = keras.layers.Dropout(0.2, name="text_drop")(x)
    x = keras.layers.Dense(64, activation="relu", name="text_2")(x)
    x = keras.layers.Dense(32, activation="relu", name="text_3")(x)

    # === Numbers, fusion, labels ===
    y = keras.layers.Dense(20, activation="relu", name="numbers")(numeric)
    z = keras.layers.Concatenate(name="fusion")([x, y])
    z = keras.layers.Dense(44, activation="relu", name="joint")(z)
    genres = keras.layers.Dense(num_classes, activation="sigmoid", name="genres")(z)
    return keras.Model(
        {**{k: tokens[k] for k in ("token_ids", "padding_mask")}, "numeric": numeric},
        {"genres": genres},
        name="genre_classifier",
    )

"""Families of KerasHub's text encoders: how each packs its tokens, and where what stands for a text is."""

import dataclasses

PLAIN = {"token_ids", "padding_mask", "segment_ids"}  # what a backbone of text reads


@dataclasses.dataclass(frozen=True)
class Family:
    """What differs between encoders, known by the class of their tokenizer.

    Args:
        separators: int, end tokens between two texts; RoBERTa has two (Liu et al., 2019).
        padded: bool, whether padding is read as words are, so that every row must have the same length.
        class_token: "first", "last" (of the tokens that are no padding), or "end" (of all).
        sentence: (pooling, whether the vector has length 1) of `pooling="sentence"` where a preset does not say.
        tells: bool, whether presets of it may say how a sentence is pooled.
        whole: bool, whether its blocks cannot be cut apart and stored: they share weights, or are made by the backbone alone.
        preprocessor: name in `keras_hub.models` of what prepares the texts of an image-text preset; None for other presets.
    """

    separators: int = 1
    padded: bool = False
    class_token: str = "first"
    sentence: tuple = ("mean", True)
    tells: bool = False
    whole: bool = False
    preprocessor: str | None = None


HALF = {"sentence": ("pooled", True)}
FAMILIES = {
    "BertTokenizer": Family(tells=True),
    "RobertaTokenizer": Family(separators=2),
    "XLMRobertaTokenizer": Family(separators=2, tells=True),
    "AlbertTokenizer": Family(whole=True),
    "DebertaV3Tokenizer": Family(whole=True),
    "FNetTokenizer": Family(padded=True),
    "RoformerV2Tokenizer": Family(padded=True),
    "CLIPTokenizer": Family(class_token="last", preprocessor="CLIPPreprocessor", **HALF),
    "MetaCLIP2Tokenizer": Family(class_token="last", preprocessor="MetaCLIP2CausalLMPreprocessor", **HALF),
    "SigLIPTokenizer": Family(class_token="end", padded=True, preprocessor="SigLIPPreprocessor", **HALF),
}


def family_of(tokenizer):
    """The `Family` of a tokenizer of KerasHub, or of None."""
    return FAMILIES.get(type(tokenizer).__name__, Family())


@dataclasses.dataclass
class TextHalf:
    """What of an image-text backbone reads texts alone, with the attributes of a backbone of text.

    Attributes:
        input: {"token_ids": (B, T)}.
        output: {"sequence_output": (B, T, D), "pooled_output": (B, E) in the space that texts share with images}.
        transformer_layers: list of blocks. max_sequence_length: int. weights: list.
    """

    input: dict
    output: dict
    transformer_layers: list
    max_sequence_length: int
    weights: list


def text_half(backbone, encoder):
    """A backbone of text as it is; of an image-text backbone, its `TextHalf`.

    Raises:
        ValueError: a backbone that reads no text, or more than that.
    """
    text = getattr(backbone, "text_encoder", None)
    if text is None:
        reads = set(backbone.input) if isinstance(backbone.input, dict) else {"pixels, or other numbers"}
        if not reads <= PLAIN:
            raise ValueError(
                f"`encoder` of `Text` must be a backbone of text, that reads {sorted(PLAIN)}. Received: {encoder!r}, a "
                f"{type(backbone).__name__}, which reads {sorted(reads)}. Give one of images to `Image`; use another preset."
            )
        return backbone
    output = text.output["sequence_output"] if isinstance(text.output, dict) else text.output
    if hasattr(backbone, "text_projection"):  # CLIP ends in the end token
        pooled = backbone.text_projection(backbone.text_pooler(output, text.input["token_ids"]))
        sequence = output
    else:  # SigLIP ends in the last token
        sequence, pooled = text.post_layer_norm.output, output
    return TextHalf(
        {"token_ids": text.input["token_ids"]}, {"sequence_output": sequence, "pooled_output": pooled},
        text.encoder_layers, text.max_sequence_length, text.weights,
    )  # fmt: skip

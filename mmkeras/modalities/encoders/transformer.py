"""What encoders of text with tokens share: tokens of one text or of a pair, blocks, and pooling."""

import abc
import re

import keras

from mmkeras import layers
from mmkeras.graph import submodel
from mmkeras.modalities.encoders.base import TextEncoder, strings
from mmkeras.modalities.encoders.families import family_of
from mmkeras.modalities.entrances import embeddings

BEGINS = ("▁", "Ġ")  # of a word
MARK = re.compile(r"\[\w+\]|</?\w+>|<\|\w+\|>")  # a token that stands for no text


class Transformer(TextEncoder):
    """Base of transformers. A concrete one writes `adapt`, which gives {"tokenizer": …}, and `backbone`."""

    most_columns = 2
    tokens = True

    @abc.abstractmethod
    def backbone(self):
        """keras.Model in KerasHub's form: {"token_ids", "padding_mask", …} (B, T) to (B, T, D), alone or in a dict."""

    @property
    def sequence(self):
        return self.modality.pooling is None

    @property
    def family(self):
        """`families.Family`, by the tokenizer."""
        return family_of((self.modality.state or {}).get("tokenizer"))

    @property
    def pooling(self):
        """(how the tokens become a vector, whether that is brought to length 1)."""
        if self.modality.pooling == "sentence":
            return tuple((self.modality.state or {}).get("sentence", self.family.sentence))
        return self.modality.pooling, False

    def prepare(self, raw):
        tokenizer, length = self.modality.state["tokenizer"], self.modality.length
        tokenize = tokenize_layer(tokenizer, length, f"{self.name}_tokens")
        tokens = tokenize(strings(raw))
        return (
            layers.PadTokens(length, tokenize.pad_id, name=f"{self.name}_pad")(tokens) if self.family.padded else tokens
        )

    def entrances(self, encode):
        towers = [layer for layer in encode.layers if layer.name == f"{self.name}_tower"]
        if not towers or "tokenizer" not in self.modality.state or "token_ids" not in getattr(towers[0], "input", {}):
            return {}
        pad = tokenize_layer(self.modality.state["tokenizer"], self.modality.length, "silent").pad_id
        found = embeddings(towers[0], "token_ids", pad)
        return {"tokens": found[0]} if len(found) == 1 else {}

    def recall(self, known):
        tokens = known.get(f"{self.name}_tokens")
        return {} if tokens is None else {"tokenizer": tokens.tokenizer}

    def pieces(self, tensors, given):
        tokenizer = self.modality.state["tokenizer"]
        rows = zip(tensors["token_ids"], tensors["padding_mask"], given["tokens"], strict=True)
        return [
            words_of([tokenizer.id_to_token(int(i)) for i in ids[mask > 0]], values[mask > 0])
            for ids, mask, values in rows
        ]

    def encode(self, tensors):
        features = self._tower(tensors)  # (B, T, D); (B, D) if pooled
        if self.modality.dtype is not None:
            features = keras.ops.cast(features, "float32")
        pooling, unit = self.pooling
        if pooling == "cls":
            features = self._class_token(features, tensors["padding_mask"])
        elif pooling == "mean":
            features = layers.MaskedMean(name=f"{self.name}_mean")(features, tensors["padding_mask"])
        return keras.layers.UnitNormalization(name=f"{self.name}_unit")(features) if unit else features

    def _class_token(self, sequence, mask):
        """(B, T, D) → (B, D), the token that stands for the text."""
        if self.family.class_token == "last":
            last = keras.ops.sum(keras.ops.cast(mask, "int32"), axis=1) - 1
            return keras.ops.squeeze(keras.ops.take_along_axis(sequence, last[:, None, None], axis=1), axis=1)
        return sequence[:, -1 if self.family.class_token == "end" else 0]

    def top_blocks(self):
        """How many of the top blocks train while those below stay frozen; 0 where all do, or none."""
        return 0

    def _tower(self, tensors):
        """Run the transformer as one layer; as two, cut below the top N blocks, when only those train."""
        backbone, top = self.backbone(), self.top_blocks()
        check_length(self.modality.length, backbone, self.modality.encoder)
        positions, length = getattr(backbone, "max_sequence_length", None), self.modality.length
        if self.family.class_token == "end" and length != positions:
            raise ValueError(
                f"`sequence_length` of {self.modality.encoder!r}, which reads the last of all positions, must be {positions}. "
                f"Received: {length}. Use {positions}."
            )
        inputs = {key: value for key, value in backbone.input.items() if key in tensors}
        blocks = [] if self.family.whole else getattr(backbone, "transformer_layers", [])
        self._check_blocks(len(blocks), top)
        hidden = [block.output for block in blocks]
        used = [*hidden[len(hidden) - self.modality.layers : -1], sequence_output(backbone.output)]
        if self.pooling[0] == "pooled":
            used = [pooled_output(backbone.output, self.modality.encoder)]
        sequence = used[0] if len(used) == 1 else keras.ops.concatenate(used, axis=-1)  # (B, T, layers · D)
        if self.family.whole:  # stored as it is
            fresh = {key: keras.Input(x.shape[1:], dtype=x.dtype, name=key) for key, x in inputs.items()}
            outputs = backbone(fresh)
            outputs = pooled_output(outputs, "") if self.pooling[0] == "pooled" else sequence_output(outputs)
            return keras.Model(fresh, outputs, name=f"{self.name}_tower")({key: tensors[key] for key in fresh})
        if not top:
            tower = submodel(inputs, sequence, name=f"{self.name}_tower")
            return tower({key: tensors[key] for key in tower.input})
        below = hidden[-top - 1] if top < len(hidden) else first_block_input(blocks[0])
        frozen = {i: output for i, output in enumerate(used) if any(output is h for h in hidden[: -top - 1])}
        kept = {"hidden": below, **{f"layer_{i}": output for i, output in frozen.items()}}
        lower = submodel(inputs, kept, name=f"{self.name}_tower")
        upper = submodel({**inputs, **kept}, sequence, name=f"{self.name}_tower_top")
        tensors = {**tensors, **lower({key: tensors[key] for key in lower.input})}
        return upper({key: tensors[key] for key in upper.input})

    def _check_blocks(self, blocks, top):
        layers = self.modality.layers
        tops = "lora_blocks" if self.modality.trainable == "lora" else "trainable"
        for setting, value in ((tops, top), ("layers", layers if layers > 1 else 0)):
            if value > blocks:
                raise ValueError(
                    f"`{setting}` must be at most the number of blocks of {self.modality.encoder!r}, which has {blocks}. "
                    f"Received: {value}. Use a smaller number."
                )


def check_length(sequence_length, backbone, encoder):
    """An encoder must have a position for each token of a row.

    Args:
        sequence_length: int, or None for any.
        backbone: keras.Model of KerasHub, or with a SavedModel of TensorFlow Hub.
        encoder: how an error calls it; None for "the encoder".

    Raises:
        ValueError: more tokens than positions.
    """
    tables = [weight for weight in backbone.weights if "position_embedding" in weight.name and len(weight.shape) == 2]
    positions = getattr(backbone, "max_sequence_length", None) or min(
        (table.shape[0] for table in tables), default=None
    )
    if None not in (sequence_length, positions) and sequence_length > positions:
        raise ValueError(
            f"`sequence_length` must be at most the positions of {'the encoder' if encoder is None else repr(encoder)}, which has {positions}. "
            f"Received: {sequence_length}. Use {positions} or less."
        )


def tokenize_layer(tokenizer, sequence_length, name):
    """`layers.Tokenize` with the special tokens of a KerasHub tokenizer.

    Raises:
        ValueError: a tokenizer without start and end tokens.
    """

    def token_id(*names):
        return next((getattr(tokenizer, n) for n in names if getattr(tokenizer, n, None) is not None), None)

    start, end = token_id("start_token_id", "cls_token_id"), token_id("end_token_id", "sep_token_id")
    if end is None or (start is None and family_of(tokenizer).class_token == "first"):
        raise ValueError(
            "A text encoder's tokenizer must have start and end tokens, as BERT-like encoders do. "
            f"Received: {type(tokenizer).__name__}. Use an encoder such as 'distil_bert_base_en_uncased'."
        )
    pad = token_id("pad_token_id") or 0
    return layers.Tokenize(tokenizer, start, end, pad, sequence_length, family_of(tokenizer).separators, name=name)


def words_of(tokens, values):
    """[(word, number), …] of the tokens of a row: parts of a word become one, and their numbers add up.

    Knows the signs of WordPiece ("##" within a word), SentencePiece and byte pairs ("▁" and "Ġ" where one begins).

    Example:
        >>> words_of(["[CLS]", "a", "cat", "##s", "[SEP]"], [0.0, 1.0, 2.0, 3.0, 0.0])
        [('[CLS]', 0.0), ('a', 1.0), ('cats', 5.0), ('[SEP]', 0.0)]
        >>> words_of(["▁a", "▁cat", "s"], [1.0, 2.0, 3.0])
        [('a', 1.0), ('cats', 5.0)]
    """
    tokens, words = list(tokens), []
    begins = any(token[:1] in BEGINS for token in tokens)
    for token, value in zip(tokens, values, strict=True):
        inside = token.startswith("##") or (begins and words and token[:1] not in BEGINS and not MARK.fullmatch(token))
        text = token.removeprefix("##") if inside else token.lstrip("".join(BEGINS))
        if inside and words and not MARK.fullmatch(words[-1][0]):
            words[-1] = (words[-1][0] + text, words[-1][1] + float(value))
        else:
            words.append((text, float(value)))
    return words


def first_block_input(block):
    """What the first transformer block reads, apart from masks."""
    return block.input[0] if isinstance(block.input, list | tuple) else block.input


def sequence_output(output):
    """The (B, T, D) output of a backbone, whether it gives one tensor or a dict."""
    return output["sequence_output"] if isinstance(output, dict) else output


def pooled_output(output, encoder):
    """The (B, D) output of a backbone that has a pooler, as BERT has.

    Raises:
        ValueError: one that has none, as DistilBERT.
    """
    if isinstance(output, dict) and "pooled_output" in output:
        return output["pooled_output"]
    gives = sorted(output) if isinstance(output, dict) else "token features only"
    raise ValueError(
        "`pooling='pooled'` needs an encoder with a pooled_output, as BERT has. "
        f"Received: {encoder!r}, which gives {gives}. Use 'cls' or 'mean'."
    )

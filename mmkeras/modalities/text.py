"""Text: a pretrained transformer, a small one trained from scratch, or a bag of n-grams."""

import dataclasses
import os

from mmkeras import layers
from mmkeras.data.columns import TextColumn
from mmkeras.data.sample import Sample
from mmkeras.modalities.base import (
    PRESENT,
    EncodedModality,
    check_name,
    column_names,
    split_names,
    unique_names,
)
from mmkeras.modalities.encoders import KerasHub, TextEncoder, lora
from mmkeras.modalities.encoders.base import encoder_name, strings

POOLINGS = ("cls", "mean", "pooled", "sentence", None)
NAMES = 10  # times that each text recurs on average: more, and they are names from a list


@dataclasses.dataclass(frozen=True)
class Text(EncodedModality):
    """Columns of text as one feature vector, or as a sequence of token features.

    Args:
        columns: a column name; two names make a segment pair `[CLS] a [SEP] b [SEP]`. "lexical" takes any number.
        encoder: what turns text into features:
            - a KerasHub preset name ("distil_bert_base_en_uncased"), or a handle ("hf://…", "kaggle://…");
            - a local directory in KerasHub's preset format or in Hugging Face format (config.json,
              model.safetensors, vocab.txt); of an image-text preset (CLIP, SigLIP, MetaCLIP 2) the half that reads texts;
            - a TF-Hub handle ("https://tfhub.dev/…", "https://www.kaggle.com/models/…") of a BERT-like encoder, or the
              directory of its SavedModel;
            - the path of a `.keras` file: a model of your own from strings to (B, D), cut where its weights begin; no Lambda;
            - "scratch": a small transformer (2 layers, 128 wide) with a WordPiece vocabulary learnt from the
              training rows, trained with the head;
            - "gru": a gated recurrent layer in both directions over such a vocabulary, trained with the head: it learns what the order
              of words says from fewer rows ("cls" is what both directions know at their ends);
            - "lexical": a bag of the 30,000 most frequent words and word pairs of the training rows, weighted by
              TF-IDF, times an embedding trained with the head;
            - "characters": the same of 3 to 5 characters in a row, which know endings, and words spelled wrong;
            - "terms": the TF-IDF weights themselves of the 4,000 most frequent words, which retrieval learns from best.
        sequence_length: int, the most tokens (words, for "lexical") that are read of a row; None for 256, or what the text half of an
            image-text preset takes, 77 or 64.
        pooling: "cls" (the token that stands for the text: the first; of CLIP and SigLIP, the last), "mean" (over the tokens that are
            not padding), "pooled" (what the encoder's own pooler makes of that token; BERT has one, DistilBERT has none; of CLIP and
            SigLIP, the vector that texts share with images), "sentence" (what a preset of sentences says: the mean or the first
            token, of length 1; of CLIP and SigLIP "pooled", of length 1), or None for the full sequence.
        layers: int, how many of the top blocks' outputs are joined side by side, the features of Devlin et al., 2019
            (https://arxiv.org/abs/1810.04805, table 7). For frozen towers 3 is often better than 1.
        trainable: for a pretrained encoder: False (frozen), True (all of it), N (its top N blocks), or "lora": small matrices beside
            its kernels (Hu et al., 2021, https://arxiv.org/abs/2106.09685). Of TF-Hub False or True.
        dtype: Keras dtype policy of the transformer, for example "mixed_bfloat16"; None for Keras's default.
        preprocessor: TF-Hub handle or SavedModel directory that makes a TF-Hub encoder's tokens, such as
            bert_en_uncased_preprocess. None takes the vocabulary that comes with the encoder.
        name: str, name of the modality.
        prefix: str, what a pretrained encoder reads before each text (of a pair, the first), such as "query: " for E5.
        lora_rank: int, the rank of the matrices of "lora"; None for 8.
        lora_blocks: int, how many of the top blocks "lora" adapts, while features of those below are cached; None for all.

    Features: (B, D) float, or (B, T, D) with "name.padding_mask" (B, T) for `pooling=None`.

    Raises:
        ValueError: a setting outside the above; an encoder that cannot be loaded (when adapting or building).
        FileNotFoundError: an encoder directory that does not exist.

    Example:
        >>> import mmkeras as mm
        >>> mm.Text("overview", encoder="lexical", name="words").all_columns
        ('overview',)
    """

    columns: tuple
    encoder: str = "distil_bert_base_en_uncased"
    sequence_length: int | None = None
    pooling: str | None = "cls"
    layers: int = 1
    trainable: bool | int | str = False
    dtype: str | None = None
    preprocessor: str | None = None
    name: str = "text"
    prefix: str = ""
    lora_rank: int | None = None
    lora_blocks: int | None = None

    family, usual = TextEncoder, KerasHub
    option = "text"
    advice = (
        "Texts are read as bags of words, which needs no download. A pretrained encoder knows more: mm.Text(…, "
        "encoder='distil_bert_base_en_uncased', pooling='mean'), or the folder of one; both beside each other are often best."
    )

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Text`"), encoder=encoder_name(self.encoder))
        check_name(self.name)
        if not 1 <= len(self.columns) <= self.encoder_class(self.encoder).most_columns:
            raise ValueError(
                "A transformer reads one column, or two as a pair. "
                f"Received: {self.columns}. Use one `Text` for each, or encoder='lexical'."
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {POOLINGS}. Received: {self.pooling!r}.")
        known = isinstance(self.trainable, bool) or self.trainable == "lora"
        if not known and not (isinstance(self.trainable, int) and self.trainable > 0):
            raise ValueError(
                "`trainable` must be False, True, 'lora', or the number of top blocks to train. "
                f"Received: {self.trainable!r}. Use False to freeze."
            )
        lora.check(self)
        if isinstance(self.layers, bool) or not isinstance(self.layers, int) or self.layers < 1:
            raise ValueError(f"`layers` must be a positive int. Received: {self.layers!r}.")
        if self.pooling in ("pooled", "sentence") and self.layers > 1:
            raise ValueError(
                f"`layers` must be 1 for `pooling={self.pooling!r}`. Received: {self.layers}. Use 'cls' or 'mean'."
            )
        if self.preprocessor is not None:
            self._set(preprocessor=os.fspath(self.preprocessor))
            if not self.pretrained:
                raise ValueError(
                    "`preprocessor` goes with a pretrained encoder. "
                    f"Received: {self.preprocessor!r} with encoder={self.encoder!r}. Leave it out."
                )
        if not isinstance(self.prefix, str) or (self.prefix and not self.pretrained):
            raise ValueError(
                "`prefix` must be a str, and goes with a pretrained encoder. "
                f"Received: {self.prefix!r} with encoder={self.encoder!r}. Leave it out."
            )
        self.made_encoder().check()
        if self.sequence_length is not None and (not isinstance(self.sequence_length, int) or self.sequence_length < 8):
            raise ValueError(f"`sequence_length` must be an int of at least 8. Received: {self.sequence_length!r}.")

    @property
    def length(self):
        """The most tokens that are read of a row: `sequence_length`, which `adapt` may have learnt of the encoder, or 256."""
        return self.sequence_length or 256

    @property
    def columns_read(self):
        return dict.fromkeys(self.columns, TextColumn())

    def prepare(self, raw):
        self.check_adapted()
        first, presence = self.columns[0], self.presence(raw)
        if self.prefix:
            raw = {**raw, first: layers.FormText(self.prefix, name=f"{self.name}_prefix")(raw[first])}
        return {**super().prepare(raw), **presence}

    def presence(self, raw):
        texts = strings({column: raw[column] for column in self.columns})
        return {f"{self.name}{PRESENT}": layers.Present(name=f"{self.name}_present")(texts)}

    def train_tower(self, trainable):
        if not self.pretrained or trainable is False:
            return self
        kept = {} if trainable == "lora" else {"lora_rank": None, "lora_blocks": None}
        return dataclasses.replace(self, trainable=trainable, **kept)

    def beside(self, encoder, df):
        if self.pretrained:
            return []
        encoder = os.fspath(encoder)
        told = [column for column in self.columns if Sample(df[column]).repeated <= NAMES]
        if not self.encoder_class(encoder).tokens:
            names = unique_names(self.columns, f"{self.name}_{encoder}")
            return [Text(column, encoder, self.sequence_length, name=names[column]) for column in told]
        names = unique_names(self.columns, f"{self.name}_tower")
        length = self.sequence_length and min(256, 2 * self.sequence_length)  # of tokens
        return [Text(column, encoder, length, "mean", 3, name=names[column]) for column in told]

    @classmethod
    def add_options(cls, parser, towers=True):
        encoders = ["distil_bert_base_en_uncased", "lexical"]
        parser.add_argument("--text", type=split_names, default=[], help="text columns, separated by commas")
        parser.add_argument(
            "--text-encoder",
            type=split_names,
            default=encoders,
            help="KerasHub preset, handle or folder, 'lexical' or 'scratch'; several, separated by commas, side by side",
        )
        parser.add_argument(
            "--pooling",
            choices=["cls", "mean", "sentence"],
            default="mean",
            help="what stands for a text: its first token, the mean, or what a preset of sentences says",
        )
        parser.add_argument(
            "--sequence-length", type=int, help="most tokens of a text (256, or what the encoder takes)"
        )
        if towers:
            parser.add_argument(
                "--trainable", default="none", help="what a fine-tuning phase trains: none, all, N top blocks, or lora"
            )

    @classmethod
    def from_options(cls, options, sequences=False):
        trainable = _trainable(getattr(options, "trainable", "none"))
        modalities = []
        for column in options.text:
            for encoder in options.text_encoder:
                tokens = cls.encoder_class(encoder).tokens
                settings = {"pooling": options.pooling, "trainable": trainable} if tokens else {}
                name = f"{'text' if tokens else 'words'}_{len(modalities)}"
                modalities.append(cls(column, encoder, options.sequence_length, name=name, **settings))
        return modalities

    @classmethod
    def claims(cls, sample):
        claim = TextColumn().claim(sample)
        return [claim] if claim else []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        """One for each column, of words and word pairs: they need no download, and pretrained encoders are a setting away."""
        names = unique_names(claims, "text")
        return [cls(column, "lexical", name=names[column], **claim.settings) for column, claim in claims.items()]


def _trainable(text):
    """The option --trainable as `Text` takes it."""
    if text in ("none", "all", "lora"):
        return {"none": False, "all": True}.get(text, text)
    if not text.isdigit():
        raise ValueError(f"--trainable must be none, all, lora or a number. Received: {text!r}.")
    return int(text)

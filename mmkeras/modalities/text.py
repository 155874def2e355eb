"""Text: a pretrained transformer, a small one trained from scratch, or a bag of n-grams."""

import dataclasses
import os

import keras
import numpy as np

from mmkeras import hub, layers
from mmkeras.data.columns import check_frame, texts
from mmkeras.graph import submodel
from mmkeras.modalities.base import Modality, check_name, column_names, string_input
from mmkeras.modalities.encoders.keras_hub import (
    check_blocks,
    first_block_input,
    learn_tokenizer,
    load_pretrained,
    pooled_output,
    sequence_output,
    tokenize_layer,
)

POOLINGS = ("cls", "mean", "pooled", None)
LEXICAL_TERMS = 30_000
LEXICAL_UNITS = 32
LEXICAL_DROPOUT = 0.5
SCRATCH_SIZE = {"num_layers": 2, "num_heads": 4, "hidden_dim": 128, "intermediate_dim": 256}


@dataclasses.dataclass(frozen=True)
class Text(Modality):
    """Columns of text as one feature vector, or as a sequence of token features.

    Args:
        columns: a column name; two names make a segment pair `[CLS] a [SEP] b [SEP]`. "lexical" takes any number.
        encoder: what turns text into features:
            - a KerasHub preset name ("distil_bert_base_en_uncased"), or a handle ("hf://…", "kaggle://…");
            - a local directory in KerasHub's preset format or in Hugging Face format (config.json,
              model.safetensors, vocab.txt);
            - a TF-Hub handle ("https://tfhub.dev/…", "https://www.kaggle.com/models/…") of a BERT-like encoder, or the
              directory of its SavedModel;
            - "scratch": a small transformer (2 layers, 128 wide) with a WordPiece vocabulary learnt from the
              training rows, trained with the head;
            - "lexical": a bag of the 30,000 most frequent words and word pairs of the training rows, weighted by
              TF-IDF, times an embedding trained with the head.
        sequence_length: int, the most tokens (words, for "lexical") that are read of a row.
        pooling: "cls" (first token), "mean" (over the tokens that are not padding), "pooled" (what the encoder's own
            pooler makes of the first token; BERT has one, DistilBERT has none), or None for the full sequence.
        layers: int, how many of the top blocks' outputs are joined side by side, the features of Devlin et al., 2019
            (https://arxiv.org/abs/1810.04805, table 7). For frozen towers 3 is often better than 1.
        trainable: for a pretrained encoder: False (frozen), True (all of it), or N (its top N blocks; not for TF-Hub).
        dtype: Keras dtype policy of the transformer, for example "mixed_bfloat16"; None for Keras's default.
        preprocessor: TF-Hub handle or SavedModel directory that makes a TF-Hub encoder's tokens, such as
            bert_en_uncased_preprocess. None takes the vocabulary that comes with the encoder.
        name: str, name of the modality.

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
    sequence_length: int = 256
    pooling: str | None = "cls"
    layers: int = 1
    trainable: bool | int = False
    dtype: str | None = None
    preprocessor: str | None = None
    name: str = "text"
    state: dict = dataclasses.field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Text`"), encoder=os.fspath(self.encoder))
        check_name(self.name)
        most = 2 if self.encoder != "lexical" else 10**6
        if not 1 <= len(self.columns) <= most:
            raise ValueError(
                "A transformer reads one column, or two as a pair. "
                f"Received: {self.columns}. Use one `Text` for each, or encoder='lexical'."
            )
        if self.pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {POOLINGS}. Received: {self.pooling!r}.")
        valid = isinstance(self.trainable, bool) or (isinstance(self.trainable, int) and self.trainable > 0)
        if not valid:
            raise ValueError(
                "`trainable` must be False, True, or the number of top blocks to train. "
                f"Received: {self.trainable!r}. Use False to freeze."
            )
        if isinstance(self.layers, bool) or not isinstance(self.layers, int) or self.layers < 1:
            raise ValueError(f"`layers` must be a positive int. Received: {self.layers!r}.")
        if self.pooling == "pooled" and self.layers > 1:
            raise ValueError(
                f"`layers` must be 1 for `pooling='pooled'`. Received: {self.layers}. Use 'cls' or 'mean'."
            )
        if self.preprocessor is not None:
            self._set(preprocessor=os.fspath(self.preprocessor))
            if not self.pretrained:
                raise ValueError(
                    "`preprocessor` goes with a pretrained encoder. "
                    f"Received: {self.preprocessor!r} with encoder={self.encoder!r}. Leave it out."
                )
        if self.pretrained:
            check_blocks(self.encoder, self.trainable, self.layers)
        if not isinstance(self.sequence_length, int) or self.sequence_length < 8:
            raise ValueError(f"`sequence_length` must be an int of at least 8. Received: {self.sequence_length!r}.")

    @property
    def all_columns(self):
        return self.columns

    @property
    def pretrained(self):
        """Whether the encoder comes with weights."""
        return self.encoder not in ("scratch", "lexical")

    @property
    def normalise(self):
        return self.pretrained

    def raw_inputs(self):
        return {column: string_input(column) for column in self.columns}

    def raw_values(self, df):
        return {column: texts(df[column]) for column in self.columns}

    def lengths(self, columns):
        return sum(np.array([len(value) for value in columns[name]]) for name in self.columns)

    def adapt(self, df):
        check_frame(df, self.columns, f"modality {self.name!r}")
        raw = self.raw_values(df)
        if self.encoder == "lexical":
            state = _adapt_terms([" ".join(row) for row in zip(*raw.values(), strict=True)], self.sequence_length)
        elif self.encoder == "scratch":
            state = {"tokenizer": learn_tokenizer(np.concatenate(list(raw.values())))}
        elif self.preprocessor is not None:
            state = {}  # it brings its vocabulary along
        else:
            state = {"tokenizer": load_pretrained(self.encoder, "Tokenizer")}
        adapted = dataclasses.replace(self)
        adapted._set(state=state)
        return adapted

    def prepare(self, raw):
        if self.state is None:
            raise ValueError(
                f"Modality {self.name!r} must see training rows first. Call `adapt(df)`, and use what it returns."
            )
        columns = [raw[column] for column in self.columns]
        columns = columns[0] if len(columns) == 1 else columns
        if self.encoder == "lexical":
            layer = layers.TermWeights(
                self.state["vectorizer"], self.state["idf"], self.sequence_length, name=f"{self.name}_terms"
            )
        elif self.preprocessor is not None:
            layer = hub.HubPreprocessor(self.preprocessor, self.sequence_length, name=f"{self.name}_tokens")
        else:
            layer = tokenize_layer(self.state["tokenizer"], self.sequence_length, f"{self.name}_tokens")
        tensors = {f"{self.name}.{key}": value for key, value in layer(columns).items()}
        tensors[f"{self.name}.present"] = layers.Present(name=f"{self.name}_present")(columns)
        return tensors

    def encode(self, tensors):
        given = {key.removeprefix(f"{self.name}."): value for key, value in tensors.items()}
        if self.encoder == "lexical":
            bag = layers.TermBag(len(self.state["idf"]), LEXICAL_UNITS, LEXICAL_DROPOUT, name=f"{self.name}_bag")
            return bag(given["term_ids"], given["term_weights"])
        sequence = self._tower(given)  # (B, T, D); (B, D) if pooled
        if self.dtype is not None:
            sequence = keras.ops.cast(sequence, "float32")
        if self.pooling == "cls":
            return sequence[:, 0]
        if self.pooling == "mean":
            return layers.MaskedMean(name=f"{self.name}_mean")(sequence, given["padding_mask"])
        return sequence

    def tower_layers(self, fine_tune):
        """{layer name: whether it trains} of the pretrained tower, in a fine-tuning phase or out of it."""
        if not self.pretrained:
            return {}
        whole = self.trainable is True
        names = {f"{self.name}_tower": fine_tune and whole}
        if self.trainable and not whole:
            names[f"{self.name}_tower_top"] = fine_tune
        return names

    def _tower(self, given):
        """Run the transformer as one layer; as two, cut below the top N blocks, when only those train."""
        if self.pretrained:
            check_blocks(self.encoder, self.trainable, self.layers)  # a directory may have come since
        backbone = self._backbone()
        inputs = {key: value for key, value in backbone.input.items() if key in given}
        blocks = getattr(backbone, "transformer_layers", [])
        top = self.trainable if self.pretrained and self.trainable is not True else 0
        for setting, value in (("trainable", top), ("layers", self.layers if self.layers > 1 else 0)):
            if value > len(blocks):
                raise ValueError(
                    f"`{setting}` must be at most the number of blocks of {self.encoder!r}, which has {len(blocks)}. "
                    f"Received: {value}. Use a smaller number."
                )
        hidden = [block.output for block in blocks]
        used = [*hidden[len(hidden) - self.layers : -1], sequence_output(backbone.output)]
        if self.pooling == "pooled":
            used = [pooled_output(backbone.output, self.encoder)]
        sequence = used[0] if len(used) == 1 else keras.ops.concatenate(used, axis=-1)  # (B, T, layers · D)
        tower = lower = submodel(inputs, sequence, name=f"{self.name}_tower")
        if top:
            below = hidden[-top - 1] if top < len(hidden) else first_block_input(blocks[0])
            kept = {
                "hidden": below,
                **{f"layer_{i}": h for i, h in enumerate(used) if any(h is x for x in hidden[: -top - 1])},
            }
            lower = submodel(inputs, kept, name=f"{self.name}_tower")
            tower = submodel({**inputs, **kept}, sequence, name=f"{self.name}_tower_top")
            given = {**given, **lower({key: given[key] for key in lower.input})}
        return tower({key: given[key] for key in tower.input})

    def _backbone(self):
        if self.pretrained:
            return load_pretrained(self.encoder, "Backbone", dtype=self.dtype)
        import keras_hub

        vocabulary_size = self.state["tokenizer"].vocabulary_size()
        size = {**SCRATCH_SIZE, "max_sequence_length": self.sequence_length}
        return keras_hub.models.BertBackbone(vocabulary_size=vocabulary_size, dtype=self.dtype, **size)


def _adapt_terms(rows, max_words):
    """Vocabulary and idf of the words and word pairs of the training rows."""
    vectorizer = keras.layers.TextVectorization(LEXICAL_TERMS, ngrams=2, output_mode="count", sparse=True)
    cut = [" ".join(row.split()[:max_words]) for row in rows]
    vectorizer.adapt(cut or [""], batch_size=256)
    documents = np.zeros(vectorizer.vocabulary_size())
    for start in range(0, len(cut), 256):
        np.add.at(documents, vectorizer(cut[start : start + 256]).indices.numpy()[:, 1], 1)
    idf = np.log((1 + len(cut)) / (1 + documents)) + 1  # smoothed, as if one more row held every term once
    return {"vectorizer": vectorizer, "idf": idf.tolist()}

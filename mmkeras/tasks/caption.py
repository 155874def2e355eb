"""The task whose answer is a sentence."""

import dataclasses
import inspect
import itertools
import warnings

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.categories import group
from mmkeras.data.column import Claim
from mmkeras.data.columns import check_frame, columns_of
from mmkeras.data.sample import Sample
from mmkeras.data.targets import Sentences
from mmkeras.data.telling import shortened
from mmkeras.data.texts import texts as read_texts
from mmkeras.decoding import Settings, as_captions, decode
from mmkeras.evaluation import meteor
from mmkeras.evaluation.nearest import NearestImage, OneCaption
from mmkeras.evaluation.sections import Section
from mmkeras.evaluation.sentences import score_captions
from mmkeras.heads.decisions import unknown_settings
from mmkeras.heads.writing import DECODER, build_caption_head, patches_of, writing_head, written
from mmkeras.layers import MaskedMean
from mmkeras.layers.words import SPECIAL, CaptionTokens, count_words, learn_vocabulary, teacher_forcing
from mmkeras.losses import MaskedTokenAccuracy, MaskedTokenCrossentropy
from mmkeras.tasks.base import Task
from mmkeras.trunk.training import Training

MOST_WATCHED = 500  # validation images that are captioned after each epoch
# Measured on real photos, see benchmarks/flickr8k.py: wider beams and other penalties gain little.
DECODING = {"method": "beam", "beam_width": 5, "length_penalty": 0.9, "forbid_repeats": 2}


@dataclasses.dataclass(frozen=True)
class Caption(Task):
    """A caption for each image, written word by word; several captions per image teach it more.

    A cell holds one caption, or a list of them; rows that repeat an image are taken together. Words are those of
    `layers.plain_words`, characters in Chinese, Japanese or Thai. Captions without a word are left out with a warning, and those with more words than
    `sequence_length` leaves room for are cut and counted.

    Args:
        column: the column of captions.
        vocabulary_size: int, the most words the model knows, 4 special ones among them.
        min_count: int, words seen less often in training are unknown words.
        sequence_length: int, words of a caption, start and end among them.
        label_smoothing: float, see `losses.MaskedTokenCrossentropy`.
        decoding: dict of settings of `decoding.decode` for `predict`, `evaluate` and `export`; None for a beam of 5 that
            gives no two words twice. `mm.generate` takes others.
        vocabulary: list of words, learnt by `fit` from the training captions alone.

    Predictions: a caption and its score, the log-probability of its words.

    Raises:
        ValueError: a setting outside its range.

    Example:
        >>> import mmkeras as mm
        >>> mm.Caption("caption", min_count=4).vocabulary_size
        20000
    """

    vocabulary_size: int = 20_000
    min_count: int = 2
    sequence_length: int = 64
    label_smoothing: float = 0.0
    decoding: dict | None = None
    vocabulary: tuple | None = None

    primary = "cider"
    metric_names = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
    rivals = (OneCaption, NearestImage)
    sequences = True
    option = "caption"
    option_help = "target column of captions of the images"

    def __post_init__(self):
        super().__post_init__()
        for name, least in (("vocabulary_size", 5), ("min_count", 1), ("sequence_length", 3)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(
                    f"`{name}` of `Caption` must be an int of at least {least}. Received: {value!r}. "
                    "The vocabulary holds 4 special words, and a caption its start and end."
                )
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"`label_smoothing` must lie in [0, 1). Received: {self.label_smoothing!r}.")
        if not isinstance(self.decoding or {}, dict):
            raise ValueError(f"`decoding` must be a dict of settings. Received: {self.decoding!r}.")
        unknown_settings([field.name for field in dataclasses.fields(Settings)], self.decode_settings, "`decoding`")
        Settings(**self.decode_settings)
        if self.vocabulary is not None:
            self._set(vocabulary=tuple(self.vocabulary))

    @classmethod
    def claim(cls, samples, modalities=()):
        """Sentences, where there are pictures that they can be about."""
        sample, pictures = samples[0], [c for m in modalities for c in m.columns_read.values() if c.picture]
        if len(samples) > 1 or not pictures or (sample.texts is None and sample.lists is None):
            return None
        if sample.lists is not None:
            texts = [text for cell in sample.lists for text in cell]
            if not texts or not all(isinstance(text, str) for text in texts):
                return None
            import pandas as pd

            sample = Sample(pd.Series(texts, name=sample.name))
        if sample.words < 3 or sample.repeated > 2:
            return None
        return Claim(0.97, f"sentences of {sample.words:.0f} words on average, beside pictures", "caption")

    @property
    def decode_settings(self):
        """Settings of `decoding.decode`."""
        return {"max_length": self.sequence_length - 1, **(DECODING if self.decoding is None else self.decoding)}

    def group(self, df, columns):
        """Rows of one image as one: a copy of `df` with a list of captions in each cell, in the order of first rows.

        Args:
            df: DataFrame.
            columns: names of the columns that tell images apart.

        Raises:
            ValueError: no caption has a word; a cell that is neither a string, a list of strings, nor empty.
        """
        import pandas as pd

        check_frame(df, [*columns, self.column])
        cells = sentences_of(df[self.column])
        texts = [text for cell in cells for text in cell]
        counts = count_words(texts) if texts else np.zeros(0, int)
        words = iter(counts)
        kept = [[text for text in cell if next(words)] for cell in cells]
        codes, _ = group(df[list(columns)])
        captions = [[] for _ in range(codes.max(initial=-1) + 1)]
        for code, cell in zip(codes, kept, strict=True):
            captions[code] += cell
        empty = len(texts) - sum(map(len, kept))
        bare = sum(not some for some in captions)
        if empty or bare:
            warnings.warn(
                f"{empty} of {len(texts)} captions hold no word, and {bare} of {len(captions)} images have no caption: left out.",
                stacklevel=3,
            )
        if bare == len(captions):
            raise ValueError(
                f"The target {self.column!r} must hold captions. Received: none with a word in {len(df)} rows. "
                "Check the column."
            )
        first = pd.Series(range(len(df))).groupby(codes).first().to_numpy()
        grouped = df.iloc[first].copy()
        grouped[self.column] = pd.Series(captions, index=grouped.index, dtype=object)
        return grouped[[bool(some) for some in captions]]

    def units(self, df, modalities):
        return self.group(df, list(columns_of(modalities)))

    def adapt(self, df):
        texts = [text for cell in sentences_of(df[self.column]) for text in cell]
        room = self.sequence_length - 2
        cut = int((count_words(texts) > room).sum())
        if cut:
            warnings.warn(f"{cut} of {len(texts)} captions have more than {room} words and are cut.", stacklevel=5)
        words = self.settings.vocabulary or learn_vocabulary(texts, self.vocabulary_size, self.min_count)
        return self.settings.learn(vocabulary=tuple(words))

    def target(self, df):
        """`Sentences` of grouped rows, see `group`."""
        cells = sentences_of(df[self.column])
        texts = [text for cell in cells for text in cell]
        tokens = CaptionTokens(list(self.vocabulary), self.sequence_length)(tf.constant(texts)).numpy()
        return Sentences(cells, tokens, self.column)

    # --- model

    def check_settings(self, names, fusion="concat", **settings):
        unknown_settings(
            (*inspect.getfullargspec(build_caption_head).kwonlyargs, *DECODER), settings, "A head for Caption"
        )
        if fusion != "concat":
            raise ValueError(
                f"A head for Caption puts the patches of all modalities side by side. Received: fusion={fusion!r}. "
                "Leave it out."
            )

    def head_choices(self, modalities):
        return {"width": [512, 256], "dropout": [0.4, 0.2, 0.55], "tied": [], "heads": [], "first_state": []}

    def build_head(self, inputs, target=None, fusion="concat", **settings):
        return build_caption_head(inputs, self, **settings)

    def training(self, head, loss=None):
        return Training(
            model=head,
            losses={self.column: MaskedTokenCrossentropy(self.label_smoothing) if loss is None else loss},
            metrics={self.column: [MaskedTokenAccuracy()]},
            loss_weights={self.column: 1.0},
            main=self.column,
        )

    def watch(self, predict, df):
        return [] if df is None else [WatchCider(predict, df, self.column)]

    def embedding(self, head, side=None):
        """The mean of the patches that are there."""
        if side is not None:
            return super().embedding(head, side)
        return MaskedMean()(head.get_layer("patches").output, head.get_layer("patch_mask").output)

    # --- predictions

    def write(self, run, head, grid=None, **settings):
        """`Captions` by the task's way of decoding, or by other settings of `decoding.decode`."""
        settings = {**self.decode_settings, **settings}
        decoder = head.get_layer("decoder")

        def each(outputs, rows):  # a sampled caption depends on the row's number, not on batches
            return decode(decoder, outputs["patches"], outputs["mask"], rows=rows, **settings)

        return as_captions(run(patches_of(head), each), list(self.vocabulary), grid)

    def predict(self, run, head, **settings):
        captions = self.write(run, head, **settings)
        return written(captions.texts, captions.log_probabilities)

    def frame(self, predictions, index):
        """Captions under the target's name, and "score", the log-probability of their words."""
        import pandas as pd

        return pd.DataFrame({self.column: predictions["text"], "score": predictions["score"]}, index=index)

    # --- explanations

    worth_name = "log-probability"

    def chosen(self, choice, predictions):
        """((R, 2, T) words of the captions and which of them count, all or those that a user named; R captions or that word)."""
        texts = predictions["text"].tolist()
        numbered = CaptionTokens(list(self.vocabulary), self.sequence_length)
        tokens = numbered(tf.constant(texts)).numpy()
        if choice is None:
            return np.stack([tokens, tokens > 0], axis=1).astype("int32"), tuple(texts)
        word = (
            numbered(tf.constant([choice])).numpy()[0, 1]
            if isinstance(choice, str) and count_words([choice]) == 1
            else 0
        )
        if word < len(SPECIAL):
            raise ValueError(
                f"`choice` must be None, for the whole caption, or a word that the model knows. Received: {choice!r}."
            )
        counted = tokens == word
        lacking = (~counted.any(axis=1)).sum()
        if lacking:
            raise ValueError(
                f"`choice` must stand in the caption that the model writes of each row. Received: {choice!r}, which {lacking:,} of "
                f"{len(texts):,} lack. Explain the rows where it does: pipe.predict(df)[{self.column!r}].str.contains({choice!r})."
            )
        return np.stack([tokens, counted], axis=1).astype("int32"), (self.vocabulary[word],) * len(texts)

    def explained(self, head):
        """The patches, and what the words of a caption are worth of them: the logarithm of their probability, each after those before it."""
        decoder = head.get_layer("decoder")

        def worth(outputs, outcomes):
            read, said = teacher_forcing(outcomes[:, 0])
            logits = decoder(read, outputs["patches"], outputs["mask"])
            each = keras.ops.take_along_axis(keras.ops.log_softmax(logits), said[..., None], axis=-1)[..., 0]
            return keras.ops.sum(keras.ops.cast(outcomes[:, 1, 1:], each.dtype) * each, axis=1)

        return patches_of(head), worth

    def decide(self, predictions):
        return list(predictions["text"])

    def read(self, target):
        """A caption of each row, of those there are."""
        return [texts[0] for texts in target.texts]

    def score(self, target, predictions):
        return score_captions(list(predictions["text"]), target.texts).weighted

    def sections(self, target, predictions, pictures=None):
        if pictures is None:
            return []
        import pandas as pd

        captions = list(predictions["text"])
        scores = score_captions(captions, target.texts).table["cider"].to_numpy()
        table = pd.DataFrame(
            {"image": list(pictures), "caption": captions, "references": target.texts, "score": scores}
        )
        table = table.sort_values("score", ascending=False, ignore_index=True, kind="stable")
        return [
            Section("gallery", "Captions", table, notes=[meteor.note()] if meteor.installed() else [], gallery=True)
        ]

    # --- serving

    def serving(self, head):
        """By the task's way of decoding, and "serve_greedy" by the fastest."""
        return {
            "serve": writing_head(head, self, **self.decode_settings),
            "serve_greedy": writing_head(head, self, max_length=self.sequence_length - 1),
        }


class WatchCider(keras.callbacks.Callback):
    """CIDEr-D of greedy captions of the validation images after each epoch, in the logs as "val_cider".

    `keras.callbacks.EarlyStopping("val_cider", mode="max", restore_best_weights=True)` can follow it.
    """

    def __init__(self, predict, df, column):
        super().__init__()
        self.predict, self.df, self.column = predict, df.head(MOST_WATCHED), column

    def on_epoch_end(self, epoch, logs=None):
        texts = list(self.predict(self.df, method="greedy")["text"])
        if logs is not None:
            logs["val_cider"] = score_captions(texts, list(self.df[self.column])).metrics["cider"]


def sentences_of(series):
    """A list of the sentences of each cell of a pandas Series: none of an empty one; see `data.texts.texts`.

    Raises:
        ValueError: a cell that is neither a string, bytes, a list of these, nor empty.

    Example:
        >>> import pandas as pd
        >>> sentences_of(pd.Series(["a dog", None, [b"a cat", "cats"]]))
        [['a dog'], [], ['a cat', 'cats']]
    """
    import pandas as pd

    lists = [_as_list(cell, series.name) for cell in series]
    read = iter(read_texts(pd.Series([text for cell in lists for text in cell], dtype=object, name=series.name)))
    return [list(itertools.islice(read, len(cell))) for cell in lists]


def _as_list(cell, column):
    import pandas as pd

    cells = list(cell) if isinstance(cell, list | tuple | np.ndarray | pd.Series) else [cell]
    # What is missing is no caption; a list in a list is none, either.
    cells = [text for text in cells if isinstance(text, str | bytes) or np.ndim(text) or not pd.isna(text)]
    if all(isinstance(text, str | bytes) for text in cells):
        return cells
    raise ValueError(
        f"Cells of {column!r} must be captions or lists of captions. Received: {shortened(cell)}. Convert the column first."
    )

"""What `auto_model` reads and answers: AutoKeras's node or head, its arrays, and what takes their place in a Pipeline.

Importing this file imports AutoKeras.
"""

import abc

import autokeras as ak
import keras
import numpy as np

from mmkeras import layers
from mmkeras.data.batches import Order, stream
from mmkeras.data.columns import raw_values
from mmkeras.graph import compiled
from mmkeras.layers.text import plain_spaces
from mmkeras.modalities import AdoptedImage, AdoptedTabular, AdoptedText
from mmkeras.search.autokeras.blocks import ClassificationHead, RegressionHead
from mmkeras.tasks import MultiClass, MultiLabel, Regression


class Source(abc.ABC):
    """Columns that one input of AutoKeras reads.

    Attributes:
        modality: how the Pipeline reads them.
        node: AutoKeras's input.
    """

    def __init__(self, modality, node):
        self.modality, self.node = modality, node

    def look(self, df):
        """Learn what the columns are from training rows."""
        return None

    @abc.abstractmethod
    def array(self, df):
        """(rows, …) what AutoKeras's input takes."""

    @abc.abstractmethod
    def prepare(self, steps):
        """keras.Model from raw values to tensors, the first of them what the searched model takes.

        Args:
            steps: AutoKeras's preprocessors of this input, fitted.
        """


class TextSource(Source):
    """A column of text."""

    def __init__(self, column):
        super().__init__(AdoptedText(column, encoder="scratch", name="text"), ak.TextInput(name="text"))

    def array(self, df):
        return next(iter(raw_values(df, [self.modality]).values())).astype(str)

    def prepare(self, steps):
        """Raw strings → {"text.tokens": (B, T) as AutoKeras's TextTokenizer numbers words, "text.present"}."""
        ((column, text),) = self.modality.inputs().items()
        words = list(steps[-1].vocab)
        vectorize = keras.layers.TextVectorization(
            standardize=plain_spaces, split="whitespace", output_sequence_length=steps[-1].max_len, vocabulary=words or None,
            name="text_words",
        )  # fmt: skip
        # Keras: 0 padding, 1 unknown, words from 2 on. AutoKeras: 0 for both, words from 1 on.
        tokens = keras.ops.cast(keras.ops.maximum(vectorize(text) - 1, 0), "int32")
        return keras.Model(
            {column: text}, {"text.tokens": tokens, "text.present": layers.Present(name="text_present")(text)}
        )


class StructuredSource(Source):
    """Columns of numbers and categories: numbers by their type, and not, as AutoKeras does, by how often values repeat."""

    def __init__(self, columns):
        node = ak.StructuredDataInput(name="structured")
        super().__init__(AdoptedTabular(numeric=columns, name="structured"), node)

    def look(self, df):
        import pandas as pd

        columns = self.modality.all_columns
        numeric = [column for column in columns if pd.api.types.is_numeric_dtype(df[column])]
        categorical = [column for column in columns if column not in numeric]
        self.modality = AdoptedTabular(numeric, categorical, name="structured").reading(df)
        self.node.column_names = list(self.modality.all_columns)
        self.node.column_types = {**dict.fromkeys(numeric, "numerical"), **dict.fromkeys(categorical, "categorical")}

    def array(self, df):
        raw = raw_values(df, [self.modality])
        return np.stack([raw[column].astype(object) for column in self.modality.all_columns], axis=1)

    def prepare(self, steps):
        """Raw numbers and categories → {"structured.values": (B, K) as AutoKeras numbers categories, "structured.present"}."""
        modality, encoder = self.modality, steps[-1]
        inputs, columns, present = modality.inputs(), [], []
        for number, (column, raw) in enumerate(inputs.items()):
            value = modality.readers[column].read(raw, f"structured_read_{number}")
            if column in modality.numeric:
                value = keras.ops.cast(value, "float32")
                columns.append(keras.ops.where(keras.ops.isnan(value), 0.0, value))
                present.append(layers.AnyNumber(name=f"structured_any_{number}")(value[:, None]))
                continue
            labels = encoder.encoders[number].labels
            lookup = keras.layers.StringLookup(
                vocabulary=labels, mask_token=None, oov_token="(never seen)", name=f"structured_lookup_{number}"
            )
            place = lookup(value)  # 0 for a category never seen, which AutoKeras numbers last
            columns.append(keras.ops.cast(keras.ops.where(place > 0, place - 1, len(labels)), "float32"))
            present.append(layers.Present(name=f"structured_present_{number}")(value))
        there = present[0] if len(present) == 1 else keras.ops.max(keras.ops.stack(present), axis=0)
        return keras.Model(inputs, {"structured.values": keras.ops.stack(columns, axis=1), "structured.present": there})


class _ImageInput(ak.ImageInput):
    """An image input with a given kind of block."""

    block_type = None

    def get_block(self):
        return ak.ImageBlock(block_type=self.block_type)


class ImageSource(Source):
    """A column of images."""

    def __init__(self, column, size, block):
        node = _ImageInput(name="image")
        node.block_type = block
        super().__init__(AdoptedImage(column, encoder="scratch", image_size=tuple(size), name="image"), node)

    def array(self, df):
        raw = raw_values(df, [self.modality])
        return np.concatenate(
            [t["image.pixels_0"] for _, t in stream(raw, Order(64), prepare=compiled(self.prepare(())))]
        )

    def prepare(self, steps):
        """Raw files → {"image.pixels_0": (B, H, W, 3), "image.each_present", "image.present"}."""
        inputs = self.modality.inputs()
        return keras.Model(inputs, self.modality.prepare(inputs))


class Answers:
    """What AutoKeras answers.

    Args:
        task: how the Pipeline reads the target; `array` takes the adapted one.
        head: AutoKeras's head.
    """

    def __init__(self, task, head):
        self.task, self.head = task, head

    def array(self, task, df):
        """(rows, …) what AutoKeras's head learns."""
        return task.target(df).values

    def predictions(self, task, answers):
        """The head's answers (B, …) as the task's predictions."""
        return answers


class ClassAnswers(Answers):
    """One class of several; of two classes, AutoKeras tells the chance of the second."""

    def array(self, task, df):
        numbers, count = task.target(df).values, len(task.classes)
        return numbers[:, None] if count == 2 else np.eye(count, dtype="float32")[numbers]

    def predictions(self, task, answers):
        return keras.ops.concatenate([1.0 - answers, answers], axis=1) if len(task.classes) == 2 else answers


def answers_of(target, multi_label=False, regression=False):
    """`Answers` in a target column, see `auto_model`."""
    if multi_label:
        return Answers(MultiLabel(target), ClassificationHead(multi_label=True))
    if regression:
        return Answers(Regression(target, transform="none"), RegressionHead())
    return ClassAnswers(MultiClass(target), ClassificationHead())

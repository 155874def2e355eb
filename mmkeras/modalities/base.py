"""The contract of a modality: what some columns mean, and how they become features."""

import dataclasses
import hashlib

import keras


@dataclasses.dataclass(frozen=True)
class Modality:
    """Base of `Text` and `Tabular`. Settings are plain values, fixed after construction.

    A modality takes part in two stages. `prepare` turns raw columns into tensors and has no trainable weights;
    `encode` turns those tensors into features. What `prepare` learns from the training rows (vocabularies,
    means) is learnt by `adapt`, which returns an adapted copy and leaves the original as it was.
    """

    # Whether the head should bring the feature to mean 0 and variance 1 first.
    normalise = False
    # Whether the feature is so small that leaving parts of it out in training would lose too much.
    few_features = False

    @property
    def all_columns(self):
        """Every column read, as a tuple of names."""
        raise NotImplementedError

    @property
    def column_kinds(self):
        """{column: how its raw values are read}, in a word; modalities that share a column must agree on it."""
        return dict.fromkeys(self.all_columns, type(self).__name__.lower())

    def raw_inputs(self):
        """{column: keras.Input} of the raw values."""
        raise NotImplementedError

    def raw_values(self, df):
        """{column: array} of the raw values of `df`, in the form of `raw_inputs`."""
        raise NotImplementedError

    def adapt(self, df):
        """A copy that has learnt from the training rows `df`."""
        raise NotImplementedError

    def prepare(self, raw):
        """{column: tensor} → {"name.tensor": tensor}, "name.present" (B, 1) among them."""
        raise NotImplementedError

    def encode(self, tensors):
        """{"name.tensor": tensor} → features (B, D) or (B, T, D)."""
        raise NotImplementedError

    def tower_layers(self, fine_tune):
        """{layer name: whether it trains} of the pretrained tower in `encode`, in a fine-tuning phase or out of it."""
        return {}

    def lengths(self, columns):
        """How long each row is, as far as padding depends on it: (rows,) ints; 0 where nothing is padded."""
        return 0

    def row_keys(self, columns):
        """A 16-byte digest of the raw values of each row: equal rows have equal keys in every process."""
        values = [columns[name] for name in self.all_columns]
        return [digest(row) for row in zip(*values, strict=True)]

    def notes(self, df):
        """Sentences about the rows of `df` that a report should hold."""
        return []

    def get_config(self):
        """The settings as plain values, for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self) if f.init}

    def _set(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)


def digest(values):
    """16 bytes that stand for a sequence of strings, bytes or arrays."""
    state = hashlib.blake2b(digest_size=16)
    for value in values:
        data = value.encode() if isinstance(value, str) else bytes(value)
        state.update(len(data).to_bytes(8, "little") + data)
    return state.digest()


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def column_names(columns, what):
    """A name or a sequence of names as a tuple of unique names.

    Raises:
        ValueError: no name, or the same one twice.
    """
    names = (columns,) if isinstance(columns, str) else tuple(columns)
    if len(set(names)) != len(names) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"{what} must be column names, each once. Received: {columns!r}. Give a string or a list.")
    return names


def check_name(name):
    """Names of modalities become parts of layer names."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"`name` must be a Python identifier such as 'text'. Received: {name!r}. Rename the modality.")


def string_input(column):
    """An input of one string per row."""
    return keras.Input(shape=(), dtype="string", name=input_name(column))


def input_name(column):
    """A name for a column's input layer, in the letters that TensorFlow allows for names in graphs."""
    safe = "".join(c if c.isalnum() and c.isascii() else "_" for c in column)
    return safe if safe[:1].isalnum() else f"column_{safe}"

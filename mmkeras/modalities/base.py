"""The contract of a modality: what some columns mean, and how they become features."""

import dataclasses
import itertools
import re
import warnings

import keras

from mmkeras.data.columns import check_frame, inputs_of, raw_values
from mmkeras.data.frames import column_labels
from mmkeras.modalities.encoders import lora
from mmkeras.modalities.encoders.base import find_encoder
from mmkeras.registry import Learner

# What `prepare` says beside a modality's tensors, as keys "name" + ending; a fusion and a head read nothing else.
PRESENT = ".present"  # (B, 1), 1 where the row has the modality
PADDING = ".padding_mask"  # (B, T), 1 where a position of the sequence is no padding
EACH_PRESENT = ".each_present"  # (B, N), for a sequence of N equal parts, 1 where the row has that part


@dataclasses.dataclass(frozen=True)
class Modality(Learner):
    """Base of `Text`, `Image` and `Tabular`. Settings are plain values, fixed after construction.

    A modality takes part in two stages. `prepare` turns raw columns into tensors and has no trainable weights;
    `encode` turns those tensors into features. What `prepare` learns from the training rows (vocabularies,
    means) is learnt by `adapt`, which returns an adapted copy and leaves the original as it was.

    A concrete one is a frozen dataclass with a field `name`. It writes `columns_read`, `prepare` and `encode`, and
    `adapt` if it learns; names of its layers begin with its name. The attributes below tell what else differs.
    `mmkeras.testing.check_modality` tells what is wrong with one.

    Example:
        >>> import dataclasses, keras, mmkeras as mm
        >>> from mmkeras.data.columns import NumberColumn
        >>> @dataclasses.dataclass(frozen=True)
        ... class Share(Modality):
        ...     column: str
        ...     most: float = None
        ...     name: str = "share"
        ...
        ...     @property
        ...     def columns_read(self):
        ...         return {self.column: NumberColumn()}
        ...
        ...     def adapt(self, df):
        ...         return self.learn(most=float(df[self.column].max()))
        ...
        ...     def prepare(self, raw):
        ...         value = raw[self.column][:, None]
        ...         present = keras.ops.cast(~keras.ops.isnan(value), "float32")
        ...         return {"share.value": keras.ops.nan_to_num(value) / self.most, "share.present": present}
        ...
        ...     def encode(self, tensors):
        ...         return keras.layers.Dense(4, name="share_dense")(tensors["share.value"])
        >>> mm.build_prepare([Share("runtime").adapt(mm.samples.movies(20, seed=0))]).output["share.value"].shape
        (None, 1)
    """

    # Whether the head should bring the feature to mean 0 and variance 1 first.
    normalise = False
    # Whether features have one scale that all their numbers share, so that no head brings each to variance 1.
    scaled = False
    # Whether the feature is so small that leaving parts of it out in training would lose too much.
    few_features = False
    # Whether the encoder comes with weights of its own, which stay frozen unless `trainable` names them.
    pretrained, trainable = False, False
    # "heavy" where preparing a row takes so long (decoding of images) that other rows should be encoded meanwhile.
    preparing = "light"
    # Whether it gives a sequence (B, T, D), which attention can read.
    sequence = False
    # The command line's option for its columns, without dashes, and what it says of it; None for no option.
    option = None
    option_help = ""
    # A sentence that `mm.suggest` says of one that it suggests.
    advice = ""

    @property
    def columns_read(self):
        """{column name: `data.columns.Column`, how its cells are read}."""
        raise NotImplementedError

    @property
    def readers(self):
        """`columns_read`, each with what it learnt of how the training cells are written; see `reading`."""
        return self.__dict__.get("_readers", self.columns_read)

    def reading(self, df):
        """A copy whose columns know from the training rows `df` how they are written, and what they hold; see `data.column.Column`."""
        check_frame(df, self.columns_read, f"modality {self.name!r}")
        return self.read_by(
            {name: column.adapt(df[name]).remember(df[name]) for name, column in self.columns_read.items()}
        )

    def read_by(self, readers):
        """A copy whose columns are read by {name: Column}."""
        return self._copy(_readers=readers)

    def raw_values(self, df):
        """{column: array} of what it reads of `df`; before `adapt`, its columns learn from `df` itself how they are written."""
        return raw_values(df, [self if "_readers" in vars(self) else self.reading(df)])

    def check_values(self, values, index):
        """Raise a ValueError where raw values of its columns do not go together; as a rule they do.

        Args:
            values: {column: array}, see `raw_values`.
            index: of the rows.
        """
        return None

    @property
    def all_columns(self):
        """Names of every column read, as a tuple."""
        return tuple(self.columns_read)

    def inputs(self):
        """{column: keras.Input} of the raw values."""
        return inputs_of(self.readers)

    def adapt(self, df):
        """A copy that has learnt from the training rows `df`."""
        return self.learn()

    def prepare(self, raw):
        """{column: tensor} → {"name.tensor": tensor}, "name.present" (B, 1) among them.

        Sequences say in "name.padding_mask" (B, T) or "name.each_present" (B, N) what of them is there.
        """
        raise NotImplementedError

    def encode(self, tensors):
        """{"name.tensor": tensor} → features (B, D) or (B, T, D)."""
        raise NotImplementedError

    def tower_layers(self, fine_tune):
        """{layer name: whether it trains} of the pretrained tower in `encode`, in a fine-tuning phase or out of it."""
        return {}

    def add_adapters(self, encode):
        """Let its tower in `encode` have adapters where they train in place of the tower's own weights."""
        return None

    def grid(self, encode):
        """(h, w) of the sequence in `encode` where it is a grid of patches of one image, else None."""
        return None

    def notes(self, df):
        """Sentences about the rows of `df` that a report should hold."""
        return []

    def choices(self):
        """{setting of `search`'s space: values} that it brings along, the first of them what a search begins with."""
        return {}

    def train_tower(self, trainable):
        """The modality with this value of `trainable`, or itself where its tower cannot be trained so."""
        return self

    def beside(self, encoder, df):
        """Modalities, a list, that read the same columns by another encoder, where it is one for what they hold in a DataFrame."""
        return []

    def alike(self, inputs):
        """What of a row may be compared with another: ([(B, D) vectors, …], [[(B, T) ids, (B, T) weights], …], [sizes of vocabularies]).

        None where nothing stands before training, as of towers from scratch.

        Args:
            inputs: `HeadInputs`, called with the keys of features and of what `prepare` gave.
        """
        if not self.pretrained:
            return None
        there = keras.ops.cast(inputs.present(self.name), "bool")
        vector = keras.layers.UnitNormalization(dtype="float32")(inputs.vector(self.name))
        return [keras.ops.where(there, vector, keras.ops.zeros_like(vector))], [], []

    def entrances(self, encode):
        """{name: `Entrance`} at which `explain` looks into it; {} where it is not differentiable."""
        return {}

    def recalled(self, prepare):
        """A copy that knows what `entrances` and `pieces` read of `state`, from the layers of a loaded model's `prepare`; no state is saved."""
        return self

    # Whether `pieces` are the words of a text in their order.
    reads_in_order = False

    def pieces(self, tensors, given):
        """What each part of it gave, a list of rows: [(text, number), …], or an array (H, W) of a picture.

        Args:
            tensors: {key: array} of what `prepare` gave of B rows.
            given: {name of an entrance: (B, …) array} of what passes there, summed over the last axis where it has three or more.
        """
        raise NotImplementedError

    def own(self, tensors):
        """{key: tensor} of the tensors that `prepare` gave, without the modality's name."""
        return {key.removeprefix(f"{self.name}."): value for key, value in tensors.items()}

    def check_adapted(self):
        """Raise a ValueError unless it has seen training rows."""
        if self.state is None:
            raise ValueError(
                f"Modality {self.name!r} must see training rows first. Call `adapt(df)`, and use what it returns."
            )

    @classmethod
    def add_options(cls, parser, towers=True):
        """Add its options to the command line's argparse parser, or group; `towers` where a command trains towers, too."""
        if cls.option:
            parser.add_argument(
                f"--{cls.option}", type=split_names, default=[], metavar="COLUMNS", help=cls.option_help
            )

    @classmethod
    def from_options(cls, options, sequences=False):
        """The modalities, a list, that the options of `add_options` ask for; `sequences` where the task reads those."""
        columns = getattr(options, cls.option.replace("-", "_")) if cls.option else []
        return [cls(columns)] if columns else []

    @classmethod
    def claims(cls, sample):
        """What it would read a column as, by some of its cells, a `data.sample.Sample`: a list of `data.column.Claim`.

        A class that takes part in `mm.suggest` writes it itself.
        """
        return []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        """The modalities, a list, of columns that are its own, {column: `Claim`}; `sequences` where the task reads those."""
        return [cls(list(claims))]


class EncodedModality(Modality):
    """Base of modalities with `columns` and a setting `encoder`, of which an `encoders.Encoder` makes the features."""

    # The base of the encoders it can have, and the one for what no other reads.
    family = usual = None
    # See `Text` and `Image`.
    lora_rank = None

    # What its files hold, in a word; None where cells are no files.
    things = None
    # Shares of dropout that a search tries on a pretrained tower's features, of which there are many.
    dropouts = ()

    def notes(self, df):
        if self.things is None:
            return []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it was said when the rows were read
            faulty = {column: files for column, files in raw_values(df, [self]).items() if files.faulty}
        return [
            f"{files.faulty} of {files.count} {self.things} in {column!r} could not be read and counted as missing."
            for column, files in faulty.items()
        ]

    @classmethod
    def encoder_class(cls, encoder):
        """The class that a value of `encoder` names."""
        return find_encoder(cls.family, encoder, cls.usual)

    def made_encoder(self):
        """The encoder, with these settings and this state."""
        return self.encoder_class(self.encoder)(self)

    def choices(self):
        return {f"dropout_{self.name}": list(self.dropouts)} if self.pretrained and self.dropouts else {}

    @property
    def pretrained(self):
        return self.encoder_class(self.encoder).pretrained

    @property
    def normalise(self):
        return self.made_encoder().normalise

    @property
    def scaled(self):
        return self.made_encoder().scaled

    @property
    def sequence(self):
        return self.made_encoder().sequence

    def adapt(self, df):
        reading = self.reading(df)
        return reading.learn(**reading.made_encoder().adapt(df))

    def prepare(self, raw):
        raw = {column: raw[column] for column in self.columns}
        tensors = {f"{self.name}.{key}": tensor for key, tensor in self.made_encoder().prepare(raw).items()}
        return {**tensors, **self.presence(raw)}

    def presence(self, raw):
        """{"name.present": (B, 1)} of {column: raw values}, and which columns are there, where that matters."""
        raise NotImplementedError

    def encode(self, tensors):
        return self.made_encoder().encode(self.own(tensors))

    def alike(self, inputs):
        return self.made_encoder().alike(inputs) or super().alike(inputs)

    def entrances(self, encode):
        return self.made_encoder().entrances(encode)

    def recalled(self, prepare):
        return self.learn(**self.made_encoder().recall({layer.name: layer for layer in prepare.layers}))

    @property
    def reads_in_order(self):
        return self.made_encoder().tokens

    def pieces(self, tensors, given):
        return self.made_encoder().pieces(self.own(tensors), given)

    def add_adapters(self, encode):
        if self.trainable == "lora":
            for name, trains in self.tower_layers(True).items():
                if trains:
                    lora.add_adapters(encode.get_layer(name), self.lora_rank or lora.RANK, repr(self.encoder))

    def tower_layers(self, fine_tune):
        return self.made_encoder().tower_layers(fine_tune)


def adapt(modality, df):
    """A modality that has learnt from the training rows, its columns too, whether or not its `adapt` thinks of those."""
    learnt = modality.adapt(df)
    return learnt if "_readers" in vars(learnt) else learnt.reading(df)


def split_names(text):
    """Names separated by commas, as a list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def column_names(columns, what):
    """A name or a sequence of names as a tuple of unique strings, see `column_label`.

    Raises:
        ValueError: no name, or the same one twice.
    """
    names = tuple(column_labels(columns))
    if len(set(names)) != len(names) or not all(names):
        raise ValueError(f"{what} must be column names, each once. Received: {columns!r}. Give a string or a list.")
    return names


def check_name(name):
    """Names of modalities become parts of layer names."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"`name` must be a Python identifier such as 'text'. Received: {name!r}. Rename the modality.")


def unique_names(columns, what):
    """{column: name of a modality that reads it alone}: different identifiers that begin with `what`.

    Args:
        columns: names of columns; the name of a lone one is `what`.
        what: str, an identifier.

    Example:
        >>> unique_names(["title", "plot (in short)", "Title"], "text")
        {'title': 'text_title', 'plot (in short)': 'text_plot_in_short', 'Title': 'text_Title_2'}
    """
    names, columns = {}, list(columns)
    for column in columns if len(columns) > 1 else []:
        name = re.sub("[^A-Za-z0-9]+", "_", column).strip("_")
        name = name if name.startswith(f"{what}_") else f"{what}_{name}".rstrip("_")
        taken = {other.lower() for other in names.values()}
        numbers = (f"{name}_{number}" for number in itertools.count(2))
        names[column] = next(each for each in itertools.chain([name], numbers) if each.lower() not in taken)
    return names or dict.fromkeys(columns, what)

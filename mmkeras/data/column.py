"""The contract of a column: how its cells are read, told from others, measured, and shown."""

import abc
import copy
import dataclasses

import keras

from mmkeras.data.drift import LEAST_MISSING, MUCH, Drift, exceeds, spread
from mmkeras.data.telling import quiet
from mmkeras.persistence import argument_name


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a reader says of the cells of a column, or of a target: that they may be its own, how likely that is, and why.

    Args:
        strength: float: 1 where nothing else can be meant, as of datetimes; .9 where the form of the cells says so; .8 where it
            follows from how they repeat; .5 where another reading may be right.
        why: str, what was seen, such as "numbers from 3 to 20".
        reads: str, in a word what they would be read as.
        doubt: str, what speaks against it, or ''.
        settings: {name: value} of the modality, or task, that would read them.
        unread: list of some cells that it could not read.
        of_things: bool, whether a cell names a thing that several rows may be about, such as a picture.
        several: bool, whether a cell may name several of those.
        values: (rows,) what it reads of the sampled rows; None where nothing is compared with it.
    """

    strength: float
    why: str
    reads: str
    doubt: str = ""
    settings: dict = dataclasses.field(default_factory=dict)
    unread: list = dataclasses.field(default_factory=list)
    of_things: bool = False
    several: bool = False
    values: object = dataclasses.field(default=None, repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class Column(abc.ABC):
    """How the cells of a column become raw values, one for each row.

    Fields are plain values: what `adapt` learnt of how the training cells are written, such as whether the day comes first. They
    are saved with a model. A concrete one writes `reads` and `values`, and more where its cells are no short texts.

    Args:
        usual: plain values about what training cells held, see `remember`; None where nobody knows.
    """

    usual: dict | None = dataclasses.field(default=None, kw_only=True, compare=False, repr=False)

    reads = "value"  # in a word; a column that is read in several ways is kept as it was written
    dtype = "string"  # of the raw values
    shape = ()  # of one raw value; (D,) where cells are lists of D numbers
    words = False  # whether its cells are words, which simple models of words can read
    files = False  # whether its cells hold files, as paths or bytes, which only their own reader can look into
    picture = False  # whether its cells are pictures, which a report shows
    drawn = False  # whether a page shows its cells as `html` draws them, and not in words
    # What `adapt` found of how cells are written, for people.
    how = ""
    # Whether `read` also takes cells as they were written, as strings.
    reads_text = False

    def input(self, name):
        """keras.Input of a raw value per row."""
        return keras.Input(shape=self.shape, dtype=self.dtype, name=argument_name(name))

    def adapt(self, series):
        """A copy that knows from the training cells, a pandas Series, how this column is written."""
        return self

    def remember(self, series):
        """A copy that knows what its training cells, a pandas Series, hold; `drift` compares others with it. Files are not looked at."""
        if self.files:
            return self
        sample, twin = spread(series), copy.copy(self)
        with quiet():
            values = self.values(sample)
        gaps = self.gaps(values)
        usual = {"rows": len(series), "looked": len(sample), "missing": int(gaps.sum())}
        usual |= self.summary(self.measured(values)[~gaps])
        object.__setattr__(twin, "usual", usual)
        return twin

    @abc.abstractmethod
    def values(self, series):
        """(rows, *shape) array of the raw values of a pandas Series; never fails on a missing cell."""

    def read(self, raw, name):
        """(B,) raw values, in the graph, as `prepare` of a modality takes them.

        Args:
            raw: (B,) tensor of what `values` gives, or of what a client of the served model may write instead.
            name: str, for layers.
        """
        return raw

    def digests(self, values):
        """Bytes or str for each row; equal rows have equal ones in every process. Keys of features are made of them."""
        return values

    def shown(self, cell):
        """What of a cell a report shows; of files, a path or bytes."""
        return cell

    def html(self, cell):
        """HTML that draws, or plays, what `shown` gave of a cell, where the column is `drawn`."""
        raise NotImplementedError

    def lengths(self, values):
        """(rows,) ints that padding depends on; 0 where nothing is padded."""
        return 0

    def examples(self):
        """Raw values like those that people have, always the same, on which engines can be compared; None where there are none."""
        return None

    def gaps(self, values):
        """(rows,) bools: which raw values stand for a missing cell."""
        return values == "" if values.dtype == object else values != values

    def claim(self, sample):
        """`Claim` on a column by some of its cells, a `data.sample.Sample`; None where they are not its own, or nobody should guess."""
        return None

    def findings(self, series, values):
        """Sentences about cells that, as read, tell a model nothing, such as a category that is never known.

        Args:
            series: pandas Series of cells.
            values: what `values` gave of it.
        """
        return []

    # What the training cells held, for people; '' where nobody knows.
    held = ""

    def measured(self, values):
        """(rows, …) array of what `summary` and `differs` look at: as a rule raw values as they are."""
        return values

    def summary(self, known):
        """{name: plain value} about known training cells as `measured`, which `differs` compares others with, and a model is saved with."""
        return {}

    def differs(self, known):
        """`drift.Drift` of known cells as `measured` from what `usual` holds."""
        return Drift()

    def drift(self, values):
        """`drift.Drift` of the raw values of cells from training cells; of nothing where those are not known, as of models saved long ago."""
        if self.usual is None:
            return Drift()
        gaps = self.gaps(values)
        drift, missing = self.differs(self.measured(values)[~gaps]), int(gaps.sum())
        before = self.usual["missing"], self.usual["looked"]
        if not exceeds(missing, len(values), *before, least=LEAST_MISSING):
            return drift
        share, usual = missing / len(values), before[0] / before[1]
        told = (
            f"{missing:,} of {len(values):,} cells are missing, empty or unread ({share:.0%}; in training {usual:.0%})"
        )
        return dataclasses.replace(drift, findings=(*drift.findings, (told, share - usual >= MUCH)))

    def get_config(self):
        """The fields as plain values, for JSON."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}


def _plain(value):
    return list(value) if isinstance(value, tuple) else value

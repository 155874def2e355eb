"""Vectors: features that were computed elsewhere, as a modality like others."""

import dataclasses

import keras
import numpy as np

from mmkeras import layers
from mmkeras.data.columns import NumberColumn, raw_values
from mmkeras.data.telling import shortened
from mmkeras.data.vectors import VectorColumn
from mmkeras.modalities.base import PRESENT, Modality, check_name, column_names, split_names, unique_names

FEW = 64  # numbers, of which training leaves nothing out
MOST_DEVIATIONS = 5.0  # standardised numbers are cut here
EXACT = {"dtype": "float64"}


@dataclasses.dataclass(frozen=True)
class Vector(Modality):
    """Features that were computed elsewhere: one column of lists of D numbers, or D columns of a number each.

    Each of the D places is standardised with the mean and variance of the training rows, and cut at 5 standard deviations. A list is read
    as `data.vectors.VectorColumn` says: all have the same length, and one with NaN or infinity in it counts as missing as a whole, with a
    warning. Of several columns, a missing number is the mean of the training rows, and the row has the vector if any of them is known.

    Args:
        columns: name of a column of lists, tuples, arrays, or text such as "[0.1, 0.2]"; or names of two or more columns of numbers.
            Each column of lists gets a `Vector` of its own.
        name: str, name of the modality.

    Features: (B, D) float32, which the head reads; zeros where missing.

    Raises:
        ValueError: no column, or one named twice; lists of different lengths, or no numbers at all (when adapting).

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> import mmkeras as mm
        >>> df = pd.DataFrame({"sound": [[1.0, 2.0], "[3.0, 4.0]", None]})
        >>> prepare = mm.build_prepare([mm.Vector("sound").adapt(df)])
        >>> prepare({"sound": np.array([[1.0, 4.0]])})["vector.values"].numpy().tolist()
        [[-1.0, 1.0]]
    """

    columns: tuple
    name: str = "vector"

    option = "vector"
    option_help = "columns of lists of numbers that were computed elsewhere, each a vector"

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Vector`"))
        check_name(self.name)
        if not self.columns:
            raise ValueError(
                "`Vector` must read a column. Received none. Name a column of lists, or columns of numbers."
            )

    @property
    def columns_read(self):
        return dict.fromkeys(self.columns, VectorColumn() if len(self.columns) == 1 else NumberColumn())

    @property
    def few_features(self):
        return self.state is not None and len(self.state["mean"]) <= FEW

    def adapt(self, df):
        reading = self.reading(df)
        raw = raw_values(df, [reading])
        for column, values in raw.items():
            if np.isnan(values).all() and df[column].notna().any():
                raise ValueError(
                    f"Several columns of a `Vector` must hold a number in each cell. Received: {column!r}, without any (for example "
                    f"{shortened(df[column].dropna().iloc[0])}). Give a column of lists a `Vector` of its own."
                )
        places = [place for values in raw.values() for place in (values.T if values.ndim == 2 else [values])]
        mean, variance = zip(*map(_mean_variance, places), strict=True)
        return reading.learn(mean=list(mean), variance=list(variance))

    def prepare(self, raw):
        self.check_adapted()
        ops, alone = keras.ops, len(self.columns) == 1
        numbers = [ops.cast(raw[column], "float64") for column in self.columns]
        numbers = numbers[0] if alone else ops.stack(numbers, axis=-1)  # (B, D)
        known = ops.isfinite(ops.cast(numbers, "float32"))
        present = (ops.all if alone else ops.any)(known, axis=-1, keepdims=True)
        scale = layers.Standardize(self.state["mean"], self.state["variance"], name=f"{self.name}_scale", **EXACT)
        scaled = ops.clip(scale(numbers), -MOST_DEVIATIONS, MOST_DEVIATIONS)
        scaled = ops.where(ops.logical_and(known, present), scaled, ops.zeros_like(scaled))
        return {
            f"{self.name}.values": ops.cast(scaled, "float32"),
            f"{self.name}{PRESENT}": ops.cast(present, "float32"),
        }

    def encode(self, tensors):
        return keras.layers.Identity(dtype="float32", name=f"{self.name}_values")(tensors[f"{self.name}.values"])

    def alike(self, inputs):
        return [inputs.vector(self.name)], [], []

    @classmethod
    def add_options(cls, parser, towers=True):
        parser.add_argument(f"--{cls.option}", type=split_names, default=[], metavar="COLUMNS", help=cls.option_help)

    @classmethod
    def from_options(cls, options, sequences=False):
        return cls.of_claims(options.vector)

    @classmethod
    def claims(cls, sample):
        claim = VectorColumn().claim(sample)
        return [claim] if claim else []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        names = unique_names(claims, "vector")
        return [cls(column, name=names[column]) for column in claims]


def _mean_variance(values):
    """Mean and variance of what is known of (rows,) numbers; variance 1 where the spread is none, or rounding error."""
    known = values[np.isfinite(values)].astype("float64")
    if not len(known):
        return 0.0, 1.0
    spread = float(known.std())
    return float(known.mean()), spread**2 if spread > 8 * np.spacing(np.abs(values[np.isfinite(values)]).max()) else 1.0

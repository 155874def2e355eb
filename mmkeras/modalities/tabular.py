"""Numbers, categories and dates."""

import dataclasses
import itertools

import keras
import numpy as np

from mmkeras import layers
from mmkeras.data.columns import CategoryColumn, DateColumn, NumberColumn, raw_values
from mmkeras.data.dates import year_statistics
from mmkeras.data.telling import shortened
from mmkeras.modalities.base import PRESENT, Modality, check_name, column_names, split_names
from mmkeras.modalities.entrances import Entrance

# A column is heavy-tailed when its skewness is above this (an exponential distribution has 2).
HEAVY_TAIL_SKEWNESS = 2.0
NUMERIC_BINS = 8
MOST_APART = 24  # columns of a kind that rows are compared by one at a time
TABULAR_UNITS = 64
# Whatever the global policy: half precision has neither the year 2019 nor four digits of a budget, and single precision
# cannot tell two seconds of this year apart; what is left once the mean is taken away fits into it.
EXACT = {"dtype": "float64"}
SCALED = {"dtype": "float32"}
# Standardised numbers are cut here: one value with a wrong unit must not decide alone.
MOST_DEVIATIONS = 5.0


@dataclasses.dataclass(frozen=True)
class Tabular(Modality):
    """Columns of numbers, categories and dates as one feature vector.

    Numbers: standardised with the training rows' mean and variance. A column without negative values whose
    skewness is above 2 is heavy-tailed and first replaced by ln(1 + x). Beside the number stand its positions in eight
    bins with as many training rows each. A missing value becomes a learned number, with an indicator beside it. Text is read as
    `data.numbers.NumberColumn` says; what is not a number, and infinities, count as missing (with a warning).
    Categories: an embedding; values seen fewer than `min_count` times in training, or never, share one
    out-of-vocabulary vector; missing has its own. Dates: year, and day of the year, weekday and hour as points on
    a circle; `data.dates.DateColumn` says how they are read.

    Args:
        numeric: column name or names of numbers.
        categorical: column name or names of categories (any values; they are compared as strings).
        datetime: column name or names of dates (datetimes or strings such as "1995-10-30").
        zero_is_missing: those numeric columns in which 0 means "unknown" (for example a film's budget).
        min_count: int, see above.
        dayfirst: whether 3/6/2021 is in June, in all columns of dates; None decides on the training rows of each column.
        decimal: "." or ",", what stands before decimals in numbers that are text; None decides in the same way.
        name: str, name of the modality.

    Features: (B, 64), a GELU layer over 10 values per number, 14 per date and up to 16 per category.

    Raises:
        ValueError: no column at all, a column named twice, or `zero_is_missing` outside `numeric`.

    Example:
        >>> import mmkeras as mm
        >>> mm.Tabular(numeric=["budget", "runtime"], zero_is_missing=["budget"]).all_columns
        ('budget', 'runtime')
    """

    numeric: tuple = ()
    categorical: tuple = ()
    datetime: tuple = ()
    zero_is_missing: tuple = ()
    min_count: int = 2
    name: str = "tabular"
    dayfirst: bool | None = None
    decimal: str | None = None

    few_features = True
    option = "numeric"

    def __post_init__(self):
        for group in ("numeric", "categorical", "datetime", "zero_is_missing"):
            self._set(**{group: column_names(getattr(self, group), f"`{group}`")})
        check_name(self.name)
        column_names(self.numeric + self.categorical + self.datetime, "The columns of `Tabular`")
        if not self.all_columns:
            raise ValueError(
                "`Tabular` must read a column. Received none. Give `numeric`, `categorical` or `datetime`."
            )
        strangers = set(self.zero_is_missing) - set(self.numeric)
        if strangers:
            raise ValueError(
                f"`zero_is_missing` must name columns of `numeric` {self.numeric}. Received: {sorted(strangers)}. "
                "Add them to `numeric` too."
            )

    @property
    def columns_read(self):
        number, date = NumberColumn(self.decimal), DateColumn(self.dayfirst)
        groups = ((self.numeric, number), (self.categorical, CategoryColumn()), (self.datetime, date))
        return {name: column for names, column in groups for name in names}

    def adapt(self, df):
        reading = self.reading(df)
        raw = raw_values(df, [reading])
        for column in self.numeric:
            if np.isnan(raw[column]).all() and df[column].notna().any():
                raise ValueError(
                    f"A numeric column must hold numbers. Received: {column!r}, without any (for example "
                    f"{shortened(df[column].dropna().iloc[0])}). Give it as `categorical` or `datetime`, or to `Text`."
                )
        columns = [_numeric_statistics(raw[c], c in self.zero_is_missing) for c in self.numeric]
        return reading.learn(
            numeric={key: [column[key] for column in columns] for key in ("log1p", "mean", "variance", "bins")},
            vocabularies=[_vocabulary(raw[c], self.min_count) for c in self.categorical],
            years=[year_statistics(raw[c]) for c in self.datetime],
        )

    def prepare(self, raw):
        self.check_adapted()
        numbers = self._prepare_numbers(raw)
        present = [
            layers.AnyNumber(name=f"{self.name}_any_{i}", **SCALED)(tensor)
            for i, (key, tensor) in enumerate(numbers.items())
            if not key.endswith(".bins")
        ]
        codes = {}
        for index, (column, words) in enumerate(zip(self.categorical, self.state["vocabularies"], strict=True)):
            lookup = keras.layers.StringLookup(vocabulary=words, mask_token="", name=f"{self.name}_lookup_{index}")
            codes[f"{self.name}.category_{index}"] = lookup(raw[column])
        if self.categorical:
            present.append(layers.Present(name=f"{self.name}_named", **SCALED)([raw[c] for c in self.categorical]))
        any_present = present[0] if len(present) == 1 else keras.ops.max(keras.ops.stack(present, axis=0), axis=0)
        return {**numbers, **codes, f"{self.name}{PRESENT}": any_present}

    def _prepare_numbers(self, raw):
        """Standardised numbers and dates, NaN where missing, and the numbers' bins."""
        tensors = {}
        if self.numeric:
            stacked = keras.ops.stack([keras.ops.cast(raw[c], "float64") for c in self.numeric], axis=-1)  # (B, K)
            state = self.state["numeric"]
            zero = [c in self.zero_is_missing for c in self.numeric]
            clean = layers.CleanNumbers(zero, state["log1p"], name=f"{self.name}_clean", **EXACT)(stacked)
            scaled = _scale(state["mean"], state["variance"], f"{self.name}_scale")(clean)
            scaled = keras.ops.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS)
            tensors[f"{self.name}.numeric"] = keras.ops.cast(scaled, "float32")
            bins = [[i, *edges] for i, column in enumerate(state["bins"]) for edges in column]
            if bins:
                passed = layers.PiecewiseLinear(bins, name=f"{self.name}_bins", **EXACT)(clean)
                tensors[f"{self.name}.bins"] = keras.ops.cast(passed, "float32")
        dates = []
        for index, (column, (mean, variance)) in enumerate(zip(self.datetime, self.state["years"], strict=True)):
            calendar = layers.CalendarParts(name=f"{self.name}_date_{index}", **SCALED)(raw[column])
            scale = _scale([mean] + [0.0] * 6, [variance] + [1.0] * 6, f"{self.name}_year_{index}", **SCALED)
            # One year 9999, which stands for "never", must not decide alone; the circles reach no farther than 1.
            dates.append(keras.ops.clip(scale(calendar), -MOST_DEVIATIONS, MOST_DEVIATIONS))
        if dates:
            tensors[f"{self.name}.datetime"] = keras.ops.concatenate(dates, axis=-1)
        return tensors

    def encode(self, tensors):
        tensors, inputs = self.own(tensors), []
        for group in ("numeric", "datetime"):
            if group in tensors:
                inputs.append(layers.FillMissing(name=f"{self.name}_fill_{group}")(tensors[group]))
        if "bins" in tensors:
            inputs.append(tensors["bins"])
        for index, words in enumerate(self.state["vocabularies"]):
            size = len(words) + 2  # missing, out of vocabulary
            embed = keras.layers.Embedding(size, min(16, (size + 1) // 2), name=f"{self.name}_embed_{index}")
            inputs.append(embed(tensors[f"category_{index}"]))
        joined = inputs[0] if len(inputs) == 1 else keras.layers.Concatenate(name=f"{self.name}_join")(inputs)
        return keras.layers.Dense(TABULAR_UNITS, activation="gelu", name=f"{self.name}_project")(joined)

    def entrances(self, encode):
        names = {layer.name: layer for layer in encode.layers}
        fills = {group: names.get(f"{self.name}_fill_{group}") for group in ("numeric", "datetime")}
        entrances = {group: Entrance(layer, _missing) for group, layer in fills.items() if layer is not None}
        for index in range(len(self.categorical)):
            entrances[f"category_{index}"] = Entrance(names[f"{self.name}_embed_{index}"])
        return {**entrances, **({"bins": Entrance(f"{self.name}.bins")} if f"{self.name}.bins" in encode.input else {})}

    def recalled(self, prepare):
        bins = {layer.name: layer.bins for layer in prepare.layers if layer.name == f"{self.name}_bins"}
        columns = [[] for _ in self.numeric]
        for place, *edges in bins.get(f"{self.name}_bins", ()):
            columns[place].append(edges)
        return self.learn(numeric={"bins": columns})

    def pieces(self, tensors, given):
        rows = len(next(iter(given.values())))
        columns = {name: np.zeros(rows) for name in self.all_columns}
        bins = [place for place, column in enumerate(self.state["numeric"]["bins"]) for _ in column]
        for place, name in enumerate(self.numeric):
            columns[name] += given["numeric"][:, place]
            if "bins" in given:
                columns[name] += given["bins"][:, np.array(bins) == place].sum(axis=1)
        for place, name in enumerate(self.datetime):
            columns[name] += given["datetime"].reshape(rows, len(self.datetime), -1)[:, place].sum(axis=1)
        for index, name in enumerate(self.categorical):
            columns[name] += given[f"category_{index}"].reshape(rows, -1).sum(axis=1)
        return [[(name, float(values[row])) for name, values in columns.items()] for row in range(rows)]

    def alike(self, inputs):
        """Each number with its rank, each date and each category by itself; of very many columns, those of a kind together."""
        vectors, bags, sizes = [], [], []
        for group, columns in (("numeric", self.numeric), ("datetime", self.datetime)):
            if columns:
                numbers = inputs(f"{self.name}.{group}")
                parts = _cut(numbers, [numbers.shape[-1] // len(columns)] * len(columns))
                ranks = [None] * len(parts)
                if group == "numeric" and f"{self.name}.bins" in inputs.features:
                    ranks = _cut(inputs(f"{self.name}.bins"), [len(column) for column in self.state["numeric"]["bins"]])
                vectors += [_alike(part, rank) for part, rank in zip(parts, ranks, strict=True)]
        codes = [inputs(f"{self.name}.category_{index}") for index in range(len(self.categorical))]
        codes = [keras.ops.cast(keras.ops.reshape(code, (-1, 1)), "int32") for code in codes]
        counts = [len(words) + 2 for words in self.state["vocabularies"]]  # missing, out of vocabulary
        if len(codes) > MOST_APART:
            firsts = np.cumsum([0, *counts[:-1]])
            codes = [keras.ops.where(code > 0, code + int(n), 0) for code, n in zip(codes, firsts, strict=True)]
            codes, counts = [keras.ops.concatenate(codes, axis=-1)], [sum(counts)]
        for code, count in zip(codes, counts, strict=True):
            bags.append([code, keras.ops.cast(code > 0, "float32")])
            sizes.append(count)
        return vectors, bags, sizes

    @classmethod
    def claims(cls, sample):
        claims = [column.claim(sample) for column in (NumberColumn(), CategoryColumn(), DateColumn())]
        return [claim for claim in claims if claim]

    @classmethod
    def of_claims(cls, claims, sequences=False):
        groups = (("numeric", NumberColumn), ("categorical", CategoryColumn), ("datetime", DateColumn))
        return [cls(**{group: [n for n, c in claims.items() if c.reads == kind.reads] for group, kind in groups})]

    @classmethod
    def add_options(cls, parser, towers=True):
        for option, told in (
            ("--numeric", "columns of numbers"),
            ("--categorical", "columns of names from a list"),
            ("--datetime", "columns of dates"),
            ("--zero-is-missing", "numeric columns in which 0 means unknown"),
        ):
            parser.add_argument(option, type=split_names, default=[], help=told)

    @classmethod
    def from_options(cls, options, sequences=False):
        groups = {group: getattr(options, group) for group in ("numeric", "categorical", "datetime")}
        return [cls(**groups, zero_is_missing=options.zero_is_missing)] if any(groups.values()) else []


def _cut(x, sizes):
    """(B, ΣD) → [(B, D), …] of each column; of more than `MOST_APART` columns, all in one."""
    if len(sizes) > MOST_APART:
        return [x]
    ends = np.cumsum(sizes).tolist()
    return [x[:, end - size : end] for end, size in zip(ends, sizes, strict=True)]


def _alike(numbers, ranks):
    """Numbers (B, D), NaN where missing, and their bins or None → a vector whose distances tell rows apart."""
    missing = keras.ops.isnan(numbers)
    parts = [keras.ops.where(missing, 0.0, numbers) * 0.5, keras.ops.cast(missing, "float32")]
    return keras.ops.concatenate([*parts, *([] if ranks is None else [ranks * 0.5])], axis=-1)


def _scale(mean, variance, name, **dtype):
    return layers.Standardize(mean, variance, name=name, **(dtype or EXACT))


def _numeric_statistics(values, zero_is_missing):
    """Whether the column is heavy-tailed; mean, variance and bins of what it is after that."""
    known = values[~np.isnan(values)].astype("float64")
    if zero_is_missing:
        known = known[known != 0]
    log1p = False
    if len(known) > 2 and known.min() >= 0 and known.std() > 0:
        log1p = bool(np.mean(((known - known.mean()) / known.std()) ** 3) > HEAVY_TAIL_SKEWNESS)
    known = np.log1p(known) if log1p else known
    mean, variance = _mean_variance(known)
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUMERIC_BINS + 1))) if len(known) else []
    bins = [[float(low), float(high)] for low, high in itertools.pairwise(edges)]
    return {"log1p": log1p, "mean": mean, "variance": variance, "bins": bins}


def _mean_variance(known):
    """Mean and variance; 0 and 1 for an empty column, variance 1 where the spread is rounding error, which would blow up."""
    if len(known) == 0:
        return 0.0, 1.0
    spread = float(np.std(known))
    return float(np.mean(known)), spread**2 if spread > 8 * np.spacing(np.abs(known).max()) else 1.0


def _vocabulary(values, min_count):
    """Category names, most frequent first; empty strings are missing values."""
    names, counts = np.unique(values[values != ""].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    # StringLookup refuses an empty vocabulary.
    return [str(names[i]) for i in order if counts[i] >= min_count] or ["(no category)"]


def _missing(numbers):
    """The same, with every number missing."""
    return keras.ops.full_like(numbers, np.nan)

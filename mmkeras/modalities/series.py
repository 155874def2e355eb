"""Series: what sensors measured over time, in several channels."""

import dataclasses

import numpy as np

from mmkeras.data.columns import raw_values
from mmkeras.data.series import SeriesColumn
from mmkeras.data.steps import rows_of_steps
from mmkeras.data.telling import shortened
from mmkeras.modalities.base import EncodedModality, check_name, column_names, unique_names
from mmkeras.modalities.encoders import ScratchSeries, SeriesEncoder
from mmkeras.registry import names

USUAL = 0.99  # share of the training rows that are read whole
LONGEST = 5_000  # steps, where nothing else is asked for
TAILS = (0.001, 0.999)  # quantiles beyond which a value does not widen the scale of its channel


@dataclasses.dataclass(frozen=True)
class Series(EncodedModality):
    """Columns of numbers over time, each a channel, as one feature vector.

    A cell holds the steps of a row as a list, a tuple, an array or text such as "[0.1, nan, 0.2]"; rows may differ in length, the channels of a row
    may not. NaN, None and infinities are steps at which nothing was measured: a straight line stands in their place, with a mask beside
    it. A channel that is missing in a row is unknown at all of its steps. Steps are read as if they were even in time.

    Each channel is standardised with the mean and deviation of the training rows, and cut at 10 deviations. Of rows longer than
    `windows` · `length` the last steps are kept; steps behind the last known one are left out.

    Args:
        columns: a column name, or several, which are channels of the same series.
        length: int, the most steps of a window; None for what 99% of the training rows have, divided by `windows`, at most 5,000.
        encoder: what turns steps into features:
            - "scratch": five dilated convolutions with residual connections, trained with the head;
            - "minirocket": shares of positive values behind 9,996 fixed convolutions, which are stored once (Dempster et al., 2021,
              https://arxiv.org/abs/2012.08791); often the best for few rows;
            - "gru": a gated recurrent layer in both directions, trained with the head.
        name: str, name of the modality.
        windows: int, the most windows of a row, one after another, each encoded by itself; its feature is their mean, weighed by their steps.

    Features: (B, 128) float32; of "minirocket" (B, 9996).

    Raises:
        ValueError: a setting outside the above; channels of a row that differ in length; a column without any number (when adapting).

    Example:
        >>> import pandas as pd
        >>> import mmkeras as mm
        >>> df = pd.DataFrame({"x": [[1.0, 2.0], [3.0]], "y": [[0.0, 1.0], None]})
        >>> mm.Series(["x", "y"]).adapt(df).length
        2
    """

    columns: tuple
    length: int | None = None
    encoder: str = "scratch"
    name: str = "series"
    windows: int = 1

    family, usual = SeriesEncoder, ScratchSeries
    dropouts = 0.5, 0.8, 0.93
    option = "series"
    option_help = "columns of lists of numbers over time, the channels of one series"
    advice = (
        "Series are read by a small network that learns from these rows alone. Of few rows more is often learnt by fixed convolutions: "
        "mm.Series(…, encoder='minirocket')."
    )

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Series`"))
        check_name(self.name)
        if not self.columns:
            raise ValueError("`columns` of `Series` must name a column. Received: none. Name the channels.")
        if self.encoder not in names(SeriesEncoder):
            raise ValueError(
                f"`encoder` of `Series` must be one of {names(SeriesEncoder)}. Received: {self.encoder!r}."
            )
        if type(self.windows) is not int or not 1 <= self.windows <= 1000:
            raise ValueError(f"`windows` must be an int from 1 to 1,000. Received: {self.windows!r}.")
        if self.length is not None and (type(self.length) is not int or self.length < 1):
            raise ValueError(f"`length` must be an int of at least 1, or None. Received: {self.length!r}.")

    @staticmethod
    def rows(df, id, time, channels):
        """A table with a line for each step as one with a row for each series, as `Series` reads it.

        Lines are sorted by time within each series, with a warning where they were not in order, or where gaps of time lie between them.

        Args:
            df: DataFrame.
            id: name of the column that tells series apart.
            time: name of the column that tells when a line was measured: numbers or datetimes.
            channels: name or names of columns of numbers.

        Returns:
            DataFrame with a row for each series, in the order in which they come, indexed by `id`; each channel holds arrays (T,) float32.
            Other columns keep the one value that they have in all lines of a series.

        Raises:
            ValueError: a moment that comes twice in a series, a line without id or time, times that are text, channels that are no numbers, or another
                column that varies within a series.
            KeyError, TypeError: as `Pipeline.fit`.

        Example:
            >>> import pandas as pd
            >>> import mmkeras as mm
            >>> lines = pd.DataFrame({"machine": ["a", "a", "b"], "second": [0, 1, 0], "speed": [1.0, 2.0, 3.0], "broken": [True, True, False]})
            >>> df = mm.Series.rows(lines, "machine", "second", "speed")
            >>> df["broken"].tolist(), [speeds.tolist() for speeds in df["speed"]]
            ([True, False], [[1.0, 2.0], [3.0]])
        """
        return rows_of_steps(df, id, time, channels)

    @property
    def columns_read(self):
        return dict.fromkeys(self.columns, SeriesColumn())

    def check_values(self, values, index):
        lengths = np.stack([values[column].lengths for column in self.columns])  # (C, rows), 0 where a cell is missing
        longest = lengths.max(axis=0)
        wrong = np.flatnonzero(((lengths > 0) & (lengths != longest)).any(axis=0))
        if len(wrong):
            label = index[wrong[0]]
            own = {column: int(own[wrong[0]]) for column, own in zip(self.columns, lengths, strict=True)}
            raise ValueError(
                f"All channels of a row must have the same number of steps. Received: {shortened(own)} in row "
                f"{shortened(getattr(label, 'item', lambda: label)())}; {len(wrong):,} of {len(index):,} rows are so. "
                "Give channels of other rates a `Series` of their own, or fill up with NaN."
            )

    def adapt(self, df):
        reading = self.reading(df)
        raw = raw_values(df, [reading])
        longest = np.max([values.lengths for values in raw.values()], axis=0)
        usual = int(np.quantile(longest[longest > 0], USUAL, method="higher")) if (longest > 0).any() else 1
        mean, deviation = zip(*(_scale(values.values) for values in raw.values()), strict=True)
        length = self.settings.length or min(-(-usual // self.windows), LONGEST)
        known = reading.learn(length=length, mean=list(mean), deviation=list(deviation))
        return known.learn(**known.made_encoder().adapt(df))

    def prepare(self, raw):
        self.check_adapted()
        return super().prepare(raw)

    def presence(self, raw):
        return {}  # which the encoder tells, with the steps

    @classmethod
    def add_options(cls, parser, towers=True):
        super().add_options(parser, towers)
        parser.add_argument(
            "--series-encoder", default="scratch", help=f"what reads series: {', '.join(names(SeriesEncoder))}"
        )

    @classmethod
    def from_options(cls, options, sequences=False):
        return [cls(options.series, encoder=options.series_encoder)] if options.series else []

    @classmethod
    def claims(cls, sample):
        claim = SeriesColumn().claim(sample)
        return [claim] if claim else []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        """A series for each column: whether some are channels of one is not seen from the columns by themselves."""
        return [cls(column, name=name) for column, name in unique_names(claims, "series").items()]


def _scale(values):
    """Mean and deviation of what is known of a channel, without its tails; 0 and 1 where there is nothing, deviation 1 where it is constant."""
    known = values[np.isfinite(values)].astype("float64")
    if not len(known):
        return 0.0, 1.0
    for some in (np.clip(known, *np.quantile(known, TAILS)), known):
        if some.std() > 8 * np.spacing(np.float32(np.abs(some).max())):
            return float(some.mean()), float(some.std())
    return float(known.mean()), 1.0

"""Series: cells that hold the values of one channel over time, each row with its own number of steps."""

import dataclasses
import html
import itertools

import numpy as np

from mmkeras.data.column import Claim, Column
from mmkeras.data.drift import Drift, beyond, bins_of, range_of, shift
from mmkeras.data.numbers import tell_missing
from mmkeras.data.ragged import Ragged
from mmkeras.data.telling import shortened, tell
from mmkeras.data.vectors import vectors_of

NEARLY = 0.95  # share of cells that makes "nearly all"
FEWEST = 8  # steps of a typical row that make a series
WIDTH, HEIGHT, POINTS = 160, 40, 200  # of a drawing


@dataclasses.dataclass(frozen=True)
class SeriesColumn(Column):
    """The values of one channel, as `Ragged` (rows, T) float32; NaN where nothing was measured, and behind a row's last step.

    Cells are lists, tuples, arrays of one axis, or text such as "[0.1, nan, 0.2]". None, NaN, "" and lists without entries are missing
    rows; so are, with a warning, cells that are no lists of numbers. Infinities, and more than single precision holds, are taken for
    missing steps, with a warning.
    """

    reads = "series"
    dtype = "float32"
    shape = (None,)
    drawn = True

    def adapt(self, series):
        if not any(cell is not None and np.isfinite(cell).any() for cell in vectors_of(series)):
            cells = series.dropna().astype(object)
            example = f" (for example {shortened(cells.iloc[0])})" if len(cells) else ""
            raise ValueError(
                f"A column of series must hold lists of numbers. Received: {series.name!r}, without any{example}. "
                "Give a list for each row; `mm.Series.rows` makes them of a table with a line for each step."
            )
        return self

    def values(self, series):
        """`Ragged` (rows, T) float32 of a pandas Series."""
        cells, gaps = list(vectors_of(series)), series.isna().to_numpy(dtype=bool)
        tell_missing(np.array([cell is None for cell in cells], bool) & ~gaps, series, "no lists of numbers")
        cells = [np.zeros(0, "float32") if cell is None else cell for cell in cells]
        values = np.concatenate([np.zeros(0, "float32"), *cells])
        infinite = np.isinf(values)
        if infinite.any():
            tell(f"Column {series.name!r}: {infinite.sum():,} steps are infinite and are treated as missing.")
            values = np.where(infinite, np.float32("nan"), values)
        return Ragged(values, np.array([len(cell) for cell in cells], int), np.float32("nan"))

    def digests(self, values):
        return [row[: 1 + np.flatnonzero(np.isfinite(row)).max(initial=-1)].tobytes() for row in values]

    def lengths(self, values):
        return values.lengths

    def gaps(self, values):
        return _sums(values, np.isfinite(values.values)) == 0

    def measured(self, values):
        """(rows,) means of what is known."""
        known = np.isfinite(values.values)
        return _sums(values, np.where(known, values.values, 0)) / np.maximum(_sums(values, known), 1)

    def html(self, cell):
        """An SVG of a line from the first step to the last, with gaps where nothing was measured."""
        steps = next(vectors_of(_series_of(cell)))
        if steps is None or not np.isfinite(steps).any():
            return "–"
        lines = _lines(steps)
        low, high = (f"{function(steps[np.isfinite(steps)]):.4g}" for function in (np.min, np.max))
        told = html.escape(f"{len(steps):,} steps, from {low} to {high}")
        shapes = "".join(f"<polyline points='{' '.join(line)}'/>" for line in lines)
        return (
            f"<svg width={WIDTH} height={HEIGHT} viewBox='-2 -2 {WIDTH + 4} {HEIGHT + 4}' fill=none stroke=currentColor "
            f"stroke-linecap=round stroke-linejoin=round role=img aria-label='{told}'><title>{told}</title>{shapes}</svg>"
        )

    @property
    def held(self):
        known = self.usual or {}
        return f"series whose means lie from {known['low']:.4g} to {known['high']:.4g}" if "low" in known else ""

    def summary(self, means):
        return {**range_of(means), **bins_of(means)}

    def differs(self, means):
        outside, told = beyond(self.usual, means, "means of series", _written)
        index, more = shift(self.usual, means, _written)
        return Drift(outside, index, told + more)

    def claim(self, sample):
        cells = [cell for cell in vectors_of(sample.known) if cell is None or len(cell)]
        lengths = [len(cell) for cell in cells if cell is not None]
        if len(lengths) < NEARLY * len(cells) or len(set(lengths)) < 2 or np.median(lengths) < FEWEST:
            return None
        return Claim(0.9, f"lists of {min(lengths):,} to {max(lengths):,} numbers each", self.reads)


def _sums(values, steps):
    """(rows,) sums of a number for each step of `Ragged` values."""
    rows = np.repeat(np.arange(len(values)), values.lengths)
    return np.bincount(rows, weights=steps, minlength=len(values))


def _written(number):
    return f"{number:,.4g}"


def _series_of(cell):
    import pandas as pd

    return pd.Series([cell], dtype=object)


def _lines(steps):
    """[["x,y", …], …] of the stretches in which something was measured, of at most `POINTS` steps or so."""
    places = np.unique(np.linspace(0, len(steps) - 1, min(POINTS, len(steps))).round().astype(int))
    low, high = np.nanmin(steps[np.isfinite(steps)]), np.nanmax(steps[np.isfinite(steps)])
    scale = HEIGHT / (high - low) if high > low else 0.0
    x = places * (WIDTH / max(1, len(steps) - 1))
    y = HEIGHT - (steps[places].astype("float64") - low) * scale if scale else np.full(len(places), HEIGHT / 2)
    known = np.isfinite(steps[places])
    lines = []
    for there, group in itertools.groupby(range(len(places)), key=lambda place: known[place]):
        if there:
            points = [f"{x[place]:.1f},{y[place]:.1f}" for place in group]
            lines.append(points if len(points) > 1 else points * 2)  # a lone step is a dot
    return lines

"""Dates: cells of any dtype, or as people write them, as ISO 8601 in UTC."""

import dataclasses
import datetime
import re
import warnings

import numpy as np
import pandas as pd

from mmkeras import layers
from mmkeras.data.categories import factorize
from mmkeras.data.column import Column
from mmkeras.data.numbers import is_gap, tell
from mmkeras.data.texts import texts
from mmkeras.layers.dates import read_dates

AT_ONCE = 50_000  # strings that are read together
SAMPLE = 10_000  # cells that tell whether many are alike
NUMERIC = re.compile(r"\D*?(\d{1,2})([-/.])(\d{1,2})[-/.](?:\d{4}|\d{2})(?:\D.*)?", re.DOTALL)
# What most tables hold: read as arrays of signs, exactly as `layers.read_dates` reads them. Y M D h m s are digits.
LAYOUTS = ("YYYY-MM-DD", "YYYY-MM-DD hh:mm:ss", "YYYY-MM-DDThh:mm:ss", "YYYY-MM-DD hh:mm", "YYYY/MM/DD")
NUMERIC_LAYOUTS = tuple(f"DD{sign}MM{sign}YYYY{time}" for sign in "/.-" for time in ("", " hh:mm:ss", " hh:mm"))
CANONICAL = "YYYY-MM-DDThh:mm:ss"


@dataclasses.dataclass(frozen=True)
class DateColumn(Column):
    """Dates, as strings "YYYY-MM-DDThh:mm:ss" in UTC; '' for a missing one.

    Datetimes, dates and periods (their start) of any dtype, and strings as `layers.read_dates` reads them. Times without an offset are
    taken for UTC. Whole numbers are years from 1000 to 9999, or days such as 20210603. Everything else counts as missing, with a
    warning. Of 3/6/2021, one rule holds for the whole column: `adapt` finds it in days above 12.

    Args:
        dayfirst: whether 3/6/2021 is in June; None is found by `adapt`, and False before.
    """

    dayfirst: bool | None = None

    reads = "date"
    reads_text = True

    def __post_init__(self):
        if self.dayfirst not in (None, True, False):
            raise ValueError(f"`dayfirst` must be True, False or None. Received: {self.dayfirst!r}.")

    @property
    def how(self):
        return {None: "", True: "day first", False: "month first"}[self.dayfirst]

    def adapt(self, series):
        if self.dayfirst is not None or getattr(series.dtype, "kind", "O") in "mMiufb":
            return self
        strings = [cell for cell in factorize(series)[1] if isinstance(cell, str | bytes)]
        matches = [match for match in map(NUMERIC.fullmatch, texts(pd.Series(strings, dtype=object))) if match]
        if not matches:
            return self
        pairs = [(int(match[1]), int(match[3])) for match in matches]
        day_first = sum(first > 12 >= second for first, second in pairs)
        month_first = sum(second > 12 >= first for first, second in pairs)
        dots = sum(match[2] == "." for match in matches) > len(matches) / 2
        dayfirst = day_first > month_first or (day_first == month_first and dots)
        if not day_first and not month_first and not dots and any(first != second for first, second in pairs):
            example = next(match[0] for match, (first, second) in zip(matches, pairs, strict=True) if first != second)
            warnings.warn(
                f"Column {series.name!r}: no date tells whether the day or the month comes first, as in {example!r}; the month is "
                "taken to. Say dayfirst=True if it is the day.",
                stacklevel=4,
            )
        return dataclasses.replace(self, dayfirst=dayfirst)

    def values(self, series):
        kind = getattr(series.dtype, "kind", "O")
        if kind == "M":
            dates = _iso(series)
        elif isinstance(series.dtype, pd.CategoricalDtype):
            names = self.values(pd.Series(series.cat.categories, name=series.name))
            dates = np.append(names, np.array([""], dtype=object))[series.cat.codes]
        elif isinstance(series.dtype, pd.PeriodDtype):
            dates = _iso(series.dt.to_timestamp())
        else:
            dates = self._of_objects(series)
        unread = (dates == "") & ~series.isna().to_numpy(dtype=bool)
        if unread.any():
            unread[unread] = [not is_gap(cell) for cell in series[unread]]
        tell(unread, series, "not dates")
        return dates

    def _of_objects(self, series):
        """Dates of cells that are strings, numbers and other objects, each distinct one read once."""
        if pd.api.types.infer_dtype(series, skipna=True) == "string" and series.head(SAMPLE).nunique() > 0.9 * SAMPLE:
            # Nearly all are different, and telling them apart takes longer than reading them.
            names, codes = series.fillna("").to_numpy(dtype=object), slice(None)
        else:
            codes, distinct = factorize(series)
            names = np.array([*(_text(cell) for cell in distinct), ""], dtype=object)
        read = _by_layout(names, self.dayfirst or False)
        left = np.flatnonzero((read == "") & (names != ""))
        for start in range(0, len(left), AT_ONCE):
            part = left[start : start + AT_ONCE]
            written = [_text(name) for name in names[part]]
            read[part] = [date.decode() for date in read_dates(written, self.dayfirst or False).numpy()]
        return read[codes]

    def read(self, raw, name):
        return layers.ReadDates(self.dayfirst or False, name=name)(raw)


def year_statistics(dates):
    """(mean, variance) of the years with their months as fractions; variance 1 where all are alike, or none is known."""
    years = np.array([int(date[:4]) + (int(date[5:7]) - 0.5) / 12 for date in dates if date])
    if not len(years):
        return 0.0, 1.0
    return float(years.mean()), float(years.var()) if np.ptp(years) > 0 else 1.0


def _iso(series):
    """ISO 8601 of datetimes of any unit and time zone, '' where missing."""
    if series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    values = series.to_numpy(dtype="datetime64[us]") if series.dtype == object else series.to_numpy()
    if values.dtype.kind != "M":  # of Arrow
        values = series.astype("datetime64[us]").to_numpy()
    return np.where(np.isnat(values), "", np.datetime_as_string(values.astype("datetime64[s]"))).astype(object)


def _text(cell):
    """A distinct cell as text that `read_dates` reads."""
    if isinstance(cell, str):
        return cell if cell.isascii() else cell.encode("utf-8", "replace").decode()
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, datetime.date):  # datetimes and timestamps, too
        return cell.isoformat()
    if isinstance(cell, np.datetime64):
        return str(cell.astype("datetime64[s]"))
    if isinstance(cell, pd.Period):
        return cell.start_time.isoformat()
    if isinstance(cell, float | np.floating) and cell == cell and abs(cell) < 1e16 and cell == int(cell):
        cell = int(cell)
    return str(cell)


def _by_layout(names, dayfirst):
    """(rows,) dates of the strings that are written in the layout of the first ones, '' of the others."""
    dates = np.full(len(names), "", dtype=object)
    sample = next((name for name in names if name), "")
    for layout in (*LAYOUTS, *NUMERIC_LAYOUTS):
        if len(layout) == len(sample) and _signs(layout) == _signs(sample):
            if layout in NUMERIC_LAYOUTS and not dayfirst:
                layout = layout.replace("DD", "dd").replace("MM", "DD").replace("dd", "MM")
            for start in range(0, len(names), AT_ONCE):
                part = names[start : start + AT_ONCE]
                rows = np.flatnonzero(np.fromiter(map(len, part), int, len(part)) == len(layout))
                read, valid = _cut(part[rows], layout)
                dates[start + rows[valid]] = read[valid]
            break
    return dates


def _signs(text):
    """A layout, or a text, with "0" for digits."""
    return re.sub("[0-9YMDhms]", "0", text)


def _cut(names, layout):
    """(ISO 8601 of strings that are as long as a layout, which of them follow it and are days that there are)."""
    signs = np.array(names, dtype=f"U{len(layout)}").view("uint32").reshape(len(names), len(layout))
    digit = np.array([letter in "YMDhms" for letter in layout])
    fits = ((signs >= 48) & (signs <= 57))[:, digit].all(axis=1)
    fits &= (signs == np.frombuffer(layout.encode("utf-32-le"), "uint32"))[:, ~digit].all(axis=1)

    def number(letter):
        value = np.zeros(len(names), "int32")
        for place in [i for i, other in enumerate(layout) if other == letter]:
            value = value * 10 + (signs[:, place].astype("int32") - 48)
        return value

    year, month, day, hour, minute, second = map(number, "YMDhms")
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])[np.where(fits & (month <= 12), month, 0)]
    longest = lengths + ((month == 2) & leap)
    fits &= (year >= 1) & (month >= 1) & (day >= 1) & (day <= longest) & (hour <= 23) & (minute <= 59) & (second <= 59)
    read = np.tile(np.frombuffer("0000-00-00T00:00:00".encode("utf-32-le"), "uint32"), (len(names), 1))
    for letter in "YMDhms":
        places = [i for i, other in enumerate(layout) if other == letter]
        if places:
            read[:, [i for i, other in enumerate(CANONICAL) if other == letter]] = signs[:, places]
    return np.ascontiguousarray(read).view(f"U{len(CANONICAL)}")[:, 0].astype(object), fits

"""Dates: cells of any dtype, or as people write them, as ISO 8601 in UTC."""

import dataclasses
import datetime
import re
import warnings

import numpy as np
import pandas as pd

from mmkeras import layers
from mmkeras.data.column import Claim, Column
from mmkeras.data.drift import Drift, beyond, range_of
from mmkeras.data.numbers import is_gap, tell_missing
from mmkeras.data.telling import quiet
from mmkeras.layers.dates import read_dates

AT_ONCE = 100_000  # distinct strings that are read together
# A date of which two numbers stand before the year.
EITHER = re.compile(r"[^\d]{0,12}(\d{1,2})( ?/ ?|-|\. ?)(\d{1,2})(?:/| /|-|\.)")
HEAD = 12  # signs that hold the longest of them, but for its year
FIRST, LAST = np.datetime64("0001-01-01T00:00:00"), np.datetime64("9999-12-31T23:59:59")
# Numbers that may be years, days such as 20210603, or seconds such as 20210603143005.
LEAST_NUMBER, MOST_NUMBER = 1000, 10**14
NUMBERS_ELSEWHERE = " Seconds since 1970 and alike are numbers: give such a column as `numeric`."
# Places of the digits of year, month, day, and of the signs between, in layouts of ten signs.
YEAR_FIRST = ([0, 1, 2, 3], [5, 6], [8, 9], (4, 7))
MONTH_FIRST = ([6, 7, 8, 9], [0, 1], [3, 4], (2, 5))
DAY_FIRST = ([6, 7, 8, 9], [3, 4], [0, 1], (2, 5))
DAYS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


@dataclasses.dataclass(frozen=True)
class DateColumn(Column):
    """Dates, as strings "2021-06-03T14:30:00" in UTC; '' for a missing one.

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
        distinct = _factorize(series)[1]
        matches = _either(distinct)
        pairs = [(int(match[1]), int(match[3])) for match in matches]
        days = sum(first > 12 >= second for first, second in pairs)
        months = sum(second > 12 >= first for first, second in pairs)
        unclear = [match for match, (first, second) in zip(matches, pairs, strict=True) if first != second]
        if not unclear:
            return self
        # 3.6.2021 is in June wherever it is written so.
        dots = 2 * sum("." in match[2] for match in unclear) > len(unclear)
        if days == months and not dots:
            example = next(cell for cell in distinct if unclear[0].string in _text(cell))
            warnings.warn(
                f"Column {series.name!r}: no date tells whether the day or the month comes first, as in {example!r}; the month is "
                "taken to. Say dayfirst=True if it is the day, or dayfirst=False.",
                stacklevel=4,
            )
        return dataclasses.replace(self, dayfirst=days > months or (days == months and dots))

    def values(self, series):
        dates = _read(series, bool(self.dayfirst))
        unread = (dates == "") & ~series.isna().to_numpy(dtype=bool)
        if unread.any():
            unread[unread] = [not is_gap(cell) for cell in series[unread]]
        hint = NUMBERS_ELSEWHERE if getattr(series.dtype, "kind", "O") in "iuf" else ""
        tell_missing(unread, series, "not dates", hint)
        return dates

    def claim(self, sample):
        if not _may_hold_dates(sample):
            return None
        with warnings.catch_warnings(record=True) as doubts, quiet():
            warnings.simplefilter("always")
            column = self.adapt(sample.series)
            first = column.values(sample.known.drop_duplicates().head(TRIED))
            if (first != "").mean() < 0.5:
                return None
            dates = column.values(sample.series)
        known = dates[dates != ""]
        share = len(known) / max(1, len(sample.known))
        if share < 0.5:
            return None
        how = f", {column.how}" if column.how else ""
        why = f"dates from {known.min()[:10]} to {known.max()[:10]}{how}"
        unread = list(pd.unique(sample.series[(dates == "") & (sample.codes >= 0)])) if share < 1 else []
        if unread:
            why += f"; {share:.1%} of the cells, and others, such as {unread[0]!r:.40}, count as missing"
        told = [str(doubt.message).partition(": ")[2].rstrip(".") for doubt in doubts]
        doubt = told[0] if told else "many cells are no dates" if share < 0.95 else ""
        strength = 1.0 if sample.dtype_letter == "M" else 0.97 * share
        return Claim(strength, why, self.reads, doubt, unread=unread, values=dates)

    @property
    def held(self):
        usual = self.usual or {}
        return f"dates from {usual['low'][:10]} to {usual['high'][:10]}" if "low" in usual else ""

    def summary(self, known):
        return range_of(known)

    def differs(self, known):
        outside, findings = beyond(self.usual, known, "dates", lambda date: date[:10])
        return Drift(outside, findings=findings)

    def read(self, raw, name):
        return layers.ReadDates(bool(self.dayfirst), name=name)(raw)


def year_statistics(dates):
    """(mean, variance) of the years with their months as fractions; variance 1 where all are alike, or none is known.

    Args:
        dates: (rows,) what `DateColumn.values` gives.
    """
    years = np.array([int(date[:4]) + (int(date[5:7]) - 0.5) / 12 for date in dates if date])
    if not len(years):
        return 0.0, 1.0
    return float(years.mean()), float(years.var()) if np.ptp(years) > 0 else 1.0


TRIED = 200  # distinct cells, before all are read
LONGEST = 40  # signs of a date
YEARS = (1900, 2100)  # of days that are written as numbers


def _may_hold_dates(sample):
    """Whether cells look like dates at a glance. Years alone are numbers, and other numbers dates where all are days such as 20210603."""
    if sample.dtype_letter == "M":
        return len(sample.known) > 0
    if sample.dtype_letter in "iuf":
        numbers = np.asarray(sample.distinct[:TRIED], "float64")
        if not len(numbers) or numbers.min() < 10**4 * YEARS[0]:
            return False
        return all(map(_is_day, map(_text, numbers)))
    texts = sample.texts
    if sample.holds_lists:
        return False
    if texts is None:
        cells = sample.known.head(TRIED).tolist() if sample.dtype_letter == "O" else []
        return any(isinstance(cell, datetime.date | np.datetime64 | pd.Period) for cell in cells)
    first = texts[:50]
    if all(text.isdigit() for text in first):
        return bool(first) and all(map(_is_day, first))
    fitting = [4 < len(text) <= LONGEST and any(sign.isdigit() for sign in text) for text in first]
    return sum(fitting) >= 0.5 * len(first)


def _is_day(text):
    return (
        len(text) in (8, 14) and text.isdigit() and YEARS[0] <= int(text[:4]) <= YEARS[1] and 1 <= int(text[4:6]) <= 12
    )


def _either(distinct):
    """Matches of EITHER in distinct cells that are text, one for each beginning."""
    cells = np.asarray(distinct, dtype=object)
    texts = [cell if type(cell) is str else _text(cell) for cell in cells if isinstance(cell, str | bytes)]
    heads = {text[:HEAD] for text in texts}
    if not all(head[:1].isdigit() for head in heads):  # such as Thursday
        heads |= {text for text in texts if not text[:1].isdigit()}
    return [match for match in map(EITHER.match, sorted(heads)) if match]


def _read(series, dayfirst):
    """(rows,) dates of cells of any dtype, '' where there is none."""
    kind = getattr(series.dtype, "kind", "O")
    if isinstance(series.dtype, pd.CategoricalDtype):
        dates = _read(pd.Series(series.cat.categories), dayfirst)
        return np.append(dates, np.array([""], dtype=object))[series.cat.codes]
    if kind == "M":
        return _of_moments(series)
    if kind in "iuf":
        return _of_numbers(series, dayfirst)
    if _is_varied_text(series):
        texts = series.to_numpy(dtype=object, copy=True)
        texts[series.isna().to_numpy(dtype=bool)] = ""
        dates = _by_layout(texts, dayfirst)
        left = (dates == "") & (texts != "")
        if left.any():
            dates[left] = _of_distinct(pd.Series(texts[left], dtype=object), dayfirst)
        return dates
    return _of_distinct(series, dayfirst)


def _is_varied_text(series):
    """Whether all cells are str, and so many of them differ that looking for equal ones costs more than it saves."""
    if len(series) < 1000 or pd.api.types.infer_dtype(series, skipna=True) != "string":
        return False
    sample = series.iloc[:: max(len(series) // 10_000, 1)]
    return sample.nunique() > 0.9 * sample.count()


def _of_distinct(series, dayfirst):
    """Dates of cells that are strings, numbers and other objects, each distinct one read once."""
    codes, distinct = _factorize(series)
    texts = np.array([*map(_text, np.asarray(distinct, dtype=object)), ""], dtype=object)
    dates = _by_layout(texts, dayfirst)
    left = np.flatnonzero((dates == "") & (texts != ""))
    for start in range(0, len(left), AT_ONCE):
        part = left[start : start + AT_ONCE]
        dates[part] = [date.decode() for date in read_dates(texts[part].tolist(), dayfirst).numpy()]
    return dates[codes]


def _factorize(series):
    try:
        return pd.factorize(series)
    except TypeError:  # lists and alike have no hash
        return pd.factorize(series.map(_text, na_action="ignore"))


def _of_numbers(series, dayfirst):
    """Dates of whole numbers such as 1995 and 20210603."""
    numbers = series.to_numpy(dtype="float64", na_value=np.nan)
    whole = (numbers >= LEAST_NUMBER) & (numbers < MOST_NUMBER) & (np.floor(numbers) == numbers)
    dates = np.full(len(numbers), "", dtype=object)
    dates[whole] = _of_distinct(pd.Series(numbers[whole]), dayfirst)
    return dates


def _of_moments(series):
    """Dates of datetimes of any unit and time zone."""
    if str(series.dtype).startswith(("date32", "date64")):  # of Arrow, which have no zone
        series = series.astype("datetime64[s]")
    if series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = series.to_numpy()
    if moments.dtype.kind != "M":  # of Arrow
        moments = series.astype("datetime64[us]").to_numpy()
    moments = moments.astype("datetime64[s]")
    dates = np.datetime_as_string(moments).astype(object)
    dates[~((moments >= FIRST) & (moments <= LAST))] = ""
    return dates


def _text(cell):
    """A distinct cell as text that `read_dates` reads."""
    if isinstance(cell, str):
        return cell if cell.isascii() else cell.encode("utf-8", "replace").decode()
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    if isinstance(cell, datetime.datetime):  # timestamps, too
        return cell.isoformat(timespec="seconds")
    if isinstance(cell, datetime.date):
        return cell.isoformat()
    if isinstance(cell, np.datetime64):
        return str(cell.astype("datetime64[s]"))
    if isinstance(cell, pd.Period):
        return cell.start_time.isoformat(timespec="seconds")
    if isinstance(cell, float | np.floating) and abs(cell) < MOST_NUMBER and cell == int(cell):
        return str(int(cell))
    return str(cell)


def _by_layout(texts, dayfirst):
    """Dates of strings in the layouts of most tables, '' of others; read as arrays, exactly as `read_dates` reads them.

    These are ten signs such as 2021-06-03 or 03/06/2021, a time such as 14:30 or 14:30:05 behind it, and a Z behind that.
    """
    dates = np.full(len(texts), "", dtype=object)
    lengths = np.fromiter(map(len, texts), "int64", len(texts))
    for length in (10, 16, 19, 20):
        rows = np.flatnonzero(lengths == length)
        joined = "".join(texts[rows])
        if not joined.isascii():
            rows = rows[[text.isascii() for text in texts[rows]]]
            joined = "".join(texts[rows])
        if joined:
            signs = np.frombuffer(joined.encode(), "uint8").reshape(len(rows), length)
            for layout in (YEAR_FIRST, DAY_FIRST if dayfirst else MONTH_FIRST):
                fits = _fits(signs, layout)
                dates[rows[fits]] = _written(signs[fits], layout)
    return dates


def _fits(signs, layout):
    """(rows,) whether rows of signs have a layout, and are days and times that there are."""
    (year, month, day, (left, right)), length = layout, signs.shape[1]
    between = signs[:, left]
    fits = (between == signs[:, right]) & np.isin(between, np.frombuffer(b"-/.", "uint8"))
    if not fits.any():
        return fits
    digits = signs - np.uint8(48)  # more than 9 where there is no digit
    for place in [*year, *month, *day]:
        fits &= digits[:, place] < 10
    if length > 10:
        fits &= np.isin(signs[:, 10], np.frombuffer(b" T", "uint8"))
    for colon, tens, most in ((None, 11, 24), (13, 14, 60), (16, 17, 60)):
        if length > tens:
            fits &= (colon is None) | (signs[:, colon or 0] == ord(":"))
            fits &= (digits[:, tens] < 10) & (digits[:, tens + 1] < 10) & (_number(digits, [tens, tens + 1]) < most)
    if length == 20:
        fits &= signs[:, 19] == ord("Z")
    year, month, day = (_number(digits, places) for places in (year, month, day))
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    fits &= (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1)
    return fits & (day <= DAYS[np.where(fits, month, 0)] - ((month == 2) & ~leap))


def _number(digits, places):
    number = np.zeros(len(digits), "int16")
    for place in places:
        number = number * np.int16(10) + digits[:, place]
    return number


def _written(signs, layout):
    """Rows of signs in a layout as dates."""
    dates = np.tile(np.frombuffer(b"0000-00-00T00:00:00\n", "uint8"), (len(signs), 1))
    for start, places in zip((0, 5, 8), layout, strict=False):
        for offset, place in enumerate(places):
            dates[:, start + offset] = signs[:, place]
    end = min(signs.shape[1], 19)
    dates[:, 11:end] = signs[:, 11:end]
    return dates.tobytes().decode().split("\n")[:-1]

"""Numbers: cells of any dtype, or as people write them."""

import collections
import dataclasses
import datetime
import re
import warnings

import numpy as np
import pandas as pd

from mmkeras import layers
from mmkeras.data.categories import factorize
from mmkeras.data.column import Claim, Column
from mmkeras.data.drift import Drift, beyond, bins_of, range_of, shift
from mmkeras.data.telling import quiet, shortened, tell
from mmkeras.layers.cells import BLANKS, GAPS, MULTIPLIERS, read_numbers

AT_ONCE = 100_000  # distinct strings that are read together
# A number with what stands before and behind it: its unit, which is short.
WRITTEN = re.compile(r"^([^\d.,]{0,40})(\d[\d.,'’ ]*+(?:[eE][+-]?\d+)?|[.,]\d+)([^\d]{0,40})$")
# How a number's digits tell which sign stands before its decimals.
SAYS_COMMA = re.compile(r"^(\d+,(\d{1,2}|\d{4,})|0,\d+|\d{4,},\d+|\d{1,3}([. '’]\d{3})+,\d*|\d{1,3}(\.\d{3}){2,})$")
SAYS_POINT = re.compile(r"^(\d*\.(\d{1,2}|\d{4,})|0\.\d+|\d{4,}\.\d+|\d{1,3}([, '’]\d{3})+\.\d*|\d{1,3}(,\d{3}){2,})$")
EITHER = re.compile(r"^\d{1,3},\d{3}$")


@dataclasses.dataclass(frozen=True)
class NumberColumn(Column):
    """Numbers, as float32, or float64 where single precision could not tell the training cells apart; NaN for a missing one.

    Strings are read by `layers.read_numbers`, with what `adapt` found on the whole training column: one sign for decimals, and one
    unit. Durations are seconds, moments are seconds since 1970 in UTC, truths are 1 and 0. Other strings, infinities, and
    numbers with another unit count as missing, with a warning.

    Args:
        decimal: "." or ",", what stands before decimals; None is found by `adapt`, and "." before.
        unit: str, the unit that numbers may have.
        wide: bool, whether raw values are float64; `adapt` finds it.
    """

    decimal: str | None = None
    unit: str = ""
    wide: bool = False

    reads = "number"
    reads_text = True

    @property
    def dtype(self):
        return "float64" if self.wide else "float32"

    def __post_init__(self):
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"`decimal` must be '.', ',' or None. Received: {self.decimal!r}.")

    @property
    def how(self):
        signs = ["with decimal commas"] if self.decimal == "," else []
        return ", ".join([*signs, *([f"in {self.unit}"] if self.unit else [])])

    def adapt(self, series):
        strings = (
            [_plain(cell) for cell in pd.unique(series.dropna().map(_text, na_action="ignore").dropna())]
            if _may_hold_text(series)
            else []
        )
        strings = [text for text in strings if text.lower() not in GAPS]
        matches = [match for match in map(WRITTEN.match, strings) if match]
        units = collections.Counter(unit for unit in map(_unit, matches) if unit)
        unit = units.most_common(1)[0][0] if units else ""
        digits = [match[2].strip() for match in matches]
        comma, point = (sum(bool(says.match(number)) for number in digits) for says in (SAYS_COMMA, SAYS_POINT))
        decimal = self.decimal or ("," if comma > point else ".")
        if self.decimal is None and not comma and not point and any(EITHER.match(number) for number in digits):
            example = next(number for number in digits if EITHER.match(number))
            warnings.warn(
                f"Column {series.name!r} can be read in two ways: {example!r} is read as {example.replace(',', '')}, the comma "
                "between thousands. Say decimal=',' if it stands before decimals.",
                stacklevel=4,
            )
        column = dataclasses.replace(self, decimal=decimal, unit=unit, wide=True)
        with quiet():  # what cannot be read is told of when the rows are
            known = column.values(series)
        return dataclasses.replace(column, wide=_is_wide(known[~np.isnan(known)]))

    def values(self, series):
        kind = getattr(series.dtype, "kind", "O")
        if kind in "mM":
            numbers = _seconds(series)
        elif isinstance(series.dtype, pd.CategoricalDtype):
            categories = pd.Series(series.cat.categories, name=series.name)
            numbers = np.append(self.values(categories), np.nan)[series.cat.codes]
        elif kind in "iufb":
            return self._narrowed(series.to_numpy(dtype="float64", na_value=np.nan), series)
        else:
            numbers = self._of_objects(series)
        unread = np.isnan(numbers) & ~series.isna().to_numpy(dtype=bool)
        if unread.any():
            unread[unread] = [not is_gap(cell) for cell in series[unread]]
        tell_missing(unread, series, "not numbers")
        return self._narrowed(numbers, series)

    def _narrowed(self, numbers, series):
        """Numbers in the column's precision; what single precision cannot hold is missing."""
        with np.errstate(over="ignore"):
            narrow = numbers.astype("float32")
        infinite = np.isinf(narrow)
        tell_missing(infinite, series, "infinite")
        values = numbers if self.wide else narrow
        return np.where(infinite, np.nan, values) if infinite.any() else values

    def _of_objects(self, series):
        """float64 of cells that are strings, numbers and other objects, each distinct one read once."""
        if self.decimal != "," and pd.api.types.infer_dtype(series, skipna=True) == "string":
            numbers = pd.to_numeric(series, errors="coerce").to_numpy("float64", na_value=np.nan)
            left = ~np.isfinite(numbers) & ~series.isna().to_numpy(dtype=bool)
            numbers = np.where(left, np.nan, numbers)
            if left.any():
                numbers[left] = self._of_distinct(series[left])
            return numbers
        return self._of_distinct(series)

    def _of_distinct(self, series):
        codes, distinct = factorize(series)
        texts = [_text(cell) for cell in distinct]
        numbers = [_number(cell) if text is None else np.nan for cell, text in zip(distinct, texts, strict=True)]
        numbers = np.array([*numbers, np.nan], "float64")
        written = np.flatnonzero([text is not None for text in texts])
        for start in range(0, len(written), AT_ONCE):
            part = written[start : start + AT_ONCE]
            numbers[part] = self._read([texts[place] for place in part]).numpy()
        return numbers[codes]

    def _read(self, texts):
        return read_numbers(texts, self.decimal or ".", self.unit)

    def read(self, raw, name):
        return layers.ReadNumbers(self.decimal or ".", self.unit, name=name)(raw) if raw.dtype == "string" else raw

    def claim(self, sample):
        if sample.dtype_letter in "bM" or not _may_hold_numbers(sample):
            return None
        column, doubts = self, []
        with quiet():
            if sample.may_hold_text:
                with warnings.catch_warnings(record=True) as doubts:
                    warnings.simplefilter("always")
                    column = self.adapt(sample.series)
            values = dataclasses.replace(column, wide=True).values(sample.series)
        known = values[~np.isnan(values)]
        share = len(known) / max(1, sample.count)
        if share < 0.5:
            return None
        strength, why, doubt = _judged(known, sample)
        if column.unit and share >= 0.95 and sample.share(lambda text: text[:1].isalpha()) < 0.5:
            strength = max(strength, 0.9)  # a unit behind a number, or a currency before it, is of no code
        doubts = [str(doubt.message).partition(": ")[2] for doubt in doubts]
        unread = []
        if share < 1:
            strength *= share
            unread = list(pd.unique(sample.series[np.isnan(values) & (sample.codes >= 0)]))
            why += f"; {share:.1%} of the cells, and others, such as {unread[0]!r:.40}, count as missing"
            doubt = doubt or ("many cells are no numbers" if share < 0.95 else "")
        why += f", {column.how}" if column.how else ""
        doubt = doubts[0].rstrip(".") if doubts else doubt
        return Claim(strength, why, self.reads, doubt, unread=unread, values=values)

    def findings(self, series, values):
        known = values[~np.isnan(values)].astype("float64")
        if len(known) < 2:
            return []
        spread = known.std() or 1.0
        before = len(factorize(series)[1])
        after = len(np.unique(((known - known.mean()) / spread).astype("float32")))
        if before > 2 and after < 0.5 * before:
            return [
                f"{before:,} different cells become {after:,} different numbers: the rest is beyond their precision"
            ]
        return []

    @property
    def held(self):
        usual = self.usual or {}
        if "low" not in usual:
            return ""
        return f"numbers from {_written(usual['low'])} to {_written(usual['high'])}, their median {_written(usual['median'])}"

    def summary(self, known):
        return {**range_of(known), **bins_of(known)}

    def differs(self, known):
        outside, told = beyond(self.usual, known, "numbers", _written)
        index, more = shift(self.usual, known, _written)
        return Drift(outside, index, told + more)


# Seconds since 1970 from 2000 to 2035, which no quantity but time is likely to keep to; and the same in milliseconds.
SINCE_1970 = (946_684_800, 2_051_222_400)
FEW = 20  # whole numbers that may as well be codes
ZEROS = re.compile(r"\D*0\d+\D*$")
NAMES_OF_CODES = re.compile(
    r"(?:^|[\W_])(?i:id|key|code|nr|no|zip|index|idx)$|[a-z](?:Id|ID|Key|Code|Nr|No)$", re.ASCII
)


def _written(number):
    """A number in a sentence."""
    if number == np.floor(number) and abs(number) < 1e15:
        return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.0f}"
    return f"{number:,.6g}"


def _may_hold_numbers(sample):
    """Whether the first cells have digits in them, or are none of text."""
    if sample.texts is None:
        return not sample.holds_lists and sample.count > 0
    first = sample.texts[:50]
    return sum(any(sign.isdigit() for sign in text) for text in first) >= 0.5 * max(1, len(first))


def _judged(known, sample):
    """(strength, why, doubt) of numbers that a column holds."""
    if sample.dtype_letter == "m":
        return 1.0, f"durations from {known.min():,.6g} to {known.max():,.6g} seconds", ""
    span, different = f"from {_written(known.min())} to {_written(known.max())}", len(np.unique(known))
    if (known != np.floor(known)).any():
        return 0.9, f"numbers {span}", ""
    if sample.share(ZEROS.match) > 0.02:
        return 0.3, f"digits with zeros before them {span}", "zeros before them would be lost"
    if different <= 2:
        return 0.4, f"whole numbers {span}", ""
    for factor, unit in ((1, "s"), (1000, "ms")):
        if SINCE_1970[0] * factor <= known.min() and known.max() <= SINCE_1970[1] * factor and different > FEW:
            first, last = (str(np.datetime64(int(number // factor), "s"))[:10] for number in (known.min(), known.max()))
            doubt = f"they may be times: pd.to_datetime(df[{sample.name!r}], unit={unit!r}) makes dates from {first} to {last}"
            return 0.8, f"whole numbers {span}", doubt
    if different <= FEW:
        return 0.6, f"{different} different whole numbers {span}", ""
    zeros = (known == 0).mean()
    hint = ""
    if known.min() == 0 and zeros > 0.1:
        hint = f"; 0 in {zeros:.0%} of them: name the column in zero_is_missing, too, if that means unknown"
    doubt = "it is named like a code: it may be of kind category" if NAMES_OF_CODES.search(str(sample.name)) else ""
    return 0.8, f"whole numbers {span}{hint}", doubt


def _is_wide(known):
    """Whether single precision is coarse beside the spread of numbers, as for seconds since 1970."""
    if len(known) == 0:
        return False
    spread = known.std()
    coarse = np.spacing(np.float32(np.abs(known).max())) > 1e-4 * spread
    return bool(coarse and (spread > 0 or (known.astype("float32") != known).any()))


def _may_hold_text(series):
    return getattr(series.dtype, "kind", "O") in "OSU" or isinstance(series.dtype, pd.CategoricalDtype)


def _text(cell):
    """A cell that is text as str, else None."""
    if isinstance(cell, str):
        return cell.encode("utf-8", "replace").decode()
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else None


def _plain(text):
    return re.sub(f"[{BLANKS}]+", " ", text).strip()


def is_gap(cell):
    """Whether a cell is a word that stands for nothing, such as "NA"."""
    text = _text(cell)
    return text is not None and _plain(text).lower() in ("", *GAPS)


def _unit(match):
    """What stands around a number, without sign, brackets and multiplier."""
    before, _, behind = match.groups()
    unit = before.strip(" +-−–(") or behind.strip(" )")
    for letters in sorted(MULTIPLIERS, key=len, reverse=True):
        if behind.strip().startswith(letters) and not before.strip(" +-−–("):
            rest = behind.strip()[len(letters) :]
            if not rest[:1].isalpha():
                return rest.strip()
    return unit


def _number(cell):
    """A cell that is no text as float; NaN where it is no number."""
    if isinstance(cell, datetime.timedelta | np.timedelta64 | datetime.datetime | np.datetime64 | datetime.date):
        is_span = isinstance(cell, datetime.timedelta | np.timedelta64)
        return _seconds(
            pd.Series([cell], dtype=None if is_span else "object").pipe(pd.to_timedelta if is_span else pd.to_datetime)
        )[0]
    try:
        return float(cell)
    except OverflowError:
        return np.inf
    except (TypeError, ValueError):
        return np.nan


def _seconds(series):
    """Durations, or moments since 1970 in UTC, in seconds, whatever the unit of their dtype."""
    if str(series.dtype).startswith(("date32", "date64")):  # of Arrow, which have no zone
        series = series.astype("datetime64[s]")
    if series.dtype.kind == "M" and series.dt.tz is not None:
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    values = series.to_numpy()
    if values.dtype.kind not in "mM":  # of Arrow
        values = series.astype("datetime64[us]" if series.dtype.kind == "M" else "timedelta64[us]").to_numpy()
    unit, count = np.datetime_data(values.dtype)
    per_second = np.timedelta64(1, "s") / np.timedelta64(1, unit)
    return np.where(np.isnat(values), np.nan, values.astype("int64") * (count / per_second))


def tell_missing(flags, series, what, hint=""):
    """Warn of the flagged cells of a column, if there are any, and add the hint."""
    if flags.any():
        example = series.iloc[[int(np.flatnonzero(flags)[0])]].to_numpy(dtype=object)[0]
        tell(
            f"Column {series.name!r}: {int(flags.sum())} values are {what} (for example {shortened(example, 200)}) and are treated as missing.{hint}",
            stacklevel=4,
        )

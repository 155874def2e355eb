"""Layers of dates: as people write them → ISO 8601 → parts of the calendar."""

import math

import keras
import tensorflow as tf

from mmkeras.layers.cells import BLANKS

PACKAGE = "mmkeras"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
REST_OF_MONTHS = ("uary", "ruary", "ch", "il", "", "e", "y", "ust", "(?:t|tember)", "ober", "ember", "ember")
# "YYYY-MM-DDThh:mm:ss" of a day that there is, in the years 1 to 9999.
CANONICAL = (
    r"(?:(?:000[1-9]|00[1-9]\d|0[1-9]\d{2}|[1-9]\d{3})-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|"
    r"(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))|"
    r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29)"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
)
_NAMES = "|".join(f"{month}(?:{rest})?" for month, rest in zip(MONTHS, REST_OF_MONTHS, strict=True))
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? )?"
# Groups: hour, minute, second, am or pm, offset from UTC.
_TIME = (
    r"(?:(?: ?t ?|,? (?:at )?)(\d{1,2})(?:[:h](\d{2})(?::(\d{2})(?:[.,]\d+)?)?)? ?([ap]\.?m\.?)?"
    r" ?(z|utc|gmt|(?:utc|gmt)? ?[+-]\d{1,2}(?::?\d{2})?)?)?"
)
_NO_TIME = "()()()()()"


def _forms(dayfirst):
    """(regular expression of a date, year, month and day as its groups, whether a time may follow)."""
    numeric = r"\3|\2|\1" if dayfirst else r"\3|\1|\2"
    return [
        (r"(\d{4})(?:\.0)?()()", r"\1|1|1", False),
        (r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})", r"\1|\2|\3", True),
        (r"(\d{4})(\d{2})(\d{2})(?:\.0)?", r"\1|\2|\3", True),
        (r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4}|\d{2})", numeric, True),
        (rf"({_NAMES})\.? (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{4}})", r"\3|\1|\2", True),
        (rf"(\d{{1,2}})(?:st|nd|rd|th|\.)?[ -]?(?:of )?({_NAMES})\.?,?[ -]?(\d{{4}}|\d{{2}})", r"\3|\2|\1", True),
        (rf"(\d{{4}})[ -]({_NAMES})\.?[ -](\d{{1,2}})", r"\1|\2|\3", True),
        (rf"({_NAMES})\.?,?[ -](\d{{4}})()", r"\2|\1|1", False),
        (r"(\d{4})[-/.](\d{1,2})()", r"\1|\2|1", False),
        (r"(\d{4})-?(w\d{2})-?([1-7])", r"\1|\2|\3", True),
        (r"(\d{4})-?(w\d{2})()", r"\1|\2|1", True),
        (r"(\d{4})-(\d{3})()", r"\1|o|\2", True),
    ]


def read_dates(texts, dayfirst=False):
    """Dates as people write them: (B,) strings → (B,) strings "YYYY-MM-DDThh:mm:ss" in UTC, "" where there is none.

    ISO 8601 with weeks and days of the year too; 20210603; 2021/06/03; 3.6.2021 and 6/3/21 by `dayfirst`; June 3, 2021; 3rd June 2021;
    Thu, 03 Jun 2021; June 2021 and 2021-06, the first of the month; 2021, the first of January. A time may follow: 14:30,
    14:30:05.5, 2:30 PM, 14, with Z, an offset such as +02:00, or none, which is UTC. Fractions of seconds are cut.

    Args:
        texts: (B,) strings.
        dayfirst: bool, whether 3/6/2021 is in June.

    Example:
        >>> read_dates(["2021-06-03T14:30-07:00", "3/6/2021 2:30 PM", "2021-02-30"], dayfirst=True).numpy().tolist()
        [b'2021-06-03T21:30:00', b'2021-06-03T14:30:00', b'']
    """
    texts = tf.reshape(texts, [-1])
    done = tf.strings.regex_full_match(texts, f"(?:{CANONICAL})?")
    return tf.cond(tf.reduce_all(done), lambda: tf.identity(texts), lambda: _read_all(texts, dayfirst))


def _read_all(texts, dayfirst):
    text = tf.strings.lower(tf.strings.strip(tf.strings.regex_replace(texts, f"[{BLANKS}]+", " ")))
    text = tf.strings.regex_replace(text, r"[|\n]", "?")
    for pattern, date, timed in _forms(dayfirst):
        full = rf"^{_WEEKDAY}{pattern}{_TIME if timed else _NO_TIME}$"
        text = tf.strings.regex_replace(text, full, rf"{date}|\4|\5|\6|\7|\8")
    valid = tf.strings.regex_full_match(text, r"[^|]*(?:\|[^|]*){7}")
    fields = tf.strings.split(tf.where(valid, text, "2000|1|1|||||"), "|").to_tensor(shape=[None, 8])
    year, month, day, hour, minute, second, half, zone = tf.unstack(fields, axis=1)
    days, exists = _days_of(_year(year), month, _int(day))
    seconds, possible = _seconds_of(_int(hour), _int(minute), _int(second), half)
    shift, known = _offset(zone)
    moment = days * 86_400 + seconds - shift
    civil, inside = _civil(tf.math.floordiv(moment, 86_400))
    rest = tf.math.floormod(moment, 86_400)
    parts = [*civil, rest // 3600, rest // 60 % 60, rest % 60]
    widths = (4, 2, 2, 2, 2, 2)
    written = [tf.strings.as_string(part, width=width, fill="0") for part, width in zip(parts, widths, strict=True)]
    joined = [sign for pair in zip(written, ("-", "-", "T", ":", ":", ""), strict=True) for sign in pair]
    return tf.where(valid & exists & possible & known & inside, tf.strings.join(joined), "")


def _int(digits):
    """int64 of strings of digits, 0 for ''."""
    return tf.strings.to_number(tf.where(tf.strings.regex_full_match(digits, r"\d+"), digits, "0"), tf.int64)


def _year(digits):
    year = _int(digits)
    short = tf.strings.length(digits) == 2
    return tf.where(short, year + tf.where(year < 69, tf.constant(2000, tf.int64), tf.constant(1900, tf.int64)), year)


def _days_of(year, month, day):
    """(days since 1970 of a date, of a day in an ISO week, or of the n-th day of a year; whether there is such a day)."""
    week = tf.strings.regex_full_match(month, r"w\d{2}")
    ordinal = month == "o"
    named = tf.zeros_like(year)
    for number, name in enumerate(MONTHS, 1):
        named = tf.where(tf.strings.regex_full_match(month, f"{name}.*"), tf.constant(number, tf.int64), named)
    month_number = tf.where(named > 0, named, _int(month))
    one = tf.ones_like(year)
    months = tf.clip_by_value(month_number, 1, 12)
    following = days_from_civil(tf.where(months == 12, year + 1, year), tf.where(months == 12, one, months + 1), one)
    first = days_from_civil(year, months, one)
    exists = (month_number == months) & (day >= 1) & (day <= following - first)
    start, end = days_from_civil(year, one, one), days_from_civil(year + 1, one, one)
    weeks = _int(tf.strings.regex_replace(month, "^w", ""))
    monday, next_monday = (_first_monday(days_from_civil(y, one, 4 * one)) for y in (year, year + 1))
    in_week = monday + 7 * (weeks - 1) + day - 1
    exists = tf.where(ordinal, (day >= 1) & (day <= end - start), exists)
    exists = tf.where(week, (weeks >= 1) & (in_week < next_monday), exists)
    days = tf.where(week, in_week, tf.where(ordinal, start + day - 1, first + day - 1))
    return days, exists & (year >= 1) & (year <= 9999)


def _first_monday(fourth):
    """The Monday of the week of January 4, which is the first ISO week."""
    return fourth - tf.math.floormod(fourth + 3, 7)  # day 0, 1970-01-01, was a Thursday


def _seconds_of(hour, minute, second, half):
    """(seconds of a time of the day; whether there is such a time)."""
    twelve = half != ""
    afternoon = tf.strings.regex_full_match(half, "p.*")
    of_day = tf.where(
        twelve, hour % 12 + tf.where(afternoon, tf.constant(12, tf.int64), tf.constant(0, tf.int64)), hour
    )
    possible = (hour <= 23) & (minute <= 59) & (second <= 59) & (~twelve | ((hour >= 1) & (hour <= 12)))
    return of_day * 3600 + minute * 60 + second, possible


def _offset(zone):
    """(seconds ahead of UTC; whether there is such an offset)."""
    zone = tf.strings.regex_replace(zone, "^(z|utc|gmt) ?", "")
    pattern = r"^([+-])(\d{1,2}):?(\d{2})?$"
    hours, minutes = (_int(tf.strings.regex_replace(zone, pattern, group)) for group in (r"\2", r"\3"))
    size = hours * 3600 + minutes * 60
    return tf.where(tf.strings.regex_full_match(zone, "-.*"), -size, size), (hours <= 15) & (minutes <= 59)


def days_from_civil(year, month, day):
    """Days since 1970-01-01 in the Gregorian calendar, of int64 tensors (Hinnant, 2013, "chrono-compatible date algorithms")."""
    year = tf.where(month <= 2, year - 1, year)
    era = tf.math.floordiv(year, 400)
    of_era = year - era * 400
    of_year = tf.math.floordiv(
        153 * (month + tf.where(month > 2, -3 * tf.ones_like(month), 9 * tf.ones_like(month))) + 2, 5
    )
    return era * 146_097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year + day - 1 - 719_468


def _civil(days):
    """((year, month, day) of days since 1970; whether the year is one of 1 to 9999), after Hinnant."""
    days = days + 719_468
    era = tf.math.floordiv(days, 146_097)
    of_era = days - era * 146_097
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    shifted = (5 * of_year + 2) // 153
    day = of_year - (153 * shifted + 2) // 5 + 1
    month = tf.where(shifted < 10, shifted + 3, shifted - 9)
    year = years + era * 400 + tf.cast(month <= 2, tf.int64)
    return (year, month, day), (year >= 1) & (year <= 9999)


@keras.saving.register_keras_serializable(PACKAGE)
class ReadDates(keras.layers.Layer):
    """Dates as people write them → ISO 8601 in UTC, (B,) strings → (B,) strings; see `read_dates`.

    Args:
        dayfirst: bool, whether 3/6/2021 is in June.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.ReadDates(dayfirst=True)(tf.constant(["3/6/2021"])).numpy().tolist()
        [b'2021-06-03T00:00:00']
    """

    def __init__(self, dayfirst=False, **kwargs):
        super().__init__(**kwargs)
        self.dayfirst = dayfirst
        self.supports_jit = False  # strings

    def call(self, texts):
        return read_dates(texts, self.dayfirst)

    def compute_output_spec(self, texts):
        return keras.KerasTensor(texts.shape, "string")

    def get_config(self):
        return {**super().get_config(), "dayfirst": self.dayfirst}


@keras.saving.register_keras_serializable(PACKAGE)
class CalendarParts(keras.layers.Layer):
    """ISO 8601 strings → parts of the calendar: (B,) → (B, 7); NaN in all seven where no date is given.

    The parts are: year with its fraction, then sine and cosine of the day in the year, of the weekday and
    of the hour. Takes "2021-04-03", "2021-04-03T17:30" and "2021-04-03 17:30:00", see `ReadDates`; anything else is missing.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> parts = mm.layers.CalendarParts()(tf.constant(["2021-04-03", "soon"])).numpy()
        >>> parts.shape, int(parts[0, 0]), bool((parts[1] != parts[1]).all())
        ((2, 7), 2021, True)
    """

    PATTERN = r"^\s*(\d{4})-(\d{1,2})-(\d{1,2})(?:[T ](\d{1,2}):(\d{2}).*)?\s*$"

    def call(self, dates):
        dates = tf.reshape(dates, [-1])
        valid = tf.strings.regex_full_match(dates, self.PATTERN)
        safe = tf.where(valid, dates, "2000-01-01")

        def group(number):
            digits = tf.strings.regex_replace(safe, self.PATTERN, rf"\{number}")
            return tf.strings.to_number(tf.where(digits == "", "0", digits), tf.int64)

        year, month, day = group(1), group(2), group(3)
        days, start = days_from_civil(year, month, day), days_from_civil(year, tf.ones_like(month), tf.ones_like(day))
        weekday = tf.math.floormod(days + 3, 7)  # day 0, 1970-01-01, was a Thursday: Monday counts as 0
        hour = tf.cast(group(4), tf.float32) + tf.cast(group(5), tf.float32) / 60.0
        year, in_year, weekday = (tf.cast(x, tf.float32) for x in (year, days - start, weekday))
        in_year = in_year / 365.25
        turns = tf.stack([in_year, weekday / 7.0, hour / 24.0], axis=-1) * (2.0 * math.pi)
        waves = tf.reshape(tf.stack([tf.sin(turns), tf.cos(turns)], axis=-1), [-1, 6])
        numbers = tf.concat([(year + in_year)[:, None], waves], axis=-1)
        return tf.where(valid[:, None], numbers, float("nan"))  # float32 always: bfloat16 has no 2019

    def compute_output_spec(self, dates):
        return keras.KerasTensor((dates.shape[0], 7), "float32")

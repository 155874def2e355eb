"""Layers of dates: as people write them, and as parts of the calendar."""

import functools
import math

import keras
import tensorflow as tf

from mmkeras.layers.cells import BLANKS
from mmkeras.layers.once import traced_once

PACKAGE = "mmkeras"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
SECONDS = 86_400  # of a day
LONGEST = 200  # bytes of a text that may be a date

# A date that is written as `read_dates` writes it, and exists.
YEAR = r"(?:[1-9]\d{3}|0[1-9]\d\d|00[1-9]\d|000[1-9])"
LEAP_YEAR = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
DAY = r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|02-(?:0[1-9]|1\d|2[0-8]))"
CANONICAL = rf"(?:{YEAR}-{DAY}|{LEAP_YEAR}-02-29)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"

# What is said in another way first: [pattern, replacement].
REWRITTEN = (
    # Wednesday, 3 June
    (r"^(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?[.,]{0,2} ", ""),
    (r"\b(?:(jan)uary|(feb)ruary|(mar)ch|(apr)il|(jun)e|(jul)y|(aug)ust|(oct)ober|(sept|nov|dec)ember)\b",
     r"\1\2\3\4\5\6\7\8\9"),
    (r"\b(sep)t\b", r"\1"),
    # jun 03 14:30:00 +0000 2021
    (r"^([a-z]{3}) (\d{1,2}) (\d{1,2}:\d{2}:\d{2}(?: [a-z\d:+-]+)?) (\d{4})$", r"\1 \2 \4 \3"),
    # 03/jun/2021:14:30:00, 03jun2021:14:30:00
    (r"^(\d{1,2}[/-]?[a-z]{3}[/-]?\d{4}):", r"\1 "),
    # 20210603t143000, 20210603143000, 20210603t1430
    (r"^(\d{8})[t ]?(\d{2})(\d{2})(\d{2})", r"\1t\2:\3:\4"),
    (r"^(\d{8})[t ](\d{2})(\d{2})", r"\1t\2:\3"),
)  # fmt: skip

NAME, BETWEEN, ANY = f"({'|'.join(MONTHS)})", "[ ,./-]{1,3}", "[ ,./-]{0,3}"
SEPARATORS = ("-", " ?/ ?", r"\. ?")
# A form of a date, and what it means: a kind (civil, week, day of the year, quarter), year, month or alike, and day.
FORMS = (
    *((rf"(\d{{4}}){sign}(\d{{1,2}}){sign}(\d{{1,2}})", r"c:\1:\2:\3") for sign in (*SEPARATORS, ":")),
    (r"(\d{4})(\d{2})(\d{2})(?:\.0*)?", r"c:\1:\2:\3"),
    (rf"(\d{{4}}){ANY}{NAME}{BETWEEN}(\d{{1,2}})", r"c:\1:\2:\3"),
    (rf"(\d{{1,2}})(?:st|nd|rd|th)?(?: of)?{ANY}{NAME}{ANY}(\d{{4}}|\d{{2}})", r"c:\3:\2:\1"),
    (rf"{NAME}{ANY}(\d{{1,2}})(?:st|nd|rd|th)?{BETWEEN}(\d{{4}}|\d{{2}})", r"c:\3:\1:\2"),
    (r"(\d{4})-?w(\d{2})-?(\d)", r"w:\1:\2:\3"),
    (r"(\d{4})(-)(\d{3})", r"d:\1:1:\3"),
)
# Those that can be read by two rules.
EITHER = tuple(rf"(\d{{1,2}}){sign}(\d{{1,2}}){sign}(\d{{4}}|\d{{2}})" for sign in SEPARATORS)
MONTH_FIRST, DAY_FIRST = r"c:\3:\1:\2", r"c:\3:\2:\1"
# Those that no time can follow.
ALONE = (
    (r"(\d{4})(?:\.0*)?", r"c:\1:1:1"),
    (r"(\d{4})[/-](\d{1,2})", r"c:\1:\2:1"),
    (r"(\d{1,2})[/-](\d{4})", r"c:\2:\1:1"),
    (rf"(\d{{4}}){ANY}{NAME}\.?", r"c:\1:\2:1"),
    (rf"{NAME}{ANY}(\d{{4}})", r"c:\2:\1:1"),
    (r"(\d{4})-?w(\d{2})", r"w:\1:\2:1"),
    (r"(\d{4})[ -]?q([1-4])", r"q:\1:\2:1"),
    (r"q([1-4])[ /-]?(\d{4})", r"q:\2:\1:1"),
)
# What follows a date: hour, minute, second, a or p, and how far the clock is before UTC: sign, hours, minutes, seconds.
CLOCK = r"(\d{1,2})(?:[:h](\d{2})(?::(\d{2})(?:[.,]\d+)?)?|h)?(?: ?([ap])\.?m\.?)?"
ZONE = r" ?(?:(?:utc|gmt)? ?([+-])(\d{2}|\d)(?::?(\d{2})(?::?(\d{2}))?)?(?: ?[(\[][^)\]]*[)\]]| [a-z]{3,5})?|z|utc|gmt)"
TIME = rf"^(D[a-z]:\w+:\w+:\w+:)(?:(?:t|,? ?at |, ?| ){CLOCK}(?:{ZONE})?)?$"
NOTHING = "Dc:2000:1:1:"


def read_dates(texts, dayfirst=False):
    """Dates as people write them: (B,) strings → (B,) strings "2021-06-03T14:30:00" in UTC, "" where there is none.

    Years come first, or stand behind day and month, of which `dayfirst` says the order; names of months are English; years of two
    digits are from 1969 to 2068. ISO 8601 with its weeks and days of the year, and "June 2021" for the first, are read, too. Without
    an offset from UTC there is none; fractions of seconds are cut; a time without a date is no date. What does not fit its form, such
    as "2021-02-30", or month 16, is no date, and read by no other rule.

    Args:
        texts: (B,) strings; case and blanks do not matter.
        dayfirst: bool, whether 3/6/2021 is in June.

    Example:
        >>> read_dates(["June 3, 2021 2:30 PM", "2021-06-03 14:30+02:00", "3/6/21"], dayfirst=True).numpy().tolist()
        [b'2021-06-03T14:30:00', b'2021-06-03T12:30:00', b'2021-06-03T00:00:00']
    """
    texts = tf.reshape(tf.convert_to_tensor(texts), [-1])
    plain = tf.strings.regex_full_match(texts, f"(?:{CANONICAL})?")
    return tf.cond(tf.reduce_all(plain), lambda: tf.identity(texts), lambda: _reading(dayfirst)(texts))


@functools.cache
def _reading(dayfirst):
    return traced_once(functools.partial(_read, dayfirst=dayfirst))


def _read(texts, dayfirst):
    """`read_dates`, each distinct text once."""
    texts, places = tf.unique(tf.where(tf.strings.length(texts) > LONGEST, "", texts))
    text = _formed(tf.strings.lower(texts), dayfirst)
    valid = tf.strings.regex_full_match(text, TIME)
    text = tf.strings.regex_replace(tf.where(valid, text, NOTHING), TIME, r"\1\2:\3:\4:\5:\6:\7:\8:\9")
    fields = tf.strings.split(text, ":").to_tensor(shape=[None, 12])
    (days, is_day), (seconds, is_time) = _days(fields), _seconds(fields)
    total = days * SECONDS + seconds
    year, month, day = _civil_from_days(total // SECONDS)
    valid = valid & is_day & is_time & (year >= 1) & (year <= 9999)
    clock = total % SECONDS
    numbers = [year, month, day, clock // 3600, clock // 60 % 60, clock % 60]
    parts = [tf.strings.as_string(number, width=2 + 2 * (not i), fill="0") for i, number in enumerate(numbers)]
    pairs = zip(parts, ("-", "-", "T", ":", ":", ""), strict=True)
    return tf.gather(tf.where(valid, tf.strings.join([text for pair in pairs for text in pair]), ""), places)


def _formed(text, dayfirst):
    """Texts in lower case → "D", kind and three numbers, each with ":" behind it, and what follows a date; others have no "D"."""
    text = tf.strings.strip(tf.strings.regex_replace(text, f"[{BLANKS}]+", " "))
    for pattern, replacement in REWRITTEN:
        text = tf.strings.regex_replace(text, pattern, replacement)
    order = DAY_FIRST if dayfirst else MONTH_FIRST
    for form, meaning in (*FORMS, *((form, order) for form in EITHER)):
        text = tf.strings.regex_replace(text, rf"^{form}((?:[t ,].*)?)$", rf"D{meaning}:\4")
    for form, meaning in ALONE:
        text = tf.strings.regex_replace(text, rf"^{form}$", rf"D{meaning}:")
    return text


def _number(digits):
    return tf.strings.to_number(tf.where(digits == "", "0", digits), tf.int64)


def _days(fields):
    """((B,) days since 1970, (B,) whether there is such a day) of kind, year, month or alike, and day."""
    kind, year, month, day = (fields[:, i] for i in range(4))
    short = tf.cast(tf.strings.length(year) == 2, tf.int64)
    year = _number(year)
    year += short * (1900 + 100 * tf.cast(year < 69, tf.int64))
    named = tf.cast(month[:, None] == tf.constant(MONTHS), tf.int64)  # (B, 12)
    name = tf.reduce_sum(named * tf.range(1, 13, dtype=tf.int64), axis=1)
    month, day = _number(tf.where(name > 0, "0", month)) + name, _number(day)
    first, last = _first_of(year, 1), _first_of(year + 1, 1)
    month = tf.where(kind == "Dq", 3 * month - 2, month)
    of_month, of_next = _first_of(year, month), _first_of(year + month // 12, month % 12 + 1)
    in_week = _monday(first) + 7 * (month - 1) + day - 1
    days = tf.where(kind == "Dw", in_week, tf.where(kind == "Dd", first, of_month) + day - 1)
    exists = (month >= 1) & tf.where(
        kind == "Dw",
        (day <= 7) & (in_week < _monday(last)),
        (month <= 12) & (days < tf.where(kind == "Dd", last, of_next)),
    )
    return days, exists & (day >= 1) & (year >= 1)


def _first_of(year, month):
    """Days since 1970 of the first of a month."""
    return _days_from_civil(year, month * tf.ones_like(year), tf.ones_like(year))


def _monday(first):
    """The Monday of the first week, which is that of 4 January, of the first of January, both in days since 1970."""
    return first + 3 - (first + 6) % 7  # day 0, 1970-01-01, was a Thursday


def _seconds(fields):
    """((B,) seconds since the day began, in UTC, (B,) whether there is such a time) of the eight fields of TIME."""
    hour, minute, second, over, over_minute, over_second = (_number(fields[:, i]) for i in (4, 5, 6, 9, 10, 11))
    half, behind, precise = fields[:, 7], fields[:, 8] == "-", fields[:, 11] != ""
    exists = tf.where(half == "", hour < 24, (hour >= 1) & (hour <= 12)) & (minute < 60) & (second < 60)
    hour = tf.where(half == "", hour, hour % 12 + 12 * tf.cast(half == "p", tf.int64))
    offset = over * 3600 + over_minute * 60 + over_second
    # Clocks are at most 14 hours before or behind UTC; before there were zones, nearly 16.
    most = tf.where(precise, tf.constant(16 * 3600, tf.int64), 14 * 3600)
    exists = exists & (offset <= most) & (over_minute < 60) & (over_second < 60)
    return hour * 3600 + minute * 60 + second - tf.where(behind, -offset, offset), exists


def _days_from_civil(year, month, day):
    """Days since 1970-01-01 in the Gregorian calendar, of ints (Fliegel & Van Flandern, 1968)."""
    shift = (14 - month) // 12
    y, m = year + 4800 - shift, month + 12 * shift - 3
    return day + (153 * m + 2) // 5 + 365 * y + y // 4 - y // 100 + y // 400 - 32045 - 2440588


def _civil_from_days(days):
    """Year, month and day of days since 1970-01-01 (Richards, 2013)."""
    f = days + 2440588 + 1401
    f += (4 * (days + 2440588) + 274277) // 146097 * 3 // 4 - 38
    e = 4 * f + 3
    h = 5 * (e % 1461 // 4) + 2
    day, month = h % 153 // 5 + 1, (h // 153 + 2) % 12 + 1
    return e // 1461 - 4716 + (14 - month) // 12, month, day


@keras.saving.register_keras_serializable(PACKAGE)
class ReadDates(keras.layers.Layer):
    """Dates as people write them: (B,) strings → (B,) strings "2021-06-03T14:30:00", "" where there is none; see `read_dates`.

    Args:
        dayfirst: bool, whether 3/6/2021 is in June.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.ReadDates(dayfirst=True)(tf.constant(["3.6.2021 14:30"])).numpy().tolist()
        [b'2021-06-03T14:30:00']
    """

    def __init__(self, dayfirst=False, **kwargs):
        super().__init__(**kwargs)
        self.dayfirst = bool(dayfirst)
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
    of the hour. Accepts "2021-04-03", "2021-04-03T17:30" and "2021-04-03 17:30:00"; anything else is missing.
    `ReadDates` makes those of other forms.

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
        year, month, day, hour, minute = (
            _number(tf.strings.regex_replace(safe, self.PATTERN, rf"\{group}")) for group in range(1, 6)
        )
        days = _days_from_civil(year, month, day)
        in_year = tf.cast(days - _first_of(year, 1), tf.float32) / 365.25
        weekday = tf.cast((days + 3) % 7, tf.float32)  # day 0, 1970-01-01, was a Thursday: Monday counts as 0
        hour = tf.cast(hour, tf.float32) + tf.cast(minute, tf.float32) / 60.0
        turns = tf.stack([in_year, weekday / 7.0, hour / 24.0], axis=-1) * (2.0 * math.pi)
        waves = tf.reshape(tf.stack([tf.sin(turns), tf.cos(turns)], axis=-1), [-1, 6])
        numbers = tf.concat([(tf.cast(year, tf.float32) + in_year)[:, None], waves], axis=-1)
        return tf.where(valid[:, None], numbers, float("nan"))  # float32 always: bfloat16 has no 2019

    def compute_output_spec(self, dates):
        return keras.KerasTensor((dates.shape[0], 7), "float32")

"""How dates are read, in whatever form and dtype, by Python and by the graph."""

import datetime
import decimal
import functools
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import mmkeras as mm
from mmkeras.data.dates import DateColumn, year_statistics
from mmkeras.layers.dates import read_dates

DAY, TIME, MINUTE = "2021-06-03T00:00:00", "2021-06-03T14:30:05", "2021-06-03T14:30:00"
# {what is written: what it means}, whatever the order of days and months.
FORMS = {
    "2021-06-03": DAY,
    "2021-6-3": DAY,
    " 2021-06-03\t": DAY,
    "2021/06/03": DAY,
    "2021.06.03": DAY,
    "2021. 6. 3": DAY,
    "20210603": DAY,
    "20210603.0": DAY,
    "2021-Jun-03": DAY,
    "2021 June 3": DAY,
    "June 3, 2021": DAY,
    "JUNE 3RD, 2021": DAY,
    "Jun 3 2021": DAY,
    "Jun. 3, 2021": DAY,
    "3 June 2021": DAY,
    "3rd of June 2021": DAY,
    "3. June 2021": DAY,
    "3-Jun-21": DAY,
    "03JUN2021": DAY,
    "Thursday, 3 June 2021": DAY,
    "Thursday, June 3, 2021": DAY,
    "2021-W22-4": DAY,
    "2021W224": DAY,
    "2021-154": DAY,
    # Times
    "2021-06-03T14:30:05": TIME,
    "2021-06-03 14:30:05.123456789": TIME,
    "2021-06-03 14:30:05,123": TIME,
    "2021-06-03T14:30:05Z": TIME,
    "20210603T143005Z": TIME,
    "20210603143005": TIME,
    "2021:06:03 14:30:05": TIME,
    "03/Jun/2021:14:30:05 +0000": TIME,
    "03JUN2021:14:30:05": TIME,
    "Thu, 03 Jun 2021 14:30:05 +0000": TIME,
    "Thu, 03 Jun 2021 14:30:05 GMT": TIME,
    "Thu Jun  3 14:30:05 2021": TIME,
    "Thu Jun 03 16:30:05 +0200 2021": TIME,
    "Thu Jun 03 2021 16:30:05 GMT+0200 (Central European Summer Time)": TIME,
    "2021-06-03T16:30:05+02:00[Europe/Berlin]": TIME,
    "2021-06-03 16:30:05 +0200 CEST": TIME,
    "2021-06-03 14:30": MINUTE,
    "20210603T1430": MINUTE,
    "2021-06-03 2:30 PM": MINUTE,
    "2021-06-03 02:30p.m.": MINUTE,
    "2021-06-03 14h30": MINUTE,
    "June 3, 2021 at 2:30 pm": MINUTE,
    "June 3, 2021, 14:30": MINUTE,
    "2021-06-03T16:30+02:00": MINUTE,
    "2021-06-03 07:30 -0700": MINUTE,
    "2021-06-03 07:30:00-07": MINUTE,
    "2021-06-03T20:00+05:30": MINUTE,
    "2021-06-03 14": "2021-06-03T14:00:00",
    "2021-06-03 14h": "2021-06-03T14:00:00",
    "2021-06-03 2 PM": "2021-06-03T14:00:00",
    "2021-06-03 12 AM": DAY,
    "2021-06-03 12:05 pm": "2021-06-03T12:05:00",
    "2021-06-03T01:00+02:00": "2021-06-02T23:00:00",
    "1800-01-01T05:53:28+05:53:28": "1800-01-01T00:00:00",
    # Less than a day
    "1995": "1995-01-01T00:00:00",
    "1995.0": "1995-01-01T00:00:00",
    "2021-06": "2021-06-01T00:00:00",
    "06/2021": "2021-06-01T00:00:00",
    "June 2021": "2021-06-01T00:00:00",
    "2021-W22": "2021-05-31T00:00:00",
    "2021Q2": "2021-04-01T00:00:00",
    "Q4 2021": "2021-10-01T00:00:00",
    # Edges
    "2020-W53-7": "2021-01-03T00:00:00",
    "2020-W01-1": "2019-12-30T00:00:00",
    "2020-366": "2020-12-31T00:00:00",
    "2020-02-29": "2020-02-29T00:00:00",
    "2000-02-29": "2000-02-29T00:00:00",
    "0001-01-01": "0001-01-01T00:00:00",
    "9999-12-31T23:59:59": "9999-12-31T23:59:59",
    "3 Jun 69": "1969-06-03T00:00:00",
    "3 Jun 68": "2068-06-03T00:00:00",
}
NO_DATES = [
    *("soon", "", " ", "0", "12345", "2021.5", "1622730600", "1622730600000", "1622730600000000", "2021-06-03 x", "é"),
    *("2021-02-30", "2021-02-29", "1900-02-29", "2021-13-45", "2021-00-10", "2021-06-00", "2021-04-31", "0000-01-01"),
    *("2021-02-29T00:00:00", "2021-06-31T00:00:00", "0000-01-01T00:00:00", "2021-06-03T24:00:00", "2021-13-01T00:00:00"),
    *("2021-06-03 25:00", "2021-06-03 24:00", "2021-06-03 14:60", "2021-06-03 14:30:60", "2021-06-03 14:30 PM"),
    *("2021-W53", "2021-W00-1", "2021-W22-8", "2021-W22-0", "2021-366", "2021-000", "2021Q5", "June 31, 2021"),
    *("14:30", "2:30 PM", "14:30:05.123", "Thursday", "June 3", "3 June", "Jun 3 14:30", "3 Jun 14:30", "jun 32021"),
    *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2021-06-03 14:30+15:00", "2021-06-03 14:30-15:30"),
    *("2021-06-03 0 am", "2021-06-03 CET", "2021-06-03-04", "1|2|3|4|5|6|7|8", "June", "2021-06/03", "10.0.0.1", "31/31/2021", "1/2", "Dc:2021:06:03:", "D", "2021-06-03\n2021-06-03", "x" * 100_000),
]  # fmt: skip


@functools.cache
def traced(dayfirst):
    return tf.function(lambda texts: read_dates(texts, dayfirst), input_signature=[tf.TensorSpec([None], "string")])


def graph(texts, dayfirst=False):
    return [date.decode() for date in traced(dayfirst)(tf.constant(list(texts), "string")).numpy()]


def values(*cells, dayfirst=None, **how):
    """(dates of cells, sentences of warnings) of a column that does not learn from them."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        dates = DateColumn(dayfirst).values(pd.Series(list(cells), name="c", **how)).tolist()
    return dates, [str(warning.message) for warning in told]


# === In the graph ===


@pytest.mark.parametrize("dayfirst", [False, True])
def test_forms_of_dates(dayfirst):
    assert dict(zip(FORMS, graph(FORMS, dayfirst), strict=True)) == FORMS
    lower, upper = [text.lower() for text in FORMS], [text.upper() for text in FORMS]
    assert graph(lower, dayfirst) == graph(upper, dayfirst) == list(FORMS.values())


@pytest.mark.parametrize("dayfirst", [False, True])
def test_what_is_no_date(dayfirst):
    assert dict(zip(NO_DATES, graph(NO_DATES, dayfirst), strict=True)) == dict.fromkeys(NO_DATES, "")


def test_one_rule_for_the_order_of_days_and_months():
    texts = ["03/06/2021", "3-6-2021", "3.6.21", "3. 6. 2021", "3 / 6 / 2021 14:30", "16/07/2019", "07/16/2019"]
    june, march = "2021-06-03T00:00:00", "2021-03-06T00:00:00"
    assert graph(texts, True) == [*[june] * 4, "2021-06-03T14:30:00", "2019-07-16T00:00:00", ""]
    assert graph(texts, False) == [*[march] * 4, "2021-03-06T14:30:00", "", "2019-07-16T00:00:00"]


def test_dates_agree_with_the_calendar_over_all_years():
    first, last = datetime.date(1, 1, 1).toordinal(), datetime.date(9999, 12, 31).toordinal()
    days = [datetime.date.fromordinal(n) for n in [*range(first, last, 997), last]]
    expected = [f"{day.isoformat()}T00:00:00" for day in days]
    weeks = [tuple(day.isocalendar()) for day in days]
    assert graph(day.isoformat() for day in days) == expected
    assert graph(f"{day.year:04}-{day.timetuple().tm_yday:03}" for day in days) == expected
    assert graph(f"{year:04}-W{week:02}-{day}" for year, week, day in weeks) == expected


def test_canonical_dates_pass_and_others_among_them_are_read():
    canonical = [TIME, "", "0001-01-01T00:00:00", "2000-02-29T23:59:59"]
    assert graph(canonical) == canonical and graph([*canonical, "3 June 2021"]) == [*canonical, DAY]
    assert graph([]) == []


def test_dates_are_read_eagerly_in_functions_in_datasets_and_saved(tmp_path):
    texts, expected = list(FORMS), list(FORMS.values())
    layer = mm.layers.ReadDates(dayfirst=True, name="dates")
    inputs = keras.Input((), dtype="string")
    model = keras.Model(inputs, mm.layers.CalendarParts()(layer(inputs)))
    parts = mm.layers.CalendarParts()(tf.constant(expected)).numpy()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("dates").dayfirst is True
    model.export(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served")).serve
    dataset = tf.data.Dataset.from_tensor_slices(texts).batch(7).map(layer)
    assert [date.decode() for batch in dataset for date in batch.numpy()] == expected
    for read in (model, loaded, served, tf.function(model)):
        np.testing.assert_allclose(read(tf.constant(texts)), parts, atol=1e-6)


# === In Python ===


def test_forms_of_dates_in_a_column():
    cells = list(FORMS)
    for dayfirst in (None, True, False):
        assert values(*cells, dayfirst=dayfirst) == (list(FORMS.values()), [])
    dates, told = values("2021-06-03", *NO_DATES)
    assert dates == [DAY, *[""] * len(NO_DATES)] and len(told) == 1
    assert f"Column 'c': {len(NO_DATES) - 2} values are not dates (for example 'soon') and are treated" in told[0]


ZONE = datetime.timezone(datetime.timedelta(hours=2))
ARROW = [("timestamp[ns][pyarrow]", DAY), ("date32[day][pyarrow]", DAY), ("string[pyarrow]", DAY)]


def test_dates_in_every_dtype():
    moments = pd.to_datetime(["2021-06-03 14:30:05.9", None])
    for unit in ("s", "ms", "us", "ns"):
        series = pd.Series(moments.astype(f"datetime64[{unit}]"))
        for cells in (series, series.astype(object), series.astype("category"), series.dt.tz_localize("UTC")):
            assert DateColumn().values(cells).tolist() == [TIME, ""]
    for dtype, expected in ARROW:
        pytest.importorskip("pyarrow")
        cells = ["2021-06-03", None] if "string" in dtype else pd.to_datetime(["2021-06-03", None])
        assert DateColumn().values(pd.Series(cells).astype(dtype)).tolist() == [expected, ""]
    for dtype in ("str", "string", "category", object):
        assert values("3 June 2021", None, dtype=dtype) == ([DAY, ""], [])
    assert values(pd.Period("2021-06-03"), pd.Period("2021Q2")) == ([DAY, "2021-04-01T00:00:00"], [])
    assert values(*pd.period_range("2021-06", periods=1, freq="M")) == (["2021-06-01T00:00:00"], [])
    assert values(b"2021-06-03", np.datetime64("2021-06-03T14:30:05"), dtype=object) == ([DAY, TIME], [])
    assert values(datetime.date(2021, 6, 3), datetime.datetime(2021, 6, 3, 16, 30, 5, 7, ZONE)) == ([DAY, TIME], [])


def test_dates_of_any_year():
    old = np.array(["0001-01-01", "1500-02-03", "9999-12-31", "NaT"], "datetime64[s]")
    expected = ["0001-01-01T00:00:00", "1500-02-03T00:00:00", "9999-12-31T00:00:00", ""]
    assert values(*old.tolist()) == values(*old.astype(str)) == (expected, [])
    assert DateColumn().values(pd.Series(old)).tolist() == expected
    beyond = pd.Series(np.array(["20000-01-01", "0000-12-31", "-0001-01-01"], "datetime64[s]"), name="c")
    with pytest.warns(UserWarning, match="Column 'c': 3 values are not dates"):
        assert DateColumn().values(beyond).tolist() == [""] * 3
    least, most = datetime.datetime.min.replace(tzinfo=ZONE), datetime.datetime.max
    assert values(least, most)[0] == ["", "9999-12-31T23:59:59"]
    assert values(np.datetime64("1969-12-31T23:59:59.9")) == (["1969-12-31T23:59:59"], [])


@pytest.mark.parametrize("dtype", ["float64", "float32", "Int64", "Float64", object, "category"])
def test_years_and_days_as_numbers_with_gaps(dtype):
    assert values(1995, None, 2001, dtype=dtype) == (["1995-01-01T00:00:00", "", "2001-01-01T00:00:00"], [])
    if dtype != "float32":
        assert values(20210603, None, 20210603143005, dtype=dtype) == ([DAY, "", TIME], [])


def test_other_numbers_are_told():
    for cells in ([1622730600, 7, -5, 10**18], [1995.5, np.inf, 1e300, 0.0]):
        dates, told = values(*cells)
        assert dates == [""] * 4 and len(told) == 1 and "4 values are not dates" in told[0]
        assert "Seconds since 1970 and alike are numbers: give such a column as `numeric`." in told[0]
    assert values(True, False)[0] == ["", ""] and "2 values are not dates" in values(True, False)[1][0]


def test_cells_of_all_kinds_at_once():
    dates = [b"3 June 2021", datetime.date(2021, 6, 3), 20210603, 20210603.0, decimal.Decimal(20210603), "20210603"]
    gaps = [None, np.nan, pd.NaT, pd.NA, "", "  ", "NA", "n/a", "NaT", "nan", "null", "None", "-", "?"]
    others = [
        True,
        datetime.time(14, 30),
        datetime.timedelta(1),
        [1],
        {"a": 1},
        np.inf,
        1j,
        "unknown",
        "x\ud800",
        b"\xff",
    ]
    got, told = values(*dates, *gaps, *others, dtype=object)
    assert got == [DAY] * len(dates) + [""] * (len(gaps) + len(others))
    assert len(told) == 1 and "Column 'c': 10 values are not dates (for example True)" in told[0]
    for empty in (pd.Series([], dtype=object), pd.Series([], dtype="str"), pd.Series([None, None], dtype=object)):
        assert DateColumn().adapt(empty).values(empty).tolist() == [""] * len(empty)


# === Day first or month first ===


@pytest.mark.parametrize(
    ("cells", "dayfirst", "how"),
    [
        (["16/07/2019", "09/04/2020"], True, "day first"),
        (["07/16/2019", "09/04/2020"], False, "month first"),
        (["Thu, 16/07/2019 14:30", None, "1/1/20"], True, "day first"),
        ([b"16-07-19", b"09-04-20"], True, "day first"),
        (["3.6.2021", "4.6.2021"], True, "day first"),
        (["6.16.2021", "4.6.2021"], False, "month first"),
        (["16/07/2019", "17/07/2019", "07/16/2019"], True, "day first"),
        (["2021-06-03", "3 June 2021", "06/06/2021"], None, ""),
        ([1995, 20210603], None, ""),
        ([], None, ""),
    ],
)
def test_one_rule_is_found_on_the_whole_column(cells, dayfirst, how):
    for dtype in (object, "category"):
        column = DateColumn().adapt(pd.Series(cells, name="c", dtype=dtype))
        assert (column.dayfirst, column.how) == (dayfirst, how)


def test_the_rule_of_a_column_holds_for_all_its_cells():
    mixed = pd.Series(["16/07/2019", "17/07/2019", "07/16/2019", "09/04/2020"], name="c")
    with pytest.warns(UserWarning, match=r"1 values are not dates \(for example '07/16/2019'\)"):
        dates = DateColumn().adapt(mixed).values(mixed).tolist()
    assert dates == ["2019-07-16T00:00:00", "2019-07-17T00:00:00", "", "2020-04-09T00:00:00"]


def test_a_column_that_can_be_read_both_ways_is_told():
    undecided = pd.Series(["01/02/2020 14:30", "03/06/2021", "05/05/2021"], name="c")
    with pytest.warns(UserWarning, match=r"'c': no date tells whether .* as in '01/02/2020 14:30'.*Say dayfirst=True"):
        assert DateColumn().adapt(undecided).dayfirst is False
    tie = pd.Series(["16/07/2019", "07/16/2019"], name="c")
    with pytest.warns(UserWarning, match="no date tells whether the day or the month comes first"):
        assert DateColumn().adapt(tie).dayfirst is False
    for dayfirst in (True, False):
        column = DateColumn(dayfirst).adapt(undecided)
        assert column == DateColumn(dayfirst)
        assert column.values(undecided)[1] == ("2021-06-03T00:00:00" if dayfirst else "2021-03-06T00:00:00")
    with pytest.raises(ValueError, match="`dayfirst` must be True, False or None. Received: 'yes'"):
        DateColumn("yes")


def test_the_rule_is_saved_and_told(tmp_path):
    days = pd.Series(pd.date_range("2019-01-01", periods=60)).dt.strftime("%d/%m/%Y")
    df = pd.DataFrame({"day": days, "y": ["a", "b"] * 30})
    pipe = mm.Pipeline([mm.Tabular(datetime="day")], mm.MultiClass("y"))
    pipe.fit(df, epochs=1, verbose=0)
    assert pipe.check(df).loc["day", "read as"] == "date, day first"
    pipe.save(tmp_path / "model")
    ambiguous = pd.DataFrame({"day": ["03/06/2021", "06/03/2021"]})
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(ambiguous), pipe.predict(ambiguous), atol=1e-6)
    served = pipe.serving_model({"day": np.array(["03/06/2021", "06/03/2021"])})["y"].numpy()
    np.testing.assert_allclose(served, pipe.predict(ambiguous), atol=1e-6)
    assert np.abs(served[0] - served[1]).max() > 1e-4


# === Properties ===

moments = st.datetimes(datetime.datetime(1, 1, 2), datetime.datetime(9999, 12, 30))
recent = st.datetimes(datetime.datetime(1970, 1, 1), datetime.datetime(2068, 12, 31))
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: datetime.timezone(datetime.timedelta(minutes=minutes)))
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WRITERS = {
    "ISO": lambda t: t.isoformat(),
    "a blank": str,
    "slashes": lambda t: f"{t.year:04}/{t.month}/{t.day} {t.hour}:{t.minute:02}",
    "day first": lambda t: f"{t.day}/{t.month}/{t.year:04} {t.hour:02}:{t.minute:02}",
    "dots": lambda t: f"{t.day:02}.{t.month:02}.{t.year:04}, {t.hour:02}:{t.minute:02}",
    "a long month": lambda t: f"{MONTHS[t.month - 1]} {t.day}, {t.year:04} at {t.hour}:{t.minute:02}",
    "a short month": lambda t: f"{t.day}-{MONTHS[t.month - 1][:3]}-{t.year:04} {t.hour:02}:{t.minute:02}:{t.second:02}",
    "a half of the day": lambda t: (
        f"{t.day} {MONTHS[t.month - 1][:3]}. {t.year:04} {t.hour % 12 or 12}:{t.minute:02} {'AP'[t.hour > 11]}M"
    ),
    "the C library": lambda t: f"{t:%a} {MONTHS[t.month - 1][:3]} {t.day:2} {t:%H:%M:%S} {t.year:04}",
    "an e-mail": lambda t: f"{t:%a}, {t.day:02} {MONTHS[t.month - 1][:3]} {t.year:04} {t:%H:%M:%S} +0000",
    "signs left out": lambda t: f"{t.year:04}{t.month:02}{t.day:02}T{t:%H%M%S}",
    "a week": lambda t: "{:04}-W{:02}-{} ".format(*t.isocalendar()) + f"{t:%H:%M}",
    "a day of the year": lambda t: f"{t.year:04}-{t.timetuple().tm_yday:03}T{t:%H:%M}",
    "a camera": lambda t: f"{t.year:04}:{t.month:02}:{t.day:02} {t:%H:%M:%S}",
}


@settings(max_examples=15, deadline=None)
@given(st.lists(moments, min_size=1, max_size=8))
def test_every_moment_in_every_form_is_read_to_the_minute(times):
    expected = [time.isoformat(timespec="minutes") for time in times for _ in WRITERS]
    texts = [write(time) for time in times for write in WRITERS.values()]
    assert [date[:16] for date in graph(texts, True)] == expected
    assert [date[:16] for date in values(*texts, dayfirst=True)[0]] == expected


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(moments, zones), min_size=1, max_size=8))
def test_moments_with_a_zone_are_read_in_utc(pairs):
    local = [time.replace(microsecond=0, tzinfo=zone) for time, zone in pairs]
    expected = [time.astimezone(datetime.UTC).isoformat()[:19] for time in local]
    assert graph(time.isoformat() for time in local) == expected
    assert values(*local, dtype=object) == (expected, [])


@settings(max_examples=15, deadline=None)
@given(
    st.lists(recent, min_size=1, max_size=10),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Pacific/Auckland"]),
    st.sampled_from(["s", "ms", "us", "ns"]),
)
def test_a_dtype_with_a_zone_is_read_as_its_strings(times, zone, unit):
    series = pd.Series(times).astype(f"datetime64[{unit}]").dt.tz_localize("UTC").dt.tz_convert(zone)
    dates = DateColumn().values(series).tolist()
    assert dates == [time.isoformat()[:19] for time in times]
    for cells in (series.astype(object), series.map(lambda cell: cell.isoformat()), series.astype("category")):
        assert DateColumn().values(cells).tolist() == dates
    assert graph(series.map(str)) == dates


texts_like_dates = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="0123456789", min_size=1, max_size=16),
    st.text(alphabet="0123456789/-. :TZ", min_size=8, max_size=20),
    st.from_regex(r"\A[0-9]{4}[-/.][01][0-9][-/.][0-3][0-9]([ T][0-2][0-9]:[0-6][0-9](:[0-6][0-9]Z?)?)?\Z"),
    st.from_regex(r"\A[0-3][0-9][-/.][0-3][0-9][-/.][0-9]{4}([ T][0-2][0-9]:[0-6][0-9](:[0-6][0-9]Z?)?)?\Z"),
    st.from_regex(r"\A(Mon, )?[A-Za-z]{3}\.? [0-9]{1,2},? [0-9]{2,4}( [0-9]{1,2}(:[0-9]{2})?( ?[ap]m)?)?\Z"),
    moments.map(str),
)


@settings(max_examples=35, deadline=None)
@given(st.lists(texts_like_dates, min_size=1, max_size=20), st.booleans())
def test_dates_are_read_alike_in_python_and_in_the_graph(texts, dayfirst):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    read = graph(texts, dayfirst)
    assert values(*texts, dayfirst=dayfirst, dtype=object)[0] == read
    assert values(*texts * 100, dayfirst=dayfirst, dtype="str")[0] == read * 100  # as a long column
    assert graph(texts[:1], dayfirst) == read[:1]  # alone as among others
    assert graph(read, dayfirst) == read
    for date in filter(None, read):
        datetime.datetime.fromisoformat(date)


def test_a_long_column_of_different_texts_is_read_as_a_short_one():
    times = pd.Series(pd.date_range("1999-12-31 23:59:50", periods=3000, freq="7min"))
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d/%m/%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d %B %Y %H:%M:%S"):
        texts = times.dt.strftime(form)
        texts[5], texts[7] = None, "é" * len(texts[7])
        column = DateColumn(True)
        with pytest.warns(UserWarning, match="1 values are not dates"):
            dates = column.values(texts).tolist()
        expected = times.dt.strftime("%Y-%m-%dT%H:%M:%S" if "%S" in form else "%Y-%m-%dT%H:%M:00").tolist()
        expected[5] = expected[7] = ""
        assert dates == expected
        assert column.adapt(texts) == column and DateColumn().adapt(texts).dayfirst in (None, True)


# === Statistics of years ===


@pytest.mark.parametrize("rows", [1, 100, 700, 801, 1999])
@pytest.mark.parametrize("month", range(1, 13))
def test_one_day_has_no_spread(rows, month):
    mean, variance = year_statistics(np.array([f"2021-{month:02}-15T14:30:00"] * rows, dtype=object))
    assert variance == 1.0 and mean == pytest.approx(2021 + (month - 0.5) / 12, abs=0.01)


def test_statistics_of_years():
    half = ["2019-01-31T10:00:00", "2020-07-01T10:00:00", ""]  # a year and a half apart
    assert year_statistics(np.array(half, dtype=object)) == pytest.approx((2019.75 + 0.5 / 12, 0.75**2))
    for nothing in ([""], []):
        assert year_statistics(np.array(nothing, dtype=object)) == (0.0, 1.0)


def test_a_spread_of_years_that_is_none_does_not_blow_up():
    days = pd.Series(pd.date_range("2021-06-01", periods=200, freq="3h"))
    df = pd.DataFrame({"at": days, "y": np.where((days.dt.hour >= 8) & (days.dt.hour < 18), "day", "night")})
    pipe = mm.Pipeline([mm.Tabular(datetime="at")], mm.MultiClass("y"))
    history = pipe.fit(df, epochs=15, learning_rate=1e-2, verbose=0).history
    assert history["loss"][0] < 2 and (pipe.predict_labels(df) == df["y"]).mean() > 0.95
    scaled = pipe.prepare({"at": np.array(["9999-12-31"])})["tabular.datetime"].numpy()
    assert np.abs(scaled).max() <= 5.0

"""Dates: every form by hand, one rule per column, and the same in Python, in the graph and in every dtype."""

import datetime
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import mmkeras as mm
from mmkeras.data.dates import LAYOUTS, NUMERIC_LAYOUTS, DateColumn, year_statistics
from mmkeras.layers.dates import days_from_civil, read_dates


def read(*texts, dayfirst=False):
    return [date.decode() for date in read_dates(list(texts), dayfirst).numpy()]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2021-06-03", "2021-06-03T00:00:00"),
        ("  2021-6-3\n", "2021-06-03T00:00:00"),
        ("2021-06-03 14:30", "2021-06-03T14:30:00"),
        ("2021-06-03T14:30:05.999", "2021-06-03T14:30:05"),
        ("2021-06-03T14:30:00Z", "2021-06-03T14:30:00"),
        ("2021-06-03T14:30:00+02:00", "2021-06-03T12:30:00"),
        ("2021-06-03 20:30:00-0700", "2021-06-04T03:30:00"),
        ("2021-01-01 00:30:00+05:30", "2020-12-31T19:00:00"),
        ("2021-06-03 14:30 GMT+2", "2021-06-03T12:30:00"),
        ("2021-06-03 14", "2021-06-03T14:00:00"),
        ("2021-06-03 at 2:30 PM", "2021-06-03T14:30:00"),
        ("2021-06-03 12 am", "2021-06-03T00:00:00"),
        ("2021-06-03 12 p.m.", "2021-06-03T12:00:00"),
        ("20210603", "2021-06-03T00:00:00"),
        ("20210603.0", "2021-06-03T00:00:00"),
        ("1995", "1995-01-01T00:00:00"),
        ("1995.0", "1995-01-01T00:00:00"),
        ("2021/06/03", "2021-06-03T00:00:00"),
        ("2021.06.03 14:30", "2021-06-03T14:30:00"),
        ("06/03/2021", "2021-06-03T00:00:00"),
        ("6-3-21", "2021-06-03T00:00:00"),
        ("6.3.69", "1969-06-03T00:00:00"),
        ("6.3.68", "2068-06-03T00:00:00"),
        ("June 3, 2021", "2021-06-03T00:00:00"),
        ("JUN 3rd 2021 2:30pm", "2021-06-03T14:30:00"),
        ("3 June 2021", "2021-06-03T00:00:00"),
        ("3-Jun-21", "2021-06-03T00:00:00"),
        ("3rd of June 2021", "2021-06-03T00:00:00"),
        ("1st Sept. 2020", "2020-09-01T00:00:00"),
        ("Thursday, 3 June 2021", "2021-06-03T00:00:00"),
        ("Thu, 03 Jun 2021 14:30:00 +0200", "2021-06-03T12:30:00"),
        ("2021-Jun-03", "2021-06-03T00:00:00"),
        ("2021-06", "2021-06-01T00:00:00"),
        ("June 2021", "2021-06-01T00:00:00"),
        ("2021-W22-4", "2021-06-03T00:00:00"),
        ("2021W22", "2021-05-31T00:00:00"),
        ("2020-W53-5", "2021-01-01T00:00:00"),
        ("2021-154", "2021-06-03T00:00:00"),
        ("2020-366", "2020-12-31T00:00:00"),
        ("2020-02-29", "2020-02-29T00:00:00"),
        ("0001-01-01", "0001-01-01T00:00:00"),
        ("9999-12-31T23:59:59", "9999-12-31T23:59:59"),
    ],
)
def test_dates_as_people_write_them(text, date):
    assert read(text) == [date]


@pytest.mark.parametrize(
    "text",
    ["16/07/2019", "2021-13-45", "2021-02-30", "2021-02-29", "1900-02-29", "2021-06-03 25:00", "2021-06-03 24:00",
     "2021-06-03 13 pm", "2021-06-03 0 am", "2021-06-03 14:60", "2021-W53", "2021-W00", "2021-366", "2021-000", "14:30", "soon",
     "12345", "0000-01-01", "9999-12-31T23:59:59-01:00", "June", "3 June", "2021-06-03 CET", "1|2|3|4|5|6|7|8", "", "2021-06-03-04"],
)  # fmt: skip
def test_what_is_no_date(text):
    assert read(text) == [""]


def test_the_day_first():
    assert read("16/07/2019", "07/16/2019", "3/6/21 2 PM", dayfirst=True) == [
        "2019-07-16T00:00:00", "", "2021-06-03T14:00:00",
    ]  # fmt: skip


def test_one_rule_for_a_column():
    def rule(*cells):
        return DateColumn().adapt(pd.Series(cells, name="c")).dayfirst

    assert rule("16/07/2019", "09/04/2020") is True
    assert rule("07/16/2019", "09/04/2020") is False
    assert rule("03.06.2021") is True  # where dates have dots, the day comes first
    assert rule("2021-06-03", None) is None and rule(pd.Timestamp("2021-06-03")) is None
    with pytest.warns(UserWarning, match="no date tells whether the day or the month comes first, as in '03/06/2021'"):
        assert rule("03/06/2021", "01/01/2020") is False
    mixed = pd.Series(["16/07/2019", "17/07/2019", "07/18/2019"], name="c")
    with pytest.warns(UserWarning, match="1 values are not dates .for example '07/18/2019'"):
        got = DateColumn().adapt(mixed).values(mixed).tolist()
    assert got == ["2019-07-16T00:00:00", "2019-07-17T00:00:00", ""]
    assert DateColumn(False).adapt(mixed).dayfirst is False  # what a user says stands
    with pytest.raises(ValueError, match="`dayfirst` must be True, False or None. Received: 'yes'"):
        mm.Tabular(datetime="d", dayfirst="yes")


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


def values(*cells, **how):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        return DateColumn().values(pd.Series(list(cells), name="c", **how)).tolist(), [str(w.message) for w in told]


def test_cells_of_every_kind():
    june = "2021-06-03T00:00:00"
    assert values(datetime.date(2021, 6, 3), None, b"2021-06-03", np.datetime64("2021-06-03"))[0] == [
        june,
        "",
        june,
        june,
    ]
    assert values(datetime.datetime(1, 1, 1), "9999-12-31") == (["0001-01-01T00:00:00", "9999-12-31T00:00:00"], [])
    assert values(2021, 1995.0, 20210603, None)[0] == ["2021-01-01T00:00:00", "1995-01-01T00:00:00", june, ""]
    assert values(2021, None, dtype="Int64") == (["2021-01-01T00:00:00", ""], [])
    assert values(pd.Period("2021-06", "M"))[0] == ["2021-06-01T00:00:00"]
    assert values("2021-06-03", None, dtype="category")[0] == [june, ""]
    assert values("NA", "null", "-", "", float("nan"), pd.NaT) == ([""] * 6, [])
    got, told = values(datetime.time(14, 30), 1_700_000_000, True, [2021])
    assert got == [""] * 4 and "4 values are not dates (for example datetime.time(14, 30))" in told[0]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_of_any_unit_and_zone(unit):
    naive = pd.Series(pd.to_datetime(["2021-06-03 14:30:05.9", None])).astype(f"datetime64[{unit}]")
    assert DateColumn().values(naive).tolist() == ["2021-06-03T14:30:05", ""]
    for zone in ("UTC", "America/Denver", "Asia/Kolkata"):
        aware = naive.dt.tz_localize("UTC").dt.tz_convert(zone)
        assert DateColumn().values(aware).tolist() == ["2021-06-03T14:30:05", ""]
        assert DateColumn().values(aware.astype(str).replace("NaT", "")).tolist() == ["2021-06-03T14:30:05", ""]


moments = st.datetimes(datetime.datetime(1, 1, 3), datetime.datetime(9999, 12, 29))
FORMS = (
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y/%m/%d %I:%M:%S %p", "%d/%m/%Y %H:%M:%S", "%d.%m.%Y, %H:%M:%S",
    "%d %B %Y %H:%M:%S", "%a, %d %b %Y %H:%M:%S +0000", "%B %d, %Y at %I:%M:%S %p", "%G-W%V-%u %H:%M:%S", "%Y-%j %H:%M:%S",
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(moments, min_size=1, max_size=5), st.integers(-14 * 60, 14 * 60))
def test_every_form_reads_back(dates, minutes):
    want = [date.replace(microsecond=0).isoformat() for date in dates]
    if all(date.year >= 1000 for date in dates):  # strftime writes fewer digits of earlier ones
        for form in FORMS:
            assert read(*(date.strftime(form) for date in dates), dayfirst=True) == want, form
    zone = datetime.timezone(datetime.timedelta(minutes=minutes))
    assert read(*(date.replace(tzinfo=datetime.UTC).astimezone(zone).isoformat() for date in dates)) == want


cells = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="0123456789-/.: TZWw+", max_size=19),
    st.datetimes().map(str),
    st.sampled_from([*LAYOUTS, *NUMERIC_LAYOUTS]).flatmap(
        lambda layout: st.lists(st.integers(0, 9), min_size=len(layout), max_size=len(layout)).map(
            lambda digits: "".join(str(d) if s in "YMDhms" else s for s, d in zip(layout, digits, strict=True))
        )
    ),
)


@settings(max_examples=120, deadline=None)
@given(st.lists(cells, min_size=1, max_size=20), st.booleans())
def test_python_reads_as_the_graph_does(texts, dayfirst):
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = DateColumn(dayfirst).values(pd.Series(texts, dtype=object)).tolist()
    assert got == read(*texts, dayfirst=dayfirst)


def test_many_different_dates_are_read_alike():
    dates = pd.Series(pd.date_range("1950-01-01 00:00:01", periods=20_000, freq="31h"))
    for form in ("%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M"):
        written = dates.dt.strftime(form)
        written.iloc[5] = "3 June 2021"
        got = DateColumn(True).values(written)
        want = dates.dt.strftime("%Y-%m-%dT%H:%M:%S" if "S" in form else "%Y-%m-%dT%H:%M:00")
        want.iloc[5] = "2021-06-03T00:00:00"
        assert got.tolist() == want.tolist()


def test_days_from_civil_are_those_of_the_calendar():
    dates = [datetime.date(1, 1, 1) + datetime.timedelta(days=int(n)) for n in np.linspace(0, 3_652_058, 500)]
    year, month, day = (
        tf.constant([getattr(date, part) for date in dates], tf.int64) for part in ("year", "month", "day")
    )
    assert days_from_civil(year, month, day).numpy().tolist() == [(d - datetime.date(1970, 1, 1)).days for d in dates]


def test_a_spread_of_years_that_is_none_does_not_blow_up():
    assert year_statistics(["2021-06-03T00:00:00"] * 30)[1] == 1.0 and year_statistics(["", ""]) == (0.0, 1.0)
    days = pd.Series(pd.date_range("2021-06-01", periods=200, freq="3h"))
    df = pd.DataFrame({"at": days, "y": np.where((days.dt.hour >= 8) & (days.dt.hour < 18), "day", "night")})
    pipe = mm.Pipeline([mm.Tabular(datetime="at")], mm.MultiClass("y"))
    history = pipe.fit(df, epochs=15, learning_rate=1e-2, verbose=0).history
    assert history["loss"][0] < 2 and (pipe.predict_labels(df) == df["y"]).mean() > 0.95
    scaled = pipe.prepare({"at": np.array(["9999-12-31"])})["tabular.datetime"].numpy()
    assert np.abs(scaled).max() <= 5.0

"""How cells of numbers and categories are read, whatever they come in, and what is told of columns that say nothing."""

import datetime
import decimal
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mmkeras as mm
from mmkeras.data.categories import CategoryColumn, spelled
from mmkeras.data.numbers import NumberColumn
from mmkeras.data.telling import quiet
from mmkeras.layers import Spell
from mmkeras.layers.cells import read_numbers

NAN = float("nan")


def numbers(*cells, **how):
    """(what a column adapted to these cells makes of them, the column, sentences of warnings)."""
    series = pd.Series(list(cells), name="c", **how)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        column = NumberColumn().adapt(series)
        return column.values(series).tolist(), column, [str(warning.message) for warning in told]


# === Numbers ===


@pytest.mark.parametrize(
    ("cells", "expected", "decimal_sign", "unit"),
    [
        (["$1,234.50", "$5", "12"], [1234.5, 5, 12], ".", "$"),
        (["12 %", "3%", "−4 %"], [12, 3, -4], ".", "%"),
        (["1.2k", "3M", "2B", "-4k", "7"], [1200, 3e6, 2e9, -4000, 7], ".", ""),
        (["$1.2M", "$3k"], [1.2e6, 3000], ".", "$"),
        (["1,5", "2,75", "1.234,5", "1.234"], [1.5, 2.75, 1234.5, 1234], ",", ""),
        (["1 234,50", "1\u202f234\u00a0567,5", "2,5"], [1234.5, 1234567.5, 2.5], ",", ""),
        (["1'234.5", "12,34,567"], [1234.5, 1234567], ".", ""),
        (["1.234.567", "2"], [1234567, 2], ",", ""),
        (['52"', '3"', "4"], [52, 3, 4], ".", '"'),
        (["3.5 ft", "2 ft"], [3.5, 2], ".", "ft"),
        (["5 m", "7 m"], [5, 7], ".", "m"),
        (["EUR 5", "7 EUR", "-EUR 1"], [5, 7, -1], ".", "EUR"),
        (["(5)", "+4", "1e3", " 7\t", "-0.5", ".25"], [-5, 4, 1000, 7, -0.5, 0.25], ".", ""),
        (["true", "False", "TRUE"], [1, 0, 1], ".", ""),
        ([True, None, False], [1, NAN, 0], ".", ""),
        ([b"5", b"6.5"], [5, 6.5], ".", ""),
        ([decimal.Decimal("1.25"), None, 3], [1.25, NAN, 3], ".", ""),
        (["NA", "n/a", "null", "-", "", " ", "?"], [NAN] * 7, ".", ""),
        ([pd.Timedelta("90s"), pd.NaT], [90, NAN], ".", ""),
        ([datetime.timedelta(minutes=1), "5"], [60, 5], ".", ""),
    ],
)
def test_numbers_as_people_write_them(cells, expected, decimal_sign, unit):
    values, column, told = numbers(*cells)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert (column.decimal, column.unit, told) == (decimal_sign, unit, [])


@pytest.mark.parametrize("bad", ["0x1A", "1 m", "1/2", "5-10", "1,23,4", "twelve", "--3", "5 5", "1e5e5"])
def test_what_is_no_number_of_the_column_is_told(bad):
    values, _, told = numbers("3 ft", "4 ft", bad)
    assert values[:2] == [3, 4] and values[2] != values[2]
    assert len(told) == 1 and f"Column 'c': 1 values are not numbers (for example {bad!r})" in told[0]


def test_a_comma_that_may_be_either_is_told():
    values, _, told = numbers("1,234", "5,678")
    assert values == [1234, 5678] and "'1,234' is read as 1234" in told[0] and "decimal=','" in told[0]
    assert NumberColumn(",").adapt(pd.Series(["1,234"])).values(pd.Series(["1,234"])).tolist() == pytest.approx([1.234])
    with pytest.raises(ValueError, match=r"`decimal` must be '.', ',' or None. Received: ';'"):
        mm.Tabular(numeric="x", decimal=";")


def test_moments_and_durations_are_seconds_in_any_unit():
    moments = pd.Series(pd.to_datetime(["2020-01-01 00:00:01", None]), name="c")
    for unit in ("s", "ms", "us", "ns"):
        column = NumberColumn(wide=True)
        got = column.values(moments.astype(f"datetime64[{unit}]"))
        np.testing.assert_array_equal(got, [1577836801, NAN])
        spans = pd.Series(pd.to_timedelta([1500, None], unit="ms")).astype(f"timedelta64[{unit}]")
        np.testing.assert_array_equal(column.values(spans), [1 if unit == "s" else 1.5, NAN])
    days = moments.astype("date32[day][pyarrow]")
    np.testing.assert_array_equal(NumberColumn(wide=True).values(days), [1577836800, NAN])
    berlin = moments.dt.tz_localize("Europe/Berlin")
    np.testing.assert_array_equal(NumberColumn(wide=True).values(berlin), [1577836801 - 3600, NAN])


def test_numbers_with_a_large_offset_keep_what_differs():
    seconds = 1_700_000_000 + np.arange(60)
    for cells in (seconds, seconds * 1000, seconds.astype(str), 10**15 + np.arange(60)):
        column = NumberColumn().adapt(pd.Series(cells))
        assert column.dtype == "float64" and len(set(column.values(pd.Series(cells)))) == 60
    assert NumberColumn().adapt(pd.Series(np.arange(60) * 1000.0)).dtype == "float32"
    modality = mm.Tabular(numeric="t").adapt(pd.DataFrame({"t": seconds}))
    scaled = mm.build_prepare([modality])({"t": seconds.astype("float64")})["tabular.numeric"].numpy()[:, 0]
    np.testing.assert_allclose(scaled, (seconds - seconds.mean()) / seconds.std(), atol=1e-6)


def test_a_spread_that_is_rounding_error_is_none():
    sums = pd.DataFrame({"x": [0.1 + 0.2, 0.3, 0.3, 0.3]})
    assert mm.Tabular(numeric="x").adapt(sums).state["numeric"]["variance"] == [1.0]


def test_numbers_beyond_all_bounds():
    values, _, told = numbers(10**400, "5", 1e39, dtype=object)
    assert values[1] == 5 and np.isnan(values[::2]).all() and "2 values are infinite" in told[0] and len(told[0]) < 400


texts_of_numbers = st.one_of(
    st.text(alphabet="0123456789.,eE+-_ xinfaNk%$'\t ２１d()", max_size=8),
    st.floats().map(repr),
    st.integers().map(str),
    st.floats().map(lambda value: f" {value:e} "),
)


@settings(max_examples=150, deadline=None)
@example(["3.4028000000000003e38", "3.5e38"], ".", "")
@given(
    st.lists(texts_of_numbers, min_size=1, max_size=20), st.sampled_from([".", ","]), st.sampled_from(["", "$", "x"])
)
def test_numbers_are_read_alike_in_python_and_in_the_graph(cells, sign, unit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = NumberColumn(sign, unit, True).values(pd.Series(cells, dtype=object))
    want = read_numbers(cells, sign, unit).numpy()
    with np.errstate(over="ignore"):
        large = np.isinf(want.astype("float32"))
    np.testing.assert_allclose(got, np.where(large, NAN, want), rtol=1e-12, atol=1e-300)


# === Categories ===


def names(train, *others):
    column = CategoryColumn().adapt(pd.Series(train, name="c"))
    return [column.values(pd.Series(cells)).tolist() for cells in (train, *others)]


def test_one_category_has_one_spelling():
    assert names(["1.0", "2.0"], [1, 2], [1.0, None], ["1", " 2 "]) == [["1", "2"], ["1", "2"], ["1", ""], ["1", "2"]]
    assert names([1234, 98765], ["01234", "98765"])[1] == ["1234", "98765"]
    assert names(["01234", "98765"], [1234, 98765]) == [["1234", "98765"]] * 2
    assert names([1.5, 2], ["1.50", "02"])[1] == ["1.5", "2"]
    assert names([True, False], ["true", "FALSE"], [1, 0], ["1.0", "0"]) == [["True", "False"]] * 4
    assert names([0, 1], [True, False])[1] == ["1", "0"]
    assert names(pd.to_datetime(["2020-01-01"]), ["2020-01-01"], [datetime.date(2020, 1, 1)]) == [["2020-01-01"]] * 3
    assert names([b"a", "a "], ["a"])[0] == ["a", "a"]
    assert names([["a"], ["b"]]) == [["['a']", "['b']"]]
    assert names(pd.Series(["a", None], dtype="category"), pd.Series(["a"], dtype="string")) == [["a", ""], ["a"]]


@pytest.mark.parametrize("apart", [["007", "7"], ["1.10", "1.1"]])
def test_strings_that_training_tells_apart_stay_apart(apart):
    with pytest.warns(UserWarning, match="are kept apart, as both occur"):
        assert names(apart)[0] == apart


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(st.text(max_size=6), st.text(alphabet="0123.+- TrueFals\t", max_size=7)), min_size=1, max_size=20
    )
)
def test_categories_are_spelled_alike_in_python_and_in_the_graph(cells):
    cells = [cell.encode("utf-8", "replace").decode() for cell in cells]
    for train in ([0, 1], [True, False], ["x", "y"]):
        rules = CategoryColumn().adapt(pd.Series(train)).rules
        assert [name.decode() for name in Spell(rules)(tf.constant(cells)).numpy()] == [
            spelled(cell, rules) for cell in cells
        ]


# === One column, any dtype, served or not ===


def table(rows=40):
    rng, gaps = np.random.default_rng(0), np.arange(rows) % 7 == 0
    moments = pd.to_datetime("2019-01-01") + pd.to_timedelta(rng.integers(0, 60 * 24 * 700, rows), unit="min")
    return pd.DataFrame(
        {
            "real": np.where(gaps, NAN, rng.normal(10, 3, rows)),
            "whole": rng.integers(0, 50, rows),
            "gaps": np.where(gaps, NAN, rng.integers(0, 9, rows)),
            "large": 1_700_000_000_000 + rng.integers(0, 60_000, rows),
            "truth": rng.choice([True, False], rows),
            "zip": rng.choice(["01234", "98765", "K1A 0B1", " a "], rows),
            "money": rng.choice(["$1,234.50", "$7", "12", "1.2k"], rows),
            "comma": rng.choice(["1,5", "2,75", "1.234,5"], rows),
            "moment": np.where(gaps, np.datetime64("NaT"), moments),
            "day": (moments.floor("D")).strftime("%d/%m/%Y"),
            "span": pd.to_timedelta(rng.integers(0, 1000, rows), unit="s"),
            "text": rng.choice(["good film", "Ünïcode Тест", "这部电影"], rows),
        }
    )


@pytest.mark.parametrize(
    "modalities",
    [
        mm.Tabular(numeric=["real", "whole", "gaps", "large", "truth", "money", "comma", "span", "moment"]),
        mm.Tabular(categorical=["gaps", "whole", "truth", "zip", "moment"]),
        mm.Tabular(datetime=["moment", "day"]),
        mm.Text("text", "lexical"),
        [mm.Text("whole", "lexical"), mm.Tabular(numeric="whole"), mm.Tabular(categorical="whole", name="codes")],
        [mm.Text("money", "lexical"), mm.Tabular(numeric="money")],
        [mm.Text("day", "lexical"), mm.Tabular(datetime="day")],
        [mm.Tabular(numeric="gaps"), mm.Tabular(categorical="gaps", name="codes")],
    ],
    ids=[
        "numbers",
        "categories",
        "dates",
        "text",
        "three ways",
        "text and number",
        "text and date",
        "number and category",
    ],
)
def test_columns_are_read_alike_in_every_dtype_and_served(modalities):
    mm.testing.check_columns(modalities, table())


def test_check_columns_finds_a_column_that_is_read_in_two_ways():
    class Careless(NumberColumn):
        def values(self, series):
            return np.where(series.dtype == object, 0.0, super().values(series)).astype("float32")

    class Modality(mm.Tabular):
        @property
        def columns_read(self):
            return {name: Careless() for name in self.numeric}

    with pytest.raises(AssertionError, match="Column 'whole', read as number, must be"):
        mm.testing.check_columns(Modality(numeric="whole"), table())


# === What is told ===


@pytest.fixture(scope="module")
def pipe():
    rng = np.random.default_rng(0)
    df = pd.DataFrame({"x": rng.normal(size=200), "c": rng.choice(["a", "b"], 200)}).assign(y=lambda d: d.x > 0)
    pipe = mm.Pipeline([mm.Tabular(numeric="x", categorical="c")], mm.MultiClass("y"))
    pipe.fit(df, epochs=2, verbose=0)
    return pipe, df


def test_columns_that_say_nothing_are_told_of(pipe):
    pipe, df = pipe
    assert (pipe.check(df)["finding"] == "").all()
    for bad, told in (
        (
            {"c": "z"},
            "'c': all 200 cells are the same as category; 200 of 200 cells hold categories that training never saw",
        ),
        ({"x": "none of it"}, "'x': 200 of 200 cells are no number and count as missing"),
        ({"x": 1.0}, "'x': all 200 cells are the same as number"),
        ({"c": [f"id {i}" for i in range(200)]}, "nearly every cell is another category (200 of 200), as of an id"),
    ):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pipe.predict(df.assign(**bad))
        assert any(told in str(warning.message) and "pipe.check" in str(warning.message) for warning in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.predict(df.head(99).assign(c="a"))  # few rows may well be alike
    table = pipe.check(df.assign(x=["?"] * 150 + ["five"] * 50))
    assert table.loc["x", ["rows", "missing", "unread", "different"]].tolist() == [200, 0, 200, 0]
    assert "finding" in pipe.evaluate(df, verbose=0).sections[-1].table


def test_training_rows_that_say_nothing_are_told_of():
    df = pd.DataFrame({"x": [1.0] * 40, "id": [2**62 + i for i in range(40)], "y": ["a", "b"] * 20})
    with pytest.warns(
        UserWarning,
        match="'x': all 36 cells are the same as number; 'id': .*36 different cells become 1 different numbers",
    ):
        mm.Pipeline([mm.Tabular(numeric=["x", "id"])], mm.MultiClass("y")).fit(df, epochs=1, verbose=0)


# === After a change by hand ===


def served(pipe, df):
    return pipe.serving_model({name: df[name].to_numpy() for name in pipe.prepare.input})["y"].numpy()


def test_a_changed_head_predicts_as_it_is_served(pipe):
    pipe, df = pipe
    pipe = mm.Pipeline(pipe.modalities[:0] or [mm.Tabular(numeric="x")], mm.MultiClass("y"))
    pipe.fit(df, epochs=1, verbose=0)
    first = pipe.predict(df)
    pipe.head.set_weights([value * 0.5 for value in pipe.head.get_weights()])
    second = pipe.predict(df)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras tells of layers that have nothing to quantise
        pipe.head.quantize("int8")
    third = pipe.predict(df)
    assert np.abs(first - second).max().max() > 1e-3 and np.abs(second - third).max().max() > 1e-6
    np.testing.assert_allclose(third, served(pipe, df), atol=1e-6)
    other = mm.Pipeline([mm.Tabular(numeric="x")], mm.MultiClass("y"))
    other.fit(df, epochs=1, seed=1, verbose=0)
    pipe.head = other.head
    np.testing.assert_allclose(pipe.predict(df), served(pipe, df), atol=1e-6)
    wider = mm.Pipeline([mm.Tabular(numeric="x")], mm.MultiClass("c"))
    wider.fit(df, epochs=1, verbose=0)
    with pytest.raises(ValueError, match="A head must give {'y'"):
        pipe.head = wider.head


def test_a_loss_or_prediction_that_is_no_number_is_an_error(pipe):
    df = pipe[1]
    before = mm.Pipeline([mm.Tabular(numeric="x")], mm.MultiClass("y"))
    with pytest.raises(
        ValueError, match="The loss became nan in epoch 1: the training diverged. Use a lower learning_rate"
    ):
        before.fit(df, epochs=2, learning_rate=1e30, verbose=0)
    assert before.head is None
    before.fit(df, epochs=1, verbose=0)
    before.head.set_weights([value * NAN for value in before.head.get_weights()])
    with pytest.raises(ValueError, match="Predictions must be finite"):
        before.predict(df)


def test_what_is_left_out_in_one_thread_is_told_in_others():
    cells = pd.Series(["1", "x"], name="n")
    entered, go_on = threading.Event(), threading.Event()

    def silent():
        with quiet():
            entered.set()
            go_on.wait(10)
            NumberColumn().values(cells)

    thread = threading.Thread(target=silent)
    with pytest.warns(UserWarning, match="1 values are not numbers") as told:
        thread.start()
        entered.wait(10)
        NumberColumn().values(cells)
        go_on.set()
        thread.join()
    assert len(told) == 1

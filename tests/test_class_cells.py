"""Between a cell of the target and a decision: what is read, and what comes back in the target's own dtype."""

import datetime
import decimal
import json
import time
import warnings

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

import mmkeras as mm
from mmkeras import MultiClass, MultiLabel, Regression
from mmkeras.data.targets import Values
from mmkeras.evaluation import metrics
from mmkeras.losses.around import ExactLoss
from mmkeras.registry import describe, rebuild
from mmkeras.tasks.base import Task
from mmkeras.tasks.class_cells import natural_order
from mmkeras.tasks.label_cells import choose_separator, flag, read_labels

NAN = float("nan")


def frame(cells, dtype=None):
    return pd.DataFrame({"y": cells if isinstance(cells, pd.Series) else pd.Series(cells, dtype=dtype)})


def reloaded(task):
    """The task as it comes back from a saved Pipeline."""
    settings, state = json.loads(json.dumps([describe(task), task.state], allow_nan=False))
    return rebuild(Task, settings).learn(**state)


def perfect(task, df):
    """Probabilities (or numbers) of a model that is always right."""
    target = task.target(df).values
    return np.eye(len(task.classes))[target] if isinstance(task, MultiClass) else target


def strings(dtype):
    """The dtype, or a skip where pandas lacks its package."""
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    return dtype


# === Classes: decisions are cells ===

MOMENTS = pd.Series(pd.to_datetime(["2020-01-05", "2020-07-01 12:30:00", "2019-01-01", "2020-01-05"], format="mixed"))
COLUMNS = {
    **{kind: pd.Series([10, 2, 1, 2], dtype=kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint64")},
    **{
        kind: pd.Series([10, 2, 1, 2], dtype=kind)
        for kind in ("Int8", "Int64", "UInt16", "float32", "Float64", "object")
    },
    "float64": pd.Series([0.1, 1 / 3, 2.0, 1e300]),
    "halves": pd.Series([0.1, 1 / 3, 2.0, 0.5], dtype="float32"),
    "int64 beyond floats": pd.Series([2**60, 2**60 + 1, 5, 5]),
    "sparse": pd.Series([10, 2, 0, 2], dtype="Sparse[int64]"),
    **{
        f"{kind} truths": pd.Series([True, False, True], dtype=kind)
        for kind in ("bool", "boolean", "object", "category")
    },
    **{
        f"{kind} names": pd.Series(["b", "a", "c", "a"], dtype=kind) for kind in ("str", "object", "string", "category")
    },
    "ordered": pd.Series(pd.Categorical(["low", "high", "mid"], ["low", "mid", "high", "top"], ordered=True)),
    "categories in no order": pd.Series(pd.Categorical(["b", "a"], ["b", "z", "a"])),
    "categories of numbers": pd.Series([10, 2, 1, 2]).astype("category"),
    "categories of moments": MOMENTS.astype("category"),
    "bins": pd.cut(pd.Series([1, 5, 9, 2]), 3),
    "moments": MOMENTS,
    **{f"moments in {unit}": MOMENTS.astype(f"datetime64[{unit}]") for unit in ("s", "ms", "us", "ns")},
    "moments of Berlin": MOMENTS.dt.tz_localize("Europe/Berlin"),
    "moments as objects": MOMENTS.astype(object),
    "durations": MOMENTS - MOMENTS[0],
    "periods": MOMENTS.dt.to_period("M"),
    "dates": MOMENTS.dt.date,
    "decimals": pd.Series([decimal.Decimal("1.50"), decimal.Decimal("2")]),
    "mixed": pd.Series([1, "a", 2.5, b"x", decimal.Decimal("1.5"), datetime.date(2020, 1, 1)], dtype=object),
    "tuples": pd.Series([(1, "a"), (2, "b")], dtype=object),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_decisions_of_a_perfect_model_are_the_cells_of_the_column(name):
    df = frame(COLUMNS[name])
    df.index = pd.Index(range(5, 5 + len(df)))
    for task in (MultiClass("y").adapt(df), reloaded(MultiClass("y").adapt(df))):
        decided = task.series(perfect(task, df), df.index)
        assert (decided == df["y"]).all() and decided.dtype == df["y"].dtype and decided.name == "y"
        assert task.decide(perfect(task, df)) == df["y"].tolist() == task.read(task.target(df))
        table = task.frame(perfect(task, df), df.index)
        assert [table.loc[row, cell] for row, cell in df["y"].items()] == [1.0] * len(df)
        assert json.loads(json.dumps(task.told()["classes"])) == task.told()["classes"]


@pytest.mark.parametrize("dtype", ["string[pyarrow]", "int64[pyarrow]", "bool[pyarrow]", "timestamp[ns][pyarrow]"])
def test_decisions_of_columns_of_arrow(dtype):
    cells = {"s": ["b", "a"], "i": [10, 2], "b": [True, False], "t": MOMENTS[:2].tolist()}[dtype[0]]
    df = frame(cells, strings(dtype))
    task = reloaded(MultiClass("y").adapt(df))
    decided = task.series(perfect(task, df), df.index)
    assert (decided == df["y"]).all() and decided.dtype == df["y"].dtype


CELLS = {
    "int8": st.integers(-128, 127), "int64": st.integers(-(2**63), 2**63 - 1), "uint16": st.integers(0, 2**16 - 1),
    "Int64": st.integers(-(2**63), 2**63 - 1), "bool": st.booleans(), "boolean": st.booleans(),
    "float64": st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0),  # −0.0 is 0.0
    "str": st.text("abcZ19.-_é", min_size=1, max_size=4), "object": st.text("ab 1", min_size=1).map(str.strip).filter(bool),
    "string": st.text("xyß", min_size=1, max_size=3), "category": st.text("abc", min_size=1, max_size=2),
    "datetime64[ns]": st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
    "datetime64[s]": st.datetimes().map(lambda moment: moment.replace(microsecond=0)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", CELLS)
@hypothesis.settings(max_examples=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(data=st.data())
def test_decisions_compare_with_the_column_whatever_its_dtype(dtype, data):
    cells = data.draw(st.lists(CELLS[dtype], min_size=2, max_size=8))
    df = frame(cells, dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that differ by case alone
        try:
            task = reloaded(MultiClass("y").adapt(df))
        except ValueError as error:
            assert "at least two classes" in str(error)
            return
    decided = task.series(perfect(task, df), df.index)
    assert decided.dtype == df["y"].dtype
    if dtype in ("str", "object", "string", "category"):  # "01" is "1" where nothing tells them apart
        assert task.encode(decided.to_frame()).tolist() == task.encode(df).tolist()
    else:
        assert (decided == df["y"]).all()


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(cells=st.lists(st.integers(-3, 12), min_size=2, max_size=9))
def test_any_dtype_that_holds_the_same_numbers_gives_the_same_classes(cells):
    hypothesis.assume(len(set(cells)) > 1)
    task = MultiClass("y").adapt(frame(cells, "int64"))
    for dtype in ("int8", "Int64", "float64", "object", "category", "str"):
        other = frame(cells, "int64")["y"].astype(dtype).to_frame()
        assert MultiClass("y").adapt(other).classes == task.classes == tuple(map(str, sorted(set(cells))))
        assert task.encode(other).tolist() == task.encode(frame(cells)).tolist()


def test_natural_order():
    assert natural_order(["10", "9", "-1", "0.5", "1e2"]) == ["-1", "0.5", "9", "10", "1e2"]
    assert natural_order(["v10", "v9", "B", "a", "10"]) == ["10", "B", "a", "v9", "v10"]
    longest = ["v" + "9" * 5000, "v1" + "0" * 5000, "v" + "0" * 6000 + "7", "v8"]  # more digits than `int` reads
    assert natural_order(longest) == ["v" + "0" * 6000 + "7", "v8", "v" + "9" * 5000, "v1" + "0" * 5000]
    assert natural_order(["True", "False"]) == ["False", "True"]
    assert natural_order(["١", "²", "nan", "inf"]) == sorted(["١", "²", "nan", "inf"])


def test_ordered_categories_keep_their_order_and_those_without_rows_are_no_classes():
    df = frame(pd.Series(pd.Categorical(["low", "high", "mid"], ["low", "mid", "high", "top"], ordered=True)))
    assert MultiClass("y").adapt(df).classes == ("low", "mid", "high")


def test_classes_may_be_given_as_they_stand_in_the_column():
    numbers = MultiClass("y", classes=[2, 0, 1]).adapt(frame([0, 1, 0]))
    assert numbers.classes == ("2", "0", "1") and numbers.encode(frame([1, 2])).tolist() == [2, 0]
    assert numbers.frame(np.zeros((1, 3)), [0]).columns.tolist() == [2, 0, 1]  # also of one without a row
    assert numbers.series(np.eye(3)).tolist() == [2, 0, 1] and numbers.told()["classes"] == [2, 0, 1]
    truths = MultiClass("y", classes=[True, False]).adapt(frame([False, True]))
    assert truths.decide(np.array([[0.9, 0.1]])) == [True] and reloaded(truths) == truths
    assert MultiClass("y", classes=[True, False]).adapt(frame([0, 1])).encode(frame([1, 0])).tolist() == [0, 1]
    assert MultiClass("y", classes=[1.0, 2.0]).adapt(frame([1, 2])).decide(np.eye(2)) == [1, 2]
    with pytest.raises(ValueError, match=r"`classes` must be different names, at least one. Received: \('01', '1'\)"):
        MultiClass("y", classes=["01", "1"]).adapt(frame([1, 2]))


def test_class_weights_are_given_by_cells():
    task = MultiClass("y").adapt(frame([True, False, True]))
    np.testing.assert_allclose(task.weights(Values([0, 1]), {True: 3.0}), [1, 3])
    task = MultiClass("y").adapt(frame([1.0, 2.0]))
    np.testing.assert_allclose(task.weights(Values([0, 1]), {2: 3.0}), [1, 3])
    task = MultiClass("y").adapt(frame(MOMENTS))
    assert task.weights(Values([0, 1]), {MOMENTS[2]: 3.0}).tolist() == [3, 1]


@pytest.mark.parametrize("method", ["adapt", "encode", "unknown"])
def test_blank_cells_are_missing_answers(method):
    task = MultiClass("y", classes=["a", "b"])
    with pytest.raises(
        ValueError, match=r"'y' must be known in every row. Received: 2 blank cells. Use df\[df\['y'\].str"
    ):
        getattr(task, method)(frame(["a", "", "b", "  "]))


def test_labels_that_differ_by_case_or_look_like_gaps_stay_and_are_told():
    with pytest.warns(
        UserWarning, match=r"differ by case or spaces alone .*: 'yes' \(2 rows\), 'YES' \(1 rows\). Spell"
    ):
        assert MultiClass("y").adapt(frame(["yes", "YES", "no", "yes"])).classes == ("YES", "no", "yes")
    with pytest.warns(
        UserWarning, match=r"look like gaps .*: 'None' \(2 rows\). Drop these rows, unless they are meant"
    ):
        assert MultiClass("y").adapt(frame(["None", "Coupon", "None"])).classes == ("Coupon", "None")
    with pytest.warns(UserWarning, match=r"look like gaps"):
        assert MultiClass("y").adapt(frame(["NA", "DE", "null"])).classes == ("DE", "NA", "null")
    with pytest.warns(UserWarning, match=r"spaces around them \(for example 'yes '\).* Strip the column"):
        task = MultiClass("y").adapt(frame(["yes", "yes ", "no", "yes"]))
    assert task.classes == ("no", "yes") and task.encode(frame([" no", "yes"])).tolist() == [0, 1]
    assert task.decide(np.eye(2)) == ["no", "yes"]


def test_tasks_of_earlier_versions_read_and_answer_strings_as_they_did():
    old = MultiClass("y").learn(classes=["1", "2"])
    assert old.encode(frame([2.0, 1.0])).tolist() == [1, 0] and old.decide(np.eye(2)) == ["1", "2"]
    assert old.unknown(frame([" 1", "2"])) == {" 1": 1} and old.told()["classes"] == ["1", "2"]
    assert MultiLabel(column="y", classes=None, separator="|").learn(classes=["a"]).names("a, b|c") == ["a, b", "c"]


def test_a_cell_of_several_classes_is_refused():
    with pytest.raises(
        ValueError, match=r"'y' must hold one class in a cell. Received: \['a', 'b'\]. Use MultiLabel\('y'\)"
    ):
        MultiClass("y").adapt(frame([["a", "b"], ["a"]], object))


# === Lists of labels ===


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("['War' 'Crime']", ["War", "Crime"]),
        ("['War'\n 'Science Fiction'\n \"Child's Play\"]", ["War", "Science Fiction", "Child's Play"]),
        ("['War' None nan]", ["War"]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        ("array(['a', 'b'], dtype='<U5')", ["a", "b"]),
        ("[np.str_('War (old)'), np.int64(3)]", ["War (old)", "3"]),
        ("[a, b]", ["a", "b"]),
        ("[Science Fiction, War]", ["Science Fiction", "War"]),
        ("[Science Fiction]", ["Science Fiction"]),
        ("{a,b}", ["a", "b"]),
        ('{"a b",c}', ["a b", "c"]),
        ("{'b', 'a'}", ["a", "b"]),
        ("set()", []),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("(500) Days|(none)", ["(500) Days", "(none)"]),
        ("(none)", ["(none)"]),
        ("[1 2 3]", ["1", "2", "3"]),
        ("[1. 2.]", ["1", "2"]),
        ("[1, 2.0, None, nan, NaN, null, NA]", ["1", "2"]),
        ("['3', '4']", ["3", "4"]),
        ("['a', \"it's [x], {y}\",]", ["a", "it's [x], {y}"]),
        ('["\\u00e9", "\\ud83d\\ude00"]', ["é", "😀"]),
        ("[b'a', 'c']", ["a", "c"]),
        ("{'a': 1, 'b': 0}", ["a"]),
        ('{"a": true, "b": false, "c": "1"}', ["a", "c"]),
        ("[{'id': 18, 'name': 'Drama'}, {'id': 1, 'name': nan}]", ["Drama"]),
        ({"a": True, "b": "0", "c": np.float64(1)}, ["a", "c"]),
        ({"b", "a"}, ["a", "b"]),
        (frozenset(["b"]), ["b"]),
        (b"a|b", ["a", "b"]),
        ("a|b|a", ["a", "b"]),
        (["a", "a"], ["a"]),
        (["a", None, NAN, pd.NA, pd.NaT, "", float("inf")], ["a"]),
        ([1, 2.0, "2", np.int8(3), 2.5, True], ["1", "2", "3", "2.5", "True"]),
        (pd.Series(["a"]), ["a"]),
        (pd.array(["a", None], dtype="string"), ["a"]),
        (np.array([1.0, 2.0]), ["1", "2"]),
        (np.array("a|b"), ["a", "b"]),
        ("nan", ["nan"]),
        ("[]", []),
        ("{}", []),
        ("()", []),
    ],
)
def test_labels_of_a_cell_in_every_form(cell, names):
    assert MultiLabel("y").names(cell) == names


def test_labels_of_cells_of_arrow():
    arrow = pytest.importorskip("pyarrow")
    assert MultiLabel("y").names(arrow.scalar(["a", None, "b"])) == ["a", "b"]
    series = pd.Series([["a", "b"], None], dtype=pd.ArrowDtype(arrow.list_(arrow.string())))
    assert [MultiLabel("y").names(cell) for cell in series] == [["a", "b"], []]


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("['a' ... 'b']", r"must be written in full, but NumPy left some out.*Received in 'y'.*Write the column anew"),
        ("[1 2 ... 9]", r"must be written in full"),
        ([["a"], ["b"]], r"must hold labels, not other lists. Received in 'y'.*Flatten it first"),
        ([("a", 1)], r"must hold labels, not other lists"),
        ("[['a'], ['b']]", r"must hold labels, not other lists"),
        ("[a, [b]]", r"must hold labels, not other lists"),
        (np.array([["a"]]), r"must hold labels, not other lists"),
        ('[{"name": ["a"]}]', r"must hold labels, not other lists"),
        ({"a": 2}, r"must be strings such as"),
        (7, r"Received: 7. Convert the column first. A column of one number for each row is for MultiClass"),
        ({"a": None}, r"must be strings such as"),
        (b"\xff", r"bytes must be UTF-8"),
        ("['a', 'b]", r"must be a JSON or Python list"),
        ("['a" + "\\'" * 50_000 + "]", r"must be a JSON or Python list"),
        ("[" * 100_000, r"must be a JSON or Python list"),
        ("[" * 100_000 + "]" * 100_000, r"must be a JSON or Python list"),
        ("{" * 100_000 + "}" * 100_000, r"must be a JSON or Python list"),
        ("[{'a': " + "(" * 50_000 + ")" * 50_000 + "}]", r"must be a JSON or Python list"),
        ("[{'a': " + "-" * 100_000 + "1}]", r"must be a JSON or Python list"),
        ("[{'a': " + "9" * 10_000 + "}]", r"must be a JSON or Python list"),
        ("[" + "9" * 10_000 + "]", r"A label must have at most 1,000 signs"),
        ("[" + "-" * 100_000 + "1]", r"A label must have at most 1,000 signs"),
        ("(" * 100_000, r"A label must have at most 1,000 signs"),
        ("x" * 2_000, r"A label must have at most 1,000 signs"),
        ("x|" * 600_000, r"at most 1,000,000 signs"),
    ],
)
def test_cells_that_hold_no_labels_are_refused_at_once(cell, sentence):
    start = time.monotonic()
    with pytest.raises(ValueError, match=sentence) as raised:
        MultiLabel("y").names(cell)
    assert len(str(raised.value)) < 600 and time.monotonic() - start < 5


NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).map(str.strip).filter(bool)


@hypothesis.settings(max_examples=80, deadline=None)
@hypothesis.given(names=st.lists(NAMES, max_size=5, unique=True))
def test_a_list_is_the_same_however_it_is_written(names):
    forms = [names, tuple(names), np.array(names, dtype=object), repr(names), repr(tuple(names)), json.dumps(names)]
    forms += [str(np.array(names, dtype=object)), repr([np.str_(name) for name in names]), dict.fromkeys(names, 1)]
    for form in forms:
        assert read_labels(form).names == names, form
    for form in (set(names), repr(set(names))):
        assert read_labels(form).names == sorted(names)


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(text=st.text("[](){}'\"\\,|: ab1.-\n", max_size=40))
def test_any_text_gives_labels_or_the_error_of_a_cell(text):
    try:
        names = MultiLabel("y").names(text)
    except ValueError as error:
        assert "Received" in str(error)
    else:
        assert all(name and name == name.strip() for name in names) and len(set(names)) == len(names)


# --- what separates them


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["Drama, War", "War, Crime", "Drama"], ","),
        (["a; b", "b;c", "c; a"], ";"),
        (["a, x; b, y", "b, y; c", "c; a, x"], ";"),
        (["a/b", "b/a", "a"], "/"),
        (["a\tb", "b\tc", "a\tc"], "\t"),
        (["a - b", "b - c", "c", "a"], " - "),
        (["a|b", "b, c", "c, b"], "|"),
        (["Sci-Fi, Fantasy and more", "Drama", "War"], "|"),
        (["Paris, France", "Lyon, France", "Nice, France"], "|"),
        (["AC/DC", "U2", "AC/DC"], "|"),
        (["['a, b']", ["b, c"], None, NAN], "|"),
        ([], "|"),
    ],
)
def test_the_separator_is_the_one_that_makes_labels_repeat(cells, separator):
    assert choose_separator(cells)[0] == separator


def test_a_separator_other_than_the_usual_one_is_told_and_kept():
    df = frame(["Drama, War", "War, Crime", "Drama", "Crime,Drama"])
    with pytest.warns(
        UserWarning, match=r"'y' is split at ',', which makes 3 labels of 4 different cells. Give separator="
    ):
        task = reloaded(MultiLabel("y").adapt(df))
    assert task.classes == ("Crime", "Drama", "War") and task.settings.separator is None
    assert task.names("War, Drama") == ["War", "Drama"]
    assert task.decide(task.encode(df)) == task.read(task.target(df)) == [
        ["Drama", "War"], ["Crime", "War"], ["Drama"], ["Crime", "Drama"],
    ]  # fmt: skip
    assert MultiLabel("y", separator=",").adapt(df).classes == task.classes  # not told
    assert MultiLabel("y", separator="|").adapt(df).classes == ("Crime,Drama", "Drama", "Drama, War", "War, Crime")
    with pytest.warns(UserWarning, match="is split"):
        fixed = MultiLabel("y").fixed(df)
    assert fixed.separator == "," and fixed.adapt(df.tail(2)).classes == task.classes
    with pytest.warns(UserWarning, match=r"'y' is not split: most cells hold ','.*Give separator=','"):
        assert MultiLabel("y").adapt(frame(["x, y", "z, w"])).classes == ("x, y", "z, w")
    with pytest.raises(ValueError, match=r"`separator` must be a string, or None. Received: ''"):
        MultiLabel("y", separator="")


def test_gaps_in_lists_and_doubtful_names_are_told():
    df = frame([["a", None], ["b", NAN, pd.NA], ["a"]], object)
    with pytest.warns(UserWarning, match=r"'y': 3 entries of lists, in 2 rows, hold nothing, such as None: left out"):
        task = MultiLabel("y").adapt(df)
    assert task.classes == ("a", "b") and "3 entries of lists, in 2 rows" in task.judged(df)[1][0]
    with pytest.warns(UserWarning, match=r"differ by case or spaces alone .*: 'War' \(1 rows\), 'war' \(1 rows\)"):
        MultiLabel("y").adapt(frame(["War|x", "war"]))
    with pytest.warns(UserWarning, match=r"look like gaps .*: 'None' \(2 rows\)"):
        assert MultiLabel("y").adapt(frame(["None|Drama", "None", "War"])).classes == ("Drama", "None", "War")


def test_labels_that_are_all_ints_come_back_as_ints():
    with pytest.warns(UserWarning, match="hold nothing"):
        task = reloaded(MultiLabel("y").adapt(frame([[10, 2.0], [2], "[1, NaN]", None], object)))
    assert task.classes == ("1", "2", "10") and task.told()["classes"] == [1, 2, 10]
    assert task.decide(np.array([[0.9, 0.1, 0.8], [0, 0, 0]])) == [[1, 10], []]
    assert task.frame(np.zeros((1, 3)), [0]).columns.tolist() == [1, 2, 10]
    assert MultiLabel("y").adapt(frame(["1|2", "2"])).decide(np.eye(2)) == [["1"], ["2"]]
    assert MultiLabel("y").adapt(frame([[1, 2], ["2"]], object)).decide(np.eye(2)) == [["1"], ["2"]]


def test_labels_as_a_series_of_lists():
    task = MultiLabel("y", classes=["a", "b"])
    decided = task.series(np.eye(2), [3, 4])
    assert decided.dtype == object and decided.tolist() == [["a"], ["b"]] and decided.index.tolist() == [3, 4]


# --- a column of 0 and 1 for each


def flags(toxic, insult):
    return pd.DataFrame({"toxic": toxic, "insult": insult})


@pytest.mark.parametrize(
    ("toxic", "insult"),
    [
        ([0, 1, 1], [True, False, True]),
        ([0.0, 1.0, 1.0], ["1", "0", "1"]),
        (pd.array([0, 1, 1], "Int64"), pd.array([True, False, True], "boolean")),
        (["false", "True", " true "], pd.Series([1, 0, 1]).astype("category")),
        (pd.Series([0, 1, 1.0], dtype=object), pd.Series([1, 0, 1], dtype="Sparse[int64]")),
        ([np.bool_(False), np.bool_(True), 1], [b"1", b"0", "1.0"]),
    ],
)
def test_one_column_for_each_label(toxic, insult):
    df = flags(toxic, insult)
    task = reloaded(MultiLabel(["toxic", "insult"]).adapt(df))
    assert task.column == "labels" and task.columns == task.classes == ("toxic", "insult")
    assert task.encode(df).tolist() == [[0, 1], [1, 0], [1, 1]]
    assert task.read(task.target(df)) == [["insult"], ["toxic"], ["toxic", "insult"]] == task.decide(task.encode(df))
    assert MultiLabel(["toxic", "insult"], classes=["insult"]).adapt(df).encode(df).tolist() == [[1], [0], [1]]


@pytest.mark.parametrize(
    "bad", [None, 2, "many", NAN, [1], pytest.param(10**400, id="huge"), pytest.param(10**5000, id="unwritable")]
)
def test_columns_of_flags_that_hold_something_else(bad):
    with pytest.raises(ValueError, match=r"must hold 0 or 1 in every row. Received: .* in 'insult'.*Fill or drop them"):
        MultiLabel(["toxic", "insult"]).adapt(flags([0, 1], pd.Series([1, bad], dtype=object)))


def test_a_number_beyond_floats_is_no_flag():
    assert flag(10**400) is None
    with pytest.raises(ValueError, match="Received: .*for MultiClass"):
        MultiLabel("y").adapt(frame(pd.Series([10**400, 10**400], dtype=object)))
    with pytest.raises(ValueError, match="Received: .*Convert the column first"):
        MultiLabel("y").adapt(frame([{"a": 10**400}, {"a": 1}]))


def test_who_gives_flags_is_led_to_what_works():
    with pytest.raises(ValueError, match=r"a column of 0 and 1.*Use MultiClass\('y'\).*MultiLabel\(\['y', …\]\)"):
        MultiLabel("y").adapt(frame([0, 1, 0]))
    for cells in ([True, False], ["0", "1"], [1.0, NAN, 0.0], pd.array([True, None, False], "boolean")):
        with pytest.raises(ValueError, match=r"a column of 0 and 1"):
            MultiLabel("y").adapt(frame(pd.Series(cells)))
    with pytest.raises(
        ValueError, match=r"must be a column name. Received: \['a', 'b'\].*MultiLabel\(\['toxic', 'insult'\]\)"
    ):
        MultiClass(["a", "b"])
    with pytest.raises(ValueError, match=r"must be a column name. Received: \['a'\].*list of at least two"):
        MultiLabel(["a"])
    with pytest.raises(ValueError, match=r"columns of labels must have different names. Received: \['a', 'a'\]"):
        MultiLabel(["a", "a"])
    with pytest.raises(ValueError, match=r"`classes` must be some of the columns \['a', 'b'\]. Received: \['c'\]"):
        MultiLabel(["a", "b"], classes=["c"])
    with pytest.raises(KeyError, match="needs the column 'insult'"):
        MultiLabel(["toxic", "insult"]).adapt(frame([1]).rename(columns={"y": "toxic"}))


def test_a_pipeline_of_flags(tmp_path):
    x = np.linspace(-1, 1, 60)
    df = pd.DataFrame({"x": x, "toxic": (x > 0).astype("int8"), "insult": x < 0.5})
    pipe = mm.Pipeline([mm.Tabular(numeric=["x"])], MultiLabel(["toxic", "insult"]), units=16)
    pipe.fit(df, epochs=8, learning_rate=6e-2, verbose=0)
    assert pipe.predict(df).columns.tolist() == ["toxic", "insult"]
    pipe.save(tmp_path / "model")
    report = mm.load(tmp_path / "model").evaluate(df, train_data=df, verbose=0)
    assert report.metrics["micro_f1"] > 0.9 and report.labels.index.tolist() == ["toxic", "insult"]


# === Numbers ===


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1,234.50", "$5", "2"], [1234.5, 5, 2]),
        (["12 %", "7 %"], [0.12, 0.07]),
        (["1.234,50", "2,5"], [1234.5, 2.5]),
        ([decimal.Decimal("1.25"), 3], [1.25, 3]),
        (pd.array([1, 2], "Int64"), [1, 2]),
        (pd.Series([1.5, 0.0], dtype="Sparse[float64]"), [1.5, 0]),
        (pd.Series([3, 1]).astype("category"), [3, 1]),
        ([True, False], [1, 0]),
        ([2**53 - 1, 1], [2**53 - 1, 1]),
    ],
)
def test_numbers_are_read_in_float64(cells, numbers):
    df = frame(pd.Series(cells))
    task = Regression("y").adapt(df)
    for reader in (task, reloaded(task)):
        values = reader.encode(df)
        assert values.dtype == np.float64
        if not str(cells[0]).endswith("%"):
            np.testing.assert_array_equal(values[:, 0], numbers)
        else:
            np.testing.assert_allclose(values[0] / values[1], numbers[0] / numbers[1])


@pytest.mark.parametrize("bad", ["n/a", "", "2020-01-01", "many", float("inf")])
def test_a_number_that_cannot_be_read_is_refused(bad):
    with pytest.raises(
        ValueError, match=r"must hold finite numbers. Received: .*Drop or correct the row; there are 1 such"
    ):
        Regression("y").adapt(frame(pd.Series([1, 2, bad, 3], dtype=object)))


@pytest.mark.parametrize(
    "series",
    [
        *(MOMENTS.astype(f"datetime64[{unit}]") for unit in ("s", "ms", "us", "ns")),
        MOMENTS.dt.tz_localize("Europe/Berlin"),
        MOMENTS.astype(object),
        (MOMENTS - MOMENTS[1]).astype("timedelta64[ms]"),
        MOMENTS - MOMENTS[1],
        (MOMENTS - MOMENTS[1]).astype(object),
        pd.Series([datetime.date(2020, 1, 1), datetime.date(1960, 2, 29)]),
    ],
    ids=lambda series: f"{series.dtype} {type(series.iloc[0]).__name__}",
)
def test_moments_and_durations_are_seconds_and_come_back(series):
    df = frame(series)
    task = reloaded(Regression("y").adapt(df))
    seconds = task.encode(df)[:, 0]
    stamps = pd.to_timedelta(series) if "elta" in type(series.iloc[0]).__name__ else None
    if stamps is None:
        stamps = pd.to_datetime(series, utc=True) - pd.Timestamp(0, tz="UTC")
    np.testing.assert_allclose(seconds, stamps.dt.total_seconds(), rtol=0, atol=1e-6)
    decided = task.series(task.encode(df), df.index)
    first = series.iloc[0]
    if type(first) is datetime.date:
        assert decided.dt.date.tolist() == series.tolist()
    else:
        assert (decided == series).all() and (series.dtype == object or decided.dtype == series.dtype)
    assert task.read(task.target(df)) == task.decide(task.encode(df)) == decided.tolist()
    assert task.frame(task.encode(df), df.index)["y"].dtype == np.float64
    assert task.series(np.full((1, 1), NAN)).isna().all()


def test_numbers_of_int_columns_are_decided_as_floats():
    task = Regression("y").adapt(frame([1, 2, 4]))
    assert task.series(np.array([[1.5]])).tolist() == [1.5] and task.decide(np.array([[1.5]])) == [1.5]


def test_losses_of_numbers_keep_a_large_offset():
    truth, said = np.array([[1_700_000_001.0]]), np.array([[1_700_000_000.5]])
    assert float(ExactLoss("mse")(truth, said)) == 0.25
    import keras

    assert float(ExactLoss(keras.losses.Huber(delta=0.1), 2.0)(truth, said)) == pytest.approx(2 * (0.1 * 0.5 - 0.005))
    assert ExactLoss(keras.losses.MeanAbsoluteError(reduction="none"))(truth, said).shape == (1,)
    task = Regression("y").adapt(frame([1_700_000_000, 1_700_000_060]))
    target = task.target(frame([1_700_000_000, 1_700_000_060]))
    for name in ("mae", "mse", "huber", "log_cosh", keras.losses.MeanAbsoluteError()):
        loss = task.choose_loss(name, target)
        assert float(loss(target.values, np.full((2, 1), task.mean))) == pytest.approx(1.0)


def test_units_are_a_registered_layer_in_float64(tmp_path):
    import keras

    inputs = keras.Input((2,))
    model = keras.Model(inputs, mm.layers.Units(0.5, 1_700_000_001.0, name="units")(inputs))
    rows = np.array([[2.0, -4.0]], "float32")
    assert model(rows).numpy().tolist() == [[1_700_000_002.0, 1_699_999_999.0]] and model.output.dtype == "float64"
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again(rows).numpy().tolist() == model(rows).numpy().tolist()
    assert again.get_layer("units").get_config() == model.get_layer("units").get_config()
    with pytest.raises(ValueError, match="could not convert string to float"):
        mm.layers.Units("wide", 0.0)


def test_scores_of_numbers_keep_a_large_offset():
    truth = 1e15 + np.arange(20.0)
    values = metrics.regression(truth, truth + 0.5, np.ones((1, 20)))
    assert values["mae"] == 0.5 and values["rmse"] == 0.5 and values["r2"] == pytest.approx(1 - 0.25 / 33.25)
    assert np.isnan(metrics.regression(np.full(20, 1e9 + 0.1), truth, np.ones((1, 20)))["r2"])


def test_seconds_since_1970_are_predicted_to_the_second(tmp_path):
    x = np.arange(120) % 60
    df = pd.DataFrame({"x": x, "y": 1_700_000_000 + 3 * x})
    pipe = mm.Pipeline([mm.Tabular(numeric=["x"])], Regression("y"), units=32, dropout=0.0)
    history = pipe.fit(df, validation_data=df, epochs=20, learning_rate=3e-2, verbose=0, loss="mae")
    predicted = pipe.predict(df)["y"]
    error = np.abs(predicted - df["y"]).mean()
    assert predicted.dtype == np.float64 and predicted.round(3).nunique() == 60 and error < 10
    assert history.history["val_mae"][-1] == pytest.approx(error, abs=1e-4) and history.history["loss"][0] < 2
    report = pipe.evaluate(df, verbose=0)
    assert report.metrics["mae"] == pytest.approx(error)
    assert report.metrics["r2"] == pytest.approx(1 - ((predicted - df.y) ** 2).mean() / df.y.var(ddof=0))
    pipe.save(tmp_path / "model")
    pd.testing.assert_frame_equal(mm.load(tmp_path / "model").predict(df), pipe.predict(df), atol=1e-5, rtol=0)
    served = pipe.serving_model({"x": x.astype("float32")})["y"].numpy()
    np.testing.assert_allclose(served[:, 0], predicted, rtol=0, atol=1e-4)


def test_the_linear_rival_keeps_a_large_offset():
    from sklearn.feature_extraction.text import TfidfVectorizer

    terms = TfidfVectorizer().fit_transform(["red", "blue", "green"] * 20)
    small, task = np.tile([[1.0], [2.0], [4.0]], (20, 1)), Regression("y")
    (weights, bias), (large_weights, large_bias) = task.fit_linear(terms, small), task.fit_linear(terms, small + 1e12)
    np.testing.assert_allclose(large_weights, weights, atol=1e-3)
    np.testing.assert_allclose(large_bias - 1e12, bias, atol=1e-3)


# === What is no number ===


def test_predictions_that_are_no_numbers_are_told_with_what_may_help():
    import keras

    task = MultiClass("y", classes=["a", "b"])
    assert task.check_predictions(np.eye(2)) == ""
    sentence = task.check_predictions(np.array([[0.5, NAN]]))
    assert "1 of 2 that are not: the training diverged" in sentence and "learning_rate" in sentence
    before = keras.config.floatx()
    try:
        keras.config.set_floatx("float16")
        assert "set_floatx('float32')" in task.check_predictions(np.array([[np.inf]]))
    finally:
        keras.config.set_floatx(before)


# === The whole way ===


def test_a_pipeline_answers_in_the_dtype_of_the_target(tmp_path):
    x = np.linspace(-1, 1, 60)
    df = pd.DataFrame({"x": x, "y": pd.array(np.where(x > 0, 10, 2), "Int64")}, index=range(100, 160))
    pipe = mm.Pipeline([mm.Tabular(numeric=["x"])], MultiClass("y"), units=16)
    pipe.fit(df, epochs=8, learning_rate=6e-2, verbose=0)
    decided = pipe.predict_labels(df)
    assert (decided == df["y"]).mean() > 0.9 and decided.dtype == "Int64" and decided.index.equals(df.index)
    assert pipe.predict(df).columns.tolist() == [2, 10]
    report = pipe.evaluate(df, verbose=0)
    assert report.metrics["accuracy"] == (decided == df["y"]).mean()
    assert report.confusion.index.tolist() == ["2", "10"] and str(report)
    assert report.examples["y (true)"].tolist() == [str(df["y"].loc[row]) for row in report.examples.index]
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    pd.testing.assert_series_equal(loaded.predict_labels(df), decided)
    pipe.export(tmp_path / "served")
    told = json.loads((tmp_path / "served" / "assets.extra" / "mmkeras.json").read_text())
    assert told["classes"] == [2, 10]

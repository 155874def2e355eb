"""What a table no longer is: each kind of drift is told, rows like those of training are not."""

import json
import math
import warnings

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.data.categories import CategoryColumn
from mmkeras.data.check import check_columns
from mmkeras.data.dates import DateColumn
from mmkeras.data.drift import bins_of, by_chance, exceeds, script_of, shift
from mmkeras.data.numbers import NumberColumn
from mmkeras.data.texts import TextColumn
from mmkeras.modalities.base import adapt

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=400)
NAMES = RNG.choice(["red", "green", "blue"], 400)
DAYS = pd.date_range("2020-01-01", periods=400).strftime("%Y-%m-%d").to_numpy()
TEXTS = np.array([f"a lamp and {number} chairs" for number in range(400)], dtype=object)


def some(cells, count, other):
    """The cells, with the first `count` replaced."""
    return np.concatenate([np.full(count, other, dtype=object), np.asarray(cells, dtype=object)[count:]])


def drift(column, cells, others):
    """`Drift` of other cells from those that a column is adapted to."""
    learnt = column.adapt(pd.Series(cells, name="c")).remember(pd.Series(cells, name="c"))
    return learnt.drift(learnt.values(pd.Series(others, name="c")))


@pytest.mark.parametrize(
    ("column", "cells", "other", "told"),
    [
        (NumberColumn(), NUMBERS, 99.0, "lie outside the range of training, -.* to .* (for example 99)"),
        (DateColumn(), DAYS, "2031-05-07", "dates lie outside the range of training, 2020-01-01 to 2021-02-03 (for example 2031-05-07)"),
        (CategoryColumn(), NAMES, "mauve", "cells hold categories that training never saw (for example 'mauve')"),
        (TextColumn(), TEXTS, "Война и мир", "texts are in scripts that fewer than 1% of the training texts have: Cyrillic"),
        (TextColumn(), TEXTS, "", "400 cells are missing, empty or unread (30%; in training 0%)"),
        (NumberColumn(), NUMBERS, None, "400 cells are missing, empty or unread (30%; in training 0%)"),
    ],
)  # fmt: skip
def test_each_kind_is_told_of_many_cells_and_not_of_an_odd_cell(column, cells, other, told):
    many = drift(column, cells, some(cells, 120, other))
    ((sentence, matters), *_) = many.findings
    assert matters
    assert pd.Series([sentence]).str.contains(told.replace("(", r"\(").replace(")", r"\)")).all(), sentence
    assert drift(column, cells, some(cells, 1, other)).findings == ()
    few = drift(column, cells, some(cells, 28, other)).findings  # 7%: told, but no reason to warn of predictions
    assert few
    assert not any(matters for _, matters in few)
    assert drift(column, cells, cells).findings == ()


def test_a_share_outside_and_an_index_are_numbers_of_the_table():
    assert drift(NumberColumn(), NUMBERS, some(NUMBERS, 100, 99.0)).outside == 0.25
    assert drift(CategoryColumn(), NAMES, some(NAMES, 3, "mauve")).outside == 3 / 400
    assert math.isnan(drift(CategoryColumn(), NAMES, NAMES).shift)
    assert drift(NumberColumn(), NUMBERS, NUMBERS).shift == 0


def test_a_shift_of_the_middle_is_told_within_the_range():
    moved = drift(NumberColumn(), NUMBERS, NUMBERS.clip(0.3, None))
    assert moved.outside == 0
    ((sentence, matters),) = moved.findings
    assert matters
    assert sentence.startswith("the numbers are distributed otherwise than in training: their median is 0.3, then ")


def test_the_stability_index_by_hand():
    usual = bins_of(np.repeat([1.0, 2.0], 50))
    assert usual == {"edges": [1.0], "counts": [50, 50], "median": 1.0}
    index, findings = shift(usual, np.repeat([1.0, 2.0], [90, 10]))
    p = 90.5 / 101
    assert index == pytest.approx((p - 0.5) * math.log(p / 0.5) + (0.5 - p) * math.log((1 - p) / 0.5))
    assert len(findings) == 1
    assert shift(usual, np.repeat([1.0, 2.0], [9, 1]))[1] == ()  # of ten numbers it may be chance


def test_chance_by_hand():
    assert by_chance(2, 2, 2) == pytest.approx(1 / 6)  # of 6 pairs of 4 numbers
    assert by_chance(0, 5, 5) == 1
    assert not exceeds(4, 4, 0, 1000)  # fewer than five cells are an oddity
    assert exceeds(10, 100, 0, 1000)


def test_names_that_nearly_all_occur_once_are_expected_to_be_new():
    names, others = ([f"{side}{number}" for number in range(300)] for side in "ab")
    assert drift(CategoryColumn(), names, others).outside == 1
    assert drift(CategoryColumn(), names, others).findings == ()


@pytest.mark.parametrize(
    ("text", "script"),
    [("Ωμέγα", "Greek"), ("ＡＢＣ", "Latin"), ("한국어", "Hangul"), ("a الأبجدية", "Arabic"), ("🙂 1", ""), ("\U000e0fff", "")],
)  # fmt: skip
def test_scripts(text, script):
    assert script_of(text) == script


def test_rows_like_those_of_training_are_not_told_of():
    df = mm.samples.movies(300, seed=0)
    modalities = [
        mm.Text("overview", encoder="lexical"),
        mm.Tabular(["budget", "runtime", "popularity"], datetime="release_date"),
    ]
    for seed in range(5):
        train, test = mm.split_frame(df, 0.5, seed=seed)
        learnt = [adapt(modality, train) for modality in modalities]
        for rows in (train, test, test.head(25)):
            assert (check_columns(rows, learnt)["finding"] == "").all()


# === As a user meets it ===


@pytest.fixture(scope="module")
def pipe():
    df = pd.DataFrame({"x": NUMBERS, "c": NAMES, "day": DAYS, "text": TEXTS, "y": NUMBERS > 0})
    modalities = [mm.Tabular("x", "c", "day"), mm.Text("text", encoder="lexical")]
    pipe = mm.Pipeline(modalities, mm.MultiClass("y"))
    pipe.fit(df, epochs=1, verbose=0)
    return pipe, df


def test_predict_warns_where_a_tenth_differs(pipe):
    pipe, df = pipe
    changed = df.assign(x=some(df.x, 28, 99.0).astype(float))
    assert "28 of 400 numbers lie outside" in pipe.check(changed).loc["x", "finding"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipe.predict(changed)
    with pytest.warns(UserWarning, match=r"'x': 120 of 400 numbers lie outside .* See `pipe.check\(df\)`"):
        pipe.predict(df.assign(x=some(df.x, 120, 99.0).astype(float)))


def test_a_table_that_cannot_be_looked_at_is_told_by_rule(pipe):
    pipe, df = pipe
    with pytest.raises(KeyError, match="the model needs the column 'day'. Received the columns: "):
        pipe.check(df.drop(columns="day"))
    with pytest.raises(ValueError, match="Column names must be unique. Received 'x' twice"):
        pipe.check(pd.concat([df, df[["x"]]], axis=1))
    assert (pipe.check(df.head(0))[["rows", "missing", "finding"]] == [0, 0, ""]).all(axis=None)


def test_it_is_saved_and_models_saved_before_say_nothing(pipe, tmp_path):
    pipe, df = pipe
    changed = df.assign(x=df.x + 9, c=some(df.c, 120, "mauve"))
    pipe.save(tmp_path / "model")
    pd.testing.assert_frame_equal(mm.load(tmp_path / "model").check(changed), pipe.check(changed))
    path = tmp_path / "model" / "pipeline.json"
    path = path if path.exists() else next((tmp_path / "model").rglob("*.json"))
    manifest = json.loads(path.read_text())
    for columns in manifest["columns"]:
        for column in columns.values():
            assert column.pop("usual")["rows"] == 360
    path.write_text(json.dumps(manifest))
    table = mm.load(tmp_path / "model").check(changed)
    assert (table["finding"] == "").all()
    assert table[["outside", "shift"]].isna().all(axis=None)

"""Folds: which rows stand where. Cross-validation: who judges what, and what is compared."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.data.splits import fold_rows
from mmkeras.inspection.comparison import Comparison, corrected
from mmkeras.trunk.store import Store

TABLE = [mm.Tabular(numeric=["x", "z"])]


def rows(count=60, seed=0):
    rng = np.random.default_rng(seed)
    df = pd.DataFrame({"x": rng.normal(size=count), "z": rng.normal(size=count)})
    df["price"] = 3 * df["x"] + 100
    return df.assign(label=np.where(df["x"] > 0, "yes", "no"), case=np.arange(count) // 3, day=np.arange(count))


# === Folds ===


def judged_once(places, count):
    judged = np.concatenate([test for _, test in places])
    assert sorted(judged) == list(range(count))
    assert all(not set(train) & set(test) and len(train) + len(test) == count for train, test in places)


def test_drawn_folds_hold_classes_in_like_shares_and_repeat_with_the_seed():
    classes = ["a"] * 40 + ["b"] * 20
    df = pd.DataFrame({"x": range(60)})
    places = fold_rows(df, 5, classes=classes, seed=1)
    judged_once(places, 60)
    assert [sum(classes[row] == "b" for row in test) for _, test in places] == [4] * 5
    again, other = (fold_rows(df, 5, classes=classes, seed=seed)[0][1] for seed in (1, 2))
    assert list(again) == list(places[0][1]) != list(other)
    judged_once(fold_rows(df, 7), 60)


@pytest.mark.parametrize("classes", [None, ["a", "b"] * 30])
def test_groups_stand_on_one_side(classes):
    df = rows()
    places = fold_rows(df, 4, classes=classes, by="case")
    judged_once(places, 60)
    assert all(not set(df["case"].iloc[train]) & set(df["case"].iloc[test]) for train, test in places)


def test_forward_folds_learn_from_what_was_before():
    df = pd.DataFrame({"day": [5, 4, 3, 2, 1, 0, None, 0]})
    places = fold_rows(df, 2, time="day")
    assert [(train.tolist(), test.tolist()) for train, test in places] == [
        ([5, 6, 7], [3, 4]),
        ([3, 4, 5, 6, 7], [0, 1, 2]),
    ]
    dates = df.assign(day=pd.to_datetime("2024-01-01") + pd.to_timedelta(df["day"], "D"))
    assert [test.tolist() for _, test in fold_rows(dates, 2, time="day")] == [[3, 4], [0, 1, 2]]


def test_rows_of_one_time_stay_together():
    df = pd.DataFrame({"day": [0, 0, 1, 1, 1, 1, 2, 2, 3, 3]})
    for train, test in fold_rows(df, 2, time="day"):
        assert df["day"].iloc[train].max() < df["day"].iloc[test].min()


def test_folds_of_a_column_are_in_its_order():
    df = pd.DataFrame({"fold": [3, 0, 1, 0, 3]})
    assert [test.tolist() for _, test in fold_rows(df, "fold")] == [[1, 3], [2], [0, 4]]


@pytest.mark.parametrize(("folds", "settings", "message"), [
    (1, {}, r"`folds` must be an int from 2 to the number of rows \(60\). Received: 1"),
    (61, {}, r"from 2 to the number of rows \(60\). Received: 61"),
    (True, {}, "`folds` must be an int, the name of a column, or a list of .*Received: True"),
    (2.5, {}, "`folds` must be an int, the name of a column, .*Received: 2.5"),
    ([([0.5], [1])], {}, "each numbers of rows"),
    ([([], [1])], {}, "each numbers of rows"),
    ([([True] * 60, [False] * 60)], {}, "each numbers of rows"),
    ([([0, 1], [60])], {}, "from 0 to 59. Received in fold 0: row 60 of 60"),
    ([([0, 1], [2]), ([-1], [3])], {}, "Received in fold 1: row -1 of 60"),
    ([([0, 1], [1])], {}, "Received in fold 0: row 1 twice"),
    ([([0], [2, 1]), ([3], [2])], {}, "A row may be judged in one fold. Received: row 2 in several"),
    (21, {"by": "case"}, r"the number of groups \(20\). Received: 21"),
    (5, {"classes": ["a"] * 57 + ["b"] * 3}, r"as many rows as there are folds \(5\). Received: {'b': 3}"),
    ([([0, 1], [2, 3])], {"by": "case"}, "on one side of a fold. Received: 0 of 'case' on both sides of fold 0, and 1 such group"),
    ([([0, 1], [2, 3])], {"by": ["case", "fold"]}, r"Received: \[0, 0\] of 'case', 'fold' on both sides"),
    ("day", {"time": "day"}, "`time` makes folds of its own"),
    (60, {"time": "day"}, "leave rows of different times in each span. Received: 60 of 60 rows"),
    (2, {"time": "same"}, "60 rows with a time in 'same', 1 different"),
    (0, {"time": "day"}, "an int of 1 or more"),
    (2, {"time": "day", "by": "case"}, "split by groups or by time"),
    ("gaps", {}, "one of at least two folds in every row. Received: 'gaps' with 1 rows without one"),
    ("x", {}, "'x' with fractions such as"),
    ("same", {}, r"'same' with \[7\] in all rows"),
])  # fmt: skip
def test_folds_that_cannot_be_made(folds, settings, message):
    df = rows().assign(fold=0, same=7)
    df["gaps"] = [None, *[0, 1] * 29, 1]
    with pytest.raises(ValueError, match=message):
        fold_rows(df, folds, **settings)


def test_a_missing_column_is_named():
    for settings in ({"folds": "flod"}, {"folds": 2, "by": "flod"}, {"folds": 2, "time": "flod"}):
        with pytest.raises(KeyError, match="A split needs the column 'flod'"):
            fold_rows(rows(), **settings)


# === Comparison ===


def test_numbers_by_hand():
    """Four folds of 3 rows learnt from and 1 judged: the variance of the mean is (1/4 + 1/3) · s²."""
    differences = [0.02, 0.01, 0.03, 0.02]  # mean 0.02; s² = 0.0002 / 3
    error = np.sqrt((1 / 4 + 1 / 3) * 0.0002 / 3)
    folds = [(range(3), range(1))] * 4
    found = Comparison.of("r2", differences, folds)
    np.testing.assert_allclose([found.mean, found.t], [0.02, 0.02 / error])
    np.testing.assert_allclose([found.low, found.high], [0.02 - 3.182446 * error, 0.02 + 3.182446 * error], atol=1e-7)
    assert found.p == pytest.approx(0.0491, abs=1e-4)
    assert str(found).startswith("r2 +0.0200 [+0.0002, +0.0398] in 4 folds (p = 0.049), which is beyond")
    assert "less is better" in str(Comparison.of("mae", differences, folds, less=True))
    assert "is NOT beyond" in str(Comparison.of("r2", [0.02, -0.01], folds))


def test_without_differences_nothing_is_claimed():
    folds = [(range(3), range(1))] * 3
    same, moved = (Comparison.of("r2", [value] * 3, folds) for value in (0.0, 0.5))
    assert (same.t, same.p) == (0.0, 1.0) and "is NOT beyond" in str(same)
    assert (moved.t, moved.p) == (np.inf, 0.0)
    assert np.isnan(corrected([0.3], folds[:1])[1])


# === Cross-validation ===

QUICK = {"epochs": 2, "units": 8, "verbose": 0}
PRICE = mm.Regression("price", transform="none")


@pytest.fixture(scope="module")
def found():
    """Two folds of rows whose index begins at 1000."""
    df = rows()
    return mm.cross_validate(TABLE, PRICE, df.set_axis(df.index + 1000), 2, **QUICK)


def test_every_row_is_judged_by_the_model_that_a_pipeline_learns_of_the_others(found):
    df = rows()
    df.index = df.index + 1000
    judged_once(found.folds, 60)
    assert found.predictions.index.equals(df.index) and found.truth.tolist() == df["price"].tolist()
    train, test = found.folds[1]
    pipe = mm.Pipeline(TABLE, PRICE, units=8)
    pipe.fit(df.iloc[train], epochs=2, verbose=0)
    own = pipe.predict(df.iloc[test])
    pd.testing.assert_frame_equal(found.predictions.iloc[test], own, rtol=1e-4)
    report = pipe.evaluate(df.iloc[test], verbose=0)
    assert found.scores["r2"][1] == pytest.approx(report.metrics["r2"], abs=1e-4)
    assert found.scores["r2_low"][1] == pytest.approx(report.intervals["r2"][0], abs=1e-3)
    assert found.metrics["mae"] == pytest.approx(found.scores["mae"].mean())
    errors = (found.predictions["price"] - df["price"]).abs()
    assert found.together["mae"] == pytest.approx(errors.mean())


def test_it_prints_folds_their_mean_and_all_rows_together(capsys):
    df = rows()
    df.loc[0, "label"] = "yes"
    found = mm.cross_validate(TABLE, mm.MultiClass("label"), df, 2, **{**QUICK, "verbose": 1})
    assert len(re.findall(r"Fold \d of 2: macro_f1 0\.\d{3}", capsys.readouterr().out)) == 2
    frame = found.to_frame()
    assert list(frame.index) == [0, 1, "mean", "together"]
    assert frame.loc["mean", "accuracy"] == pytest.approx(found.scores["accuracy"].mean())
    assert frame.loc["together", "judged"] == 60 and list(found.predictions.columns) == ["no", "yes"]
    text = str(found)
    assert "'label' on 60 rows in 2 folds" in text and "together" in text and "macro_f1 95%" in text


def test_settings_are_compared_on_the_same_folds(found):
    better = dataclasses.replace(found, scores=found.scores.assign(r2=lambda df: df["r2"] + [0.1, 0.2]))
    gain = better.compare(found)
    np.testing.assert_allclose(gain.differences, [0.1, 0.2])
    assert (gain.metric, round(gain.mean, 6)) == ("r2", 0.15) and found.compare(better).mean == -gain.mean
    assert "less is better" in str(better.compare(found, "mae"))
    (train, test), second = found.folds
    others = {
        "other folds": {"folds": [(train, test[::-1]), second]},
        "other rows or targets": {"truth": found.truth + 1},
        r"'r2'; they share \['mae', 'rmse'\]": {"metrics": dict.fromkeys(("mae", "rmse"), 0.0)},
    }
    for message, changed in others.items():
        with pytest.raises(ValueError, match=f"Received: {message}"):
            found.compare(dataclasses.replace(found, **changed))
    moved = dataclasses.replace(found, truth=found.truth.set_axis(range(60)))
    with pytest.raises(ValueError, match="Received: other rows"):
        found.compare(moved)
    single = dataclasses.replace(found, folds=found.folds[:1])
    with pytest.raises(ValueError, match="at least two folds. Received: one fold"):
        single.compare(single)
    with pytest.raises(TypeError, match="takes a result of `cross_validate`. Received: DataFrame"):
        found.compare(found.to_frame())


def test_forward_folds_leave_the_first_rows_unjudged():
    found = mm.cross_validate(TABLE, PRICE, rows(), 2, time="day", **QUICK)
    assert found.predictions["price"].isna().tolist() == [True] * 20 + [False] * 40
    assert "20 of 60 rows are in no fold that is judged." in found.notes
    assert found.scores["learnt"].tolist() == [20, 40] and found.scores["judged"].tolist() == [20, 20]


@pytest.mark.parametrize(("settings", "apart"), [
    ({"by": "case"}, lambda train, held: not set(train["case"]) & set(held["case"])),
    ({"time": "day"}, lambda train, held: train["day"].max() < held["day"].min()),
])  # fmt: skip
def test_rows_held_out_of_those_learnt_from_are_so_as_the_folds_are(settings, apart, monkeypatch):
    sides, real = [], mm.Pipeline.fit
    monkeypatch.setattr(
        mm.Pipeline, "fit", lambda self, df, **how: sides.append((df, how["validation_data"])) or real(self, df, **how)
    )
    mm.cross_validate(TABLE, PRICE, rows(), 2, **settings, **QUICK)
    assert len(sides) == 2 and all(len(held) and apart(train, held) for train, held in sides)


def test_copies_on_both_sides_are_told():
    df = rows()
    twice = pd.concat([df, df.head(6)], ignore_index=True)
    folds = [(np.arange(60), np.arange(60, 66))]
    found = mm.cross_validate(TABLE, PRICE, twice, folds, **QUICK)
    assert found.notes[0].startswith(
        "6 of 6 judged rows hold the same in 'x', 'z' as a row that their model learnt from"
    )
    apart = [(np.arange(6), np.arange(6, 60))]
    other = mm.cross_validate(TABLE, PRICE, twice, apart, validation_data=False, **QUICK)
    assert not any("hold the same" in note for note in other.notes)


def test_frozen_towers_run_once_for_all_folds(tiny_bert, monkeypatch):
    df, stored = rows(30).assign(note=[f"note {number}" for number in range(30)]), []
    real = Store.write
    monkeypatch.setattr(Store, "write", lambda self, items: real(self, stored.extend(items := list(items)) or items))
    modalities = [mm.Text("note", encoder=str(tiny_bert), pooling="mean")]
    found = mm.cross_validate(modalities, mm.MultiClass("label"), df, 2, validation_data=False, **QUICK)
    features = [key for key, _ in stored if not key.startswith(b"tower:")]
    assert len(found.scores) == 2 and len(features) == len(set(features)) == 30


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"droput": 0.1}, ValueError, "droput"),
    ({"task": "label"}, TypeError, "a list of modalities and a task"),
    ({"folds": 1}, ValueError, "an int from 2 to the number of rows"),
    ({"folds": 40, "task": mm.MultiClass("label")}, ValueError, "as many rows as there are folds"),
    ({"by": "cse"}, KeyError, "needs the column 'cse'"),
    ({"df": rows().drop(columns="z")}, KeyError, "needs the column 'z'"),
    ({"df": rows().assign(price=np.nan)}, ValueError, "must be known in every row"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_training(settings, error, message):
    arguments = {"modalities": TABLE, "task": PRICE, "df": rows(), **QUICK, **settings}
    with pytest.raises(error, match=message):
        mm.cross_validate(**arguments)


def test_ablations_take_the_same_folds():
    df = rows()
    df["fold"] = df["case"] % 2
    settings = {"task": PRICE, "df": df, "losses": ["standard"], "epochs": 1, "verbose": 0}
    found = mm.ablate(TABLE, folds="fold", by="case", **settings)
    assert found.rows == 60
    with pytest.raises(ValueError, match="on one side of a fold"):
        mm.ablate(
            TABLE, folds=[(np.arange(31), np.arange(31, 60)), (np.arange(31, 60), np.arange(31))], by="case", **settings
        )

"""`mm.fit`: a table and a time to a model, whatever the table is like."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.automl import members, portfolio, rows, run
from mmkeras.automl.members import EVERY_ROW, InTime, Member, OutOfFold, Workbench
from mmkeras.automl.portfolio import Candidate, Likeness, candidates, plan_of, variation
from mmkeras.automl.rows import judged_rows, read_table
from mmkeras.trunk.training import Plan
from mmkeras.trunk.trunk import Trunk

QUICK = [
    Candidate("joint", {"fusion": "concat", "units": 8}, {"epochs": 1}),
    Candidate("hybrid", {"fusion": "hybrid", "units": 8}, {"epochs": 1}),
    Candidate("table alone", {"fusion": "concat", "units": 8}, {"epochs": 1}, "table"),
]
WORDS = mm.Text("overview", encoder="lexical", name="words")
NUMBERS = mm.Tabular(numeric=["budget", "runtime"], name="numbers")


@pytest.fixture
def quick(monkeypatch):
    """One small member of two folds and no more, whatever the time."""
    monkeypatch.setattr(portfolio, "PORTFOLIO", QUICK[:1])
    monkeypatch.setattr(run, "MOST_MEMBERS", 1)
    monkeypatch.setattr(rows, "FOLDS", 2)


@pytest.fixture
def three(quick, monkeypatch):
    """Three of them."""
    monkeypatch.setattr(portfolio, "PORTFOLIO", QUICK)
    monkeypatch.setattr(run, "MOST_MEMBERS", 3)


def films(rows=80, **columns):
    df = mm.samples.movies(rows, seed=0)[["overview", "budget", "runtime", "genres"]]
    return df.assign(**columns)


def learn(df, target="genres", minutes=5, **settings):
    return mm.fit(df, target, minutes, verbose=0, **settings)


# === Members ===


def test_a_head_learns_nothing_of_its_fold():
    loss = OutOfFold("sparse_categorical_crossentropy", 1)
    answers, said = np.array([[0, 0], [1, 1], [1, 0]]), np.array([[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]])
    assert float(loss(answers, said)) == pytest.approx((np.log(2) - np.log(0.75)) / 3, abs=1e-6)
    df = films(40)
    task = mm.MultiLabel("genres").adapt(df)
    folds = np.arange(40) % 2
    candidate = Candidate("joint", {"fusion": "concat", "units": 4}, {"epochs": 2}, ("numbers",))

    def heads(df):
        bench = Workbench(task, Trunk([NUMBERS.adapt(df)]).over(df), df, folds=folds)
        trained = bench.train([(candidate, 0), (candidate, EVERY_ROW)])
        return [head.model.get_weights() for head in trained.heads]

    other = df.copy()
    other.loc[folds == 0, "genres"] = "Drama"
    (own, whole), (again, changed) = heads(df), heads(other)
    assert all(np.allclose(a, b) for a, b in zip(own, again, strict=True))
    assert not all(np.allclose(a, b) for a, b in zip(whole, changed, strict=True))


def test_the_portfolio_is_cut_to_what_a_table_has():
    task = mm.MultiLabel("genres")
    both = candidates(task, [WORDS, NUMBERS])
    assert {each.reads for each in both} >= {("words", "numbers"), ("words",), ("numbers",)}
    solved, *alone = candidates(task, [NUMBERS])
    assert not solved.varies and not solved.head and not solved.fit and all(each.varies for each in alone)
    assert alone and {each.head["fusion"] for each in alone} == {"concat"} and len(set(map(repr, alone))) == len(alone)
    assert not any(each.fit for each in both)  # rare labels have thresholds
    balanced = [each for each in candidates(mm.MultiClass("genres"), [WORDS, NUMBERS]) if each.fit]
    assert balanced and all(each.fit == {"class_weight": "balanced"} for each in balanced)
    names = [each.name for each in candidates(mm.Regression("budget"), [WORDS, NUMBERS])]
    assert names[:4] == ["likeness", "members, a third as long", "members", "usual"] and len(set(names)) == len(names)
    assert both[1].name == "usual"
    trained = both[1]
    assert plan_of(trained, task, 100).epochs > plan_of(trained, task, 10**6).epochs >= 4
    assert plan_of(QUICK[0], task, 100).epochs == 1
    drawn = [variation(trained, number, 0) for number in range(4)]
    assert drawn[0] == variation(trained, 0, 0) and len({repr((each.head, each.fit)) for each in drawn}) > 1


# === Fits ===


def test_it_returns_an_ensemble_that_is_a_pipeline(three, tmp_path):
    train, test = mm.split_frame(films(120), 0.3, seed=0)
    pipe = learn(train)
    table = pipe.trail.table
    assert list(table["member"]) == ["joint", "hybrid", "table alone"] and table["score"].notna().all()
    assert table["weight"].sum() == pytest.approx(1.0) and (table["low"] < table["high"]).all()
    assert "An ensemble of" in pipe.notes[0] and "map 0." in pipe.notes[0]
    assert sum(note.startswith("Member ") for note in pipe.notes) == (table["weight"] > 0).sum()
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(test), pipe.predict(test), atol=1e-6)
    report = pipe.evaluate(test, verbose=0)
    assert report.notes[0] == pipe.notes[0] and len(report.baselines) >= 3 and pipe.thresholds is not None
    assert mm.embed(loaded, test).shape[0] == len(test)


@pytest.mark.parametrize(("half", "epochs"), [(0.6, 2), (0.5, 2), (0.4, 4), (np.nan, 4)])
def test_members_train_half_as_long_where_that_did_no_worse(three, monkeypatch, half, epochs):
    whole = dataclasses.replace(QUICK[0], fit={"epochs": 4})
    shorter = dataclasses.replace(whole, name="half as long", share=0.5)
    monkeypatch.setattr(portfolio, "PORTFOLIO", [whole, shorter, dataclasses.replace(QUICK[1], fit={"epochs": 4})])
    scores, judge = iter([0.5, half, 0.3]), run.judge
    monkeypatch.setattr(run, "judge", lambda *args: {**judge(*args), "score": next(scores)})
    table = learn(films(40)[["budget", "runtime", "overview", "genres"]]).trail.table
    assert list(table["member"]) == ["joint", "half as long", "hybrid"] and list(table["epochs"]) == [4, 2, epochs]


def test_nothing_is_trained_twice(monkeypatch):
    monkeypatch.setattr(run, "MOST_MEMBERS", 0)
    monkeypatch.setattr(run, "judge", lambda *args: {"score": 0.5})
    whole = Candidate("whole", {"fusion": "concat"}, {"epochs": 4})
    shorter = [dataclasses.replace(whole, name=str(share), share=share) for share in (0.5, 0.75)]
    bench = SimpleNamespace(task=mm.Regression("runtime"), df=films(40), judged_target=None)
    bench.member = lambda candidate, until: Member(candidate, [], None)
    begun = run.Run(bench, "r2", until=np.inf, verbose=0)
    begun.portfolio([whole, *shorter])  # half did no worse, so that three quarters would be a half, too
    assert [member.candidate.name for member in begun.members] == ["whole", "0.5"]


def test_numbers_and_classes(quick):
    df = films(60, kind=lambda rows: np.where(rows["runtime"] > 100, "long", "short")).drop(columns="genres")
    pipe = learn(df[["budget", "runtime"]], "runtime", ensemble=1)
    assert pipe.trail.objective == "r2" and (pipe.trail.table["weight"] > 0).sum() == 1
    pipe = learn(df[["budget", "kind"]], "kind", objective="accuracy")
    assert pipe.trail.objective == "accuracy" and "accuracy 0." in pipe.notes[0]
    pipe = learn(df[["budget", "kind"]], "kind")
    assert set(pipe.predict_labels(df)) <= {"long", "short"}
    again = learn(df[["budget", "kind"]], "kind")  # the same seed
    assert np.allclose(again.predict(df), pipe.predict(df), atol=1e-5)


def test_numbers_on_another_scale_are_told_by_their_means_unless_medians_count(quick, monkeypatch):
    monkeypatch.setattr(portfolio, "PORTFOLIO", [Likeness("likeness", {}, {})])
    x, noise = np.random.default_rng(0).normal(size=(2, 600))
    df = pd.DataFrame({"x": x, "price": np.exp(0.5 * x + 0.8 * noise)})
    how = {"modalities": [mm.Tabular(numeric=["x"])], "task": mm.Regression("price", transform="log1p")}
    means, medians = (learn(df, "price", objective=objective, **how) for objective in ("r2", "mae"))
    assert means.task.state["calibration"]["rows"] == 600 and "calibration" not in medians.task.state
    said = means.predict(df)["price"].mean(), medians.predict(df)["price"].mean()
    assert abs(said[0] - df["price"].mean()) < 0.3 * abs(said[1] - df["price"].mean())


def test_classes_are_learnt_from_words(quick):
    df = films(60, kind=lambda rows: np.where(rows["runtime"] > 100, "long", "short"))
    pipe = learn(df, "kind", modalities=[WORDS, NUMBERS])
    assert list(pipe.trail.table["failure"]) == [""]


def test_what_is_given_wins_over_what_is_suggested(quick):
    df = films(60)
    pipe = learn(df, modalities=[NUMBERS], task=mm.MultiLabel("genres", classes=["Drama", "Comedy"]))
    assert [modality.name for modality in pipe.modalities] == ["numbers"] and pipe.task.classes == ("Drama", "Comedy")
    table = read_table(df, "genres", [NUMBERS], None, text_encoder=None, verbose=0)
    assert table.modalities == [NUMBERS] and table.task == mm.MultiLabel("genres")


def test_a_text_encoder_reads_beside_the_words(quick, tiny_bert):
    words = mm.Text("overview", "lexical", 16, name="words")
    listed = mm.Text("mood", "lexical", 16, name="mood")
    df = films(40).assign(mood=["a sad end", "a happy end"] * 20)
    pipe = learn(df, modalities=[words, NUMBERS, listed], text_encoder=str(tiny_bert))
    assert pipe.trail.table["modalities"][0] == "words + numbers + mood + words_tower"
    assert [modality.pretrained for modality in pipe.modalities] == [False, False, False, True]


def test_characters_are_read_beside_words_that_were_suggested():
    df = films(60)[["overview", "runtime", "genres"]]

    def encoders(**settings):
        modalities = read_table(df, "genres", task=None, verbose=0, **{"modalities": None, **settings}).modalities
        return [getattr(modality, "encoder", "") for modality in modalities]

    assert encoders(text_encoder="chosen") == [*encoders(text_encoder=None), "characters"]
    assert encoders(text_encoder="chosen", modalities=[WORDS]) == ["lexical"]


# === Rows that judge ===


def test_groups_stay_on_one_side(quick):
    df = films(60, user=np.arange(60) // 6)
    table = read_table(df, "genres", [NUMBERS], mm.MultiLabel("genres"), text_encoder=None, verbose=0)
    judged = judged_rows(table, None, by="user", time=None, seed=0)
    assert pd.Series(judged.folds).groupby(df["user"].to_numpy()).nunique().max() == 1 and len(set(judged.folds)) == 2
    with pytest.raises(ValueError, match="number of groups"):
        learn(films(20, user=1), by="user", modalities=[NUMBERS], task=mm.MultiLabel("genres"))


def test_copies_stay_on_one_side_and_are_told(quick):
    df = pd.concat([films(40), films(40)], ignore_index=True)
    table = read_table(df, "genres", [WORDS, NUMBERS], mm.MultiLabel("genres"), text_encoder=None, verbose=0)
    judged = judged_rows(table, None, by=None, time=None, seed=0)
    assert (judged.folds[:40] == judged.folds[40:]).all()
    assert any("40 rows read the same as an earlier one" in note for note in table.notes)
    assert any("40 rows are copies of others" in note for note in mm.suggest(df, "genres").notes)


def test_the_latest_rows_judge_and_are_learnt_from_at_the_end(quick):
    df = films(60, day=pd.date_range("2020-01-01", periods=60)[::-1])
    table = read_table(df, "genres", [NUMBERS], mm.MultiLabel("genres"), text_encoder=None, verbose=0)
    judged = judged_rows(table, None, by=None, time="day", seed=0)
    assert (
        judged.refit and (judged.folds == 0).sum() == 12 and set(judged.df.index[judged.folds == 0]) == set(range(12))
    )
    pipe = learn(df, time="day", modalities=[NUMBERS])
    assert pipe.trail.rows == 12


def test_rows_given_to_judge_are_not_learnt_from(quick):
    train, held = mm.split_frame(films(80), 0.25, seed=0)
    pipe = learn(train, validation_data=held, modalities=[NUMBERS])
    again = learn(train, validation_data=held.assign(genres=held["genres"].iloc[::-1].to_numpy()), modalities=[NUMBERS])
    assert pipe.trail.rows == again.trail.rows == len(held)
    np.testing.assert_allclose(pipe.predict(held), again.predict(held), atol=1e-6)
    for settings in ({"by": "budget", "time": "runtime"}, {"by": "budget", "validation_data": held}):
        with pytest.raises(ValueError, match="are found in one way"):
            learn(train, **settings)


# === Time, and what goes wrong ===


class Clock:
    """Seconds that pass where a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(members.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize(
    ("until", "pace", "epochs"),
    [(1e9, {}, 10), (np.inf, {}, 10), (215, {}, 3), (30, {}, 1), (0, {}, 1), (215, {70: 0.5}, 5), (330, {70: 2.0}, 3)],
)
def test_rates_fall_to_0_in_the_time_there_is(monkeypatch, until, pace, epochs):
    clock, rates = Clock(monkeypatch), []

    class Passes(keras.callbacks.Callback):
        seconds = 1.0

        def on_train_batch_begin(self, batch, logs=None):
            rates.append(float(self.model.optimizer.learning_rate))
            self.seconds = pace.get(len(rates), self.seconds)
            clock.now += self.seconds

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    in_time = InTime(Plan(epochs=10, batch_size=1, learning_rate=0.1), until)
    model.compile(keras.optimizers.SGD(in_time.plan.learning_rate), "mse")
    model.fit(np.ones((60, 1)), np.ones((60, 1)), batch_size=1, epochs=10, callbacks=[Passes(), in_time], verbose=0)
    assert in_time.epochs == epochs and len(rates) == 60 * epochs
    assert max(rates) == pytest.approx(0.1, rel=1e-3) and rates[-1] < 0.001


def test_members_are_begun_by_what_one_of_their_kind_takes(monkeypatch):
    clock = Clock(monkeypatch)
    plain, several = (Candidate("", {"fusion": "concat", **more}, {"epochs": 10}) for more in ({}, {"members": 8}))
    task, df = mm.Regression("runtime"), films(40)
    begun = run.Run(SimpleNamespace(task=task, df=df), "r2", until=100.0, verbose=0)
    assert begun._fits(several)  # the first always does
    begun.members.append(Member(several, [], None, seconds=80.0))
    clock.now = 80.0
    assert begun._fits(plain) and not begun._fits(several)
    clock.now = 99.0
    assert not begun._fits(plain)


def test_a_second_gives_a_model_and_says_so(monkeypatch):
    monkeypatch.setattr(portfolio, "PORTFOLIO", [Candidate("joint", {"fusion": "concat", "units": 8}, {"epochs": 500})])
    pipe = learn(films(50), minutes=1 / 60, modalities=[NUMBERS])
    assert len(pipe.trail.table) == 1
    (told,) = [note for note in pipe.notes if note.startswith("Time was short for 'joint': it learnt in")]
    assert told.endswith("in place of 500.") and 1 <= pipe.trail.table["epochs"][0] < 500
    assert any("There was no time to train members on all rows" in note for note in pipe.notes)
    assert len(pipe.predict(films(50))) == 50


def test_an_interruption_gives_the_best_so_far(three, monkeypatch):
    whole = Workbench.member

    def interrupted(self, candidate, until):
        if candidate.name == "table alone":
            raise KeyboardInterrupt
        return whole(self, candidate, until)

    monkeypatch.setattr(Workbench, "member", interrupted)
    pipe = learn(films(60))
    assert list(pipe.trail.table["member"]) == ["joint", "hybrid"]
    assert any("Interrupted after 2 members" in note for note in pipe.notes)
    monkeypatch.setattr(portfolio, "PORTFOLIO", QUICK[2:])
    with pytest.raises(KeyboardInterrupt):
        learn(films(60))


def test_members_that_fail_are_told_and_the_others_go_on(quick, monkeypatch):
    bad = Candidate("bad", {"fusion": "concat"}, {"epochs": 1, "learning_rate": 1e30})
    monkeypatch.setattr(portfolio, "PORTFOLIO", [bad, *QUICK[:1]])
    pipe = learn(films(40), modalities=[NUMBERS])
    table = pipe.trail.table
    assert "diverged" in table["failure"][0] and table["weight"].tolist() == [0.0, 1.0]
    monkeypatch.setattr(portfolio, "PORTFOLIO", [bad])
    with pytest.raises(ValueError, match="None of 1 members could be trained"):
        learn(films(40), modalities=[NUMBERS])


def test_columns_that_copy_the_target_ids_and_constants_are_left_out_and_told(quick):
    df = films(60, answer=lambda rows: rows["runtime"] * 2, id=[f"tt{n:06}" for n in range(60)], country="US")
    pipe = learn(df.drop(columns="genres"), "runtime")
    read = {column for modality in pipe.modalities for column in modality.all_columns}
    assert read == {"overview", "budget"}
    for name, why in (("answer", "target"), ("id", ""), ("country", "")):
        assert any(note.startswith(f"{name!r} is not read") and why in note for note in pipe.notes), (name, pipe.notes)


def test_few_rows_and_rows_without_a_target(quick):
    df = films(50).astype({"runtime": "float64"})
    df.loc[:4, "runtime"] = np.nan
    pipe = learn(df[["budget", "runtime"]], "runtime")
    known = int(df["runtime"].notna().sum())
    assert pipe.trail.rows == known and any(f"{50 - known} of 50 rows have no target" in note for note in pipe.notes)
    rare = df[["budget"]].assign(kind=["once", *["a", "b"] * 24, "a"])  # a class that only one fold has
    assert learn(rare, "kind").predict(rare).shape == (50, 3)


def test_settings_that_cannot_be():
    for settings, error, message in (
        ({"minutes": 0}, ValueError, "`minutes` must be a number above 0"),
        ({"objective": "r2"}, ValueError, r"`objective` must be one of \('map', .* for MultiLabel. Received: 'r2'"),
        ({"ensemble": 0}, ValueError, "`ensemble` must be a positive int"),
        ({"task": "labels"}, TypeError, "`task` must be a task"),
        ({"task": mm.Regression("runtime")}, ValueError, "`target` must name the columns of `task`"),
        ({"target": "gone"}, KeyError, "gone"),
        ({"by": "gone"}, KeyError, "gone"),
        ({"modalities": [mm.Text("overview", trainable=2)]}, ValueError, "read frozen towers"),
    ):
        with pytest.raises(error, match=message):
            learn(films(40), **settings)


# === The command ===


def test_the_command(quick, tmp_path, capsys):
    films(90).to_csv(tmp_path / "films.csv", index=False)
    arguments = f"fit --csv {tmp_path}/films.csv --target genres --minutes 1 --cache-dir {tmp_path}/cache"
    assert main([*arguments.split(), "--save", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "sentences of" in printed and "Member 1" in printed and "Evaluation of 'genres' on 18 rows" in printed
    assert len(mm.load(tmp_path / "out" / "model").predict(films(5))) == 5
    assert main([*arguments.split(), "--test-share", "2"]) == 2

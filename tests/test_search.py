"""Search: trials on features encoded once, the trail they leave, and a winner that is an ordinary Pipeline."""

import dataclasses
import json
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.search import space as spaces
from mmkeras.search.study import Study, read_records
from mmkeras.search.trail import make_trail

WORDS = mm.Text("overview", encoder="lexical", name="words")
NUMBERS = mm.Tabular(numeric=["budget", "runtime"], zero_is_missing=["budget"], name="numbers")
GENRES = mm.MultiLabel("genres")
# What makes trials of a second; the rest of the space is the default one.
QUICK = {"epochs": 2, "units": [16, 8], "batch_size": 32}


@pytest.fixture(scope="module")
def rows():
    return mm.split_frame(mm.samples.movies(150, seed=3), 0.25, seed=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("search")


def run(df, place, name="study", **settings):
    settings = {"max_trials": 3, "space": QUICK, "directory": place / name, "verbose": 0, **settings}
    return mm.search(df, [WORDS, NUMBERS], GENRES, cache_dir=place / "cache", **settings)


@pytest.fixture(scope="module")
def found(rows, place):
    return run(rows[0], place)


@pytest.fixture(scope="module")
def auto(rows):
    """AutoKeras's own search on text, numbers and a category that has unseen values among the test rows."""
    train = rows[0].assign(kind=np.where(rows[0]["runtime"] > 100, "long", "short"))
    model = mm.search.auto_model(
        text="overview", structured=["budget", "kind", "runtime"], target="genres", multi_label=True, max_trials=1
    )
    model.fit(train, epochs=1, verbose=0)
    return model


def test_the_trail_tells_every_trial(found, rows, tmp_path):
    trail = found.trail
    table = trail.table
    assert len(table) == 3 and trail.objective == "map" and trail.rows == round(0.2 * len(rows[0]))
    first = {"modalities": "words + numbers", "fusion": "hybrid", "units": 16, "depth": 1, "learning_rate": 3e-3}
    assert {name: table[name][0] for name in first} == first  # it begins with the defaults
    assert table["score"].notna().all() and (table["failure"] == "").all() and (table["seconds"] > 0).all()
    assert (table["low"] < table["high"]).all() and table["score"][trail.best] == table["score"].max()
    assert len(table.drop(columns=["score", "low", "high", "seconds"]).drop_duplicates()) == 3
    html = trail.to_html(tmp_path / "trail.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64") >= 1 and "selection makes that score look better" in html
    assert "map on 22 validation rows" in str(trail)


def test_progress_is_told(rows, place, capsys):
    run(rows[0], place, "told", max_trials=1, verbose=1, space={**QUICK, "fusion": "gated"})
    printed = capsys.readouterr().out
    assert "Trial 1 of 1" in printed and "map 0." in printed and "gated" in printed and "(best 0." in printed


def test_the_winner_is_what_the_ordinary_builder_makes_of_its_choices(found, rows, place):
    best = found.trail.table.loc[found.trail.best]
    names = best["modalities"].split(" + ")
    task = mm.MultiLabel("genres", classes=found.task.classes)
    by_hand = mm.Pipeline(
        [m for m in (WORDS, NUMBERS) if m.name in names], task, best["fusion"], units=int(best["units"]),
        depth=int(best["depth"]), dropout=float(best["dropout"]),
    )  # fmt: skip
    loss = None if best["loss"] == "standard" else best["loss"]
    by_hand.fit(
        rows[0], epochs=2, batch_size=32, learning_rate=float(best["learning_rate"]), optimizer=best["optimizer"],
        loss=loss, verbose=0, cache_dir=place / "cache",
    )  # fmt: skip
    np.testing.assert_allclose(found.predict(rows[1]), by_hand.predict(rows[1]), atol=1e-5)
    np.testing.assert_allclose(found.thresholds, by_hand.thresholds, atol=1e-5)


def test_a_report_warns_of_selection_also_after_loading(found, rows, tmp_path):
    found.save(tmp_path / "model")
    for pipe in (found, mm.load(tmp_path / "model")):
        assert "Chosen as the best of 3 trials by its map of 0." in pipe.evaluate(rows[1]).notes[0]
    found.fit(rows[0], epochs=1, verbose=0)
    assert found.notes == []  # of another fit it would not be true


def test_winners_load_and_predict_without_autokeras(rows, place, auto, tmp_path):
    pipe = run(rows[0], place, max_trials=3)  # the finished search: no trial runs again
    test = rows[1].assign(kind="never seen")
    pipe.save(tmp_path / "one")
    auto.pipeline().save(tmp_path / "two")
    pipe.export(tmp_path / "served")
    test.to_pickle(tmp_path / "rows.pkl")
    code = (
        "import sys; sys.modules.update(autokeras=None, keras_tuner=None)\n"
        "import mmkeras as mm, pandas as pd\n"
        f"df = pd.read_pickle({str(tmp_path / 'rows.pkl')!r})\n"
        f"for name in ('one', 'two'): mm.load({str(tmp_path)!r} + '/' + name).predict(df).to_pickle({str(tmp_path)!r} + '/' + name + '.pkl')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_allclose(pd.read_pickle(tmp_path / "one.pkl"), pipe.predict(test), atol=1e-5)
    np.testing.assert_allclose(pd.read_pickle(tmp_path / "two.pkl"), auto.predict(test), atol=1e-5)
    raw = {name: tf.constant(v) for name, v in raw_values(test, pipe.modalities).items()}
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(raw)["genres"], pipe.predict(test), atol=1e-5)


def test_a_search_goes_on_where_it_was(rows, place):
    before = [(place / "study" / "trials" / f"{i}.json").stat().st_mtime_ns for i in range(3)]
    pipe = run(rows[0], place, max_trials=4)
    assert len(pipe.trail.table) == 4
    assert [(place / "study" / "trials" / f"{i}.json").stat().st_mtime_ns for i in range(3)] == before


def test_the_best_trials_meet_on_other_splits(rows, place, monkeypatch, capsys):
    trial = [0.2, 0.5, 0.4, 0.3]  # the scores of the trials, of two finals of the two best, and of the first
    finals = [0.1, 0.4, 0.3, 0.2, 0.5, RuntimeError("the disk is gone")]
    scores = iter(trial + finals)
    judged = []

    def run_trial(self, variant, epochs=None):
        judged.append((self.seed, self.split.validation.target.values.tobytes(), variant.head))
        score = next(scores)
        if isinstance(score, Exception):
            raise score
        return {"score": score, "low": score - 0.1, "high": score + 0.1}

    monkeypatch.setattr("mmkeras.search.trials.HeadTrials.run", run_trial)
    with pytest.warns(UserWarning, match="Trial 1 failed in its final: the disk is gone"):
        pipe = run(rows[0], place, "finals", max_trials=4, finalists=2, verbose=1)
    table = pipe.trail.table
    np.testing.assert_allclose(table["mean"], [-np.inf, (0.5 + 0.1 + 0.2) / 3, (0.4 + 0.4 + 0.5) / 3, np.nan])
    assert pipe.trail.best == 2 and "mean map of 0.433 over several splits or starts, 0.400 at first" in pipe.notes[0]
    assert (
        pipe.head_settings["units"] == table["units"][2]
        and "Final 2 of 2, trial 3: map 0.500" in capsys.readouterr().out
    )
    assert [seed for seed, _, _ in judged] == [0] * 4 + [1] * 3 + [2] * 3 and len({rows for _, rows, _ in judged}) == 3
    run(rows[0], place, "finals", max_trials=4, finalists=2)  # nothing is left to do, or `scores` would end
    with pytest.raises(ValueError, match="`finalists` must be None or an int of at least 0. Received: -1"):
        run(rows[0], place, "finals", finalists=-1)


def test_failed_trials_are_recorded_with_their_reason(rows, place, monkeypatch):
    ways = iter(
        [
            lambda: np.full((22, 17), np.nan),
            lambda: (_ for _ in ()).throw(tf.errors.ResourceExhaustedError(None, None, "no room for [8, 8]")),
            lambda: (_ for _ in ()).throw(MemoryError()),
            lambda: (_ for _ in ()).throw(RuntimeError("the disk\nis gone")),
        ]
    )
    predict = mm.MultiLabel.predict
    monkeypatch.setattr(mm.MultiLabel, "predict", lambda *args: next(ways, lambda: predict(*args))())
    pipe = run(rows[0], place, "failing", max_trials=5)
    reasons = list(pipe.trail.table["failure"])
    assert reasons == [
        "Predictions must be finite numbers. Received: 374 of 374 that are not: the training diverged. Use a lower learning_rate, "
        "and look for extreme numbers.",
        "out of memory: no room for [8, 8]",
        "out of memory: MemoryError",
        "RuntimeError: the disk is gone",
        "",
    ]
    assert pipe.trail.best == 4 and "4 of 5 trials failed" in str(pipe.trail)


def test_a_loss_that_is_no_number_ends_its_trial(rows, place):
    with pytest.raises(ValueError, match=r"which all failed, the last with: The loss became \w+ in epoch 1"):
        run(
            rows[0], place, "nan", max_trials=1, space={**QUICK, "optimizer": "sgd", "learning_rate": 1e30, "epochs": 3}
        )


def test_classes_by_bayesian_optimization_with_validation_rows(place):
    df = mm.samples.movies(120, seed=1).assign(label=lambda d: np.where(d["runtime"] > 100, "long", "short"))
    df.loc[df.index[:3], "label"] = "rare"
    train, judged = df.iloc[:80], df.iloc[80:].assign(label=lambda d: d["label"].where(d["budget"] > 0, "never"))
    with pytest.warns(UserWarning, match=r"Validation rows: Labels never seen in training.*'never' \(\d+ rows\)"):
        pipe = mm.search(
            train, [NUMBERS, mm.Tabular(numeric=["revenue"], name="money")], mm.MultiClass("label"), tuner="bayesian",
            validation_data=judged, max_trials=2, objective="accuracy", verbose=0, cache_dir=place / "cache",
            space={**QUICK, "loss": ["weighted", "focal"], "fusion": ["gated", "bilinear"]},
        )  # fmt: skip
    assert pipe.trail.objective == "accuracy" and pipe.trail.rows == (judged["label"] != "never").sum()
    assert pipe.task.classes == ("long", "rare", "short") and pipe.trail.table["loss"][0] == "weighted"


def test_numbers_by_hyperband_of_one_modality(rows, place):
    pipe = mm.search(
        rows[0], [NUMBERS], mm.Regression("popularity"), tuner="hyperband", max_trials=2, objective="rmse",
        space={**QUICK, "epochs": 4}, verbose=0, cache_dir=place / "cache",
    )  # fmt: skip
    table = pipe.trail.table
    assert pipe.trail.direction == "min" and table["score"][pipe.trail.best] == table["score"].min()
    assert (table["trained_epochs"] < 4).any() and pipe.check_fitted().plan.epochs == 4
    assert set(table["fusion"]) == {"concat"} and "only modality" in pipe.trail.notes[-1]


def test_kerastuner_trains_towers_of_ordinary_pipelines(rows, tiny_bert, place):
    tower = mm.Text("overview", str(tiny_bert), sequence_length=16, pooling="mean")
    pipe = mm.search(
        rows[0], [tower, NUMBERS], GENRES, engine="kerastuner", tuner="random", max_trials=2, verbose=0,
        space={**QUICK, "epochs": 1, "trainable": [1, 2], "modalities": ["text + numbers"]}, cache_dir=place / "cache",
    )  # fmt: skip
    assert pipe.modalities[0].trainable == pipe.trail.table["trainable"][pipe.trail.best]
    assert set(pipe.trail.table["trainable"]) <= {1, 2} and pipe.trail.table["score"].notna().all()
    assert {w.name for w in pipe.encode.trainable_weights} and pipe.predict(rows[1]).shape == (len(rows[1]), 17)


@pytest.mark.parametrize(("settings", "error", "message"), [
    ({"max_trials": 0}, ValueError, "`max_trials` must be a positive int. Received: 0"),
    ({"max_trials": True}, ValueError, "`max_trials` must be a positive int. Received: True"),
    ({"engine": "optuna"}, ValueError, r"`engine` must be one of \('autokeras', 'kerastuner'\). Received: 'optuna'"),
    ({"tuner": "grid"}, ValueError, "`tuner` must be one of .*. Received: 'grid'"),
    ({"objective": "r2"}, ValueError, r"`objective` must be one of \('map', .* for MultiLabel. Received: 'r2'"),
    ({"space": {"fusion": ["magic"]}}, ValueError, r"`space\['fusion'\]` must hold values among .*hybrid.*Received: \['magic'\]"),
    ({"space": {"layers": 3}}, ValueError, "`space` must name choices among .*'units'.* Received: 'layers'"),
    ({"space": {"units": []}}, ValueError, r"`space\['units'\]` must hold different values, at least one. Received: \[\]"),
    ({"space": {"dropout": "much"}}, ValueError, r"`space\['dropout'\]` must hold numbers. Received: \['much'\]"),
    ({"space": {"dropout": [0.5, 1.5]}}, ValueError, r"`dropout` must lie in \[0, 1\). Received: 1.5"),
    ({"space": {"dropout_words": (0.5, 1.5)}}, ValueError, r"`dropout` must lie in \[0, 1\). Received: 1.5"),
    ({"space": {"modality_dropout": ["some"]}}, ValueError, r"`modality_dropout` must lie in \[0, 1\). Received: 'some'"),
    ({"space": {"epochs": [0, 2]}}, ValueError, "`epochs` must be a positive int. Received: 0"),
    ({"space": {"dropout": (0.5, 0.1)}}, ValueError, r"A range in `space` must be \(low, high\) of numbers, low < high"),
    ({"space": {"modalities": [["words", "sound"]]}}, ValueError, r"must name modalities of \['words', 'numbers'\]. Received: \['sound'\]"),
    ({"space": {"trainable": [True]}}, ValueError, "only where trials can train towers. .* Use engine='kerastuner'"),
    ({"df": mm.samples.movies(40, seed=0).assign(genres="Drama")}, ValueError, "The target 'genres' must differ between rows"),
    ({"task": mm.MultiClass("genres"), "df": mm.samples.movies(40, seed=0).assign(genres="Drama")}, ValueError,
     "The target 'genres' must hold at least two classes"),
    ({"validation_data": mm.samples.movies(9, seed=0).assign(genres="Opera")}, ValueError,
     r"Validation rows must share answers with the training rows. .*'Opera' \(9 rows\)"),
    ({"task": mm.MultiClass("main"), "df": mm.samples.movies(40, seed=0).assign(main=["a", "b"] * 20),
      "validation_data": mm.samples.movies(9, seed=0).assign(main="c")}, ValueError,
     r"Validation rows must share answers with the training rows. .*'c' \(9 rows\)"),
    ({"task": mm.Caption("overview"), "space": {"units": 8}}, ValueError, "must name choices among .*'width'.* Received: 'units'"),
    ({"task": mm.Caption("overview"), "space": {"fusion": "late"}}, ValueError, "puts the patches of all modalities side by side"),
    ({"task": "genres"}, TypeError, "`search` takes a task, .* Received: str"),
    ({"modalities": [WORDS, WORDS]}, ValueError, "Modalities must have different names"),
    ({"modalities": [WORDS], "space": {"fusion": "gated"}}, ValueError, r"needs two modalities to choose for. Received: \['gated'\] with 'words' alone"),
    ({"df": mm.samples.movies(40, seed=0).drop(columns="budget")}, KeyError, "needs the column 'budget'"),
    ({"modalities": [mm.Text("overview", "some_tower", trainable=2), NUMBERS]}, ValueError,
     r"towers must be frozen.* Received `trainable` in \['text'\]. Use engine='kerastuner'"),
    ({"validation_data": 1.5}, ValueError, "`fraction` must lie between 0 and 1"),
])  # fmt: skip
def test_what_cannot_work_is_refused_before_any_trial(settings, error, message, rows, tmp_path):
    given = {"df": rows[0], "modalities": [WORDS, NUMBERS], "task": GENRES, "directory": tmp_path / "new", **settings}
    with pytest.raises(error, match=message):
        mm.search(given.pop("df"), given.pop("modalities"), given.pop("task"), **given)
    assert not (tmp_path / "new").exists()


def test_a_directory_with_another_search_or_anything_else_is_refused(found, rows, place, tmp_path):
    with pytest.raises(ValueError, match="holds one with other rows, seed. Choose another folder"):
        run(rows[0], place, seed=1)
    with pytest.raises(ValueError, match="holds one with other rows, space"):
        run(rows[0].iloc[1:], place, space={**QUICK, "epochs": 3})
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ValueError, match="which holds something else"):
        mm.search(rows[0], [NUMBERS], GENRES, directory=tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_search_that_was_killed_before_it_had_begun_can_be_repeated(tmp_path):
    (tmp_path / ".search.json.0123abcd").touch()
    Study(tmp_path, [NUMBERS], GENRES, QUICK, "autokeras", "random", "f1_micro", 1).claim("rows")
    assert (tmp_path / "search.json").is_file()


@pytest.mark.parametrize(("package", "install"), [("autokeras", "autokeras"), ("keras_tuner", "keras-tuner")])
def test_a_missing_package_is_named(package, install, rows, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"needs the package '{install}'. Received: .* pip install {install}"):
        mm.search(rows[0], [WORDS, NUMBERS], GENRES, max_trials=1)
    if package == "autokeras":
        with pytest.raises(ImportError, match="pip install autokeras"):
            _ = mm.search.FusionBlock


# --- the space


def test_of_alternatives_a_trial_uses_one_at_most():
    encoders = [mm.Text("overview", "lexical", name="a"), mm.Text("overview", "scratch", name="b")]
    assert spaces.subsets([encoders, NUMBERS]) == ["a + numbers", "b + numbers", "a", "b", "numbers"]


def test_a_space_is_narrowed_and_widened_by_plain_values():
    import keras_tuner

    given = {"units": (16, 256), "learning_rate": (1e-4, 1e-2), "dropout": 0.1, "modality_dropout": [0.0, 0.2]}
    space = spaces.make_space([WORDS, NUMBERS], GENRES, given)
    hp = keras_tuner.HyperParameters()
    choices = spaces.declare(space, hp)
    assert choices["dropout"] == 0.1 and 16 <= choices["units"] <= 256 and choices["modality_dropout"] == 0.0
    assert "cross_attention" not in space["fusion"] and space["loss"] == ["standard", "weighted", "focal"]
    assert hp.get("training/learning_rate") == choices["learning_rate"] == 1e-4
    variant = spaces.make_variant({**choices, "dropout_words": 0.9, "modality_dropout": 0.2}, [WORDS, NUMBERS], GENRES)
    assert variant.head["dropout"] == {"words": 0.9, "numbers": 0.1} and variant.head["modality_dropout"] == 0.2
    assert "loss" not in variant.fit and variant.fit["epochs"] == 8
    weighted = spaces.make_variant({**choices, "loss": "weighted"}, [WORDS, NUMBERS], mm.MultiClass("genres"))
    assert weighted.fit["class_weight"] == "balanced" and "loss" not in weighted.fit


def test_choices_of_several_types_keep_their_values():
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    choices = spaces.declare({"trainable": [False, 2, True], "units": [8, 4]}, hp)
    assert choices == {"trainable": False, "units": 8}
    hp.values["training/trainable"] = "2"
    assert spaces.declare({"trainable": [False, 2, True]}, hp)["trainable"] == 2


# --- the trail


def test_what_mattered_is_found_by_hand(tmp_path):
    records = [
        {
            "trial": str(i),
            "choices": {"modalities": names, "units": units},
            "score": score,
            "low": 0,
            "high": 1,
            "seconds": 1,
        }
        for i, (names, units, score) in enumerate(
            [("a + b", 8, 0.6), ("a", 16, 0.5), ("a + b", 16, 0.6), ("a", 8, 0.5), ("a", 8, 0.5), ("a + b", 8, 0.6)]
        )
    ]
    trail = make_trail(records, "map", "max", rows=10, target="genres")
    mattered = trail.mattered()
    assert list(mattered.index[:1]) == ["use b"] and mattered["use b"] == pytest.approx(1.0)
    assert mattered["units"] == 0.0 and "use a" not in mattered
    assert "What mattered (share of the scores' variance): use b 100%" in str(trail)
    html = trail.to_html(tmp_path / "trail.html").read_text(encoding="utf-8")
    assert html.count("data:image/png;base64") == 2 and "Which choices mattered" in html


# --- blocks for AutoKeras graphs of one's own


@pytest.mark.parametrize("fusion", ["concat", "early", "late", "gated", "bilinear", "cross_attention", "hybrid"])
@pytest.mark.parametrize("presence", [False, True])
def test_fusion_block_joins_nodes_of_any_rank(fusion, presence):
    import keras_tuner

    nodes = [
        keras.Input(shape, name=name) for name, shape in {"a": (5, 8), "b": (3, 8), "c": (6,), "d": (4, 4, 3)}.items()
    ]
    masks = [keras.Input((1,), name=f"{name}.present") for name in "abcd"] if presence else []
    block = mm.search.FusionBlock(fusion=fusion, units=8, dropout=0.0, presence=presence)
    model = keras.Model([*nodes, *masks], block.build(keras_tuner.HyperParameters(), [*nodes, *masks]))
    values = [np.random.default_rng(0).normal(size=(2, *node.shape[1:])).astype("float32") for node in nodes]
    there = [np.ones((2, 1), "float32") for _ in masks]
    out = model([*values, *there]).numpy()
    assert out.shape[0] == 2 and np.isfinite(out).all() and np.abs(out).max() > 0
    alone = model([v[:1] for v in [*values, *there]]).numpy()
    np.testing.assert_allclose(alone, out[:1], atol=1e-5)  # a row knows nothing of its neighbours
    if presence:
        there[0] = np.array([[0.0], [1.0]], "float32")
        other = [np.full_like(values[0], 9.0), *values[1:]]
        np.testing.assert_allclose(model([*values, *there])[0], model([*other, *there])[0], atol=1e-5)


def test_blocks_serve_graphs_of_ones_own(tmp_path):
    import autokeras as ak

    rng = np.random.default_rng(0)
    x = [rng.normal(size=(60, 4)).astype("float32"), rng.normal(size=(60, 3)).astype("float32")]
    labels = (np.stack([x[0][:, 0], x[1][:, 0], x[0][:, 0] * x[1][:, 0]], axis=1) > 0).astype("float32")
    heads = {
        "labels": (mm.search.ClassificationHead(multi_label=True), labels, (60, 3)),
        "classes": (
            mm.search.ClassificationHead(),
            np.array(["a", "b", "c"])[labels[:, :2].sum(axis=1).astype(int)],
            (60, 1),
        ),
        "numbers": (mm.search.RegressionHead(), x[0][:, :1] * 2, (60, 1)),
    }
    for name, (head, y, shape) in heads.items():
        nodes = [mm.search.NamedInput("text", shape=(4,)), mm.search.NamedInput("table", shape=(3,))]
        output = head(mm.search.FusionBlock(units=8)(nodes))
        model = ak.AutoModel(nodes, output, directory=str(tmp_path), project_name=name, max_trials=1, seed=1)
        model.fit(x, y, epochs=1, verbose=0, callbacks=[keras.callbacks.EarlyStopping()], validation_split=0.2)
        assert [tensor.name for tensor in model.export_model().inputs] == ["text", "table"]
        predicted = model.predict(x, verbose=0)
        assert predicted.shape == shape
        if name == "labels":
            assert ((predicted > 0) & (predicted < 1)).all()  # probabilities, not one label a row
    for wrong in ("magic", ["concat", "magic"]):
        with pytest.raises(ValueError, match=r"`fusion` must be one of .*Received: 'magic'"):
            mm.search.FusionBlock(fusion=wrong)


# --- the well-known call


def test_auto_model_and_its_pipeline_predict_the_same(auto, rows):
    test = rows[1].assign(kind="never seen")
    test.iloc[0, test.columns.get_loc("overview")] = ""
    test.iloc[1, test.columns.get_loc("overview")] = "a\u00a0card\u2003sharp\x1cin\u3000the  snow\n"
    test.iloc[2, test.columns.get_loc("budget")] = np.nan
    pipe = auto.pipeline()
    np.testing.assert_allclose(pipe.predict(test).to_numpy(), auto.predict(test), atol=1e-5)
    report = pipe.evaluate(test, missing=True)
    assert "Chosen by AutoKeras as the best of 1 trials" in report.notes[0] and "text alone" in report.baselines.index
    assert report.missing["map"].nunique() > 1
    with pytest.raises(ValueError, match="finished model of `search.auto_model`.*mm.Text"):
        pipe.fit(rows[0].assign(kind="long"), verbose=0)


def test_auto_model_of_pictures_and_two_classes(tmp_path):
    df = mm.samples.entailment(50, 0, tmp_path / "images")
    df["label"] = np.where(df["label"] == "Implies", "yes", "no")
    model = mm.search.auto_model(image="image_1", target="label", image_size=(16, 16), max_trials=1)
    with pytest.raises(ValueError, match="not fitted yet"):
        model.pipeline()
    model.fit(df, epochs=1, verbose=0)
    pipe = model.pipeline()
    chances = model.export_model().predict(model.arrays(df), verbose=0)
    np.testing.assert_allclose(pipe.predict(df)["yes"], chances[:, 0], atol=1e-5)
    np.testing.assert_allclose(pipe.predict(df).sum(axis=1), 1.0, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"text": "a", "multi_label": True, "regression": True}, {"text": ["a", "b"]}])
def test_auto_model_refuses_what_it_cannot_read(settings):
    with pytest.raises(ValueError, match="`auto_model` needs an input, and one kind of target. Received"):
        mm.search.auto_model(target="label", **settings)


def test_records_are_whole_or_absent(place):
    for record in read_records(place / "study"):
        assert json.loads(json.dumps(record)) == record and record["starts"] == 1


@pytest.mark.real
def test_the_multi_label_call_on_real_films(real_data):
    df = mm.sources.movies(real_data / "data/movies/movies.csv").head(400)
    model = mm.search.auto_model(
        text="overview", structured=["budget", "popularity", "revenue", "runtime"], target="genres", multi_label=True,
        max_trials=1,
    )  # fmt: skip
    model.fit(df, epochs=1, verbose=0)
    np.testing.assert_allclose(model.pipeline().predict(df).to_numpy(), model.predict(df), atol=1e-5)


# --- any task, modality and fusion


def test_trials_do_not_depend_on_those_before(rows, place):
    from mmkeras.search.rows import SearchRows
    from mmkeras.search.trials import HeadTrials
    from mmkeras.trunk.store import CacheFolder

    split = SearchRows(rows[0], None, [WORDS, NUMBERS], GENRES).split()
    trials = HeadTrials([WORDS, NUMBERS], split, "map", CacheFolder(place / "cache"), seed=3)
    chosen = {"modalities": "words + numbers", "fusion": "hybrid", "units": 8, "depth": 1, "dropout": 0.2}
    training = {"learning_rate": 1e-2, "optimizer": "adam", "loss": "focal", "epochs": 2}
    first = spaces.make_variant({**chosen, **training}, [WORDS, NUMBERS], GENRES)
    other = spaces.make_variant({**chosen, **training, "fusion": "late", "epochs": 5}, [WORDS, NUMBERS], GENRES)
    scores = [trials.run(variant)["score"] for variant in (first, other, first)]
    assert scores[0] == scores[2] != scores[1]


def test_keras_traces_a_trial_once(rows, place, monkeypatch):
    traced, step = [], keras.Model.train_step

    def counted(self, data):
        traced.append(len(self.outputs))
        return step(self, data)

    monkeypatch.setattr(keras.Model, "train_step", counted)
    space = {"fusion": "hybrid", "modalities": "words + numbers", "units": 8, "epochs": 2}
    run(rows[0], place, "traced", max_trials=1, space=space)
    assert traced == [4, 4]  # of the trial and of the winner


def test_captions_are_searched(tmp_path, place):
    df = mm.samples.captions(48, 0, tmp_path, size=32)
    image = mm.Image("image", encoder="scratch", image_size=(32, 32), pooling=None, augment=False)
    task = mm.Caption("caption", sequence_length=24, decoding={"method": "greedy"})
    space = {"width": [32, 16], "heads": 2, "dropout": 0.1, "tied": [True, False]}
    space |= {"epochs": 12, "batch_size": 16, "learning_rate": 1e-2, "optimizer": "adam"}
    pipe = mm.search(df, [image], task, max_trials=2, space=space, verbose=0, cache_dir=place / "captions")
    table = pipe.trail.table
    assert pipe.trail.objective == "cider" and table["score"].notna().all() and (table["failure"] == "").all()
    assert pipe.trail.rows == round(0.2 * df["image"].nunique())  # images, not captions
    assert {table["width"][0], table["heads"][0], table["tied"][0]} == {32, 2, True} and "units" not in table
    best = table.loc[pipe.trail.best]
    assert pipe.head_settings == {"width": best["width"], "dropout": 0.1, "tied": best["tied"], "heads": 2}
    assert pipe.predict(df.head(4))["caption"].str.len().gt(0).all() and table["score"].max() > 0.05


def test_settings_of_a_task_of_ones_own_are_searched(rows, place):
    from mmkeras.fusion import Fusion
    from mmkeras.heads.decisions import build_head

    class SumFusion(Fusion):
        """The sum of the features' means."""

        label = "sum of means"

        def call(self, features, presence):
            return sum(
                keras.ops.mean(x, axis=-1, keepdims=True) * there for x, there in zip(features, presence, strict=True)
            )

        def compute_output_shape(self, features_shape, presence_shape):
            return (features_shape[0][0], 1)

    @dataclasses.dataclass(frozen=True)
    class Narrow(mm.Regression):
        """Numbers by a head that knows one setting, and a way to train of its own."""

        ways = {"standard": {}, "robust": {"loss": "huber"}}  # noqa: RUF012

        def check_settings(self, names, fusion="concat", *, narrow=2):
            if narrow < 1:
                raise ValueError(f"`narrow` must be positive. Received: {narrow!r}.")

        def head_choices(self, modalities):
            return {"narrow": [2, 3]}

        def build_head(self, inputs, target=None, fusion="concat", narrow=2):
            return build_head(inputs.features, self, fusion, narrow, modalities=inputs.names)

    space = spaces.make_space([WORDS, NUMBERS], Narrow("popularity"))
    assert space["narrow"] == [2, 3] and space["loss"] == ["standard", "robust"] and "units" not in space
    assert "sum of means" in space["fusion"] and "cross_attention" not in space["fusion"]
    pipe = mm.search(
        rows[0], [WORDS, NUMBERS], Narrow("popularity"), max_trials=2, verbose=0, cache_dir=place / "cache",
        space={"epochs": 1, "fusion": "sum of means", "loss": "robust", "modalities": "words + numbers"},
    )  # fmt: skip
    assert (pipe.trail.table["failure"] == "").all() and pipe.fusion == "sum of means"
    assert pipe.head.get_layer("hidden_0").units == pipe.trail.table["narrow"][pipe.trail.best]
    with pytest.raises(ValueError, match="`narrow` must be positive. Received: 0"):
        spaces.make_space([WORDS, NUMBERS], Narrow("popularity"), {"narrow": 0})


def test_a_search_may_end_in_an_ensemble_of_its_trials(rows, place, tmp_path):
    space = {"epochs": 2, "units": [16, 8], "batch_size": 32, "fusion": ["hybrid", "gated"]}
    pipe = run(rows[0], place, "together", max_trials=3, space=space, ensemble=2)
    table = pipe.trail.table
    assert table["weight"].sum() == pytest.approx(1.0) and 1 <= (table["weight"] > 0).sum() <= 2
    assert "An ensemble of" in pipe.notes[0] and "map 0." in pipe.notes[0]
    assert "weight" not in pipe.trail.choices()
    pipe.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(rows[1]), pipe.predict(rows[1]), atol=1e-6)
    again = run(rows[0], place, "together", max_trials=3, space=space, ensemble=2)  # the finished search
    np.testing.assert_allclose(again.predict(rows[1]), pipe.predict(rows[1]), atol=1e-5)


def test_an_ensemble_that_cannot_be(rows, place, found):
    with pytest.raises(ValueError, match="`ensemble` must be a positive int"):
        run(rows[0], place, "none", ensemble=0)
    with pytest.raises(ValueError, match="that kept none. Raise `max_trials`"):
        space = {**QUICK, "fusion": ["concat", "hybrid"]}
        run(rows[0], place, "without", max_trials=1, space=space)
        run(rows[0], place, "without", max_trials=1, space=space, ensemble=2)

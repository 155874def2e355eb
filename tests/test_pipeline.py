"""The whole way: DataFrame in, predictions, report, saved and served model out."""

import functools
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.evaluation.thresholds import tune_thresholds

NUMERIC = ["budget", "popularity", "revenue", "runtime"]


def movie_modalities(encoder=None, **text):
    modalities = [
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Tabular(numeric=NUMERIC, datetime="release_date", zero_is_missing=["budget", "revenue"]),
    ]
    return (
        modalities if encoder is None else [mm.Text("overview", str(encoder), sequence_length=32, **text), *modalities]
    )


@pytest.fixture(scope="module")
def rows():
    return mm.split_frame(mm.samples.movies(260, seed=3), 0.25, seed=0)


@pytest.fixture(scope="module")
def fitted(rows, tiny_bert, tmp_path_factory):
    """A Pipeline with a frozen tower, a bag of words and numbers; evaluated, so that it has baselines."""
    pipe = mm.Pipeline(movie_modalities(tiny_bert, pooling="mean"), mm.MultiLabel("genres"))
    pipe.fit(rows[0], epochs=4, verbose=0, cache_dir=tmp_path_factory.mktemp("cache"))
    pipe.report = pipe.evaluate(rows[1], verbose=0)
    return pipe


def test_fit_returns_the_keras_history_and_leaves_the_frame_alone(rows):
    train, test = rows
    before, seen = train.copy(deep=True), []
    callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    pipe = mm.Pipeline(movie_modalities(), mm.MultiLabel("genres"))
    history = pipe.fit(train, validation_data=test, epochs=2, verbose=0, callbacks=[callback])
    assert isinstance(history, keras.callbacks.History)
    assert set(history.history) == {"loss", "map", "val_loss", "val_map"}
    assert history.epoch == seen == [0, 1]
    pd.testing.assert_frame_equal(train, before)


def test_predict_keeps_index_order_and_classes(fitted, rows):
    test = rows[1].sample(frac=1, random_state=1)
    test.index = ["same"] * len(test)  # a duplicate index is the user's business
    predictions = fitted.predict(test)
    assert list(predictions.index) == ["same"] * len(test)
    assert list(predictions.columns) == list(fitted.task.classes)
    assert predictions.to_numpy().min() >= 0 and predictions.to_numpy().max() <= 1
    labels = fitted.predict_labels(test)
    expected = predictions.to_numpy() >= fitted.thresholds
    assert [len(row) for row in labels] == list(expected.sum(axis=1))


def test_one_row_alone_equals_the_row_in_a_batch(fitted, rows):
    test = rows[1]
    together = fitted.predict(test).to_numpy()
    for position in (0, 7, 20):
        alone = fitted.predict(test.iloc[[position]]).to_numpy()
        np.testing.assert_allclose(alone[0], together[position], atol=1e-5)


def test_stages_are_plain_models_that_share_weights(fitted, rows):
    raw = {name: tf.constant(v[:5]) for name, v in raw_values(rows[1], fitted.modalities).items()}
    expected = fitted.predict(rows[1].head(5)).to_numpy()
    for model in (fitted.prepare, fitted.encode, fitted.head, fitted.model, fitted.serving_model):
        assert isinstance(model, keras.Model)
    assert fitted.prepare.trainable_weights == []
    np.testing.assert_allclose(fitted.serving_model(raw)["genres"], expected, atol=1e-5)
    np.testing.assert_allclose(fitted.model(fitted.prepare(raw))["genres"], expected, atol=1e-5)


def test_same_seed_same_predictions_other_seed_others(rows):
    def run(seed):
        text = mm.Text("overview", "scratch", sequence_length=32, pooling="mean")
        pipe = mm.Pipeline([text, mm.Text("overview", encoder="lexical", name="words")], mm.MultiLabel("genres"))
        pipe.fit(rows[0], epochs=1, seed=seed, verbose=0)
        return pipe.predict(rows[1]).to_numpy()

    first = run(5)
    np.testing.assert_array_equal(first, run(5))
    assert np.abs(first - run(6)).max() > 1e-3


def test_saved_and_loaded_predicts_and_reports_the_same(fitted, rows, tmp_path):
    fitted.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    np.testing.assert_allclose(loaded.predict(rows[1]), fitted.predict(rows[1]), atol=1e-6)
    assert list(loaded.predict_labels(rows[1])) == list(fitted.predict_labels(rows[1]))
    again = loaded.evaluate(rows[1], verbose=0)
    pd.testing.assert_frame_equal(again.to_frame(), fitted.report.to_frame(), atol=1e-5)


def test_interrupted_save_leaves_the_earlier_model(fitted, rows, tmp_path, monkeypatch):
    fitted.save(tmp_path / "model")
    expected = fitted.predict(rows[1])

    def broken(self, *args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "save", broken)
        with pytest.raises(KeyboardInterrupt):
            fitted.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(rows[1]), expected, atol=1e-6)


def test_served_model_in_a_fresh_process_equals_predict(fitted, rows, tmp_path):
    test = rows[1].copy()
    test.iloc[0, test.columns.get_loc("overview")] = ""
    test.iloc[1, test.columns.get_loc("runtime")] = np.nan
    test.iloc[2, test.columns.get_loc("overview")] = "🎬 " * 40
    fitted.export(tmp_path / "served")
    values = {name: list(v) for name, v in raw_values(test, fitted.modalities).items()}
    values = {k: [x if isinstance(x, str) else float(x) for x in v] for k, v in values.items()}
    (tmp_path / "raw.json").write_text(json.dumps(values))
    code = (
        "import json, sys, numpy, tensorflow as tf, tensorflow_text; folder = sys.argv[1]; "
        "raw = {k: tf.constant(v) for k, v in json.load(open(folder + '/raw.json')).items()}; "
        "served = tf.saved_model.load(folder + '/served'); "
        "numpy.save(folder + '/out.npy', served.serve(raw)['genres'].numpy())"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), fitted.predict(test), atol=1e-5)
    info = json.loads((tmp_path / "served" / "assets.extra" / "mmkeras.json").read_text())
    assert info["classes"] == list(fitted.task.classes) and info["inputs"]["overview"] == {
        "name": "overview",
        "dtype": "string",
    }
    fitted.export(tmp_path / "served")  # again: replaced as a whole
    assert (tmp_path / "served" / "saved_model.pb").is_file()


def test_frozen_towers_do_not_change_and_fine_tuned_ones_do(rows, tiny_bert, tmp_path):
    def tower_weights(pipe):
        return np.concatenate([w.numpy().ravel() for w in pipe.encode.get_layer("text_tower").weights])

    def run(**fit):
        pipe = mm.Pipeline([overview(trainable=True)], mm.MultiLabel("genres"))
        history = pipe.fit(rows[0], verbose=0, cache_dir=tmp_path, **fit)
        return tower_weights(pipe), history

    overview = functools.partial(mm.Text, "overview", str(tiny_bert), sequence_length=32, pooling="mean")
    frozen = mm.Pipeline([overview()], mm.MultiLabel("genres"))
    frozen.fit(rows[0], epochs=1, verbose=0, cache_dir=tmp_path)
    tuned, history = run(epochs=1, fine_tune_epochs=1, fine_tune_learning_rate=1e-3)
    joint, _ = run(epochs=1)
    assert len(history.epoch) == len(history.history["loss"]) == 2
    assert np.abs(tuned - tower_weights(frozen)).max() > 1e-4
    assert np.abs(joint - tower_weights(frozen)).max() > 1e-4


def test_top_blocks_alone_are_fine_tuned(rows, tiny_bert, tmp_path):
    overview = mm.Text("overview", str(tiny_bert), sequence_length=32, pooling="mean", trainable=1)
    pipe, untouched = (mm.Pipeline([overview], mm.MultiLabel("genres")) for _ in range(2))
    untouched.fit(rows[0], epochs=1, verbose=0, cache_dir=tmp_path, fine_tune_epochs=1, fine_tune_learning_rate=0.0)
    pipe.fit(rows[0], epochs=1, verbose=0, cache_dir=tmp_path, fine_tune_epochs=1, fine_tune_learning_rate=1e-3)

    def gap(layer):
        pairs = zip(*(p.encode.get_layer(layer).weights for p in (pipe, untouched)), strict=True)
        return max(float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs)

    assert gap("text_tower") == 0.0
    assert gap("text_tower_top") > 1e-4
    raw = {name: tf.constant(v) for name, v in raw_values(rows[1], pipe.modalities).items()}
    np.testing.assert_allclose(pipe.serving_model(raw)["genres"], pipe.predict(rows[1]), atol=1e-5)


def test_full_sequences_are_cached_and_read_back(rows, tiny_bert, tmp_path):
    pipe = mm.Pipeline([mm.Text("overview", str(tiny_bert), 32, pooling=None)], mm.MultiLabel("genres"))
    pipe.fit(rows[0], epochs=1, verbose=0, cache_dir=tmp_path)
    raw = {name: tf.constant(v) for name, v in raw_values(rows[1], pipe.modalities).items()}
    np.testing.assert_allclose(pipe.serving_model(raw)["genres"], pipe.predict(rows[1]), atol=1e-5)


def test_evaluate_shows_baselines_and_keeps_the_model(fitted, rows):
    report = fitted.report
    assert set(report.baselines.index) == {
        "label prior", "TF-IDF + linear model", "text alone", "words alone", "tabular alone",
        "without text", "without words", "without tabular", "boosted trees",
    }  # fmt: skip
    assert report.metrics["map"] > report.baselines.loc["label prior", "map"]
    assert report.intervals["map"][0] <= report.metrics["map"] <= report.intervals["map"][1]
    before = fitted.predict(rows[1]).to_numpy()
    fitted.check_fitted().rivals.clear()
    again = fitted.evaluate(rows[1], verbose=0)
    pd.testing.assert_frame_equal(again.to_frame(), report.to_frame(), atol=1e-5)  # rivals learn the same again
    np.testing.assert_array_equal(fitted.predict(rows[1]), before)


def test_evaluate_reports_unseen_labels(fitted, rows):
    test = rows[1].copy()
    test.iloc[0, test.columns.get_loc("genres")] = "Telenovela|Drama"
    text = str(fitted.evaluate(test, verbose=0))
    assert "never seen in training, or left out of `classes`: 'Telenovela' (1 rows)" in text


def test_evaluate_scores_every_subset_of_modalities(fitted, rows, tmp_path):
    report = fitted.evaluate(rows[1], missing=True, verbose=0)
    assert list(report.missing.index) == [
        "text + words + tabular", "text + words", "text + tabular", "words + tabular", "text", "words", "tabular",
    ]  # fmt: skip
    assert report.missing.loc["text + words + tabular", "map"] == report.metrics["map"]
    blank = rows[1].assign(**dict.fromkeys(NUMERIC, np.nan), release_date="")
    assert report.missing.loc["text + words", "map"] == pytest.approx(
        fitted.evaluate(blank, verbose=0).metrics["map"], abs=1e-6
    )
    assert "With only some of the modalities" in str(report)
    assert "words + tabular" in report.to_html(tmp_path / "report.html").read_text()
    assert fitted.report.missing.empty


def test_rows_lacking_a_modality_train_and_predict(rows):
    rng = np.random.default_rng(0)

    def torn(df):
        """Half of the rows lose their text or their numbers."""
        df = df.copy()
        lost = rng.integers(4, size=len(df))
        df.loc[lost == 0, "overview"] = ""
        df.loc[lost == 1, [*NUMERIC, "release_date"]] = np.nan
        return df

    train, test = torn(rows[0]), torn(rows[1])
    pipe = mm.Pipeline(movie_modalities(), mm.MultiLabel("genres"), modality_dropout=0.2)
    pipe.fit(train, epochs=3, verbose=0)
    report = pipe.evaluate(test, verbose=0)
    assert report.metrics["map"] > report.baselines.loc["label prior", "map"]
    assert not pipe.predict(test).isna().any().any()


def test_confusion_counts_every_row(rows, tmp_path):
    train, test = (part.assign(long=np.where(part["runtime"] > 100, "long", "short")) for part in rows)
    pipe = mm.Pipeline([mm.Tabular(numeric=["runtime"])], mm.MultiClass("long"))
    pipe.fit(train, epochs=8, learning_rate=1e-2, verbose=0)
    report = pipe.evaluate(test, verbose=0)
    labels = pipe.predict_labels(test)
    for true in ("long", "short"):
        for predicted in ("long", "short"):
            count = int(((test["long"] == true) & (labels == predicted)).sum())
            assert report.confusion.loc[true, predicted] == count
    table = report.labels
    assert table.loc["long", "recall"] == report.confusion.loc["long", "long"] / report.confusion.loc["long"].sum()
    assert table.loc["long", "precision"] == report.confusion.loc["long", "long"] / report.confusion["long"].sum()
    assert "True classes (down)" in str(report)
    assert "Confusion matrix" in report.to_html(tmp_path / "report.html").read_text()


def test_thresholds_come_from_validation_rows_only(rows):
    """Two fits of the same rows differ by their validation rows in thresholds alone; no other rows change them."""
    train, test = rows
    validated = [test.head(30), test.tail(30)]
    pipes = []
    for validation in validated:
        pipe = mm.Pipeline([mm.Tabular(numeric=NUMERIC)], mm.MultiLabel("genres"))
        pipe.fit(train, validation_data=validation, epochs=1, verbose=0)
        pipes.append(pipe)
    np.testing.assert_array_equal(pipes[0].predict(test), pipes[1].predict(test))
    assert np.abs(pipes[0].thresholds - pipes[1].thresholds).max() > 0.01
    for pipe, validation in zip(pipes, validated, strict=True):
        by_hand = tune_thresholds(pipe.task.encode(validation), pipe.predict(validation).to_numpy())
        np.testing.assert_allclose(pipe.thresholds, by_hand, atol=1e-6)
        by_others = tune_thresholds(pipe.task.encode(train), pipe.predict(train).to_numpy())
        assert np.abs(pipe.thresholds - by_others).max() > 0.01
        before = pipe.thresholds.copy()
        pipe.evaluate(test, verbose=0)
        np.testing.assert_array_equal(pipe.thresholds, before)
    without = mm.Pipeline([mm.Tabular(numeric=NUMERIC)], mm.MultiLabel("genres"))
    without.fit(train, validation_data=False, epochs=1, verbose=0)
    assert without.thresholds is None
    assert "No validation rows were held out: thresholds are 0.5" in str(without.evaluate(test, verbose=0))


def test_html_report_is_whole(fitted, tmp_path):
    page = fitted.report.to_html(tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64") == 3 and page.rstrip().endswith("</html>")
    assert "label prior" in page and "Some rows" in page


def test_multiclass_and_regression_run_end_to_end(rows, tmp_path):
    train, test = (part.assign(first=part["genres"].str.split("|").str[0]) for part in rows)
    pipe = mm.Pipeline(movie_modalities(), mm.MultiClass("first"), fusion="late")
    pipe.fit(train, epochs=3, verbose=0, class_weight="balanced")
    np.testing.assert_allclose(pipe.predict(test).sum(axis=1), 1, atol=1e-5)
    assert set(pipe.predict_labels(test)) <= set(pipe.task.classes)
    known = test[test["first"].isin(pipe.task.classes)]
    right = (pipe.predict_labels(known) == known["first"]).mean()
    report = pipe.evaluate(known, verbose=0)
    assert report.metrics["accuracy"] == pytest.approx(right) and right > 1 / len(pipe.task.classes)
    assert report.metrics["map"] > report.baselines.loc["label prior", "map"]

    modalities = [mm.Tabular(numeric=["budget", "popularity", "revenue"]), mm.Text("overview", "lexical", name="words")]
    numbers = mm.Pipeline(modalities, mm.Regression("runtime"), fusion="hybrid")
    known = train.dropna(subset=["runtime"])
    numbers.fit(known, epochs=30, verbose=0)
    report = numbers.evaluate(test.dropna(subset=["runtime"]), verbose=0)
    assert report.metrics["r2"] > 0.2 > report.baselines.loc["mean", "r2"]
    assert list(numbers.predict(test).columns) == ["runtime"]
    numbers.save(tmp_path / "numbers")
    np.testing.assert_allclose(mm.load(tmp_path / "numbers").predict(test), numbers.predict(test), rtol=1e-5)


def test_callbacks_that_set_the_learning_rate_work(rows):
    pipe = mm.Pipeline([mm.Tabular(numeric=NUMERIC)], mm.MultiLabel("genres"))
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(monitor="loss", min_delta=1e9, patience=1, factor=0.5),
        keras.callbacks.EarlyStopping(monitor="loss", patience=9),
    ]
    history = pipe.fit(rows[0], epochs=4, verbose=0, callbacks=callbacks)
    assert history.history["learning_rate"][-1] < history.history["learning_rate"][0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda df: df.rename(columns={"runtime": "runtimes"}), KeyError, "needs the column 'runtime'.*'runtimes'"),
        (lambda df: df.head(0), ValueError, "at least one row.*empty DataFrame"),
        (lambda df: df.head(1), ValueError, "at least two rows.*Received: 1"),
        (lambda df: df.assign(genres="Drama"), ValueError, "must differ between rows.*Drama"),
        (lambda df: df.to_dict("list"), TypeError, "pandas DataFrame. Received: dict"),
    ],
)
def test_fit_refuses_what_cannot_work(rows, change, error, message):
    pipe = mm.Pipeline(movie_modalities(), mm.MultiLabel("genres"))
    with pytest.raises(error, match=message):
        pipe.fit(change(rows[0]), epochs=1, verbose=0)
    assert pipe.head is None and repr(pipe).endswith("not fitted>")
    pipe.fit(rows[0].head(40), epochs=1, verbose=0)
    before = pipe.predict(rows[1])
    with pytest.raises(error, match=message):
        pipe.fit(change(rows[0]), epochs=1, verbose=0)
    pd.testing.assert_frame_equal(pipe.predict(rows[1]), before)


def test_columns_may_be_named_as_modalities_are(rows, tiny_bert):
    """Names of columns mean nothing: the same model as with others."""
    predictions = []
    for text, number in (("overview", "runtime"), ("text", "tabular")):
        train, test = (part.rename(columns={"overview": text, "runtime": number}) for part in rows)
        modalities = [
            mm.Text(text, encoder=str(tiny_bert), sequence_length=32),
            mm.Text(text, encoder="lexical", name="words"),
            mm.Tabular(numeric=[number]),
        ]
        pipe = mm.Pipeline(modalities, mm.MultiLabel("genres"))
        pipe.fit(train, epochs=1, verbose=0)
        predictions.append(pipe.predict(test))
    pd.testing.assert_frame_equal(*predictions, atol=1e-5)


def test_odd_values_are_data_not_crashes(fitted, rows):
    odd = pd.concat([rows[1].head(6)] * 2).astype({"overview": object, "budget": object})
    odd["overview"] = [np.nan, "", "🎬🍿", "word " * 20_000, None, "x" * 100_000] * 2
    odd["budget"] = ["12,5m", np.inf, None, "7", -5, 0] * 2
    with pytest.warns(UserWarning, match=r"'budget': \d+ values are (not numbers|infinite)"):
        predictions = fitted.predict(odd)
    assert not predictions.isna().any(axis=None)
    np.testing.assert_allclose(predictions[:6], predictions[6:], atol=1e-6)
    spread = predictions[:6].to_numpy()
    assert np.abs(spread - spread.mean(axis=0)).max(axis=1).min() > 1e-4  # rows are told apart


@pytest.mark.filterwarnings("ignore:Column 'budget'")
@pytest.mark.parametrize(
    ("column", "cells"), [("overview", ["", None, np.nan]), ("budget", [np.nan, None, "", "12,5m", np.inf, 0])]
)
def test_every_form_of_missing_is_the_same_and_means_something(fitted, rows, column, cells):
    row = rows[1][(rows[1]["budget"] > 0) & (rows[1]["overview"] != "")].head(1)
    missing = pd.concat([row] * len(cells)).astype({column: object})
    missing[column] = pd.Series(cells, index=missing.index, dtype=object)
    predictions = fitted.predict(missing).to_numpy()
    np.testing.assert_allclose(predictions, np.tile(predictions[0], (len(cells), 1)), atol=1e-6)
    assert np.abs(predictions[0] - fitted.predict(row).to_numpy()[0]).max() > 1e-4


def test_all_nan_column_trains(rows):
    empty = rows[0].assign(budget=np.nan)
    pipe = mm.Pipeline([mm.Tabular(numeric=NUMERIC)], mm.MultiLabel("genres"))
    history = pipe.fit(empty, epochs=8, verbose=0, learning_rate=5e-3).history
    assert history["loss"][-1] < history["loss"][0]
    report = pipe.evaluate(rows[1].assign(budget=np.nan), verbose=0)
    assert report.metrics["map"] > report.baselines.loc["label prior", "map"]
    assert not pipe.predict(rows[1]).isna().any(axis=None)


def test_unfitted_and_foreign_folders_are_refused(rows, fitted, tmp_path):
    pipe = mm.Pipeline(movie_modalities(), mm.MultiLabel("genres"))
    with pytest.raises(ValueError, match=r"no model yet.*fit"):
        pipe.predict(rows[1])
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        fitted.save(tmp_path)
    with pytest.raises(OSError, match="must be writable"):
        fitted.save(tmp_path / "notes.txt" / "model")
    with pytest.raises(OSError, match="must be writable"):
        fitted.export(tmp_path / "notes.txt" / "served")
    with pytest.raises(FileNotFoundError, match="no folder"):
        mm.load(tmp_path / "nothing")


def test_truncated_or_newer_model_folders_are_refused(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    stage = next((tmp_path / "model").glob("files-*/head.keras"))
    whole = stage.read_bytes()
    stage.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"must be whole.*head.keras.*damaged"):
        mm.load(tmp_path / "model")
    stage.write_bytes(whole)
    manifest = json.loads((tmp_path / "model" / "pipeline.json").read_text())
    (tmp_path / "model" / "pipeline.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(ValueError, match=r"reads formats 1 to 3 .*Received: format 99"):
        mm.load(tmp_path / "model")


def test_column_names_may_be_odd(rows, tmp_path):
    odd = {"overview": "the plot/summary", "budget": "budget (in $)", "runtime": "laufzeit größe"}
    train, test = (part.rename(columns=odd) for part in rows)
    pipe = mm.Pipeline(
        [
            mm.Text(odd["overview"], encoder="lexical", name="words"),
            mm.Tabular(numeric=[odd["budget"], odd["runtime"]]),
        ],
        mm.MultiLabel("genres"),
    )
    pipe.fit(train, epochs=1, verbose=0)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    names = {"the_plot_summary": "overview", "budget__in___": "budget", "laufzeit_gr__e": "runtime"}
    raw = raw_values(test, pipe.modalities)
    arguments = {name: tf.constant(raw[odd[column]]) for name, column in names.items()}
    np.testing.assert_allclose(served.serve(arguments)["genres"], pipe.predict(test), atol=1e-5)


def test_another_process_reuses_the_features(fitted, rows, tiny_bert, tmp_path):
    code = (
        "import sys, mmkeras as mm, mmkeras.trunk.store as f, mmkeras.trunk.trunk\n"
        "def refuse(*a, **k): raise SystemExit('encoded again')\n"
        "train = mm.split_frame(mm.samples.movies(260, seed=3), .25, seed=0)[0]\n"
        "pipe = mm.Pipeline([mm.Text('overview', sys.argv[1], sequence_length=32, pooling='mean', name='renamed')],"
        " mm.MultiLabel('genres'), encode_engine='tensorflow')\n"  # as in these tests
        "f.Store.write = refuse\n"
        "pipe.fit(train, epochs=1, verbose=0, cache_dir=sys.argv[2])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tiny_bert), str(fitted.trunk.cache.path)],
        capture_output=True, text=True, env={**os.environ},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-2000:]


def test_validation_rows_of_unseen_classes_are_left_out():
    df = pd.DataFrame({"x": np.arange(40.0), "label": ["a", "b"] * 20})
    judged = df.head(4).assign(label=["a", "b", "new", "new"])
    pipe = mm.Pipeline([mm.Tabular(numeric=["x"])], mm.MultiClass("label"))
    with pytest.warns(UserWarning, match=r"Validation rows: Labels never seen in training.*'new' \(2 rows\)"):
        history = pipe.fit(df, judged, epochs=1, verbose=0).history
    known = pipe.fit(df, judged.head(2), epochs=1, verbose=0).history
    assert history["val_loss"] == known["val_loss"]
    with pytest.warns(UserWarning, match="count in no metric"):
        assert "val_loss" not in pipe.fit(df, judged.tail(2), epochs=1, verbose=0).history


@pytest.mark.parametrize(("arguments", "settings", "error", "message"), [
    ((mm.Text("t"), mm.MultiLabel("g")), {}, TypeError, "list of modalities and a task. Received: Text and MultiLabel"),
    (([mm.Text("t")], "genres"), {}, TypeError, r"Received: list and str. Use for example mm.Pipeline\("),
    (([], mm.MultiLabel("g")), {}, ValueError, "There must be a modality. Received: an empty list"),
    (([mm.Text("t")], mm.MultiLabel("g"), "concatt"), {}, ValueError, "one of .*'concatt'. Did you mean 'concat'"),
    (([mm.Text("t")], mm.MultiLabel("g")), {"unitss": 3}, ValueError, r"takes the settings \['units', .*Received: 'unitss'"),
    (([mm.Text("t")], mm.Regression("g")), {"width": 3}, ValueError, "A head for Regression takes .*Received: 'width'"),
    (([mm.Text("t")], mm.MultiLabel("g")), {"units": 0}, ValueError, "`units` must be a positive int. Received: 0"),
    (([mm.Text("t")], mm.MultiLabel("g")), {"dropout": {"words": 0.1}}, ValueError, r"of \['text'\]. Received: \['words'\]"),
    (([mm.Image("i")], mm.Caption("c"), "bilinear"), {}, ValueError, "side by side. Received: fusion='bilinear'. Leave it"),
    (([mm.Image("i")], mm.Caption("c")), {"units": 3}, ValueError, r"takes the settings \['width', .*Received: 'units'"),
    (([mm.Text("t")], mm.MultiLabel("g")), {"encode_engine": "fast"}, ValueError, "Received: 'fast'"),
])  # fmt: skip
def test_what_cannot_be_is_refused_when_the_pipeline_is_made(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        mm.Pipeline(*arguments, **settings)


@pytest.mark.parametrize("rate", ["1e-3", -1.0, float("nan")])
def test_learning_rates_are_numbers(rows, rate):
    pipe = mm.Pipeline([mm.Tabular(numeric=["budget"])], mm.MultiLabel("genres"))
    with pytest.raises(
        ValueError,
        match="`learning_rate` must be a number of 0 or more, or a schedule. Received: .*Use for example 1e-3",
    ):
        pipe.fit(rows[0], learning_rate=rate)
    with pytest.raises(ValueError, match="`fine_tune_learning_rate` must be a number of 0"):
        pipe.fit(rows[0], fine_tune_learning_rate=rate)


def test_a_pipeline_shows_what_it_is_and_warns_of_its_target_among_the_columns():
    df = pd.DataFrame({"x": np.arange(10.0), "y": np.arange(10.0)})
    pipe = mm.Pipeline([mm.Tabular(numeric=["x", "y"])], mm.Regression("y"))
    assert repr(pipe) == "<Pipeline (tabular: Tabular) → Regression('y'), concat, not fitted>"
    with pytest.warns(UserWarning, match="The target 'y' is also read by a modality.*Take it out"):
        pipe.fit(df, validation_data=False, epochs=1, verbose=0)
    assert repr(pipe).endswith("concat, fitted>")


# === rows to predict, in any form ===


def test_rows_to_predict_may_have_other_columns_another_order_and_any_index(fitted, rows):
    df = rows[1].head(7)
    expected = fitted.predict(df)
    for index in (pd.RangeIndex(3, 10), list("abcdefg"), pd.date_range("2020-01-01", periods=7), [5] * 7):
        changed = df[df.columns[::-1]].assign(more=object()).set_index(pd.Index(index))
        got = fitted.predict(changed)
        assert got.index.equals(changed.index)
        np.testing.assert_array_equal(got.to_numpy(), expected.to_numpy())


@pytest.mark.parametrize("index", [pd.RangeIndex(0), pd.MultiIndex.from_arrays([[], []], names=["a", "b"])])
def test_no_rows_have_no_predictions_in_the_same_columns(fitted, rows, index):
    df = rows[1].head(3)
    none = df.head(0).set_index(index)
    one, empty = fitted.predict(df), fitted.predict(none)
    assert len(empty) == 0 and empty.index.equals(index)
    pd.testing.assert_series_equal(empty.dtypes, one.dtypes)
    labels = fitted.predict_labels(none)
    assert len(labels) == 0 and labels.dtype == fitted.predict_labels(df).dtype and labels.name == "genres"
    with pytest.raises(KeyError, match="needs the column 'runtime'"):
        fitted.predict(none.drop(columns="runtime"))


def test_many_rows_without_a_column_name_the_nearest(fitted, rows):
    many = pd.concat([rows[1]] * 5).rename(columns={"runtime": "runtimes"})
    assert len(many) > 100
    with pytest.raises(KeyError, match="needs the column 'runtime'.*'runtimes'"):
        fitted.predict(many)

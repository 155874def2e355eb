"""A fit succeeds or changes nothing; a loaded Pipeline learns anew; rows weigh as much as they are told to."""

import pathlib

import keras
import numpy as np
import pandas as pd
import pytest

import mmkeras as mm

QUICK = {"epochs": 2, "learning_rate": 1e-2, "verbose": 0}


def offers(count=60, seed=0, names=("cheap", "dear")):
    """Rows whose class is told by a number and a word."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    words = np.where(rng.random(count) < 0.5, "old lamp", "new chair")
    label = np.where(x + (words == "new chair") > 0.5, names[1], names[0])
    return pd.DataFrame({"x": x, "words": words, "label": label})


def pipeline(task=None, **settings):
    modalities = [mm.Tabular(numeric=["x"]), mm.Text("words", encoder="lexical")]
    return mm.Pipeline(modalities, task or mm.MultiClass("label"), units=8, **settings)


# === A fit that fails ===


class Interrupted(keras.callbacks.Callback):
    """Ctrl-C after the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        raise KeyboardInterrupt


def unwritable(folder):
    (folder / "file").write_text("no folder")
    return {"cache_dir": folder / "file" / "cache"}


FAILURES = {
    "the cache folder cannot be written": (unwritable, OSError, "needs a folder it can write to"),
    "a label is missing among the validation rows": (
        lambda folder: {"validation_data": offers(10).assign(label=[None, *["cheap"] * 9])}, ValueError, "must be known in every row"
    ),
    "Ctrl-C": (lambda folder: {"callbacks": [Interrupted()]}, KeyboardInterrupt, None),
    "Ctrl-C while it fine-tunes": (
        lambda folder: {"fine_tune_epochs": 1, "callbacks": [keras.callbacks.LambdaCallback(on_epoch_end=stop_in_the_third)]},
        KeyboardInterrupt, None,
    ),
    "a negative number of epochs": (lambda folder: {"fine_tune_epochs": -1}, ValueError, "`fine_tune_epochs` must be an int of 0 or more"),
    "weights that are no numbers": (lambda folder: {"sample_weight": "words"}, ValueError, "`sample_weight` must name a column of finite"),
    "a loss that nobody knows": (lambda folder: {"loss": "hinged"}, ValueError, "`loss` must be None, 'focal'"),
    "a class without a weight": (lambda folder: {"class_weight": {"none": 2.0}}, ValueError, "`class_weight` must be"),
}  # fmt: skip


def stop_in_the_third(epoch, logs):
    if epoch == 2:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def fitted():
    """A fitted Pipeline that every failing fit must leave as it is, and what it predicts and reports."""
    pipe, test = pipeline(), offers(20, seed=1)
    pipe.fit(offers(), **QUICK)
    pipe.notes.append("Mine.")
    facts = {
        "predictions": pipe.predict(test),
        "report": pipe.evaluate(test, verbose=0).to_frame(),
        "weights": [weight.numpy() for weight in pipe.model.weights],
        "head": pipe.head,
    }
    return pipe, test, facts


@pytest.mark.parametrize("failure", FAILURES)
def test_a_fit_that_fails_leaves_an_unfitted_pipeline_unfitted_and_a_fitted_one_as_it_was(failure, fitted, tmp_path):
    settings, error, message = FAILURES[failure]
    settings = settings(tmp_path)
    new = pipeline()
    with pytest.raises(error, match=message):
        new.fit(offers(seed=2), **{**QUICK, **settings})
    assert new.head is None and new.prepare is None and new.trunk is None and repr(new).endswith("not fitted>")
    assert new.task.classes is None and new.task.state is None
    with pytest.raises(ValueError, match="no model yet"):
        new.predict(offers(3))
    pipe, test, facts = fitted
    with pytest.raises(error, match=message):
        pipe.fit(offers(seed=2, names=("a", "b")), **{**QUICK, **settings})
    assert pipe.head is facts["head"] and pipe.task.classes == ("cheap", "dear") and pipe.notes == ["Mine."]
    for old, weight in zip(facts["weights"], pipe.model.weights, strict=True):
        np.testing.assert_array_equal(old, weight.numpy())
    pd.testing.assert_frame_equal(pipe.predict(test), facts["predictions"])
    pd.testing.assert_frame_equal(pipe.evaluate(test, verbose=0).to_frame(), facts["report"])


def test_a_corrupt_image_in_training_changes_nothing(tmp_path):
    df = mm.samples.entailment(24, 0, tmp_path)[["image_1", "label"]]
    pipe = mm.Pipeline([mm.Image("image_1", "scratch", image_size=(32, 32))], mm.MultiClass("label"), units=8)
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n no image")
    broken = df.copy()
    broken.loc[broken.index[5], "image_1"] = str(tmp_path / "cut.png")
    with pytest.raises(ValueError, match="'image_1' holds .*cut.png"):
        pipe.fit(broken, validation_data=False, **QUICK)
    assert pipe.head is None and repr(pipe).endswith("not fitted>")
    pipe.fit(df, validation_data=False, **QUICK)
    before = pipe.predict(df)
    with pytest.raises(ValueError, match="'image_1' holds .*cut.png"):
        pipe.fit(broken, validation_data=False, **QUICK)
    pd.testing.assert_frame_equal(pipe.predict(df), before)


def test_a_pipeline_that_was_interrupted_can_be_fitted_as_if_nothing_had_been(fitted):
    pipe = pipeline()
    with pytest.raises(KeyboardInterrupt):
        pipe.fit(offers(), **QUICK, callbacks=[Interrupted()])
    pipe.fit(offers(), **QUICK)
    _, test, facts = fitted
    pd.testing.assert_frame_equal(pipe.predict(test), facts["predictions"])


def test_a_second_fit_takes_the_place_of_the_first():
    pipe = mm.Pipeline([mm.Tabular(numeric=["x"])], mm.MultiClass("label"), units=8)
    for names, share in ((("cheap", "dear"), 0.3), (("a", "b"), 0.8)):
        df = offers(names=names)
        df["label"] = np.where(np.arange(60) < 60 * share, *names)
        pipe.fit(df, validation_data=False, **QUICK)
        assert tuple(pipe.predict(df)) == names and pipe.check_fitted().rivals == {}
        pipe.evaluate(df, verbose=0)
        np.testing.assert_allclose(pipe.check_fitted().rivals["label prior"].values, [share, 1 - share])


# === A loaded Pipeline learns anew ===


def test_a_loaded_pipeline_learns_new_classes_words_and_numbers_as_a_new_one_does(tmp_path):
    pipe = pipeline()
    pipe.fit(offers(), **QUICK)
    pipe.save(tmp_path / "model")
    loaded, fresh = mm.load(tmp_path / "model"), pipeline()
    new = offers(60, seed=3, names=("x", "y")).assign(words=lambda df: df["words"].str.replace("lamp", "table"))
    new["x"] = 100 + 10 * new["x"]
    for other in (loaded, fresh):
        other.fit(new, **QUICK)
    assert loaded.task.classes == fresh.task.classes == ("x", "y")
    words = [other.modalities[1].state["vectorizer"].get_vocabulary() for other in (pipe, loaded, fresh)]
    assert words[1] == words[2] and "table" in words[1] and "lamp" in words[0] and "lamp" not in words[1]
    pd.testing.assert_frame_equal(loaded.predict(new), fresh.predict(new))


def test_labels_that_a_loaded_pipeline_never_saw_are_learnt(tmp_path):
    df = offers().assign(label=lambda df: df["label"] + "|" + df["words"].str.split().str[0])
    pipe = pipeline(mm.MultiLabel("label"))
    pipe.fit(df, **QUICK)
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    assert loaded.thresholds.shape == (4,)
    loaded.fit(df.assign(label=df["label"] + "|late"), **QUICK, validation_data=False)
    assert loaded.task.classes == ("cheap", "dear", "late", "new", "old") and loaded.thresholds is None


def test_numbers_are_measured_anew(tmp_path):
    df = offers().assign(price=lambda df: df["x"])
    pipe = pipeline(mm.Regression("price"))
    pipe.fit(df, **QUICK)
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    loaded.fit(df.assign(price=1000 + 50 * df["x"]), **QUICK)
    assert loaded.task.mean == pytest.approx(1000, abs=30) and loaded.task.scale == pytest.approx(50, rel=0.4)
    assert pipe.task.mean == pytest.approx(0, abs=0.6)


@pytest.mark.parametrize(
    "task",
    [mm.MultiClass("label", classes=["dear", "cheap", "free"]), mm.MultiLabel("label", classes=["dear", "cheap"])],
)
def test_classes_that_the_user_wrote_stay(task, tmp_path):
    pipe = pipeline(task)
    pipe.fit(offers(), **QUICK)
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    more = offers(seed=2)
    if isinstance(task, mm.MultiLabel):
        more["label"] += "|late"
    loaded.fit(more, **QUICK, validation_data=False)
    assert loaded.task.classes == task.classes and list(loaded.predict(more)) == list(task.classes)


# === Weights of rows ===


def weighed(df, weights, **settings):
    """Predictions of a model that learnt from weighted rows."""
    pipe = pipeline()
    pipe.fit(
        df.assign(weight=weights), sample_weight="weight", validation_data=False, **{**QUICK, "epochs": 4, **settings}
    )
    return pipe.predict(offers(20, seed=1)).to_numpy()


def unweighed(df, **settings):
    pipe = pipeline()
    pipe.fit(df, validation_data=False, **{**QUICK, "epochs": 4, **settings})
    return pipe.predict(offers(20, seed=1)).to_numpy()


def test_equal_weights_are_no_weights():
    np.testing.assert_allclose(weighed(offers(), 1.0), unweighed(offers()), atol=1e-6)


def test_what_rows_of_no_weight_answer_does_not_matter():
    """The classes of two rows are exchanged: so the frequencies, which are learnt from all rows, stay."""
    df = offers()
    cheap, dear = df.index[df["label"] == "cheap"][:10], df.index[df["label"] == "dear"][:10]
    turned = df.copy()
    turned.loc[cheap, "label"], turned.loc[dear, "label"] = "dear", "cheap"
    weights = np.where(df.index.isin([*cheap, *dear]), 0.0, 1.0)
    np.testing.assert_allclose(weighed(df, weights), weighed(turned, weights), atol=1e-6)
    assert np.abs(weighed(df, 1.0) - weighed(turned, 1.0)).max() > 0.01
    assert np.abs(weighed(df, weights) - weighed(df, 1.0)).max() > 1e-3


def test_weights_of_rows_and_of_classes_multiply():
    df = offers()
    twice = np.where(df["label"] == "dear", 3.0, 1.0)
    by_class = unweighed(df, class_weight={"dear": 3.0})
    np.testing.assert_allclose(weighed(df, twice), by_class, atol=1e-6)
    assert np.abs(by_class - unweighed(df)).max() > 1e-3
    half = np.where(df["label"] == "dear", 1.5, 1.0)
    np.testing.assert_allclose(weighed(df, half, class_weight={"dear": 2.0}), by_class, atol=1e-6)


def test_weights_of_several_decisions_weigh_each():
    df = offers()
    history = {}
    for weight in (1.0, 2.0):
        pipe = mm.Pipeline(pipeline().modalities, mm.MultiClass("label"), "hybrid", units=8, dropout=0.0)
        # SGD that does not move: the loss of the first epoch is that of the start
        settings = {**QUICK, "epochs": 1, "learning_rate": 0.0, "validation_data": False, "optimizer": "sgd"}
        history[weight] = pipe.fit(df.assign(w=weight), sample_weight="w", **settings).history["loss"][0]
    assert history[2.0] == pytest.approx(2 * history[1.0], rel=1e-3)


@pytest.mark.parametrize(
    ("weights", "received"),
    [([np.nan], "nan"), ([-1.0], "-1"), ([np.inf], "inf"), (["much"], "'much'"), ([None], "None")],
)
def test_weights_that_cannot_be(weights, received):
    df = offers().assign(weight=pd.Series([*weights, *[1.0] * 59], dtype=object))
    with pytest.raises(
        ValueError, match=f"column of finite numbers of 0 or more, not all 0. Received: 'weight' .*{received}"
    ):
        pipeline().fit(df, sample_weight="weight", **QUICK)


def test_weights_of_nothing_and_of_no_column():
    with pytest.raises(ValueError, match="not all 0. Received: 'weight' with 0. Fill"):
        pipeline().fit(offers().assign(weight=0), sample_weight="weight", **QUICK)
    with pytest.raises(KeyError, match="needs the column 'wait'"):
        pipeline().fit(offers(), sample_weight="wait", **QUICK)


def test_validation_rows_need_no_weight():
    pipe = pipeline()
    history = pipe.fit(offers().assign(weight=2.0), offers(20, seed=1), sample_weight="weight", **QUICK).history
    assert len(history["val_loss"]) == 2


# === What belongs to the caller ===


def test_rows_that_the_caller_changes_afterwards_change_no_rival():
    test = offers(20, seed=1)
    tables = []
    for change in (False, True):
        df, validation = offers(), offers(20, seed=4)
        pipe = pipeline()
        pipe.fit(df, validation, **QUICK)
        if change:
            for rows in (df, validation):
                rows["label"] = "cheap"
                rows.loc[:, "words"] = "lost"
                rows.drop(columns="x", inplace=True)
        tables.append(pipe.evaluate(test, verbose=0).to_frame())
    pd.testing.assert_frame_equal(*tables)


def test_fit_changes_none_of_its_arguments():
    df, validation = offers().assign(w=1.0), offers(20, seed=4)
    modalities = [mm.Tabular(numeric=["x"]), mm.Text("words", encoder="lexical")]
    task, callbacks = mm.MultiClass("label"), []
    before = df.copy(deep=True), validation.copy(deep=True), list(modalities)
    pipe = mm.Pipeline(modalities, task, units=8)
    pipe.fit(df, validation, sample_weight="w", callbacks=callbacks, **QUICK)
    pd.testing.assert_frame_equal(df, before[0])
    pd.testing.assert_frame_equal(validation, before[1])
    assert modalities == before[2] and all(modality.state is None for modality in modalities)
    assert task.classes is None and task.state is None and callbacks == []


def test_the_cache_of_a_fit_that_failed_serves_the_next(tiny_bert, tmp_path, capsys):
    modalities = [mm.Text("words", encoder=str(tiny_bert), sequence_length=16)]
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"), units=8)
    settings = {**QUICK, "cache_dir": tmp_path / "cache", "verbose": 2}
    with pytest.raises(KeyboardInterrupt):
        pipe.fit(offers(), **settings, callbacks=[Interrupted()])
    assert "Encoding 2 rows of 'text'" in capsys.readouterr().out
    assert pathlib.Path(tmp_path / "cache" / "data.mdb").is_file()
    pipe.fit(offers(), **settings)
    assert "Encoding" not in capsys.readouterr().out

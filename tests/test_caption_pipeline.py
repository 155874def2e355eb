"""Captions through the Pipeline: what is learnt from, what is written, how it is judged, kept and served."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.batches import Order, batches
from mmkeras.data.targets import Sentences
from mmkeras.tasks import Caption

IMAGE = {"encoder": "scratch", "image_size": (32, 32), "pooling": None}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    df = mm.samples.captions(40, 0, tmp_path_factory.mktemp("scenes"))
    number = df["image"].factorize()[0]
    return df[number < 30], df[number >= 30]


@pytest.fixture(scope="module")
def fitted(scenes):
    pipe = mm.Pipeline([mm.Image("image", **IMAGE)], mm.Caption("caption", sequence_length=20), width=32, heads=4)
    pipe.history = pipe.fit(scenes[0], validation_data=0.2, epochs=2, verbose=0, learning_rate=5e-3)
    return pipe


def test_captions_of_one_image_are_taken_together():
    df = pd.DataFrame(
        {"photo": ["a", "b", "a", "c"], "words": ["one dog", ["two cats", "!"], "a dog", ""]}, index=[3, 5, 7, 9]
    )
    with pytest.warns(UserWarning, match="2 of 5 captions hold no word, and 1 of 3 images have no caption: left out"):
        grouped = Caption("words").group(df, ["photo"])
    assert grouped["words"].tolist() == [["one dog", "a dog"], ["two cats"]] and grouped.index.tolist() == [3, 5]
    assert df["words"][5] == ["two cats", "!"]  # the frame itself is left alone


def test_long_captions_are_cut_and_counted():
    df = pd.DataFrame({"photo": ["a", "b"], "words": ["one two three four", "one"]})
    task = Caption("words", sequence_length=4, min_count=1)
    grouped = task.group(df, ["photo"])
    with pytest.warns(UserWarning, match="1 of 2 captions have more than 2 words and are cut"):
        sentences = task.adapt(grouped).target(grouped)
    assert sentences.lengths.tolist() == [4, 3] and sentences.tokens[0, -1] == 3  # the end stays


@pytest.mark.parametrize(("cells", "message"), [
    (["", "..."], "must hold captions. Received: none with a word in 2 rows"),
    ([np.nan, None], "must hold captions. Received: none with a word"),
    (["fine", 7], "must be captions or lists of captions. Received: 7"),
    (["fine", 10**5000], "must be captions or lists of captions. Received: <int: Exceeds"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*hold no word")
def test_a_column_without_captions_is_refused(cells, message):
    with pytest.raises(ValueError, match=message):
        Caption("words").group(pd.DataFrame({"photo": ["a", "b"], "words": cells}), ["photo"])


@pytest.mark.parametrize(("settings", "message"), [
    ({"vocabulary_size": 4}, "`vocabulary_size` of `Caption` must be an int of at least 5. Received: 4"),
    ({"min_count": 0}, "`min_count` of `Caption` must be an int of at least 1"),
    ({"sequence_length": 2}, "must be an int of at least 3"),
    ({"decoding": {"method": "magic"}}, "`method` must be one of"),
    ({"decoding": {"method": "beam", "width": 3}}, "`decoding` takes the settings .* Received: 'width'"),
    ({"decoding": "beam"}, "`decoding` must be a dict of settings. Received: 'beam'"),
    ({"label_smoothing": 1.0}, r"must lie in \[0, 1\)"),
])  # fmt: skip
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        Caption("words", **settings)


def test_words_are_learnt_without_touching_an_image():
    df = pd.DataFrame({"photo": ["nowhere.jpg"] * 2, "words": ["a red dog", "a blue dog"]})
    task = Caption("words")
    assert task.adapt(task.group(df, ["photo"])).vocabulary[4:] == ("a", "dog")


def test_batches_are_as_long_as_their_longest_caption_and_hold_every_pair_once():
    tokens = np.array([[2, 4, 5, 6, 3], [2, 5, 3, 0, 0], [2, 4, 3, 0, 0], [2, 6, 3, 0, 0]], "int32")
    sentences = Sentences([["a", "b"], ["c"], ["d"]], tokens, "y")
    rows = {"x": np.array([10.0, 20.0, 30.0], "float32")}
    dataset = batches(rows, Order(3, target=sentences))  # three sentences; so two images
    made = [(*(x[key].numpy().tolist() for key in ("x", "y.row", "y.tokens")), y.numpy().tolist()) for x, y in dataset]
    assert made == [
        ([20, 30], [0, 1], [[2, 4], [2, 6]], [[4, 3], [6, 3]]),
        ([10], [0, 0], [[2, 4, 5, 6], [2, 5, 3, 0]], [[4, 5, 6, 3], [5, 3, 0, 0]]),
    ]


def test_weights_of_rows_weigh_each_of_their_captions():
    tokens = np.array([[2, 4, 3], [2, 5, 3], [2, 6, 3]], "int32")
    sentences = Sentences([["a", "b"], ["c"]], tokens, "y")
    dataset = batches({"x": np.arange(2.0)}, Order(4, target=sentences, weights=np.array([0.5, 2.0])))
    weights = {x["y.tokens"].numpy()[i, 1]: w for x, _, weight in dataset for i, w in enumerate(weight.numpy())}
    assert weights == {4: 0.5, 5: 0.5, 6: 2.0}


def test_captions_of_an_image_share_it_and_answer_as_if_alone(fitted):
    pipe = fitted
    rng = np.random.default_rng(0)
    batch = {
        key: rng.normal(size=(2, *tensor.shape[1:])).astype(tensor.dtype)
        for key, tensor in pipe.head.input.items()
        if not key.startswith("caption.")
    }
    batch = {key: np.ones_like(value) if key.endswith("present") else value for key, value in batch.items()}
    tokens = np.array([[2, 4, 5], [2, 6, 4], [2, 5, 5]], "int32")
    rows = np.array([0, 0, 1], "int32")
    together = pipe.head({**batch, "caption.tokens": tokens, "caption.row": rows})["caption"]
    for number, row in enumerate(rows):
        one = {key: value[row : row + 1] for key, value in batch.items()}
        alone = pipe.head({**one, "caption.tokens": tokens[number : number + 1], "caption.row": np.zeros(1, "int32")})
        np.testing.assert_allclose(alone["caption"][0], together[number], atol=1e-5)


def test_an_image_with_several_captions_costs_one_pass(scenes, tmp_path, capsys):
    pipe = mm.Pipeline(
        [mm.Image("image", "MobileNetV2", None, (32, 32), None)], mm.Caption("caption"), width=16, heads=2
    )
    pipe.fit(scenes[0], validation_data=False, epochs=1, verbose=2, cache_dir=tmp_path)
    assert "Encoding 30 rows" in capsys.readouterr().out
    assert pipe.encode.output["image"].dtype == "float16"  # half of the disk
    image = tf.constant([pathlib.Path(scenes[1]["image"].iloc[0]).read_bytes()])
    served = pipe.serving_model({"image": image})
    assert served["caption"].numpy()[0].decode() == pipe.predict(scenes[1].head(1))["caption"].iloc[0]


def test_training_watches_cider(fitted):
    history = fitted.history.history
    assert len(history["val_cider"]) == len(history["val_token_accuracy"]) == 2
    assert history["loss"][1] < history["loss"][0]


def test_early_stopping_can_follow_cider(scenes):
    pipe = mm.Pipeline([mm.Image("image", **IMAGE)], mm.Caption("caption"), width=16, heads=2)
    stop = keras.callbacks.EarlyStopping("val_cider", mode="max", patience=0, min_delta=99.0)
    history = pipe.fit(scenes[0], validation_data=0.2, epochs=5, verbose=0, callbacks=[stop])
    assert len(history.epoch) == 2


def test_predictions_do_not_depend_on_the_batch(fitted, scenes):
    test = scenes[1].drop_duplicates("image")
    found = fitted.predict(test)
    assert list(found) == ["caption", "score"] and found.index.equals(test.index)
    for row in range(3):
        alone = fitted.predict(test.iloc[[row]])
        assert alone["caption"].iloc[0] == found["caption"].iloc[row]
        np.testing.assert_allclose(alone["score"], found["score"].iloc[row], atol=1e-4)
    assert fitted.predict_labels(test).tolist() == found["caption"].tolist()


def test_the_report_has_scores_baselines_and_a_gallery(fitted, scenes, tmp_path):
    report = fitted.evaluate(scenes[1], verbose=0)
    assert report.rows == 10 and report.primary == "cider"
    assert set(report.metrics) - {"meteor"} == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
    assert ("meteor" in report.metrics) == any(note.startswith("METEOR is that of nltk") for note in report.notes)
    assert set(report.baselines.index) == {"most frequent caption", "nearest training image"}
    assert report.gallery["score"].is_monotonic_decreasing and len(report.gallery["references"][0]) == 5
    html = report.to_html(tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<figure>") == 10 and "data:image/jpeg;base64" in html and "Worst captions" in html
    with pytest.raises(ValueError, match="must hold captions. Received: none with a word in 50 rows"), pytest.warns():
        fitted.evaluate(scenes[1].assign(caption=""))
    with pytest.raises(KeyError, match="caption"):
        fitted.evaluate(scenes[1].drop(columns="caption"))


def test_images_without_references_are_left_out_of_the_report(fitted, scenes):
    rows = fitted.task.group(scenes[1], ["image"]).head(3)
    rows["caption"] = [rows["caption"].iloc[0], [], None]
    with pytest.warns(UserWarning, match="2 of 3 images have no caption: left out"):
        assert fitted.evaluate(rows).rows == 1


def test_saved_models_write_the_same(fitted, scenes, tmp_path):
    report = fitted.evaluate(scenes[1], verbose=0)
    fitted.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    pd.testing.assert_frame_equal(loaded.predict(scenes[1]), fitted.predict(scenes[1]), atol=1e-5)
    pd.testing.assert_frame_equal(loaded.evaluate(scenes[1]).to_frame(), report.to_frame(), atol=1e-5)


def test_served_model_in_a_fresh_process_writes_the_same(fitted, scenes, tmp_path):
    fitted.export(tmp_path / "served")
    test = scenes[1].drop_duplicates("image")
    code = (
        "import sys, tensorflow as tf; folder, *files = sys.argv[1:]; served = tf.saved_model.load(folder); "
        "x = {'image': tf.constant([open(f, 'rb').read() for f in files])}; "
        "[print(t.decode()) for f in (served.serve, served.serve_greedy) for t in f(x)['caption'].numpy()]"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "served"), *test["image"]]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    greedy = mm.generate(fitted, test, method="greedy").texts
    assert printed == [*fitted.predict(test)["caption"], *greedy]


def test_generate_takes_paths_bytes_and_settings(fitted, scenes, tmp_path):
    paths = list(scenes[1]["image"].unique()[:2])
    found = mm.generate(fitted, paths, method="beam", beam_width=2)
    again = mm.generate(fitted, [pathlib.Path(path).read_bytes() for path in paths], method="beam", beam_width=2)
    assert found.texts == again.texts and found.grid == (2, 2)
    assert mm.plot_attention(found, 0, paths[0], tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="`image` must be an image file, or its bytes. Received: 'none.jpg'"):
        mm.plot_attention(found, 0, "none.jpg", tmp_path / "b.png")
    with pytest.raises(ValueError, match="`beam_width` must be an int of at least 1. Received: 0"):
        mm.generate(fitted, paths, method="beam", beam_width=0)
    other = mm.Pipeline([mm.Tabular(numeric=["x"])], mm.Regression("y"))
    with pytest.raises(ValueError, match="The Pipeline has no model yet"):
        mm.generate(other, paths)


def test_a_corrupt_image_is_named_or_counts_as_missing(fitted, scenes, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff no image")
    test = scenes[1].drop_duplicates("image").head(3).reset_index(drop=True)
    broken = test.copy()
    broken.loc[1, "image"] = str(tmp_path / "cut.jpg")
    with pytest.raises(ValueError, match="row 1 of 'image' holds .*cut.jpg"):
        fitted.predict(broken)
    modality = mm.Image("image", on_error="missing", **IMAGE)
    pipe = mm.Pipeline([modality], mm.Caption("caption"), width=16, heads=2)
    pipe.fit(scenes[0], validation_data=False, epochs=1, verbose=0)
    whole = pipe.predict(test)
    with pytest.warns(UserWarning, match="1 of 3 images count as missing"):
        part = pipe.predict(broken)
    assert part["caption"].iloc[[0, 2]].tolist() == whole["caption"].iloc[[0, 2]].tolist()
    with pytest.warns(UserWarning, match="count as missing"):
        assert "1 of 3 images in 'image' could not be read" in str(pipe.evaluate(broken))


# === Images and words together ===


@pytest.fixture(scope="module")
def with_titles(scenes):
    """A Pipeline that reads a title beside the image; the title tells the first word of each caption."""
    train, test = (rows.assign(title=lambda df: df["caption"].str.split().str[0]) for rows in scenes)
    modalities = [mm.Image("image", **IMAGE), mm.Text("title", encoder="lexical", name="text")]
    task = mm.Caption("caption", sequence_length=20, decoding={"method": "greedy"})
    pipe = mm.Pipeline(modalities, task, width=32, heads=4)
    train = train.drop_duplicates("image")
    pipe.fit(train, validation_data=False, epochs=12, verbose=0, learning_rate=1e-2, batch_size=8)
    return pipe, train, test.drop_duplicates("image").reset_index(drop=True)


def test_absent_modalities_are_heeded_for_captions(with_titles):
    """A row for each subset; each is what the model writes where the other cells are empty."""
    pipe, _, test = with_titles
    report = pipe.evaluate(test, verbose=0, missing=True)
    assert list(report.missing.index) == ["image + text", "image", "text"]
    assert report.missing.loc["image + text", "cider"] == report.metrics["cider"]
    whole = pipe.predict(test)
    for name, rows in (("image", test.assign(title="")), ("text", test.assign(image=None))):
        blank = pipe.predict(rows)
        assert np.abs(blank["score"] - whole["score"]).max() > 1e-3
        scores = mm.score_captions(list(blank["caption"]), [[text] for text in test["caption"]])
        for metric, value in scores.metrics.items():
            assert report.missing.loc[name, metric] == pytest.approx(value, abs=1e-6), (name, metric)
    fitted = pipe.check_fitted()
    told = {}
    for absent in ((), ("image",), ("text",)):
        told[absent] = fitted.task.predict(fitted.trunk.runner(test, absent=absent), fitted.head)["score"]
    for one_side, other in (((), ("image",)), ((), ("text",)), (("image",), ("text",))):
        assert np.abs(told[one_side] - told[other]).max() > 1e-3
    np.testing.assert_allclose(told[("text",)], pipe.predict(test.assign(title=""))["score"], atol=1e-4)


def test_subgroups_of_captions_are_those_of_their_images(with_titles):
    pipe, _, test = with_titles
    test = test.assign(half=["first"] * 6 + ["second"] * (len(test) - 6))
    groups = pipe.evaluate(test, verbose=0, by="half").groups
    assert groups["rows"].tolist() == [6, len(test) - 6]
    for half in ("first", "second"):
        texts = list(pipe.predict(test[test["half"] == half])["caption"])
        references = [[text] for text in test["caption"][test["half"] == half]]
        bleu = mm.score_captions(texts, references).metrics["bleu_1"]
        assert groups.loc[half, "bleu_1"] == pytest.approx(bleu, abs=1e-6)


def test_embeddings_of_captions_are_the_mean_of_the_patches(with_titles):
    pipe, _, test = with_titles
    embedded = mm.embed(pipe, test)
    assert embedded.shape == (len(test), 32)
    np.testing.assert_allclose(mm.embed(pipe, test.iloc[::-1]), embedded[::-1], atol=1e-5)
    assert np.abs(mm.embed(pipe, test.assign(title="")) - embedded).max() > 1e-3


def test_a_loaded_pipeline_learns_a_new_vocabulary_where_the_user_wrote_none(with_titles, tmp_path):
    pipe, train, _ = with_titles
    pipe.save(tmp_path / "model")
    loaded = mm.load(tmp_path / "model")
    assert loaded.task.vocabulary == pipe.task.vocabulary
    new = train.head(8).assign(caption=["zebra eats grass", "zebra eats bread"] * 4)
    loaded.fit(new, validation_data=False, epochs=1, verbose=0)
    assert set(loaded.task.vocabulary[4:]) == {"zebra", "eats", "grass", "bread"}
    words = tuple(pipe.task.vocabulary)
    written = mm.Pipeline(pipe.modalities, mm.Caption("caption", vocabulary=words), width=16, heads=2)
    written.fit(new, validation_data=False, epochs=1, verbose=0)
    written.save(tmp_path / "written")
    again = mm.load(tmp_path / "written")
    again.fit(new, validation_data=False, epochs=1, verbose=0)
    assert again.task.vocabulary == words


def test_a_fit_of_captions_that_fails_changes_nothing(with_titles, tmp_path):
    pipe, train, test = with_titles
    before, head = pipe.predict(test), pipe.head
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff no image")
    broken = train.assign(image=[str(tmp_path / "cut.jpg"), *train["image"][1:]])
    stop = keras.callbacks.LambdaCallback(on_epoch_end=interrupt)
    for rows, error, settings in ((broken, ValueError, {}), (train, KeyboardInterrupt, {"callbacks": [stop]})):
        with pytest.raises(error):
            pipe.fit(rows, validation_data=False, epochs=1, verbose=0, **settings)
        assert pipe.head is head
        pd.testing.assert_frame_equal(pipe.predict(test), before)


def interrupt(epoch, logs):
    raise KeyboardInterrupt

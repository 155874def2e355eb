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
from mmkeras.__main__ import main
from mmkeras.data.batches import batches
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
        sentences = task.adapt(grouped).encode(grouped)
    assert sentences.lengths.tolist() == [4, 3] and sentences.tokens[0, -1] == 3  # the end stays


@pytest.mark.parametrize(("cells", "message"), [
    (["", "..."], "must hold captions. Received: none with a word in 2 rows"),
    ([np.nan, None], "must hold captions. Received: none with a word"),
    (["fine", 7], "must be captions or lists of captions. Received: 7"),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*hold no word")
def test_a_column_without_captions_is_refused(cells, message):
    with pytest.raises(ValueError, match=message):
        Caption("words").group(pd.DataFrame({"photo": ["a", "b"], "words": cells}), ["photo"])


@pytest.mark.parametrize(("settings", "message"), [
    ({"vocabulary_size": 4}, "`vocabulary_size` of `Caption` must be an int of at least 5. Received: 4"),
    ({"min_count": 0}, "`min_count` of `Caption` must be an int of at least 1"),
    ({"sequence_length": 2}, "must be an int of at least 3"),
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
    sentences = Sentences(np.array([0, 0, 1, 2]), tokens, "y")
    rows = {"x": np.array([10.0, 20.0, 30.0], "float32")}
    dataset, _ = batches(rows, sentences, batch_size=3)  # of sentences; so two images
    found = [(*(x[key].numpy().tolist() for key in ("x", "y.row", "y.tokens")), y.numpy().tolist()) for x, y in dataset]
    assert found == [
        ([20, 30], [0, 1], [[2, 4], [2, 6]], [[4, 3], [6, 3]]),
        ([10], [0, 0], [[2, 4, 5, 6], [2, 5, 3, 0]], [[4, 5, 6, 3], [5, 3, 0, 0]]),
    ]


def test_captions_of_an_image_share_it_and_answer_as_if_alone(fitted):
    pipe = fitted[0] if isinstance(fitted, tuple) else fitted
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
    report = fitted.evaluate(scenes[1])
    assert report.rows == 10 and report.primary == "cider"
    assert set(report.metrics) == {"bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider"}
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
    report = fitted.evaluate(scenes[1])
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


def test_captions_from_the_command_line(tmp_path, capsys):
    assert main(["quickstart", "--task", "captions", "--out", str(tmp_path / "q"), "--rows", "40"]) == 0
    printed = capsys.readouterr().out
    assert "all right in" in printed and (tmp_path / "q/attention.png").is_file()
    image = str(next((tmp_path / "q/images").iterdir()))
    assert main(["caption", str(tmp_path / "q"), image, "--method", "greedy"]) == 0
    assert capsys.readouterr().out.startswith(f"{image}: ")
    assert main(["caption", str(tmp_path / "q"), "none.jpg"]) == 2
    assert "none.jpg" in capsys.readouterr().err

"""Several files in a cell: one tower for each of them, and the mean over those that are there."""

import argparse
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data import file_lists, files
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.data.file_lists import FileLists
from mmkeras.data.images import ImageColumn
from mmkeras.data.sample import Sample
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.openapi import row_schema
from mmkeras.serving.requests import Reader, parsed
from mmkeras.trunk import attached
from mmkeras.trunk.trunk import Trunk

COLOURS = [10, 60, 110, 160, 210, 250]
QUICK = {"epochs": 1, "verbose": 0, "validation_data": False}


def drawn(colour, side=12):
    return tf.io.encode_png(np.full((side, side, 3), colour, "uint8")).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of pictures of one grey each, and a network that sees how light they are: (light, light²)."""
    folder = tmp_path_factory.mktemp("several")
    for colour in COLOURS:
        (folder / f"{colour}.png").write_bytes(drawn(colour))
    (folder / "broken.png").write_bytes(drawn(7)[:-30])
    pixels = keras.Input((8, 8, 3))
    light = keras.layers.GlobalAveragePooling2D()(pixels)
    layer = keras.layers.Dense(2, use_bias=False)
    model = keras.Model(pixels, layer(light))
    layer.set_weights([np.array([[0.01, -0.02], [0.0, 0.0], [0.0, 0.0]], "float32")])
    model.save(folder / "light.keras")
    return folder


@pytest.fixture
def path(folder):
    return lambda colour: str(folder / f"{colour}.png")


def frame(*cells, **columns):
    return pd.DataFrame({"photos": pd.Series(list(cells), dtype=object), **columns})


def image(folder, **settings):
    return mm.Image("photos", encoder=str(folder / "light.keras"), image_size=(8, 8), **settings)


def features(modality, df, learnt_from=None, **settings):
    """(rows, D) features, and (rows,) whether there are any, by a frozen tower and its cache."""
    trunk = Trunk([modality.adapt(df if learnt_from is None else learnt_from)], engine="tensorflow", **settings)
    values = trunk.features(df)
    return values["image"], values["image.present"][:, 0]


def light(*colours):
    """The features of grey pictures, by hand."""
    return np.mean([[0.01 * colour, -0.02 * colour] for colour in colours], axis=0)


def test_a_row_has_the_mean_of_its_files_and_one_without_any_is_missing(folder, path):
    data = (folder / "60.png").read_bytes()
    cells = [[path(10), path(60), path(250)], [path(60)], [], None, (path(110), None, ""), np.array([path(10)], object),
             [float("nan")], data, [data, pathlib.Path(path(160))]]  # fmt: skip
    got, present = features(image(folder), frame(*cells))
    wanted = [light(10, 60, 250), light(60), [0, 0], [0, 0], light(110), light(10), [0, 0], light(60), light(60, 160)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert present.tolist() == [1, 1, 0, 0, 1, 1, 0, 1, 1]


def test_the_order_of_files_does_not_matter_and_a_file_that_comes_twice_counts_twice(folder, path):
    got, _ = features(image(folder), frame([path(10), path(60)], [path(60), path(10)], [path(10), path(10), path(60)]))
    np.testing.assert_allclose(got, [light(10, 60), light(60, 10), light(10, 10, 60)], atol=1e-5)


def test_a_separator_tells_the_paths_of_a_cell(folder, path):
    cells = [f"{path(10)}|{path(60)}", f" {path(110)} ||", "", [path(10), path(250)], "|"]
    got, present = features(image(folder, separator="|"), frame(*cells))
    np.testing.assert_allclose(got, [light(10, 60), light(110), [0, 0], light(10, 250), [0, 0]], atol=1e-5)
    assert present.tolist() == [1, 1, 0, 1, 0]
    mm.testing.check_modality(image(folder, separator="|"), frame(*[f"{path(c)}|{path(10)}" for c in COLOURS] * 2))


def test_the_command_line_says_what_stands_between_the_paths_of_a_cell(folder, path):
    parser = argparse.ArgumentParser()
    mm.Image.add_options(parser)
    options = ["--image", "photos", "--image-encoder", "scratch", "--image-separator", "|"]
    (photos,) = mm.Image.from_options(parser.parse_args(options))
    assert photos.separator == "|" and photos.several
    assert raw_values(frame(f"{path(10)}|{path(60)}", path(250)), [photos])["photos"].count == 3


@pytest.mark.parametrize("trainable", [False, True])
def test_one_row_equals_the_row_in_any_batch(folder, path, trainable):
    df = frame([path(10), path(60), path(250)], [], [path(60)], [path(110), path(160), path(10), path(210)])
    trunk = Trunk([image(folder, trainable=trainable).adapt(df)], engine="tensorflow")
    whole = trunk.features(df)["image"]
    alone = np.concatenate([trunk.features(df.iloc[[row]])["image"] for row in range(len(df))])
    np.testing.assert_allclose(alone, whole, atol=1e-6)
    assert (whole[1] == 0).all() and np.abs(whole[[0, 2, 3]]).max(axis=1).all()


def test_every_distinct_file_is_read_and_encoded_once(folder, path, monkeypatch):
    (folder / "other.png").write_bytes((folder / "60.png").read_bytes())  # the same picture by another name
    df = frame([path(10), path(60)], [path(60), path(110)], [str(folder / "other.png")], [path(10)] * 3, None)
    passes, reads = [], []
    encode, read = attached.encode_rows, files.read
    monkeypatch.setattr(attached, "encode_rows", lambda store, tower, own, keys, **how: passes.append(
        len(store.missing([tower.fingerprint + key for key in keys]))) or encode(store, tower, own, keys, **how))  # fmt: skip
    monkeypatch.setattr(files, "read", lambda cell, *most: reads.append((cell, *most)) or read(cell, *most))
    trunk = Trunk([image(folder).adapt(df)], engine="tensorflow")
    first = trunk.features(df)["image"]
    assert passes == [4]  # three pictures, and none
    assert not [cell for cell, *most in reads if not most and cell == path(160)]
    assert max(sum(own == (path(c),) for own in reads) for c in (10, 60, 110)) <= 1
    again = trunk.features(df.iloc[::-1])["image"]
    assert passes == [4, 0]
    np.testing.assert_array_equal(again[::-1], first)


@pytest.fixture
def broken_rows(folder, path):
    return frame([path(10), str(folder / "broken.png"), path(60)], [str(folder / "broken.png")], [path(110)])


def test_a_broken_file_is_left_out_and_the_others_stay(folder, broken_rows):
    modality = image(folder, on_error="missing")
    with pytest.warns(UserWarning, match="2 of 5 images count as missing: row 0 of 'photos' holds .*broken.png"):
        got, present = features(modality, broken_rows)
    np.testing.assert_allclose(got, [light(10, 60), [0, 0], light(110)], atol=1e-5)
    assert present.tolist() == [1, 0, 1]
    told = modality.adapt(broken_rows).notes(broken_rows)
    assert told == ["2 of 5 images in 'photos' could not be read and counted as missing."]


def test_a_file_that_breaks_in_the_pass_is_left_out_too(folder, path, monkeypatch):
    whole = tf.io.encode_jpeg(np.random.default_rng(0).integers(0, 255, (40, 40, 3), "uint8")).numpy()
    cut = whole[: len(whole) // 2] + b"\xff\xd9"  # it begins and ends as a JPEG does
    df = frame([path(10), cut, path(60)], [cut], [path(110)])
    with pytest.warns(UserWarning, match="2 of 5 images count as missing"):
        got, present = features(image(folder, on_error="missing"), df)
    np.testing.assert_allclose(got, [light(10, 60), [0, 0], light(110)], atol=1e-5)
    assert present.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("cells", "settings", "message"),
    [
        (["10", ["10", "gone"]], {}, r"row 1 of 'photos' holds '.*gone.png': .*no file.*1 of 3 cells"),
        (["10", ["10", "broken"]], {}, "row 1 of 'photos' holds '.*broken.png'"),
        ([["10"] * 3, ["10"]], {"max_files": 2}, "may hold 2 files. Received: 3 in row 0 of 'photos'; 1 of 2 cells"),
        ([["10"]], {"pooling": None}, r"read by an `Image` of one column, and pooled.*pooling=None. Use pooling='avg'"),
        ([[["10"]]], {}, "must be paths or bytes of image files, or empty. Received: list"),
    ],
)
def test_errors_name_row_and_file(folder, path, cells, settings, message):
    def full(cell):
        return [full(each) for each in cell] if isinstance(cell, list) else path(cell)

    with pytest.raises((ValueError, FileNotFoundError, TypeError), match=message):
        features(image(folder, **settings), frame(*map(full, cells)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"separator": ""}, "`separator` must be a str such as '|', or None. Received: ''"),
        ({"separator": "|", "pooling": None}, "pooling=None. Use pooling='avg'"),
        ({"separator": "|", "columns": ["a", "b"]}, r"columns=\['a', 'b'\].*Give each column an `Image` of its own"),
        ({"max_files": 0}, "`max_files` must be an int of at least 1. Received: 0"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        mm.Image(**{"columns": "photos", "encoder": "scratch", **settings})


def test_a_model_of_single_images_refuses_several(folder, path):
    single, several = frame(path(10), path(60)), frame([path(110)], [path(10), path(60)])
    with pytest.raises(ValueError, match="must hold one image, as in the rows that were .* 2 in row 1 of 'photos'"):
        features(image(folder), several, learnt_from=single)
    got, _ = features(image(folder), frame([path(110)], [None]), learnt_from=single)
    np.testing.assert_allclose(got, [light(110), [0, 0]], atol=1e-5)
    got, _ = features(image(folder), single, learnt_from=several)
    np.testing.assert_allclose(got, [light(10), light(60)], atol=1e-5)


def test_rows_have_equal_keys_where_their_files_are_equal(folder, path):
    df = frame([path(10), path(60)], [path(60), path(10)], [path(10), None, path(60)], [path(10)])
    modality = image(folder).adapt(df)
    keys = row_keys(modality, raw_values(df, [modality]))
    assert keys[0] == keys[2] and len(set(keys)) == 3


def test_layers_by_hand():
    there = np.array([[1, 0, 1], [0, 0, 0]], "float32")
    values = np.arange(12.0).reshape(2, 3, 2)
    taken = mm.layers.TakeFiles()(values, there)
    np.testing.assert_array_equal(taken, [[0, 1], [4, 5]])
    placed = mm.layers.PlaceFiles()(taken, there)
    np.testing.assert_array_equal(placed, [[[0, 1], [0, 0], [4, 5]], [[0, 0]] * 3])
    np.testing.assert_array_equal(mm.layers.MeanOfFiles()(placed, there), [[2, 3], [0, 0]])
    nothing = mm.layers.TakeFiles()(values, 0 * there)
    assert nothing.shape == (1, 2)  # no empty batch
    np.testing.assert_array_equal(mm.layers.PlaceFiles()(nothing, 0 * there), np.zeros((2, 3, 2)))


@pytest.fixture(scope="module")
def rows(folder):
    rng = np.random.default_rng(0)
    counts = [3, 1, 0, 2, 1, 4] * 5
    cells = [[str(folder / f"{c}.png") for c in rng.choice(COLOURS, count)] for count in counts]
    return frame(*cells, price=[float(np.mean([int(pathlib.Path(p).stem) for p in c] or 0)) for c in cells])


@pytest.fixture(scope="module", params=["frozen", "trained"])
def pipe(request, folder, rows):
    modality = image(folder) if request.param == "frozen" else mm.Image("photos", "scratch", image_size=(16, 16))
    pipe = mm.Pipeline([modality], mm.Regression("price"), units=8)
    pipe.fit(rows, **QUICK)
    return pipe


def test_saved_and_served_models_take_any_number_of_files(pipe, rows, path, tmp_path):
    more = pd.concat([rows.head(6), frame([path(10)] * 9)], ignore_index=True)  # more than any row had
    wanted = pipe.predict(more)["price"].to_numpy()
    pipe.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(more)["price"], wanted, rtol=1e-5)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served")
    data = [[pathlib.Path(file).read_bytes() for file in cell] for cell in more["photos"]]
    padded = tf.ragged.constant(data).to_tensor(default_value=b"")
    np.testing.assert_allclose(np.ravel(served.serve({"photos": padded})["price"]), wanted, rtol=1e-5)
    for row in (1, 2, 6):
        alone = pipe.predict(more.iloc[[row]])["price"].to_numpy()
        np.testing.assert_allclose(alone, wanted[row], rtol=1e-5)


def test_a_report_shows_the_first_file_and_counts_broken_ones(folder, path, tmp_path):
    df = frame(*[[path(c), str(folder / "broken.png")] for c in COLOURS] * 2, y=np.arange(12.0))
    pipe = mm.Pipeline([image(folder, on_error="missing")], mm.Regression("y"), units=4)
    with pytest.warns(UserWarning, match="count as missing"):
        pipe.fit(df, **QUICK)
        report = pipe.evaluate(df)
    assert "12 of 24 images in 'photos' could not be read" in str(report)
    assert report.examples["photos"].tolist() == [path(c) for c in COLOURS] * 2


def test_suggest_sees_lists_and_joined_names(folder, path):
    rng = np.random.default_rng(1)
    picks = [rng.choice(COLOURS, rng.integers(1, 4)) for _ in range(40)]
    df = pd.DataFrame({
        "list": [[path(c) for c in pick] for pick in picks],
        "joined": ["; ".join(path(c) for c in pick) for pick in picks],
        "alone": [path(pick[0]) for pick in picks],
        "price": [float(np.mean(pick)) + rng.normal() for pick in picks],
    })  # fmt: skip
    suggestion = mm.suggest(df, "price")
    assert (suggestion.columns["kind"][["list", "joined", "alone"]] == "image").all()
    assert "lists of pictures" in suggestion.columns["why"]["list"]
    read = {modality.columns: modality.separator for modality in suggestion.modalities}
    assert read == {("list",): None, ("joined",): ";", ("alone",): None}
    assert 'separator=";"' in suggestion.code
    assert len({modality.name for modality in suggestion.modalities}) == 3


@pytest.mark.parametrize("cells", [[[1.0, 2.0]] * 4, [["a", "b"], ["c"]], [["gone.png"], ["b.png"]], ["a.png|b.png"]])
def test_nothing_else_is_claimed(cells):
    assert ImageColumn().claim(Sample(pd.Series(cells, dtype=object))) is None


def test_requests_hold_lists_of_pictures():
    b64 = {"b64": "R0lGOA=="}
    columns = {"photos": ImageColumn(several=True)}
    body = b'{"instances": [{"photos": [{"b64": "R0lGOA=="}, null]}, {"photos": {"b64": "R0lGOA=="}}, {}]}'
    cells = Reader(columns).json(parsed(body))
    assert cells.cells["photos"] == [[b"GIF8", None], b"GIF8", None]
    with pytest.raises(Refused) as refused:
        Reader(columns).json(parsed(b'{"instances": [{"photos": [["a"]]}]}'))
    assert 'a picture as {"b64": "…"}, a list of those, or null. Received: a list' in refused.value.sentence
    with pytest.raises(Refused) as refused:
        Reader({"photos": ImageColumn()}).json(parsed(b'{"instances": [{"photos": [{"b64": "R0lGOA=="}]}]}'))
    assert 'a picture as {"b64": "…"}, or null. Received: a list' in refused.value.sentence
    one, several = row_schema(columns, Limits())["properties"]["photos"]["anyOf"]
    assert several == {"type": "array", "items": one} and list(one["properties"]) == list(b64)


def test_files_are_taken_apart_row_by_row():
    lists = FileLists([[b"a", None, b"b"], None, b"c", []], np.arange(4), "photos", len)
    assert len(lists) == 4 and lists.shape == (4, None) and lists.count == 3
    np.testing.assert_array_equal(np.asarray(lists), [[b"a", b"b"], [b"", b""], [b"c", b""], [b"", b""]])
    np.testing.assert_array_equal(np.asarray(lists[[2, 1]]), [[b"c"], [b""]])
    np.testing.assert_array_equal(np.asarray(lists[2:][np.array([0])]), [[b"c"]])
    np.testing.assert_array_equal(np.asarray(lists.marks()[[0, 1]]), [[b"file", b"file"], [b"", b""]])
    parts, counts = lists.parts()
    assert np.asarray(parts).tolist() == [b"a", b"b", b"", b"c", b""] and counts.tolist() == [2, 1, 1, 1]
    assert file_lists.files_of({"a": 1}.keys(), "photos") == ["a"]

"""Cells that are made to hurt: how large, long and deep they may be, and what is told of them."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.cli.predictions import write_predictions
from mmkeras.data.categories import spelled
from mmkeras.data.check import check_columns
from mmkeras.data.splits import split_frame
from mmkeras.data.telling import clean, shortened
from mmkeras.evaluation.figures import label, new_figure
from mmkeras.evaluation.pages import html_image, read_pixels
from mmkeras.fitting.recipe import _weights

NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), "uint8")


def jpeg(pixels, **settings):
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


def gif(extensions):
    head = b"GIF89a" + struct.pack("<HH", 1, 1) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return head + extensions + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00;"


def png(side):
    """A grey PNG, which is small in its file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\x80" * side) * side)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def scans(times):
    """A progressive JPEG whose last scan comes several times more."""
    data = jpeg(NOISE, progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + b"\xff\xd9"


def faults(cells, **settings):
    image = mm.Image("photo", "scratch", on_error="missing", **settings)
    with pytest.warns(UserWarning, match="count as missing") as told:
        files = image.raw_values(pd.DataFrame({"photo": pd.Series(cells, dtype=object)}))["photo"]
        files.examine()
    return files.faulty, " ".join(str(warning.message) for warning in told)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gif(b"\x21\xfe\x00" * 1_000_000), "at most 10000 blocks up to the end of its first frame. Received: more"),
        (gif(b"\x21\xfe" + b"\1a" * 1_000_000 + b"\0"), "at most 10000 blocks"),
        (scans(500), r"at most 32 scans. Received: 5\d\d. Save it anew"),
        (png(20_000), "at most 100000000 pixels"),
    ],
    ids=["empty blocks", "short blocks", "scans", "inflates"],
)
def test_pictures_made_to_hurt_are_refused_before_they_are_decoded(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        mm.layers.DecodeImage((8, 8))(tf.constant([data]))


def test_usual_numbers_of_blocks_and_scans_are_read():
    decode = mm.layers.DecodeImage((8, 8))
    assert decode(tf.constant([gif(b"\x21\xfe\x00" * 9_000), scans(10)])).shape == (2, 8, 8, 3)


def test_limits_are_settings_that_reach_the_graph():
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 3 scans"):
        mm.layers.DecodeImage((8, 8), max_scans=3)(tf.constant([scans(0)]))
    assert faults([scans(0), jpeg(NOISE)], max_scans=3)[0] == 1
    assert faults([gif(b"\x21\xfe\x00" * 20), gif(b"")], max_blocks=5)[0] == 1
    assert faults([png(30), png(3)], max_pixels=100)[0] == 1
    decode = mm.layers.DecodeImage((8, 8), max_pixels=64 * 64)
    assert decode(tf.constant([scans(2)])).shape == (1, 8, 8, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 3780 pixels .* Received: 64 × 64"):
        decode(tf.constant([scans(3)]))
    faulty, told = faults([jpeg(NOISE), png(3)], max_bytes=100)
    assert faulty == 1
    assert "more than `max_bytes`, 100" in told
    layer = mm.layers.DecodeImage((8, 8), max_scans=3, max_blocks=4)
    again = mm.layers.DecodeImage.from_config(layer.get_config())
    assert (again.max_scans, again.max_blocks) == (3, 4)
    with pytest.raises(ValueError, match="`max_scans` must be an int of at least 1. Received: 0"):
        mm.Image("photo", "scratch", max_scans=0)


def test_features_keep_their_keys_under_the_usual_limits():
    assert not {"max_scans", "max_blocks"} & set(mm.layers.DecodeImage((8, 8)).get_config())


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("settings", [{}, {"subsampling": 0}, {"restart_marker_blocks": 2}])
def test_a_jpeg_that_was_cut_and_given_an_end_is_refused(share, settings):
    data = jpeg(NOISE, **settings)
    with pytest.raises(tf.errors.InvalidArgumentError, match="A JPEG must be whole. Received: one whose data ends"):
        mm.layers.DecodeImage((64, 64))(tf.constant([data[: int(len(data) * share)] + b"\xff\xd9"]))


def test_grey_corners_of_whole_jpegs_are_read():
    grey = np.full((64, 64, 3), 128, "uint8")
    grey[:40] = NOISE[:40]
    files = [jpeg(grey), jpeg(grey, progressive=True), jpeg(grey[..., 0]), jpeg(np.full((9, 9, 3), 128, "uint8"))]
    assert (mm.layers.DecodeImage((64, 64))(tf.constant(files)).numpy()[:, -1, -1] == 128).all()


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    cells = [str(tmp_path / "pipe.jpg"), "/dev/zero", str(tmp_path)]
    faulty, told = faults([*cells, png(3)])
    assert faulty == 3
    assert "a device, pipe or socket, not a file" in told


def test_sizes_and_first_bytes_are_looked_at_before_a_file_is_read(tmp_path, monkeypatch):
    for name, size in (("huge.jpg", 1 << 40), ("video.jpg", 1 << 26)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    lengths, real = [], mm.data.files.read

    def read(path, most=-1):
        lengths.append(most)
        return real(path, most)

    monkeypatch.setattr(mm.data.files, "read", read)
    assert faults([str(tmp_path / "huge.jpg"), str(tmp_path / "video.jpg"), png(3)])[0] == 2
    assert lengths == [16]


@pytest.mark.parametrize("name", ["a\0b.jpg", "/tmp/\ud800.jpg", "/tmp/\udcff.jpg", "n" * 1_000_000])
def test_names_that_no_file_can_have_are_no_files(name):
    faulty, told = faults([name, png(3)])
    assert faulty == 1
    assert len(told) < 500
    told.encode()


def test_names_that_are_no_unicode_are_read(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        with open(path, "wb") as file:
            file.write(png(3))
    except OSError:
        pytest.skip("this file system has Unicode names only")
    cells = pd.DataFrame({"photo": pd.Series([os.fsdecode(path)], dtype=object)})
    assert mm.Image("photo", "scratch").raw_values(cells)["photo"].faulty == 0


def test_reports_show_pictures_within_the_limits(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for cell in (png(20_000), scans(500), gif(b"\x21\xfe\x00" * 100_000), str(tmp_path / "pipe.png"), "", None):
        assert read_pixels(cell, 96) is None
    assert read_pixels(jpeg(np.repeat(NOISE, 5, 0)), 32).shape == (32, 6, 3)
    assert read_pixels(png(40)).shape == (40, 40, 3)


@pytest.mark.parametrize("text", ["$x_$", "a $ b $", r"\$5 $", "\ud800", "a\x00b", "x" * 500])
def test_figures_show_labels_as_they_are(text):
    figure, axes = new_figure(12, 2)
    axes.set_yticks([0], [label(text)])
    assert html_image(figure, "labels").startswith("<p><img")


def test_labels_in_figures_are_no_formulas():
    assert label("$x_$") == r"\$x_\$"


# Texts over which a pattern that tries again at every sign would take minutes.
LONG_CELLS = {
    "one word": "a" * 200_000, "decimals": "1" + ".," * 100_000 + "1", "blanks": "1" + " " * 200_000 + "x1", "a unit": "1" + "[" * 200_000,
    "an array": "array(" + ",dtype=" * 30_000 + "[)", "digits": "1" * 4_000 + "x",
}  # fmt: skip


@pytest.mark.parametrize("name", LONG_CELLS)
@pytest.mark.filterwarnings("ignore")
def test_a_long_cell_takes_no_longer_than_others(name):
    df = pd.DataFrame({"number": [f"{n}.5 kg" for n in range(40)], "text": [f"film {n} about {n % 7} dogs" for n in range(40)],
                       "kind": ["a|b", "b", "a", "c|a"] * 10, "y": range(40)})  # fmt: skip
    for column in ("number", "text", "kind"):
        suggested = mm.suggest(df.assign(**{column: [*df[column][1:], LONG_CELLS[name]]}), "y")
        assert len(suggested.columns) == 3
    with contextlib.suppress(ValueError):
        mm.MultiLabel("kind").adapt(df.assign(kind=[*df["kind"][1:], LONG_CELLS[name]]))
    table = mm.Tabular(categorical=["kind"]).adapt(df).raw_values(df.assign(kind=[*df["kind"][1:], LONG_CELLS[name]]))
    assert list(table["kind"][:3]) == ["b", "a", "c|a"] and len(table["kind"]) == len(df)


def test_long_names_are_spelled_as_short_ones():
    rules = (("^ +| +$", ""), ("^(.*)[.]0$", r"\1"), ("  +", " "))
    for name in ("3.0", " a  b ", "é " + "x" * 5):
        assert spelled(name + " " * 3000, rules) == spelled(name, rules)


def test_messages_shorten_what_they_repeat():
    assert shortened("a" * 10_000_000, 12) == "'aaaaaaaaaa'… (10,000,000 characters)"
    assert len(shortened(list(range(100_000)))) < 140
    assert len(shortened(10**5000)) < 140
    assert clean("a\x00\ud800b\n") == "a\ufffd\ufffdb\n"


@pytest.mark.parametrize("encoder", ["lexical", "scratch"])
def test_columns_of_texts_must_hold_words(encoder):
    df = pd.DataFrame({"text": [None, "", " "], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=r"words of the training rows. Received: columns \['text'\].*all 3 rows"):
        mm.Text("text", encoder=encoder).adapt(df)


def test_many_columns_are_shortened():
    df = pd.DataFrame({f"column {number}": [1] for number in range(10_000)})
    with pytest.raises(KeyError) as told:
        mm.Tabular(numeric=["x"]).raw_values(df)
    assert len(str(told.value)) < 1_500


def test_ids_of_films_are_whole_numbers(tmp_path):
    head = "id,title,overview,genres,budget,popularity,revenue,runtime,release_date\n"
    (tmp_path / "a.csv").write_text(head + "".join(f"{id},a,b,x,1,1,1,1,x\n" for id in (7, "1e30", "inf", "1.5")))
    with pytest.warns(UserWarning, match=r"3 rows are left out, whose id is no whole number \(for example '1e30'"):
        assert mm.sources.movies(tmp_path / "a.csv")["id"].tolist() == [7]


def test_deep_json_of_captions_is_told(tmp_path):
    (tmp_path / "coco.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="COCO captions are JSON.*Received: .*RecursionError"):
        mm.sources.coco_captions(tmp_path / "coco.json", tmp_path)


def test_predictions_that_look_like_formulas_are_told_of(tmp_path):
    df = pd.DataFrame({"x": range(40), "y": ["=cmd()", "good"] * 20})
    pipe = mm.Pipeline([mm.Tabular(numeric=["x"])], mm.MultiClass("y"))
    pipe.fit(df, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="begins as a formula does: '=cmd"):
        write_predictions(pipe.check_fitted(), lambda: iter([(df, 1.0)]), tmp_path / "p.csv")
    assert "=cmd()" in (tmp_path / "p.csv").read_text()


def test_cells_of_categories_may_be_no_unicode_and_zeros():
    cells = pd.Series(["\ud800", {"a": 1}, "\0", None, "x"] * 8, dtype=object)
    df = pd.DataFrame({"c": cells, "y": np.arange(40.0)})
    pipe = mm.Pipeline([mm.Tabular(categorical=["c"])], mm.Regression("y"))
    pipe.fit(df, epochs=1, verbose=0)
    assert np.isfinite(pipe.predict(df)["y"]).all()


def test_a_table_of_two_encodings_is_told(tmp_path):
    (tmp_path / "a.csv").write_bytes("a,b\n\u00e91,2\n".encode("utf-16") + b"x")
    with pytest.raises(
        ValueError, match="A table must be text in one encoding. Received: .*a.csv.*Give its `encoding`"
    ):
        mm.data.tables.read_table(tmp_path / "a.csv")


# A whole number beyond floats, bytes that are no text, and cells that hold others, among cells of the kind that is asked for.
@pytest.mark.parametrize(
    "cell", [10**400, b"\xff\xfe", {"a": 1}, [1, [2]], "\ud800"], ids=["huge", "bytes", "dict", "lists", "half"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_one_strange_cell_ends_in_an_answer_or_an_error_of_ours(cell):
    number, name, date = range(1, 41), ["a", "b"] * 20, [f"2020-01-{day % 28 + 1:02}" for day in range(40)]
    plain = {
        column: pd.Series(list(cells), dtype=object) for column, cells in zip("nsd", (number, name, date), strict=True)
    }
    rest = pd.DataFrame(plain).assign(target=[1.5, 2.5, 4.0, 3.0] * 10)
    for column, modality in (
        ("n", mm.Tabular(numeric=["n"])), ("s", mm.Tabular(categorical=["s"])), ("d", mm.Tabular(datetime=["d"])),
        ("s", mm.Text("s", encoder="lexical")),
    ):  # fmt: skip
        df = rest.copy()
        df.at[3, column] = cell
        adapted = modality.adapt(df)
        assert check_columns(df, [adapted])["rows"].tolist() == [40]
        assert len(mm.suggest(df, "target").modalities)
        assert len(split_frame(df, 0.5, seed=0, by=column)[0]) > 5
        for task in (mm.MultiClass(column), mm.MultiLabel(column), mm.Regression(column)):
            answer_or_error(lambda df=df, task=task: task.adapt(df))
        answer_or_error(lambda df=df, column=column: mm.suggest(df, column))
        answer_or_error(lambda df=df, column=column: _weights(None, df, column))


def answer_or_error(call):
    try:
        call()
    except (ValueError, KeyError) as error:
        assert "eceived" in str(error)

"""Captioned images: the made-up scenes and their sentences, and the readers of public data."""

import json
import os
import pathlib
import sys
import types

import numpy as np
import pandas as pd
import pytest

from mmkeras import layers, samples, sources
from mmkeras.samples import scenes

CONTENT = ["colours", "shapes", "counts", "relation"]


# === samples.captions ===


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    return samples.captions(120, seed=2, directory=folder / "images"), folder / "images"


def test_scenes_are_deterministic_and_so_are_their_files(drawn, tmp_path):
    df, folder = drawn
    again = samples.captions(8, seed=2, directory=tmp_path)
    pd.testing.assert_frame_equal(again.drop(columns="image"), df.head(40).drop(columns="image"))
    assert again["image"].map(os.path.basename).equals(df["image"].head(40).map(os.path.basename))
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in tmp_path.iterdir())
    other = samples.captions(8, seed=3, directory=tmp_path)
    assert not set(other["image"]) & set(again["image"]) and not other["caption"].equals(again["caption"])


def test_every_scene_has_five_sentences_that_tell_all_of_it(drawn):
    df, _ = drawn
    assert df.columns.tolist() == ["image", "caption", *CONTENT] and df.index.tolist() == list(range(600))
    assert (df.groupby("image", sort=False).size() == 5).all() and df["image"].nunique() == 120
    assert df.groupby("image")["caption"].nunique().min() == 5
    told = pd.DataFrame([samples.caption_content(text) for text in df["caption"]])
    pd.testing.assert_frame_equal(told, df[CONTENT])


def test_sentences_are_sentences(drawn):
    texts = drawn[0]["caption"]
    assert texts.str.fullmatch(r"[A-Z][a-z ,]+\.").all() and not texts.str.contains("  ").any()
    assert texts.str.split().str.len().between(4, 18).all()
    assert not texts.str.contains(r"\b(?:a|A|one|One|single) \w+ \w+s\b").any()
    assert not texts.str.contains(r"\b(?:two|three|Two|Three) \w+ \w+(?<!s)\b").any()
    assert texts.nunique() > 0.9 * len(texts)


def test_scenes_are_varied(drawn):
    content = drawn[0][::5]
    assert set(content["relation"]) == {"", *scenes.RELATIONS}
    for column, values in (("colours", scenes.COLOURS), ("shapes", scenes.SHAPES), ("counts", "123")):
        assert set("|".join(content[column]).split("|")) == set(values)
    two = content[content["relation"] != ""]
    kinds = two["colours"].str.split("|").str[0] + two["shapes"].str.split("|").str[0]
    assert (kinds != two["colours"].str.split("|").str[1] + two["shapes"].str.split("|").str[1]).all()


def test_pictures_of_scenes_can_be_read(drawn):
    data = [path.read_bytes() for path in sorted(drawn[1].iterdir())[:12]]
    assert {bytes(d[:3]) for d in data} == {b"\xff\xd8\xff", b"\x89PN"}
    pixels = layers.DecodeImage((96, 96))(np.array(data, dtype=object)).numpy()
    assert len({picture.tobytes() for picture in pixels}) == 12


def middles(picture, colour):
    """The middles of the connected spots of a colour: (spots, 2) as (y, x)."""
    from scipy import ndimage

    near = np.abs(picture.astype(int) - np.array(scenes.COLOURS[colour])).max(axis=-1) < 45
    spots, _ = ndimage.label(near)
    sizes = ndimage.sum_labels(near, spots, range(1, spots.max() + 1))
    return np.array(ndimage.center_of_mass(near, spots, np.flatnonzero(sizes > 40) + 1)).reshape(-1, 2)


@pytest.mark.parametrize("seed", range(60))
def test_pictures_show_their_content(seed):
    rng = np.random.default_rng(seed)
    content = scenes.scene(rng)
    while len(set(content["colours"].split("|"))) < len(content["colours"].split("|")):
        content = scenes.scene(rng)  # groups of one colour could not be told apart below
    picture = scenes.draw(rng, content, size=96)
    assert picture.shape == (96, 96, 3) and picture.dtype == np.uint8
    found = [middles(picture, colour) for colour in content["colours"].split("|")]
    assert "|".join(str(len(spots)) for spots in found) == content["counts"]
    if content["relation"]:
        axis = 1 if content["relation"] == "left of" else 0
        first, second = found
        assert first[:, axis].max() < 48 < second[:, axis].min()
        # In the other direction they reach beside one another, so that only one relation holds.
        other = 1 - axis
        assert (
            first[:, other].min() < second[:, other].max() + 20 and second[:, other].min() < first[:, other].max() + 20
        )


def test_a_scene_in_another_size():
    content = samples.caption_content("Three red stars")
    picture = scenes.draw(np.random.default_rng(0), content, size=160)
    assert picture.shape == (160, 160, 3) and len(middles(picture, "red")) == 3


def test_a_picture_too_small_to_tell_shapes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`size` must be an int of at least 32. Received: 16"):
        samples.captions(1, seed=0, directory=tmp_path, size=16)


def test_scenes_may_all_have_so_many_groups(tmp_path):
    with pytest.raises(ValueError, match="`groups` must be 1, 2, or None for either. Received: 3"):
        samples.captions(1, seed=0, directory=tmp_path, groups=3)
    for groups in (1, 2):
        df = samples.captions(12, seed=0, directory=tmp_path / str(groups), groups=groups)
        assert (df["relation"].eq("") == (groups == 1)).all()


def test_a_scene_that_is_there_is_left_alone_unless_it_differs(tmp_path):
    df = samples.captions(2, seed=0, directory=tmp_path)
    kept, damaged = (pathlib.Path(path) for path in df["image"].unique())
    content = damaged.read_bytes()
    os.utime(kept, (1, 1))
    damaged.write_bytes(b"other")
    samples.captions(2, seed=0, directory=tmp_path)
    assert kept.stat().st_mtime == 1 and damaged.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 2  # nothing half-written stays behind


def test_scenes_need_a_number_a_seed_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match="`n` must be a positive int. Received: 0"):
        samples.captions(0, directory=tmp_path)
    with pytest.raises(ValueError, match="`seed` must be an int of at least 0. Received: -1"):
        samples.captions(2, seed=-1, directory=tmp_path)
    with pytest.raises(ValueError, match="`directory` must name a folder for the pictures. Received: None"):
        samples.captions(2)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(NotADirectoryError, match="`directory` must be a folder, or the name of a new one"):
        samples.captions(2, directory=tmp_path / "file")


# === samples.caption_content ===

PAIR = {"colours": "red|blue", "shapes": "circle|star", "counts": "2|1", "relation": "left of"}


@pytest.mark.parametrize(
    "text",
    [
        "Two red circles are to the left of a blue star.",
        "two red discs left of one blue star",
        "A single blue star is to the right of two red circles!",
        "on the left are two red circles and on the right is a blue star",
        "on the right is a blue star, on the left two red circles",
        "a blue star on the right, two red discs on the left",
    ],
)
def test_content_in_other_words(text):
    assert samples.caption_content(text) == PAIR


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a dog runs on the beach",
        "red circles",  # how many?
        "two circles",
        "two red circle",  # number and word disagree
        "one red circles",
        "a single red circles",
        "two red red circles",
        "two red circles a blue star",  # where?
        "two red circles and a blue star",
        "two red circles left of blue star",  # half of it is missing
        "two red circles left of a blue",
        "two red circles left of",
        "two red circles on the left",
        "two red circles left of a blue star and three",
        "two red circles left of a blue star above a red star",
        "two red circles to the left of a blue star on the right on the right",
        "two red circles on the left and a blue star on the left",
        "two red circles on the left and a blue star at the bottom",
        "on the left on the right two red circles and a blue star",
        "two red circles a blue star left of",
    ],
)
def test_no_content_in_what_is_none_of_these_sentences(text):
    assert samples.caption_content(text) is None


@pytest.mark.parametrize("relation", scenes.RELATIONS)
def test_every_form_of_sentence_is_read(relation):
    for number, shape in enumerate(scenes.SHAPES):
        content = {
            **PAIR,
            "shapes": f"{shape}|square",
            "counts": f"{number % 3 + 1}|{3 - number % 3}",
            "relation": relation,
        }
        for text in scenes.tell(np.random.default_rng(number), content, sentences=7):
            assert samples.caption_content(text) == content, text


# === readers of captions ===


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "inner").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.jpg", "inner/d.jpg"):
        (folder / name).write_bytes(b"x")
    return folder


def pairs(df, folder):
    assert df.columns.tolist() == ["image", "caption"] and df.index.tolist() == list(range(len(df)))
    return [(pathlib.Path(image).relative_to(folder).as_posix(), text) for image, text in df.itertuples(index=False)]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_captions_of_a_csv(tmp_path, images):
    csv = write(
        tmp_path / "c.csv", 'image,caption\nb.jpg,"One, two"\na.jpg,Three \nb.jpg,NA\ninner/d.jpg,"He said ""no"""\n'
    )
    expected = [("b.jpg", "One, two"), ("b.jpg", "NA"), ("a.jpg", "Three"), ("inner/d.jpg", 'He said "no"')]
    assert pairs(sources.captions(csv, images), images) == expected


def test_what_a_csv_lacks_is_left_out_and_told(tmp_path, images):
    csv = write(
        tmp_path / "c.csv", "image,caption\na.jpg,One\nx.jpg,Two\nx.jpg,Three\nb.jpg,\nc.jpg,Four\n,Five\nc.jpg, \n"
    )
    with pytest.warns(UserWarning) as told:
        df = sources.captions(csv, images)
    assert pairs(df, images) == [("a.jpg", "One"), ("c.jpg", "Four")]
    (message,) = (str(warning.message) for warning in told)
    assert (
        "Left out: 3 captions without text or image, for example in line 5; 1 images without a caption, for example 'b.jpg'; "
        "1 of 3 images that are not" in message
    )
    assert "x.jpg" in message and told[0].filename == __file__


def test_damaged_rows_of_a_csv_are_told_by_line(tmp_path, images):
    csv = write(tmp_path / "c.csv", "image,caption\na.jpg,One\nb.jpg\nb.jpg,Two, and more\nc.jpg,Three\n")
    with pytest.warns(UserWarning) as told:
        df = sources.captions(csv, images)
    assert pairs(df, images) == [("a.jpg", "One"), ("c.jpg", "Three")]
    first, second = (str(warning.message) for warning in told)
    assert "1 short rows are filled with missing cells and 1 long rows are left out" in first
    assert (
        "for example line 3: ['b.jpg']" in first and "1 captions without text or image, for example in line 3" in second
    )
    assert told[0].filename == told[1].filename == __file__


def test_a_csv_needs_its_columns_and_a_folder(tmp_path, images):
    with pytest.raises(ValueError, match=r"A CSV of captions needs the columns .*without \['caption'\]. Give one"):
        sources.captions(write(tmp_path / "c.csv", "image,text\na.jpg,One\n"), images)
    csv = write(tmp_path / "d.csv", "image,caption\na.jpg,One\n")
    with pytest.raises(FileNotFoundError, match=r"`images_dir` must be a folder. Received: '.*nowhere'"):
        sources.captions(csv, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"images must be in their folder. .*has none of 1, for example 'a.jpg'"
    ):
        sources.captions(csv, tmp_path / "empty")
    assert len(sources.captions(write(tmp_path / "e.csv", "image,caption\n"), images)) == 0


TOKENS = """b.jpg#0\tA dog .
b.jpg#1\tTwo\tdogs .
a.jpg#0\tA cat .

c.jpg#12\tA boat .\u2028
"""


def test_flickr8k(tmp_path, images):
    tokens = write(tmp_path / "Flickr8k.token.txt", TOKENS)
    rows = [("b.jpg", "A dog ."), ("b.jpg", "Two\tdogs ."), ("a.jpg", "A cat ."), ("c.jpg", "A boat .")]
    assert pairs(sources.flickr8k(tokens, images), images) == rows
    split = write(tmp_path / "Flickr_8k.devImages.txt", "c.jpg\nb.jpg\n\n")
    assert pairs(sources.flickr8k(tokens, images, split), images) == [rows[3], *rows[:2]]
    tokens.write_bytes(TOKENS.replace("\n", "\r\n").encode())
    assert pairs(sources.flickr8k(str(tokens), str(images)), images) == rows


def test_flickr8k_names_an_image_that_is_not_there(tmp_path, images):
    tokens = write(tmp_path / "t.txt", "a.jpg#0\tOne\nb.jpg.1#0\tTwo\nb.jpg.1#1\tThree\n")
    with pytest.warns(
        UserWarning, match=r"Left out: 1 of 2 images that are not there, for example '.*b.jpg.1', with their"
    ):
        assert pairs(sources.flickr8k(tokens, images), images) == [("a.jpg", "One")]
    with pytest.warns(UserWarning, match="Left out: 1 images without a caption, for example 'c.jpg'. data/README.md"):
        sources.flickr8k(tokens, images, write(tmp_path / "split.txt", "a.jpg\nc.jpg"))


@pytest.mark.parametrize("line", ["b.jpg\tNo number", "b.jpg#0 no tab", "b.jpg,No number", "#0\tno name"])
def test_a_line_of_another_form_is_refused(tmp_path, images, line):
    with pytest.raises(ValueError, match=r"A line of a token file must be 'name.jpg#0', a tab.*in line 2 of '.*t.txt'"):
        sources.flickr8k(write(tmp_path / "t.txt", f"a.jpg#0\tOne\n{line}\n"), images)


def test_token_files_must_be_there_and_text(tmp_path, images):
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*t.txt'. data/README.md"):
        sources.flickr8k(tmp_path / "t.txt", images)
    (tmp_path / "t.txt").write_bytes(b"a.jpg#0\t\xff\xfe\n")
    with pytest.raises(ValueError, match=r"Captions must be text in UTF-8. Received: '.*t.txt'"):
        sources.flickr8k(tmp_path / "t.txt", images)
    tokens = write(tmp_path / "u.txt", TOKENS)
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*split.txt'"):
        sources.flickr8k(tokens, images, tmp_path / "split.txt")


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/passwd", "inner/../../secret.jpg", "link.jpg"])
def test_an_image_outside_its_folder_is_refused(tmp_path, images, name):
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (images / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    note = {"images": [{"id": 1, "file_name": name}], "annotations": [{"image_id": 1, "caption": "A dog"}]}
    readers = [
        (sources.flickr8k, f"{name}#0\tA dog\n"),
        (sources.captions, f"image,caption\n{name},A dog\n"),
        (sources.coco_captions, json.dumps(note)),
    ]
    for reader, content in readers:
        with pytest.raises(
            ValueError, match=r"An image must lie inside `images_dir`. Received: .* in image 0, which leads"
        ):
            reader(write(tmp_path / "file", content), images)


def coco(path, *captions, **changed):
    names = [(7, "b.jpg"), (3, "a.jpg"), (5, "inner/d.jpg")]
    content = {
        "info": {"year": 2014},
        "images": [{"id": number, "file_name": name, "height": 4, "license": 1} for number, name in names],
        "annotations": [{"id": n, "image_id": number, "caption": text} for n, (number, text) in enumerate(captions)],
    }
    return write(path, json.dumps({**content, **changed}))


def test_coco_captions(tmp_path, images):
    path = coco(tmp_path / "c.json", (3, "A dog.\n"), (7, "Ünder"), (3, "Two dogs."), (5, "A cat."), (7, "A boat"))
    expected = [
        ("b.jpg", "Ünder"),
        ("b.jpg", "A boat"),
        ("a.jpg", "A dog."),
        ("a.jpg", "Two dogs."),
        ("inner/d.jpg", "A cat."),
    ]
    assert pairs(sources.coco_captions(path, images), images) == expected


def test_coco_images_without_captions_are_told(tmp_path, images):
    (images / "b.jpg").unlink()
    path = coco(tmp_path / "c.json", (7, "x"), (3, "A dog."), (3, " "))
    with pytest.warns(
        UserWarning,
        match=r"1 captions without text or image, for example in annotation 2; 1 images without a caption, for example .inner.d.jpg.; 1 of",
    ):
        assert pairs(sources.coco_captions(path, images), images) == [("a.jpg", "A dog.")]


def test_coco_captions_of_another_form(tmp_path, images):
    path = tmp_path / "c.json"
    with pytest.raises(FileNotFoundError, match="There is no file"):
        sources.coco_captions(path, images)
    broken = ["{", "[1]", "3", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}']
    broken.append('{"images": [], "annotations": [{"image_id": 1, "bbox": []}]}')  # instances
    for content in broken:
        with pytest.raises(
            ValueError, match=r'COCO captions are JSON: \{"images".* Received: .*c.json.*Give a file such as'
        ):
            sources.coco_captions(write(path, content), images)
    with pytest.raises(ValueError, match=r"image must be among the images. Received: image_id 9 .* 1 of 2 captions"):
        sources.coco_captions(coco(path, (3, "x"), (9, "y")), images)


def record(name, *texts):
    """A record of tfds `coco_captions` with its image not decoded."""
    return {
        "image": b"\xff\xd8\xff" + name.encode(),
        "image/filename": name.encode(),
        "image/id": 1,
        "captions": {"id": np.arange(len(texts)), "text": np.array([text.encode() for text in texts], dtype=object)},
        "objects": {"label": np.array([1])},
    }


@pytest.fixture
def tfds(monkeypatch):
    """A module that answers as tensorflow_datasets does; `records` are what it loads, `asked` what it was asked for."""
    module = types.ModuleType("tensorflow_datasets")
    module.records, module.asked = [record("b.jpg", "A dog.", "Zwei Hünde."), record("a.jpg", "A cat.")], []

    def load(name, *, split, data_dir, shuffle_files, decoders):
        module.asked.append((name, split, data_dir, shuffle_files, decoders))
        return module.records

    module.load, module.as_numpy = load, iter
    module.decode = types.SimpleNamespace(SkipDecoding=lambda: "as it is")
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", module)
    return module


def test_tfds_captions_write_their_images_once(tfds, tmp_path):
    folder = tmp_path / "new" / "coco"
    df = sources.tfds_captions("val", folder)
    assert tfds.asked == [("coco_captions", "val", None, False, {"image": "as it is"})]
    assert pairs(df, folder) == [("b.jpg", "A dog."), ("b.jpg", "Zwei Hünde."), ("a.jpg", "A cat.")]
    assert (folder / "b.jpg").read_bytes() == b"\xff\xd8\xffb.jpg" and len(list(folder.iterdir())) == 2
    os.utime(folder / "b.jpg", (1, 1))
    (folder / "a.jpg").write_bytes(b"cut")
    pd.testing.assert_frame_equal(sources.tfds_captions("val", str(folder)), df)
    assert (folder / "b.jpg").stat().st_mtime == 1 and (folder / "a.jpg").read_bytes() == b"\xff\xd8\xffa.jpg"


def test_tfds_captions_stay_in_their_folder(tfds, tmp_path):
    tfds.records.append(record("../outside.jpg", "x"))
    with pytest.raises(ValueError, match=r"must lie inside `directory`. Received: .* in record 2, which leads"):
        sources.tfds_captions("train", tmp_path / "coco")
    assert not (tmp_path / "outside.jpg").exists()
    with pytest.raises(NotADirectoryError, match="`directory` must be a folder"):
        sources.tfds_captions("train", tmp_path / "coco" / "a.jpg")


def test_tfds_captions_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"needs the package tensorflow-datasets.*pip install tensorflow-datasets"):
        sources.tfds_captions("train", tmp_path)


def test_scenes_survive_their_csv(drawn, tmp_path):
    made, folder = drawn
    made.assign(image=made["image"].map(os.path.basename)).to_csv(tmp_path / "made.csv", index=False)
    pd.testing.assert_frame_equal(
        sources.captions(tmp_path / "made.csv", folder), made[["image", "caption"]], check_dtype=False
    )


@pytest.mark.real
def test_real_captions(real_data):
    folder = real_data / "data" / "flickr8k"
    df = sources.captions(folder / "captions_dev.csv", folder / "images")
    assert len(df) == 5000 and df["image"].nunique() == 1000 and (df.groupby("image").size() == 5).all()
    assert pathlib.Path(df["image"][0]).is_file()

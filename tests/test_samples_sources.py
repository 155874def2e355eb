"""The made-up films and posts, and the readers of public data."""

import csv
import io
import os
import pathlib
import re
import tarfile

import numpy as np
import pandas as pd
import pytest

from mmkeras import MultiLabel, layers, samples, sources
from mmkeras.samples import pictures, posts

RAW = [
    "adult", "belongs_to_collection", "budget", "genres", "homepage", "id", "imdb_id", "original_language",
    "original_title", "overview", "popularity", "poster_path", "production_companies", "production_countries",
    "release_date", "revenue", "runtime", "spoken_languages", "status", "tagline", "title", "video", "vote_average",
    "vote_count",
]  # fmt: skip
DRAMA = "[{'id': 18, 'name': 'Drama'}, {'id': 10749, 'name': 'Romance'}]"


# === samples ===


def test_samples_are_deterministic():
    one, two = samples.movies(50, seed=4), samples.movies(50, seed=4)
    pd.testing.assert_frame_equal(one, two)
    assert not one["overview"].equals(samples.movies(50, seed=5)["overview"])
    pd.testing.assert_frame_equal(samples.movies(10, seed=4), one.head(10))


def test_samples_do_not_touch_the_global_generator():
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    samples.movies(5)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_samples_have_the_columns_of_the_tidy_form():
    df = samples.movies(5)
    assert df.columns.tolist() == sources.MOVIE_COLUMNS
    assert df["id"].tolist() == [1, 2, 3, 4, 5] and df.index.tolist() == [0, 1, 2, 3, 4]


def test_samples_are_varied():
    df = samples.movies(200)
    told = df["overview"][df["overview"] != ""]
    assert told.nunique() >= 0.95 * len(told)
    assert df["title"].nunique() > 100
    assert told.str.split().str.len().between(5, 80).all()


def test_sample_frequencies_are_sane():
    df = samples.movies(1200)
    labels = pd.Series([name for cell in df["genres"] for name in MultiLabel("genres").names(cell)])
    share = labels.value_counts() / len(df)
    assert 12 <= len(share) <= 20 and share.min() > 0.02 and share.max() < 0.6
    assert 1.5 < len(labels) / len(df) < 3.5
    assert 0.15 < (df["budget"] == 0).mean() < 0.35 and 0.2 < (df["revenue"] == 0).mean() < 0.4
    assert 0.01 < df["runtime"].isna().mean() < 0.06 and 0.01 < (df["overview"] == "").mean() < 0.06
    assert df["runtime"].dropna().between(30, 180).all() and (df["budget"] >= 0).all()
    assert pd.to_datetime(df["release_date"]).between("1975-01-01", "2020-12-31").all()


def test_sample_text_tells_genres_and_numbers_tell_others():
    df = samples.movies(1200)
    science = df["genres"].str.contains("Science Fiction")
    assert (
        df[df["overview"].str.contains("Saturn|orbital|android")]["genres"].str.contains("Science Fiction").mean() > 0.7
    )
    assert science.mean() < 0.3
    known = df[df["budget"] > 0]
    action = known["genres"].str.contains("Action")
    assert known["budget"][action].median() > 3 * known["budget"][~action].median()


@pytest.mark.parametrize("n", [0, -1, 2.0, "3"])
def test_samples_errors(n):
    with pytest.raises(ValueError, match=rf"`n` must be a positive int. Received: {n!r}"):
        samples.movies(n)


# === samples.entailment ===


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("posts")
    return samples.entailment(80, seed=2, directory=folder / "images"), folder / "images"


def test_posts_are_deterministic_and_so_are_their_files(pairs, tmp_path):
    df, folder = pairs
    again = samples.entailment(10, seed=2, directory=tmp_path)
    for column in df.columns:
        base = [os.path.basename(cell) if column.startswith("image") else cell for cell in df[column].head(10)]
        assert base == [os.path.basename(cell) if column.startswith("image") else cell for cell in again[column]]
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in tmp_path.iterdir())
    other = samples.entailment(10, seed=3, directory=tmp_path)
    assert not set(other["id_1"]) & set(again["id_1"]) and not other["text_2"].equals(again["text_2"])


def test_posts_have_the_columns_of_the_public_data_and_are_varied(pairs):
    df, folder = pairs
    assert df.columns.tolist() == sources.ENTAILMENT_COLUMNS and df.index.tolist() == list(range(80))
    assert set(df["label"]) == set(sources.ENTAILMENT_LABELS)
    ids = pd.concat([df["id_1"], df["id_2"]])
    assert ids.is_unique and ids.str.fullmatch("[0-9]+").all()
    assert df["text_2"].nunique() > 60
    for number in (1, 2):
        given = df[df[f"image_{number}"] != ""]
        stems = [pathlib.Path(path).stem for path in given[f"image_{number}"]]
        assert stems == given[f"id_{number}"].tolist()
    kinds = [path.suffix for path in folder.iterdir()]
    assert set(kinds) == {".jpg", ".png"} and 0.3 < kinds.count(".jpg") / len(kinds) < 0.7


def test_pictures_of_posts_can_be_read_and_differ(pairs):
    df, _ = pairs
    data = [pathlib.Path(path).read_bytes() for path in df["image_1"].head(12) if path]
    assert {bytes(d[:3]) for d in data} == {b"\xff\xd8\xff", b"\x89PN"}
    pixels = layers.DecodeImage((64, 64))(np.array(data, dtype=object)).numpy()
    assert pixels.shape == (len(data), 64, 64, 3)
    assert all(picture.std() > 20 for picture in pixels)
    assert len({picture.tobytes() for picture in pixels}) == len(data)


def test_a_picture_that_is_there_is_left_alone_unless_it_differs(tmp_path):
    df = samples.entailment(2, seed=0, directory=tmp_path)
    kept, damaged = (pathlib.Path(path) for path in df["image_1"])
    content = damaged.read_bytes()
    os.utime(kept, (1, 1))
    damaged.write_bytes(b"other")
    samples.entailment(2, seed=0, directory=tmp_path)
    assert kept.stat().st_mtime == 1 and damaged.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 4  # nothing half-written stays behind


@pytest.mark.parametrize("thing", pictures.THINGS)
def test_posters_show_their_scene_and_colour(thing):
    for scene in pictures.SCENES:
        for colour, value in pictures.COLOURS.items():
            picture = pictures.poster(np.random.default_rng(5), scene, thing, colour)
            near = np.abs(picture.astype(int) - np.array(value)).max(axis=-1) < 80
            assert picture.dtype == np.uint8 and near[13:47, 13:50].mean() > 0.12, (scene, colour)
            corner = picture[47:56, 2:8].reshape(-1, 3).mean(axis=0)
            assert (corner.max() < 110) == (scene == "night") and (corner.argmax() == 1) == (scene == "field")


def test_sketches_have_no_colour():
    sketch = pictures.sketch(np.random.default_rng(0), "kite").astype(float)
    assert abs(sketch[..., 0] - sketch[..., 2]).mean() < 10


def chi_square(a, b):
    """The chance of counts as uneven as these when `a` and `b` are independent."""
    from scipy.stats import chi2_contingency

    return chi2_contingency(pd.crosstab(a, b)).pvalue


@pytest.fixture
def plain_pairs(monkeypatch, tmp_path):
    """Many posts of which the pictures are told, not drawn: "sea/kite/red"."""
    monkeypatch.setattr(pictures, "poster", lambda rng, *what: what)
    monkeypatch.setattr(pictures, "sketch", lambda rng, *what: what)
    monkeypatch.setattr(posts, "write_picture", lambda path, what: "/".join(what))
    return samples.entailment(6000, seed=0, directory=tmp_path)


def test_neither_texts_nor_pictures_alone_tell_the_label(plain_pairs):
    df = plain_pairs
    assert (df["label"].value_counts(normalize=True) - 1 / 3).abs().max() < 0.03
    told = df["text_2"].map(lambda text: f"{_colour(text)} {_place(text)}")
    for alone in (df["text_1"], told, df["image_1"], df["image_2"], df["text_2"].str.split(" ").str[-1]):
        assert chi_square(alone, df["label"]) > 0.001
    pair = df["text_1"].str[:5] + told  # nor both texts, or both pictures
    assert chi_square(pair, df["label"]) > 0.001
    assert chi_square(df["image_1"] + df["image_2"], df["label"]) > 0.001


def test_text_and_picture_together_tell_the_label(plain_pairs):
    df = plain_pairs[(plain_pairs["text_2"] != "") & (plain_pairs["image_1"] != "")]
    shown = df["image_1"].str.split("/")
    scene, colour = df["text_2"].map(_place) == shown.str[0], df["text_2"].map(_colour) == shown.str[2]
    expected = np.where(~scene, "NoEntailment", np.where(colour, "Implies", "Contradictory"))
    assert 0.98 < (df["label"] == expected).mean() < 0.999
    for column in ("text_1", "image_1", "text_2", "image_2"):
        assert 0.004 < (plain_pairs[column] == "").mean() < 0.02


def _place(text):
    return next((p for p, names in posts._PLACES.items() if any(n in text.lower() for n in names)), "")


def _colour(text):
    found = re.findall(r"\b(red|yellow|white)\b", text)
    return found[0] if found else ""


@pytest.mark.parametrize("n", [0, -1, 2.0, True, "3"])
def test_posts_need_a_positive_number(n, tmp_path):
    with pytest.raises(ValueError, match=rf"`n` must be a positive int. Received: {n!r}"):
        samples.entailment(n, directory=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_posts_need_a_seed_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"`seed` must be an int of at least 0. Received: -1"):
        samples.entailment(2, seed=-1, directory=tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(
        NotADirectoryError, match=r"`directory` must be a folder, or the name of a new one. Received: '.*file'"
    ):
        samples.entailment(2, directory=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(ValueError, match="`directory` must name a folder for the pictures. Received: None"):
        samples.entailment(2)


# === sources.movies ===


def film(number, **cells):
    row = {
        "adult": "False",
        "budget": "1000",
        "genres": DRAMA,
        "id": str(number),
        "overview": f"Overview of film {number}.",
        "popularity": "1.5",
        "poster_path": f"/{number}.jpg",
        "release_date": "1995-10-30",
        "revenue": "0",
        "runtime": "81.0",
        "title": f"Film {number}",
        "vote_average": "7.7",
        "vote_count": "12",
    }
    return {**row, **cells}


def write(path, rows, columns=RAW):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_raw_movies_with_their_broken_rows(tmp_path):
    quoted = "[{'id': 1, 'name': \"Child's Play\"}, {'id': 2, 'name': 'Say \"Yes\"'}]"
    rows = [
        film(862, title="Toy Story", overview='He said "no",\nand left.'),
        film("1997-08-20", adult=" - Written by Ørnås", genres="1", title="", overview=""),  # shifted columns
        film(3, budget="/ff9qCepilowshEtG2GYWwzt2bs4.jpg"),
        film(862, title="again"),
        film(4, genres=quoted, revenue="12.5", runtime=""),
        film(5, genres="[]", overview="", release_date="", popularity="Beware Of Frost Bites"),
        film(6, overview="", title=""),
        film(7, title="None", overview="NA"),
    ]
    with pytest.warns(UserWarning) as told:
        df = sources.movies(write(tmp_path / "movies_metadata.csv", rows))
    (message,) = (str(warning.message) for warning in told)
    for part in (
        "1 cells of 'budget' are no numbers and missing (for example '/ff9qCepilowshEtG2GYWwzt2bs4.jpg' in line 5)",
        "1 rows are left out, whose id is no whole number (for example '1997-08-20' in line 4)",
        "1 are left out that have neither title nor overview (for example '6' in line 9)",
        "1 are left out whose id came before (for example '862' in line 6)",
    ):
        assert part in message
    assert df["id"].tolist() == [862, 3, 4, 5, 7] and df["id"].dtype == "int64"
    assert df.index.tolist() == [0, 1, 2, 3, 4]
    assert df.columns.tolist() == [*sources.MOVIE_COLUMNS, "vote_average", "vote_count"]
    assert df["title"].tolist() == ["Toy Story", "Film 3", "Film 4", "Film 5", "None"]
    assert df["overview"].tolist()[0] == 'He said "no",\nand left.' and df["overview"].tolist()[3:] == ["", "NA"]
    assert df["genres"].tolist() == ["Drama|Romance"] * 2 + ['Child\'s Play|Say "Yes"', "", "Drama|Romance"]
    np.testing.assert_array_equal(df["budget"], [1000, np.nan, 1000, 1000, 1000])
    np.testing.assert_array_equal(df["popularity"], [1.5, 1.5, 1.5, np.nan, 1.5])
    np.testing.assert_array_equal(df["runtime"], [81, 81, np.nan, 81, 81])
    np.testing.assert_array_equal(df["revenue"], [0, 0, 12.5, 0, 0])
    assert df["release_date"].tolist() == ["1995-10-30"] * 3 + ["", "1995-10-30"]


def test_tidy_movies(tmp_path):
    columns = [*sources.MOVIE_COLUMNS, "vote_average", "vote_count", "poster"]
    rows = [film(1, genres="Drama|War", poster="posters/1.jpg"), film(2, genres="", poster="")]
    df = sources.movies(write(tmp_path / "movies.csv", rows, columns))
    assert df.columns.tolist() == columns
    assert df["genres"].tolist() == ["Drama|War", ""] and df["poster"].tolist() == ["posters/1.jpg", ""]


def test_samples_survive_the_tidy_form(tmp_path):
    made = samples.movies(30, seed=1)
    made.to_csv(tmp_path / "made.csv", index=False)
    read = sources.movies(tmp_path / "made.csv")
    made = made[made["title"].ne("") | made["overview"].ne("")].reset_index(drop=True)
    pd.testing.assert_frame_equal(read, made, check_dtype=False)


def test_movies_without_a_column(tmp_path):
    path = write(tmp_path / "short.csv", [film(1)], [name for name in RAW if name != "runtime"])
    with pytest.raises(
        ValueError, match=r"A movie CSV needs the columns .*without \['runtime'\]. Give movies_metadata.csv"
    ):
        sources.movies(path)


def test_movies_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*nowhere.csv'. data/README.md says how"):
        sources.movies(tmp_path / "nowhere.csv")
    with pytest.raises(FileNotFoundError):
        sources.movies(tmp_path)


def test_an_empty_file_is_an_error_that_says_what_to_give(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"must begin with a row of names. .*empty. Give movies_metadata.csv"):
        sources.movies(tmp_path / "empty.csv")


def test_a_header_alone_gives_no_rows(tmp_path):
    df = sources.movies(write(tmp_path / "header.csv", []))
    assert len(df) == 0 and "genres" in df.columns


@pytest.mark.real
def test_real_tidy_movies(real_data):
    df = sources.movies(real_data / "data" / "movies" / "movies.csv")
    assert len(df) == 6398 and df["id"].is_unique and "poster" in df.columns
    assert df["genres"].str.startswith("[").sum() == 0
    toy = df[df["title"] == "Toy Story"].iloc[0]
    assert toy["genres"] == "Animation|Comedy|Family" and toy["budget"] == 30_000_000 and toy["runtime"] == 81


@pytest.mark.real
def test_real_raw_movies(real_data):
    df = sources.movies(real_data / "data" / "movies" / "movies_metadata_head.csv")
    assert len(df) == 1200 and df["id"].is_unique
    toy = df[df["title"] == "Toy Story"].iloc[0]
    assert toy["genres"] == "Animation|Comedy|Family" and toy["revenue"] == 373_554_033


# === sources.entailment ===


def pair(**cells):
    row = {"id_1": "11", "text_1": "One", "image_1": "http://pbs.example/media/Ab.jpg", "id_2": "22", "text_2": "Two"}
    return {**row, "image_2": "http://pbs.example/media/Cd.png", "label": "Implies", **cells}


def write_pairs(folder, *rows, columns=sources.ENTAILMENT_COLUMNS):
    return write(folder / "tweets.csv", rows, columns)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("11.jpg", "22.png"):
        (folder / name).write_bytes(b"x")
    return folder


def test_pairs_find_their_images_by_id_and_extension(tmp_path, images):
    rows = [
        pair(text_1='He said "no",\nand left.', id_1="1375936088968200205", image_1=""),
        pair(image_1="https://pbs.example/media/a.b.c.jpg?name=large.png", image_2="http://x.example/y/z.png:large"),
    ]
    df = sources.entailment(write_pairs(tmp_path, *rows), images)
    assert df.columns.tolist() == sources.ENTAILMENT_COLUMNS and df.index.tolist() == [0, 1]
    assert df["id_1"].tolist() == ["1375936088968200205", "11"] and df["text_1"][0] == 'He said "no",\nand left.'
    assert (
        df["image_1"].tolist() == ["", str(images / "11.jpg")]
        and df["image_2"].tolist() == [str(images / "22.png")] * 2
    )


def test_pairs_without_a_folder_have_no_images(tmp_path):
    df = sources.entailment(write_pairs(tmp_path, pair(), pair(text_2="", label="Contradictory")))
    assert set(df["image_1"]) == set(df["image_2"]) == {""}
    assert df["text_2"].tolist() == ["Two", ""] and df["label"].tolist() == ["Implies", "Contradictory"]


def test_an_absent_image_is_a_missing_modality(tmp_path, images):
    path = write_pairs(tmp_path, pair(), pair(id_1="33"), pair(id_2="44", image_2=""))
    with pytest.warns(UserWarning, match=r"1 of 5 images are not there and count as missing, for example '.*33.jpg'"):
        df = sources.entailment(path, images)
    assert df["image_1"].tolist() == [str(images / "11.jpg"), "", str(images / "11.jpg")] and df["image_2"][2] == ""


@pytest.mark.parametrize("name", ["../../x", "/etc/passwd", "a/b", "..", "", "1 1", "1\n", "٣", "1.5", "C:1", "1\\2"])
def test_an_id_that_is_no_number_is_refused(tmp_path, images, name):
    with pytest.raises(
        ValueError, match=r"A cell of 'id_2' must be an id of the digits 0 to 9. .* in row 1. 1 of 2 rows"
    ):
        sources.entailment(write_pairs(tmp_path, pair(), pair(id_2=name)), images)


@pytest.mark.parametrize(
    "url",
    [
        "http://x.example/none",
        "http://x.example/a.",
        "http://x.example/a.jp/g",
        "x./../../y",
        "http://x.example",
        "http://[x/a.jpg",
    ],
)
def test_a_url_without_an_extension_is_refused(tmp_path, images, url):
    with pytest.raises(
        ValueError, match=r"must be a URL that ends in an extension, such as .jpg. Received: .* in row 0 of 'image_1'"
    ):
        sources.entailment(write_pairs(tmp_path, pair(image_1=url)), images)


def test_a_link_out_of_the_folder_is_refused(tmp_path, images):
    (tmp_path / "secret").write_text("x")
    (images / "33.jpg").symlink_to(tmp_path / "secret")
    (images / "44.jpg").symlink_to(images / "11.jpg")
    (tmp_path / "linked").symlink_to(images)
    path = write_pairs(tmp_path, pair(id_1="44"))
    assert sources.entailment(path, tmp_path / "linked")["image_1"][0] == str(tmp_path / "linked" / "44.jpg")
    with pytest.raises(
        ValueError, match=r"must lie inside `images_dir`. Received: '.*33.jpg' in row 0 of 'image_1', which leads"
    ):
        sources.entailment(write_pairs(tmp_path, pair(id_1="33")), images)


def test_pairs_need_known_labels_and_all_columns(tmp_path):
    with pytest.raises(ValueError, match=r"A cell of 'label' must be one of .*Received: 'implies' in row 1"):
        sources.entailment(write_pairs(tmp_path, pair(), pair(label="implies")))
    with pytest.raises(ValueError, match=r"Received: '' in row 0"):
        sources.entailment(write_pairs(tmp_path, pair(label="")))
    short = [name for name in sources.ENTAILMENT_COLUMNS if name != "text_2"]
    with pytest.raises(
        ValueError, match=r"An entailment CSV needs the columns .*without \['text_2'\]. Give tweets.csv"
    ):
        sources.entailment(write_pairs(tmp_path, pair(), columns=short))


def test_pairs_need_a_csv_and_a_folder(tmp_path):
    path = tmp_path / "tweets.csv"
    with pytest.raises(FileNotFoundError, match=r"There is no file '.*tweets.csv'. data/README.md"):
        sources.entailment(path)
    path.write_text("")
    with pytest.raises(
        ValueError, match=r"must begin with a row of names. Received: '.*', which is empty. Give tweets"
    ):
        sources.entailment(path)
    path.write_text("id_1\n")
    with pytest.raises(ValueError, match="An entailment CSV needs the columns"):
        sources.entailment(path)
    for content in (b"id_1,text_1\n1,2,3\n1,2,3,4\n", b'id_1\n"open', b"id_1\na\xff\x81\x8d\x90b\n"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"An entailment CSV must be text with as many cells in each row"):
            sources.entailment(path)
    assert len(sources.entailment(write_pairs(tmp_path))) == 0
    with pytest.raises(FileNotFoundError, match=r"`images_dir` must be a folder. Received: '.*nowhere'"):
        sources.entailment(write_pairs(tmp_path, pair()), tmp_path / "nowhere")


def test_posts_survive_their_csv(pairs, tmp_path):
    made, folder = pairs
    made.to_csv(tmp_path / "made.csv", index=False)
    pd.testing.assert_frame_equal(sources.entailment(tmp_path / "made.csv", folder), made, check_dtype=False)


@pytest.fixture
def release(tmp_path, monkeypatch):
    """The public release in small, on this machine."""
    folder = tmp_path / "release"
    folder.mkdir()
    write_pairs(folder, pair())
    with tarfile.open(folder / "tweet_images.tar.gz", "w:gz") as archive:
        for name in ("tweet_images/11.jpg", "tweet_images/22.png", "../outside.jpg"):
            member = tarfile.TarInfo(name)
            member.size = 1
            archive.addfile(member, io.BytesIO(b"x"))
    monkeypatch.setattr(sources.posts, "ENTAILMENT_CSV", (folder / "tweets.csv").as_uri())
    monkeypatch.setattr(sources.posts, "ENTAILMENT_IMAGES", (folder / "tweet_images.tar.gz").as_uri())
    return folder


@pytest.mark.filterwarnings("ignore:Skipping invalid path during archive extraction")
def test_the_public_data_are_downloaded_once(release, tmp_path):
    path, images = sources.download_entailment(tmp_path / "data" / "entailment")
    df = sources.entailment(path, images)
    assert df["image_1"].tolist() == [os.path.join(images, "11.jpg")]
    assert pathlib.Path(images).is_relative_to(tmp_path / "data") and not list(tmp_path.rglob("outside.jpg"))
    for file in release.iterdir():
        file.unlink()
    assert sources.download_entailment(tmp_path / "data" / "entailment") == (path, images)


def test_a_failed_download_says_what_to_do(release, tmp_path):
    (release / "tweets.csv").unlink()
    with pytest.raises(OSError, match=r"The public data must be within reach. Received: .* Check the connection"):
        sources.download_entailment(tmp_path / "data")
    with pytest.raises(OSError):
        sources.download_entailment(release / "tweet_images.tar.gz")


def test_the_real_addresses_are_those_of_the_tutorial():
    assert sources.ENTAILMENT_CSV.endswith("/Multimodal-Entailment-Baseline/raw/main/csvs/tweets.csv")
    assert sources.ENTAILMENT_IMAGES.endswith("/releases/download/v1.0.0/tweet_images.tar.gz")


@pytest.mark.real
def test_real_pairs(real_data):
    df = sources.entailment(real_data / "data" / "entailment" / "tweets.csv")
    assert len(df) == 1260 and df["id_1"].str.fullmatch("[0-9]{15,20}").all()
    assert df["label"].value_counts().to_dict() == {"NoEntailment": 1064, "Implies": 98, "Contradictory": 98}


@pytest.mark.real
def test_real_pairs_whose_images_are_not_there(real_data, tmp_path):
    with pytest.warns(UserWarning, match="2520 of 2520 images are not there"):
        df = sources.entailment(real_data / "data" / "entailment" / "tweets.csv", tmp_path)
    assert (df["image_1"] == "").all()

"""The made-up films, and the readers of public data."""

import csv

import numpy as np
import pandas as pd
import pytest

from mmkeras import MultiLabel, samples, sources

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
    df = sources.movies(write(tmp_path / "movies_metadata.csv", rows))
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


def test_an_empty_file_is_an_error_that_names_the_columns(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match=r"A movie CSV needs the columns"):
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

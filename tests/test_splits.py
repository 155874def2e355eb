"""Splits by groups of rows and by time: what never stands on both sides, what is judged, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from mmkeras import split_frame


def photos():
    """Seven photos with one to four sentences each, in mixed order, and two rows without a photo."""
    names = [name for number, name in enumerate("abcdefg") for _ in range(1 + number % 4)] + [None, ""]
    df = pd.DataFrame({"image": pd.Series(names, dtype=object), "sentence": range(len(names))})
    return df.sample(frac=1, random_state=0)


@pytest.mark.parametrize("seed", range(5))
def test_a_group_never_stands_on_both_sides(seed):
    df = photos()
    rest, part = split_frame(df, 0.3, seed=seed, by="image")
    assert not (set(rest["image"].dropna()) & set(part["image"].dropna())) - {""}
    assert sorted([*rest["sentence"], *part["sentence"]]) == list(range(len(df)))
    position = {label: place for place, label in enumerate(df.index)}
    for rows in (rest, part):
        assert [position[label] for label in rows.index] == sorted(position[label] for label in rows.index)
    assert (
        part.groupby(part["image"].fillna("").where(lambda x: x != "", part["sentence"].astype(str))).ngroups == 3
    )  # of 9


def test_rows_without_a_group_are_groups_of_their_own():
    df = pd.DataFrame({"image": [None] * 40})
    rest, part = split_frame(df, 0.25, by="image")
    assert (len(rest), len(part)) == (30, 10)


def test_groups_by_several_columns_are_their_combinations():
    df = pd.DataFrame({"shop": ["x", "x", "y", "y"] * 5, "day": [1, 2, 1, 2] * 5, "row": range(20)})
    rest, part = split_frame(df, 0.25, by=["shop", "day"])
    assert len(part) == 5 and len(part[["shop", "day"]].drop_duplicates()) == 1
    assert len(rest[["shop", "day"]].drop_duplicates()) == 3


def test_splits_by_groups_repeat_with_the_seed():
    parts = [split_frame(photos(), 0.4, seed=seed, by="image")[1].index.tolist() for seed in (0, 0, *range(1, 6))]
    assert parts[0] == parts[1] and any(part != parts[0] for part in parts)


@pytest.mark.parametrize(
    "times",
    [
        list(range(10)),
        [float(number) for number in range(10)],
        list(pd.date_range("2020-01-01", periods=10)),
        [f"2020-01-{number + 1:02d}" for number in range(10)],
        list(pd.date_range("2020-01-01", periods=10, tz="Asia/Tokyo")),
    ],
    ids=["ints", "floats", "dates", "strings", "zones"],
)
def test_the_newest_rows_are_judged(times):
    df = pd.DataFrame({"when": times, "row": range(10)}).sample(frac=1, random_state=1)
    rest, part = split_frame(df, 0.3, time="when")
    assert sorted(part["row"]) == [7, 8, 9] and rest["when"].max() < part["when"].min()
    assert list(rest["row"]) == [row for row in df["row"] if row < 7]  # in the order of the frame
    again = split_frame(df, 0.3, seed=99, time="when")  # chance has no say
    assert again[1].index.tolist() == part.index.tolist()


def test_rows_of_one_time_stay_together_and_rows_without_a_time_are_learnt_from():
    df = pd.DataFrame({"when": [1, 2, 3, 3, 3, 4, None, None], "row": range(8)})
    rest, part = split_frame(df, 0.25, time="when")
    assert part["row"].tolist() == [5] and rest["row"].tolist() == [0, 1, 2, 3, 4, 6, 7]
    dates = df.assign(when=["2020-01-01", "2020-01-02", "", None, "2020-01-03", "2020-01-04", "  ", np.nan])
    assert split_frame(dates, 0.25, time="when")[1]["row"].tolist() == [4, 5]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"by": "image", "time": "when"},
            ValueError,
            "by groups or by time. Received: by='image' and time='when'. Leave one",
        ),
        ({"by": "imag"}, KeyError, r"A split needs the column 'imag'. Received the columns: \['image', 'when'\]"),
        ({"by": ["image", "x"]}, KeyError, "A split needs the column 'x'"),
        ({"time": "then"}, KeyError, "A split needs the column 'then'"),
        ({"time": "image"}, ValueError, "`time` must name a column of dates or numbers. Received: 'image' with 'a'"),
        (
            {"time": "when"},
            ValueError,
            "leave rows of different times on each side. Received: 0.5 of 4 rows, 4 of them",
        ),
        ({"fraction": 0.1, "by": "image"}, ValueError, "Received: 0.1 of 2 groups"),
        ({"fraction": 1.5, "by": "image"}, ValueError, "Received: 1.5 of 2 groups"),
        ({"fraction": 0.0, "time": "when"}, ValueError, "Received: 0.0 of 4 rows"),
    ],
)
def test_splits_that_cannot_be(settings, error, message):
    df = pd.DataFrame({"image": ["a", "a", "b", "b"], "when": [3, 3, 3, 3]})
    with pytest.raises(error, match=message):
        split_frame(df, **{"fraction": 0.5, **settings})


def test_neither_split_changes_the_frame():
    df = photos().assign(when=lambda df: df["sentence"])
    before = df.copy(deep=True)
    split_frame(df, 0.5, by="image")
    split_frame(df, 0.5, time="when")
    pd.testing.assert_frame_equal(df, before)

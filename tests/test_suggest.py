"""What columns of a table are, by their values, and the code that would learn it."""

import dataclasses
import datetime
import decimal
import pathlib
import warnings

import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.data.column import Claim
from mmkeras.data.sample import Sample
from mmkeras.inspection.alone import outputs, skills
from mmkeras.inspection.as_code import as_code
from mmkeras.inspection.strangers import stranger
from mmkeras.modalities.base import PRESENT, Modality

ROWS = 240
WORDS = [
    "lamp",
    "chair",
    "kite",
    "boat",
    "stone",
    "river",
    "cloud",
    "tin",
    "paper",
    "glass",
    "wood",
    "rope",
    "wheel",
    "bell",
]


def base(rows=ROWS, seed=0):
    """A number that tells something of two classes."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows).round(3)
    return pd.DataFrame({"x": x, "y": np.where(x + rng.normal(size=rows) > 0, "dear", "cheap")})


def sentences(rows=ROWS, words=8, seed=1):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, words)) for _ in range(rows)]


def column(cells, rows=ROWS, name="it", target="y"):
    """The row of `.columns` of one column among others."""
    cells = list(cells) if len(cells) == rows else [cells[i % len(cells)] for i in range(rows)]
    df = base(rows).assign(**{name: pd.Series(cells, dtype=object) if not hasattr(cells, "dtype") else cells})
    return mm.suggest(df, target).columns.loc[name]


def shuffled(cells, seed=0):
    return [cells[i] for i in np.random.default_rng(seed).permutation(len(cells))]


def spread(least, most, seed=2, rows=ROWS):
    return np.random.default_rng(seed).uniform(least, most, rows)


def run(suggestion, df, **names):
    """What the printed code leaves, fitted for one pass."""
    code = suggestion.code.replace("fit(train)", "fit(train, epochs=1, verbose=0)").replace(
        "fit(df)", "fit(df, epochs=1, verbose=0)"
    )
    names = {"df": df, **names}
    exec(code.replace("evaluate(test)", "evaluate(test, verbose=0)"), names)
    return names["pipe"]


# === Kinds of columns ===

NUMBERS = {
    "floats": spread(-5, 5),
    "dollars": [f"${number:,.2f}" for number in spread(100, 90_000)],
    "percent": [f"{number:.0f} %" for number in spread(0, 100)],
    "thousands": [f"{number:.1f}k" for number in spread(1, 9)],
    "decimal commas": [f"{number:.1f}".replace(".", ",") for number in spread(1, 90)],
    "euros behind": [f"{number:.2f} €" for number in spread(1, 90)],
    "as text": [str(number) for number in spread(0, 1)],
    "with gaps": [None if i % 3 else f"{i / 7:.3f}" for i in range(ROWS)],
    "gap words": ["NA" if i % 3 else f"{i / 7:.3f}" for i in range(ROWS)],
    "decimals": [decimal.Decimal(i).sqrt() for i in range(ROWS)],
    "counts": np.random.default_rng(3).poisson(40, ROWS),
    "durations": pd.to_timedelta(spread(0, 9e4), unit="s"),
    "years": np.random.default_rng(3).integers(1960, 2024, ROWS),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name):
    found = column(NUMBERS[name])
    assert (found["kind"], found["unsure"], found["read by"]) == ("number", False, "tabular"), found["why"]


DAYS = pd.date_range("2019-01-03", periods=ROWS, freq="31h")
DATES = {
    "datetimes": DAYS,
    "zoned": DAYS.tz_localize("Europe/Berlin", nonexistent="shift_forward", ambiguous=True),
    "days of Python": [day.date() for day in DAYS],
    "periods": pd.Series(pd.period_range("2001-01", periods=ROWS, freq="M")),
    "ISO": DAYS.strftime("%Y-%m-%d"),
    "moments": DAYS.strftime("%Y-%m-%d %H:%M:%S"),
    "day first": DAYS.strftime("%d.%m.%Y"),
    "slashes": DAYS.strftime("%m/%d/%Y"),
    "names": DAYS.strftime("%B %d, %Y"),
    "integers": DAYS.strftime("%Y%m%d").astype(int),
    "integers as text": DAYS.strftime("%Y%m%d"),
    "to the second": DAYS.strftime("%Y%m%d%H%M%S").astype("int64"),
    "with gaps": ["" if i % 4 == 0 else day for i, day in enumerate(DAYS.strftime("%Y-%m-%d"))],
}


@pytest.mark.parametrize("name", DATES)
def test_dates(name):
    found = column(pd.Series(list(DATES[name]), dtype=getattr(DATES[name], "dtype", object)))
    assert (found["kind"], found["unsure"]) == ("date", False), found["why"]


def test_seconds_since_1970_are_numbers_that_may_be_times():
    seconds = (DAYS - pd.Timestamp(0)) // pd.Timedelta("1s")
    for cells, unit in ((seconds, "'s'"), (seconds * 1000 + 7, "'ms'")):
        found = column(cells.to_numpy())
        assert found["kind"] == "number" and found["unsure"]
        assert f"unit={unit}) makes dates from 2019-01-0" in found["why"]


CATEGORIES = {
    "two": ["yes", "no"],
    "truths": np.arange(ROWS) % 3 == 0,
    "0 and 1": np.arange(ROWS) % 2,
    "three names": ["low", "medium", "high"],
    "60 names": [f"{word}{i}" for i in "abcd" for word in WORDS],
    "codes with zeros": [f"{i:05d}" for i in range(0, 4000, 77)],
    "a categorical": pd.Series(pd.Categorical(["b", "a", "c"] * (ROWS // 3))),
    "with gaps": ["red", None, "green"],
    "there or not": ["gift", None],
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_categories(name):
    cells = CATEGORIES[name]
    found = column(shuffled([cells[i % len(cells)] for i in range(ROWS)]) if isinstance(cells, list) else cells)
    assert (found["kind"], found["unsure"], found["read by"]) == ("category", False, "tabular"), found["why"]


UNSURE = {
    "codes or counts": ("number", [3, 1, 4, 2, 5]),
    "three sentences": (
        "category",
        ["this one was sent back to us", "nobody knows where it is", "it came in good time"],
    ),
    "units of two kinds": ("number", [f"{i} lbs" if i % 4 else f"{i} oz" for i in range(50, 110)]),
    "a comma that may be either": ("number", [f"{i},{3 * i + 100}" for i in range(1, 100)]),
}


@pytest.mark.parametrize("name", UNSURE)
def test_what_values_do_not_say_is_told_as_unsure(name):
    kind, cells = UNSURE[name]
    found = column(shuffled([cells[i % len(cells)] for i in range(ROWS)]))
    assert found["kind"] == kind and found["unsure"] and found["why"].startswith("unsure: "), found["why"]


def test_texts_and_how_much_is_read_of_them():
    df = base().assign(
        title=sentences(words=3),
        plot=sentences(words=90),
        日=["".join(shuffled(list("猫が走る川の犬山道"), i)) for i in range(ROWS)],
    )
    suggestion = mm.suggest(df, "y")
    assert (suggestion.columns["kind"][["title", "plot", "日"]] == "text").all(), suggestion
    lengths = {m.columns[0]: m.sequence_length for m in suggestion.modalities if m.name.startswith("text")}
    assert lengths["title"] == 16 and lengths["plot"] == 128
    assert {m.encoder for m in suggestion.modalities if m.name.startswith("text")} == {"lexical"}
    assert any("pretrained" in note for note in suggestion.notes)


def test_names_of_several_words_that_recur_are_read_in_both_ways():
    names = shuffled([f"{a} {b}" for a in WORDS for b in WORDS] * 2)[:ROWS]
    found = column(shuffled(names[:40] * 6))
    assert found["kind"] == "category and text" and found["read by"] == "text, tabular" and not found["unsure"]


LISTS = {
    "lists": [["a", "b"], ["c"], []],
    "tuples": [("a",), ("b", "c")],
    "dicts": [[{"id": 1, "name": "War"}], [{"id": 2, "name": "Crime"}]],
    "JSON": ['["red", "blue"]', '["green"]', '["red"]'],
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_read_as_words(name):
    found = column([LISTS[name][i % len(LISTS[name])] for i in range(ROWS)])
    assert found["kind"].startswith("text") and "lists" in found["why"]


def test_lists_of_numbers_of_different_lengths_are_left_out_and_told():
    found = column([[0.5] * (2 + row % 3) for row in range(ROWS)])
    assert found["kind"] == "list" and "lists of values" in found["why"] and found["read by"] == ""


def test_cells_that_nobody_reads():
    found = column([object() for _ in range(ROWS)])
    assert found["kind"] == "unread" and found["read by"] == ""


def test_pictures_as_files_and_bytes(tmp_path):
    df = mm.samples.entailment(40, seed=0, directory=tmp_path)
    df["bytes"] = [pathlib.Path(path).read_bytes() if path else None for path in df["image_1"]]
    suggestion = mm.suggest(df, "label")
    assert (suggestion.columns["kind"][["image_1", "image_2", "bytes"]] == "image").all()
    assert any("pretrained" in note and "Image" in note for note in suggestion.notes)
    gone = mm.suggest(df.assign(image_1=[f"gone_{i}.png" for i in range(40)]), "label").columns.loc["image_1"]
    assert gone["kind"] == "path" and "no file" in gone["why"] and gone["read by"] == ""


def test_some_pictures_that_are_gone_count_as_missing(tmp_path):
    df = mm.samples.listings(40, seed=0, directory=tmp_path)
    df["photo"] = [f"gone_{i}.png" if i % 5 == 0 else path for i, path in enumerate(df["photo"])]
    (image,) = [m for m in mm.suggest(df, "price").modalities if m.name == "image"]
    assert image.on_error == "missing"


# === What nobody should learn from ===

UNREAD = {
    "counted": ("id", range(ROWS)),
    "drawn without replacement": ("id", np.random.default_rng(0).permutation(4000)[:ROWS]),
    "as text": ("id", [str(number) for number in np.random.default_rng(0).permutation(4000)[:ROWS]]),
    "UUIDs": ("id", [f"{i * 7919 % 10**8:08x}-{i:04x}-4e{i:03x}" for i in range(ROWS)]),
    "codes": ("id", [f"tt{i * 7919 % 10**7:07d}" for i in range(ROWS)]),
    "templates": ("id", [f"invoice no. {i * 7919 % 10**7}" for i in range(ROWS)]),
    "snowflakes": ("id", [1375936088968200205 + 104_729 * i**2 for i in range(ROWS)]),
    "constant": ("constant", ["same"]),
    "truth": ("constant", [True]),
    "empty": ("empty", [None]),
    "blank": ("empty", ["", " ", "NA"]),
    "links": ("link", [f"https://example.org/{i}.jpg" for i in range(ROWS)]),
    "sounds": ("sound", [f"takes/{i}.WAV" for i in range(ROWS)]),
    "films": ("path", [f"clips/{i}.mp4" for i in range(ROWS)]),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_left_out(name):
    kind, cells = UNREAD[name]
    found = column(list(cells))
    assert (found["kind"], found["read by"]) == (kind, ""), found["why"]


def test_measured_numbers_that_happen_to_be_unique_are_no_ids():
    rng = np.random.default_rng(0)
    assert column(np.exp(rng.normal(12, 2, ROWS)).astype("int64"))["kind"] == "number"
    assert column(np.arange(1801, 1801 + ROWS))["kind"] == "number"  # years
    assert column(rng.permutation(10**6)[:ROWS], name="user_id")["unsure"]
    assert stranger(Sample(pd.Series(range(5)))) is None


def test_names_of_columns_that_cannot_name_them():
    df = base().assign(z=1.0 + np.arange(ROWS) / 7)
    df.columns = ["x", "y", "x"]
    df[""] = sentences()
    df[7] = sentences(seed=2)
    suggestion = mm.suggest(df, "y")
    assert suggestion.columns["kind"].to_dict() == {"x": "no name", "": "no name", "7": "text"}
    assert suggestion.code.count("rename") == 0 and [m.all_columns for m in suggestion.modalities] == [("7",)]


def test_columns_that_say_the_same_are_read_once():
    df = base().assign(kind=shuffled(["a", "b", "c"] * (ROWS // 3)))
    df["code"], df["x_text"] = df["kind"].map({"a": 7, "b": 1, "c": 3}), df["x"].astype(str)
    found = mm.suggest(df, "y").columns
    assert found["kind"]["code"] == found["kind"]["x_text"] == "duplicate" and "'kind'" in found["why"]["code"]


# === What tells the target ===


def test_copies_of_a_class():
    df = base()
    df["again"], df["coded"] = df["y"], (df["y"] == "dear").astype(int)
    df["other"] = [f"it is {y}" for y in df["y"]]
    found = mm.suggest(df, "y").columns
    assert (found["kind"][["again", "coded", "other"]] == "copy of the target").all() and found["kind"]["x"] == "number"


def test_copies_of_a_number():
    df = base().assign(price=np.exp(spread(0, 9)).round(2))
    df["again"], df["log"], df["text"] = df["price"], np.log(df["price"]), df["price"].map("${:,.2f}".format)
    df["rounded"] = df["price"].round(-1)
    df["rank"] = df["price"].rank()
    df["noisy"] = df["price"] * (1 + np.random.default_rng(0).normal(0, 0.01, ROWS))
    found = mm.suggest(df, "price").columns
    assert set(found["kind"][["again", "log", "text", "rank"]]) <= {"copy of the target", "id"}, found
    assert set(found["kind"][["rounded", "noisy"]]) <= {"leak", "copy of the target"}, found
    assert "R² " in found["why"]["noisy"] and found["kind"]["x"] == "number"


def test_a_column_that_is_there_only_afterwards():
    df = base(400)
    df["sent_back"] = [f"2021-03-{1 + i % 28:02d}" if y == "cheap" else None for i, y in enumerate(df["y"])]
    df["is_dear"] = np.where(df["y"] == "dear", "x", "")
    found = mm.suggest(df, "y").columns
    assert set(found["kind"][["sent_back", "is_dear"]]) <= {"leak", "copy of the target"}, found


def test_a_flag_of_one_class_of_several():
    df = base()
    df["y"] = [("a", "b", "c", "d")[i % 4] for i in range(ROWS)]
    df["flag"] = df["y"] == "c"
    assert mm.suggest(df, "y").columns["kind"]["flag"] == "leak"


def test_a_column_that_tells_much_stays_and_is_told():
    df = base(2000)
    df["price"] = df["x"] * 3 + np.random.default_rng(5).normal(0, 0.7, 2000)
    found = mm.suggest(df, "price").columns.loc["x"]
    assert found["kind"] == "number" and found["unsure"] and "known when predictions are wanted" in found["why"]


def test_groups_of_one_target_are_kept_together():
    df = base()
    df["case"] = np.random.default_rng(0).permutation(np.arange(ROWS) // 8)
    df["y"] = df["case"] % 2
    suggestion = mm.suggest(df, "y")
    assert suggestion.columns["kind"]["case"] == "group" and "by='case'" in suggestion.code
    assert any("'case'" in note for note in suggestion.notes)
    prices = df.assign(price=np.random.default_rng(1).normal(size=30)[df["case"]])
    assert mm.suggest(prices, "price").columns["kind"]["case"] == "group"


def test_rows_that_share_a_picture_are_kept_together(tmp_path):
    df = mm.samples.captions(60, seed=0, directory=tmp_path)
    suggestion = mm.suggest(df, "caption")
    assert suggestion.task == mm.Caption("caption") and "by='image'" in suggestion.code
    assert suggestion.modalities == [mm.Image("image", encoder="scratch", image_size=(96, 96), pooling=None)]


def test_skills_of_unseen_rows():
    rng = np.random.default_rng(0)
    noise, groups = rng.normal(size=600), rng.integers(0, 30, 600)
    assert skills(rng.normal(size=600), np.arange(600), outputs(noise[:, None])) == dict.fromkeys(
        ("values", "order", "near"), 0.0
    )
    told = skills(None, groups, outputs(groups % 3))
    assert told["values"] > 0.99 and told["order"] == 0
    assert skills(noise[:9], np.arange(9), outputs(noise[:9, None])) == dict.fromkeys(("values", "order", "near"), 0.0)


# === Tasks ===

TARGETS = {
    "names": (["a", "b", "c"], mm.MultiClass, False),
    "truths": ([True, False], mm.MultiClass, False),
    "0 and 1": ([0, 1], mm.MultiClass, False),
    "stars": ([1, 2, 3, 4, 5], mm.MultiClass, True),
    "20 whole numbers": (list(range(20)), mm.Regression, True),
    "floats": (spread(0, 9).tolist(), mm.Regression, False),
    "counts": (list(range(90)), mm.Regression, False),
    "money": ([f"${number:,.2f}" for number in spread(0, 9000)], mm.Regression, False),
    "percent": ([f"{number:.0f} %" for number in spread(0, 100)], mm.Regression, False),
    "stars in words": (["1 star", "2 stars", "3 stars", "4 stars", "5 stars"], mm.MultiClass, False),
    "decimal commas": ([f"{number:.1f}".replace(".", ",") for number in spread(1, 90)], mm.Regression, False),
    "moments": (list(DAYS), mm.Regression, False),
    "bars": (["a|b", "b", "a|c", "c"] * 2 + ["b|c"], mm.MultiLabel, False),
    "lists": ([["a", "b"], ["b"], ["a"], []], mm.MultiLabel, False),
    "JSON": (['["a", "b"]', '["b"]', '["a"]'], mm.MultiLabel, False),
}


@pytest.mark.parametrize("name", TARGETS)
def test_tasks_by_the_values_of_the_target(name):
    cells, task, unsure = TARGETS[name]
    df = base().assign(y=pd.Series([cells[i % len(cells)] for i in range(ROWS)]), words=sentences())
    suggestion = mm.suggest(df, "y")
    assert type(suggestion.task) is task and ("unsure" in suggestion.told) is unsure, suggestion.told


def test_labels_between_other_signs_say_the_sign():
    labels = [", ".join(sorted(set(np.random.default_rng(i).choice(WORDS, 3)))) for i in range(ROWS)]
    assert mm.suggest(base().assign(y=labels), "y").task == mm.MultiLabel("y", separator=",")


def test_columns_of_0_and_1_are_labels():
    df = base().assign(toxic=np.arange(ROWS) % 2, insult=np.arange(ROWS) % 3 == 0, z=spread(0, 1))
    suggestion = mm.suggest(df.drop(columns="y"), ["toxic", "insult"])
    assert suggestion.task == mm.MultiLabel(["toxic", "insult"]) and list(suggestion.columns.index) == ["x", "z"]
    assert mm.suggest(df, ["toxic", "x"]).task == mm.Regression(["toxic", "x"])  # one of them holds other numbers
    with pytest.raises(ValueError, match="classes that recur"):
        mm.suggest(df.assign(word=[chr(97 + i % 26) * (i + 2) for i in range(ROWS)]), ["toxic", "word"])


# === Bad input ===

BAD = {
    "no such column": (lambda df: (df, "z"), KeyError, "Received the columns"),
    "no table": (lambda df: ({"y": [1, 2]}, "y"), TypeError, "DataFrame"),
    "no target": (lambda df: (df, []), ValueError, "must name a column"),
    "twice": (lambda df: (df, ["y", "y"]), ValueError, "must name a column"),
    "no rows": (lambda df: (df.head(0), "y"), ValueError, "at least one row"),
    "one row": (lambda df: (df.head(1), "y"), ValueError, "must vary"),
    "all missing": (lambda df: (df.assign(y=None), "y"), ValueError, "known in some rows"),
    "all blank": (lambda df: (df.assign(y=" "), "y"), ValueError, "must vary"),
    "constant": (lambda df: (df.assign(y="cheap"), "y"), ValueError, "must vary"),
    "sentences": (lambda df: (df.assign(y=sentences()), "y"), ValueError, "classes that recur"),
    "two of that name": (lambda df: (pd.concat([df, df["y"]], axis=1), "y"), ValueError, "unique"),
    "nothing else": (lambda df: (df[["y"]], "y"), ValueError, "tell something"),
    "an id alone": (lambda df: (df[["y"]].assign(id=range(ROWS)), "y"), ValueError, "'id'"),
    "a copy alone": (lambda df: (df[["y"]].assign(z=df["y"]), "y"), ValueError, "'z'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_with_the_reason(name):
    make, error, message = BAD[name]
    with pytest.raises(error, match=message):
        mm.suggest(*make(base()))


def test_nothing_is_changed_and_nothing_is_warned_of():
    df = base().assign(date=DAYS.strftime("%m/%d/%Y"), n="1,500", words=sentences())
    df.loc[::3, "n"] = "2,750"
    before = df.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mm.suggest(df, "y")
    pd.testing.assert_frame_equal(df, before)


def test_codes_among_numbers_are_told_by_the_target_and_by_their_names():
    rng = np.random.default_rng(0)
    shop, size = rng.integers(0, 40, 2000), rng.integers(0, 40, 2000)
    worth = rng.normal(size=40)
    df = pd.DataFrame({"shop": shop, "size": size, "zip": rng.choice(rng.integers(10_000, 99_999, 90), 2000)})
    df["price"] = worth[shop] + size / 20 + rng.normal(size=2000)
    found = mm.suggest(df, "price").columns
    assert (found["kind"] == "number").all() and found["unsure"].to_dict() == {"shop": True, "size": False, "zip": True}


def test_few_rows_are_told_as_unsure():
    found = mm.suggest(base(12), "y")
    assert found.columns["unsure"].all() and "split_frame" not in found.code
    fifty = mm.suggest(base(50).assign(id=range(50), words=sentences(50)), "y").columns
    assert fifty["kind"].to_dict() == {"x": "number", "id": "id", "words": "text"}


def test_ten_thousand_columns():
    cells = np.random.default_rng(0).normal(size=(100, 10_000)).astype("float32")
    df = pd.DataFrame(cells, columns=[f"c{i}" for i in range(10_000)]).assign(y=np.arange(100) % 2)
    suggestion = mm.suggest(df, "y")
    assert (suggestion.columns["kind"] == "number").all()
    assert "9,800 more" in str(suggestion) and max(map(len, suggestion.code.splitlines())) <= 120


def test_equal_rows_and_rows_without_a_target_are_told():
    df = pd.concat([base(), base().head(9)], ignore_index=True)
    df.loc[[3, 5], "y"] = None
    notes = " ".join(mm.suggest(df, "y").notes)
    assert "rows are copies" in notes and "2 of 249 rows have no target" in notes
    lists = df.assign(y=[["a"] if i % 2 else ["b"] for i in range(len(df))])
    assert "rows are copies" in " ".join(mm.suggest(lists, "y").notes)


@pytest.mark.parametrize("kind", ["polars", "pyarrow"])
def test_tables_of_other_kinds(kind):
    library = pytest.importorskip(kind)
    df = base().assign(date=DAYS, name=sentences())
    df["y"] = df["y"].where(df.index > 4, None)
    table = library.from_pandas(df) if kind == "polars" else library.Table.from_pandas(df)
    suggestion, same = mm.suggest(table, "y"), mm.suggest(df, "y")
    pd.testing.assert_frame_equal(suggestion.columns, same.columns)
    assert "df = df.to_pandas()" in suggestion.code and suggestion.modalities == same.modalities


# === Code ===


def test_the_code_runs_as_it_stands_with_names_that_need_quotes():
    df = base(120).assign(
        **{
            'it\'s "wide"': spread(0, 9, rows=120),
            "a\\b\n(in €)": [f"{number:.2f} €" for number in spread(1, 90, rows=120)],
            "Größe": shuffled(["S", "M", "L"] * 40),
            "brand name": shuffled(["Pomelo Toys", "No Name", "Tinker & Co", "North Wind"] * 30),
            "for": sentences(120),
            "text for": sentences(120, seed=4),
        }
    )
    df.columns = [("x",), *df.columns[1:]]
    suggestion = mm.suggest(df, "y")
    pipe = run(suggestion, df)
    assert pipe.predict(df).shape == (120, 2)
    assert [m.settings for m in pipe.modalities] == suggestion.modalities and pipe.task.settings == suggestion.task
    made = suggestion.pipeline(fusion="late")
    assert made.modalities == suggestion.modalities and made.fusion == "late"


def test_the_code_leaves_out_rows_whose_target_cannot_be_learnt():
    df = pd.DataFrame({"x": spread(0, 9, rows=60), 0: [f"${x:.2f}" for x in spread(1, 9, seed=6, rows=60)]})
    df.loc[[1, 2], 0], df.loc[3, 0], df.loc[4, 0] = None, "NA", "on request"
    suggestion = mm.suggest(df, 0)
    assert "df.iloc[:, 1].notna()" in suggestion.code and "'on request'" in suggestion.code
    assert run(suggestion, df).task.column == "0"


def test_labels_may_be_missing():
    df = base(60).assign(y=[None if i % 3 == 0 else "a|b" if i % 2 else "b" for i in range(60)])
    assert "notna" not in mm.suggest(df, "y").code


def test_settings_as_code():
    assert as_code(mm.Text(["a", "b"], encoder="lexical")) == 'mm.Text(["a", "b"], encoder="lexical")'
    labels = mm.MultiLabel(["toxic", "insult"])
    assert eval(as_code(labels), {"mm": mm}) == labels
    wide = mm.Tabular(numeric=[f"column {i}" for i in range(60)], categorical="it's", zero_is_missing=["column 3"])
    code = as_code(wide, "    ")
    assert eval(code, {"mm": mm}) == wide and max(map(len, code.splitlines())) <= 110


@dataclasses.dataclass(frozen=True)
class Colour(Modality):
    """A colour such as "#ff8000", which takes part in suggestions."""

    column: str
    name: str = "colour"

    @classmethod
    def claims(cls, sample):
        share = sample.share(lambda text: len(text) == 7 and text[0] == "#")
        return [Claim(0.97, "colours", "colour")] if share > 0.9 else []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        return [cls(column, name=f"colour_{place}") for place, column in enumerate(claims)]

    @property
    def columns_read(self):
        return {self.column: mm.Text(self.column, encoder="lexical").columns_read[self.column]}

    def prepare(self, raw):
        return {f"{self.name}{PRESENT}": mm.layers.Present(name=f"{self.name}_present")(raw[self.column])}


def test_a_modality_of_ones_own_takes_part():
    df = base().assign(paint=[f"#{i * 69_069 % 2**24:06x}" for i in range(ROWS)])
    suggestion = mm.suggest(df, "y")
    assert suggestion.columns["kind"]["paint"] == "colour" and Colour("paint", name="colour_0") in suggestion.modalities
    assert (
        f"from {__name__} import Colour\n" in suggestion.code and 'Colour("paint", name="colour_0")' in suggestion.code
    )


def test_it_prints_itself():
    shown = str(mm.suggest(base(), "y"))
    assert shown == repr(mm.suggest(base(), "y"))
    assert (
        "'y' of 240 rows: 2 different classes" in shown
        and "mm.MultiClass" in shown
        and "\nx       number  numbers from" in shown
    )


def test_the_command(tmp_path, capsys):
    path = tmp_path / "it's.csv"
    base(60).assign(words=sentences(60), toxic=np.arange(60) % 2, rude=np.arange(60) % 3 == 0).to_csv(
        path, index=False, sep=";"
    )
    assert main(["suggest", "--csv", str(path), "--target", "y", "--sep", ";"]) == 0
    out = capsys.readouterr().out
    assert "mm.MultiClass" in out and "read_table(" in out and "sep=';'" in out and "text" in out
    code = out[out.index("from mmkeras.data") : out.index("column  ")]
    names = {}
    exec(code.partition("pipe.fit")[0], names)
    assert len(names["train"]) == 48
    assert main(["suggest", "--csv", str(path), "--target", "toxic,rude", "--sep", ";"]) == 0
    assert 'mm.MultiLabel("labels", flags=["toxic", "rude"])' in capsys.readouterr().out
    assert main(["suggest", "--csv", str(path), "--target", "nothing", "--sep", ";"]) == 2


def test_days_of_python_are_no_surprise():
    found = column([datetime.date(2020, 1, 1 + i % 28) for i in range(ROWS)])
    assert found["kind"] == "date"

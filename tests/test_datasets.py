"""Reading columns, splitting frames, and the order of batches."""

import os
import re
import threading
import time
import warnings

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data import batches as datasets
from mmkeras.data.batches import Order, batches, make_dataset, plan_batches, settle, stream
from mmkeras.data.columns import (
    CategoryColumn,
    DateColumn,
    NumberColumn,
    TextColumn,
    check_frame,
    columns_of,
    lengths,
    raw_values,
    row_keys,
)
from mmkeras.data.splits import split_frame
from mmkeras.data.targets import Values
from mmkeras.persistence import argument_name, argument_names

NAN = float("nan")
texts, numbers, categories, iso_dates = (c().values for c in (TextColumn, NumberColumn, CategoryColumn, DateColumn))


def column(*values, **settings):
    return pd.Series(list(values), name="c", **settings)


def objects(*values):
    return column(*values, dtype=object)


# === check_frame ===


def test_check_frame_tells_two_columns_given_in_one_string():
    df = pd.DataFrame({"text_1": ["a"], "text_2": ["b"]})
    with pytest.raises(KeyError, match=r"Give several columns as a list: \['text_1', 'text_2'\]"):
        check_frame(df, mm.Text("text_1, text_2", encoder="scratch").all_columns)


def test_check_frame_suggests_the_nearest_name():
    df = pd.DataFrame({"overview": ["a"], "budget": [1]})
    message = (
        r"the model needs the column 'overveiw'. Received the columns: \['overview', 'budget'\]. Did you mean 'over"
    )
    with pytest.raises(KeyError) as caught:
        check_frame(df, ["budget", "overveiw"])
    assert caught.match(message.replace("'", r"\\?'"))


def test_check_frame_without_a_near_name():
    with pytest.raises(KeyError) as caught:
        check_frame(pd.DataFrame({"budget": [1]}), ["zzz"], "modality 'text'")
    assert "modality 'text' needs the column 'zzz'" in caught.value.args[0]
    assert "Rename the column or change the setting" in caught.value.args[0]


def test_check_frame_of_columns_that_are_no_strings():
    check_frame(pd.DataFrame({1: ["a"]}), [1])
    with pytest.raises(KeyError, match="column"):
        check_frame(pd.DataFrame({1: ["a"]}), ["text"])


def test_check_frame_other_errors():
    with pytest.raises(ValueError, match=r"Column names must be unique. Received 'a' twice"):
        check_frame(pd.DataFrame([[1, 2]], columns=["a", "a"]), ["a"])
    with pytest.raises(ValueError, match=r"needs at least one row. Received: an empty DataFrame. Check the filter"):
        check_frame(pd.DataFrame({"a": []}), ["a"])
    with pytest.raises(TypeError, match=r"reads a pandas DataFrame. Received: dict. Use pandas.DataFrame"):
        check_frame({"a": [1]}, ["a"])
    check_frame(pd.DataFrame([[1, 2, 3]], columns=["a", "b", "b"]), ["a"])  # only used columns must be unique


# === Columns ===


def test_texts():
    got = texts(objects("a", None, NAN, 3, 2.5, pd.NA, "", "ü 🙂"))
    assert got.tolist() == ["a", "", "", "3", "2.5", "", "", "ü 🙂"]
    assert texts(column("a", None, dtype="string")).tolist() == ["a", ""]
    assert texts(column("a", None, dtype="category")).tolist() == ["a", ""]


def test_numbers_of_malformed_strings():
    with pytest.warns(UserWarning, match=r"Column 'c': 2 values are not numbers \(for example '/ff9q.jpg'\).*missing"):
        got = numbers(objects("3", " 4.5 ", "/ff9q.jpg", "1e3", None, "12:00", -2))
    np.testing.assert_array_equal(got, np.array([3, 4.5, NAN, 1000, NAN, NAN, -2], "float32"))
    assert got.dtype == np.float32


def test_numbers_that_are_infinite_or_too_large():
    with pytest.warns(UserWarning, match=r"Column 'c': 4 values are infinite \(for example inf\)"):
        got = numbers(column(np.inf, -np.inf, 1e39, -1e39, 1.0))
    np.testing.assert_array_equal(got, np.array([NAN, NAN, NAN, NAN, 1], "float32"))


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (column(True, False), [1, 0]),
        (objects(True, False, None), [1, 0, NAN]),
        (column(1, None, 3, dtype="Int64"), [1, NAN, 3]),
        (column(True, None, dtype="boolean"), [1, NAN]),
        (column(1.5, None, dtype="Float32"), [1.5, NAN]),
        (objects(None, None), [NAN, NAN]),
        (objects(1, pd.NA, 2.5), [1, NAN, 2.5]),
        (column("1", "2", dtype="category"), [1, 2]),
        (column("1", None, dtype="string"), [1, NAN]),
        (column(2**53 + 1, 7), [2.0**53, 7]),
    ],
)
def test_numbers_of_many_types(series, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(numbers(series), np.array(expected, "float32"))


def test_numbers_of_cells_that_hold_lists():
    with pytest.warns(UserWarning, match="values are not numbers"):
        np.testing.assert_array_equal(numbers(objects([1], 2)), np.array([NAN, 2], "float32"))


def test_categories():
    assert categories(column(1, 2)).tolist() == ["1", "2"]
    assert categories(column(1, None, 2)).tolist() == ["1", "", "2"]  # integers with gaps are floats in pandas
    assert categories(column(1, None, dtype="Int64")).tolist() == ["1", ""]
    assert categories(column(1.5, 2.0)).tolist() == ["1.5", "2"]
    assert categories(column(True, False)).tolist() == ["True", "False"]
    assert categories(column(np.inf, NAN)).tolist() == ["inf", ""]
    assert categories(objects("a", None, pd.NA, 3.0, "3.0")).tolist() == ["a", "", "", "3", "3.0"]
    assert categories(column("a", None, dtype="category")).tolist() == ["a", ""]


def test_iso_dates():
    got = iso_dates(objects("1995-10-30", pd.Timestamp("2020-02-29 13:05:00"), None, "", "3 May 2001"))
    assert got.tolist() == ["1995-10-30T00:00:00", "2020-02-29T13:05:00", "", "", "2001-05-03T00:00:00"]
    assert iso_dates(pd.to_datetime(column("1969-12-31", None))).tolist() == ["1969-12-31T00:00:00", ""]


def test_iso_dates_of_what_is_no_date():
    with pytest.warns(UserWarning, match=r"Column 'c': 1 values are not dates \(for example 'soon'\).*missing"):
        assert iso_dates(objects("soon", "1995-10-30")).tolist() == ["", "1995-10-30T00:00:00"]


def test_iso_dates_converts_zones():
    assert iso_dates(objects("2020-01-01T01:00:00+02:00")).tolist() == ["2019-12-31T23:00:00"]


def test_iso_dates_do_not_read_years_as_nanoseconds():
    """Years as integers: dates of those years, or missing with a warning; never 1970."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = iso_dates(column(1995, 2001))
    assert not any(date.startswith("1970") for date in got)


def test_columns_say_how_they_are_read():
    modalities = [mm.Text(["a", "b"], "lexical"), mm.Tabular(["n"], ["c"], ["d"]), mm.Image("p", "scratch")]
    columns = columns_of(modalities)
    assert list(columns) == ["a", "b", "n", "c", "d", "p"]
    assert [column.reads for column in columns.values()] == ["text", "text", "number", "category", "date", "image"]
    assert [name for name, column in columns.items() if column.words] == ["a", "b"]
    assert [name for name, column in columns.items() if column.picture] == ["p"]
    inputs = {name: column.input(name) for name, column in columns.items()}
    assert {name: tensor.dtype for name, tensor in inputs.items() if tensor.dtype != "string"} == {"n": "float32"}
    assert all(tensor.shape == (None,) for tensor in inputs.values())


def test_modalities_share_a_column():
    assert list(columns_of([mm.Text("a", "lexical"), mm.Text(["a", "b"], "scratch", name="pair")])) == ["a", "b"]
    both = [mm.Text("a", "lexical"), mm.Tabular(categorical="a")]
    assert columns_of(both)["a"].reads == "text"  # as it was written, and read in the graph
    with pytest.raises(
        ValueError, match="files are read in one way. Received: 'a' read both as text and as image. Copy"
    ):
        columns_of([mm.Text("a", "lexical"), mm.Image("a", "scratch")])


@pytest.mark.parametrize("names", [("a b", "a_b"), ("preis (€)", "preis_(€)"), ("9x", "column_9x"), ("題", "名")])
def test_columns_of_like_names_have_names_of_their_own_in_a_graph(names):
    df = pd.DataFrame({name: ["red", "blue"] for name in names})
    modalities = [mm.Text(names[0], "lexical").adapt(df), mm.Tabular(categorical=names[1]).adapt(df)]
    inputs = {name: tensor.name for name, tensor in mm.build_prepare(modalities).input.items()}
    assert inputs == argument_names(names) and len(set(inputs.values())) == 2
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) for name in inputs.values())


def test_names_of_arguments_are_unique():
    signs = np.array(list("ab_x520 c€цolumn1"))
    rng = np.random.default_rng(0)
    names = {"".join(rng.choice(signs, rng.integers(1, 7))) for _ in range(3000)} | {
        "column_1",
        "1",
        "a_x20_b",
        "a b",
        "a_b",
    }
    given = argument_names(sorted(names))
    assert len(set(given.values())) == len(names)
    assert argument_names(["a_b", "c d"]) == {"a_b": "a_b", "c d": "c_d"}


def test_names_of_inputs_and_arguments_are_the_same():
    names = {"a b": "a_b", "9x": "column_9x", "preis (€)": "preis____", "_x": "column__x", "Ж": "column__", "x1": "x1"}
    columns = columns_of([mm.Text(name, "scratch", name=f"m{i}") for i, name in enumerate(names)])
    assert {name: column.input(name).name for name, column in columns.items()} == names
    assert {name: argument_name(name) for name in names} == names


def test_row_keys_do_not_change():
    """Features that an earlier version stored are found by them."""
    df = pd.DataFrame({"a": ["red fox"], "b": [""], "n": [2.5], "c": [3.0], "d": ["2000-01-01"], "p": [b""]})
    keys = {
        mm.Text(["a", "b"], "lexical"): "86a1a859de76a607d2bf23b5d6fc3ed1",
        mm.Tabular(["n"], ["c"], ["d"]): "8b71610cf5cf9612e2e17435c2991ecc",
        mm.Image("p", "scratch"): "25edd745ead8fcfa3805e113313c908f",
    }
    for modality, key in keys.items():
        assert [digest.hex() for digest in row_keys(modality, raw_values(df, [modality]))] == [key]


def test_lengths_are_those_of_texts_as_often_as_they_are_read():
    df = pd.DataFrame({"a": ["red", ""], "b": ["x", "yz"], "n": [1.0, 2.0]})
    modalities = [mm.Text(["a", "b"], "lexical"), mm.Text("a", "scratch", name="again"), mm.Tabular(numeric="n")]
    assert lengths(modalities, raw_values(df, modalities)).tolist() == [7, 2]
    assert lengths(modalities[2:], raw_values(df, modalities[2:])).tolist() == [0, 0]


def test_nothing_modifies_the_frame(movies):
    before = movies.copy(deep=True)
    modalities = [
        mm.Text("overview", encoder="lexical"),
        mm.Tabular(numeric=["budget", "runtime"], categorical=["genres"], datetime=["release_date"]),
    ]
    raw = raw_values(movies, modalities)
    for value in raw.values():
        value[:] = value[0]
    list(make_dataset(movies, modalities, mm.MultiLabel("genres").adapt(movies), training=True, seed=0))
    for modality in modalities:
        modality.adapt(movies)
    split_frame(movies, 0.5)
    pd.testing.assert_frame_equal(movies, before)


# === split_frame ===


def test_split_frame_is_a_partition_in_order():
    df = pd.DataFrame({"a": range(10)}, index=list("abcdefghij"))
    rest, part = split_frame(df, 0.3, seed=1)
    assert len(part) == 3 and len(rest) == 7
    assert sorted([*rest.index, *part.index]) == list(df.index)
    assert list(part.index) == sorted(part.index) and list(rest.index) == sorted(rest.index)
    assert (df.loc[part.index, "a"] == part["a"]).all()


def test_split_frame_is_deterministic():
    df = pd.DataFrame({"a": range(50)})
    parts = [list(split_frame(df, 0.2, seed=seed)[1]["a"]) for seed in (0, 0, 1)]
    assert parts[0] == parts[1] != parts[2]


def test_split_frame_of_repeated_index_labels():
    df = pd.DataFrame({"a": range(6)}, index=[0] * 6)
    rest, part = split_frame(df, 0.5)
    assert sorted([*rest["a"], *part["a"]]) == list(range(6))


@pytest.mark.parametrize(
    ("fraction", "rows"), [(0, 10), (1, 10), (-0.1, 10), (1.5, 10), (0.01, 10), (0.99, 10), (0.5, 1)]
)
def test_split_frame_errors(fraction, rows):
    with pytest.raises(
        ValueError, match=rf"`fraction` must lie between 0 and 1.*Received: {fraction} of {rows} rows. Use"
    ):
        split_frame(pd.DataFrame({"a": range(rows)}), fraction)


# === plan_batches ===


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize(("rows", "size"), [(1, 32), (32, 32), (33, 32), (1000, 7)])
def test_plan_covers_each_row_once(rows, size, with_lengths, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    lengths = np.random.default_rng(1).integers(1, 200, rows) if with_lengths else None
    plan = plan_batches(rows, size, lengths, rng)
    assert sorted(np.concatenate(plan)) == list(range(rows))
    assert len(plan) == -(-rows // size) and max(map(len, plan)) <= size


def test_plan_without_lengths_and_shuffling_is_the_order_of_rows():
    assert [batch.tolist() for batch in plan_batches(5, 2)] == [[0, 1], [2, 3], [4]]


def test_plan_by_length():
    assert [batch.tolist() for batch in plan_batches(5, 2, np.array([9, 1, 5, 1, 7]))] == [[1, 3], [2, 4], [0]]


def padding_share(plan, lengths):
    padded = sum(lengths[batch].max() * len(batch) for batch in plan)
    return 1 - lengths.sum() / padded


@pytest.mark.parametrize("seed", [None, 0])
def test_plan_by_length_pads_little(seed):
    lengths = np.random.default_rng(2).lognormal(4, 0.6, 4000).astype(int) + 2
    rng = None if seed is None else np.random.default_rng(seed)
    assert padding_share(plan_batches(4000, 32, lengths, rng), lengths) < 0.08
    assert padding_share(plan_batches(4000, 32, None, np.random.default_rng(0)), lengths) > 0.3


def test_plan_is_reproducible_and_shuffled():
    lengths = np.random.default_rng(0).integers(1, 100, 500)

    def plan(seed):
        return np.concatenate(plan_batches(500, 8, lengths, np.random.default_rng(seed))).tolist()

    assert plan(1) == plan(1) != plan(2)
    sizes = [lengths[batch].mean() for batch in plan_batches(500, 8, lengths, np.random.default_rng(1))]
    assert sizes != sorted(sizes)  # short rows do not all come first


# === batches ===


def order_of(dataset):
    return [value.numpy().tolist() for (features, *_) in dataset for value in [features["row"]]]


def test_batches_reshuffle_in_each_epoch_reproducibly():
    columns = {"row": np.arange(40, dtype="float32")}
    dataset = batches(columns, Order(8, seed=5))
    first, second = order_of(dataset), order_of(dataset)
    assert first != second
    again = batches(columns, Order(8, seed=5))
    assert [order_of(again), order_of(again)] == [first, second]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(40))


def test_a_stream_tells_the_rows_of_each_batch():
    lengths = np.array([5, 1, 4, 2, 3])
    got = [
        (rows.tolist(), tensors["row"].tolist())
        for rows, tensors in stream({"row": np.arange(5.0)}, Order(2, lengths=lengths))
    ]
    assert got == [([1, 3], [1, 3]), ([4, 2], [4, 2]), ([0], [0])]
    assert order_of(batches({"row": np.arange(5.0)}, Order(2, lengths=lengths))) == [[1, 3], [4, 2], [0]]


def test_batches_are_prepared_ahead_in_their_order_and_their_errors_are_those_of_the_preparation():
    running, most = [], []

    def prepare(tensors):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05 * (1 + float(tensors["row"][0]) % 2))
        running.pop()
        if tensors["row"][0] > 8:
            raise tf.errors.InvalidArgumentError(None, None, "row 9 cannot be read")
        return tensors

    prepare.input = prepare.output = {"row": keras.Input((), name="row")}
    columns = {"row": np.arange(9, dtype="float32")}
    assert [tensors["row"].numpy().tolist() for _, tensors in stream(columns, Order(1), prepare=prepare)] == [
        [i] for i in range(9)
    ]
    assert min(2, os.cpu_count()) <= max(most) <= os.cpu_count()
    assert order_of(batches(columns, Order(1), prepare=prepare)) == [[i] for i in range(9)]
    with pytest.raises(tf.errors.InvalidArgumentError, match="row 9 cannot be read"):
        list(stream({"row": np.arange(12, dtype="float32")}, Order(1), prepare=prepare))
    next(made := stream(columns, Order(1), prepare=prepare))
    made.close()  # the rest is not wanted
    done = len(most)
    time.sleep(0.4)
    assert len(most) <= done + os.cpu_count()


def test_batches_carry_targets_weights_and_cached_features_of_the_same_rows():
    target, weights = np.arange(5) * 10, np.arange(5) * 100.0
    sequences = [np.full((i + 1, 2), i, "float32") for i in range(5)]

    def fetch(rows):
        longest = max((len(sequences[i]) for i in rows), default=0)
        padded = [np.pad(sequences[i], ((0, longest - len(sequences[i])), (0, 0))) for i in rows]
        return {"text": np.stack(padded)}

    dataset = batches({"row": np.arange(5.0)}, Order(2, 0, target=Values(target), weights=weights), fetch=fetch)
    assert int(dataset.cardinality()) == 3
    seen = []
    for features, y, w in dataset:
        row = features["row"].numpy()
        np.testing.assert_array_equal(y, row * 10)
        np.testing.assert_array_equal(w, row * 100)
        np.testing.assert_array_equal(features["text"].numpy()[:, 0, 0], row)
        assert features["text"].shape[1] == row.max() + 1
        seen += row.tolist()
    assert sorted(seen) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("outputs", [(), ("a", "b")])
@pytest.mark.parametrize("seed", [0, None])
def test_batches_cut_in_memory_are_those_that_python_makes(seed, outputs):
    columns = {"row": np.arange(23.0), "text": np.array([f"é{i}" for i in range(23)], dtype=object)}
    target, lengths, weights = np.arange(46).reshape(23, 2), np.arange(23) % 5, np.arange(23.0)
    passes = []
    for fetch in (None, lambda rows: {}):  # what is fetched is not in memory
        plan = Order(4, seed, lengths, Values(target), weights, outputs)
        dataset = batches(columns, plan, fetch=fetch)
        passes.append([tf.nest.map_structure(lambda x: x.numpy(), batch) for batch in dataset.repeat(2)])
    gathered, generated = passes
    np.testing.assert_equal(gathered, generated)
    assert len(gathered) == 12 and {len(weights) for _, _, weights in gathered} == {3, 4}
    if outputs:
        assert all((y["a"] == y["b"]).all() for _, y, _ in gathered)
    texts = [[text for batch in epoch for text in batch[0]["text"]] for epoch in (gathered[:6], gathered[6:])]
    assert sorted(texts[0]) == sorted(text.encode() for text in columns["text"])
    assert (texts[0] == texts[1]) == (seed is None)


def test_settle_waits_for_threads_that_are_at_work_in_python():
    started = threading.Event()

    def fetch(rows):
        started.set()
        time.sleep(0.3)
        return {}

    dataset = batches({"row": np.arange(8.0)}, Order(1), fetch=fetch)
    settle()
    assert not datasets._python.running
    started.clear()
    iterator, before = iter(dataset), time.monotonic()
    threading.Thread(target=lambda: next(iterator), daemon=True).start()
    assert started.wait(10) and datasets._python.running
    settle(longest=0.05)
    assert datasets._python.running  # it does not wait for ever
    settle()
    assert not datasets._python.running and time.monotonic() - before > 0.5


def test_batches_prepare_tensors(movies):
    modality = mm.Tabular(numeric=["runtime"]).adapt(movies)
    prepare = mm.build_prepare([modality])
    columns = raw_values(movies, [modality])
    dataset = batches(columns, Order(16), prepare=prepare)
    got = np.concatenate([features["tabular.numeric"] for (features,) in dataset])
    np.testing.assert_array_equal(got, prepare(columns)["tabular.numeric"])


# === make_dataset ===


def test_make_dataset_keeps_the_order_of_the_frame(movies):
    movies.index = [7] * len(movies)  # index labels may repeat
    task = mm.MultiLabel("genres").adapt(movies)
    modalities = [mm.Text("overview", encoder="scratch"), mm.Tabular(numeric=["runtime"])]
    dataset = make_dataset(movies, modalities, task, batch_size=16)
    features, targets = zip(*dataset, strict=True)
    overviews = [text.decode() for part in features for text in part["overview"].numpy()]
    assert overviews == movies["overview"].tolist()
    runtimes = np.concatenate([part["runtime"] for part in features])
    np.testing.assert_array_equal(runtimes, movies["runtime"].astype("float32"))
    np.testing.assert_array_equal(np.concatenate(targets), task.encode(movies))
    assert [len(part["overview"]) for part in features] == [16, 16, 8]


def test_make_dataset_for_training_shuffles(movies):
    modalities = [mm.Text("title", encoder="scratch")]

    def titles(**settings):
        dataset = make_dataset(movies, modalities, batch_size=4, training=True, **settings)
        return [title for part in dataset for title in part["title"].numpy().tolist()]

    assert titles(seed=1) == titles(seed=1) != titles(seed=2)
    expected = sorted(title.encode() for title in movies["title"])
    assert sorted(titles()) == expected and titles(seed=1) != expected


def test_make_dataset_errors(movies):
    with pytest.raises(KeyError, match="Did you mean"):
        make_dataset(movies, [mm.Text("titel", encoder="scratch")])
    with pytest.raises(ValueError, match=r"The classes of 'genres' are not known yet. Give `classes`, or call `adapt"):
        make_dataset(movies, [mm.Text("title", encoder="scratch")], mm.MultiLabel("genres"))

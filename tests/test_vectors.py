"""Vectors: how their cells are read, what a model makes of them, and what is told of cells that are none."""

import argparse
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.cli.offers import known_offers
from mmkeras.data.categories import factorize
from mmkeras.data.column import Column
from mmkeras.data.sample import Sample
from mmkeras.data.vectors import VectorColumn
from mmkeras.registry import describe, rebuild
from mmkeras.serving.answers import Answers, Part
from mmkeras.serving.hearing import all_warnings
from mmkeras.serving.limits import Limits, Refused
from mmkeras.serving.openapi import row_schema
from mmkeras.serving.requests import Reader, parsed
from mmkeras.trunk.trunk import Trunk

NAN = float("nan")


def read(*cells, size=None):
    """(what a column of these cells gives, sentences of warnings)."""
    series = pd.Series(list(cells), name="v", dtype=object)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        values = (VectorColumn(size) if size else VectorColumn().adapt(series)).values(series)
    return values.tolist(), [str(warning.message) for warning in told]


def table(rows=60, size=5, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(3.0, 2.0, (rows, size)).astype("float32")
    df = pd.DataFrame({"sound": list(vectors), "loud": np.where(vectors[:, 0] > 3.0, "yes", "no")})
    df["as_text"] = [str(vector.tolist()) for vector in vectors]
    return df.assign(**{f"f{place}": vectors[:, place] for place in range(size)})


# === Cells ===


@pytest.mark.parametrize(
    "cell",
    [
        [0.5, -2], (0.5, -2), np.array([0.5, -2]), np.array([0.5, -2], "float16"), ["0.5", "-2"], b"[0.5, -2]",
        "[0.5, -2]", "(0.5,-2)", " 0.5 -2\n", "[0.5 -2.]", "[ 5e-1\n -2 ]", "0.5, -2", "[0.5, -2,]", pd.Series([0.5, -2]),
    ],
)  # fmt: skip
def test_a_vector_is_read_however_it_is_written(cell):
    assert read(cell, [1, 2]) == ([[0.5, -2], [1, 2]], [])


@pytest.mark.parametrize("cell", [None, NAN, pd.NA, "", " ", "NA", "nan", [], (), np.array([]), "[]"])
def test_a_cell_that_says_nothing_is_missing_without_a_word(cell):
    values, told = read([1, 2], cell)
    assert np.isnan(values[1]).all() and values[0] == [1, 2]
    assert told == []


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ([1, NAN], r"1 values are lists with NaN or infinity among their numbers \(for example \[1, nan\]\) and are treated as missing"),
        ([1, float("inf")], "lists with NaN or infinity"),
        ([1, 1e39], "lists with NaN or infinity"),
        ([1, None], "lists with NaN or infinity"),
        ("[1, -inf]", "lists with NaN or infinity"),
        ("1,5 2,5", "no lists of numbers"),
        ("a b", r"1 values are no lists of numbers \(for example 'a b'\)"),
        (7, "no lists of numbers"),
        ({"a": 1}, "no lists of numbers"),
        ([[1, 2]], "no lists of numbers"),
        ([[1], [2, 3]], "no lists of numbers"),
        ([10**400, 1], "no lists of numbers"),
    ],
)  # fmt: skip
def test_a_cell_that_is_no_vector_is_missing_and_told(cell, sentence):
    values, told = read([1, 2], cell)
    assert values[0] == [1, 2] and np.isnan(values[1]).all()
    (message,) = told
    assert re.search(sentence, message), message


def test_vectors_of_different_lengths_are_refused():
    series = pd.Series([None, [1, 2], [3]], index=["a", "b", "c"], name="v")
    with pytest.raises(
        ValueError, match="same length. Received: 1 numbers in row 'c' of 'v', where the first vector has 2. Correct"
    ):
        VectorColumn().adapt(series).values(series)
    with pytest.raises(ValueError, match="3 numbers in row 0 of 'v', where the first vector has 2"):
        read([1, 2, 3], size=2)


def test_a_column_without_vectors_is_refused():
    with pytest.raises(
        ValueError, match=r"must hold lists of numbers. Received: 'v', without any \(for example 3\). Give columns"
    ):
        VectorColumn().adapt(pd.Series([3, 4], name="v"))
    with pytest.raises(ValueError, match="Received: 'v', without any. Give"):
        VectorColumn().adapt(pd.Series([None, "NA"], name="v").where([False, False]))


def test_columns_of_arrow_and_categories_are_read():
    pa = pytest.importorskip("pyarrow")
    lists = pd.Series(pa.array([[1.0, 2.0], None, [3.0, 4.0]]), dtype=pd.ArrowDtype(pa.list_(pa.float64())), name="v")
    column = VectorColumn().adapt(lists)
    assert column.values(lists)[[0, 2]].tolist() == [[1, 2], [3, 4]] and column.gaps(column.values(lists)).tolist() == [
        False,
        True,
        False,
    ]
    texts = pd.Series(["1 2", "3 4", "1 2"], dtype="category")
    assert column.values(texts).tolist() == [[1, 2], [3, 4], [1, 2]]


def test_what_a_column_learnt_is_saved_and_equal_vectors_have_equal_digests():
    column = VectorColumn(2)
    assert rebuild(Column, describe(column)) == column
    digests = column.digests(column.values(pd.Series([[1, 2], (1.0, 2.0), "1 2", [2, 1], None])))
    assert digests[0] == digests[1] == digests[2] and len(set(digests)) == 3


# === What a column is ===


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([[0.1, 0.2], [0.3, 0.4], None], "lists of 2 numbers each"),
        (["[0.1, 0.2]", "[0.3, 0.4]"], "lists of 2 numbers each"),
        ([" ".join(["1e-5", *map(str, np.arange(n, n + 7) / 7)]) for n in range(4)], "lists of 8 numbers each"),
        (["0.1 0.2", "0.3 0.4"], None),
        (["1 234", "5 678"], None),
        ([[0.1, 0.2], [0.3]], None),
        ([["a", "b"], ["c", "d"]], None),
        ([[0.1], [0.3]], None),
        ([0.1, 0.2], None),
        ([None, None], None),
        (["a dog", "a cat"], None),
    ],
)  # fmt: skip
def test_a_column_of_equally_long_lists_is_claimed(cells, expected):
    claim = VectorColumn().claim(Sample(pd.Series(cells, name="v")))
    assert (claim and claim.why) == expected


def test_whole_numbers_are_claimed_with_a_doubt():
    assert "whole numbers" in VectorColumn().claim(Sample(pd.Series([[12, 5], [7, 9]]))).doubt


def test_long_vectors_that_differ_in_the_middle_are_told_apart():
    zeros, other = np.zeros(2000), np.zeros(2000)
    other[1000] = 1
    codes, distinct = factorize(pd.Series([zeros, other, zeros.tolist(), "x", ["a"] * 50]))
    assert codes.tolist() == [0, 1, 0, 2, 3]
    assert distinct[0].startswith("[0.0, 0.0, 0.0]… (2000,) ") and distinct[3] == str(["a"] * 50)


def test_suggest_names_vectors():
    df = table().drop(columns=[f"f{place}" for place in range(5)])
    df["as_text"] = df["as_text"].sample(frac=1, random_state=0).to_numpy()  # else it says what the arrays say
    suggestion = mm.suggest(df, "loud")
    assert suggestion.columns["kind"].to_dict() == {"sound": "vector", "as_text": "vector"}
    assert suggestion.modalities == [
        mm.Vector("sound", name="vector_sound"),
        mm.Vector("as_text", name="vector_as_text"),
    ]
    assert 'mm.Vector("sound", name="vector_sound")' in suggestion.code


# === The modality ===


def test_places_are_standardised_by_the_training_rows():
    df = pd.DataFrame({"v": [[0.0, 5.0, 1.0], [4.0, 5.0, 1.0], None]})
    vector = mm.Vector("v").adapt(df)
    assert vector.state == {"mean": [2.0, 5.0, 1.0], "variance": [4.0, 1.0, 1.0]}
    tensors = mm.build_prepare([vector])(vector.raw_values(pd.DataFrame({"v": [[3, 6, 100], None]})))
    assert tensors["vector.values"].numpy().tolist() == [[0.5, 1, 5], [0, 0, 0]]  # cut at 5
    assert tensors["vector.present"].numpy().tolist() == [[1], [0]]


def test_several_columns_of_numbers_are_a_vector_whose_gaps_are_means():
    df = pd.DataFrame({"a": [0.0, 4.0, None], "b": ["1,000.0", "3,000", None]})
    vector = mm.Vector(["a", "b"]).adapt(df)
    tensors = mm.build_prepare([vector])(vector.raw_values(df.assign(a=[4.0, None, None])))
    assert tensors["vector.values"].numpy().tolist() == [[1, -1], [0, 1], [0, 0]]
    assert tensors["vector.present"].numpy().tolist() == [[1], [1], [0]]


@pytest.mark.filterwarnings("ignore:Column 'b'")
def test_settings_are_checked():
    with pytest.raises(ValueError, match="must read a column. Received none"):
        mm.Vector([])
    with pytest.raises(ValueError, match="each once"):
        mm.Vector(["a", "a"])
    with pytest.raises(ValueError, match=r"Received: 'b', without any \(for example \[1\]\). Give a column of lists"):
        mm.Vector(["a", "b"]).adapt(pd.DataFrame({"a": [1.0], "b": [[1]]}))
    with pytest.raises(ValueError, match="must see training rows first"):
        mm.build_prepare([mm.Vector("a")])
    with pytest.raises(ValueError, match="Copy the column under a second name"):
        mm.Pipeline([mm.Vector("a"), mm.Text("a", encoder="lexical")], mm.MultiClass("c"))


@pytest.mark.parametrize("columns", ["sound", "as_text", ["f0", "f1", "f2"]])
def test_it_keeps_its_contract(columns):
    mm.testing.check_modality(mm.Vector(columns), table(20))
    mm.testing.check_columns(mm.Vector(columns), table(20))


@pytest.fixture(scope="module")
def fitted():
    df = table(200)
    pipe = mm.Pipeline([mm.Vector("sound"), mm.Vector(["f0", "f1"], name="columns")], mm.MultiClass("loud"), units=16)
    pipe.fit(df, epochs=20, verbose=0, learning_rate=1e-2)
    return pipe, df


def test_a_model_learns_from_vectors_and_is_saved_and_served(fitted, tmp_path):
    pipe, _ = fitted
    new = table(40, seed=1)
    expected = pipe.predict(new)
    assert (np.array(pipe.predict_labels(new)) == new["loud"]).mean() > 0.85
    np.testing.assert_allclose(pipe.predict(new.iloc[[7]]), expected.iloc[[7]], atol=1e-6)
    np.testing.assert_allclose(pipe.predict(new.assign(sound=new["as_text"])), expected, atol=1e-6)
    pipe.save(tmp_path / "model")
    np.testing.assert_allclose(mm.load(tmp_path / "model").predict(new), expected, atol=1e-6)
    pipe.export(tmp_path / "served")
    served = tf.saved_model.load(str(tmp_path / "served"))
    raw = {"sound": np.stack(new["sound"]), **{name: new[name].to_numpy() for name in ("f0", "f1")}}
    raw["sound"][0] = NAN
    new.loc[0, "sound"] = None
    answers = served.serve({name: tf.constant(values) for name, values in raw.items()})["loud"]
    np.testing.assert_allclose(answers, pipe.predict(new), atol=1e-6)


def test_the_server_takes_lists(fitted):
    pipe, _ = fitted
    new = table(3, seed=1)
    answers = Answers(pipe)
    reader = Reader(answers.columns)

    def ask(*cells):
        body = {"instances": [{"sound": cell, "f0": 1.0, "f1": 2.0} for cell in cells]}
        question = reader.json(parsed(json.dumps(body).encode()))
        with all_warnings():
            (answer,) = answers.together([Part(question.cells, question.rows)])
        if isinstance(answer, Exception):
            raise answer
        return list(answer.table.values())

    lists = new["sound"].map(lambda cell: cell.tolist()).tolist()
    assert ask(*lists) == ask(*map(str, lists))
    expected = pipe.predict(pd.DataFrame({"sound": [*lists, None], "f0": 1.0, "f1": 2.0}))
    np.testing.assert_allclose(np.array(ask(*lists, None)).T, expected, atol=1e-6)
    with pytest.raises(Refused, match="2 numbers in row 0 of 'sound', where the first vector has 5"):
        ask([1, 2])
    with pytest.raises(Refused, match="A cell of 'sound' must be a vector, or null. Received: .1, 2, 3, 4, 'x'."):
        ask([], [1, 2, 3, 4, "x"])
    with pytest.raises(Refused, match="A cell of 'f0' must be a number, or null. Received: a list"):
        reader.json(parsed(b'{"instances": [{"f0": [1]}]}'))
    schema = row_schema(answers.columns, Limits())["properties"]["sound"]
    assert schema["type"] == ["array", "string", "null"]
    assert schema["items"] == {"type": "number"} and schema["minItems"] == schema["maxItems"] == 5


def test_vectors_are_compared_by_their_standardised_places():
    vector = mm.Vector("sound").adapt(table())
    assert vector.few_features and not mm.Vector("sound").few_features
    vectors, bags, sizes = Trunk([vector]).head_inputs().alike("vector")
    assert [x.shape for x in vectors] == [(None, 5)] and bags == sizes == []


def test_the_command_line_names_vectors():

    parser = argparse.ArgumentParser()
    known_offers().add_columns(parser, True)
    options = parser.parse_args(["--vector", "sound,words"])
    assert mm.Vector.from_options(options) == [
        mm.Vector("sound", name="vector_sound"),
        mm.Vector("words", name="vector_words"),
    ]

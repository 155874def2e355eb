"""Modalities and their encoders: settings, what they learn from the training rows, and the tensors and features they give."""

import argparse
import dataclasses
import json
import warnings

import keras
import numpy as np
import pandas as pd
import pytest

from mmkeras import Image, Tabular, Text, build_encode, build_prepare
from mmkeras.data.columns import Column, raw_values
from mmkeras.graph import all_layers
from mmkeras.modalities import AdoptedImage, AdoptedTabular, AdoptedText, Audio, with_options
from mmkeras.modalities.base import Modality, column_names
from mmkeras.modalities.encoders import ImageEncoder, KerasHub, TextEncoder
from mmkeras.modalities.encoders.applications import application
from mmkeras.modalities.encoders.base import find_encoder

NAN = float("nan")
WORDS = pd.DataFrame({"a": ["red fox", "red fox runs", "blue sea", ""], "b": ["x", "", "y z", ""]})


def stages(modality, df):
    adapted = modality.adapt(df)
    prepare = build_prepare([adapted])
    return adapted, prepare, build_encode([adapted], prepare)


def features(model, df):
    """{tensor: array} of what the encoders give for `df`."""
    adapted, prepare, encode = model
    tensors = prepare({k: keras.ops.convert_to_tensor(v) for k, v in raw_values(df, [adapted]).items()})
    return {name: np.array(value) for name, value in encode(tensors, training=False).items()}


def prepared(modality, train, df=None):
    adapted = modality.adapt(train)
    prepare = build_prepare([adapted])
    raw = raw_values(train if df is None else df, [adapted])
    return {k: np.array(v) for k, v in prepare({n: keras.ops.convert_to_tensor(v) for n, v in raw.items()}).items()}


@pytest.fixture(scope="module")
def bert_cls(tiny_bert):
    return stages(Text("a", encoder=str(tiny_bert), sequence_length=32), WORDS)


# === Text: encoders ===


def test_both_directory_formats_give_the_same(bert_cls, tiny_keras_hub):
    other = stages(Text("a", encoder=tiny_keras_hub, sequence_length=32), WORDS)
    from_hub, from_keras = features(bert_cls, WORDS), features(other, WORDS)
    assert from_hub["text"].shape == (4, 16)
    np.testing.assert_allclose(from_hub["text"], from_keras["text"], atol=1e-5)
    assert np.abs(from_hub["text"][0] - from_hub["text"][2]).max() > 0.1


def test_tower_is_the_backbone(bert_cls, tiny_bert):
    import keras_hub

    backbone = keras_hub.models.Backbone.from_preset(str(tiny_bert))
    _, prepare, _ = bert_cls
    tokens = prepare({"a": keras.ops.convert_to_tensor(WORDS["a"].to_numpy(object))})
    names = ("token_ids", "padding_mask", "segment_ids")
    expected = backbone({name: tokens[f"text.{name}"] for name in names})["sequence_output"][:, 0]
    np.testing.assert_allclose(features(bert_cls, WORDS)["text"], expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean", None])
def test_poolings_do_not_depend_on_padding(tiny_bert, pooling):
    model = stages(Text("a", encoder=str(tiny_bert), sequence_length=48, pooling=pooling), WORDS)
    together = features(model, pd.DataFrame({"a": ["red fox", "a very much longer text of many letters", ""]}))
    assert together["text"].shape == ((3, 16) if pooling else (3, together["text"].shape[1], 16))
    for row, text in ((0, "red fox"), (2, "")):
        alone = features(model, pd.DataFrame({"a": [text]}))["text"][0]
        here = together["text"][row] if pooling else together["text"][row, : len(alone)]
        np.testing.assert_allclose(here, alone, atol=1e-5)


def test_mean_pooling_by_hand(tiny_bert):
    df = pd.DataFrame({"a": ["red fox", "x"]})
    sequence = features(stages(Text("a", encoder=str(tiny_bert), pooling=None), WORDS), df)["text"]
    mean = features(stages(Text("a", encoder=str(tiny_bert), pooling="mean"), WORDS), df)["text"]
    np.testing.assert_allclose(mean, [sequence[0, :8].mean(axis=0), sequence[1, :3].mean(axis=0)], atol=1e-5)


def test_several_layers_stand_side_by_side(bert_cls, tiny_bert):
    import keras_hub

    got = features(stages(Text("a", encoder=str(tiny_bert), sequence_length=32, layers=2), WORDS), WORDS)["text"]
    assert got.shape == (4, 32)
    np.testing.assert_allclose(got[:, 16:], features(bert_cls, WORDS)["text"], atol=1e-5)
    backbone = keras_hub.models.Backbone.from_preset(str(tiny_bert))
    below = keras.Model(backbone.input, backbone.transformer_layers[-2].output)
    tokens = bert_cls[1]({"a": keras.ops.convert_to_tensor(WORDS["a"].to_numpy(object))})
    second = below({name: tokens[f"text.{name}"] for name in ("token_ids", "padding_mask", "segment_ids")})[:, 0]
    np.testing.assert_allclose(got[:, :16], second, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("top", [1, 2, 3])
def test_top_blocks_train_alone(tiny_bert, bert_cls, top, layers):
    model = stages(Text("a", encoder=str(tiny_bert), sequence_length=32, trainable=top, layers=layers), WORDS)
    adapted, _, encode = model
    assert adapted.tower_layers(True) == {"text_tower": False, "text_tower_top": True}
    assert adapted.tower_layers(False) == {"text_tower": False, "text_tower_top": False}
    for name, trains in adapted.tower_layers(True).items():
        encode.get_layer(name).trainable = trains
    block = 16  # weights of one transformer block
    assert len(encode.trainable_weights) == top * block
    paths = {weight.path for weight in encode.trainable_weights}
    assert not any("embedding" in path for path in paths)
    got = features(model, WORDS)["text"]
    np.testing.assert_allclose(got[:, -16:], features(bert_cls, WORDS)["text"], atol=1e-5)


@pytest.mark.parametrize(("trainable", "expected"), [(False, {"text_tower": False}), (True, {"text_tower": True})])
def test_tower_layers_of_a_whole_tower(tiny_bert, trainable, expected):
    text = Text("a", encoder=str(tiny_bert), trainable=trainable)
    assert text.tower_layers(True) == expected and text.tower_layers(False) == {"text_tower": False}


def test_encoders_without_pretraining_are_never_frozen():
    for encoder in ("lexical", "scratch", "gru"):
        assert Text("a", encoder=encoder).tower_layers(True) == {} and not Text("a", encoder=encoder).normalise


def test_pairs_are_packed(tiny_bert):
    tensors = prepared(Text(["a", "b"], encoder=str(tiny_bert), sequence_length=16), WORDS)
    np.testing.assert_array_equal(tensors["text.token_ids"][3], [2, 3, 3] + [0] * 10)
    np.testing.assert_array_equal(tensors["text.segment_ids"][0], [0] * 8 + [1, 1] + [0] * 3)
    np.testing.assert_array_equal(tensors["text.present"], [[1], [1], [1], [0]])


def test_mixed_precision_tower_gives_float32(tiny_bert, bert_cls):
    model = stages(Text("a", encoder=str(tiny_bert), sequence_length=32, dtype="mixed_bfloat16"), WORDS)
    got = features(model, WORDS)["text"]
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, features(bert_cls, WORDS)["text"], atol=0.2)


@pytest.mark.parametrize("encoder", ["scratch", "gru"])
def test_a_vocabulary_is_learnt_from_the_training_rows(encoder):
    train = pd.DataFrame({"a": ["Red fox", "red fox"] * 20})
    model = stages(Text("a", encoder=encoder, sequence_length=16), train)
    words = model[0].state["tokenizer"].get_vocabulary()
    assert "red" in words and "fox" in words and "##z" not in words
    got = features(model, pd.DataFrame({"a": ["RED FOX", "red fox", "zebra 🙂", ""]}))["text"]
    assert got.shape == (4, 128) and np.isfinite(got).all()
    np.testing.assert_allclose(got[0], got[1], atol=1e-6)
    assert model[2].trainable_weights


def test_gru_reads_in_order_in_both_directions():
    train, df = (
        pd.DataFrame({"a": texts})
        for texts in (["red fox runs", "blue fox"] * 20, ["red fox", "fox red", "red fox runs"])
    )
    got = {}
    for pooling in (None, "cls", "mean"):
        text = Text("a", encoder="gru", sequence_length=16, pooling=pooling)
        keras.utils.set_random_seed(0)
        got[pooling] = features(stages(text, train), df)["text"]
    tokens, mask = got[None], prepared(text, train, df)["text.padding_mask"].astype(bool)[:, : got[None].shape[1]]
    assert not mask.all() and (tokens[~mask] == 0).all() and np.abs(tokens[0] - tokens[1]).max() > 1e-3
    for row in range(3):
        there = tokens[row][mask[row]]
        np.testing.assert_allclose(got["cls"][row], [*there[-1, :64], *there[0, 64:]], atol=1e-6)
        np.testing.assert_allclose(got["mean"][row], there.mean(axis=0), atol=1e-6)


def test_lexical_gives_a_trained_bag():
    model = stages(Text(["a", "b", "c"], encoder="lexical", name="words"), WORDS.assign(c="tail"))
    assert model[0].all_columns == ("a", "b", "c")
    got = features(model, pd.DataFrame({"a": ["red fox", "zzz"], "b": ["", ""], "c": ["", ""]}))
    assert got["words"].shape == (2, 32) and got["words"][0].any() and not got["words"][1].any()
    np.testing.assert_array_equal(got["words.present"], [[1], [1]])


def test_lexical_idf_by_hand():
    adapted = Text("a", encoder="lexical").adapt(WORDS)
    words, idf = adapted.state["vectorizer"].get_vocabulary(), adapted.state["idf"]
    assert len(words) == len(idf)
    expected = {"red": 2, "red fox": 2, "runs": 1, "blue": 1}
    for word, rows in expected.items():
        assert idf[words.index(word)] == pytest.approx(np.log(5 / (1 + rows)) + 1)


@pytest.mark.parametrize("encoder", ["tiny", "scratch", "gru", "lexical"])
def test_texts_of_every_kind(encoder, tiny_bert, movies):
    encoder = str(tiny_bert) if encoder == "tiny" else encoder
    model = stages(Text("overview", encoder=encoder, sequence_length=32), movies)
    odd = pd.DataFrame(
        {"overview": [None, NAN, "", " ", "🙂🙂", "word " * 20_000, "x" * 100_000, "日本語", 3.5, "a\x00b"]}
    )
    got = features(model, odd)
    assert np.isfinite(got["text"]).all() and len(got["text"]) == len(odd)
    np.testing.assert_array_equal(got["text.present"][:, 0], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    if encoder not in ("scratch", "gru", "lexical"):
        tokens = model[1]({"overview": keras.ops.convert_to_tensor(raw_values(odd, [model[0]])["overview"])})
        assert tokens["text.token_ids"].shape == (10, 32)


# === Text: errors ===


def test_missing_directory(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"looks like a local directory, and it does not exist. Received: '.*gone'"
    ):
        Text("a", encoder=str(tmp_path / "gone")).adapt(WORDS)


def test_a_directory_that_holds_something_else(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"must hold config.json.*which holds \['notes.txt'\]. Save one with"):
        Text("a", encoder=tmp_path).adapt(WORDS)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"must be loadable by KerasHub as a text tokenizer. Received: the local directory"
    ):
        Text("a", encoder=tmp_path).adapt(WORDS)


def test_a_directory_without_weights(tiny_bert, tmp_path):
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_bert / name).read_bytes())
    with pytest.raises(
        ValueError, match=r"must hold weights. Received: '.*', which holds \['config.json', .*Save them with"
    ):
        stages(Text("a", encoder=tmp_path), WORDS)


@pytest.mark.parametrize("setting", ["trainable", "layers"])
def test_too_many_blocks(tiny_bert, setting):
    with pytest.raises(
        ValueError, match=rf"`{setting}` must be at most the number of blocks of .*has 3. Received: 4. Use"
    ):
        stages(Text("a", encoder=str(tiny_bert), **{setting: 4}), WORDS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"columns": ["a", "b", "c"]},
            r"reads one column, or two as a pair. Received: \('a', 'b', 'c'\). Use one `Text`",
        ),
        ({"columns": []}, r"reads one column, or two as a pair. Received: \(\)"),
        ({"columns": ["a", "a"]}, r"`columns` of `Text` must be column names, each once. Received: \['a', 'a'\]"),
        ({"columns": ["a", None]}, r"must be column names, each once. Received: \['a', None\]"),
        (
            {"pooling": "max"},
            r"`pooling` must be one of \('cls', 'mean', 'pooled', 'sentence', None\). Received: 'max'",
        ),
        ({"trainable": 0}, r"`trainable` must be False, True, 'lora', or the number of top blocks.*Received: 0"),
        ({"trainable": -1}, r"`trainable` must be False, True, 'lora', or the number of top blocks.*Received: -1"),
        ({"trainable": 1.5}, r"`trainable` must be False, True, 'lora', or the number.*Received: 1.5"),
        ({"trainable": "yes"}, r"`trainable` must be False, True.*Received: 'yes'"),
        ({"layers": 0}, r"`layers` must be a positive int. Received: 0"),
        ({"layers": True}, r"`layers` must be a positive int. Received: True"),
        ({"sequence_length": 7}, r"`sequence_length` must be an int of at least 8. Received: 7"),
        ({"sequence_length": 64.0}, r"`sequence_length` must be an int of at least 8. Received: 64.0"),
        ({"name": "my text"}, r"`name` must be a Python identifier such as 'text'. Received: 'my text'"),
        ({"name": ""}, r"`name` must be a Python identifier"),
    ],
)
def test_text_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Text(**{"columns": "a", "encoder": "scratch", **settings})


@pytest.mark.parametrize("modality", [Text, Image, Audio])
def test_a_model_as_encoder_is_to_be_saved_first(modality):
    pixels = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match=r"must be a name or a path. Received: Functional. Save a model of your own"):
        modality("a", encoder=keras.Model(pixels, pixels))


def test_no_more_tokens_than_the_encoder_has_positions(tiny_bert):
    text = Text("a", tiny_bert, sequence_length=257)
    with pytest.raises(
        ValueError, match=r"at most the positions of '.*', which has 256. Received: 257. Use 256 or less"
    ):
        stages(text, WORDS)


def test_settings_are_fixed_and_survive_json():
    text = Text(["a", "b"], encoder="scratch", pooling=None, trainable=2)
    with pytest.raises(AttributeError):
        text.pooling = "cls"
    assert Text(**json.loads(json.dumps(text.get_config()))) == text
    tabular = Tabular(numeric="n", categorical=["c"], zero_is_missing="n")
    assert tabular.numeric == ("n",)
    assert Tabular(**json.loads(json.dumps(tabular.get_config()))) == tabular
    assert isinstance(text, Modality)


@pytest.mark.parametrize("modality", [Text("a", encoder="scratch"), Tabular(numeric="a")])
def test_adapt_comes_first_and_returns_a_copy(modality):
    with pytest.raises(ValueError, match=r"must see training rows first. Call `adapt\(df\)`, and use what it returns"):
        build_prepare([modality])
    df = pd.DataFrame({"a": [1.0, 2.0]})
    assert modality.adapt(df) is not modality and modality.state is None
    with pytest.raises(KeyError, match="needs the column"):
        modality.adapt(pd.DataFrame({"z": [1]}))


# === Tabular ===


def test_numbers_are_standardised_with_the_training_rows():
    train = pd.DataFrame({"n": [1.0, 2.0, 3.0, 6.0]})  # mean 3, variance 3.5
    got = prepared(Tabular(numeric="n"), train, pd.DataFrame({"n": [3.0, 6.0, 1.0]}))["tabular.numeric"]
    np.testing.assert_allclose(got[:, 0], np.array([0, 3, -2]) / np.sqrt(3.5), rtol=1e-5)


def test_missing_values_do_not_enter_the_statistics():
    train = pd.DataFrame({"n": [1.0, NAN, 2.0, 3.0, NAN, 6.0]})
    got = prepared(Tabular(numeric="n"), train)["tabular.numeric"][:, 0]
    np.testing.assert_allclose(got[[0, 2, 3, 5]], np.array([-2, -1, 0, 3]) / np.sqrt(3.5), rtol=1e-5, atol=1e-6)
    assert np.isnan(got[[1, 4]]).all()


def test_heavy_tailed_columns_are_replaced_by_logarithms():
    values = [0.0] * 20 + [1.0] * 10 + [1e6]  # skewness far above 2
    tabular = Tabular(numeric="n").adapt(pd.DataFrame({"n": values}))
    assert tabular.state["numeric"]["log1p"] == [True]
    logs = np.log1p(values)
    assert tabular.state["numeric"]["mean"][0] == pytest.approx(logs.mean())
    assert tabular.state["numeric"]["variance"][0] == pytest.approx(logs.var())
    got = prepared(Tabular(numeric="n"), pd.DataFrame({"n": values}))["tabular.numeric"][:, 0]
    np.testing.assert_allclose(got[:30], ((logs - logs.mean()) / logs.std())[:30], rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "heavy"),
    [
        ([1, 2, 3, 4, 5], False),
        ([0] * 9 + [10], True),  # skewness 2.67
        ([0, 0, 0, 10], False),  # skewness 1.15
        ([-1] + [0] * 9 + [100], False),  # negative values have no logarithm
        ([0, 100], False),
        ([5] * 20, False),
    ],
)
def test_the_rule_for_heavy_tails(values, heavy):
    state = Tabular(numeric="n").adapt(pd.DataFrame({"n": values})).state["numeric"]
    assert state["log1p"] == [heavy]


def test_zeros_that_mean_unknown():
    df = pd.DataFrame({"budget": [0.0, 2.0, 4.0], "year": [0.0, 2.0, 4.0]})
    got = prepared(Tabular(numeric=["budget", "year"], zero_is_missing="budget"), df)["tabular.numeric"]
    np.testing.assert_allclose(got[:, 0], [NAN, -1, 1], rtol=1e-5)
    np.testing.assert_allclose(got[:, 1], np.array([-2, 0, 2]) / np.sqrt(8 / 3), rtol=1e-5, atol=1e-7)


def test_columns_without_variation():
    df = pd.DataFrame({"none": [NAN] * 4, "same": [7.0] * 4, "zero": [0.0] * 4, "n": [1.0, 2.0, 3.0, 4.0]})
    modality = Tabular(numeric=["none", "same", "zero", "n"], zero_is_missing="zero")
    got = prepared(modality, df)["tabular.numeric"]
    assert np.isnan(got[:, 0]).all() and np.isnan(got[:, 2]).all()
    np.testing.assert_array_equal(got[:, 1], [0, 0, 0, 0])
    assert np.isfinite(features(stages(modality, df), df)["tabular"]).all()


def test_categories_share_what_is_rare_or_unseen():
    train = pd.DataFrame({"c": ["en"] * 3 + ["fr"] * 2 + ["xx", None]})
    got = prepared(Tabular(categorical="c"), train, pd.DataFrame({"c": ["en", "fr", "xx", "new", None, ""]}))
    np.testing.assert_array_equal(got["tabular.category_0"], [2, 3, 1, 1, 0, 0])
    np.testing.assert_array_equal(got["tabular.present"][:, 0], [1, 1, 1, 1, 0, 0])


def test_category_embeddings_of_missing_rare_and_unseen():
    train = pd.DataFrame({"c": ["en"] * 3 + ["fr"] * 2 + ["xx"]})
    got = features(stages(Tabular(categorical="c"), train), pd.DataFrame({"c": ["xx", "new", None, "en"]}))["tabular"]
    np.testing.assert_array_equal(got[0], got[1])
    assert np.abs(got[0] - got[2]).max() > 1e-6 and np.abs(got[0] - got[3]).max() > 1e-6


def test_whole_numbers_are_the_same_category_with_and_without_gaps():
    train = pd.DataFrame({"c": [1, 1, 2, 2]})
    got = prepared(Tabular(categorical="c"), train, pd.DataFrame({"c": [1.0, 2.0, NAN]}))["tabular.category_0"]
    np.testing.assert_array_equal(got, [2, 3, 0])


def test_min_count():
    train = pd.DataFrame({"c": ["a", "b", "b"]})
    np.testing.assert_array_equal(
        prepared(Tabular(categorical="c", min_count=1), train)["tabular.category_0"], [3, 2, 2]
    )


@pytest.mark.parametrize(
    "values",
    [[None] * 3, ["a", "b", "c"], ["[UNK]", "[UNK]", "a"], ["a", "a", "a", "[UNK]", "[UNK]"], ["(no category)"] * 3],
)
def test_odd_category_columns_can_be_built(values):
    df = pd.DataFrame({"c": pd.Series(values, dtype=object), "n": np.arange(len(values)) * 1.0})
    assert np.isfinite(features(stages(Tabular(numeric="n", categorical="c"), df), df)["tabular"]).all()


def test_dates():
    train = pd.DataFrame({"d": ["2000-01-01", "2002-01-01", None]})
    got = prepared(Tabular(datetime="d"), train)
    tensor = got["tabular.datetime"]
    assert tensor.shape == (3, 7) and np.isnan(tensor[2]).all() and np.isfinite(tensor[:2]).all()
    np.testing.assert_array_equal(got["tabular.present"][:, 0], [1, 1, 0])
    assert tensor[1, 0] - tensor[0, 0] == pytest.approx(2.0, abs=0.01)  # one year is the standard deviation
    as_dates = train.assign(d=pd.to_datetime(train["d"]))
    np.testing.assert_array_equal(prepared(Tabular(datetime="d"), as_dates)["tabular.datetime"], tensor)


def test_a_row_of_which_nothing_is_known():
    train = pd.DataFrame({"n": [1.0, 2.0, 3.0], "c": ["a", "a", "b"], "d": ["2000-01-01", "2001-05-01", "2002-01-01"]})
    modality = Tabular(numeric="n", categorical="c", datetime="d")
    rows = [[NAN, None, None], [NAN, "a", None], [NAN, None, "2001-01-01"], [1.0, None, None]]
    got = features(stages(modality, train), pd.DataFrame(rows, columns=["n", "c", "d"]))
    np.testing.assert_array_equal(got["tabular.present"][:, 0], [0, 1, 1, 1])
    assert np.isfinite(got["tabular"]).all()


def test_nan_never_reaches_the_features(movies):
    modality = Tabular(numeric=["budget", "runtime"], categorical="title", datetime="release_date")
    model = stages(modality, movies)
    odd = movies.head(6).copy()
    odd["budget"] = pd.Series(["/ff9q.jpg", "inf", None, "-5", "1e300", 0], dtype=object)
    odd["runtime"] = [NAN, np.inf, -np.inf, 1e38, -1e38, 0.0]
    odd["release_date"] = ["", "soon", None, "0001-01-01", "9999-12-31", "2020-02-30"]
    odd["title"] = pd.Series([None, NAN, "", "🙂", 3, "x" * 10_000], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = features(model, odd)
    assert np.isfinite(got["tabular"]).all() and np.isfinite(got["tabular.present"]).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"`Tabular` must read a column. Received none. Give `numeric`, `categorical` or `datetime`"),
        ({"numeric": ["a", "a"]}, r"`numeric` must be column names, each once. Received: \['a', 'a'\]"),
        (
            {"numeric": "a", "categorical": "a"},
            r"The columns of `Tabular` must be column names, each once. Received: \('a',",
        ),
        (
            {"numeric": "a", "zero_is_missing": "b"},
            r"must name columns of `numeric` \('a',\). Received: \['b'\]. Add them",
        ),
        ({"numeric": [1, "1"]}, r"`numeric` must be column names, each once. Received: \[1, '1'\]"),
        ({"numeric": "a", "name": "1st"}, r"`name` must be a Python identifier such as 'text'. Received: '1st'"),
    ],
)
def test_tabular_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Tabular(**settings)


@pytest.mark.real
def test_real_weights_load(real_data):
    folder = real_data / "weights" / "all-MiniLM-L6-v2"
    model = stages(Text("a", encoder=str(folder), pooling="mean", sequence_length=32), WORDS)
    df = pd.DataFrame({"a": ["A man rides a horse.", "Someone is riding a horse.", "Prices of copper fell on Monday."]})
    got = features(model, df)["text"]
    assert got.shape == (3, 384)
    unit = got / np.linalg.norm(got, axis=1, keepdims=True)
    assert unit[0] @ unit[1] > 0.6 > 0.3 > unit[0] @ unit[2]


def test_a_numeric_column_without_numbers():
    df = pd.DataFrame({"title": ["Toy Story", None, "Jumanji"], "gone": [None, np.nan, None]})
    words = r"must hold numbers. Received: 'title', without any \(for example 'Toy Story'\). Give it as `categorical`"
    with pytest.warns(UserWarning, match="are not numbers"), pytest.raises(ValueError, match=words):
        Tabular(numeric=["title"]).adapt(df)
    Tabular(numeric=["gone"]).adapt(df)  # nothing is known, which is no error


# === Encoders and modalities of one's own ===


class Initials(TextEncoder):
    label = "initials"

    def check(self):
        if self.modality.pooling is None:
            raise ValueError("`initials` gives no sequence.")

    def adapt(self, df):
        (column,) = self.modality.columns
        return {"initials": sorted({text[:1] for text in raw_values(df, [self.modality])[column]})}

    def prepare(self, raw):
        lookup = keras.layers.StringLookup(vocabulary=self.modality.state["initials"], name=f"{self.name}_lookup")
        return {"number": lookup(raw[self.modality.columns[0]])}

    def encode(self, tensors):
        return keras.layers.Embedding(20, 3, name=f"{self.name}_embed")(tensors["number"])


class Brightness(ImageEncoder):
    label = "brightness"

    def tower(self):
        pixels = keras.Input((*self.modality.image_size, 3))
        return keras.Model(pixels, keras.layers.GlobalAveragePooling2D()(pixels))


def test_an_encoder_of_ones_own_is_found_by_its_label():
    model = stages(Text("a", "initials"), pd.DataFrame({"a": ["x", "y", ""]}))
    adapted = model[0]
    assert adapted.state == {"initials": ["", "x", "y"]} and adapted.tower_layers(True) == {}
    assert not adapted.pretrained and not adapted.normalise and not adapted.sequence
    got = features(model, pd.DataFrame({"a": ["y", "", "x"]}))
    assert got["text"].shape == (3, 3) and got["text.present"][:, 0].tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="gives no sequence"):
        Text("a", "initials", pooling=None)
    encode = stages(Image("p", "brightness", image_size=(8, 8)), pd.DataFrame({"p": [b""]}))[2]
    assert encode.output["image"].shape == (None, 3)
    with pytest.raises(ValueError, match=r"network of keras.applications, .* Received: 'initials'"):
        Image("p", "initials")


def test_an_encoder_that_is_defined_anew_replaces_the_earlier():
    classes = [type(f"Toy{number}", (Initials,), {"label": "toy"}) for number in range(2)]
    assert find_encoder(TextEncoder, "toy", KerasHub) is classes[1]
    assert find_encoder(TextEncoder, "distil_bert_base_en_uncased", KerasHub) is KerasHub


@pytest.mark.parametrize(
    ("modality", "traits"),
    [
        (Text("a"), {"pretrained", "normalise"}),
        (Text("a", pooling=None), {"pretrained", "normalise", "sequence"}),
        (Text("a", "scratch", pooling=None), {"sequence"}),
        (Text("a", "lexical", pooling=None), set()),
        (Image("a"), {"pretrained", "normalise", "heavy"}),
        (Image("a", "scratch", pooling=None), {"sequence", "heavy"}),
        (Tabular("a"), {"few_features"}),
        (AdoptedText("a", "scratch"), set()),
        (AdoptedTabular("a"), set()),
        (AdoptedImage("a", "scratch"), {"heavy"}),
    ],
)
def test_traits(modality, traits):
    names = {name for name in ("pretrained", "normalise", "sequence", "few_features") if getattr(modality, name)}
    assert names | ({"heavy"} if modality.preparing == "heavy" else set()) == traits


def test_what_a_search_takes_from_a_modality():
    assert Image("a").choices() == {"dropout_image": [0.93, 0.5, 0.8]}
    assert Image("a", "scratch").choices() == Text("a").choices() == Tabular("a").choices() == {}
    assert Text("a").train_tower(2).trainable == 2 and Text("a").train_tower(True).trainable is True
    assert Image("a").train_tower(True).trainable is True
    for modality, trainable in (
        (Text("a"), False), (Text("a", "scratch"), True), (Text("a", "lexical"), 2), (Image("a"), 2), (Tabular("a"), True),
    ):  # fmt: skip
        assert modality.train_tower(trainable) is modality


def test_learning_anew_forgets_and_keeps_the_settings():
    text = Text("a", "initials")
    first = text.adapt(pd.DataFrame({"a": ["x", "y"]}))
    second = first.adapt(pd.DataFrame({"a": ["z"]}))
    assert second.state == {"initials": ["z"]} and first.state == {"initials": ["x", "y"]}
    assert second.settings == text and second.get_config() == text.get_config()


def test_a_towers_number_format_is_no_global_setting(monkeypatch):
    def refuse(policy):
        raise AssertionError(policy)

    monkeypatch.setattr(keras.config, "set_dtype_policy", refuse)
    for encoder, pooling in (("MobileNetV2", "avg"), ("scratch", "max"), ("scratch", None)):
        image = Image("p", encoder, None, (32, 32), pooling, dtype="mixed_bfloat16")
        encode = stages(image, pd.DataFrame({"p": [b""]}))[2]
        formats = {
            layer.dtype_policy.name
            for layer in all_layers(encode.get_layer("image_tower"))
            if layer.weights and not isinstance(layer, keras.Model)
        }
        assert formats == {"mixed_bfloat16"}
        assert encode.output["image"].dtype == ("float16" if image.pretrained and not pooling else "float32")


def test_a_network_apart_from_its_preprocessing_is_known():
    build, preprocess = application("MobileNetV3Small")
    assert build is keras.applications.MobileNetV3Small
    assert preprocess is keras.applications.mobilenet_v3.preprocess_input


# === The command line's options ===


def options(*arguments, towers=True):
    parser = argparse.ArgumentParser()
    for modality in (Text, Image, Tabular):
        modality.add_options(parser, towers=towers)
    return parser.parse_args(arguments)


def test_only_modalities_with_columns_of_their_own_bring_options():
    assert with_options()[:3] == [Text, Image, Tabular]
    assert not {AdoptedText, AdoptedImage, AdoptedTabular} & set(with_options())


def test_options_make_modalities():
    chosen = options("--text", "a,b", "--image", "p", "--numeric", "n", "--zero-is-missing", "n", "--datetime", "d, e")
    assert Text.from_options(chosen) == [
        Text("a", pooling="mean", name="text_0"),
        Text("a", "lexical", name="words_1"),
        Text("b", pooling="mean", name="text_2"),
        Text("b", "lexical", name="words_3"),
    ]
    assert Image.from_options(chosen) == [Image("p", on_error="missing")]
    assert Image.from_options(chosen, sequences=True) == [Image("p", pooling=None, on_error="missing")]
    assert Tabular.from_options(chosen) == [Tabular("n", datetime=["d", "e"], zero_is_missing="n")]
    assert [cls.from_options(options()) for cls in (Text, Image, Tabular)] == [[], [], []]


def test_options_that_set_encoders():
    chosen = options(
        "--text", "a", "--text-encoder", "scratch,initials", "--pooling", "cls", "--sequence-length", "64", "--trainable",
        "2", "--image", "p,q", "--image-encoder", "scratch", "--image-weights", "none",
    )  # fmt: skip
    assert Text.from_options(chosen) == [
        Text("a", "scratch", 64, pooling="cls", trainable=2, name="text_0"),
        Text("a", "initials", 64, name="words_1"),
    ]
    assert Image.from_options(chosen) == [Image(["p", "q"], "scratch", None, on_error="missing")]
    for word, value in (("none", False), ("all", True), ("3", 3)):
        (text, _) = Text.from_options(options("--text", "a", "--trainable", word))
        assert text.trainable is value or text.trainable == value == 3
    assert not Text.from_options(options("--text", "a", towers=False))[0].trainable
    with pytest.raises(ValueError, match="--trainable must be none, all, lora or a number. Received: 'some'"):
        Text.from_options(options("--trainable", "some"))


@dataclasses.dataclass(frozen=True)
class Clock(Modality):
    """Minutes of a column such as "9:30"."""

    columns: tuple
    name: str = "clock"

    option = "clock"
    option_help = "columns of times"

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns`"))

    @property
    def columns_read(self):
        return dict.fromkeys(self.columns, Minutes())

    def prepare(self, raw):
        minutes = keras.ops.stack([raw[column] for column in self.columns], axis=-1)
        there = keras.ops.cast(~keras.ops.isnan(minutes), "float32")
        present = keras.ops.max(there, axis=1, keepdims=True)
        return {"clock.minutes": keras.ops.nan_to_num(minutes), "clock.present": present}

    def encode(self, tensors):
        return keras.layers.Dense(4, name="clock_dense")(tensors["clock.minutes"])


class Minutes(Column):
    reads = "time"
    dtype = "float32"

    def values(self, series):
        return np.array([np.dot([60, 1], [*map(int, cell.split(":"))]) if cell else NAN for cell in series], "float32")


def test_a_modality_of_ones_own():
    df = pd.DataFrame({"t": ["9:30", ""], "u": ["0:01", ""]})
    assert Clock in with_options()
    parser = argparse.ArgumentParser()
    Clock.add_options(parser)
    (clock,) = Clock.from_options(parser.parse_args(["--clock", "t, u"]))
    assert clock == Clock(["t", "u"]) and Clock.from_options(parser.parse_args([])) == []
    np.testing.assert_array_equal(prepared(clock, df)["clock.minutes"], [[570, 1], [0, 0]])
    got = features(stages(clock, df), df)
    assert got["clock"].shape == (2, 4) and got["clock.present"].tolist() == [[1], [0]]
    with pytest.raises(ValueError, match="'t' read both as time and as text"):
        build_prepare([clock.adapt(df), Text("t", "initials").adapt(df)])

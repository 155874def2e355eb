"""Prepare, encode and head as one chain; cutting off what is frozen."""

import keras
import numpy as np
import pandas as pd
import pytest

from mmkeras import Image, MultiClass, MultiLabel, Tabular, Text, build_encode, build_head, build_prepare, chain
from mmkeras.data.columns import raw_values
from mmkeras.graph import submodel
from mmkeras.trunk.stages import cut_frozen


def raw_of(df, modalities):
    return {name: keras.ops.convert_to_tensor(value) for name, value in raw_values(df, modalities).items()}


def build(df, folder, fine_tune=False, trainable=False, fusion="concat", layers=1):
    modalities = [
        Text("overview", encoder=str(folder), sequence_length=32, trainable=trainable, layers=layers),
        Text("overview", encoder="lexical", name="words"),
        Tabular(numeric=["budget", "runtime"], zero_is_missing=["budget"], datetime="release_date"),
    ]
    modalities = [modality.adapt(df) for modality in modalities]
    prepare = build_prepare(modalities)
    encode = build_encode(modalities, prepare)
    for modality in modalities:
        for name, trains in modality.tower_layers(fine_tune).items():
            encode.get_layer(name).trainable = trains
    task = MultiLabel("genres").adapt(df)
    head = build_head({**prepare.output, **encode.output}, task, fusion, units=8, target=task.encode(df))
    return modalities, prepare, encode, head


def same(one, two, atol=0.0):
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(np.array(one[name]), np.array(two[name]), rtol=0, atol=atol, err_msg=name)


# === chain ===


def test_chain_equals_calling_in_turn(movies, tiny_bert):
    modalities, prepare, encode, head = build(movies, tiny_bert)
    whole = chain(prepare, encode, head, name="serving")
    raw = raw_of(movies, modalities)
    tensors = prepare(raw)
    features = encode(tensors, training=False)
    expected = head({key: {**tensors, **features}[key] for key in head.input}, training=False)
    same(whole(raw, training=False), expected)
    assert whole.name == "serving" and set(whole.input) == {"overview", "budget", "runtime", "release_date"}
    assert list(whole.output) == ["genres"]


def test_chain_shares_its_weights(movies, tiny_bert):
    modalities, prepare, encode, head = build(movies, tiny_bert)
    whole = chain(prepare, encode, head)
    raw = raw_of(movies.head(2), modalities)
    before = np.array(whole(raw, training=False)["genres"])
    for weight in head.trainable_weights:
        weight.assign(weight * 0)
    after = np.array(whole(raw, training=False)["genres"])
    np.testing.assert_allclose(after, 0.5)
    assert np.abs(after - before).max() > 0.01


@pytest.mark.parametrize("fusion", ["concat", "late", "hybrid"])
def test_reloaded_chain_gives_the_same(movies, tiny_bert, tmp_path, fusion):
    modalities, prepare, encode, head = build(movies, tiny_bert, fusion=fusion)
    whole = chain(prepare, encode, head)
    whole.save(tmp_path / "whole.keras")
    again = keras.saving.load_model(tmp_path / "whole.keras")
    raw = raw_of(movies, modalities)
    same(whole(raw, training=False), again(raw, training=False))


@pytest.mark.parametrize("fusion", ["concat", "late", "hybrid"])
def test_one_row_alone_equals_the_row_in_a_batch(movies, tiny_bert, fusion):
    modalities, prepare, encode, head = build(movies, tiny_bert, fusion=fusion)
    whole = chain(prepare, encode, head)
    together = np.array(whole(raw_of(movies, modalities), training=False)["genres"])
    for row in (0, 7, 23):
        alone = whole(raw_of(movies.iloc[[row]], modalities), training=False)["genres"]
        np.testing.assert_allclose(alone, together[row : row + 1], atol=1e-5)


def test_a_row_with_nothing_in_it_predicts(movies, tiny_bert):
    modalities, prepare, encode, head = build(movies, tiny_bert)
    nothing = pd.DataFrame({"overview": [None], "budget": [None], "runtime": [None], "release_date": [None]})
    predict = chain(prepare, encode, head)
    probabilities = np.array(predict(raw_of(nothing, modalities), training=False)["genres"])
    assert ((probabilities > 0) & (probabilities < 1)).all()
    # beside other rows it is the same, and it differs from theirs
    beside = pd.concat([nothing, movies[nothing.columns]]).astype({"budget": float, "runtime": float})
    together = np.array(predict(raw_of(beside, modalities), training=False)["genres"])
    np.testing.assert_allclose(together[0], probabilities[0], atol=1e-6)
    assert (np.abs(together[1:] - probabilities).max(axis=1) > 1e-4).all()


def test_later_models_may_use_outputs_of_any_before():
    x, h = keras.Input((2,), name="x"), keras.Input((2,), name="h")
    double = keras.Model({"x": x}, {"h": keras.layers.Rescaling(2.0)(x), "k": keras.layers.Rescaling(3.0)(x)})
    triple = keras.Model({"h": h}, {"m": keras.layers.Rescaling(10.0)(h)})
    k, m, extra = (keras.Input((2,), name=name) for name in ("k", "m", "extra"))
    total = keras.Model({"k": k, "m": m, "extra": extra}, {"y": keras.layers.Add()([k, m, extra])})
    whole = chain(double, triple, total)
    assert set(whole.input) == {"x", "extra"}
    one = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(whole({"x": one, "extra": one * 100})["y"], [[123, 123]])


# === prepare and encode ===


def test_prepare_trains_nothing_and_encode_hands_presence_on(movies, tiny_bert):
    _, prepare, encode, _ = build(movies, tiny_bert)
    assert prepare.trainable_weights == []
    assert {"text", "words", "tabular", "text.present", "words.present", "tabular.present"} <= set(encode.output)


def test_two_modalities_read_one_column(movies, tiny_bert):
    modalities, prepare, _, _ = build(movies, tiny_bert)
    assert list(prepare.input).count("overview") == 1
    tensors = prepare(raw_of(movies, modalities))
    assert "text.token_ids" in tensors and "words.term_ids" in tensors
    np.testing.assert_array_equal(tensors["text.present"], tensors["words.present"])


def test_one_column_is_read_in_two_ways(movies):
    movies["year"] = range(len(movies))
    text, numbers = Text("year", encoder="lexical").adapt(movies), Tabular(numeric="year").adapt(movies)
    prepare = build_prepare([text, numbers])
    assert prepare.input["year"].dtype == "string"  # as it was written
    as_text = prepare({"year": np.array(["3", "3.0"])})["tabular.numeric"].numpy()
    as_number = build_prepare([numbers])({"year": np.array([3.0, 3.0])})["tabular.numeric"].numpy()
    np.testing.assert_allclose(as_text, as_number, atol=1e-6)
    with pytest.raises(ValueError, match="files are read in one way. Received: 'year' read both as text and as image"):
        build_prepare([text, Image("year", encoder="scratch")])


def test_names_must_differ(movies):
    text = Text("title", encoder="lexical").adapt(movies)
    with pytest.raises(ValueError, match=r"must have different names. Received: \['text', 'text'\]"):
        build_prepare([text, text])
    with pytest.raises(ValueError, match=r"There must be a modality. Received: an empty list"):
        build_prepare([])


def test_column_names_with_slashes_and_spaces(movies, tmp_path):
    df = movies.rename(columns={"title": "film/title", "runtime": "run time (min)"})
    modalities = [Text("film/title", encoder="lexical"), Tabular(numeric="run time (min)")]
    modalities = [modality.adapt(df) for modality in modalities]
    prepare = build_prepare(modalities)
    whole = chain(prepare, build_encode(modalities, prepare))
    assert set(whole.input) == {"film/title", "run time (min)"}
    raw = raw_of(df, modalities)
    expected = whole(raw, training=False)
    whole.save(tmp_path / "whole.keras")
    same(keras.saving.load_model(tmp_path / "whole.keras")(raw, training=False), expected)


# === cut_frozen ===


def weight_ids(model):
    return {id(weight) for weight in model.weights}


@pytest.mark.parametrize(
    ("trainable", "fine_tune", "layers"),
    [(False, False, 1), (1, True, 1), (2, True, 2), (3, True, 1), (True, True, 1), (1, False, 1), (False, False, 3)],
)
def test_cut_frozen(movies, tiny_bert, trainable, fine_tune, layers):
    modalities, prepare, encode, _ = build(movies, tiny_bert, fine_tune, trainable, layers=layers)
    cut = cut_frozen(encode)
    frozen = {id(weight) for weight in encode.non_trainable_weights}
    in_towers = set().union(*(weight_ids(tower) for tower in cut.towers.values())) if cut.towers else set()
    assert in_towers == frozen
    assert not any(tower.trainable_weights for tower in cut.towers.values())
    assert weight_ids(cut.rest) == {id(weight) for weight in encode.trainable_weights}
    assert set(cut.towers) == (set() if trainable is True and fine_tune else {"text"})
    tensors = prepare(raw_of(movies.head(5), modalities))
    stored = {}
    for name, tower in cut.towers.items():
        assert set(tower.output) == {name} or all(key.startswith(f"{name}.stored_") for key in tower.output)
        stored.update(tower({key: tensors[key] for key in tower.input}, training=False))
    given = {**tensors, **stored}
    outputs = {**stored, **cut.rest({key: given[key] for key in cut.rest.input}, training=False)}
    expected = encode(tensors, training=False)
    made = {name for name in expected if name not in tensors}
    same({name: outputs[name] for name in made}, {name: expected[name] for name in made})


def test_nothing_is_left_when_everything_is_frozen(movies, tiny_bert):
    modality = Text("overview", encoder=str(tiny_bert), sequence_length=32).adapt(movies)
    encode = build_encode([modality], build_prepare([modality]))
    encode.get_layer("text_tower").trainable = False
    cut = cut_frozen(encode)
    assert cut.rest is None and list(cut.towers["text"].output) == ["text"]


def test_layers_without_weights_are_not_worth_a_tower(movies):
    modality = Text("overview", encoder="lexical").adapt(movies)
    encode = build_encode([modality], build_prepare([modality]))
    cut = cut_frozen(encode)
    assert cut.towers == {} and cut.rest.trainable_weights


# === submodel ===


def test_submodel_between_tensors():
    x = keras.Input((2,), name="x")
    unused = keras.Input((5,), name="unused")
    middle = keras.layers.Dense(3, name="first")(x)
    end = keras.layers.Dense(1, name="second")(keras.ops.relu(middle))
    whole = keras.Model(x, end)
    upper = submodel({"middle": middle, "unused": unused}, {"end": end}, name="upper")
    assert set(upper.input) == {"middle"} and upper.name == "upper"
    assert {weight.path for weight in upper.weights} == {"second/kernel", "second/bias"}
    values = np.random.default_rng(0).normal(size=(4, 2)).astype("float32")
    between = keras.Model(x, middle)(values)
    np.testing.assert_allclose(upper({"middle": between})["end"], whole(values), atol=1e-6)


def test_submodel_can_be_saved(tmp_path):
    x = keras.Input((2,), name="x")
    middle = keras.layers.Dense(3)(x)
    upper = submodel({"middle": middle}, {"end": keras.layers.Dense(1)(keras.ops.tanh(middle) * 2.0)})
    upper.save(tmp_path / "upper.keras")
    values = {"middle": np.ones((1, 3), "float32")}
    same(keras.saving.load_model(tmp_path / "upper.keras")(values), upper(values))


def test_submodel_of_several_outputs_calls_shared_layers_once():
    x = keras.Input((2,), name="x")
    shared = keras.layers.Dense(3)(x)
    model = submodel({"x": x}, {"a": keras.ops.relu(shared), "b": -shared})
    assert sum(isinstance(layer, keras.layers.Dense) for layer in model.layers) == 1
    assert len(model.operations[[type(o).__name__ for o in model.operations].index("Dense")]._inbound_nodes) == 2


def test_submodel_needs_all_inputs():
    x, y = keras.Input((2,), name="x"), keras.Input((2,), name="other")
    total = keras.layers.Add()([x, y])
    with pytest.raises(
        ValueError, match=r"`outputs` must depend on `inputs` only. Received inputs \['x'\]; also needed: 'ot"
    ):
        submodel({"x": x}, total)


# === head ===


def feature_inputs():
    return {
        "text": keras.Input((None, 4), name="text"),
        "text.present": keras.Input((1,), name="text.present"),
        "text.padding_mask": keras.Input((None,), dtype="int32", name="text.padding_mask"),
        "tabular": keras.Input((3,), name="tabular"),
        "tabular.present": keras.Input((1,), name="tabular.present"),
    }


def test_head_uses_chosen_features_only():
    head = build_head(feature_inputs(), MultiClass("y", classes=["a", "b"]), modalities=["tabular"])
    assert set(head.input) == {"tabular", "tabular.present"}
    whole = build_head(feature_inputs(), MultiClass("y", classes=["a", "b"]))
    assert set(whole.input) == set(feature_inputs())


def test_head_ignores_padding_and_absent_features():
    head = build_head(feature_inputs(), MultiClass("y", classes=["a", "b"]), units=8)
    generator = np.random.default_rng(0)
    values = {
        "text": generator.normal(size=(2, 3, 4)).astype("float32"),
        "text.present": np.ones((2, 1), "float32"),
        "text.padding_mask": np.array([[1, 1, 0], [1, 1, 1]], "int32"),
        "tabular": generator.normal(size=(2, 3)).astype("float32"),
        "tabular.present": np.array([[1.0], [0.0]], "float32"),
    }
    expected = head(values, training=False)["y"]
    changed = {key: value.copy() for key, value in values.items()}
    changed["text"][0, 2], changed["tabular"][1] = 99.0, -99.0
    np.testing.assert_array_equal(head(changed, training=False)["y"], expected)
    np.testing.assert_allclose(np.sum(expected, axis=1), 1, rtol=1e-6)


def test_each_modality_may_have_its_own_dropout():
    head = build_head(feature_inputs(), MultiClass("y", classes=["a", "b"]), dropout={"text": 0.9})
    rates = {
        layer.name: layer.rate for layer in head.layers if layer.name.endswith("_drop") or "hidden_drop" in layer.name
    }
    assert rates.pop("text_drop") == 0.9 and len(rates) > 1 and set(rates.values()) == {0.5}


@pytest.mark.parametrize("fusion", ["concat", "hybrid", "late"])
def test_depth_counts_the_hidden_layers_of_each_decision(fusion):
    task = MultiClass("y", classes=["a", "b"])
    wide = [
        sum(layer.name.startswith("hidden_") and "drop" not in layer.name for layer in head.layers)
        for head in (build_head(feature_inputs(), task, fusion, units=8, depth=depth) for depth in (1, 3))
    ]
    assert wide[1] == 3 * wide[0] >= 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"fusion": "magic"},
            r"`fusion` must be one of \((?=.*'concat')(?=.*'cross_attention').*\). Received: 'magic'",
        ),
        ({"units": 0}, r"`units` must be a positive int. Received: 0"),
        ({"depth": 0}, r"`depth` must be a positive int. Received: 0"),
        ({"units": 8.0}, r"`units` must be a positive int. Received: 8.0"),
        ({"dropout": 1.0}, r"`dropout` must lie in \[0, 1\). Received: 1.0"),
        ({"dropout": {"text": -0.1}}, r"`dropout` must lie in \[0, 1\). Received: -0.1"),
        ({"dropout": {"txt": 0.1}}, r"`dropout` must name modalities of \['text', .*\]. Received: \['txt'\]"),
    ],
)
def test_head_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        build_head(feature_inputs(), MultiClass("y", classes=["a", "b"]), **settings)

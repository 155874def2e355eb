"""TF-Hub's SavedModels as layers: use, training, files, errors, and the whole way through a Pipeline."""

import gc
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import tiny_vocabulary
from saved_models import WIDTH, Encoder, save_encoder, save_preprocessor, shared

import mmkeras as mm
from mmkeras import hub
from mmkeras.data.columns import raw_values
from mmkeras.hub import HubEncoder, HubPreprocessor
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.stages import cut_frozen, renewed

TRAINED = {"words_table", "segments_table", "dense_kernel", "pooler_kernel"}
FROZEN = {"dense_offset", "mlm_bias", "do_lower_case"}
TEXTS = ["a fox", "the long red sea", ""]


def tokens(rows=3, length=6):
    rng = np.random.default_rng(5)
    lengths = rng.integers(2, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype("int32")
    ids = rng.integers(5, len(tiny_vocabulary()), (rows, length)).astype("int32") * mask
    return {"token_ids": ids, "padding_mask": mask, "segment_ids": (np.arange(length) > 2).astype("int32") * mask}


def functional(layer):
    """The layer and a decision, as a person would write it."""
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in hub.TENSORS.values()}
    x = keras.layers.Dense(1, name="out")(layer(inputs)["pooled_output"])
    return keras.Model(inputs, x)


def trained(model, steps=2):
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(tokens(), np.array([[2.0], [0.0], [1.0]]), epochs=steps, verbose=0)
    return model


def in_a_new_process(code, *arguments):
    run = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


def outputs(layer, inputs=None):
    return keras.tree.map_structure(np.asarray, layer(inputs or tokens()))


def names(weights):
    return {weight.name for weight in weights}


def words_table(thing):
    return next(weight for weight in thing.weights if weight.name == "words_table")


def served(folder, given):
    model = tf.saved_model.load(str(folder))  # must live while it is called
    return model.serve(given)


def same(one, two):
    keras.tree.assert_same_structure(one, two)
    for a, b in zip(keras.tree.flatten(one), keras.tree.flatten(two), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.fixture(scope="module")
def encoder():
    return shared("encoder")


@pytest.fixture(scope="module")
def preprocessor():
    return shared("preprocessor")


# === The encoder ===


def test_gives_what_the_saved_model_gives(encoder):
    given = tokens()
    expected = tf.saved_model.load(encoder)({theirs: given[ours] for theirs, ours in hub.TENSORS.items()})
    same(outputs(HubEncoder(encoder)), keras.tree.map_structure(np.asarray, dict(expected)))


def test_symbolic_outputs(encoder):
    inputs = {name: keras.Input((None,), batch_size=4, dtype="int32") for name in hub.TENSORS.values()}
    result = HubEncoder(encoder)(inputs)
    assert {name: result[name].shape for name in ("pooled_output", "sequence_output")} == {
        "pooled_output": (4, WIDTH),
        "sequence_output": (4, None, WIDTH),
    }
    assert [tensor.shape for tensor in result["encoder_outputs"]] == [(4, None, WIDTH)] * 2


def test_weights_are_the_variables_in_use(encoder):
    layer = HubEncoder(encoder)
    assert names(layer.trainable_weights) == TRAINED and names(layer.non_trainable_weights) == FROZEN
    layer.trainable = False
    assert layer.trainable_weights == [] and names(layer.weights) == TRAINED | FROZEN
    layer.trainable = True
    assert names(layer.trainable_weights) == TRAINED


def test_training_moves_the_weights_and_what_the_graph_gives(encoder):
    model = functional(HubEncoder(encoder))
    layer = next(layer for layer in model.layers if isinstance(layer, HubEncoder))
    before, gave = [w.numpy() for w in layer.weights], outputs(layer)
    trained(model)
    assert names(w for w, b in zip(layer.weights, before, strict=True) if (w.numpy() != b).any()) == TRAINED
    assert np.abs(outputs(layer)["pooled_output"] - gave["pooled_output"]).max() > 1e-3


@pytest.mark.parametrize("when", ["made", "later"])
def test_frozen_does_not_train(encoder, when):
    layer = HubEncoder(encoder, trainable=when != "made")
    layer.trainable = False
    model = functional(layer)
    before = [w.numpy() for w in layer.weights]
    trained(model)
    assert len(model.trainable_weights) == 2  # the Dense
    assert all((w.numpy() == b).all() for w, b in zip(layer.weights, before, strict=True))


def test_training_mode_drops_unless_frozen(encoder):
    layer, given = HubEncoder(encoder), tokens()
    inference = outputs(layer)["encoder_outputs"][0]
    assert (np.asarray(layer(given, training=True)["encoder_outputs"][0]) == 0).any()
    assert (inference != 0).all()
    layer.trainable = False
    np.testing.assert_array_equal(layer(given, training=True)["encoder_outputs"][0], inference)


def test_a_saved_model_without_training_argument(tmp_path):
    class Plain(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = Encoder(tiny_vocabulary())

        @tf.function(input_signature=[{n: tf.TensorSpec((None, None), tf.int32, name=n) for n in hub.TENSORS}])
        def __call__(self, inputs):
            return self.inner(inputs)

    tf.saved_model.save(Plain(), str(tmp_path / "plain"))
    layer = HubEncoder(tmp_path / "plain")
    assert layer(tokens(), training=True)["pooled_output"].shape == (3, WIDTH)
    assert names(layer.trainable_weights) == TRAINED


def test_named_trainable_variables_count(tmp_path):
    module = Encoder(tiny_vocabulary())
    holder = tf.train.Checkpoint()  # TF-Hub's convention: lists beside the call
    holder.__call__ = module.__call__
    holder.module = module
    holder.trainable_variables = [module.dense]
    specs = {n: tf.TensorSpec((None, None), tf.int32, name=n) for n in hub.TENSORS}
    module.__call__.get_concrete_function(specs)
    tf.saved_model.save(holder, str(tmp_path / "named"))
    assert [w.name for w in HubEncoder(str(tmp_path / "named")).trainable_weights] == ["dense_kernel"]


def test_mixed_precision(encoder):
    exact, half = outputs(HubEncoder(encoder)), HubEncoder(encoder, dtype="mixed_bfloat16")
    model = functional(half)
    got = half(tokens())
    assert got["pooled_output"].dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(got["pooled_output"], "float32"), exact["pooled_output"], atol=0.02)
    assert all(w.dtype in ("float32", "bool") for w in half.weights)
    before = half.weights[0].numpy()
    trained(model)
    assert (half.weights[0].numpy() != before).any()


# === Files ===

LOAD = """
import sys, keras, numpy as np, mmkeras
import tensorflow as tf
folder = sys.argv[1]
given = dict(np.load(folder + "/given.npz", allow_pickle=True))
model = keras.saving.load_model(folder + "/model.keras", safe_mode=False)
trains = getattr(model, "optimizer", None) is not None
result = model.predict(given, verbose=0) if trains else model(tf.constant(given["texts"].astype(str)))
result = result if isinstance(result, dict) else {"out": result}
np.savez(folder + "/result.npz", **{name: np.asarray(value) for name, value in result.items()})
if trains:
    model.fit(given, np.zeros((3, 1)), verbose=0)
    assert len(model.optimizer.variables) == 2 + 2 * len(model.trainable_weights)
keras.models.clone_model(model)(given if trains else tf.constant(["x"]))
model.export(folder + "/exported", verbose=False)
"""


def test_saved_and_loaded_in_a_new_process_without_the_folder(tmp_path):
    folder = save_encoder(tmp_path / "first")
    model = trained(functional(HubEncoder(folder)))
    expected = model.predict(tokens(), verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "given.npz", **tokens())
    shutil.rmtree(folder)
    in_a_new_process(LOAD, tmp_path)
    np.testing.assert_allclose(np.load(tmp_path / "result.npz")["out"], expected, atol=1e-6)
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    np.testing.assert_allclose(again.predict(tokens(), verbose=0), expected, atol=1e-6)
    for one, two in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_two_files_of_one_saved_model_keep_their_weights(encoder, tmp_path):
    model = functional(HubEncoder(encoder))
    found = []
    for number in range(2):
        trained(model)
        model.save(tmp_path / f"{number}.keras")
        found.append(model.predict(tokens(), verbose=0))
    loaded = [keras.saving.load_model(tmp_path / f"{number}.keras", safe_mode=False) for number in range(2)]
    for model, expected in zip(loaded, found, strict=True):
        np.testing.assert_allclose(model.predict(tokens(), verbose=0), expected, atol=1e-6)
        clone = keras.models.clone_model(model)
        clone.get_layer("out").set_weights(model.get_layer("out").get_weights())
        np.testing.assert_allclose(clone.predict(tokens(), verbose=0), expected, atol=1e-6)


def test_weights_are_stored_once(encoder, tmp_path):
    layer = HubEncoder(encoder)
    layer.save_assets(tmp_path)
    held = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert held <= {"saved_model.pb", "fingerprint.pb", "assets/vocab.txt"} and "saved_model.pb" in held


def test_a_loaded_layer_is_known_as_the_one_it_was_saved_from(encoder, tmp_path):
    """Else its features would be computed anew after every load."""
    model = functional(HubEncoder(encoder))
    stored = [layer.stored for layer in model.layers if isinstance(layer, HubEncoder)]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    assert [layer.stored for layer in again.layers if isinstance(layer, HubEncoder)] == stored
    trained(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    assert [layer.stored for layer in again.layers if isinstance(layer, HubEncoder)] != stored


def test_weights_files(encoder, tmp_path):
    model = trained(functional(HubEncoder(encoder)))
    model.save_weights(tmp_path / "model.weights.h5")
    other = functional(HubEncoder(encoder))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(other.predict(tokens(), verbose=0), model.predict(tokens(), verbose=0), atol=1e-6)


def test_a_clone_starts_as_the_saved_model_did_and_shares_nothing(encoder):
    model = trained(functional(HubEncoder(encoder)))
    clone = keras.models.clone_model(model)
    one, two = (next(x for x in m.layers if isinstance(x, HubEncoder)) for m in (clone, model))
    same(outputs(one), outputs(HubEncoder(encoder)))
    assert np.abs(outputs(one)["pooled_output"] - outputs(two)["pooled_output"]).max() > 1e-3
    one.weights[0].assign(one.weights[0] * 0)
    assert two.weights[0].numpy().any()


def test_a_configuration_alone_says_what_is_missing(tmp_path):
    config = HubEncoder(save_encoder(tmp_path / "gone", seed=41)).get_config()
    gc.collect()
    layer = HubEncoder.from_config(config)  # neither reads the folder nor downloads
    assert layer.count_params() == sum(np.prod(spec["shape"], dtype=int) for spec in config["stored"]["weights"])
    with pytest.raises(ValueError, match=r"A configuration alone does not hold a SavedModel.*Load the `.keras` file"):
        layer.call(tokens())


def test_temporary_files_live_as_long_as_a_layer(tmp_path):
    path = save_preprocessor(tmp_path / "first")
    one, two = HubPreprocessor(path, 16), HubPreprocessor(path, 16)
    shutil.rmtree(path)
    folders = [layer._folder.model for layer in (one, two)]
    assert all((folder / "assets" / "vocab.txt").is_file() for folder in folders)
    config = one.get_config()
    del one
    gc.collect()
    assert HubPreprocessor.from_config(config)(tf.constant(["a"]))["token_ids"].shape == (1, 3)
    del two
    gc.collect()
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("change", [True, False])
def test_export(tmp_path, change):
    folder = save_encoder(tmp_path / "first")
    model = functional(HubEncoder(folder))
    if change:
        trained(model)
    expected = model.predict(tokens(), verbose=0)
    shutil.rmtree(folder)
    model.export(tmp_path / "exported", verbose=False)
    for layer in model.layers:
        if isinstance(layer, HubEncoder):
            shutil.rmtree(layer._folder.model)
    np.testing.assert_allclose(served(tmp_path / "exported", tokens()), expected, atol=1e-6)


def test_a_read_only_folder(tmp_path):
    path = pathlib.Path(save_encoder(tmp_path / "first"))
    for place in [path, *path.rglob("*")]:
        place.chmod(0o555 if place.is_dir() else 0o444)
    layer = HubEncoder(path)
    functional(layer).save(tmp_path / "model.keras")
    assert (layer._folder.model.stat().st_mode & 0o200) and layer(tokens())["pooled_output"].shape == (3, WIDTH)
    for place in [path, *path.rglob("*")]:
        place.chmod(0o755)


# === The preprocessor ===


def test_preprocessor_by_hand(preprocessor):
    got = HubPreprocessor(preprocessor, 8)(tf.constant(["b a", "", "Ab"]))
    words = tiny_vocabulary()
    a, b, piece = words.index("a"), words.index("b"), words.index("##b")
    assert got["token_ids"].numpy().tolist() == [[2, b, a, 3], [2, 3, 0, 0], [2, a, piece, 3]]
    assert got["padding_mask"].numpy().tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1]]
    assert got["segment_ids"].numpy().tolist() == [[0] * 4] * 3
    assert all(value.dtype == tf.int32 for value in got.values())


def test_preprocessor_packs_pairs_and_cuts_them_fairly(preprocessor):
    got = HubPreprocessor(preprocessor, 8)([tf.constant(["a b c d e f", "a"]), tf.constant(["a b", ""])])
    a, b, c = (tiny_vocabulary().index(letter) for letter in "abc")
    assert got["token_ids"].numpy().tolist() == [[2, a, b, c, 3, a, b, 3], [2, a, 3, 3, 0, 0, 0, 0]]
    assert got["segment_ids"].numpy().tolist() == [[0] * 5 + [1] * 3, [0, 0, 0, 1, 0, 0, 0, 0]]


def test_preprocessor_agrees_with_tokenize(encoder, preprocessor):
    """Both routes of `Text` give the same tokens."""
    df = pd.DataFrame({"a": TEXTS, "b": ["x", "y z", "more"]})
    found = []
    for settings in ({}, {"preprocessor": preprocessor}):
        modality = mm.Text(["a", "b"], encoder=encoder, sequence_length=32, **settings).adapt(df)
        prepare = mm.build_prepare([modality])
        found.append(prepare({k: tf.constant(list(v)) for k, v in raw_values(df, [modality]).items()}))
    same(*[keras.tree.map_structure(np.asarray, tensors) for tensors in found])


def test_preprocessor_has_no_weights_and_takes_no_rows(preprocessor):
    layer = HubPreprocessor(preprocessor, 16)
    assert layer(tf.constant([], tf.string))["token_ids"].shape == (0, 0) and layer.weights == []


def test_preprocessor_saved_and_loaded_in_a_new_process_without_the_folder(tmp_path):
    layer = HubPreprocessor(save_preprocessor(tmp_path / "first"), 16)
    raw = keras.Input((), dtype="string")
    model = keras.Model(raw, layer(raw))
    expected = {name: np.asarray(value) for name, value in layer(tf.constant(TEXTS)).items()}
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "given.npz", texts=np.array(TEXTS))
    shutil.rmtree(tmp_path / "first")
    in_a_new_process(LOAD, tmp_path)
    same(dict(np.load(tmp_path / "result.npz")), expected)
    given = served(tmp_path / "exported", tf.constant(TEXTS))
    same({name: np.asarray(value) for name, value in given.items()}, expected)
    dataset = tf.data.Dataset.from_tensors(tf.constant(TEXTS)).map(
        keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    )
    same({name: np.asarray(value) for name, value in next(iter(dataset)).items()}, expected)


@pytest.mark.real
def test_preprocessor_with_the_real_vocabulary(real_data, tmp_path):
    words = (real_data / "weights" / "all-MiniLM-L6-v2" / "vocab.txt").read_text(encoding="utf-8").splitlines()
    layer = HubPreprocessor(save_preprocessor(tmp_path / "real", words), 64)
    got = layer(tf.constant(["Renewables met 97% of Scotland's electricity demand in 2020!!!!"]))
    expected = [101, 13918, 2015, 2777, 5989, 1003, 1997, 3885, 1005, 1055, 6451, 5157, 1999, 12609]
    assert got["token_ids"].numpy().tolist() == [[*expected, 999, 999, 999, 999, 102]]


# === Handles ===

HANDLES = (
    "https://tfhub.dev/tensorflow/bert_en_uncased_L-2/4",
    "https://www.kaggle.com/models/tensorflow/bert/frameworks/TensorFlow2/variations/en-uncased-l-2/versions/4",
)


@pytest.mark.parametrize("handle", HANDLES)
def test_handles_come_from_the_cache_of_tensorflow_hub(handle, tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    place = tmp_path / hashlib.sha1(handle.encode("utf8")).hexdigest()
    save_encoder(place)
    place.with_suffix(".descriptor.txt").write_text(f"Module: {handle}\n")
    layer = HubEncoder(handle)
    assert layer.handle == handle and layer(tokens())["pooled_output"].shape == (3, WIDTH)
    functional(layer).save(tmp_path / "model.keras")
    shutil.rmtree(place)
    del layer
    gc.collect()
    # Would fail to download, if it tried.
    keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)


def test_a_handle_that_cannot_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"handle must be one that can be downloaded. Received: 'https://127.0.0.1:9/m/1', .*failed with.*Check"
    ) as caught:  # fmt: skip
        HubEncoder("https://127.0.0.1:9/m/1")
    assert isinstance(caught.value.__cause__, OSError)


# === Errors ===


@pytest.mark.parametrize("layer_class", [HubEncoder, HubPreprocessor])
def test_folders_that_hold_no_saved_model(layer_class, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"folder must exist. Received: '/no/such'. Check the path"):
        layer_class("/no/such")
    (tmp_path / "weights.h5").write_text("x")
    with pytest.raises(ValueError, match=r"must hold saved_model.pb. Received: .*which holds \['weights.h5'\]. Give"):
        layer_class(tmp_path)


def test_an_encoder_of_another_signature(preprocessor, tmp_path):
    with pytest.raises(ValueError, match=r"text encoder must be a SavedModel that is callable with {input_word_ids"):
        HubEncoder(preprocessor)
    with pytest.raises(ValueError, match=r"has the calls \[\].*attributes \['bert_pack_inputs', 'tokenize'\]. Use one"):
        HubEncoder(preprocessor)

    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
        def __call__(self, texts):
            return tf.strings.length(texts)

    other = Other()
    tf.saved_model.save(other, str(tmp_path / "other"), signatures={"lengths": other.__call__})
    with pytest.raises(ValueError, match=r"which has the calls .*string\(None,\).*signatures \['lengths\(texts\)'\]"):
        HubEncoder(tmp_path / "other")


def test_an_encoder_of_other_outputs(tmp_path):
    class Other(tf.Module):
        @tf.function(input_signature=[{n: tf.TensorSpec((None, None), tf.int32, name=n) for n in hub.TENSORS}])
        def __call__(self, inputs):
            return {"logits": tf.cast(inputs["input_word_ids"], tf.float32)}

    tf.saved_model.save(Other(), str(tmp_path / "other"))
    with pytest.raises(
        ValueError, match=r"gives {pooled_output, sequence_output}. Received: .* gives \['logits'\]. Use"
    ):
        HubEncoder(tmp_path / "other")


def test_a_preprocessor_without_its_functions(encoder, preprocessor):
    with pytest.raises(
        ValueError, match=r"with `tokenize` and `bert_pack_inputs`. Received: .* lacks \['tokenize', .*Use"
    ):
        HubPreprocessor(encoder)
    with pytest.raises(ValueError, match=r"`sequence_length` must leave room.*Received: 4. Use 5 or more"):
        HubPreprocessor(preprocessor, 4)


# === Text ===


def stages(modality, df):
    adapted = modality.adapt(df)
    prepare = mm.build_prepare([adapted])
    return adapted, prepare, mm.build_encode([adapted], prepare)


def features(modality, df):
    adapted, prepare, encode = stages(modality, df)
    raw = {k: tf.constant(list(v)) for k, v in raw_values(df, [adapted]).items()}
    return {name: np.asarray(value) for name, value in encode(prepare(raw)).items()}


@pytest.mark.parametrize("pooling", ["cls", "mean", "pooled", None])
def test_text_poolings(encoder, pooling):
    df = pd.DataFrame({"a": TEXTS})
    found = features(mm.Text("a", encoder=encoder, sequence_length=32, pooling=pooling), df)["text"]
    assert found.shape == ((3, WIDTH) if pooling else (3, found.shape[1], WIDTH))
    for row, text in enumerate(TEXTS):
        alone = features(
            mm.Text("a", encoder=encoder, sequence_length=32, pooling=pooling), pd.DataFrame({"a": [text]})
        )
        width = alone["text"].shape[1]
        np.testing.assert_allclose(found[row, :width], alone["text"][0], atol=1e-6)


def test_pooled_of_keras_hub_encoders(tiny_bert, tmp_path):
    import keras_hub

    df = pd.DataFrame({"a": TEXTS})
    modality = mm.Text("a", encoder=tiny_bert, sequence_length=32, pooling="pooled")
    _, prepare, _ = stages(modality, df)
    given = prepare({"a": tf.constant(TEXTS)})
    backbone = keras_hub.models.Backbone.from_preset(str(tiny_bert))
    expected = backbone({name: given[f"text.{name}"] for name in hub.TENSORS.values()})["pooled_output"]
    np.testing.assert_allclose(features(modality, df)["text"], expected, atol=1e-5)
    size = {"num_layers": 1, "num_heads": 1, "hidden_dim": 4, "intermediate_dim": 4, "max_sequence_length": 32}
    words = tiny_vocabulary()
    keras_hub.models.DistilBertBackbone(len(words), **size).save_to_preset(tmp_path / "distil")
    keras_hub.models.DistilBertTokenizer(words).save_to_preset(tmp_path / "distil")
    with pytest.raises(
        ValueError, match=r"pooling='pooled'` needs an encoder with a pooled_output.*token features only. Use 'cls'"
    ):
        stages(mm.Text("a", encoder=tmp_path / "distil", sequence_length=32, pooling="pooled"), df)


def test_text_without_any_vocabulary(tmp_path):
    folder = save_encoder(tmp_path / "bare", with_vocabulary=False)
    with pytest.raises(
        ValueError, match=r"without assets/vocab.txt needs `preprocessor`.*Received: .*preprocessor=None"
    ):
        mm.Text("a", encoder=folder).adapt(pd.DataFrame({"a": TEXTS}))


def test_text_reads_case_from_the_encoder(tmp_path):
    words = [*tiny_vocabulary(), "A"]
    module = Encoder(words)
    module.do_lower_case.assign(False)
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(words) + "\n")
    module.vocab_file = tf.saved_model.Asset(str(vocabulary))
    specs = {n: tf.TensorSpec((None, None), tf.int32, name=n) for n in hub.TENSORS}
    module.__call__.get_concrete_function(specs)
    tf.saved_model.save(module, str(tmp_path / "cased"))
    df = pd.DataFrame({"a": ["A a"]})
    _, prepare, _ = stages(mm.Text("a", encoder=tmp_path / "cased"), df)
    assert prepare({"a": tf.constant(["A a"])})["text.token_ids"].numpy().tolist() == [[2, len(words) - 1, 5, 3]]


def test_text_settings_that_cannot_be(encoder, preprocessor):
    with pytest.raises(ValueError, match=r"`trainable` of a TF-Hub encoder must be False or True.*Received: 1 for"):
        mm.Text("a", encoder=encoder, trainable=1)
    with pytest.raises(ValueError, match=r"`layers` of a TF-Hub encoder must be 1.*Received: 3 for"):
        mm.Text("a", encoder=encoder, layers=3)
    with pytest.raises(ValueError, match=r"`layers` must be 1 for `pooling='pooled'`. Received: 2"):
        mm.Text("a", pooling="pooled", layers=2)
    with pytest.raises(ValueError, match=r"`preprocessor` goes with a pretrained encoder.*encoder='lexical'"):
        mm.Text("a", encoder="lexical", preprocessor=preprocessor)


def test_tower_layers_freeze(encoder):
    for trainable in (True, False):
        modality = mm.Text("a", encoder=encoder, trainable=trainable)
        adapted, _, encode = stages(modality, pd.DataFrame({"a": TEXTS}))
        for phase in (True, False):
            for name, trains in adapted.tower_layers(phase).items():
                encode.get_layer(name).trainable = trains
            assert bool(encode.trainable_weights) == (trainable and phase)


def test_fingerprint_changes_with_weights_and_graph(tmp_path):
    df = pd.DataFrame({"a": TEXTS})

    def mark(folder, change=None):
        _, prepare, encode = stages(mm.Text("a", encoder=folder), df)
        encode.get_layer("text_tower").trainable = False
        if change:
            encode.weights[0].assign(encode.weights[0] + change)
        tokens = {key: prepare.output[key] for key in encode.input}
        return fingerprint(keras.Model(prepare.input, tokens), encode)

    folder = tmp_path / "encoder"
    save_encoder(folder)
    first = mark(folder)
    assert mark(folder) == first and mark(folder, change=1.0) != first
    file = folder / "saved_model.pb"
    shutil.rmtree(folder)
    save_encoder(folder, seed=100)
    assert file.is_file() and mark(folder) != first
    shutil.rmtree(folder)
    save_encoder(folder, vocabulary=[*tiny_vocabulary(), "?"])
    assert mark(folder) != first


# === The whole way ===

PREDICT = """
import sys, numpy as np, pandas as pd, mmkeras as mm
pipe = mm.load(sys.argv[1] + "/model", safe_mode=False)
pipe.encode_engine = "tensorflow"  # as in these tests
pipe.predict(pd.read_pickle(sys.argv[1] + "/rows.pkl")).to_pickle(sys.argv[1] + "/predicted.pkl")
"""


@pytest.mark.parametrize("trainable", [False, True])
def test_pipeline_all_the_way(movies, tmp_path, trainable):
    encoder, preprocessor = save_encoder(tmp_path / "encoder"), save_preprocessor(tmp_path / "preprocessor")
    text = mm.Text(
        ["title", "overview"] if trainable else "overview",
        encoder=encoder,
        preprocessor=preprocessor,
        sequence_length=24,
        pooling="pooled",
        trainable=trainable,
    )
    pipe = mm.Pipeline([text, mm.Tabular(numeric=["runtime"])], mm.MultiLabel("genres"), units=8)
    before = words_table(HubEncoder(encoder)).numpy()
    pipe.fit(movies, epochs=1, verbose=0, fine_tune_epochs=int(trainable), cache_dir=tmp_path / "cache")
    after = words_table(pipe.encode).numpy()
    assert (before != after).any() == trainable
    expected = pipe.predict(movies)
    pd.testing.assert_frame_equal(pipe.predict(movies), expected)
    pipe.save(tmp_path / "model")
    shutil.rmtree(encoder)
    shutil.rmtree(preprocessor)
    pipe.export(tmp_path / "served")
    movies.to_pickle(tmp_path / "rows.pkl")
    in_a_new_process(PREDICT, tmp_path)
    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "predicted.pkl"), expected, rtol=0, atol=1e-5)
    loaded = mm.load(tmp_path / "model", safe_mode=False)
    assert loaded.modalities[0].preprocessor == preprocessor
    pd.testing.assert_frame_equal(loaded.predict(movies), expected, rtol=0, atol=1e-5)
    if not trainable:  # once is enough
        loaded.export(tmp_path / "served_again")
    info = json.loads((tmp_path / "served" / "assets.extra" / "mmkeras.json").read_text())
    raw = raw_values(movies, pipe.modalities)
    given = {spec["name"]: tf.constant(list(raw[column])) for column, spec in info["inputs"].items()}
    for folder in ("served",) if trainable else ("served", "served_again"):
        np.testing.assert_allclose(served(tmp_path / folder, given)[info["output"]], expected, atol=1e-5)


def test_the_cache_is_found_again(movies, encoder, tmp_path, capsys):
    text = mm.Text("overview", encoder=encoder, sequence_length=24)
    for _ in range(2):
        pipe = mm.Pipeline([text], mm.MultiLabel("genres"), units=8)
        pipe.fit(movies, epochs=1, verbose=1, cache_dir=tmp_path)
        encoded = "Encoding" in capsys.readouterr().out
    assert not encoded


def test_a_fresh_copy_of_what_trains(movies, encoder, tmp_path):
    text = mm.Text("overview", encoder=encoder, trainable=True, pooling="pooled")
    pipe = mm.Pipeline([text], mm.MultiLabel("genres"), units=8)
    pipe.fit(movies, epochs=1, verbose=0, cache_dir=tmp_path)
    fresh = renewed(cut_frozen(pipe.encode).rest)
    own = {id(weight) for weight in pipe.encode.weights}
    tables = [weight for weight in fresh.weights if weight.name == "words_table"]
    assert len(tables) == 1 and id(tables[0]) not in own
    np.testing.assert_array_equal(tables[0], words_table(HubEncoder(encoder)))

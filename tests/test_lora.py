"""LoRA: small matrices beside a tower's kernels train in place of the tower."""

import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.graph import named_layers
from mmkeras.modalities.encoders import lora
from mmkeras.trunk.training import Plan
from mmkeras.trunk.trunk import Trunk

ROWS = mm.samples.movies(40, seed=3)
TRAIN, TEST = ROWS[:30], ROWS[30:]
# Of rank 2 in each of 3 blocks, 16 wide with 2 heads of 8: queries, keys and values, what joins the heads, and the two dense layers, 32 wide.
TRAINED = 3 * (3 * (16 * 2 * 2 + 2 * 8) + (2 * 8 * 2 + 2 * 16) + 2 * (16 * 2 + 2 * 32))
FIT = {"epochs": 2, "verbose": 0, "validation_data": False, "batch_size": 16, "learning_rate": 0.05}


def text(encoder, **settings):
    settings = {"pooling": "mean", "sequence_length": 16, "trainable": "lora", "lora_rank": 2, **settings}
    return mm.Text("overview", encoder=encoder, **settings)


def pipeline(*modalities):
    return mm.Pipeline(list(modalities), mm.MultiLabel("genres"))


def tower_values(trunk, adapters):
    """{place: value} of the tower's adapters, or of all else."""
    tower = trunk.encode.get_layer("text_tower")
    weights = [weight for weight in tower.weights if lora.is_adapter(weight) == adapters]
    return {f"{i} {weight.name}": weight.numpy() for i, weight in enumerate(weights)}


def write_adapters(folder, arrays):
    """Let a saved Pipeline hold other adapters, which its manifest names."""
    (path,) = folder.rglob("adapters.h5")
    path.unlink()
    mm.persistence.write_arrays(path, arrays)
    manifest = json.loads((folder / "pipeline.json").read_text())
    manifest["files"]["adapters.h5"] = mm.persistence.manifest.size_and_digest(path)
    (folder / "pipeline.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def fitted(tiny_bert):
    pipe = pipeline(text(tiny_bert))
    pipe.fit(TRAIN, **FIT)
    return pipe


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    """The folder of `fitted`, which tests leave as it is."""
    path = tmp_path_factory.mktemp("saved") / "pipe"
    fitted.save(path)
    return path


@pytest.fixture(scope="module")
def own_image(tmp_path_factory):
    """A network without attention."""
    pixels = keras.Input((16, 16, 3))
    hidden = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=4)(pixels))
    path = tmp_path_factory.mktemp("own") / "net.keras"
    keras.Model(pixels, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(hidden))).save(path)
    return path


# === What trains


def test_adapters_train_and_the_tower_stays(fitted, tiny_bert):
    before = tower_values(Trunk([text(tiny_bert, trainable=False, lora_rank=None).adapt(TRAIN)]), adapters=False)
    after = tower_values(fitted.trunk, adapters=False)
    assert before.keys() == after.keys()
    for place, value in before.items():
        np.testing.assert_array_equal(after[place], value)
    adapters = tower_values(fitted.trunk, adapters=True)
    assert len(adapters) == 3 * 6 * 2  # blocks, layers, two matrices
    assert all(np.abs(value).max() > 0.01 for value in adapters.values())


def test_a_tower_begins_as_it_was(tiny_bert):
    plain, adapted = (
        Trunk([text(tiny_bert, trainable=trainable, lora_rank=None).adapt(TRAIN)]) for trainable in (False, "lora")
    )
    np.testing.assert_array_equal(plain.features(TEST)["text"], adapted.features(TEST)["text"])
    # The same features of the same key: what is cached of the frozen tower serves the first phase.
    own, other = (trunk._cut(False)[1]["text"].fingerprint for trunk in (plain, adapted))
    assert own == other


def test_only_adapters_and_the_head_are_trainable(tiny_bert):
    trunk = Trunk([text(tiny_bert).adapt(TRAIN)])
    trained = trunk.encode.trainable_weights
    assert trained and all(lora.is_adapter(weight) for weight in trained)
    assert sum(int(np.prod(weight.shape)) for weight in trained) == TRAINED


def test_top_blocks_are_adapted_over_cached_features_of_those_below(tiny_bert):
    trunk = Trunk([text(tiny_bert, lora_blocks=2).adapt(TRAIN)])
    assert len(trunk.encode.trainable_weights) == 2 * 6 * 2
    assert not lora.has_adapters(trunk.encode.get_layer("text_tower"))
    towers = trunk._cut(True)[1]
    assert list(towers["text"].model.output) == ["text.stored_0"]
    top = Trunk([text(tiny_bert, trainable=2, lora_rank=None).adapt(TRAIN)])  # what is cached serves both
    assert towers["text"].fingerprint == top._cut(True)[1]["text"].fingerprint


def test_a_network_without_attention_is_adapted_in_all_kernels_and_its_batch_norms_stay(own_image):
    photos = tf.io.encode_png(np.full((16, 16, 3), 99, "uint8")).numpy()
    image = mm.Image("photo", own_image, augment=False, trainable="lora", lora_rank=1)
    trunk = Trunk([image.adapt(TRAIN.assign(photo=photos))])
    tower = trunk.encode.get_layer("image_tower")
    tower(np.full((4, 16, 16, 3), 99.0), training=True)
    (moving_mean,) = (weight.numpy() for weight in tower.weights if weight.name == "moving_mean")
    np.testing.assert_array_equal(moving_mean, np.zeros(4))
    # Of rank 1: kernels (3, 3, 3, 4) and (4, 5).
    shapes = [tuple(weight.shape) for weight in trunk.encode.trainable_weights]
    assert shapes == [(3, 3, 3, 1), (1, 4), (4, 1), (1, 5)]


def test_a_loaded_pipeline_that_is_fitted_again_begins_anew(fitted, saved):
    pipe = mm.load(saved)
    pipe.fit(TRAIN, **FIT)
    assert tower_values(pipe.trunk, True).keys() == tower_values(fitted.trunk, True).keys()
    np.testing.assert_allclose(pipe.predict(TEST), fitted.predict(TEST), atol=1e-5)


# === Reading, keeping and serving


def test_one_row_is_predicted_as_in_any_batch(fitted):
    np.testing.assert_allclose(fitted.predict(TEST[:1]), fitted.predict(TEST)[:1], atol=1e-5)


def test_a_saved_pipeline_holds_the_tower_once_and_its_adapters_apart(fitted, saved, tmp_path):
    loaded = mm.load(saved)
    np.testing.assert_array_equal(loaded.predict(TEST), fitted.predict(TEST))
    (adapters,) = saved.rglob("adapters.h5")
    assert set(mm.persistence.read_arrays(adapters)) == set(lora.adapter_values(fitted.encode))
    # What lies in encode.keras is the tower as it came.
    assert not lora.has_adapters(keras.saving.load_model(adapters.with_name("encode.keras"), compile=False))
    loaded.save(tmp_path)
    again = mm.load(tmp_path)
    np.testing.assert_array_equal(again.predict(TEST), fitted.predict(TEST))
    own, other = (p.trunk._cut(False)[1]["text"].fingerprint for p in (again, loaded))
    assert own == other


def test_a_second_phase_over_cached_features_is_saved_as_well(tiny_bert, tmp_path):
    pipe = pipeline(text(tiny_bert, lora_blocks=1))
    pipe.fit(TRAIN, **{**FIT, "epochs": 1}, fine_tune_epochs=1, fine_tune_learning_rate=0.05)
    top = pipe.encode.get_layer("text_tower_top")
    assert all(np.abs(weight.numpy()).max() > 0.01 for weight in top.trainable_weights)
    pipe.save(tmp_path)
    loaded = mm.load(tmp_path)
    assert not lora.has_adapters(loaded.encode.get_layer("text_tower"))
    np.testing.assert_array_equal(loaded.predict(TEST), pipe.predict(TEST))


def test_a_folder_with_adapters_of_some_layers_alone_is_loaded(saved, tmp_path):
    """As earlier versions, which adapted queries and values, wrote it."""
    pipe = mm.load(saved)
    layers = named_layers(pipe.encode)
    values = lora.adapter_values(pipe.encode)
    some = {k: v for k, v in values.items() if layers[k.rpartition("/")[0]].name in ("query", "value")}
    assert len(some) == 3 * 2 * 2
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    write_adapters(tmp_path, some)
    loaded = mm.load(tmp_path)
    assert lora.adapter_values(loaded.encode).keys() == some.keys()
    lora.assign_adapters(pipe.encode, {k: v if k in some else np.zeros_like(v) for k, v in values.items()})
    np.testing.assert_allclose(loaded.predict(TEST), pipe.predict(TEST), atol=1e-6)


def test_other_adapters_are_another_fingerprint(saved):
    pipe = mm.load(saved)
    before = pipe.trunk._cut(False)[1]["text"].fingerprint
    values = {place: 2 * value for place, value in lora.adapter_values(pipe.encode).items()}
    lora.assign_adapters(pipe.encode, values)
    after = Trunk(pipe.modalities, pipe.prepare, pipe.encode)
    assert after._cut(False)[1]["text"].fingerprint != before


@pytest.mark.parametrize("shape", [(3,), (), (0,), (1, 1, 10**6)], ids=str)
def test_adapters_of_another_tower_are_refused(saved, tmp_path, shape):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    arrays = mm.persistence.read_arrays(next(tmp_path.rglob("adapters.h5")))
    write_adapters(tmp_path, {**arrays, next(iter(arrays)): np.zeros(shape, "float32")})
    with pytest.raises(ValueError, match="Adapters must be those of the tower .* 2 that differ"):
        mm.load(tmp_path)


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "adapters.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Adapters of a saved Pipeline must be in a file of HDF5.*cannot be read"):
        mm.persistence.read_arrays(tmp_path / "adapters.h5")


def test_an_exported_model_has_the_adapters_in_its_kernels(fitted, tmp_path):
    fitted.export(tmp_path)
    served = tf.saved_model.load(str(tmp_path))
    names = [variable.name for variable in served.variables]
    assert names and not any("lora" in name for name in names)
    answers = served.signatures["serve"](overview=tf.constant(TEST["overview"].tolist()))["genres"]
    np.testing.assert_allclose(answers, fitted.predict(TEST), atol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "convolution", "embedding", "einsum"])
def test_merged_kernels_give_the_same_as_adapters(kind):
    make = {
        "dense": lambda: keras.layers.Dense(4, activation="relu"),
        "convolution": lambda: keras.layers.Conv2D(4, 2),
        "embedding": lambda: keras.layers.Embedding(7, 4),
        "einsum": lambda: keras.layers.EinsumDense("bd,dhe->bhe", (2, 3), bias_axes="he"),
    }
    x = keras.Input((3, 3, 4) if kind == "convolution" else (4,))
    inner = keras.Model(x, make[kind]()(x))
    model = keras.Model(x, inner(x))
    values = np.random.default_rng(0).integers(0, 7, (5, *x.shape[1:])).astype("float32")
    before = model(values).numpy()
    lora.add_adapters(model, 2, "it")
    lora.assign_adapters(model, {k: np.full_like(v, 0.3) for k, v in lora.adapter_values(model).items()})
    after = model(values).numpy()
    assert np.abs(after - before).max() > 0.1
    merged, bare = (lora.without_adapters(model, merged=merged) for merged in (True, False))
    np.testing.assert_allclose(merged(values), after, atol=1e-5)
    np.testing.assert_array_equal(bare(values), before)
    assert merged.count_params() == bare.count_params() < model.count_params()


def test_by_hand():
    """Kernel [[1]], matrices 2 and 3 of rank 1: x · (1 + 6)."""
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(x))
    lora.add_adapters(model, 1, "it")
    a, b = sorted(lora.adapter_values(model))
    lora.assign_adapters(model, {a: [[2.0]], b: [[3.0]]})
    assert model(np.array([[10.0]])).numpy().tolist() == [[70.0]]
    merged = lora.without_adapters(model, merged=True)
    assert [weight.numpy().tolist() for weight in merged.weights] == [[[7.0]]]


# === Telling, and settings


def test_a_report_tells_how_many_weights_trained(fitted):
    (note,) = [note for note in fitted.evaluate(TEST, verbose=0).notes if "LoRA" in note]
    tower = fitted.encode.get_layer("text_tower")
    whole = tower.count_params() - TRAINED
    share = f"{TRAINED / whole:.2%} of the {whole:,} of its tower, which stayed."
    assert note == f"LoRA of 'text' trained {TRAINED:,} weights, {share}"


@pytest.mark.parametrize(
    "trainable, settings, rates",
    [
        ("lora", {"fine_tune_epochs": 2}, (3e-4, 10.0)),
        ("lora", {"fine_tune_epochs": 2, "fine_tune_learning_rate": 2e-3}, (2e-3, 1.0)),
        ("lora", {"fine_tune_epochs": 2, "tower_rate": 3.0}, (3e-4, 3.0)),
        ("lora", {}, (5e-5, 1.0)),  # adapters train from the start, at the head's rate
        (True, {"fine_tune_epochs": 2}, (5e-5, 1.0)),
    ],
)
def test_rates_of_a_second_phase_are_those_of_adapters(tiny_bert, trainable, settings, rates):
    rank = 2 if trainable == "lora" else None
    recipe = pipeline(text(tiny_bert, trainable=trainable, lora_rank=rank), mm.Tabular(numeric=["runtime"]))._recipe
    chosen = {"fine_tune_learning_rate": "chosen", "tower_rate": "chosen", **settings}
    plan = recipe.plan(1000, **chosen)
    assert (plan.fine_tune_learning_rate, plan.tower_rate) == rates
    whole = dataclasses.replace(recipe.modalities[0], trainable=True, lora_rank=None, name="whole")
    mixed = pipeline(*recipe.modalities, whole)._recipe.plan(1000, **{**chosen, "tower_rate": "chosen"})
    assert mixed.tower_rate == 1.0  # which a tower that trains whole needs


def test_settings_are_kept(tiny_bert):
    modality = text(str(tiny_bert), lora_blocks=1)
    config = modality.get_config()
    assert (config["trainable"], config["lora_rank"], config["lora_blocks"]) == ("lora", 2, 1)
    assert mm.Text(**config) == modality
    assert modality.train_tower(2).lora_rank is None and modality.train_tower("lora") == modality
    assert mm.Image("photo", trainable=True).train_tower("lora").trainable == "lora"
    image = mm.Image("photo", trainable="lora", lora_rank=4)
    assert mm.Image(**image.get_config()) == image and image.train_tower(True).lora_rank is None


def test_adapters_have_a_pace_and_thaw_from_the_top(tiny_bert):
    trunk = Trunk([text(tiny_bert).adapt(TRAIN)])
    (paces,) = trunk.paces(Plan(epochs=3, tower_rate=0.5, unfreeze=(0, 1, 2)))
    paces.on_epoch_begin(1)
    shares = [float(paces(weight)) for weight in trunk.encode.trainable_weights]
    assert shares == [0.0] * 12 + [0.5] * 24  # the lowest of three blocks waits


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lora_rank": 0}, "`lora_rank` must be an int of 1 or more. Received: 0"),
        ({"lora_rank": 8.0}, "`lora_rank` must be an int of 1 or more. Received: 8.0"),
        ({"lora_rank": True}, "`lora_rank` must be an int of 1 or more. Received: True"),
        ({"trainable": True}, "`lora_rank` goes with `trainable='lora'`. Received: lora_rank=2 with trainable=True"),
        ({"trainable": 2, "lora_rank": None, "lora_blocks": 1}, "`lora_blocks` goes with `trainable='lora'`"),
        ({"lora_blocks": 0}, "`lora_blocks` must be an int of 1 or more. Received: 0"),
        ({"trainable": "LoRA"}, "`trainable` must be False, True, 'lora', or the number of top blocks"),
        *(
            ({"encoder": encoder}, f"adapts a pretrained tower. Received: encoder='{encoder}'")
            for encoder in ("scratch", "lexical", "characters")
        ),
    ],
)
def test_bad_settings_of_texts(settings, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        text(**{"encoder": "distil_bert_base_en_uncased", **settings})


def test_bad_settings_of_images():
    with pytest.raises(ValueError, match="adapts a pretrained tower. Received: encoder='scratch'"):
        mm.Image("photo", "scratch", trainable="lora")
    with pytest.raises(ValueError, match="`lora_rank` must be an int of 1 or more. Received: '8'"):
        mm.Image("photo", trainable="lora", lora_rank="8")
    with pytest.raises(ValueError, match="`lora_rank` goes with `trainable='lora'`"):
        mm.Image("photo", lora_rank=8)


def test_more_blocks_than_there_are(tiny_bert):
    with pytest.raises(ValueError, match="`lora_blocks` must be at most the number of blocks .* which has 3"):
        pipeline(text(tiny_bert, lora_blocks=4)).fit(TRAIN, **FIT)


def test_a_tower_without_layers_for_it(tmp_path):
    pixels = keras.Input((16, 16, 3))
    keras.Model(pixels, keras.layers.BatchNormalization()(pixels)).save(tmp_path / "norm.keras")
    image = mm.Image("photo", tmp_path / "norm.keras", trainable="lora")
    df = TRAIN.assign(photo=tf.io.encode_png(np.zeros((16, 16, 3), "uint8")).numpy())
    pipe = pipeline(image)
    with pytest.raises(ValueError, match=r"needs a tower with layers that take it.*norm.keras', which has none. Use"):
        pipe.fit(df, **FIT)
    assert pipe.encode is None


def test_blocks_of_a_model_of_ones_own(tmp_path):
    with pytest.raises(ValueError, match="`lora_blocks` goes with KerasHub encoders"):
        mm.Text("overview", tmp_path / "own.keras", trainable="lora", lora_blocks=1)

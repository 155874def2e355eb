"""Engines: which one runs a tower, that all give the same features, and what happens when one cannot."""

import contextlib
import gc
import os
import pathlib
import re
import subprocess
import sys
import weakref

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.data.recent import Recent
from mmkeras.evaluation import report as evaluation
from mmkeras.graph import submodel
from mmkeras.trunk import encoding, engines
from mmkeras.trunk import store as features
from mmkeras.trunk.encoding import Tower, encode_rows, plan_parts
from mmkeras.trunk.engines import (
    EngineError,
    OpenVINO,
    TensorFlow,
    base,
    candidates,
    check_agreement,
    choice,
    converted,
    refusals,
)
from mmkeras.trunk.engines.choice import bfloat16_units
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.folder import TOWERS
from mmkeras.trunk.stages import cut_frozen
from mmkeras.trunk.store import open_store
from mmkeras.trunk.trunk import Trunk

ROOT = pathlib.Path(engines.__file__).parent.parent
needs_openvino = pytest.mark.skipif(not converted.installed(), reason="openvino is not installed")
ROUNDS = converted.installed() and "BF16" in converted.core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
needs_rounding = pytest.mark.skipif(not ROUNDS, reason="OpenVINO does not round to bfloat16 on this processor")
UNITS = "amx_bf16 and avx512_bf16"


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def units(monkeypatch):
    monkeypatch.setattr(choice, "bfloat16_units", lambda: UNITS)


def parts_of(modality, df):
    """The modality, the preparation before its frozen tower, and that tower."""
    modality = modality.adapt(df)
    prepare = mm.build_prepare([modality])
    encode = mm.build_encode([modality], prepare)
    for name, trains in modality.tower_layers(False).items():
        encode.get_layer(name).trainable = trains
    (tower,) = cut_frozen(encode).towers.values()
    before = submodel(prepare.input, {key: prepare.output[key] for key in tower.input})
    return modality, before, tower


def tower_of(parts, describe=""):
    modality, prepare, model = parts
    return Tower(prepare, model, describe, heavy=modality.preparing == "heavy")


def encode(store, parts, df, engine, *, tower=None, **settings):
    """{key: array} of the features of all rows, by way of the store."""
    columns, tower = raw_values(df, parts[:1]), tower or tower_of(parts)
    keys = row_keys(parts[0], columns)
    keys, _ = encode_rows(store, tower, columns, keys, engine=engine, **{"verbose": 0, **settings})
    return store.read(keys, tower.layout)


@pytest.fixture(scope="module")
def sentences():
    rng = np.random.default_rng(0)
    letters = ["".join(rng.choice(list("abcdefgh"), rng.integers(1, 25))) for _ in range(40)]
    return pd.DataFrame({"overview": ["", *letters]})


@pytest.fixture(scope="module")
def bert(tiny_bert, sentences):
    return parts_of(mm.Text("overview", encoder=tiny_bert, sequence_length=32, pooling=None), sentences)


@pytest.fixture(scope="module")
def pictures():
    images = np.random.default_rng(0).integers(0, 256, (10, 20, 30, 3), dtype=np.uint8)
    return pd.DataFrame({"photo": [*(tf.io.encode_png(image).numpy() for image in images), ""]})


@pytest.fixture(scope="module")
def light():
    """A modality of one number, and a tower of one layer."""
    return light_parts(keras.layers.Dense(16))


def light_parts(layer):
    number, inner = keras.Input((), name="x"), keras.Input((1,), name="text.x")
    prepare = keras.Model({"x": number}, {"text.x": keras.layers.Reshape((1,))(number)})
    return (
        mm.Tabular(numeric=["x"], name="text"),
        prepare,
        keras.Model({"text.x": inner}, {"text": layer(inner)}, name="text_frozen"),
    )


NUMBERS = pd.DataFrame({"x": np.arange(1.0, 8.0)})


def cosines(one, two):
    one, two = (np.asarray(values, "float64").reshape(len(values), -1) for values in (one, two))
    return np.sum(one * two, axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(two, axis=1)


# === Choosing ===


def test_auto_takes_the_fastest_that_the_machine_has(monkeypatch):
    def names(units, installed, gpus=()):
        monkeypatch.setattr(choice, "bfloat16_units", lambda: units)
        monkeypatch.setattr(choice, "installed", lambda: installed)
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(gpus))
        return [f"{one}: {one.why}" for one in candidates("auto")]

    plain = "TensorFlow in float32"
    assert names("", True) == [f"{plain}: the processor has no bfloat16 units"]
    assert names("amx_bf16", False) == [f"{plain}: OpenVINO is not installed"]
    assert names("amx_bf16", True) == [
        "OpenVINO in bfloat16: the processor has amx_bf16",
        "OpenVINO in float32 up to the middle, then bfloat16: bfloat16 is too coarse for the whole tower",
        "OpenVINO in float32: bfloat16 is too coarse for this tower",
        f"{plain}: the faster engine did not take this tower",
    ]
    assert names("", False, ["gpu"])[0] == "TensorFlow in mixed_float16: there is a GPU"
    assert all(plain in names(units, True, gpus)[-1] for units in ("", "x") for gpus in ([], ["gpu"]))


@needs_openvino
def test_by_name_there_is_no_second_choice(monkeypatch):
    assert [str(one) for one in candidates("tensorflow")] == ["TensorFlow in float32"]
    monkeypatch.setattr(choice, "bfloat16_units", lambda: "avx512_bf16")
    assert [str(one) for one in candidates("openvino")] == ["OpenVINO in bfloat16"]
    monkeypatch.setattr(choice, "bfloat16_units", lambda: "")
    assert [str(one) for one in candidates("openvino")] == ["OpenVINO in float32"]


def test_units_are_read_from_the_processors_flags(monkeypatch):
    for flags, wanted in (("fpu avx512f", ""), ("amx_bf16 avx2", "amx_bf16"), ("avx512_bf16 amx_bf16", UNITS)):
        text = f"processor : 0\nflags\t\t: {flags}\nbugs : amx_bf16\n"
        monkeypatch.setattr(pathlib.Path, "read_text", lambda self, text=text: text)
        assert bfloat16_units() == wanted


def test_an_unknown_engine_is_an_error():
    with pytest.raises(ValueError, match=r"`encode_engine` must be one of \('auto', .*\)\. Received: 'onnx'\."):
        mm.Pipeline([mm.Tabular(numeric=["x"])], mm.Regression("y"), encode_engine="onnx")


def test_openvino_without_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(choice, "installed", lambda: False)
    with pytest.raises(
        ImportError, match=r"needs the package openvino.*pip install 'mmkeras\[openvino\]'.*or use 'auto'"
    ):
        mm.Pipeline([mm.Tabular(numeric=["x"])], mm.Regression("y"), encode_engine="openvino")


# === Batches ===


def test_parts_hold_every_row_once_and_little_padding():
    lengths = np.random.default_rng(0).integers(2, 200, 500)
    parts = list(plan_parts(lengths, 64, 1024))
    assert sorted(np.concatenate(parts)) == list(range(500))
    for part in parts:
        size = len(part) * lengths[part].max()
        assert lengths[part[0]] == lengths[part].max() and len(part) <= 64
        assert len(part) == 1 or (size <= 1024 and lengths[part].sum() >= 0.95 * size)
    firsts = [lengths[part[0]] for part in parts]
    assert firsts == sorted(firsts, reverse=True)
    assert np.mean([len(part) for part in parts]) > 5


@pytest.mark.parametrize(
    ("lengths", "rows", "tokens", "sizes"),
    [
        ([5, 5, 5, 5, 5], 2, 1000, [2, 2, 1]),
        ([5, 5, 5, 5, 5], 9, 15, [3, 2]),
        ([40, 40], 9, 10, [1, 1]),  # longer than a part may be
        ([100, 95, 10], 9, 1000, [2, 1]),  # 2.5% of padding; 31% with the third
        ([7], 9, 1000, [1]),
    ],
)
def test_limits_of_parts(lengths, rows, tokens, sizes):
    assert [len(part) for part in plan_parts(np.array(lengths), rows, tokens)] == sizes


def test_each_row_keeps_its_features_over_many_windows(store, bert, sentences, monkeypatch):
    monkeypatch.setattr(encoding, "WINDOW", 7)
    modality, prepare, tower = bert
    got = encode(store, bert, sentences, "tensorflow")["text"]
    tensors = prepare(raw_values(sentences, [modality]))
    exact = np.array(tower({key: tensors[key] for key in tower.input}, training=False)["text"])
    mask = np.array(tensors["text.padding_mask"])[..., None]
    np.testing.assert_allclose(got, exact * mask, atol=2e-5)


def test_progress_counts_rows_per_second(store, light, capsys):
    encode(store, light, NUMBERS, "tensorflow", verbose=1)
    out = capsys.readouterr().out
    assert "Encoding 7 rows of 'text' by TensorFlow in float32; as asked for" in out
    assert "7/7" in out and "rows/s: " in out


# === The same features from every engine ===


@needs_openvino
def test_texts_by_openvino(store, bert, sentences, units, monkeypatch):
    monkeypatch.setattr(encoding, "WINDOW", 16)
    one = encode(store, bert, sentences, "tensorflow")["text"]
    two = encode(store, bert, sentences, "openvino")["text"]
    assert one.shape == two.shape and one.dtype == two.dtype
    assert cosines(one, two).min() > 0.999
    assert np.abs(one - two).max() > 0  # it was the other engine


@needs_openvino
@pytest.mark.parametrize("pooling", ["avg", None])
def test_images_by_openvino(store, pictures, units, pooling):
    modality = mm.Image("photo", "VGG16", weights=None, image_size=(32, 32), pooling=pooling)
    keras.utils.set_random_seed(0)
    parts = parts_of(modality, pictures)
    one = encode(store, parts, pictures, "tensorflow")["image"]
    two = encode(store, parts, pictures, "openvino", batch_size=4)["image"]  # the last batch has 3 rows
    assert one.shape == two.shape and one.dtype == two.dtype == ("float32" if pooling else "float16")
    assert not np.any(two[-1]) and cosines(one[:-1], two[:-1]).min() > 0.999


@needs_openvino
def test_towers_of_other_dtypes_by_openvino(store, tiny_bert, sentences, units):
    parts = parts_of(mm.Text("overview", encoder=tiny_bert, pooling=None, dtype="mixed_bfloat16"), sentences)
    one = encode(store, parts, sentences, "tensorflow")["text"]
    two = encode(store, parts, sentences, "openvino")["text"]
    assert one.dtype == two.dtype and cosines(one, two).min() > 0.99  # the first, too, is rounded


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_tensorflow_in_mixed_precision(bert, sentences, policy, monkeypatch):
    monkeypatch.setattr(base, "LEAST_COSINE", 0.99)  # random weights are not kind to 8 bits
    modality, prepare, tower = bert
    tensors = prepare(raw_values(sentences.tail(8), [modality]))
    engine = TensorFlow(policy)
    run = engine.open(tower, engine.key(b"0" * 16), folder=None, rows=None, sample=(tensors, None))
    exact = np.array(tower({key: tensors[key] for key in tower.input}, training=False)["text"])
    (outputs,) = run([tensors])
    assert outputs["text"].dtype == "float32" and cosines(outputs["text"], exact).min() > 0.99
    assert np.abs(outputs["text"] - exact).max() > 1e-4  # it did calculate in another precision


@needs_openvino
def test_training_on_either_engines_features_gives_the_same_metric(tiny_bert, units):
    train, test = mm.split_frame(mm.samples.movies(240, seed=0), 0.3, seed=0)
    scores = []
    for engine in ("tensorflow", "openvino"):
        text = mm.Text("overview", encoder=tiny_bert, sequence_length=64, pooling="mean")
        pipe = mm.Pipeline([text], mm.MultiLabel("genres"), encode_engine=engine)
        pipe.fit(train, validation_data=False, epochs=3, verbose=0)
        scores.append(pipe.evaluate(test).metrics["map"])
    assert scores[0] == pytest.approx(scores[1], abs=0.005) and scores[0] > 0


@needs_openvino
@pytest.mark.real
def test_training_on_either_engines_features_of_real_films_gives_the_same_metric(real_data, units):
    train, test = mm.split_frame(mm.sources.movies(real_data / "data/movies/movies.csv").head(500), 0.4, seed=0)
    task = mm.MultiLabel("genres").adapt(train)
    text = mm.Text("overview", encoder=real_data / "weights/all-MiniLM-L6-v2", sequence_length=96, pooling="mean")
    values = []
    for engine in ("tensorflow", "openvino"):
        pipe = mm.Pipeline([text], task, encode_engine=engine)
        pipe.fit(train, validation_data=False, epochs=10, batch_size=32, verbose=0)
        scores, _ = evaluation.scores(task, task.target(test), pipe.predict(test).to_numpy(), samples=1)
        values.append(scores["map"])
    assert values[0] == pytest.approx(values[1], abs=0.005) and values[0] > 0.3


# === Keys ===


def test_features_of_engines_and_precisions_are_kept_apart():
    keys = [TensorFlow().key(b"t" * 16), TensorFlow("mixed_float16").key(b"t" * 16)]
    keys += [OpenVINO("bf16").key(b"t" * 16), OpenVINO("f32").key(b"t" * 16)]
    assert len(set(keys)) == 4 and {len(key) for key in keys} == {16}
    assert keys[0] == b"t" * 16  # as before there were engines


@needs_openvino
def test_one_engine_does_not_read_what_another_wrote(store, light, units):
    for engine in ("tensorflow", "openvino"):
        encode(store, light, NUMBERS, engine, tower=tower_of(light, "a tower"))
    assert {entry["tower"]: entry["rows"] for entry in store.info()} == {
        "a tower": 7,
        "a tower by OpenVINO in bfloat16": 7,
    }


# === Conversion ===


@pytest.fixture
def conversions(monkeypatch):
    """The towers that were converted, by name."""
    names, real = [], converted._convert
    monkeypatch.setattr(converted, "_convert", lambda tower: names.append(tower.name) or real(tower))
    return names


@needs_openvino
def test_a_tower_is_converted_once(store, light, units, conversions):
    encode(store, light, NUMBERS, "openvino")
    encode(store, light, NUMBERS + 100, "auto")
    assert conversions == ["text_frozen"] and len(list((store.path / TOWERS).iterdir())) == 1
    other = light_parts(keras.layers.Dense(16))  # of other weights
    encode(store, other, NUMBERS, "openvino")
    assert len(conversions) == 2 and len(list((store.path / TOWERS).iterdir())) == 2


def cut(place):
    (place / "tower.xml").write_bytes((place / "tower.xml").read_bytes()[:100])


def flipped(place):
    data = bytearray((place / "tower.bin").read_bytes())
    data[9] ^= 64
    (place / "tower.bin").write_bytes(data)


def without_digests(place):
    (place / "digests.json").unlink()


def linked(place):
    place.rename(place.parent.parent / "elsewhere")
    place.symlink_to(place.parent.parent / "elsewhere")


def linked_inside(place):
    (place / "tower.bin").rename(place.parent.parent / "elsewhere")
    (place / "tower.bin").symlink_to(place.parent.parent / "elsewhere")


@needs_openvino
@pytest.mark.parametrize("damage", [cut, flipped, without_digests, linked, linked_inside])
def test_a_damaged_converted_tower_is_made_anew(store, light, units, conversions, damage):
    encode(store, light, NUMBERS, "openvino")
    (place,) = (store.path / TOWERS).iterdir()
    damage(place)
    encode(store, light, NUMBERS + 100, "openvino")
    assert len(conversions) == 2 and converted._read(place) is not None and not place.is_symlink()
    encode(store, light, NUMBERS + 200, "openvino", tower=tower_of(light))
    assert len(conversions) == 2


@needs_openvino
def test_a_converted_tower_on_a_full_disk_is_told(store, light, units, conversions, monkeypatch):
    def full(*arguments, **settings):
        raise RuntimeError("basic_ios::clear: iostream error")  # what OpenVINO says of it

    monkeypatch.setattr(converted.openvino(), "save_model", full)
    with pytest.warns(
        UserWarning, match="could not be kept and will be converted again: basic_ios.*Free some space in"
    ):
        encode(store, light, NUMBERS, "openvino")
    assert list((store.path / TOWERS).iterdir()) == []


@needs_openvino
def test_clear_deletes_converted_towers_too(store, light, units):
    encode(store, light, NUMBERS, "openvino")
    store.close()
    sizes = [path.stat().st_size for path in store.path.rglob("*") if path.is_file()]
    kept = (store.path / "CACHEDIR.TAG").stat().st_size + (store.path / "lock.mdb").stat().st_size
    assert features.clear(store.path) == sum(sizes) - kept
    assert not (store.path / TOWERS).exists()


@needs_openvino
def test_a_tower_that_is_not_equal_is_refused_with_the_figure(store, units, monkeypatch):
    parts, real = light_parts(keras.layers.Dense(16)), converted._convert

    def wrong(tower):
        exact, model = real(tower)
        return lambda tensors: {key: -value for key, value in exact(tensors).items()}, model

    monkeypatch.setattr(converted, "_convert", wrong)
    message = r"OpenVINO in bfloat16 must give the features.*cosine of 0.999 or more. Received: -1.00000"
    with pytest.raises(EngineError, match=message):
        encode(store, parts, NUMBERS, "openvino")
    assert [path.name.endswith(".refused.json") for path in (store.path / TOWERS).iterdir()] == [True]
    with pytest.warns(UserWarning) as warned:
        got = encode(store, parts, NUMBERS, "auto")["text"]
    assert [re.split(r"'\. |engine\. ", str(each.message))[-1] for each in warned] == [
        "OpenVINO in float32 up to the middle, then bfloat16 encodes instead.",  # it has no convolutions
        "OpenVINO in float32 encodes instead.",  # remembered to be too coarse, which a finer precision may mend
        "TensorFlow in float32 encodes instead.",
    ]
    np.testing.assert_allclose(got, parts[2]({"text.x": NUMBERS.to_numpy("float32")})["text"], atol=1e-5)


def cancelling(convolutions):
    """A tower that begins with differences of two channels that are nearly equal, which need more than bfloat16's 8 bits."""
    pixels = inner = keras.Input((4, 4, 2), name="text.x")
    kernel = np.stack([1 + 0.001 * np.arange(1, 9), -np.ones(8)]).reshape(1, 1, 2, 8)
    for _ in range(convolutions):
        layer = keras.layers.Conv2D(8, 1, use_bias=False, activation="relu")
        pixels = layer(pixels)
        layer.set_weights([kernel])
        kernel = (0.9 * np.eye(8) + 0.01).reshape(1, 1, 8, 8)
    model = keras.Model({"text.x": inner}, {"text": keras.layers.Flatten()(pixels)}, name="text_frozen")
    same = np.random.default_rng(1).random((4, 4, 4, 1), "float32")
    return model, {"text.x": np.repeat(same, 2, -1)}


@needs_rounding
def test_a_first_half_in_float32_mends_what_bfloat16_spoils_there(tmp_path):
    tower, tensors = cancelling(4)
    exact = tower.predict(tensors, verbose=0)["text"]
    how = {"folder": tmp_path, "rows": 4, "sample": (tensors, None)}
    with pytest.raises(base.Inexact, match="OpenVINO in bfloat16 must give"):
        OpenVINO("bf16").open(tower, b"a" * 16, **how)
    for _ in range(2):  # converted; and read again, with its marks
        (got,) = OpenVINO("mixed").open(tower, b"b" * 16, **how)([tensors])
        assert cosines(got["text"], exact).min() > 0.9999
        assert np.abs(got["text"] / exact - 1).max() > 1e-4  # the other half was rounded
    assert len(list(tmp_path.iterdir())) == 1


@needs_openvino
def test_a_tower_without_convolutions_has_no_first_half(tmp_path, light):
    how = {"folder": tmp_path, "rows": 2, "sample": ({"text.x": np.ones((2, 1), "float32")}, None)}
    with pytest.raises(base.Inexact, match="is for networks of convolutions. Received: 'text_frozen'. Use another"):
        OpenVINO("mixed").open(light[2], b"c" * 16, **how)


@needs_rounding
@pytest.mark.real
def test_a_pretrained_network_of_narrow_convolutions_runs_behind_a_first_half_in_float32(real_data, units):
    photos = sorted(map(str, (real_data / "data/flickr8k/images").glob("*.jpg")))[:4]
    df = pd.DataFrame({"photo": photos})
    image = mm.Image("photo", real_data / "weights/efficientnet_lite2", image_size=(257, 257)).adapt(df)
    with pytest.warns(UserWarning, match="up to the middle, then bfloat16 encodes instead") as warned:
        two = Trunk([image], engine="auto").features(df)["image"]
    assert [each.category for each in warned].count(UserWarning) == 1
    assert cosines(Trunk([image], engine="tensorflow").features(df)["image"], two).min() > 0.999


def test_agreement_is_judged_row_by_row_without_padding_and_absent_rows():
    exact = {"a": np.array([[1.0, 0.0], [0.0, 0.0], [3.0, 4.0]])}
    assert check_agreement("E", {"a": np.array([[1.0, 0.01], [0.0, 9.0], [6.0, 8.0]])}, exact)
    with pytest.raises(EngineError, match=r"Received: 0\.96000\."):  # (3 · 4 + 4 · 3) / 25
        check_agreement("E", {"a": np.array([[1.0, 0.0], [0.0, 0.0], [4.0, 3.0]])}, exact)
    with pytest.raises(EngineError, match="Received: nan"):
        check_agreement("E", {"a": np.full((3, 2), np.nan)}, exact)
    sequence = {"a": np.array([[[1.0], [2.0], [0.0]]])}
    padded = {"a": np.array([[[1.0], [2.0], [99.0]]])}
    assert check_agreement("E", padded, sequence, lengths=np.array([2]))
    with pytest.raises(EngineError):
        check_agreement("E", padded, sequence, lengths=np.array([3]))
    assert not check_agreement("E", {"a": np.ones((2, 2))}, {"a": np.zeros((2, 2))})


@keras.saving.register_keras_serializable("tests")
class Igamma(keras.layers.Layer):
    """An operation that OpenVINO does not know."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", trainable=False)

    def call(self, x):
        return tf.math.igamma(self.scale, tf.abs(x))


@needs_openvino
def test_a_tower_that_cannot_be_converted(store, units):
    parts = light_parts(Igamma())
    with pytest.raises(
        EngineError, match=r"every operation of the tower 'text_frozen'. Received: Igamma. Use .*'tensorflow'"
    ):
        encode(store, parts, NUMBERS, "openvino")
    with pytest.warns(UserWarning, match=r"Received: Igamma\..*TensorFlow in float32 encodes instead"):
        got = encode(store, parts, NUMBERS, "auto")["text"]
    np.testing.assert_allclose(got[:, 0], 1 - np.exp(-NUMBERS["x"]), atol=1e-5)  # the gamma distribution of shape 1


@pytest.fixture
def another_process(monkeypatch):
    """A function after which what engines refused is known from files alone."""
    monkeypatch.setattr(refusals, "_known", Recent(9))  # nothing that other tests have tried
    return refusals._known.clear


@needs_openvino
def test_what_was_refused_is_not_converted_by_another_process(store, units, conversions, another_process, monkeypatch):
    parts = light_parts(Igamma())
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"Received: Igamma\..*TensorFlow in float32 encodes instead"):
            encode(store, parts, NUMBERS, "auto")
        another_process()
        features.close_store(store.path)
        store = open_store(store.path)
        store.write([])
    with pytest.raises(
        EngineError, match=r"Received: Igamma\..* It was tried on 2.*`mmkeras cache clear` forgets that"
    ):
        encode(store, parts, NUMBERS + 10, "openvino")
    assert conversions == ["text_frozen"]
    (facts,) = engines.refused(store.path / TOWERS)
    assert (facts["tower"], facts["engine"]) == ("text", "OpenVINO in bfloat16") and "Igamma" in facts["why"]
    monkeypatch.setattr(converted, "_version", lambda: "9999.1")  # which may know the operation
    for times in (2, 3):
        with pytest.raises(EngineError, match="Igamma"):
            encode(store, parts, NUMBERS + 20, "openvino")
        assert len(conversions) == times
        features.clear(store.path)
        another_process()
        store = open_store(store.path)
        assert engines.refused(store.path / TOWERS) == []


@needs_openvino
@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"why": "x"}', '{"why'])
def test_a_damaged_note_of_a_refusal_counts_as_none(store, light, units, conversions, text):
    engine, (_, prepare, tower) = OpenVINO("bf16"), light
    (store.path / TOWERS).mkdir()
    place = store.path / TOWERS / f"{engine.key(fingerprint(prepare, tower)).hex()}-{engine.versions}.refused.json"
    place.write_text(text, encoding="utf-8")
    encode(store, light, NUMBERS, "openvino")
    assert conversions and engines.refused(store.path / TOWERS) == []


@needs_openvino
def test_a_refusal_that_cannot_be_noted_is_one_all_the_same(store, units, another_process):
    (store.path / TOWERS).write_text("a file where the folder should be")
    with pytest.raises(EngineError, match="Igamma"):
        encode(store, light_parts(Igamma()), NUMBERS, "openvino")


def test_a_note_that_finds_no_space_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(self, text, **settings):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    refusals._keep(tmp_path / "any.refused.json", {"why": "no"})
    assert not list(tmp_path.iterdir())


# === The rows on which engines are compared ===


def samples_of(modality, tables, monkeypatch):
    """The samples on which a Trunk tries OpenVINO, of one table after another."""
    seen = []

    def open_(self, tower, key, *, folder, rows, sample):
        seen.append(sample)
        return TensorFlow().open(tower, key, folder=folder, rows=rows, sample=sample)

    monkeypatch.setattr(OpenVINO, "open", open_)
    modality = modality.adapt(tables[0])
    for df in tables:
        trunk = Trunk([modality], engine="openvino")
        assert len(trunk.features(df)[modality.name]) == len(df)
    return seen


def assert_same(samples):
    (first, lengths), (second, others) = samples
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])
    np.testing.assert_array_equal(lengths, others)


@needs_openvino
def test_texts_are_tried_on_the_same_sentences_whatever_rows_there_are(tiny_bert, monkeypatch):
    text = mm.Text("a", encoder=tiny_bert, sequence_length=64, name="words")
    tables = [pd.DataFrame({"a": ["x", ""]}), pd.DataFrame({"a": ["zz zz " * 9]})]
    samples = samples_of(text, tables, monkeypatch)
    assert_same(samples)
    tensors, lengths = samples[0]
    tokens = tensors["words.token_ids"]
    assert len(tokens) == 8 and len(set(lengths)) > 2 and lengths.max() == 64
    assert tokens.min() >= 0 and tokens.max() < 60 and len(np.unique(tokens)) > 20  # of the vocabulary's 60
    np.testing.assert_array_equal(tensors["words.padding_mask"].sum(axis=1), lengths)


@needs_openvino
def test_pictures_are_tried_on_the_same_photos_whatever_rows_there_are(pictures, monkeypatch):
    image = mm.Image("photo", "MobileNetV2", weights=None, image_size=(32, 32))
    samples = samples_of(image, [pictures.head(2), pictures.tail(3)], monkeypatch)
    assert_same(samples)
    ((pixels, _), _) = samples
    (pixels,) = (values.astype(float) for values in pixels.values() if values.ndim == 4)
    assert pixels.shape == (6, 32, 32, 3) and (pixels.std(axis=(1, 2, 3)) > 0.05 * np.ptp(pixels)).all()
    steps = np.abs(np.diff(pixels, axis=1)).mean()
    assert steps < 0.5 * np.abs(pixels - pixels[:, ::-1]).mean()  # neighbours are alike, which noise is not


@needs_openvino
def test_other_towers_are_tried_on_the_first_rows(store, light, units, monkeypatch):
    seen, real = [], OpenVINO.open
    monkeypatch.setattr(
        OpenVINO, "open", lambda *args, sample, **how: seen.append(sample) or real(*args, sample=sample, **how)
    )
    tower = tower_of(light)
    encode(store, light, pd.DataFrame({"x": np.arange(20.0)}), "openvino", tower=tower)
    encode(store, light, pd.DataFrame({"x": np.arange(30.0)}), "openvino", tower=tower)
    ((tensors, lengths),) = seen
    assert tensors["text.x"][:, 0].tolist() == list(range(8)) and lengths is None


@needs_openvino
def test_a_refused_tower_is_let_go(tmp_path):
    sample = {"text.x": np.ones((2, 1), "float32")}, None
    tower = light_parts(Igamma())[2]
    for _ in range(2):
        with contextlib.suppress(EngineError):
            engines.open_tower(OpenVINO(), tower, b"k" * 16, folder=tmp_path, rows=None, sample=sample)
            pytest.fail("it ran")
    known = weakref.ref(tower)
    del tower
    gc.collect()
    assert known() is None


@needs_openvino
def test_a_tower_that_fails_while_it_runs(store, units):
    """What was kept under the tower's name takes two numbers where the tower takes one."""
    parts = light_parts(keras.layers.Dense(16))
    _, prepare, tower = parts
    inner = keras.Input((2,), name="text.x")
    _, other = converted._convert(keras.Model({"text.x": inner}, {"text": keras.layers.Dense(16)(inner)}))
    engine = OpenVINO("bf16")
    converted._keep(
        other, store.path / TOWERS / f"{engine.key(fingerprint(prepare, tower)).hex()}-{converted._version()}"
    )
    with pytest.raises(EngineError, match=r"able to run the tower 'text_frozen'. Received: .*Use .*'tensorflow'"):
        encode(store, parts, NUMBERS, "openvino")
    with pytest.warns(UserWarning, match=r"able to run the tower.*TensorFlow in float32 encodes instead"):
        got = encode(store, parts, NUMBERS, "auto")["text"]
    np.testing.assert_allclose(got, tower({"text.x": NUMBERS.to_numpy("float32")})["text"], atol=1e-5)


def test_an_opened_tower_stays_open(store, light, monkeypatch):
    times, real = [], TensorFlow.open
    monkeypatch.setattr(TensorFlow, "open", lambda *args, **settings: times.append(1) or real(*args, **settings))
    tower = tower_of(light)
    for start in (0, 100):
        encode(store, light, NUMBERS + start, "tensorflow", tower=tower)
    assert len(times) == 1
    encode(store, light, NUMBERS + 200, "tensorflow")
    assert len(times) == 2


@needs_openvino
def test_an_error_while_rows_are_read_comes_through(store, light, units):
    _, prepare, tower = light
    engine = OpenVINO()
    sample = {"text.x": np.ones((2, 1), "float32")}
    key = engine.key(fingerprint(prepare, tower))
    run = engine.open(tower, key, folder=store.path, rows=2, sample=(sample, None))

    def batches():
        yield sample
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        list(run(batches()))
    assert len(list(run([sample] * 5))) == 5


# === Fine-tuning above the cut ===


def test_what_lies_below_the_trained_blocks_runs_once(tiny_bert, sentences, monkeypatch):
    rows, real = [], base.compiled

    def counting(model):
        run = real(model)
        return lambda tensors: rows.append(len(next(iter(tensors.values())))) or run(tensors)

    monkeypatch.setattr(base, "compiled", counting)
    df = sentences.drop_duplicates()
    df = df.assign(y=np.arange(len(df), dtype=float))
    text = mm.Text("overview", encoder=tiny_bert, sequence_length=32, trainable=1)
    pipe = mm.Pipeline([text], mm.Regression("y"))
    pipe.fit(df, validation_data=False, epochs=3, verbose=0)
    assert sum(rows) == len(df)
    above = pipe.trunk.attach(pipe.head, fine_tune=True).model
    assert "text.stored_0" in above.input and "text.token_ids" not in above.input
    whole, head = (sum(np.prod(w.shape) for w in m.weights) for m in (pipe.model, pipe.head))
    block = 4 * (16 * 16 + 16) + 2 * 16 * 32 + 32 + 16 + 2 * 2 * 16  # attention, two dense layers, two norms
    assert sum(np.prod(w.shape) for w in above.weights) == head + block < whole


# === Folders and other processes ===


def read_only_folder(path):
    """A folder that even root cannot write to, where there is one."""
    path.mkdir()
    path.chmod(0o500)
    return path if os.geteuid() else pathlib.Path("/proc/self")


def test_a_cache_folder_that_is_read_only(tmp_path, tiny_bert, sentences, conversions):
    df = sentences.assign(y=np.arange(len(sentences), dtype=float))
    pipe = mm.Pipeline([mm.Text("overview", encoder=tiny_bert)], mm.Regression("y"))
    folder = read_only_folder(tmp_path / "locked")
    with pytest.raises(OSError, match=r"needs a folder it can write to. Received: .*Give another `cache_dir`"):
        pipe.fit(df, epochs=1, verbose=0, cache_dir=folder / "cache")
    assert conversions == []


@needs_openvino
def test_converted_towers_that_cannot_be_kept(store, light, units):
    (store.path / TOWERS).write_text("a file where the folder should be")
    with pytest.warns(UserWarning, match=r"could not be kept and will be converted again: .*towers"):
        two = encode(store, light, NUMBERS, "openvino")["text"]
    assert cosines(encode(store, light, NUMBERS, "tensorflow")["text"], two).min() > 0.999


@needs_openvino
def test_another_process_is_first_to_keep_the_tower(store, light, units, monkeypatch):
    place, real = [], converted._keep

    def late(model, where):
        real(model, where)  # the other process
        place.append(where.stat().st_mtime_ns)
        real(model, where)
        place.append(where.stat().st_mtime_ns)

    monkeypatch.setattr(converted, "_keep", late)
    encode(store, light, NUMBERS, "openvino")
    assert place[0] == place[1] and [path.name.startswith("part-") for path in (store.path / TOWERS).iterdir()] == [
        False
    ]


CHILD = """
import sys
import keras, numpy as np, pandas as pd
import mmkeras as mm
from mmkeras.trunk.encoding import Tower, encode_rows
from mmkeras.trunk.engines import choice, converted
from mmkeras.trunk.store import open_store
choice.bfloat16_units = lambda: "amx_bf16"
keras.utils.set_random_seed(0)
number, inner = keras.Input((), name="x"), keras.Input((1,), name="text.x")
prepare = keras.Model({"x": number}, {"text.x": keras.layers.Reshape((1,))(number)})
model = keras.Model({"text.x": inner}, {"text": keras.layers.Dense(16)(inner)}, name="text_frozen")
tower = Tower(prepare, model)
x = np.arange(1.0, 60.0, dtype="float32")
store = open_store(sys.argv[1])
real = converted._convert
def convert(tower):
    print("converting", flush=True)
    sys.stdin.readline()  # until the other one converts, too
    return real(tower)
converted._convert = convert
row_keys = [number.tobytes() * 4 for number in x]
keys, _ = encode_rows(store, tower, {"x": x}, row_keys, engine="openvino", verbose=0)
print(store.read(keys, tower.layout)["text"].sum())
"""


@needs_openvino
def test_two_processes_convert_the_same_tower_at_once(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    children = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [child.stdout.readline() for child in children] == ["converting\n"] * 2
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    results = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert results[0] == results[1] and float(results[0]) != 0
    (kept,) = (tmp_path / TOWERS).iterdir()
    assert not kept.name.startswith("part-")

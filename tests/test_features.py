"""The feature cache: rows are encoded once, and what was written survives crashes, full disks and other processes."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pandas as pd
import pytest

import mmkeras as mm
from mmkeras import Tabular, Text, build_encode, build_prepare, split_frame
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.trunk import encoding, reading
from mmkeras.trunk import store as features
from mmkeras.trunk.encoding import Tower, encode_rows, token_lengths
from mmkeras.trunk.engines import base
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.packing import layout_of, pack
from mmkeras.trunk.stages import cut_frozen
from mmkeras.trunk.store import CacheFolder, clear, open_store
from mmkeras.trunk.trunk import Trunk

ROOT = pathlib.Path(features.__file__).parent.parent


@pytest.fixture
def store(tmp_path):
    opened = open_store(tmp_path / "cache")
    yield opened
    with contextlib.suppress(Exception):
        opened.close()


@pytest.fixture
def frame():
    words = ["abc", "a long text of many words", "", "xyz xyz", "one more", "abc"]
    return pd.DataFrame({"overview": words, "x": [1.0, 2.0, 0.0, 4.0, 5.0, 1.0]})


@pytest.fixture(scope="module")
def light():
    """The parts of `encode` at their smallest: a column of numbers and one frozen layer."""
    number, inner = keras.Input((), name="x"), keras.Input((1,), name="text.x")
    prepare = keras.Model({"x": number}, {"text.x": keras.layers.Reshape((1,))(number)})
    tower = keras.Model({"text.x": inner}, {"text": keras.layers.Dense(16)(inner)}, name="text_frozen")
    return Tabular(numeric=["x"], name="text"), prepare, tower


def stages(folder, **settings):
    """The modality, the preparation before its frozen tower, and that tower."""
    modality = Text("overview", encoder=str(folder), **{"sequence_length": 32, **settings})
    modality = modality.adapt(pd.DataFrame({"overview": ["a"]}))
    prepare = build_prepare([modality])
    tower = cut_frozen(frozen(build_encode([modality], prepare), modality)).towers["text"]
    return modality, prepare, tower


def frozen(encode, modality):
    for name, trains in modality.tower_layers(False).items():
        encode.get_layer(name).trainable = trains
    return encode


@pytest.fixture(scope="module")
def bert(tiny_bert):
    return stages(tiny_bert)


def encode(store, parts, df, **settings):
    modality, prepare, tower = parts
    columns = raw_values(df, [modality])
    own = Tower(prepare, tower, "a tower", modality.preparing == "heavy")
    return encode_rows(store, own, columns, row_keys(modality, columns), **{"verbose": 0, **settings})[0]


@pytest.fixture
def encoded_rows(monkeypatch):
    """How many rows each call of a tower encoded."""
    counts, real = [], base.compiled

    def counting(model):
        run = real(model)
        if not model.name.endswith("_frozen"):
            return run

        def count(tensors):
            counts.append(len(next(iter(tensors.values()))))
            return run(tensors)

        return count

    monkeypatch.setattr(base, "compiled", counting)
    return counts


def child(code, *args, **settings):
    """A Python process that runs `code` with the library on its path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "-1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True, env=environment, **settings
    )


# === Rows are encoded once ===


@dataclasses.dataclass(frozen=True)
class Watched(mm.Regression):
    """Numbers whose predictions of the validation rows are noted after each epoch."""

    def watch(self, predict, df):
        return [keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: SEEN.append(predict(df)))]


SEEN = []


def test_who_watches_a_tower_that_trains_sees_it_as_it_is(tiny_bert, tmp_path):
    df = pd.DataFrame({"overview": ["a b", "c", "d e f", "g"], "y": [1.0, 2.0, 3.0, 4.0]})
    text = Text("overview", encoder=str(tiny_bert), sequence_length=8, trainable=True)
    pipe = mm.Pipeline([text], Watched("y"))
    SEEN.clear()
    pipe.fit(df, validation_data=df, epochs=3, learning_rate=1e-2, verbose=0, cache_dir=tmp_path)
    assert len(SEEN) == 3 and np.abs(SEEN[1] - SEEN[2]).max() > 1e-3
    np.testing.assert_allclose(SEEN[2][:, 0], pipe.predict(df).to_numpy()[:, 0], atol=1e-5)
    (tower,) = open_store(tmp_path).info()  # what others gave on the way is of no use
    assert tower["rows"] == 4


@pytest.mark.parametrize("batch_size", [32, 2])
def test_stored_features_are_the_towers_output(store, bert, frame, batch_size):
    modality, prepare, tower = bert
    keys = encode(store, bert, frame, batch_size=batch_size)
    got = store.read(keys, layout_of(tower))["text"]
    tensors = prepare(raw_values(frame, [modality]))
    expected = tower({name: tensors[name] for name in tower.input}, training=False)["text"]
    assert got.shape == (6, 16) and got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_each_distinct_row_is_encoded_once(store, light, frame, encoded_rows):
    keys = encode(store, light, frame)
    assert sum(encoded_rows) == 5  # 1.0 stands there twice
    assert keys[0] == keys[5] and len(set(keys)) == 5


def test_other_splits_and_more_rows_encode_only_what_is_new(store, light, frame, encoded_rows):
    encode(store, light, frame)
    del encoded_rows[:]
    for seed in (1, 2):
        for part in split_frame(frame, 0.4, seed=seed):
            encode(store, light, part)
    assert encoded_rows == []
    grown = pd.concat([pd.DataFrame({"x": [7.0, 7.0]}), frame], ignore_index=True)
    encode(store, light, grown)
    assert encoded_rows == [1]


def test_what_was_encoded_before_an_interruption_is_kept(store, light, monkeypatch):
    df = pd.DataFrame({"x": np.arange(20.0)})
    real, clock = base.compiled, iter(range(0, 10_000, 10))
    # Each batch is a long time after the last.
    fake = types.SimpleNamespace(monotonic=lambda: next(clock), strftime=time.strftime)
    monkeypatch.setattr(encoding, "time", fake)

    def failing(model):
        run, calls = real(model), []

        def fail(tensors):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return run(tensors)

        return fail

    monkeypatch.setattr(base, "compiled", failing)
    with pytest.raises(KeyboardInterrupt):
        encode(store, light, df, batch_size=4)
    assert store.info()[0]["rows"] == 12


def test_a_reopened_store_knows_its_rows(store, light, frame, encoded_rows):
    encode(store, light, frame)
    del encoded_rows[:]
    store.close()
    encode(open_store(store.path), light, frame)
    assert encoded_rows == []


def test_one_store_object_per_folder(tmp_path):
    first = open_store(tmp_path / "cache")
    assert open_store(tmp_path / "x" / ".." / "cache") is first
    first.close()


def test_rows_in_any_order_get_their_own_features(store, light, frame):
    keys = dict(zip(frame["x"], encode(store, light, frame), strict=True))
    turned = frame.iloc[::-1]
    assert encode(store, light, turned) == [keys[x] for x in turned["x"]]
    layout = layout_of(light[2])
    forward, backward = (store.read(encode(store, light, df), layout)["text"] for df in (frame, turned))
    np.testing.assert_array_equal(forward, backward[::-1])


def test_sequences_are_stored_without_padding_and_padded_on_reading(store, tiny_bert, frame):
    parts = stages(tiny_bert, pooling=None)
    modality, prepare, tower = parts
    columns = raw_values(frame, [modality])
    lengths = token_lengths(prepare, columns)
    np.testing.assert_array_equal(lengths[[0, 2, 3]], [5, 2, 8])  # [CLS] a ##b ##c [SEP]
    keys = encode(store, parts, frame)
    distinct = lengths[:5].sum()
    assert store.info()[0]["bytes"] == 5 * (4 + 8) + distinct * 16 * 4  # with checksums
    read = store.read(keys, layout_of(tower))["text"]
    assert read.shape == (6, lengths.max(), 16)
    tensors = prepare(columns)
    expected = np.array(tower({name: tensors[name] for name in tower.input}, training=False)["text"])
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(read[row, :length], expected[row, :length], atol=1e-5)
        assert (read[row, length:] == 0).all()
    assert store.read(keys[:1], layout_of(tower))["text"].shape == (1, 5, 16)


def test_one_cache_holds_towers_that_differ_only_in_their_last_step(store, tiny_bert, frame):
    """The first token, the whole sequence and two blocks side by side have the same weights; not the same features."""
    variants = [{"pooling": "cls"}, {"pooling": None}, {"layers": 2}, {"pooling": "mean"}]
    for settings in variants:
        parts = stages(tiny_bert, **settings)
        modality, prepare, tower = parts
        got = store.read(encode(store, parts, frame), layout_of(tower))["text"]
        tensors = prepare(raw_values(frame, [modality]))
        expected = np.array(tower({name: tensors[name] for name in tower.input}, training=False)["text"])
        assert got.shape == expected.shape, settings
        if got.ndim == 3:
            expected = expected * np.array(tensors["text.padding_mask"])[..., None]
        np.testing.assert_allclose(got, expected, atol=1e-5)
    assert len(store.info()) == len(variants)


# === A trunk: the first two stages on the cache, with any head or none ===


@pytest.fixture
def trunk(tiny_bert, tmp_path):
    """Two frozen texts and a number."""
    df = pd.DataFrame({"a": ["abc", "x y", "", "abc"], "b": ["one", "two", "", "six"], "x": [1.0, 2.0, np.nan, 4.0]})
    modalities = [
        Text("a", encoder=str(tiny_bert), sequence_length=16, pooling="mean", name="first"),
        Text("b", encoder=str(tiny_bert), sequence_length=16, pooling=None, name="second"),
        Tabular(numeric=["x"], name="number"),
    ]
    adapted = [modality.adapt(df) for modality in modalities]
    return Trunk(adapted, cache=CacheFolder(tmp_path / "cache"), engine="tensorflow"), df


def expected_features(trunk, df):
    tensors = trunk.prepare(raw_values(df, trunk.modalities))
    return {**tensors, **trunk.encode(tensors, training=False)}


def test_a_trunk_gives_features_without_any_head_and_fills_the_cache(trunk, encoded_rows):
    trunk, df = trunk
    found, expected = trunk.features(df), expected_features(trunk, df)
    assert set(found) == {f"{name}{suffix}" for name in ("first", "second", "number") for suffix in ("", ".present")}
    for name in ("first", "number", "first.present", "second.present", "number.present"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-5, err_msg=name)
    mask = np.array(expected["second.padding_mask"])[..., None]
    length = found["second"].shape[1]
    np.testing.assert_allclose(found["second"], (np.array(expected["second"]) * mask)[:, :length], atol=1e-5)
    assert encoded_rows and sum(encoded_rows) == 3 + 4  # distinct texts of each column
    del encoded_rows[:]
    trunk.features(df)
    assert encoded_rows == []


def test_a_trunk_reads_only_the_modalities_that_a_model_takes(trunk, encoded_rows):
    trunk, df = trunk
    found = trunk.features(df[["a"]], names=["first"])  # the other columns are not even there
    assert set(found) == {"first", "first.present"} and sum(encoded_rows) == 3
    np.testing.assert_allclose(found["first"], expected_features(trunk, df)["first"], atol=1e-5)
    inputs = trunk.head_inputs(["number"])
    model = keras.Model({"number": inputs("number")}, {"sum": keras.ops.sum(inputs("number"), axis=-1)})
    sums = trunk.outputs(model, df[["x"]])["sum"]
    np.testing.assert_allclose(sums, np.sum(expected_features(trunk, df)["number"], axis=-1), rtol=1e-5)
    assert sum(encoded_rows) == 3


def test_a_tower_is_fingerprinted_once_per_trunk(trunk, monkeypatch):
    trunk, df = trunk
    counts, real = [], encoding.fingerprint
    monkeypatch.setattr(encoding, "fingerprint", lambda *models: counts.append(1) or real(*models))
    for rows in (df, df.head(2), df):
        trunk.features(rows)
    assert len(counts) == 2


def test_modalities_taken_for_missing_are_so_in_all_rows(trunk):
    trunk, df = trunk
    inputs = trunk.head_inputs()
    outputs = {name: keras.ops.copy(inputs.present(name)) for name in inputs.names}
    model = keras.Model(inputs.inputs, outputs)
    there = trunk.outputs(model, df)
    assert there["first"][:, 0].tolist() == there["second"][:, 0].tolist() == [1, 1, 0, 1]
    absent = trunk.outputs(model, df, absent=["first", "number"])
    assert absent["first"].sum() == absent["number"].sum() == 0
    np.testing.assert_array_equal(absent["second"], there["second"])


def test_what_trains_in_encode_is_as_the_modalities_say_whatever_ran_last(tiny_bert, tmp_path):
    df = pd.DataFrame({"a": ["abc", "x y", "", "abc"]})
    modality = Text("a", encoder=str(tiny_bert), sequence_length=16, trainable=1)
    trunk = Trunk([modality.adapt(df)], cache=CacheFolder(tmp_path), engine="tensorflow")

    def trains():
        return {layer.name: layer.trainable for layer in trunk.encode.layers if layer.weights}

    before = trains()
    assert before["text_tower_top"] and not before["text_tower"]
    inputs = trunk.head_inputs()
    head = keras.Model({"text": inputs("text")}, {"y": keras.layers.Dense(1)(inputs("text"))})
    for call in (
        lambda: trunk.features(df),
        lambda: trunk.outputs(head, df),
        lambda: trunk.attach(head),
        lambda: trunk.attach(head, fine_tune=True),
        lambda: trunk.branch().features(df),
    ):
        call()
        assert trains() == before


# === Fingerprints ===


def test_fingerprint_does_not_depend_on_names(bert, tiny_bert):
    # Loading again gives new automatic layer names.
    _, prepare, tower = stages(tiny_bert)
    assert fingerprint(prepare, tower) == fingerprint(*bert[1:])
    assert len(fingerprint(prepare, tower)) == 16


def test_fingerprint_of_a_modality_with_another_name_is_the_same(bert, tiny_bert):
    modality = Text("plot", encoder=str(tiny_bert), sequence_length=32, name="other")
    modality = modality.adapt(pd.DataFrame({"plot": ["a"]}))
    prepare = build_prepare([modality])
    tower = cut_frozen(frozen(build_encode([modality], prepare), modality)).towers["other"]
    assert fingerprint(prepare, tower) == fingerprint(*bert[1:])


def test_fingerprint_changes_with_a_weight(tiny_bert):
    _, prepare, tower = stages(tiny_bert)
    before = fingerprint(prepare, tower)
    weight = tower.weights[-1]
    value = weight.numpy()
    value.flat[0] = np.nextafter(value.flat[0], np.float32(np.inf))
    weight.assign(value)
    assert fingerprint(prepare, tower) != before


def test_fingerprint_changes_with_the_sequence_length(bert, tiny_bert):
    assert fingerprint(*stages(tiny_bert, sequence_length=31)[1:]) != fingerprint(*bert[1:])


@pytest.mark.parametrize("settings", [{"pooling": None}, {"pooling": "mean"}, {"layers": 2}])
def test_fingerprint_changes_with_what_is_taken_from_the_tower(bert, tiny_bert, settings):
    assert fingerprint(*stages(tiny_bert, **settings)[1:]) != fingerprint(*bert[1:])


def test_fingerprint_changes_with_the_vocabulary(bert, tiny_bert, tmp_path):
    for file in tiny_bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    words = (tmp_path / "vocab.txt").read_text(encoding="utf-8").split()
    words[5], words[6] = words[6], words[5]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    assert fingerprint(*stages(tmp_path)[1:]) != fingerprint(*bert[1:])


FINGERPRINT = """
import sys, keras, pandas as pd
import mmkeras as mm
from mmkeras import Tabular, Text, build_encode, build_prepare
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.stages import cut_frozen
keras.layers.Dense(3), keras.layers.Dense(3)  # automatic names count differently here
modality = Text("overview", encoder=sys.argv[1], sequence_length=32).adapt(pd.DataFrame({"overview": ["a"]}))
prepare = build_prepare([modality])
encode = build_encode([modality], prepare)
encode.get_layer("text_tower").trainable = False
print(fingerprint(prepare, cut_frozen(encode).towers["text"]).hex())
"""


def test_fingerprint_is_the_same_in_another_process(bert, tiny_bert):
    with child(FINGERPRINT, tiny_bert) as process:
        out, _ = process.communicate()
    assert process.returncode == 0
    assert out.strip() == fingerprint(*bert[1:]).hex()


def test_row_keys_tell_columns_apart():
    modality = Text(["a", "b"], encoder="scratch")
    values = {"a": np.array(["xy", "x", "xy"], object), "b": np.array(["z", "yz", "z"], object)}
    one, two, three = row_keys(modality, values)
    assert one != two and one == three and len(one) == 16


# === Writing and reading ===


def test_write_adds_all_or_nothing(store):
    def broken():
        yield b"k1", b"v1"
        raise RuntimeError("the encoder failed")

    store.write([(b"k0", b"v0")])
    with pytest.raises(RuntimeError, match="the encoder failed"):
        store.write(broken())
    assert store.missing([b"k0", b"k1"]) == [1]


def test_missing_names_the_first_of_equal_keys(store):
    store.write([(b"b", b"")])
    assert store.missing([b"a", b"b", b"a", b"c", b"c"]) == [0, 3]


def test_the_map_grows_beyond_its_first_size(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_FIRST_SIZE", 1 << 16)
    store = open_store(tmp_path / "small")
    rows = [(f"{i:04d}".encode(), bytes([i % 251]) * 1000) for i in range(400)]
    store.write(rows[:200])
    store.write(rows[200:])
    layout = {"x": {"dtype": "uint8", "shape": [1000]}}
    got = store.read([key for key, _ in rows], layout)["x"]
    assert (got == (np.arange(400) % 251)[:, None]).all()
    store.close()


def test_reading_a_row_that_was_cleared_is_an_error(store):
    with pytest.raises(KeyError, match=r"no longer in the feature cache.*cache.*Fit again"):
        store.read([b"nothing"], {"x": {"dtype": "float32", "shape": [1]}})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes_and_several_tensors_round_trip(store, dtype):
    layout = {"a": {"dtype": dtype, "shape": [None, 2]}, "b": {"dtype": "float32", "shape": [3]}}
    first = {"a": keras.ops.convert_to_numpy(keras.ops.ones((2, 2), dtype)), "b": np.arange(3, dtype="float32")}
    second = {"a": keras.ops.convert_to_numpy(keras.ops.zeros((2, 2), dtype) + 7), "b": -first["b"]}
    store.write([(b"1", pack(first, layout, 1)), (b"2", pack(second, layout, 2))])
    got = store.read([b"2", b"1"], layout)
    assert str(got["a"].dtype) == dtype and got["a"].shape == (2, 2, 2)
    np.testing.assert_array_equal(got["a"].astype("float32"), [[[7, 7], [7, 7]], [[1, 1], [0, 0]]])
    np.testing.assert_array_equal(got["b"], [[0, -1, -2], [0, 1, 2]])


def test_info_counts_rows_and_bytes_of_each_tower(store, light, frame):
    assert store.info() == []
    encode(store, light, frame)
    (tower,) = store.info()
    assert (
        tower["tower"] == "a tower" and tower["rows"] == 5 and tower["bytes"] == 5 * (16 * 4 + 8)
    )  # with a checksum each
    assert tower["created"].startswith("20")


def test_clear_frees_the_files_and_the_folder_can_be_used_again(store, light, frame, encoded_rows):
    encode(store, light, frame)
    store.close()
    size = (store.path / "data.mdb").stat().st_size
    (store.path / "notes.txt").write_text("mine")
    assert clear(store.path) == size
    assert sorted(path.name for path in store.path.iterdir()) == ["CACHEDIR.TAG", "data.mdb", "lock.mdb", "notes.txt"]
    assert clear(store.path) == 0
    del encoded_rows[:]
    encode(open_store(store.path), light, frame)
    assert sum(encoded_rows) == 5


def test_clear_of_a_store_that_is_open_deletes_its_rows(store, light, frame, encoded_rows):
    keys = encode(store, light, frame)
    clear(store.path)
    assert store.missing(keys) == [0, 1, 2, 3, 4] and store.info() == []
    encode(store, light, frame)
    assert sum(encoded_rows) == 10


def test_clear_of_a_folder_that_does_not_exist(tmp_path):
    assert clear(tmp_path / "nowhere") == 0
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"needs a folder it can write to. Received: '.*file/cache'.*another `cache_dir`"):
        open_store(tmp_path / "file" / "cache")
    with pytest.raises(OSError, match="needs a folder"):
        open_store(tmp_path / "file")


# === Crashes, full disks, several processes ===

# The store needs none of Keras, TensorFlow and the rest of the package; without them a child starts at once.
WRITER = """
import os, resource, signal, sys, types, unittest.mock
for name in ("keras", "tensorflow"):
    sys.modules[name] = unittest.mock.MagicMock()
folder, path = sys.argv[1:3]
mmkeras = sys.modules["mmkeras"] = types.ModuleType("mmkeras")  # without what its own file imports
mmkeras.__path__ = [os.path.dirname(os.path.dirname(path))]
from mmkeras.trunk import store as features
def rows(batch, count=40):
    return [(f"{batch:06d}-{i:03d}".encode(), bytes([(batch + i) % 251]) * 3000) for i in range(count)]
"""
DIES_INSIDE_A_WRITE = (
    WRITER
    + """
store = features.open_store(folder)
store.write(rows(0))
def deadly():
    yield from rows(1, 2000)
    os.kill(os.getpid(), signal.SIGKILL)
store.write(deadly())
"""
)
WRITES_FOR_EVER = (
    WRITER
    + """
features._FIRST_SIZE = 1 << 20
store = features.open_store(folder)
for batch in range(10**6):
    store.write(rows(batch))
    print(batch, flush=True)
"""
)
DISK_FULL = (
    WRITER
    + """
store = features.open_store(folder)
store.write(rows(0))
size = os.path.getsize(os.path.join(folder, "data.mdb"))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100_000, hard))
try:
    store.write(rows(1, 1000))
except OSError as error:
    print(type(error).__name__, "|", error, flush=True)
assert store.missing([key for key, _ in rows(0) + rows(1, 1000)])[0] == 40
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
store.write(rows(2))
print("goes on")
"""
)
SECOND_WRITER = (
    WRITER
    + """
features._FIRST_SIZE = 1 << 18
store = features.open_store(folder)
print("ready", flush=True)
for batch in range(1000, 1040):
    store.write(rows(batch))
print(len(store.missing([key for batch in range(1000, 1040) for key, _ in rows(batch)])))
"""
)


def written(store, batch, count=40):
    """How many rows of a batch are stored; what is stored must be whole."""
    keys = [f"{batch:06d}-{i:03d}".encode() for i in range(count)]
    gone = set(store.missing(keys))
    kept = [i for i in range(count) if i not in gone]
    if kept:
        got = store.read([keys[i] for i in kept], {"x": {"dtype": "uint8", "shape": [3000]}})["x"]
        assert (got == np.array([(batch + i) % 251 for i in kept])[:, None]).all()
    return len(kept)


def test_killed_inside_a_write(tmp_path):
    with child(DIES_INSIDE_A_WRITE, tmp_path / "cache", features.__file__) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    store = open_store(tmp_path / "cache")
    assert written(store, 0) == 40
    assert written(store, 1, 2000) == 0
    store.write([(b"after", b"the crash")])
    assert store.missing([b"after"]) == []
    store.close()


def test_killed_at_any_moment(tmp_path):
    with child(WRITES_FOR_EVER, tmp_path / "cache", features.__file__) as process:
        committed = [int(process.stdout.readline()) for _ in range(30)]
        process.kill()
        committed += [int(line) for line in process.stdout.read().splitlines()]
    store = open_store(tmp_path / "cache")
    assert all(written(store, batch) == 40 for batch in committed)
    assert written(store, committed[-1] + 1) in (0, 40)
    assert written(store, committed[-1] + 2) == 0
    store.close()


def test_full_disk(tmp_path):
    with child(DISK_FULL, tmp_path / "cache", features.__file__) as process:
        out, _ = process.communicate()
    assert process.returncode == 0, out
    message, end = out.strip().splitlines()
    assert message.startswith("OSError | ")
    assert (
        "could not be written or read" in message and "stored before is intact" in message and str(tmp_path) in message
    )
    assert end == "goes on"
    store = open_store(tmp_path / "cache")
    assert [written(store, 0), written(store, 1, 1000), written(store, 2)] == [40, 0, 40]
    store.close()


def test_two_processes_write_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(features, "_FIRST_SIZE", 1 << 18)
    store = open_store(tmp_path / "cache")
    with child(SECOND_WRITER, tmp_path / "cache", features.__file__) as process:
        assert process.stdout.readline().strip() == "ready"
        for batch in range(40):
            store.write([(f"{batch:06d}-{i:03d}".encode(), bytes([(batch + i) % 251]) * 3000) for i in range(40)])
            assert written(store, batch) == 40
        assert process.stdout.readline().strip() == "0"
    assert process.returncode == 0
    assert all(written(store, batch) == 40 for batch in [*range(40), *range(1000, 1040)])
    store.close()


def test_a_fit_beside_a_clear_encodes_again(tiny_bert, tmp_path, monkeypatch, encoded_rows):
    monkeypatch.setattr(reading, "IN_MEMORY", 0)
    df = pd.DataFrame({"overview": ["a b", "c", "d e f", "g"], "y": [1.0, 2.0, 3.0, 4.0]})
    pipe = mm.Pipeline([Text("overview", encoder=str(tiny_bert), sequence_length=8)], mm.Regression("y"))
    clears = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: clear(tmp_path))
    how = {"validation_data": False, "epochs": 3, "verbose": 0, "cache_dir": tmp_path}
    history = pipe.fit(df, callbacks=[clears], **how)
    assert sum(encoded_rows) >= 8 and np.isfinite(history.history["loss"]).all()

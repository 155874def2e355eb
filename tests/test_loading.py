"""What a model folder of others may do when it is loaded: nothing but give a Pipeline, or an error that says what to do."""

import gc
import io
import json
import shutil
import zipfile

import h5py
import keras
import pytest
import tensorflow as tf
from saved_models import shared

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.hub import HubEncoder, HubPreprocessor
from mmkeras.persistence.manifest import size_and_digest

UNTRUSTED = r"SavedModel is a program.*Received: a Hub\w+ .*mm.load\(path, safe_mode=False\).*--unsafe"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A folder with a small saved Pipeline and rows for it."""
    folder = tmp_path_factory.mktemp("kept")
    df = mm.samples.movies(40, seed=0)
    df.to_csv(folder / "rows.csv", index=False)
    pipe = mm.Pipeline(
        [mm.Text("overview", encoder="lexical"), mm.Tabular(numeric=["runtime"])], mm.MultiLabel("genres")
    )
    pipe.fit(df, epochs=1, verbose=0)
    pipe.evaluate(df, verbose=0)
    pipe.save(folder / "model")
    return folder


@pytest.fixture
def model(kept, tmp_path):
    """A copy of its model folder, to be changed."""
    return shutil.copytree(kept / "model", tmp_path / "model")


def files_of(model):
    return model / json.loads((model / "pipeline.json").read_text(encoding="utf-8"))["folder"]


def seal(model, change=lambda manifest: None):
    """Let the manifest name the files as they are now, after a change."""
    files, manifest = files_of(model), json.loads((model / "pipeline.json").read_text(encoding="utf-8"))
    places = [place for place in sorted(files.rglob("*")) if place.is_file()]
    manifest["files"] = {place.relative_to(files).as_posix(): size_and_digest(place) for place in places}
    change(manifest)
    (model / "pipeline.json").write_text(json.dumps(manifest), encoding="utf-8")


# === SavedModels ===


class Resource(tf.saved_model.experimental.TrackableResource):
    """A table whose initialiser, which runs when a SavedModel is loaded, writes a file."""

    def __init__(self, mark):
        super().__init__()
        self.mark = str(mark)

    def _create_resource(self):
        return tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64, shared_name="x")

    def _initialize(self):
        tf.io.write_file(self.mark, "here")


class Writing(tf.Module):
    """A text preprocessor that writes a file when it is loaded."""

    def __init__(self, mark):
        super().__init__()
        self.resource = Resource(mark)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def tokenize(self, texts):
        return tf.RaggedTensor.from_row_lengths(
            tf.ones([tf.size(texts)], tf.int32), tf.ones([tf.size(texts)], tf.int64)
        )

    @tf.function(input_signature=[[tf.RaggedTensorSpec([None, None], tf.int32)], tf.TensorSpec([], tf.int32)])
    def bert_pack_inputs(self, pieces, seq_length):
        ids = pieces[0].to_tensor()
        return {"input_word_ids": ids, "input_mask": ids, "input_type_ids": ids}


def hub_layer(model):
    return next(layer for layer in model.layers if isinstance(layer, HubPreprocessor))


@pytest.fixture
def writing(tmp_path):
    """(a model whose layer writes a file when its SavedModel is loaded, the file)."""
    mark, module = tmp_path / "mark", Writing(tmp_path / "mark")
    assert module.resource.resource_handle is not None
    tf.saved_model.save(module, str(tmp_path / "saved"))
    text = keras.Input((), dtype="string", name="overview")
    tokens = HubPreprocessor(str(tmp_path / "saved"), 8)(text)
    stage = keras.Model({"overview": text}, {f"text.{name}": tensor for name, tensor in tokens.items()})
    mark.unlink()
    return stage, mark


@pytest.mark.parametrize(
    ("name", "living"), [("prepare.keras", False), ("prepare.keras", True), ("baseline_*.keras", False)]
)
def test_a_saved_model_in_a_folder_runs_only_if_its_maker_is_trusted(model, writing, name, living):
    stage, mark = writing
    stage.save(next(files_of(model).glob(name)))
    seal(model)
    writing = None
    if not living:
        del stage
        gc.collect()
    with pytest.raises(ValueError, match=UNTRUSTED):
        mm.load(model)
    assert not mark.exists()
    mm.load(model, safe_mode=False)
    assert mark.exists()


def test_a_saved_model_in_a_file_runs_only_if_its_maker_is_trusted(writing, tmp_path):
    stage, mark = writing
    stage.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=UNTRUSTED):
        keras.saving.load_model(tmp_path / "model.keras")
    assert not mark.exists()
    keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    assert mark.exists()


def test_who_loads_decides_whatever_keras_is_set_to(model, writing):
    from keras.src.backend.common import global_state

    stage, mark = writing
    stage.save(files_of(model) / "prepare.keras")
    seal(model)
    keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(ValueError, match=UNTRUSTED):
            mm.load(model)
    finally:
        global_state.set_global_attribute("safe_mode_saving", None)
    assert not mark.exists()


def test_assets_alone_open_no_saved_model(writing):
    stage, mark = writing
    layer = hub_layer(stage)
    copy = HubPreprocessor.from_config({**layer.get_config(), "stored": {"digest": "of nothing that lives"}})
    mark.unlink(missing_ok=True)
    with pytest.raises(ValueError, match=UNTRUSTED):
        copy.load_assets(str(layer._folder.model))
    assert not mark.exists()


def test_clones_within_a_process_need_no_leave(writing):
    text = keras.Input((), dtype="string", name="overview")
    inner = keras.Model(text, hub_layer(writing[0])(text)["token_ids"])
    outer = keras.Model(text, inner(text))
    for model in (inner, outer):
        for copy in (keras.models.clone_model(model), type(model).from_config(model.get_config())):
            assert copy(tf.constant(["a b"])).numpy().tolist() == [[1]]


def test_an_encoder_asks_as_well(tmp_path):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in mm.hub.TENSORS.values()}
    keras.Model(inputs, HubEncoder(shared("encoder"))(inputs)["pooled_output"]).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match=UNTRUSTED):
        keras.saving.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    "command", ["predict {} --csv rows.csv", "evaluate {} --csv rows.csv", "export {} --out served"]
)
def test_the_command_line_asks_as_well(model, writing, kept, command, capsys, monkeypatch):
    stage, mark = writing
    stage.save(files_of(model) / "prepare.keras")
    seal(model)
    monkeypatch.chdir(kept)
    assert main(command.format(model).split()) == 2
    assert "SavedModel is a program" in capsys.readouterr().err and not mark.exists()
    main([*command.format(model).split(), "--unsafe"])  # what such a model then gives is another matter
    assert mark.exists()


def test_a_server_asks_as_well(model, writing, monkeypatch, capsys):
    running, app = (pytest.importorskip(f"mmkeras.serving.{name}") for name in ("running", "app"))
    stage, mark = writing
    stage.save(files_of(model) / "prepare.keras")
    seal(model)
    served = []
    monkeypatch.setattr(app, "make_app", lambda pipes, *settings: pipes)
    monkeypatch.setattr(running, "serve", lambda pipes, place, **settings: served.append(pipes))
    assert main(["serve", str(model), "--port", "0"]) == 2 and not served and not mark.exists()
    assert "--unsafe" in capsys.readouterr().err
    assert main(["serve", str(model), "--port", "0", "--unsafe"]) == 0 and served and mark.exists()


# === Manifests ===

BESIDE = "baselines_of_others"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", True), ("format", "x" * 10**6), ("files", []), ("folder", 3), ("modalities", {}), ("modalities", [3]),
        ("modalities", [{"class": ["Text"]}]), ("columns", [[]]), ("columns", [3]), ("columns", [{"a": 3}, {}]), ("task", []),
        ("task", {}), ("task", {"class": "Text"}), ("task", {"class": "MultiLabel", "column": "a", "unknown": 1}),
        ("task", {"class": "MultiLabel", "column": {}}), ("state", []), ("state", {"thresholds": "x"}),
        ("state", {"thresholds": [float("nan")]}), ("state", {"thresholds": [7]}), ("fusion", 3), ("head", []),
        ("rivals", []), ("rivals", {"a": []}), ("rivals", {"a": {"class": "Prior", "stem": "../x", "state": {}}}),
        ("rivals", {"a": {"class": "Linear", "stem": "/etc/passwd", "state": {}}}),
        ("rivals", {"a": {"class": "Prior", "stem": "x", "state": {}}}),
        ("rivals", {"a": {"class": "MultiLabel", "stem": "x", "state": {}}}), ("notes", 3), ("notes", [3]),
    ],
)  # fmt: skip
def test_a_manifest_of_other_values_is_refused(model, field, value):
    seal(model, lambda manifest: manifest.update({field: value}))
    with pytest.raises(ValueError, match="Received: ") as caught:
        mm.load(model)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"format": 3, "state": ' + '{"a": ' * 5000, "3", "[]", "null", "\ud800", "{}"]
)
def test_a_manifest_of_another_form_is_refused(model, text):
    (model / "pipeline.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ValueError, match="Received: "):
        mm.load(model)


def test_files_that_the_manifest_does_not_name_are_refused(model):
    (files_of(model) / BESIDE).write_text("x")
    with pytest.raises(ValueError, match=f"with '{BESIDE}' beside"):
        mm.load(model)


def test_a_file_is_measured_before_it_is_read(model):
    name = "head.keras"
    with open(files_of(model) / name, "r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match=f"{name}' is damaged"):
        mm.load(model)


# === `.keras` files ===


def rewrite(file, change, **settings):
    """Pack a `.keras` file anew; `change(members)` may change {name: bytes}."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w", **settings) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def with_config(text):
    return lambda members: members.update({"config.json": text.encode()})


def renamed_class(members, **values):
    config = json.loads(members["config.json"])
    config["config"]["layers"][-1].update(values)
    members["config.json"] = json.dumps(config).encode()


FILES = {
    "a name that leads out": (lambda m: m.update({"assets/../../x": b"x"}), "holds 'assets"),
    "an absolute name": (lambda m: m.update({"/tmp/x": b"x"}), "holds '/tmp/x'"),
    "an unknown file": (lambda m: m.update({"model.weights.npz": b"x"}), "holds 'model.weights.npz'"),
    "no configuration": (lambda m: m.pop("config.json") and None, "cannot be read"),
    "no JSON": (with_config("{"), "no JSON"),
    "deep JSON": (with_config("[" * 10**5), "cannot be read"),
    "a number": (with_config("3"), "fails"),
    "no HDF5": (lambda m: m.update({"model.weights.h5": b"x"}), "cannot be read"),
    "a file of the system": (lambda m: renamed_class(m, config={"vocabulary": "/etc/passwd"}), "names a file"),
    "a function of Python": (
        lambda m: renamed_class(m, **{"class_name": "function", "module": "os", "config": "system"}), "fails"
    ),
    "a function that fetches": (
        lambda m: renamed_class(m, **{"class_name": "function", "module": "keras.datasets.mnist", "config": "load_data"}),
        "names the function",
    ),
    "an unknown class": (lambda m: renamed_class(m, **{"class_name": "Popen", "module": "subprocess"}), "fails"),
    "a Lambda": (
        lambda m: renamed_class(
            m, **{"class_name": "Lambda", "module": "keras.layers", "registered_name": None,
                  "config": {"function": {"class_name": "__lambda__", "config": {"value": "4wAAAA=="}}}}
        ),
        "safe_mode=False",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_as_keras_writes_it_is_refused(model, name):
    change, told = FILES[name]
    rewrite(files_of(model) / "head.keras", change)
    seal(model)
    with pytest.raises(ValueError, match=told) as caught:
        mm.load(model)
    assert "'head.keras'" in str(caught.value) and len(str(caught.value)) < 1000


def test_what_grows_when_it_is_read_is_refused(model):
    rewrite(files_of(model) / "head.keras", with_config(" " * 10**8), compression=zipfile.ZIP_DEFLATED)
    seal(model)
    with pytest.raises(ValueError, match="larger than the file itself, or compressed"):
        mm.load(model)


def test_layers_are_no_larger_than_their_stored_weights(model):
    def change(members):
        config = json.loads(members["config.json"])
        layer = next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Dense")
        layer["config"]["units"] = 10**9
        members["config.json"] = json.dumps(config).encode()

    rewrite(files_of(model) / "head.keras", change)
    seal(model)
    with pytest.raises(ValueError, match=r"must be stored with it. Received: layers whose weights take [\d,]+ bytes"):
        mm.load(model)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda h5: h5.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "a link 'x'"),
        (lambda h5: h5.__setitem__("x", h5py.SoftLink("/y")), "a link 'x'"),
        (lambda h5: h5.create_dataset("x", (8,), "u1", external=[("/etc/passwd", 0, 8)]), "in another file"),
        (lambda h5: h5.create_dataset("x", (10**6, 10**6), "f4", chunks=(1, 10**6)), "larger than what is stored"),
    ],
)
def test_weights_lie_in_the_file_itself(model, make, told):
    def change(members):
        held = io.BytesIO(members["model.weights.h5"])
        with h5py.File(held, "r+") as h5:
            make(h5)
        members["model.weights.h5"] = held.getvalue()

    rewrite(files_of(model) / "head.keras", change)
    seal(model)
    with pytest.raises(ValueError, match=told):
        mm.load(model)

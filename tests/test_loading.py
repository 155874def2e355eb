"""What a model folder of others may do when it is loaded: nothing but give a Pipeline, or an error that says what to do."""

import gc
import json
import shutil

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
            tf.ones([tf.size(texts)], tf.int32), tf.ones([tf.size(texts)], tf.int32)
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
    running = pytest.importorskip("mmkeras.serving.running")
    stage, mark = writing
    stage.save(files_of(model) / "prepare.keras")
    seal(model)
    served = []
    monkeypatch.setattr(running, "serve", lambda pipes, place, **settings: served.append(pipes))
    assert main(["serve", str(model), "--port", "0"]) == 2 and not served and not mark.exists()
    assert "--unsafe" in capsys.readouterr().err
    assert main(["serve", str(model), "--port", "0", "--unsafe"]) == 0 and served and mark.exists()

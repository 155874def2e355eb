"""An export replaces a SavedModel as a whole, whatever ends it; the next one tidies up."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.cli.served import call_of
from mmkeras.graph import functional
from mmkeras.persistence import export_saved_model, exports


def doubling(factor):
    x = keras.Input((2,), name="x")
    return keras.Model({"x": x}, {"y": keras.layers.Rescaling(factor)(x)})


def served(path):
    loaded = tf.saved_model.load(str(path))
    return np.array(loaded.serve({"x": tf.constant([[1.0, 2.0]])})["y"])


def test_export_writes_and_replaces_a_saved_model(tmp_path):
    path = tmp_path / "exported"
    export_saved_model({"serve": doubling(2.0)}, path, {"classes": ["a"]})
    np.testing.assert_allclose(served(path), [[2.0, 4.0]])
    assert json.loads((path / "assets.extra" / "mmkeras.json").read_text()) == {"classes": ["a"]}
    export_saved_model({"serve": doubling(3.0)}, path, {})
    np.testing.assert_allclose(served(path), [[3.0, 6.0]])
    assert os.listdir(tmp_path) == ["exported"]


def test_export_writes_every_signature_under_names_that_are_arguments(tmp_path):
    x = keras.Input((2,), name="x")
    models = {
        name: functional({"x (in $)": x}, {"y/z": keras.layers.Rescaling(factor)(x)})
        for name, factor in (("serve", 2.0), ("serve_fast", 5.0))
    }
    export_saved_model(models, tmp_path / "exported", {})
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    for endpoint, factor in ((loaded.serve, 2.0), (loaded.serve_fast, 5.0)):
        outputs = endpoint({"x__in___": tf.constant([[1.0, 2.0]])})
        np.testing.assert_allclose(outputs["y_z"], [[factor, 2 * factor]])


def test_export_that_fails_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "exported"
    export_saved_model({"serve": doubling(2.0)}, path, {})
    with pytest.raises(TypeError):
        export_saved_model({"serve": doubling(3.0)}, path, {"bad": object()})
    np.testing.assert_allclose(served(path), [[2.0, 4.0]])
    assert os.listdir(tmp_path) == ["exported"]


def test_export_errors(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"hold a SavedModel.*holds something else. Choose another folder"):
        export_saved_model({"serve": doubling(2.0)}, tmp_path, {})
    with pytest.raises(OSError, match=r"must be writable.*notes.txt/model"):
        export_saved_model({"serve": doubling(2.0)}, tmp_path / "notes.txt" / "model", {})
    assert os.listdir(tmp_path) == ["notes.txt"]


# === Links, and exports that were killed ===


def export(path, factor):
    export_saved_model({"serve": doubling(factor)}, path, {})


def test_export_over_a_link_writes_to_where_it_leads(tmp_path):
    export(tmp_path / "here", 2.0)
    (tmp_path / "link").symlink_to("here")
    (tmp_path / "dangling").symlink_to("there")
    for link in ("link", "dangling"):
        export(tmp_path / link, 3.0)
        assert (tmp_path / link).is_symlink()
        np.testing.assert_allclose(served(tmp_path / link), [[3.0, 6.0]])
    assert sorted(os.listdir(tmp_path)) == ["dangling", "here", "link", "there"]


def test_export_to_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "served").mkdir()
    monkeypatch.chdir(tmp_path / "served")
    export(".", 2.0)
    np.testing.assert_allclose(served(tmp_path / "served"), [[2.0, 4.0]])


def test_export_where_folders_cannot_change_places_in_one_step(tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_EXCHANGE", 1 << 20)  # Linux knows no such way
    path = tmp_path / "exported"
    for factor in (2.0, 3.0):
        export(path, factor)
    np.testing.assert_allclose(served(path), [[3.0, 6.0]])
    assert os.listdir(tmp_path) == ["exported"]


def test_the_next_export_brings_back_what_a_killed_one_moved_away(tmp_path):
    path = tmp_path / "exported"
    export(path, 2.0)
    path.rename(tmp_path / ".exported-0123abcd-old")
    with pytest.raises(TypeError):
        export_saved_model({"serve": doubling(3.0)}, path, {"bad": object()})
    np.testing.assert_allclose(served(path), [[2.0, 4.0]])
    assert os.listdir(tmp_path) == ["exported"]


def test_export_deletes_what_killed_ones_left_and_nothing_else(tmp_path):
    for name in (".exported-0123abcd", ".exported-0123abcd-old", ".exported-mine", ".exported-2-0123abcd"):
        (tmp_path / name / "variables").mkdir(parents=True)
    (tmp_path / ".exported-0123abcd.lock").touch()
    (tmp_path / "exported").mkdir()
    with exports.claimed(lambda name: tmp_path / f".exported-{name}.lock") as (name, _):
        (tmp_path / f".exported-{name}").mkdir()
        export(tmp_path / "exported", 2.0)
        kept = {".exported-mine", ".exported-2-0123abcd", f".exported-{name}", f".exported-{name}.lock", "exported"}
        assert set(os.listdir(tmp_path)) == kept


ROOT = str(pathlib.Path(mm.__file__).parent)
# In a process of its own, without what `import mmkeras` loads, so that it starts at once.
KILLED = """
import ctypes, os, pathlib, signal, sys, types
sys.modules["mmkeras"] = types.ModuleType("mmkeras")
sys.modules["mmkeras"].__path__ = [sys.argv[3]]
from mmkeras.persistence import exports
path, moment = pathlib.Path(sys.argv[1]), sys.argv[2]
def write(models, fresh):
    (fresh / "variables").mkdir(parents=True)
    (fresh / "saved_model.pb").write_text(models)
    if moment == "written":
        os.kill(os.getpid(), signal.SIGKILL)
def delete(*args, **settings):
    os.kill(os.getpid(), signal.SIGKILL)
exports._write = write
exports.export_saved_model("old", path, {})
if moment == "deleting":
    exports.shutil.rmtree = delete
moment = moment.removeprefix("second ")
exports.export_saved_model("new", path, {})
"""


@pytest.mark.parametrize(("moment", "expected"), [("second written", "old"), ("deleting", "new")])
def test_a_killed_export_leaves_one_whole_and_the_next_tidies_up(tmp_path, moment, expected):
    path = tmp_path / "exported"
    run = subprocess.run([sys.executable, "-c", KILLED, str(path), moment, ROOT], check=False)
    assert run.returncode == -signal.SIGKILL
    assert (path / "saved_model.pb").read_text() == expected and len(os.listdir(tmp_path)) == 3
    export(path, 2.0)
    np.testing.assert_allclose(served(path), [[2.0, 4.0]])
    assert os.listdir(tmp_path) == ["exported"]


def test_export_on_a_full_disk_tells_place_and_fix(tmp_path, monkeypatch):
    def full(models, folder):
        folder.mkdir()
        raise tf.errors.ResourceExhaustedError(None, None, f"{folder}/variables; No space left on device")

    export(tmp_path / "exported", 2.0)
    monkeypatch.setattr(exports, "_write", full)
    with pytest.raises(OSError, match=r"writable; No space left on device. Choose another folder.*exported"):
        export(tmp_path / "exported", 3.0)
    np.testing.assert_allclose(served(tmp_path / "exported"), [[2.0, 4.0]])
    assert os.listdir(tmp_path) == ["exported"]


# === How an exported model is called ===


def test_the_line_that_calls_an_exported_model_has_a_value_for_every_kind_of_column(tmp_path, capsys):
    df = mm.samples.entailment(6, seed=0, directory=tmp_path / "pictures")
    df["date (UTC)"], df["size"], df["kind"] = "2001-02-03", range(6), ["a", "b"] * 3
    table = mm.Tabular(numeric=["size"], categorical=["kind"], datetime=["date (UTC)"])
    pipe = mm.Pipeline([mm.Image("image_1", "scratch", image_size=(8, 8)), table], mm.MultiClass("label"))
    pipe.fit(df, epochs=1, verbose=0, validation_data=False)
    pipe.export(tmp_path / "served")
    exec(call_of(pipe, str(tmp_path / "served")), {})
    assert capsys.readouterr().out.startswith("{'label': <tf.Tensor: shape=(1, ")


def test_a_loaded_model_tells_its_weights_by_kind(tmp_path):
    inputs = keras.Input((2,), name="a")
    outputs = keras.layers.Dense(1)(keras.layers.BatchNormalization()(inputs))
    one, other = (keras.Model({"a": inputs}, {name: outputs}) for name in ("y", "z"))
    export_saved_model({"serve": one, "other": other}, tmp_path / "served", {})
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    kinds = (loaded.variables, loaded.trainable_variables, loaded.non_trainable_variables)
    assert [len(some) for some in kinds] == [6, 4, 2]

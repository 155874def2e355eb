"""Saving replaces a folder as a whole: an interrupted save leaves what was there before."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

import mmkeras
from mmkeras.persistence import manifest as manifest_file
from mmkeras.persistence import read, reading, replacing, write_text

WHOLE = {
    "mmkeras": "0.2.0", "modalities": [], "columns": [], "task": {"class": "any"}, "state": {}, "fusion": "concat", "head": {},
    "rivals": {},
}  # fmt: skip


def save(path, text, **manifest):
    with replacing(path, {**WHOLE, **manifest}) as folder:
        (folder / "weights.txt").write_text(text, encoding="utf-8")
        (folder / "heads").mkdir()
        (folder / "heads" / "one.bin").write_bytes(text.encode() * 1000)


def content(path):
    manifest, folder = read(path)
    return (folder / "weights.txt").read_text(encoding="utf-8"), manifest


@pytest.fixture
def saved(tmp_path):
    save(tmp_path / "model", "first", note="one")
    return tmp_path / "model"


def damage(path, name, data):
    _, folder = read(path)
    (folder / name).write_bytes(data)


def edit(path, change):
    manifest = json.loads((path / "pipeline.json").read_text(encoding="utf-8"))
    change(manifest)
    (path / "pipeline.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_what_was_saved_is_read(saved):
    text, manifest = content(saved)
    assert text == "first" and manifest["note"] == "one" and manifest["format"] == manifest_file.FORMAT
    assert manifest["files"]["heads/one.bin"]["bytes"] == 5000


def test_saving_again_replaces_everything(saved):
    save(saved, "second")
    text, manifest = content(saved)
    assert text == "second" and "note" not in manifest
    assert sorted(p.name for p in saved.iterdir()) == sorted([manifest["folder"], "pipeline.json"])


def test_the_manifest_may_grow_while_files_are_written(tmp_path):
    manifest = dict(WHOLE)
    with replacing(tmp_path / "model", manifest) as folder:
        (folder / "x").write_text("x")
        manifest["head"] = {"units": 3}
    assert read(tmp_path / "model")[0]["head"] == {"units": 3}


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt()])
def test_an_error_in_the_middle_leaves_the_earlier_content(saved, error):
    before = sorted(p.name for p in saved.iterdir())
    with pytest.raises(type(error)), replacing(saved, {}) as folder:
        (folder / "weights.txt").write_text("half")
        raise error
    assert content(saved)[0] == "first"
    assert sorted(p.name for p in saved.iterdir()) == before


def test_a_manifest_that_cannot_be_written_leaves_the_earlier_content(saved):
    with pytest.raises(TypeError), replacing(saved, {"bad": object()}) as folder:
        (folder / "weights.txt").write_text("second")
    assert content(saved)[0] == "first"
    assert len(list(saved.iterdir())) == 2


def test_an_error_in_a_first_save_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "new", {}) as folder:
        (folder / "weights.txt").write_text("half")
        raise RuntimeError
    assert not (tmp_path / "new").exists()


ROOT = str(pathlib.Path(mmkeras.__file__).parent)
# In a process of its own, without what `import mmkeras` loads, so that it starts at once.
KILLED = f"""
import os, signal, sys, types
sys.modules["mmkeras"] = types.ModuleType("mmkeras")
sys.modules["mmkeras"].__path__ = [sys.argv[3]]
import mmkeras.persistence as persistence
moment, real = sys.argv[2], os.replace
def die(*args):
    if moment == "after":
        real(*args)
    os.kill(os.getpid(), signal.SIGKILL)
if moment != "inside":
    os.replace = die
with persistence.replacing(sys.argv[1], {WHOLE}) as folder:
    (folder / "weights.txt").write_text("second")
    if moment == "inside":
        die()
"""


def kill_at(moment, path):
    run = subprocess.run([sys.executable, "-c", KILLED, str(path), moment, ROOT], check=False)
    assert run.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("moment", "expected"), [("inside", "first"), ("before", "first"), ("after", "second")])
def test_a_killed_save_leaves_one_whole_content(saved, moment, expected):
    kill_at(moment, saved)
    assert content(saved)[0] == expected
    save(saved, "third")
    assert content(saved)[0] == "third"
    assert len([p for p in saved.iterdir() if p.is_dir()]) == 1


@pytest.mark.parametrize("moment", ["inside", "before"])
def test_a_killed_first_save_can_be_repeated(tmp_path, moment):
    kill_at(moment, tmp_path / "model")
    with pytest.raises(ValueError, match=r"readable pipeline.json.*without one"):
        read(tmp_path / "model")
    save(tmp_path / "model", "second")
    assert content(tmp_path / "model")[0] == "second"


# === Several processes: a locked file is a process's own, however many there are of one process ===


def names(path):
    return sorted(p.name for p in path.iterdir())


def test_two_saves_at_once_leave_the_later_one_and_nothing_else(saved):
    with replacing(saved, WHOLE) as first:
        (first / "weights.txt").write_text("held", encoding="utf-8")
        save(saved, "quick")
        assert content(saved)[0] == "quick"
    assert content(saved)[0] == "held"
    assert names(saved) == sorted([read(saved)[1].name, "pipeline.json"])


def test_a_save_sweeps_what_killed_ones_left_and_nothing_of_living_ones(saved):
    for name in ("files-0123abcd", "files-mine"):
        (saved / name).mkdir()
        (saved / name / "weights.txt").write_text("left")
    (saved / "pipeline.json.files-0123abcd").write_text("")
    (saved / "pipeline.json.files-99999999").write_text("")
    with replacing(saved, WHOLE) as living:
        save(saved, "second")
        beside = {"files-mine", "pipeline.json", living.name, f"pipeline.json.{living.name}"}
        assert set(names(saved)) == {read(saved)[1].name, *beside}


def test_an_interrupt_when_the_new_content_is_in_force_leaves_it(saved, monkeypatch):
    real = os.replace

    def interrupted(*args):
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        save(saved, "second")
    assert content(saved)[0] == "second"


def build_during_saves(path, saves):
    """What `reading` gives to a reader of two files between whose openings others save."""
    texts = iter(saves)  # one at each opening

    def build(manifest, folder):
        size = len((folder / "heads" / "one.bin").read_bytes())
        for later in itertools.islice(texts, 1):
            save(path, later)
        return (folder / "weights.txt").read_text(encoding="utf-8"), size

    return reading(path, build)


def test_what_a_reader_reads_stays_until_it_ends(saved):
    assert build_during_saves(saved, ["other", "third"]) == ("first", 5000)
    assert len(names(saved)) == 3
    save(saved, "fourth")
    assert len(names(saved)) == 2


def test_a_reader_begins_anew_where_folders_cannot_be_held(saved, monkeypatch):
    monkeypatch.setattr("mmkeras.persistence.claims.flock", None)
    assert build_during_saves(saved, ["other", "third"]) == ("third", 5000)
    assert len(names(saved)) == 2


def test_a_file_system_without_locks(saved, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("mmkeras.persistence.claims.flock", refuse)
    assert build_during_saves(saved, ["other", "third"]) == ("third", 5000)
    (saved / "files-0123abcd").mkdir()  # of a living process, for all anybody knows
    (saved / "files-0123abcd" / "x").write_text("")
    save(saved, "fourth")
    assert len(names(saved)) == 3


def test_a_reader_is_told_what_is_wrong_with_a_folder_that_stays(saved):
    damage(saved, "weights.txt", b"First")
    with pytest.raises(ValueError, match=r"'weights.txt' is damaged"):
        reading(saved, lambda manifest, folder: None)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("Can't decrement id ref count (errno = 28, error message = 'No space left on device')"),
        tf.errors.ResourceExhaustedError(None, None, "/x/variables.data; No space left on device"),
    ],
)
def test_a_full_disk_is_told_with_place_and_fix(saved, error):
    message = r"writable; No space left on device. Choose another folder.*model"
    with pytest.raises(OSError, match=message) as caught, replacing(saved, {}):
        raise error
    assert caught.value.errno == 28 and content(saved)[0] == "first" and len(names(saved)) == 2


# === Folders that are not whole, or not ours ===


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder '.*nowhere'. Give the folder that `pipe.save`"):
        read(tmp_path / "nowhere")


def test_truncated_file(saved):
    damage(saved, "heads/one.bin", b"first" * 10)
    with pytest.raises(ValueError, match=r"must be whole.*'heads/one.bin' is damaged \(50 bytes, 5000 were written\)"):
        read(saved)


def test_changed_byte_of_the_same_size(saved):
    damage(saved, "weights.txt", b"First")
    with pytest.raises(ValueError, match=r"'weights.txt' is damaged"):
        read(saved)


def test_missing_file(saved):
    (read(saved)[1] / "weights.txt").unlink()
    with pytest.raises(ValueError, match=r"'weights.txt' is missing. Copy or save it again"):
        read(saved)


def test_newer_format(saved):
    edit(saved, lambda manifest: manifest.update(format=manifest_file.FORMAT + 1, mmkeras="9.9"))
    message = rf"reads formats 1 to {manifest_file.FORMAT} .*Received: format {manifest_file.FORMAT + 1}, written by mmkeras 9.9. Install that"
    with pytest.raises(ValueError, match=message):
        read(saved)


def test_newer_format_that_names_its_files_otherwise(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "pipeline.json").write_text(json.dumps({"format": 9, "mmkeras": "9.9", "parts": []}))
    with pytest.raises(ValueError, match=r"Received: format 9, written by mmkeras 9.9"):
        read(tmp_path / "model")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        "null",
        '{"format": 1}',
        '{"format":1,"folder":"x","files":[]}',
        '{"format": 2}',
        '{"format":2,"folder":"x","files":[]}',
    ],
)
def test_unreadable_manifest(tmp_path, text):
    (tmp_path / "pipeline.json").write_text(text)
    with pytest.raises(ValueError, match=r"A saved Pipeline has a readable pipeline.json. Received: "):
        read(tmp_path)


@pytest.mark.parametrize("path_of", [lambda folder: folder, lambda folder: folder / "notes.txt"])
def test_a_foreign_folder_is_left_alone(tmp_path, path_of):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"must be new, empty, or hold a saved Pipeline.*holds something else. Choose"):
        save(path_of(tmp_path), "text")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"] and (tmp_path / "notes.txt").read_text() == "mine"


def test_an_empty_folder_may_be_used(tmp_path):
    save(tmp_path, "text")
    assert content(tmp_path)[0] == "text"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"output folder must be writable.*Choose another folder.*file/model"):
        save(tmp_path / "file" / "model", "text")


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save("~/model", "text")
    assert content("~/model")[0] == "text" and (tmp_path / "model" / "pipeline.json").is_file()


# === Single files ===


def test_write_text_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "report.html"
    assert write_text(path, "one") == path
    assert write_text(str(path), "zwei – ü") == path
    assert path.read_text(encoding="utf-8") == "zwei – ü"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_write_text_is_never_seen_half_written(tmp_path, monkeypatch):
    path = write_text(tmp_path / "report.html", "whole")

    def half(self, data):
        with open(self, "wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    with pytest.raises(OSError, match=r"writable; No space left on device. Choose another path.*report.html") as caught:
        write_text(path, "another text")
    assert caught.value.errno == 28
    assert path.read_text(encoding="utf-8") == "whole"
    assert os.listdir(tmp_path) == ["report.html"]


def test_write_text_below_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"must be writable.*Choose another path.*file/report.html"):
        write_text(tmp_path / "file" / "report.html", "text")


def manifest_with(path, change):
    place = path / manifest_file.MANIFEST
    manifest = json.loads(place.read_text(encoding="utf-8"))
    change(manifest)
    place.write_text(json.dumps(manifest), encoding="utf-8")


@pytest.mark.parametrize("name", ["..", ".", "", "../other", "/etc"])
def test_a_manifest_whose_folder_leads_out_is_refused(saved, name):
    manifest_with(saved, lambda manifest: manifest.update(folder=name))
    with pytest.raises(ValueError, match="leads out of it"):
        read(saved)


def test_a_manifest_whose_files_lead_out_is_refused(saved, tmp_path):
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    _, folder = read(saved)
    (folder / "link").symlink_to(tmp_path / "secret")
    for name in ("../../secret", str(tmp_path / "secret"), "link"):
        manifest_with(saved, lambda manifest, name=name: manifest.update(files={name: {"bytes": 1, "blake2b": ""}}))
        with pytest.raises(ValueError, match="leads out of it"):
            read(saved)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 3, "folder": 3, "files": {}}', "[]", '"x"'])
def test_a_manifest_of_other_values_is_refused(saved, text):
    (saved / manifest_file.MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="readable pipeline.json"):
        read(saved)


def test_a_stored_layer_asks_no_address_for_a_saved_model():
    from mmkeras.hub import HubEncoder, HubPreprocessor

    for layer in (HubEncoder, HubPreprocessor):
        for handle in ("http://127.0.0.1:9/model", "/some/folder"):
            with pytest.raises(ValueError, match="never from an address"):
                layer.from_config({"name": "one", "handle": handle, "stored": None})

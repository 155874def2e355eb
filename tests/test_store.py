"""The folder of the feature cache: only what is ours is deleted, and what is damaged is told."""

import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import threading

import lmdb
import numpy as np
import pytest

from mmkeras.__main__ import main
from mmkeras.trunk import store as features
from mmkeras.trunk.packing import sealed
from mmkeras.trunk.pages import Damaged, Snapshot
from mmkeras.trunk.store import clear, close_store, open_store

LAYOUT = {"x": {"dtype": "float32", "shape": [64]}}
SEQUENCES = {"x": {"dtype": "float32", "shape": [None, 4]}}
TOWER = bytes(range(16))
ROOT = pathlib.Path(features.__file__).parent.parent


def keys_of(count, first=0):
    return [TOWER + number.to_bytes(16, "big") for number in range(first, first + count)]


def values_of(count, first=0):
    return [np.full(64, number, "float32").tobytes() for number in range(first, first + count)]


def filled(path, count=500):
    """The path of a closed store with some rows."""
    store = open_store(path)
    store.describe(TOWER, "a tower")
    for first in range(0, count, 100):
        store.write(zip(keys_of(100, first), values_of(100, first), strict=True))
    store.close()
    return path


@pytest.fixture
def cache(tmp_path):
    yield filled(tmp_path / "cache")
    close_store(tmp_path / "cache")


def early(path, rows=5):
    """A store as versions without marks and checksums left it."""
    path.mkdir()
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"tower:" + TOWER, json.dumps({"tower": "early", "created": "2026-01-01 00:00"}).encode())
        for key, value in zip(keys_of(rows), values_of(rows), strict=True):
            transaction.put(key, value)
    return path


def foreign(path):
    """Another program's store."""
    path.mkdir()
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.cursor().putmulti([(os.urandom(32), b"precious") for _ in range(9)])
    return path


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# === What is ours ===


@pytest.mark.parametrize("call", [clear, open_store, lambda path: main(["cache", "info", "--cache-dir", str(path)])])
@pytest.mark.parametrize("kind", ["lmdb", "other", "towers", "link", "linked towers"])
def test_what_is_not_ours_is_refused_and_left_alone(tmp_path, capsys, call, kind):
    folder = tmp_path / "folder"
    if kind == "lmdb":
        foreign(folder)
    else:
        folder.mkdir()
    if kind == "other":
        (folder / "data.mdb").write_bytes(b"no store at all")
    if kind == "towers":
        (folder / "towers").mkdir()
        (folder / "towers" / "eiffel.jpg").write_bytes(b"a picture")
    if kind == "link":
        foreign(tmp_path / "elsewhere")
        (folder / "data.mdb").symlink_to(tmp_path / "elsewhere" / "data.mdb")
    if kind == "linked towers":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "thesis.txt").write_text("years of work")
        (folder / "towers").symlink_to(tmp_path / "elsewhere")
    before = contents(tmp_path)
    message = "another program's.*Received: '.*folder'.*Give another `cache_dir`, or delete them yourself"
    if call in (clear, open_store):
        with pytest.raises(OSError, match=message):
            call(folder)
    else:
        assert call(folder) == 2 and "another program's" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_clear_deletes_known_names_alone_and_follows_no_link(cache, tmp_path):
    place, other = cache / "towers" / f"{'ab' * 16}-2026.1", tmp_path / "other"
    place.mkdir(parents=True)
    other.mkdir()
    (other / "tower.xml").write_text("another's")
    for file in (place / "tower.xml", place / "tower.bin", place / "notes.txt", cache / "towers" / "eiffel.jpg"):
        file.write_text("x")
    (cache / "towers" / f"{'cd' * 16}-2026.1.refused.json").write_text("{}")
    (cache / "towers" / f"{'ef' * 16}-2026.1").symlink_to(other)
    assert clear(cache) > 0
    kept = sorted(path.name for path in (cache / "towers").rglob("*"))
    assert kept == sorted(["eiffel.jpg", "notes.txt", f"{'ab' * 16}-2026.1", f"{'ef' * 16}-2026.1"])
    assert (other / "tower.xml").read_text() == "another's"


def test_a_cache_of_an_early_version_is_adopted_and_its_rows_are_read(tmp_path):
    store = open_store(early(tmp_path / "old"))
    assert (tmp_path / "old" / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    assert store.missing(keys_of(6), LAYOUT) == [5]
    np.testing.assert_array_equal(store.read(keys_of(5), LAYOUT)["x"][:, 0], range(5))
    assert store.info()[0]["tower"] == "early"
    store.close()
    assert clear(early(tmp_path / "older", 400)) > 0


def test_another_programs_cache_folder_is_refused(tmp_path):
    (tmp_path / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n# cargo")
    with pytest.raises(OSError, match="CACHEDIR.TAG is there, and says that the folder is another program's"):
        open_store(tmp_path)


def test_a_folder_that_anyone_may_change_is_told(tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.warns(UserWarning, match="must be writable by you alone.*Received: '.*open'.*chmod"):
        store = open_store(tmp_path / "open")
    store.close()


# === What is damaged ===


def changed(cache, change):
    data = bytearray((cache / "data.mdb").read_bytes())
    data = change(data) or data
    (cache / "data.mdb").write_bytes(data)


def flipped(data):
    """A byte of a row, in whatever pages it stands; those of earlier transactions are still there."""
    for found in re.finditer(re.escape(keys_of(1, 300)[0]), bytes(data)):
        data[found.start() + 40] ^= 255


def overwritten(data):
    data[40960:45056] = bytes(range(256)) * 16


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_file_that_was_cut_is_an_error_that_says_what_to_do(cache, share):
    changed(cache, lambda data: data[: int(len(data) * share)])
    with pytest.raises(
        OSError, match=r"one that is damaged.*Run `mmkeras cache clear --cache-dir .*`, or give another"
    ):
        open_store(cache)
    clear(cache)
    store = open_store(cache)
    assert len(store.missing(keys_of(500))) == 500


def test_a_page_that_was_overwritten_is_an_error(cache):
    changed(cache, overwritten)
    with pytest.raises(OSError, match="one that is damaged"):
        open_store(cache)


def test_a_damaged_row_is_told_once_and_missing_and_written_anew(cache):
    changed(cache, flipped)
    store = open_store(cache)
    with pytest.warns(UserWarning, match="1 damaged rows, which are encoded anew") as told:
        assert store.missing(keys_of(500), LAYOUT) == [300]
        assert store.missing(keys_of(500), LAYOUT) == [300]
    assert len(told) == 1
    with pytest.raises(OSError, match="must be as it was written.*Call again"):
        store.read(keys_of(500), LAYOUT)
    beside = dict(zip(keys_of(1, 300), values_of(1, 300), strict=True))  # what is encoded and not kept
    np.testing.assert_array_equal(store.read(keys_of(500), LAYOUT, beside)["x"][:, 0], range(500))
    store.write(zip(keys_of(1, 300), values_of(1, 300), strict=True))
    assert store.missing(keys_of(500), LAYOUT) == []
    np.testing.assert_array_equal(store.read(keys_of(500), LAYOUT)["x"][:, 0], range(500))


@pytest.mark.parametrize("layout", [LAYOUT, SEQUENCES])
@pytest.mark.parametrize("change", [lambda v: v + b"more", lambda v: v[:-4], lambda v: b"", lambda v: v * 2])
def test_a_row_of_another_length_than_its_layouts_is_encoded_anew(tmp_path, layout, change):
    store = open_store(tmp_path / "cache")
    whole = {64: bytes(256)}.get(layout["x"]["shape"][0], (2).to_bytes(4, "little") + bytes(32))
    store.write([(b"whole", whole), (b"other", change(whole))])
    with pytest.warns(UserWarning, match="1 damaged rows"):
        assert store.missing([b"whole", b"other"], layout) == [1]
    with pytest.raises(OSError, match="must be as it was written"):
        store.read([b"other"], layout)
    store.close()


def test_a_value_under_anothers_key_is_damaged(cache):
    one, two = (sealed(keys_of(1, n)[0], values_of(1, n)[0]) for n in (100, 101))
    changed(
        cache, lambda data: bytes(data).replace(one, b"?" * len(one)).replace(two, one).replace(b"?" * len(one), two)
    )
    store = open_store(cache)
    with pytest.warns(UserWarning, match="damaged rows"):
        assert set(store.missing(keys_of(500), LAYOUT)) == {100, 101}


@pytest.mark.parametrize(("one", "two"), [(100, 101), (3, 450)])
def test_keys_in_another_order_are_an_error(cache, one, two):
    """What is written then is not found again."""
    one, two = keys_of(1, one)[0], keys_of(1, two)[0]
    changed(cache, lambda data: bytes(data).replace(one, b"?" * 32).replace(two, one).replace(b"?" * 32, two))
    with pytest.raises(OSError, match="one that is damaged"):
        open_store(cache)


def test_every_page_of_a_store_is_known_whatever_was_written(tmp_path):
    """Rows of any length, written again, deleted all at once: each transaction leaves a file that is found whole."""
    rng = random.Random(0)
    with lmdb.open(str(tmp_path), map_size=1 << 28) as environment:
        for _ in range(40):
            with environment.begin(write=True) as transaction:
                if rng.random() < 0.1:
                    transaction.drop(environment.open_db(), delete=False)
                for _ in range(rng.choice([1, 10, 200])):
                    key = rng.choice(keys_of(3000))
                    transaction.put(key, rng.randbytes(rng.choice([100, 1500, 5000, 50_000])))
            with environment.begin() as transaction:
                snapshot = Snapshot(tmp_path / "data.mdb", transaction.id())
                assert list(snapshot.keys()) == list(transaction.cursor().iternext(values=False))
        with pytest.raises(LookupError):
            Snapshot(tmp_path / "data.mdb", 1)
    (tmp_path / "data.mdb").write_bytes(b"short")
    with pytest.raises(Damaged):
        Snapshot(tmp_path / "data.mdb")


# === Several processes, full disks ===


def python(code, *arguments):
    """A Python process that has the store alone, without Keras and TensorFlow."""
    code = (
        "import os, sys, types, unittest.mock\n"
        "for name in ('keras', 'tensorflow'): sys.modules[name] = unittest.mock.MagicMock()\n"
        "package = sys.modules['mmkeras'] = types.ModuleType('mmkeras')\n"
        f"package.__path__ = [{str(ROOT)!r}]\n"
        "from mmkeras.trunk import store as features\n" + code
    )
    arguments = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)


HOLDS = "store = features.open_store(sys.argv[1]); print('open', flush=True); sys.stdin.readline()\n"


def test_clear_beside_others_empties_the_store_that_they_have(cache):
    code = HOLDS + (
        "key = [b'k' * 32]\n"
        "print(len(store.info()), flush=True); store.write([(key[0], b'v')]); print(store.missing(key), flush=True)"
    )
    with python(code, cache) as other:
        assert other.stdout.readline() == "open\n"
        size = (cache / "data.mdb").stat().st_size
        clear(cache)
        assert (cache / "data.mdb").stat().st_size == size  # it keeps its pages for the next rows
        out, _ = other.communicate("\n")
    assert out.split() == ["0", "[]"]
    store = open_store(cache)
    assert store.missing([b"k" * 32]) == []
    store.close()
    clear(cache)
    assert (cache / "data.mdb").stat().st_size == 0


def test_a_read_beside_a_clear_says_what_happened(cache):
    store = open_store(cache)
    with python("features.clear(sys.argv[1])", cache):
        pass
    with pytest.raises(KeyError, match="it was cleared meanwhile. Fit again"):
        store.read(keys_of(1), LAYOUT)
    assert len(store.missing(keys_of(500), LAYOUT)) == 500


def test_killed_readers_make_room(cache):
    store = open_store(cache)
    code = (
        "store = features.open_store(sys.argv[1])\n"
        "import threading\n"
        "def read(gate=threading.Barrier(101)):\n"
        "    with store._reading(): gate.wait(); threading.Event().wait()\n"
        "threads = [threading.Thread(target=read, daemon=True) for _ in range(100)]\n"
        "for thread in threads: thread.start()\n"
        "read.__defaults__[0].wait(); os.kill(os.getpid(), 9)"
    )
    for _ in range(7):
        with python(code, cache) as other:
            other.communicate()
        assert other.returncode == -signal.SIGKILL
    with store._reading() as transaction:
        assert transaction.stat()["entries"] == 501


def test_too_many_readers_at_once_is_an_error_that_says_so(cache):
    store, gate = open_store(cache), threading.Event()
    held, errors = [], []

    def read():
        try:
            with store._reading():
                held.append(1)
                gate.wait()
        except OSError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=read) for _ in range(700)]
    for thread in threads:
        thread.start()
    while len(held) + len(errors) < 700:
        pass
    gate.set()
    for thread in threads:
        thread.join()
    assert len(held) > 500 and errors and all("read a feature cache at a time" in error for error in errors)


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.name != "posix" or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]).returncode:
        pytest.skip("a disk of its own needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.parametrize("left", [0, 4096, 8192, 16384, 65536])
def test_a_full_disk_is_an_error_and_no_signal(disk, left):
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        state = os.statvfs(disk)
        file.write(bytes(state.f_bavail * state.f_frsize - left))
    code = (
        "try:\n"
        "    features.open_store(sys.argv[1]).write([(b'k' * 32, bytes(100_000))])\n"
        "except OSError as error:\n"
        "    print(error)\n"
    )
    with python(code, disk / "cache") as other:
        out, _ = other.communicate()
    assert other.returncode == 0 and "ive another `cache_dir`" in out
    (disk / "filler").unlink()
    with python(code + "else: print('written')", disk / "cache") as other:
        out, _ = other.communicate()
    assert (other.returncode, out) == (0, "written\n")

"""Encoding of tables: in blocks and on Ray the features are those of the cache, and nothing is lost, doubled or wrong."""

import errno
import os
import shutil
import signal
import socket
import sys
import threading
import time

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyarrow")

import mmkeras as mm
from mmkeras.__main__ import main
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.inference import block_encoder, on_ray
from mmkeras.inference.block_encoder import Outcome
from mmkeras.inference.encode_table import alone
from mmkeras.modalities.base import adapt
from mmkeras.trunk import cluster
from mmkeras.trunk.parquet import ParquetStore
from mmkeras.trunk.row_blocks import Block, RowBlocks
from mmkeras.trunk.trunk import Trunk


def films(rows, first=0):
    words = ["dog", "cat", "war", "peace", "sea", "moon", "train"]
    texts = [f"{words[n % 7]} {words[n // 7 % 7]} {words[n // 49 % 7]} {n}" for n in range(first, first + rows)]
    return pd.DataFrame({"plot": texts, "year": range(rows)})


@pytest.fixture(scope="module")
def text(tiny_bert, tmp_path_factory):
    """A tower with weights as small as pretrained ones: it makes no more of what is rounded otherwise in other numbers of rows."""
    from safetensors.numpy import load_file, save_file

    folder = shutil.copytree(tiny_bert, tmp_path_factory.mktemp("calm") / "bert")
    weights = load_file(folder / "model.safetensors")
    calm = {name: value if "LayerNorm" in name else value / 10 for name, value in weights.items()}
    save_file(calm, folder / "model.safetensors")
    return [mm.Text("plot", encoder=str(folder))]


@pytest.fixture(scope="module")
def exact(text):
    """A function from DataFrames to {key: features} as the cache of a Trunk gives them."""
    trunk = Trunk([adapt(text[0], films(3))], engine="tensorflow")

    def features(df):
        values = trunk.features(df)["text"]
        keys = row_keys(trunk.modalities[0], raw_values(df, trunk.modalities))
        return {trunk.frozen["text"].fingerprint + key: value for key, value in zip(keys, values, strict=True)}

    features.fingerprint, features.layout = trunk.frozen["text"].fingerprint, trunk.frozen["text"].layout
    return features


def check(folder, df, exact, at_once=150):
    """Every distinct row is there once, and right; products of matrices round otherwise for other numbers of rows at once."""
    store, right = ParquetStore(folder), {}
    for first in range(0, len(df), at_once):
        right |= exact(df[first : first + at_once])
    parts = [store.read_group(path, number, exact.layout) for path, number in store.row_groups(exact.fingerprint)]
    keys = [bytes(key).ljust(32, b"\0") for own, _ in parts for key in own]
    assert sorted(keys) == sorted(right)
    (name,) = exact.layout
    values = np.concatenate([values[name] for _, values in parts])
    np.testing.assert_allclose(values, [right[key] for key in keys], atol=1e-6)


@pytest.fixture
def files(tmp_path):
    for number in range(3):
        films(50, 50 * number).to_parquet(tmp_path / f"rows-{number}.parquet", row_group_size=20)
    return tmp_path


def encode(rows, text, out, **settings):
    return mm.encode_table(rows, text, out, **{"verbose": 0, "rows_per_block": 32, **settings})


def test_files_are_encoded_as_the_cache_would_and_only_once(files, text, exact):
    pattern, out = str(files / "rows-*.parquet"), files / "out"
    done = encode(pattern, text, out)
    assert (done.rows, done.encoded, done.stored, done.failures) == (150, 150, {"text": 150}, [])
    check(out, films(150), exact)
    assert encode([pattern, str(files / "rows-0.parquet")], text, out).encoded == 0


def test_equal_rows_are_encoded_once(tmp_path, text, exact):
    df = pd.concat([films(20), films(30)])
    assert encode(df, text, tmp_path / "out").encoded == 30
    check(tmp_path / "out", films(30), exact)


def test_what_is_stored_and_what_a_block_holds_twice_does_not_reach_the_tower(tmp_path, text, monkeypatch):
    encode(films(10), text, tmp_path / "out")
    real, seen = block_encoder.BlockEncoder.encode, []

    def counted(self, block):
        outcome = real(self, block)
        seen.append(len(outcome.items))
        return outcome

    monkeypatch.setattr(block_encoder.BlockEncoder, "encode", counted)
    df = pd.concat([films(16), films(16), films(4, 8), films(4, 30)])
    assert encode(df, text, tmp_path / "out").encoded == 10
    assert seen == [6, 4]  # 10 of 32 rows are stored and 16 there twice; of the rest four are new


def test_a_sample_is_spread_over_files_and_row_groups(tmp_path):
    for number in range(2):
        films(1000).to_parquet(tmp_path / f"{number}.parquet", row_group_size=50)
    whole = RowBlocks(str(tmp_path / "*.parquet"), ["year"], 32).sample(200)["year"]
    assert len(whole) == 200 and list(whole[:5]) == [0, 12, 24, 37, 49]  # five of each of 20 groups of a file
    assert whole.mean() == pytest.approx(499.5, abs=1) and whole.max() == 999
    few = RowBlocks(str(tmp_path / "*.parquet"), ["year"], 32).sample(2)["year"]
    assert len(few) == 20 * 2  # at least one of each group that is read
    assert list(RowBlocks(films(1000), ["year"], 32).sample(3)["year"]) == [0, 500, 999]
    assert len(RowBlocks(films(7), ["year"], 32).sample(10)) == 7


def test_a_call_that_is_broken_off_goes_on(files, text, exact, monkeypatch):
    out, left = files / "out", [2]
    real = block_encoder.BlockEncoder.encode

    def broken(self, block):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return real(self, block)

    monkeypatch.setattr(block_encoder.BlockEncoder, "encode", broken)
    with pytest.raises(KeyboardInterrupt):
        encode(str(files / "*.parquet"), text, out)
    (half := next(out.glob("*/")) / ".part-1.parquet.2").write_bytes(b"half")
    monkeypatch.setattr(block_encoder.BlockEncoder, "encode", real)
    assert encode(str(files / "*.parquet"), text, out).encoded == 150 - 50
    assert not half.exists()
    check(out, films(150), exact)


def test_csv_and_urls_give_the_same_rows(tmp_path, text, exact):
    import fsspec

    films(40).to_csv(tmp_path / "rows.csv", index=False)
    with fsspec.open("memory://encode/rows.parquet", "wb") as file:
        films(40).to_parquet(file)
    assert encode(str(tmp_path / "rows.csv"), text, tmp_path / "out").encoded == 40
    assert encode("memory://encode/*.parquet", text, tmp_path / "out").encoded == 0
    check(tmp_path / "out", films(40), exact)


def test_a_pipeline_reads_the_features(tmp_path, text, monkeypatch):
    df = films(40).assign(label=lambda df: df["plot"].str[:3])
    encode(df, text, tmp_path / "out")
    pipe = mm.Pipeline(text, mm.MultiClass("label"), encode_engine="tensorflow")
    monkeypatch.setattr("mmkeras.trunk.encoding._write_features", None)  # nothing is left to encode
    pipe.fit(df, epochs=1, verbose=0, validation_data=False, cache_dir=tmp_path / "out")


def test_progress_and_the_sample_are_told(files, text, capsys):
    encode(str(files / "*.parquet"), text, files / "out", verbose=1)
    said = capsys.readouterr().out
    assert "are those of 150 rows" in said and "150 of 150 rows, 150 features made" in said and "rows/s" in said


# === What cannot work ===


def test_an_out_of_another_tower_is_refused(tmp_path, text):
    encode(films(5), text, tmp_path / "out")
    other = [mm.Image("photo", encoder="MobileNetV2", weights=None, image_size=(32, 32))]
    with pytest.raises(ValueError, match="`out` must be empty, or hold features of these towers.*Text"):
        encode(pd.DataFrame({"photo": [b"", b""]}), other, tmp_path / "out")
    with pytest.raises(ValueError, match="With resume=False"):
        encode(films(5), text, tmp_path / "out", resume=False)


def test_a_file_and_a_row_that_cannot_be_read_are_told_and_the_rest_goes_on(files, text, exact, monkeypatch):
    (files / "rows-1.parquet").write_bytes(b"PAR1 no")
    real = block_encoder.encoded

    def choosy(modality, tower, store, columns, **how):
        if any("110" in str(cell) for cell in columns["plot"]):
            raise ValueError("no such picture")
        return real(modality, tower, store, columns, **how)

    monkeypatch.setattr(block_encoder, "encoded", choosy)
    with pytest.warns(UserWarning, match="2 places.*rows-1.parquet.*rows-2.parquet, row 10: no such picture"):
        done = encode(str(files / "*.parquet"), text, files / "out")
    assert done.encoded == 99 and [failure.first for failure in done.failures] == [0, 10]
    check(files / "out", films(150).drop(range(50, 100)).drop(110), exact)


def test_rows_of_a_file_that_is_damaged_inside_are_told_and_the_rest_goes_on(files, text, exact):
    from pyarrow import parquet

    path = files / "rows-1.parquet"
    with parquet.ParquetFile(path) as file:
        column = file.metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="rows-1.parquet, rows 20 to 39: "):
        done = encode(str(files / "*.parquet"), text, files / "out", rows_per_block=20)
    assert done.encoded == 130 and [(failure.first, failure.last) for failure in done.failures] == [(20, 39)]
    check(files / "out", films(150).drop(range(70, 90)), exact)


def test_files_of_other_columns_are_refused(files, text):
    films(5).assign(plot=range(5)).to_parquet(files / "rows-1.parquet")
    with pytest.raises(ValueError, match="'plot', which is string in .*rows-0.parquet' and int64 in .*rows-1.parquet"):
        encode(str(files / "*.parquet"), text, files / "out")
    films(5)[["year"]].to_parquet(files / "rows-1.parquet")
    with pytest.raises(ValueError, match="absent in .*rows-1.parquet"):
        encode(str(files / "*.parquet"), text, files / "out")
    with pytest.raises(KeyError, match="needs the column 'plot'"):
        encode(str(files / "rows-1.parquet"), text, files / "out")


def test_what_is_no_rows_is_refused(tmp_path, text):
    with pytest.raises(FileNotFoundError, match="There is no file"):
        encode(str(tmp_path / "*.parquet"), text, tmp_path / "out")
    with pytest.raises(ValueError, match="needs a modality with a frozen tower"):
        encode(films(5), [mm.Tabular(numeric=["year"])], tmp_path / "out")
    with pytest.raises(ValueError, match="`on` must be one of"):
        encode(films(5), text, tmp_path / "out", on="spark")
    with pytest.raises(ValueError, match="`workers` must be"):
        encode(films(5), text, tmp_path / "out", workers=0)


def test_a_full_disk_ends_the_call_and_what_was_stored_stays(tmp_path, text, exact, monkeypatch):
    encode(films(20), text, tmp_path / "out")

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Block, "read", full)
    with pytest.raises(OSError, match="No space left"):
        encode(films(40), text, tmp_path / "out")
    check(tmp_path / "out", films(20), exact)


class Answers:
    """Ray whose workers answer at once: `answer` is called with the block's number, and raises what a worker would."""

    def __init__(self, answer, alive=True):
        self.exceptions = pytest.importorskip("ray", reason="ray is not installed").exceptions
        self.answer, self.alive = answer, alive
        self.encode = self
        self.available_resources = self.cluster_resources = dict

    def remote(self, block):
        return block.start

    def wait(self, references, num_returns, timeout):
        return ([], references) if self.answer is None else (references[:1], references[1:])

    def get(self, reference):
        return self.answer(reference)

    def nodes(self):
        return [{"Alive": self.alive}]


def blocks(count):
    return iter([Block("rows.parquet", number, 1, ("plot",)) for number in range(count)])


def test_a_full_disk_of_a_worker_ends_the_call():
    def full(number):
        raise ray.exceptions.RayTaskError("encode", "", OSError(errno.ENOSPC, "No space left on device"))

    ray = Answers(full)
    with pytest.raises(OSError, match="No space left"):
        list(on_ray._outcomes(ray, [ray], blocks(2), print))


def test_blocks_that_kill_their_worker_are_left_out_and_workers_that_do_not_live_end_the_call():
    def deadly(number):
        if number in kills:
            raise ray.exceptions.RayActorError(error_msg="killed")
        return Outcome(number, [], {}, [])

    ray, kills = Answers(deadly), {2, 3}
    outcomes = list(on_ray._outcomes(ray, [ray], blocks(9), print))
    assert [str(failure) for outcome in outcomes for failure in outcome.failures] == [
        "rows.parquet, row 2: its worker died: killed",
        "rows.parquet, row 3: its worker died: killed",
    ]
    kills = set(range(9))
    with pytest.raises(RuntimeError, match="needs machines on which workers live.*its worker died: killed. Look at it"):
        list(on_ray._outcomes(ray, [ray], blocks(9), print))
    with pytest.raises(RuntimeError, match="none is alive"):
        ray = Answers(None, alive=False)
        list(on_ray._outcomes(ray, [ray], blocks(1), print))


def test_two_calls_do_not_write_to_one_folder(tmp_path, text):
    pytest.importorskip("fcntl")
    store = ParquetStore(tmp_path / "out")
    with alone(store.path), pytest.raises(BlockingIOError, match="One call at a time"):
        encode(films(5), text, tmp_path / "out")


def test_ray_that_is_not_installed_is_told(tmp_path, text, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="mmkeras\\[ray\\]"):
        encode(films(5), text, tmp_path / "out", on="ray")


def test_a_cluster_that_does_not_answer_is_told():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
    with pytest.raises(ConnectionError, match="must be that of a running cluster"):
        cluster.check_address(address)


def test_ray_that_does_not_start_is_told_and_closed():
    class Ray:
        running = True

        def is_initialized(self):
            return False

        def init(self, **settings):
            raise Exception("The current node timed out during startup.")

        def shutdown(self):
            self.running = False

    ray = Ray()
    with (
        pytest.raises(ConnectionError, match="needs Ray to start.* Received: The current node timed out.* Call again"),
        cluster.connected(ray),
    ):
        pass
    assert not ray.running


class FakeRay:
    def __init__(self, **free):
        self.free = free

    def available_resources(self):
        return self.free

    cluster_resources = available_resources


def test_fewer_cpus_than_workers_are_told():
    said = []
    assert cluster.room(FakeRay(CPU=2.0), 4, 0, lambda sentence, **_: said.append(sentence)) == 2
    assert said == [
        "4 workers need more CPUs than are free (2 of 2 CPUs free): 2 run. End other jobs, or add machines."
    ]
    with pytest.raises(RuntimeError, match="no free GPU"):
        cluster.room(FakeRay(CPU=2.0), 1, 0.5, print)


# === On Ray ===


def test_two_workers_on_ray_lose_nothing_when_one_is_killed(files, text, exact):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    killed = []

    def kill():
        while not killed and len(list((files / "out").glob("*/part-*"))) < 2:
            time.sleep(0.05)
        for pid in children_named("ray::Worker")[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        done = encode(str(files / "*.parquet"), text, files / "out", on="ray", workers=2, rows_per_block=8)
    finally:
        ray.shutdown()
    assert killed and (done.encoded, done.failures) == (150, [])
    check(files / "out", films(150), exact, at_once=8)


def children_named(name):
    """Ids of the processes below this one whose title begins so."""
    psutil = pytest.importorskip("psutil")
    below = psutil.Process().children(recursive=True)
    return [child.pid for child in below if " ".join(child.cmdline()).startswith(name)]


def test_the_command_encodes_files(files, tiny_bert, capsys):
    rows, out = str(files / "rows-*.parquet"), files / "out"
    arguments = ["encode", rows, "--text", "plot", "--text-encoder", str(tiny_bert), "--out", str(out)]
    assert main(arguments) == 0
    assert "Wrote 150 features of 150 rows" in capsys.readouterr().out
    assert main(["encode", rows, "--out", str(out)]) == 2
    assert "Give columns to read" in capsys.readouterr().err


def test_the_command_encodes_by_the_towers_of_a_model(files, text, capsys):
    pipe = mm.Pipeline(text, mm.Regression("year"), encode_engine="tensorflow")
    pipe.fit(films(20), epochs=1, verbose=0, validation_data=False)
    pipe.save(files / "model")
    rows, out = str(files / "rows-*.parquet"), files / "out"
    assert main(["encode", rows, "--model", str(files / "model"), "--out", str(out)]) == 0
    assert "150 of 'text'" in capsys.readouterr().out
    stored = ParquetStore(out)
    assert [stored.count(prefix) for prefix in stored.towers()] == [150]

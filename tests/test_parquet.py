"""Features in Parquet: what was written is read, by us and by pandas, and nothing is half written."""

import errno
import json

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyarrow")

import pyarrow.parquet as pq

import mmkeras as mm
from mmkeras.trunk.packing import pack
from mmkeras.trunk.parquet import ParquetStore
from mmkeras.trunk.store import close_store, open_store

TOWER = bytes(range(16))
FLAT = {"text": {"dtype": "float32", "shape": [2, 3]}, "text.mask": {"dtype": "bool", "shape": [2]}}


def keys_of(count):
    return [TOWER + bytes([number, *[0] * 15]) for number in range(count)]


def flat_rows(count):
    values = [np.arange(6, dtype="float32").reshape(2, 3) + 10 * number for number in range(count)]
    return [pack({"text": value, "text.mask": value[:, 0] > 10}, FLAT, None) for value in values]


@pytest.fixture
def store(tmp_path):
    store = ParquetStore(tmp_path / "features")
    store.describe(TOWER, "a tower", FLAT, "TensorFlow")
    store.write(zip(keys_of(5), flat_rows(5), strict=True))
    return store


def test_rows_come_back_in_the_order_of_their_keys(store):
    keys = keys_of(7)
    assert store.missing([keys[6], keys[3], keys[5], keys[6]]) == [0, 2]
    read = store.read([keys[3], keys[0], keys[3]], FLAT)
    assert read["text"][:, 0, 0].tolist() == [30, 0, 30]
    assert read["text.mask"].tolist() == [[True, True], [False, False], [True, True]]
    with pytest.raises(KeyError, match="no longer among the features"):
        store.read([keys[6]], FLAT)


def test_rows_beside_are_read_as_those_that_are_stored(store):
    keys = keys_of(7)
    read = store.read([keys[6], keys[1]], FLAT, {keys[6]: flat_rows(7)[6]})
    assert read["text"][:, 0, 0].tolist() == [60, 10]


def test_rows_of_many_files_are_found_and_what_is_known_of_old_ones_is_kept(store, monkeypatch):
    rng, pairs = np.random.default_rng(0), list(zip(keys_of(60), flat_rows(60), strict=True))
    rest = [pairs[place] for place in 5 + rng.permutation(55)]
    sorted_keys, real = [], np.argsort
    monkeypatch.setattr(np, "argsort", lambda keys, **how: sorted_keys.append(len(keys)) or real(keys, **how))
    for first in range(0, 55, 5):
        store.write(rest[first : first + 5])
        assert store.missing([key for key, _ in rest]) == list(range(min(first + 5, 55), 55))
    assert sum(sorted_keys) < 250  # if each file sorted all that are known, it were 5 + 10 + … + 60 = 390
    read = store.read([key for key, _ in pairs], FLAT)
    assert read["text"][:, 0, 0].tolist() == list(range(0, 600, 10))


def test_a_key_is_stored_once(store):
    store.write(zip(keys_of(6), flat_rows(6), strict=True))
    assert store.count(TOWER) == 6 and len(store.files(TOWER)) == 2


def test_pandas_reads_the_numbers_and_the_schema_says_what_they_are(store):
    df = pd.read_parquet(store.path / TOWER.hex())
    assert df["key"].tolist() == keys_of(5) and df["features"][2].tolist() == [20, 21, 22, 23, 24, 25]
    (file,) = store.files(TOWER)
    about = json.loads(pq.read_schema(file).metadata[b"mmkeras"])
    assert (about["tower"], about["engine"], about["precision"]) == ("a tower", "TensorFlow", "bool/float32")
    assert about["layout"]["features"]["shape"] == [2, 3]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_sequences_of_their_own_length_are_padded(tmp_path, dtype):
    import ml_dtypes

    layout = {"text": {"dtype": dtype, "shape": [None, 2]}}
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    rows = [np.full((length, 2), length).astype(kind) for length in (3, 1, 2)]
    packed = [pack({"text": row}, layout, len(row)) for row in rows]
    store = ParquetStore(tmp_path)
    store.describe(TOWER, "a tower", layout)
    store.write(zip(keys_of(3), packed, strict=True))
    read = store.read(keys_of(3)[::-1], layout)["text"]
    assert read.dtype == np.dtype(kind) and read[:, :, 0].tolist() == [[2, 2, 0], [1, 0, 0], [3, 3, 3]]


def test_another_process_sees_what_was_written(store):
    other = ParquetStore(store.path)
    assert other.missing(keys_of(5)) == []
    store.write(zip(keys_of(9), flat_rows(9), strict=True))
    assert other.read(keys_of(9), FLAT)["text"][8, 0, 0] == 80


def test_row_groups_hold_every_key_once(tmp_path):
    layout = {"text": {"dtype": "float16", "shape": [1]}}
    keys = [TOWER + number.to_bytes(16, "big") for number in range(5000)]
    store = ParquetStore(tmp_path)
    store.describe(TOWER, "a tower", layout)
    store.write((key, np.float16(number % 100).tobytes()) for number, key in enumerate(keys))
    groups = [store.read_group(*group, layout) for group in store.row_groups(TOWER)]
    assert [len(own) for own, _ in groups] == [4096, 904]
    assert groups[1][1]["text"][0, 0] == 4096 % 100
    assert store.read(keys[4500:4501], layout)["text"].tolist() == [[0.0]]


def test_a_full_disk_leaves_what_there_was(store, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(zip(keys_of(9), flat_rows(9), strict=True))
    assert store.count(TOWER) == 5 and len(list((store.path / TOWER.hex()).iterdir())) == 2


def test_a_damaged_file_is_told(store):
    (file,) = store.files(TOWER)
    column = pq.read_metadata(file).row_group(0).column(1)
    data = bytearray(file.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 255
    file.write_bytes(data)
    with pytest.raises(OSError, match="must be as it was written"):
        ParquetStore(store.path).read_group(file, 0, FLAT)


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="empty, or holds features"):
        ParquetStore(tmp_path)


def test_a_pipeline_uses_it_as_its_cache(tmp_path, tiny_bert):
    df = mm.samples.movies(30, seed=0)

    def fitted(folder):
        pipe = mm.Pipeline([mm.Text(["overview"], encoder=str(tiny_bert))], mm.MultiLabel("genres"))
        pipe.fit(df, epochs=1, verbose=0, cache_dir=folder)
        return mm.embed(pipe, df)

    ParquetStore(tmp_path / "parquet")
    np.testing.assert_allclose(fitted(tmp_path / "parquet"), fitted(tmp_path / "lmdb"), atol=1e-5)
    store = open_store(tmp_path / "parquet")
    assert store.count(next(iter(store.towers()))) == df["overview"].nunique()
    close_store(tmp_path / "parquet")

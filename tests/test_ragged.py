"""Sequences of rows that differ in length, in memory without their padding."""

import numpy as np
import pytest

import mmkeras as mm
from mmkeras.data.batches import Order
from mmkeras.data.columns import raw_values
from mmkeras.data.ragged import Ragged, lengths_of
from mmkeras.modalities.base import adapt
from mmkeras.trunk import prepared, reading
from mmkeras.trunk.trunk import Trunk

PADDED = np.array([[5, 6, 7], [8, 1, 1], [1, 1, 1], [9, 3, 1]])
LENGTHS = np.array([3, 1, 0, 2])


def test_rows_are_padded_to_the_longest_of_those_taken():
    rows = Ragged.of(PADDED, LENGTHS)
    assert len(rows) == 4 and rows.shape == (4, None) and rows.nbytes == 6 * 8
    assert rows[np.array([3, 1])].tolist() == [[9, 3], [8, 1]]
    assert rows[np.array([2])].shape == (1, 0)
    assert rows[np.array([], int)].shape == (0, 0)
    np.testing.assert_array_equal(rows[slice(None)], PADDED)


def test_parts_are_joined_with_the_padding_of_the_one_that_has_some():
    whole = Ragged.joined([Ragged.of(PADDED[:1], LENGTHS[:1]), Ragged.of(PADDED[1:, :2], LENGTHS[1:])])
    np.testing.assert_array_equal(whole[slice(None)], PADDED)


def test_vectors_keep_their_width():
    vectors = np.stack([PADDED, PADDED], axis=2).astype("float32")
    rows = Ragged.of(vectors, LENGTHS)
    assert rows.shape == (4, None, 2)
    np.testing.assert_array_equal(rows[np.array([1, 3])], vectors[[1, 3], :2])


def test_lengths_reach_to_the_last_value_of_any_tensor():
    assert lengths_of([np.array([[1, 0, 0], [0, 0, 0]]), np.array([[0, 0.5, 0], [0, 0, 0]])]).tolist() == [2, 0]
    assert lengths_of([np.zeros((2, 0))]).tolist() == [0, 0]
    assert lengths_of([np.array([[[0, 0], [0, 1], [0, 0]]])]).tolist() == [2]


@pytest.fixture
def trunk(tiny_bert):
    df = mm.samples.movies(70, seed=1)
    kinds = [
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Text("overview", encoder="scratch", name="scratch"),
        mm.Text("title", encoder=str(tiny_bert), name="bert", trainable=True),
        mm.Tabular(numeric=["budget"]),
    ]
    return Trunk([adapt(kind, df) for kind in kinds]), df


def test_rows_in_memory_give_the_same_batches_as_rows_prepared_one_batch_at_a_time(trunk, monkeypatch):
    trunk, df = trunk
    monkeypatch.setattr(prepared, "CHUNK", 30)
    part = trunk._part(trunk.prepare.output)
    raw = raw_values(df, trunk.modalities)
    columns = part.in_memory(raw, reading.IN_MEMORY)
    for rows in Order(16, 3, prepared.longest_rows(columns)).plan(len(df), 0):
        expected = part.run({name: values[rows] for name, values in raw.items()})
        for key, tensor in expected.items():
            np.testing.assert_array_equal(np.asarray(columns[key][rows]), tensor.numpy(), err_msg=key)


def test_what_would_be_too_large_is_not_kept(trunk, monkeypatch):
    trunk, df = trunk
    monkeypatch.setattr(prepared, "CHUNK", 10)
    part, raw = trunk._part(trunk.prepare.output), raw_values(df, trunk.modalities)
    runs = []
    run = part.run
    part.run = lambda tensors: runs.append(1) or run(tensors)
    assert part.in_memory(raw, 1000) is None
    assert len(runs) == 1  # the first rows tell

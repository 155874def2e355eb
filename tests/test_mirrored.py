"""Training on several devices of a machine: as on one, for every fusion and task; and what is said where there is one."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.batches import Order
from mmkeras.fusion import Fusion
from mmkeras.registry import subclasses
from mmkeras.trunk.mirrored import devices_of

SCRIPT = pathlib.Path(__file__).with_name("mirrored_fits.py")


@pytest.fixture(scope="module")
def differences():
    """{case: the greatest difference between two devices and one}; devices are set before a process uses TensorFlow."""
    told, pipes = {}, {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, SCRIPT, what], **pipes) for what in ("tables", "scenes")]
    for process in processes:
        output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-2000:]
        told |= json.loads(output.splitlines()[-1])
    return told


def test_two_devices_train_as_one(differences):
    fusions = {
        fusion.label for fusion in subclasses(Fusion) if fusion.label and fusion.__module__.startswith("mmkeras.")
    }
    assert {*fusions, "infonce", "triplet", "captions", "saved"} <= set(differences)
    assert {case: value for case, value in differences.items() if value > 1e-5} == {}


def pipeline(**settings):
    return mm.Pipeline([mm.Tabular(numeric=["runtime"])], mm.MultiLabel("genres"), **settings)


@pytest.mark.parametrize("way", ["multiworker", True, 2])
def test_other_ways_are_refused(way):
    with pytest.raises(
        ValueError, match=f'`distribute` must be None or "mirrored". Received: {way!r}. Use "mirrored" for'
    ):
        pipeline(distribute=way)


def test_one_device_trains_as_ever():
    df = mm.samples.movies(30, seed=0)
    alone, told = pipeline(), pipeline(distribute="mirrored")
    alone.fit(df, epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="this machine has one, .*: it trains as without"):
        told.fit(df, epochs=1, verbose=0)
    np.testing.assert_array_equal(alone.predict(df).to_numpy(), told.predict(df).to_numpy())


def test_a_batch_is_cut_into_shares_that_hold_each_row_once():
    plan = Order(4, replicas=2).plan(7, 0)
    assert [rows.tolist() for rows in plan] == [[0, 1], [2, 3], [4, 5], [6]]
    assert [rows.tolist() for rows in Order(4, replicas=2).plan(5, 0)] == [[0, 1, 2], [3, 4]]  # none is empty
    with pytest.raises(ValueError, match="Training on 2 devices needs at least as many rows.* Received: 1"):
        Order(4, replicas=2).plan(1, 0)


def test_devices_that_fail_each_other_are_told_of(monkeypatch):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    monkeypatch.setattr("mmkeras.trunk.mirrored._strategy", lambda names, gpus: strategy)
    monkeypatch.setattr("tensorflow.config.list_logical_devices", lambda kind: [strategy] * 2 if kind == "GPU" else [])
    monkeypatch.setattr(type(strategy), "name", "GPU", raising=False)
    with (
        pytest.raises(
            RuntimeError, match="Received a failure of one of them, .*Collective ops is aborted.*Start Python anew"
        ),
        devices_of("mirrored"),
    ):
        raise tf.errors.InternalError(None, None, "Collective ops is aborted")

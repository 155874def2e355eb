"""A search on a Ray cluster: one call starts chief and workers, and gives the trail of all their trials."""

import sys

import pytest

import mmkeras as mm
from mmkeras.search import on_ray
from mmkeras.search.study import Study

# Fusions of other tests in this process are not known to workers.
SPACE = {"epochs": 1, "units": [8, 16, 32], "fusion": ["concat", "late"]}


def search(directory, **settings):
    modalities = [mm.Tabular(numeric=["budget"], name="money"), mm.Tabular(numeric=["runtime"], name="time")]
    df, task = mm.samples.movies(60, seed=0), mm.MultiLabel("genres")
    settings = {"engine": "kerastuner", "tuner": "random", "space": SPACE, "on": "ray", **settings}
    return mm.search(df, modalities, task, directory=directory, **settings)


def test_workers_on_ray_share_the_trials_and_the_search_goes_on_here(tmp_path, capsys):
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        pipe = search(tmp_path / "study", max_trials=4, workers=2)
    finally:
        ray.shutdown()
    said = capsys.readouterr().out
    assert len(pipe.trail.table) == 4 and (pipe.trail.table["failure"] == "").all()
    assert [said.count(f"Trial {number} of 4") for number in range(1, 5)] == [1, 1, 1, 1]
    assert {path.name for path in (tmp_path / "study" / "tuner").glob("worker_*.json")} == {
        "worker_0.json",
        "worker_1.json",
    }
    scores = list(pipe.trail.table["score"])
    more = search(tmp_path / "study", max_trials=5, on="local")
    assert list(more.trail.table["score"])[:4] == scores and capsys.readouterr().out.count("Trial ") == 1


def test_what_cannot_be_searched_on_ray_is_told(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="on='ray' with engine='autokeras'.*Use engine='kerastuner'"):
        search(tmp_path / "study", engine="autokeras")
    with pytest.raises(ValueError, match="needs a folder that all machines see"):
        search(None)
    with pytest.raises(ValueError, match="`on` must be one of"):
        search(tmp_path / "study", on="spark")
    with pytest.raises(ValueError, match="`workers` must be an integer of 1 or more. Received: 0"):
        search(tmp_path / "study", workers=0)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(ValueError, match="names chief and workers itself"):
        search(tmp_path / "study")
    monkeypatch.delenv("KERASTUNER_ORACLE_IP")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="mmkeras\\[ray\\]"):
        search(tmp_path / "study")


def test_a_worker_that_fails_ends_the_search_with_its_reason(tmp_path):
    ray = pytest.importorskip("ray", reason="ray is not installed")

    class Failing:
        exceptions = ray.exceptions

        @staticmethod
        def wait(left, timeout):
            return left[:1], left[1:]

        @staticmethod
        def get(ended):
            raise ray.exceptions.RayTaskError("work", "", PermissionError(13, "Permission denied"))

    study = Study(tmp_path, [], None, {}, "kerastuner", "random", "map", 4)
    with pytest.raises(RuntimeError, match="PermissionError.*Permission denied.* Call again"):
        on_ray._wait(Failing, "chief", ["worker"], study, say=print)

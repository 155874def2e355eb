"""Search over processes: killed and resumed, and shared by a chief and two workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import mmkeras as mm

CODE = """
import sys
import mmkeras as mm
pipe = mm.search(
    mm.samples.movies(60, seed=0), [mm.Tabular(numeric=["budget"], name="money"), mm.Tabular(numeric=["runtime"], name="time")],
    mm.MultiLabel("genres"), max_trials={trials}, directory={directory!r}, cache_dir={cache!r}, tuner="random",
    engine={engine!r}, space={{"epochs": 1, "units": [8, 16, 32]}},
)
print("worker" if pipe is None else f"chose of {{len(pipe.trail.table)}}")
"""


def started(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def test_a_killed_search_resumes_at_the_trial_where_it_stopped(tmp_path):
    settings = {
        "directory": str(tmp_path / "study"),
        "cache": str(tmp_path / "cache"),
        "engine": "autokeras",
        "trials": 3,
    }
    process = started(CODE.format(**settings))
    first, second = (tmp_path / "study" / "trials" / f"{number}.json" for number in (0, 1))
    deadline = time.monotonic() + 300
    while not second.is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = first.read_text(encoding="utf-8")
    halted = json.loads(second.read_text(encoding="utf-8"))
    assert "score" in json.loads(before) and "score" not in halted and halted["starts"] == 1
    done = subprocess.run([sys.executable, "-c", CODE.format(**settings)], check=True, capture_output=True, text=True)
    assert "Trial 1 of 3" not in done.stdout and "Trial 2 of 3" in done.stdout and "chose of 3" in done.stdout
    assert first.read_text(encoding="utf-8") == before
    resumed = json.loads(second.read_text(encoding="utf-8"))
    assert resumed["starts"] == 2 and resumed["choices"] == halted["choices"] and "score" in resumed


def test_a_trial_that_ended_its_process_twice_is_given_up(tmp_path):
    from mmkeras.search.study import read_records

    df = mm.samples.movies(60, seed=0)
    (tmp_path / "study" / "trials").mkdir(parents=True)
    settings = {"max_trials": 2, "verbose": 0, "space": {"epochs": 1, "units": 8}, "cache_dir": tmp_path / "cache"}
    about = tmp_path / "study" / "search.json"
    modalities = [mm.Tabular(numeric=["budget"], name="money"), mm.Tabular(numeric=["runtime"], name="time")]
    mm.search(df, modalities, mm.MultiLabel("genres"), directory=tmp_path / "other", **{**settings, "max_trials": 1})
    about.write_text((tmp_path / "other" / "search.json").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "study" / "trials" / "0.json").write_text(
        '{"trial": "0", "choices": {}, "starts": 2}', encoding="utf-8"
    )
    pipe = mm.search(df, modalities, mm.MultiLabel("genres"), directory=tmp_path / "study", **settings)
    assert "the process ended 2 times in this trial" in pipe.trail.table["failure"][0]
    assert pipe.trail.best == 1 and read_records(tmp_path / "study")[0]["starts"] == 3


def test_two_workers_share_the_trials_of_a_chief(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    settings = {
        "directory": str(tmp_path / "study"),
        "cache": str(tmp_path / "cache"),
        "engine": "kerastuner",
        "trials": 4,
    }
    code = CODE.format(**settings)
    processes = {
        name: started(code, KERASTUNER_TUNER_ID=name, KERASTUNER_ORACLE_IP="127.0.0.1", KERASTUNER_ORACLE_PORT=port)
        for name in ("chief", "worker_1", "worker_2")
    }
    said = {name: process.communicate(timeout=400)[0] for name, process in processes.items()}
    assert [process.returncode for process in processes.values()] == [0, 0, 0]
    assert said["chief"].splitlines()[-1] == "chose of 4" and "Trial" not in said["chief"]
    shares = [said[name].count("Trial ") for name in ("worker_1", "worker_2")]
    assert sum(shares) == 4 and min(shares) >= 1
    assert all(said[name].splitlines()[-1] == "worker" for name in ("worker_1", "worker_2"))

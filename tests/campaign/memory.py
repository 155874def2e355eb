"""A long process: fits of tiny Pipelines, predictions of single rows, threads. Memory, files and threads must stay flat.

As a script it is that process, and prints a line of JSON for each round.
"""

import concurrent.futures
import gc
import itertools
import json
import os
import pathlib
import subprocess
import sys
import warnings

COUNTS = {"fit": 300, "row": 20_000, "threads": 8}
FITS, ROWS, THREADS = 3, 200, 8  # of one cycle; so many rows in each thread, too
WARM = 2  # cycles, whose end is what later ones are compared with
GROWTH = 100  # MB, over 300 fits and 20,000 predictions
DATA = {
    "text": ["a red fox", "the old dog", "a blue bird", "two old cats", "", "one red bird"] * 10,
    "size": [1.0, 2.5, None, 4.0, 5.5, 6.0] * 10,
    "kind": ["x", "y", "x", "z", None, "y"] * 10,
    "answer": ["yes", "no", "yes"] * 20,
}


def rounds(seed):
    """(name, fault or None) of one round after another, all kinds in turn.

    Args:
        seed: int.
    """
    child = subprocess.Popen(
        [sys.executable, __file__, str(seed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with child:
        try:
            for line in child.stdout:
                yield tuple(json.loads(line))
            yield "fit", f"the process died with {child.wait()}"
        finally:
            child.kill()


def held():
    """What the process holds: MB of memory, open files, threads."""
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return {
        "MB": int(status["VmRSS"].split()[0]) // 1024,
        "files": len(os.listdir("/proc/self/fd")),
        "threads": int(status["Threads"]),
    }


def _grown(first):
    """The fault of a process that holds more than it did, or None."""
    now = held()
    grown = now["MB"] > first["MB"] + GROWTH or any(now[kind] > first[kind] for kind in ("files", "threads"))
    return f"it held {first} and holds {now}" if grown else None


def _fit(df, seed):
    import mmkeras as mm

    modalities = [mm.Text("text", encoder="lexical"), mm.Tabular(numeric=["size"], categorical=["kind"])]
    pipe = mm.Pipeline(modalities, mm.MultiClass("answer"))
    pipe.fit(df, epochs=1, seed=seed, verbose=0)
    return pipe


def _unequal(pipe, rows, expected):
    """The fault of predictions by several threads at once that are not those of one, or None."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(lambda number: pipe.predict(rows[number % len(rows)]), range(ROWS * THREADS))
        wrong = sum(not result.equals(expected[number % len(rows)]) for number, result in enumerate(results))
    return f"{wrong} of {ROWS * THREADS} rows differ from those of one thread" if wrong else None


def _child(seed):
    import pandas as pd

    warnings.simplefilter("ignore")
    df = pd.DataFrame(DATA)
    rows = [df.iloc[[number]] for number in range(len(df))]
    kept = _fit(df, seed)
    expected = [kept.predict(row) for row in rows]
    first = None
    for cycle in itertools.count():
        for number in range(FITS):
            _fit(df, seed + cycle * FITS + number)
            gc.collect()  # models lie in circles
            print(json.dumps(["fit", first and _grown(first)]), flush=True)
        for number in range(ROWS):
            same = kept.predict(rows[number % len(rows)]).equals(expected[number % len(rows)])
            print(json.dumps(["row", None if same else f"row {number % len(rows)} is predicted otherwise"]), flush=True)
        fault = _unequal(kept, rows, expected)
        gc.collect()
        print(json.dumps(["threads", fault or (first and _grown(first))]), flush=True)
        first = held() if cycle == WARM else first


if __name__ == "__main__":
    _child(int(sys.argv[1]))

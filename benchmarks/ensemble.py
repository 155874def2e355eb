"""What an ensemble costs beside one head: training, prediction and the size of what is served.

    python benchmarks/ensemble.py DATA_FOLDER [--members 8] [--rows 4000] [--rounds 3] [--words]

DATA_FOLDER holds data/movies/movies.csv (tidy) and weights/all-MiniLM-L6-v2. Heads read the frozen MiniLM and numbers, and words with
`--words`; the tower has run already when they are trained. One head and all heads take turns; printed are the medians of the rounds' ratios.
Prediction is that of new texts through the tower, and of one row.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import numpy as np

import mmkeras as mm
from mmkeras.automl.members import EVERY_ROW, NO_FOLD, Workbench
from mmkeras.automl.portfolio import Candidate
from mmkeras.fitting import Fitted
from mmkeras.pipeline import Pipeline
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.trunk import Trunk

NEW = 200  # rows that are predicted


def modalities(folder, words):
    return [
        mm.Text("overview", str(folder / "weights/all-MiniLM-L6-v2"), pooling="mean", sequence_length=128),
        *([mm.Text("overview", "lexical", name="words")] if words else []),
        mm.Tabular(numeric=["budget", "popularity", "revenue", "runtime"], zero_is_missing=["budget", "revenue"]),
    ]


def trained(bench, count):
    """(seconds, heads) of so many heads, of units and dropouts that differ, trained together."""
    names = tuple(modality.name for modality in bench.trunk.modalities)
    jobs = [
        (Candidate("member", {"fusion": "concat", "dropout": 0.1 + 0.05 * n}, {"epochs": 8}, names), EVERY_ROW)
        for n in range(count)
    ]
    start = time.perf_counter()
    heads = bench.train(jobs).heads
    return time.perf_counter() - start, heads


def pipeline(bench, heads):
    """A Pipeline of the mean of some heads."""
    trunk, head = bench.combine(heads, [1.0] * len(heads), "predictions")
    return Pipeline.of(Fitted(bench.task, trunk, head, {"fusion": "concat"}))


def predicted(pipe, df):
    start = time.perf_counter()
    pipe.predict(df)
    return time.perf_counter() - start


def size(pipe):
    """Bytes of the SavedModel."""
    with tempfile.TemporaryDirectory() as folder:
        pipe.export(pathlib.Path(folder) / "served")
        return sum(file.stat().st_size for file in pathlib.Path(folder).rglob("*") if file.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--words", action="store_true")
    options = parser.parse_args()
    df = mm.sources.movies(options.folder / "data/movies/movies.csv")[: options.rows + NEW]
    train, new = df[: options.rows], df[options.rows :]
    task, cache = mm.MultiLabel("genres").adapt(train), CacheFolder()
    start = time.perf_counter()
    trunk = Trunk([m.adapt(train) for m in modalities(options.folder, options.words)], cache=cache).over(train)
    bench = Workbench(task, trunk, train, folds=np.full(len(train), NO_FOLD))
    trained(bench, 1)  # what a process loads once, and the tower's pass
    cold = time.perf_counter() - start
    times, pipes = [], {}
    for _ in range(options.rounds):
        one, head = trained(bench, 1)
        many, heads = trained(bench, options.members)
        pipes = {"one": pipeline(bench, head), "many": pipeline(bench, heads)}
        times.append((one, many))
    ratio = statistics.median(many / one for one, many in times)
    print(
        f"{options.members} heads beside each other: {ratio:.2f} times the training of one ({times[-1][0]:.1f} s), warm;"
    )
    ratio = statistics.median((cold + many - one) / cold for one, many in times)
    print(f"{ratio:.2f} times with the tower's pass over the rows ({cold:.1f} s for one)")
    for name, rows in ((f"{NEW} new rows", new), ("a row", new[:1])):
        for pipe in pipes.values():
            pipe.predict(rows)
        rounds = [[predicted(pipe, rows) for pipe in pipes.values()] for _ in range(2 * options.rounds + 1)]
        print(f"prediction of {name}: {statistics.median(many / one for one, many in rounds):.2f} times")
    print(f"served size: {size(pipes['many']) / size(pipes['one']):.2f} times")


if __name__ == "__main__":
    main()

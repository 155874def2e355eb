"""Trials per minute: `mm.search` against AutoKeras as it comes.

    python benchmarks/search.py DATA_FOLDER [--rows 400] [--trials 6] [--rival-trials 2] [--cache FOLDER]

DATA_FOLDER holds data/movies/movies.csv and weights/all-MiniLM-L6-v2. Both search heads on the same frozen tower, the same numbers,
the same rows, epochs and batch size. AutoKeras gets the same raw columns and the tower inside each trial, as one of its blocks, and is
repaired only as far as it runs: heads whose shapes are ints, the tower's tokens made beforehand because its models take no strings.
Our features are encoded before the clock starts (a warm cache; the cost of that is printed), the winner's training is left out of both.
"""

import argparse
import pathlib
import tempfile
import time

import autokeras as ak
import keras
import numpy as np
from autokeras.engine.block import Block

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.graph import submodel
from mmkeras.search.autokeras.blocks import NamedInput
from mmkeras.search.study import read_records

NUMBERS = ["budget", "popularity", "revenue", "runtime"]


class Tower(Block):
    """The frozen tower as an AutoKeras block: its tensors, in the order of its inputs → (B, D)."""

    tower = None

    def build(self, hp, inputs=None):
        tower = type(self).tower
        return tower(dict(zip(tower.input, keras.tree.flatten(inputs), strict=True)))["text"]


class IntHead(ak.ClassificationHead):
    """AutoKeras's head with a shape of ints; labels stay probabilities."""

    def build(self, hp, inputs=None):
        self.shape = tuple(int(n) for n in self.shape)
        return super().build(hp, inputs)

    def get_hyper_preprocessors(self):
        return []


def rival(train, validation, text, task, trials, epochs, batch_size, seed):
    """Seconds per trial of AutoKeras."""
    text = text.adapt(train)
    prepare = mm.build_prepare([text])
    encode = mm.build_encode([text], prepare)
    encode.trainable = False
    Tower.tower = submodel(encode.input, {"text": encode.output["text"]})
    keys = list(Tower.tower.input)
    width = text.sequence_length

    def arrays(df):
        tensors = prepare(raw_values(df, [text]))
        padded = {
            key: np.pad(v.numpy(), [(0, 0), (0, width - v.shape[1])]) if v.shape[1] != 1 else v.numpy()
            for key, v in tensors.items()
        }
        numbers = df[NUMBERS].to_numpy("float32")
        return [*(padded[key] for key in keys), numbers], task.encode(df)

    nodes = [NamedInput(key.replace(".", "_"), dtype=str(prepare.output[key].dtype)) for key in keys]
    table = ak.StructuredDataInput(column_names=NUMBERS, column_types=dict.fromkeys(NUMBERS, "numerical"))
    joined = ak.Merge()([ak.DenseBlock()(Tower()(nodes)), ak.StructuredDataBlock()(table)])
    output = IntHead(multi_label=True)(joined)
    with tempfile.TemporaryDirectory() as folder:
        model = ak.AutoModel([*nodes, table], output, max_trials=trials, directory=folder, seed=seed + 1)
        x, y = arrays(train)
        stop = keras.callbacks.EarlyStopping(patience=epochs)  # with it, AutoKeras trains no winner once more
        start = time.perf_counter()
        model.fit(
            x, y, validation_data=arrays(validation), epochs=epochs, batch_size=batch_size, callbacks=[stop], verbose=0
        )
        spent = time.perf_counter() - start
        ended = [trial.status for trial in model.tuner.oracle.trials.values()]
    print(f"AutoKeras: {len(ended)} trials ({', '.join(ended)}) in {spent:.1f} s")
    return spent / len(ended)


def ours(train, validation, modalities, task, trials, epochs, batch_size, seed, cache):
    """Seconds per trial of `mm.search`."""
    space = {"epochs": epochs, "batch_size": batch_size}
    start = time.perf_counter()
    mm.Pipeline(modalities, task).fit(
        train, validation_data=validation, epochs=1, batch_size=batch_size, cache_dir=cache, verbose=0
    )
    print(f"features into the cache, with one short fit: {time.perf_counter() - start:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        directory = pathlib.Path(folder) / "search"
        start = time.perf_counter()
        mm.search(
            train, modalities, task, validation_data=validation, max_trials=trials, space=space, seed=seed,
            directory=directory, cache_dir=cache,
        )  # fmt: skip
        whole = time.perf_counter() - start
        records = read_records(directory)
    spent = sum(record["seconds"] for record in records)
    print(f"mm.search: {len(records)} trials in {spent:.1f} s; with set-up, winner and trail {whole:.1f} s")
    return spent / len(records)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--rival-trials", type=int, default=2)
    parser.add_argument("--sequence-length", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", help="folder of the feature cache; without it a temporary one")
    options = parser.parse_args()
    df = mm.sources.movies(options.folder / "data/movies/movies.csv").head(options.rows)
    counts = df["genres"].str.get_dummies("|").sum()
    task = mm.MultiLabel("genres", classes=list(counts.index[counts >= 5]))
    train, validation = mm.split_frame(df, 0.2, seed=options.seed)
    weights = options.folder / "weights/all-MiniLM-L6-v2"
    text = mm.Text("overview", encoder=weights, pooling="mean", layers=3, sequence_length=options.sequence_length)
    modalities = [text, mm.Tabular(numeric=NUMBERS, zero_is_missing=["budget", "revenue"])]
    shared = {"epochs": options.epochs, "batch_size": options.batch_size, "seed": options.seed}
    with tempfile.TemporaryDirectory() as folder:
        own = ours(train, validation, modalities, task, options.trials, cache=options.cache or folder, **shared)
    other = rival(train, validation, text, task, options.rival_trials, **shared)
    print(f"trials per minute: {60 / own:.1f} against {60 / other:.2f}; {other / own:.1f} times more")


if __name__ == "__main__":
    main()

"""Training that streams: rows per second through the head, memory, and the metric beside a fit in memory.

    python benchmarks/stream.py [--rows 200000] [--epochs 4] [--width 384] [--keep FOLDER]

Made up are N rows with an id, a number and features in float16, as a frozen tower would have given them, in a store of Parquet beside files
of rows; the target is the larger side of a linear model of features and number, with noise. Printed are seconds to make them, to look at and
to arrange them; rows per second through the head, from the end of the first step to that of the last epoch, validation and all, by the clock and by the
time that cores worked, as others may use the machine;
the peak of memory above what TensorFlow and the model take before a row is read, sampled; and accuracy on 50,000 other rows of the streamed fit
and of a fit in memory of 200,000 of the rows.
"""

import argparse
import dataclasses
import os
import pathlib
import tempfile
import threading
import time

import keras
import numpy as np
import pandas as pd
import psutil
import pyarrow
import pyarrow.parquet

import mmkeras as mm
from mmkeras.data.columns import NumberColumn, raw_values, row_keys
from mmkeras.modalities.base import PRESENT, Modality, adapt
from mmkeras.trunk import reading
from mmkeras.trunk.parquet import GROUP, ParquetStore
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.trunk import Trunk

FILE = 250_000  # rows of a file
TEST = 50_000
IN_MEMORY = 200_000


@dataclasses.dataclass(frozen=True)
class MadeUp(Modality):
    """A frozen tower of numbers, whose features stand in the store already; it is never run."""

    column: str = "id"
    width: int = 384
    name: str = "made"

    pretrained = normalise = True

    @property
    def columns_read(self):
        return {self.column: NumberColumn()}

    def prepare(self, raw):
        number = raw[self.column][:, None]
        return {
            "made.number": keras.ops.cast(number, "float32"),
            f"made{PRESENT}": keras.ops.ones_like(number, "float32"),
        }

    def encode(self, tensors):
        dense = keras.layers.Dense(
            self.width, kernel_initializer="ones", dtype="float16", trainable=False, name="made_tower"
        )
        return dense(tensors["made.number"])

    def tower_layers(self, fine_tune):
        return {"made_tower": False}


class Memory:
    """The peak of this process's memory from when it is made, sampled."""

    def __init__(self):
        self.start = self.peak = psutil.Process().memory_info().rss
        self._on = True
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self):
        while self._on:
            self.peak = max(self.peak, psutil.Process().memory_info().rss)
            time.sleep(0.02)

    def above(self):
        """GB."""
        return (self.peak - self.start) / 1e9


class Pace(keras.callbacks.Callback):
    """When the first step ended, and each epoch."""

    def on_train_begin(self, logs=None):
        self.first, self.ends = None, []

    def on_train_batch_end(self, batch, logs=None):
        if self.first is None:
            self.first, self.work = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.ends.append(time.perf_counter())
        self.worked = time.process_time()


def make(rows, width, folder):
    """Files of rows and the store of their features; and a file of rows to judge by, whose features are there, too."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=width) / np.sqrt(width)
    modality = adapt(MadeUp(width=width), pd.DataFrame({"id": [0.0, 1.0]}))
    tower = Trunk([modality]).frozen["made"]
    store = ParquetStore(folder / "features")
    store.describe(tower.fingerprint, "made up", tower.layout, "tensorflow")
    schema = store.schema(tower.fingerprint)
    (folder / "rows").mkdir()
    ids = rng.permutation(rows + TEST)
    parts = [(first, min(first + FILE, rows), f"rows/{first:010}.parquet") for first in range(0, rows, FILE)]
    for first, last, name in [*parts, (rows, rows + TEST, "test.parquet")]:
        frame = pd.DataFrame({"id": ids[first:last], "x": rng.normal(size=last - first)})
        features = rng.normal(size=(last - first, width)).astype("float16")
        score = features.astype("float32") @ weights + frame["x"] + rng.normal(size=len(frame))
        frame["side"] = np.where(score > 0, "right", "left")
        keys = row_keys(modality, raw_values(frame, [modality]))
        table = pyarrow.table(
            [
                pyarrow.array([tower.fingerprint + key for key in keys], schema.field("key").type),
                pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.ravel()), width),
            ],
            schema=schema,
        )
        part = store.path / tower.fingerprint.hex() / f"part-{first:032x}.parquet"
        pyarrow.parquet.write_table(table, part, row_group_size=GROUP, compression="none", use_dictionary=False)
        frame.to_parquet(folder / name)


def pipeline(width):
    return mm.Pipeline(
        [MadeUp(width=width), mm.Tabular(numeric="x")], mm.MultiClass("side"), encode_engine="tensorflow"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--keep", help="folder in which rows and features stay, or lie already")
    options = parser.parse_args()
    folder = pathlib.Path(options.keep or tempfile.mkdtemp())
    start = time.perf_counter()
    if not (folder / "test.parquet").is_file():
        make(options.rows, options.width, folder)
        print(f"{options.rows:,} rows made in {time.perf_counter() - start:.0f} s", flush=True)
    test = pd.read_parquet(folder / "test.parquet")
    settings = {"epochs": options.epochs, "verbose": 0, "validation_data": 0.05}
    small = pd.read_parquet(folder / "rows" / "0000000000.parquet")
    pipeline(options.width).fit(small.head(2_000), cache_dir=folder / "features", **settings)  # what TensorFlow takes

    pace, memory, start = Pace(), Memory(), time.perf_counter()
    pipe = pipeline(options.width)
    pipe.fit(str(folder / "rows" / "*.parquet"), features=folder / "features", key="id", callbacks=[pace], **settings)
    done, work = options.rows * 0.95 * len(pace.ends), pace.worked - pace.work
    rate = done / (pace.ends[-1] - pace.first)
    print(
        f"looked at, arranged and built in {pace.first - start:.0f} s: {options.rows / (pace.first - start):,.0f} rows/s"
    )
    print(
        f"through the head: {rate:,.0f} rows/s in {len(pace.ends)} epochs, {done / work:,.0f} per second that a core worked on it"
    )
    print(
        f"peak {memory.above():.2f} GB above the start; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )
    streamed = accuracy(pipe, test, folder)
    print(f"accuracy {streamed:.4f} of the streamed fit", flush=True)

    reading.IN_MEMORY = 1 << 31  # else what is larger is read from the store in each epoch, row by row
    plain = pipeline(options.width)
    plain.fit(small.head(IN_MEMORY), cache_dir=folder / "features", **settings)
    held = accuracy(plain, test, folder)
    print(f"accuracy {held:.4f} of {min(IN_MEMORY, options.rows):,} rows in memory; difference {streamed - held:+.4f}")


def accuracy(pipe, test, folder):
    pipe.trunk.cache = CacheFolder(folder / "features")
    return float((pipe.predict_labels(test) == test["side"]).mean())


if __name__ == "__main__":
    main()

"""Genre classifier: mmkeras against the tutorial's procedure, on the same rows, batch size and weights.

    python benchmarks/genre.py DATA_FOLDER [--rows 400] [--naive 400] [--engine auto]

The tutorial pads every text to 512 tokens and runs the frozen DistilBERT-base again in every epoch; mmkeras runs it once
per row, without padding, by the engine that `Pipeline` chooses, and trains the head on cached features. With `--naive`
the tutorial's procedure is measured on that many rows, and its time scaled to all. DistilBERT-base has random weights here: speed does not
depend on them. DATA_FOLDER holds data/movies/movies.csv and weights/all-MiniLM-L6-v2/vocab.txt. Prints ratios measured
in one run; absolute times depend on the machine.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import keras_hub
import numpy as np
import tensorflow as tf

import mmkeras as mm
from mmkeras.data.batches import Order, stream
from mmkeras.data.columns import raw_values
from mmkeras.graph import compiled, submodel
from mmkeras.models.genre import DISTILBERT_BASE
from mmkeras.trunk import encoding, engines
from mmkeras.trunk.encoding import Tower, token_lengths
from mmkeras.trunk.stages import cut_frozen

EPOCHS, BATCH = 10, 32
NUMERIC = ["budget", "popularity", "revenue", "runtime"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--naive", type=int, help="rows of the tutorial's procedure; all if left out")
    parser.add_argument("--engine", default="auto", choices=engines.ENGINES)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        return memory_of(options.memory_of)
    df = mm.sources.movies(options.folder / "data/movies/movies.csv").head(options.rows)
    vocabulary = (options.folder / "weights/all-MiniLM-L6-v2/vocab.txt").read_text(encoding="utf-8").split("\n")[:30522]
    keras.utils.set_random_seed(0)
    tokenizer = keras_hub.models.DistilBertTokenizer(vocabulary=vocabulary, lowercase=True)
    with tempfile.TemporaryDirectory() as folder:
        preset = f"{folder}/distilbert"
        backbone = keras_hub.models.DistilBertBackbone(**DISTILBERT_BASE)
        backbone.save_to_preset(preset)
        tokenizer.save_to_preset(preset)
        some = df.head(options.naive or len(df))
        naive = tutorial_epochs(some, preset, tokenizer) * len(df) / len(some)
        ours = pipeline_fit(df, preset, f"{folder}/cold", options.engine)
        warm = pipeline_fit(df, preset, f"{folder}/cold", options.engine)
        engine, bare = bare_pass(df, preset, options.engine)
        print(f"\n{len(df)} films, {EPOCHS} epochs, batch size {BATCH}, DistilBERT-base by {engine}")
        print(
            f"tutorial's procedure      {naive:8.1f} s (two epochs of {len(some)} films measured, the second extrapolated to the other eight)"
        )
        print(f"mmkeras, cold cache       {ours:8.1f} s   {naive / ours:7.1f} times faster")
        print(f"mmkeras, warm cache       {warm:8.1f} s   {naive / warm:7.1f} times faster")
        print(f"one bare pass, unpadded   {bare:8.1f} s   whole fit / bare pass {ours / bare:.2f}")
        precision(df.head(64), preset)  # slow where the processor has no bfloat16 of its own
    memory(options.folder)


def tutorial_epochs(df, preset, tokenizer):
    """Seconds of ten epochs as the tutorial trains."""
    ids = tf.function(tokenizer.tokenize)(tf.constant(df["overview"].tolist()))[:, :510]
    rows = ids.nrows()
    ids = tf.concat([tf.fill([rows, 1], 101), ids, tf.fill([rows, 1], 102)], axis=1)
    x = {
        "token_ids": ids.to_tensor(0, shape=(None, 512)).numpy(),
        "padding_mask": tf.sequence_mask(ids.row_lengths(), 512, dtype=tf.int32).numpy(),
        "numeric": df[NUMERIC].fillna(0).to_numpy("float32"),
    }
    task = mm.MultiLabel("genres").adapt(df)
    model = mm.build_genre_classifier(preset, num_classes=len(task.classes))
    model.compile("adam", "binary_crossentropy")
    seconds = Seconds()
    model.fit(x, task.encode(df), batch_size=BATCH, epochs=2, callbacks=[seconds], verbose=0)
    print(f"tutorial's procedure, seconds of the first two epochs: {[round(s, 1) for s in seconds.epochs]}")
    return seconds.epochs[0] + (EPOCHS - 1) * seconds.epochs[1]


class Seconds(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.epochs, self.start = [], time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        now = time.perf_counter()
        self.epochs.append(now - self.start)
        self.start = now


def text(preset, **settings):
    return mm.Text("overview", encoder=preset, sequence_length=512, **settings)


def pipeline_fit(df, preset, cache, engine):
    """Seconds of a whole `fit`: adapting, encoding, ten epochs, thresholds."""
    modalities = [text(preset), mm.Tabular(numeric=NUMERIC)]
    pipe = mm.Pipeline(modalities, mm.MultiLabel("genres"), encode_engine=engine)
    start = time.perf_counter()
    pipe.fit(df, epochs=EPOCHS, batch_size=BATCH, verbose=0, cache_dir=cache)
    return time.perf_counter() - start


def tower_batches(df, preset, **settings):
    """The compiled tower, and its unpadded batches."""
    modality = text(preset, **settings).adapt(df)
    prepare = mm.build_prepare([modality])
    columns = raw_values(df, [modality])
    lengths = token_lengths(prepare, columns)
    order, tensors = zip(*stream(columns, Order(BATCH, lengths=lengths), prepare=compiled(prepare)), strict=True)
    return compiled(mm.build_encode([modality], prepare)), tensors, np.concatenate(order)


def bare_pass(df, preset, name):
    """(engine, seconds of the frozen tower over all rows, ready in memory, and nothing else; the median of three)."""
    modality = text(preset).adapt(df)
    prepare = mm.build_prepare([modality])
    encode = mm.build_encode([modality], prepare)
    encode.trainable = False
    model = cut_frozen(encode).towers["text"]
    tower = Tower(submodel(prepare.input, {key: prepare.output[key] for key in model.input}), model)
    engine = engines.candidates(name)[0]
    columns = raw_values(df, [modality])
    windows = encoding.windows_of(tower, columns, None)
    parts = list(encoding.cut_windows(tower.prepare, windows, None, engine.tokens))
    with tempfile.TemporaryDirectory() as folder:
        sample = tower.sample(columns)
        run = engine.open(model, engine.key(tower.fingerprint), folder=folder, rows=None, sample=sample)

    def once():
        start = time.perf_counter()
        for _ in run(tensors for _, _, tensors in parts):
            pass
        return time.perf_counter() - start

    once()
    return engine, statistics.median(once() for _ in range(3))


def precision(df, preset):
    """Rows per second in float32 and bfloat16, and how far the features differ."""
    measured = {}
    for dtype in ("float32", "mixed_bfloat16"):
        run, rows, order = tower_batches(df, preset, dtype=dtype)
        run(rows[0])
        start = time.perf_counter()
        features = np.concatenate([run(tensors)["text"].numpy() for tensors in rows])
        measured[dtype] = (len(df) / (time.perf_counter() - start), features[np.argsort(order)])
    (slow, exact), (fast, rough) = measured["float32"], measured["mixed_bfloat16"]
    print(
        f"float32 {slow:.1f} rows/s, bfloat16 {fast:.1f} rows/s: {fast / slow:.2f} times as fast; greatest difference of"
    )
    print(f"the features {np.abs(exact - rough).max():.3f} (their standard deviation is {exact.std():.3f})")


def memory(folder):
    """Peak memory of a fit as rows grow tenfold, each in a fresh process."""
    peaks = {}
    for rows in (2_000, 20_000):
        command = [sys.executable, __file__, str(folder), "--memory-of", str(rows)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[rows] = json.loads(run.stdout.splitlines()[-1])
    first, last = peaks.values()
    print(
        f"peak memory of a fit on {' and '.join(map(str, peaks))} rows: {first:.0f} and {last:.0f} MiB, ratio {last / first:.2f}"
    )


def memory_of(rows):
    """Fit on made-up films with a tiny frozen tower; print the process's peak in MiB."""
    df = mm.samples.movies(rows, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        words = sorted({w for text in df["overview"].head(500) for w in text.lower().replace(".", "").split()})
        size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 256, "intermediate_dim": 256}
        keras_hub.models.BertBackbone(len(special) + len(words), **size).save_to_preset(folder)
        keras_hub.models.BertTokenizer(special + words, lowercase=True).save_to_preset(folder)
        pipe = mm.Pipeline([mm.Text("overview", encoder=folder), mm.Tabular(numeric=NUMERIC)], mm.MultiLabel("genres"))
        pipe.fit(df, epochs=1, verbose=0)
    # Not getrusage: after an exec it still holds the peak of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


if __name__ == "__main__":
    main()

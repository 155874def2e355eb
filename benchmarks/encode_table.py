"""Encoding of tables: two Ray workers against this process, and rounds in which something is killed with -9.

    python benchmarks/encode_table.py [--rows 20000] [--rounds 4] [--kill-rows 2000]

Made-up films, a BERT of two blocks with random weights. Printed are rows per second from the first block that is written to the last,
start-up apart, and their ratio, beside the number of cores; and of the rounds, in which a worker, the raylet or the driver is killed
at a random moment and the call is made again, how many rows were lost, doubled or wrong, and how many were encoded again.
"""

import argparse
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import keras
import keras_hub
import numpy as np
import psutil

import mmkeras as mm
from mmkeras.trunk.parquet import ParquetStore

DRIVER = """
import sys, mmkeras as mm
rows, tower, out, on = sys.argv[1:]
done = mm.encode_table(rows, [mm.Text("plot", encoder=tower, sequence_length=64)], out, on=on, workers=2, rows_per_block={block})
print("DONE", done.encoded, done.failures)
"""
VICTIMS = ("ray::Worker", "raylet", "driver")


def make_tower(folder):
    letters = [chr(97 + n) for n in range(26)] + [str(n) for n in range(10)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *[f"##{letter}" for letter in letters]]
    keras.utils.set_random_seed(0)
    keras_hub.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=2,
        num_heads=2,
        hidden_dim=64,
        intermediate_dim=128,
        max_sequence_length=128,
    ).save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary=words, lowercase=True).save_to_preset(str(folder))


def start(rows, tower, out, on, block):
    command = [sys.executable, "-c", DRIVER.format(block=block), str(rows), str(tower), str(out), on]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process):
    """How many features a call made; None where it was killed."""
    text = process.communicate()[0]
    done = re.search(r"DONE (\d+) \[\]", text)
    if done is None and process.returncode > 0:
        print(text[-2000:], flush=True)
    return int(done.group(1)) if done else None


def parts(out):
    return sorted(out.glob("*/part-*.parquet"), key=lambda path: path.stat().st_mtime)


def steady_rate(out):
    """Rows per second between the first block that was written and the last."""
    store, files = ParquetStore(out), parts(out)
    (prefix,) = store.towers()
    first, seconds = files[0], files[-1].stat().st_mtime - files[0].stat().st_mtime
    rows = store.count(prefix) - sum(
        len(store.read_group(first, group, {})[0]) for path, group in store.row_groups(prefix) if path == first
    )
    return rows / seconds


def stored(out):
    """{key: features}, and how many rows there are."""
    store, found, count = ParquetStore(out), {}, 0
    (prefix,) = store.towers()
    layout = {"features": store.towers()[prefix]["layout"]["features"]}
    for group in store.row_groups(prefix):
        keys, values = store.read_group(*group, layout)
        found.update(zip(map(bytes, keys), values["features"], strict=True))
        count += len(keys)
    return found, count


def kill(process, victim, out):
    """Kill one at a random moment after the first block; returns whether there was something to kill."""
    while process.poll() is None and not parts(out):
        time.sleep(0.02)
    time.sleep(random.random() * 1.5)
    if process.poll() is not None:
        return False
    below = psutil.Process(process.pid).children(recursive=True)
    named = [child for child in below if any(victim in word for word in child.cmdline()[:1])]
    pids = [process.pid] if victim == "driver" else [child.pid for child in named[:1]]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    if victim != "ray::Worker":  # what a killed driver leaves ends by itself, later
        process.wait()
        psutil.wait_procs(below, timeout=20)
    return bool(pids)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kill-rows", type=int, default=2_000)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    make_tower(folder / "tower")
    films = mm.samples.movies(options.rows, seed=0)
    films["plot"] = [f"{text} {number}" for number, text in enumerate(films["overview"])]
    films.to_parquet(folder / "films.parquet")
    rates = {}
    for on in ("local", "ray") if options.rows else ():
        finish(start(folder / "films.parquet", folder / "tower", folder / on, on, 1000))
        rates[on] = steady_rate(folder / on)
        print(f"{on}: {rates[on]:,.0f} rows/s on {os.cpu_count()} cores", flush=True)
    if rates:
        print(f"two Ray workers against this process: {rates['ray'] / rates['local']:.2f} times as fast", flush=True)
    films.head(options.kill_rows).to_parquet(folder / "few.parquet")
    finish(start(folder / "few.parquet", folder / "tower", folder / "exact", "local", 100))
    exact, _ = stored(folder / "exact")
    for turn in range(options.rounds):
        out, victim = folder / f"round-{turn}", VICTIMS[turn % len(VICTIMS)]
        process = start(folder / "few.parquet", folder / "tower", out, "ray", 100)
        hit = kill(process, victim, out)
        made = finish(process)
        before = stored(out)[1]
        again = 0 if made is not None else finish(start(folder / "few.parquet", folder / "tower", out, "ray", 100))
        found, count = stored(out)
        wrong = sum(not np.allclose(found[key], exact[key], atol=1e-6) for key in found if key in exact)
        print(
            f"round {turn}, {victim} {'killed' if hit else 'was done before'} at {before:,} rows: {len(exact.keys() - found.keys())} lost, "
            f"{count - len(found)} doubled, {wrong} wrong, {again} made by the second call, {before + (again or 0) - len(exact)} of them again",
            flush=True,
        )
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

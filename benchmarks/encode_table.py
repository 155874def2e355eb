"""Encoding of tables: two Ray workers against this process, and rounds in which something is killed with -9.

    python benchmarks/encode_table.py [--rows 20000] [--rounds 4] [--seed S] [--kill-rows 2000] [--tower PRESET]
    python benchmarks/encode_table.py --compare [--rows 20000] [--photos FOLDER [--weights FILE]]

Made-up films, a BERT of two blocks with random weights. Printed are rows per second from the first block that is written to the last,
start-up apart, and their ratio, beside the number of cores; and of the rounds, in which a worker, the raylet or the driver is killed
at a random moment (that of the same --seed is the same) and the call is made again, how many rows were lost, doubled or wrong, and how
many were encoded again. With --compare: how far features are from those that a fit caches.
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
import pandas as pd
import psutil
import ray

import mmkeras as mm
from mmkeras.trunk.parquet import ParquetStore

DRIVER = """
import sys, mmkeras as mm
rows, tower, out, on = sys.argv[1:]
done = mm.encode_table(rows, [mm.Text("plot", encoder=tower, sequence_length=64)], out, on=on, workers=2, rows_per_block={block})
print("DONE", done.encoded, done.failures)
"""
VICTIMS = ("ray::Worker", "raylet", "driver")
BLOCK = 20  # rows, in rounds of kills
LONGEST = 600  # seconds of a call


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
    """A call in a process of its own; it writes to a file, as what a killed one leaves would hold a pipe open."""
    command = [sys.executable, "-c", DRIVER.format(block=block), str(rows), str(tower), str(out), on]
    with open(f"{out}.log", "a", encoding="utf-8") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)


def finish(process, out):
    """How many features a call made; None where it was killed."""
    process.wait(LONGEST)
    text = pathlib.Path(f"{out}.log").read_text(encoding="utf-8")
    done = re.search(r"DONE (\d+) \[\]", text)
    if done is None and process.returncode >= 0:  # it was not killed itself
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
    """{key: features}, and how many rows there are; none where a call ended before it had a store."""
    store, found, count = ParquetStore(out), {}, 0
    if not store.towers():
        return found, count
    (prefix,) = store.towers()
    layout = {"features": store.towers()[prefix]["layout"]["features"]}
    for group in store.row_groups(prefix):
        keys, values = store.read_group(*group, layout)
        found.update(zip((bytes(key).ljust(32, b"\0") for key in keys), values["features"], strict=True))
        count += len(keys)
    return found, count


def kill(process, victim, out, after):
    """Kill one when so many blocks are stored; returns how many were, None where there was nothing to kill."""
    while process.poll() is None and not parts(out):
        time.sleep(0.01)
    if process.poll() is not None:
        return None
    below = psutil.Process(process.pid).children(recursive=True)
    named = [child.pid for child in below if any(victim in word for word in child.cmdline()[:1])]
    pid = process.pid if victim == "driver" else named[0]
    while process.poll() is None and len(parts(out)) < after:
        time.sleep(0.005)
    if process.poll() is not None:
        return None
    os.kill(pid, signal.SIGKILL)
    return len(parts(out))


def compare(df, modality, folder):
    """Print how far features of two workers on a machine of four logical CPUs are from those that a fit caches."""
    from mmkeras.trunk.store import open_store

    df = df.assign(number=np.arange(len(df)) / len(df))
    pipe = mm.Pipeline([modality], mm.Regression("number"), encode_engine="tensorflow")
    pipe.fit(df, epochs=1, batch_size=256, verbose=0, cache_dir=folder / "cache")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    done = mm.encode_table(df, [modality], folder / "features", on="ray", workers=2, rows_per_block=500, verbose=0)
    ray.shutdown()
    there, _ = stored(folder / "features")
    (layout,) = [tower.layout for tower in pipe.trunk.frozen.values()]
    (cached,) = open_store(folder / "cache").read(list(there), layout).values()
    apart = np.abs(cached - np.stack(list(there.values()))).max()
    print(
        f"{modality.name}: {len(df):,} rows, {done.encoded:,} features by two workers, {len(done.failures)} failures, at most {apart:.1e} "
        f"from the cache of a fit, whose largest is {np.abs(cached).max():.2f}; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seed", type=int, help="of the moments")
    parser.add_argument("--kill-rows", type=int, default=2_000)
    parser.add_argument("--tower", help="preset of a tower of texts, in place of the BERT of two blocks, for the rates")
    parser.add_argument("--photos", help="folder of JPEG files, 2,000 of which are encoded")
    parser.add_argument("--weights", default="imagenet", help="of MobileNetV2: a file, or imagenet, which is fetched")
    parser.add_argument("--compare", action="store_true", help="compare with the cache of a fit alone")
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    make_tower(folder / "tower")
    films = mm.samples.movies(max(options.rows, options.kill_rows), seed=0)
    films["plot"] = [f"{text} {number}" for number, text in enumerate(films["overview"])]
    if options.compare:
        if options.rows:
            text = mm.Text("plot", encoder=str(folder / "tower"), sequence_length=64)
            compare(films.head(options.rows)[["plot"]], text, folder / "films")
        paths = sorted(pathlib.Path(options.photos).glob("*.jpg"))[:2000] if options.photos else []
        if paths:
            photo = mm.Image("photo", encoder="MobileNetV2", weights=options.weights, image_size=(96, 96))
            compare(pd.DataFrame({"photo": list(map(str, paths))}), photo, folder / "photos")
    else:
        rates(folder, films.head(options.rows), options.tower)
        kills(folder, films.head(options.kill_rows), options.rounds, random.Random(options.seed))
    shutil.rmtree(folder)


def rates(folder, films, tower):
    """Print rows per second of this process, and of two workers on Ray."""
    films.to_parquet(folder / "films.parquet")
    rates = {}
    for on in ("local", "ray") if len(films) else ():
        began = time.time()
        block = max(100, len(films) // 20)
        finish(start(folder / "films.parquet", tower or folder / "tower", folder / on, on, block), folder / on)
        rates[on], first = steady_rate(folder / on), parts(folder / on)[0].stat().st_mtime - began
        load = os.getloadavg()[0]
        print(
            f"{on}: {rates[on]:,.0f} rows/s on {os.cpu_count()} cores, the first block after {first:.0f} s, load {load:.1f}"
        )
    if rates:
        print(f"two Ray workers against this process: {rates['ray'] / rates['local']:.2f} times as fast", flush=True)


def kills(folder, films, rounds, chance):
    """Print what became of rows in rounds in which something is killed."""
    films.to_parquet(folder / "few.parquet")
    if rounds:
        finish(start(folder / "few.parquet", folder / "tower", folder / "exact", "local", 500), folder / "exact")
        exact, _ = stored(folder / "exact")
    blocks = len(films) // BLOCK
    for turn in range(rounds):
        out, victim, began = folder / f"round-{turn}", VICTIMS[turn % len(VICTIMS)], time.monotonic()
        process = start(folder / "few.parquet", folder / "tower", out, "ray", BLOCK)
        hit = kill(process, victim, out, chance.randrange(1, blocks))
        made = finish(process, out)
        ended, before = time.monotonic() - began, stored(out)[1]
        again = (
            0 if made is not None else finish(start(folder / "few.parquet", folder / "tower", out, "ray", BLOCK), out)
        )
        found, count = stored(out)
        wrong = sum(key not in exact or not np.allclose(found[key], exact[key], atol=1e-6) for key in found)
        print(
            f"round {turn}: {victim} {'was done before' if hit is None else f'killed after {hit} of {blocks} blocks'}, "
            f"{'which the call outlived' if made is not None else f'with {before:,} rows stored, {again:,} made by the second call, {before + again - len(exact)} of them stored before'}: "
            f"{len(exact.keys() - found.keys())} lost, {count - len(found)} doubled, {wrong} wrong ({ended:.0f} s to its end)",
            flush=True,
        )


if __name__ == "__main__":
    main()

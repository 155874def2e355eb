"""What an answer costs beside the served model: one row and many, one thread and several.

    python benchmarks/latency.py [--rounds 50] [--weights FOLDER]

Made-up films, words and numbers. `pipe.predict` on a DataFrame takes turns with the compiled serving model on the raw values of the same rows;
printed are medians of milliseconds and of the rounds' ratios. Threads: each predicts rows one by one; throughput beside one thread's, and
whether all answers are equal to the bit. With --weights, a folder of a text tower such as all-MiniLM-L6-v2: new texts through
`pipe.predict` in TensorFlow, beside the bare tower on the same texts.
"""

import argparse
import concurrent.futures
import statistics
import time

import numpy as np

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.graph import compiled


def paired(ours, theirs, rounds):
    """(median ms of ours, of theirs, median ratio) of calls in turns."""
    times = []
    for number in range(rounds + 3):
        start = time.perf_counter()
        ours(number)
        middle = time.perf_counter()
        theirs(number)
        times.append((middle - start, time.perf_counter() - middle))
    times = times[3:]
    first, second = (1000 * statistics.median(side) for side in zip(*times, strict=True))
    return first, second, statistics.median(a / b for a, b in times)


def words_and_numbers(rounds):
    df = mm.samples.movies(700, seed=0)
    modalities = [
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Tabular(numeric=["budget", "popularity", "runtime"], zero_is_missing=["budget"]),
    ]
    pipe = mm.Pipeline(modalities, mm.MultiLabel("genres"))
    pipe.fit(df.head(600), epochs=2, verbose=0)
    served = compiled(pipe.serving_model)
    for rows in (1, 600):
        part = df.head(rows)
        raw = raw_values(part, pipe.modalities)

        def bare(number, raw=raw):
            return {key: value.numpy() for key, value in served(raw).items()}

        ours, theirs, ratio = paired(lambda number, part=part: pipe.predict(part), bare, rounds)
        print(f"{rows:4} rows: predict {ours:7.2f} ms, served model {theirs:7.2f} ms, ratio {ratio:.2f}", flush=True)
    return pipe, df


def threads(pipe, df, count=8, calls=400):
    single = [df.iloc[[row % len(df)]] for row in range(calls)]
    alone = [pipe.predict(row).to_numpy() for row in single]
    ratios = []
    for _ in range(5):
        start = time.perf_counter()
        for row in single:
            pipe.predict(row)
        middle = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            together = [frame.to_numpy() for frame in pool.map(pipe.predict, single)]
        ratios.append((middle - start) / (time.perf_counter() - middle))
    same = all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    print(
        f"{count} threads: {statistics.median(ratios):.2f} times the throughput of one; answers equal to the bit: {same}",
        flush=True,
    )


def frozen_tower(folder, rounds):
    df = mm.samples.movies(300, seed=1)
    text = mm.Text("overview", encoder=folder, pooling="mean", sequence_length=64)
    pipe = mm.Pipeline([text], mm.MultiLabel("genres"), encode_engine="tensorflow")
    pipe.fit(df.head(100), epochs=1, verbose=0)
    tower = compiled(pipe.encode, compiled(pipe.prepare))
    new = [
        df.iloc[[100 + number]].assign(overview=f"{number} {df.overview.iloc[100 + number]}")
        for number in range(rounds + 3)
    ]
    raw = [raw_values(row, pipe.modalities) for row in new]
    ours, theirs, ratio = paired(lambda n: pipe.predict(new[n]), lambda n: tower(raw[n])["text"].numpy(), rounds)
    print(
        f"one new text, frozen tower: predict {ours:.2f} ms, bare tower {theirs:.2f} ms, ratio {ratio:.2f}", flush=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--weights", help="folder of a text tower in KerasHub's or Hugging Face's format")
    options = parser.parse_args()
    threads(*words_and_numbers(options.rounds))
    if options.weights:
        frozen_tower(options.weights, options.rounds)


if __name__ == "__main__":
    main()

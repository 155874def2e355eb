"""An index of a million vectors: exact search against the bare product of matrices, and approximate against exact search.

    python benchmarks/index.py DATA_FOLDER [--vectors 1000000] [--rounds 9] [--cache FOLDER]

DATA_FOLDER holds data/flickr8k and weights/all-MiniLM-L6-v2. Vectors are made from real ones: MiniLM's features of the first 30,000
different captions, brought to 256 numbers by a random orthonormal map, repeated with Gaussian noise of half their length, and brought to
length 1. Queries are made the same way with other noise. Sides take turns; printed are medians of the rounds' ratios, and how far the
process grew, sampled every 10 ms, beyond what earlier work left it. Absolute times depend on what else runs.
"""

import argparse
import pathlib
import statistics
import tempfile
import threading
import time

import numpy as np
import pandas as pd

import mmkeras as mm
from mmkeras.inference.index import Index, load_index
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.trunk import Trunk

DISTINCT, WIDTH, NOISE, QUERIES, K = 30_000, 256, 0.5, 500, 10


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cache", help="where features of captions are kept")
    options = parser.parse_args()
    real = captions(options.folder, options.cache)
    vectors, queries = noisy(real, options.vectors, seed=1), noisy(real, QUERIES, seed=2)
    print(f"{options.vectors:,} vectors of {WIDTH}: {vectors.nbytes / 2**20:,.0f} MiB")
    with Grown() as grown:
        exact = Index(vectors)
    print(f"an exact index of them: {grown.mib:+,.0f} MiB")
    with Grown() as grown:  # the first searches: what they take, the process keeps
        for count in (1, 100, QUERIES):
            exact.search(queries[:count], K)
            print(f"  searches of up to {count} queries: {grown.mib:+,.0f} MiB")
    compare_exact(exact, vectors, queries, options.rounds)
    start = time.perf_counter()
    with Grown() as grown:
        index = Index(vectors, exact=False)
    print(f"approximate: made in {time.perf_counter() - start:.0f} s, {grown.mib:+,.0f} MiB")
    print(f"  recall@{K} of {QUERIES} queries: {index.recall(queries, K):.4f}")
    compare_approximate(index, exact, queries, options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index.save(folder)
        saved = time.perf_counter()
        same = (load_index(folder).search(queries, K)[0] == index.search(queries, K)[0]).all()
        print(
            f"  saved in {saved - start:.1f} s, loaded in {time.perf_counter() - saved:.1f} s; finds the same: {same}"
        )


# === Vectors ===


def captions(folder, cache):
    """(30,000, 256) real vectors of length 1."""
    parts = [pd.read_csv(folder / f"data/flickr8k/captions_{part}.csv") for part in ("train", "dev")]
    df = pd.concat(parts).drop_duplicates("caption").head(DISTINCT).reset_index(drop=True)
    text = mm.Text("caption", encoder=folder / "weights/all-MiniLM-L6-v2", sequence_length=40)
    features = Trunk([text.adapt(df)], cache=CacheFolder(cache)).features(df, verbose=1)["text"]
    square = np.random.default_rng(0).normal(size=(features.shape[1], features.shape[1]))
    return unit(unit(features) @ np.linalg.qr(square)[0][:, :WIDTH].astype("float32"))


def noisy(real, count, seed):
    """(count, 256) real vectors, each several times, with noise."""
    rng, vectors = np.random.default_rng(seed), np.empty((count, WIDTH), "float32")
    for start in range(0, count, len(real)):
        some = real[: count - start]
        vectors[start : start + len(some)] = unit(
            some + NOISE / WIDTH**0.5 * rng.standard_normal(some.shape, "float32")
        )
    return vectors


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# === Speed ===


def compare_exact(index, vectors, queries, rounds):
    """Print how many times longer than the product a search takes."""
    for count in (1, 100):
        some = queries[:count]
        ratio, seconds = ratios(lambda some=some: some @ vectors.T, lambda some=some: index.search(some, K), rounds)
        print(f"exact top {K} of {count}: {seconds * 1e3:.0f} ms, {ratio:.2f} times the bare product")


def compare_approximate(index, exact, queries, rounds):
    """Print how many times quicker than an exact search one in cells is."""
    for count in (1, 100):
        some = queries[:count]

        def quick(some=some, count=count):
            for row in range(20 if count == 1 else 1):  # of different queries, as they lie in different cells
                index.search(queries[row : row + 1] if count == 1 else some, K)

        ratio, seconds = ratios(quick, lambda some=some: exact.search(some, K), rounds)
        each = 20 if count == 1 else 1
        print(f"  top {K} of {count}: {ratio * each:.0f} times as fast as exact, which takes {seconds * 1e3:.0f} ms")


def ratios(first, second, rounds):
    """(median of how many times longer the second takes, median seconds of the second)."""
    times = [(taken(first), taken(second)) for _ in range(rounds + 1)][1:]
    return statistics.median(b / a for a, b in times), statistics.median(b for _, b in times)


def taken(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Grown:
    """How much memory a process took at most, beyond what it had when the block began, as `mib`."""

    def __enter__(self):
        self._before, self.mib, self._done = held(), 0.0, threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._done.set()
        self._thread.join()

    def _sample(self):
        while not self._done.wait(0.01):
            self.mib = max(self.mib, held() - self._before)


def held():
    """MiB of this process."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()

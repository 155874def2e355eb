"""What reading cells costs: a column's raw values, beside what plain pandas takes for the same conversion.

    python benchmarks/reading.py [--rows 1000000] [--rounds 5]

Both sides take turns on the same made-up column, already adapted; printed are the medians of their seconds and of their ratios.
"""

import argparse
import statistics
import time
import warnings

import numpy as np
import pandas as pd

from mmkeras.data.columns import CategoryColumn, DateColumn, NumberColumn, TextColumn

rng = np.random.default_rng(0)


def columns(rows):
    """{what: (Column, cells, what plain pandas does)} of made-up columns."""
    seconds = rng.integers(0, 10**9, rows)
    moments = pd.Series(pd.to_datetime(seconds, unit="s"))
    days = pd.Series(pd.to_datetime(rng.integers(0, 9000, rows), unit="D"))
    gaps = pd.Series(np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)))
    names = pd.Series(rng.choice([f"name {i}" for i in range(500)], rows))
    return {
        "numbers, float64 with gaps": (NumberColumn(), gaps, lambda s: s.astype("float32").to_numpy()),
        "numbers, Int64": (NumberColumn(), pd.Series(seconds).astype("Int64"), lambda s: s.to_numpy("float32", na_value=np.nan)),
        "numbers as text": (NumberColumn(), pd.Series(seconds.astype(str)), lambda s: pd.to_numeric(s, errors="coerce").to_numpy("float32")),
        "categories as text": (CategoryColumn(), names, lambda s: s.astype("category").astype(str).to_numpy(dtype=object)),
        "categories, int64": (CategoryColumn(), pd.Series(seconds % 700), lambda s: s.astype("category").astype(str).to_numpy(dtype=object)),
        "texts": (TextColumn(), names, lambda s: s.fillna("").astype(str).to_numpy(dtype=object)),
        "dates, datetime64": (DateColumn(), moments, lambda s: s.dt.strftime("%Y-%m-%dT%H:%M:%S").to_numpy(dtype=object)),
        "dates as text, ISO, all different": (DateColumn(), moments.dt.strftime("%Y-%m-%d %H:%M:%S"), pd.to_datetime),
        "dates as text, day first, all different": (
            DateColumn(), moments.dt.strftime("%d/%m/%Y %H:%M:%S"), lambda s: pd.to_datetime(s, dayfirst=True),
        ),
        "dates as text, 9,000 days": (DateColumn(), days.dt.strftime("%Y-%m-%d"), pd.to_datetime),
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"{options.rows:,} cells; medians of {options.rounds} rounds\n")
    print(f"{'':42}{'ours':>8}{'pandas':>9}{'ratio':>8}")
    for what, (column, cells, plain) in columns(options.rows).items():
        column = column.adapt(cells)
        column.values(cells)  # traces graphs
        times = []
        for _ in range(options.rounds):
            start = time.perf_counter()
            column.values(cells)
            middle = time.perf_counter()
            plain(cells)
            times.append((middle - start, time.perf_counter() - middle))
        ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
        ratio = statistics.median(a / b for a, b in times)
        print(f"{what:42}{ours:7.2f}s{theirs:8.2f}s{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()

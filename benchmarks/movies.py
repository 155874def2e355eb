"""Film genres from text and numbers on real data: the figures of the README.

    python benchmarks/movies.py DATA_FOLDER [--seed 0] [--fine-tune] [--top 2] [--cache FOLDER]

DATA_FOLDER holds data/movies/movies.csv (tidy) and weights/all-MiniLM-L6-v2. Labels are the genres with at least 50
films; 20% of the rows, chosen by the seed, are judged and never seen before.
"""

import argparse
import pathlib
import time

START = time.perf_counter()

import mmkeras as mm  # noqa: E402


def modalities(weights, trainable=False):
    return [
        mm.Text("overview", encoder=weights, pooling="mean", layers=3, trainable=trainable),
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Tabular(numeric=["budget", "popularity", "revenue", "runtime"], zero_is_missing=["budget", "revenue"]),
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", help="folder of the feature cache; without it the cache is cold")
    parser.add_argument("--fine-tune", action="store_true", help="a second phase that trains the whole tower")
    parser.add_argument("--top", type=int, help="with --fine-tune: only so many of the tower's top blocks")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--fine-tune-epochs", type=int, default=4)
    parser.add_argument("--fine-tune-learning-rate", type=float, default=1e-4)
    parser.add_argument("--html")
    options = parser.parse_args()

    df = mm.sources.movies(options.folder / "data/movies/movies.csv")
    counts = df["genres"].str.get_dummies("|").sum()
    task = mm.MultiLabel("genres", classes=list(counts.index[counts >= 50]))
    train, test = mm.split_frame(df, 0.2, seed=options.seed)
    weights = options.folder / "weights/all-MiniLM-L6-v2"
    pipe = mm.Pipeline(
        modalities(weights, trainable=options.fine_tune and (options.top or True)), task, fusion="hybrid"
    )
    pipe.fit(
        train,
        epochs=options.epochs,
        batch_size=32 if options.fine_tune else 128,
        learning_rate=1e-3 if options.fine_tune else 3e-3,
        seed=options.seed,
        verbose=2,
        cache_dir=options.cache,
        fine_tune_epochs=options.fine_tune_epochs if options.fine_tune else 0,
        fine_tune_learning_rate=options.fine_tune_learning_rate,
    )
    fitted = time.perf_counter()
    report = pipe.evaluate(test)
    print(report)
    if options.html:
        report.to_html(options.html)
    end = time.perf_counter()
    print(f"start to fitted {fitted - START:.0f} s, report {end - fitted:.0f} s, in all {end - START:.0f} s")


if __name__ == "__main__":
    main()

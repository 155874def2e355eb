"""Film genres from text and numbers on real data: the figures of the README.

    python benchmarks/movies.py DATA_FOLDER [--seed 0] [--fine-tune] [--top 2] [--cache FOLDER]
    python benchmarks/movies.py DATA_FOLDER [--seed 0] --minutes 20 [--main-genre]

DATA_FOLDER holds data/movies/movies.csv (tidy) and weights/all-MiniLM-L6-v2. Labels are the genres with at least 50
films; 20% of the rows, chosen by the seed, are judged and never seen before. --minutes lets `mm.fit` find an ensemble within that time;
--main-genre tells the genre that stands first instead (15 classes with at least 50 films), with settings of `fit`'s own where --minutes is left out.
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
    parser.add_argument("--minutes", type=float, help="an ensemble by `mm.fit`, within this time")
    parser.add_argument("--main-genre", action="store_true", help="the genre that stands first, one of several classes")
    parser.add_argument("--html")
    options = parser.parse_args()

    df = mm.sources.movies(options.folder / "data/movies/movies.csv")
    df, task = main_genres(df) if options.main_genre else (df, genres(df))
    train, test = mm.split_frame(df, 0.2, seed=options.seed)
    weights = options.folder / "weights/all-MiniLM-L6-v2"
    pipe = fitted(train, task, weights, options)
    seconds = time.perf_counter()
    report = pipe.evaluate(test)
    print(report)
    if options.html:
        report.to_html(options.html)
    end = time.perf_counter()
    print(f"start to fitted {seconds - START:.0f} s, report {end - seconds:.0f} s, in all {end - START:.0f} s")


def genres(df):
    counts = df["genres"].str.get_dummies("|").sum()
    return mm.MultiLabel("genres", classes=list(counts.index[counts >= 50]))


def main_genres(df):
    """(rows whose first genre stands first of at least 50 films, with a column "main", its task)."""
    main = df["genres"].str.split("|").str[0]
    df = df.assign(main=main)[main.map(main.value_counts()) >= 50].reset_index(drop=True)
    return df, mm.MultiClass("main")


def fitted(train, task, weights, options):
    """A Pipeline that has learnt from the rows."""
    settings = {"seed": options.seed, "cache_dir": options.cache}
    if options.minutes:
        objective = "accuracy" if options.main_genre else None
        settings = {**settings, "modalities": modalities(weights), "task": task, "objective": objective}
        return mm.fit(train, task.column, options.minutes, **settings)
    if options.main_genre:
        pipe = mm.Pipeline(modalities(weights), task)
        pipe.fit(train, verbose=2, **settings)
        return pipe
    pipe = mm.Pipeline(
        modalities(weights, trainable=options.fine_tune and (options.top or True)), task, fusion="hybrid"
    )
    pipe.fit(
        train,
        epochs=options.epochs,
        batch_size=32 if options.fine_tune else 128,
        learning_rate=1e-3 if options.fine_tune else 3e-3,
        verbose=2,
        **settings,
        fine_tune_epochs=options.fine_tune_epochs if options.fine_tune else 0,
        fine_tune_learning_rate=options.fine_tune_learning_rate,
    )
    return pipe


if __name__ == "__main__":
    main()

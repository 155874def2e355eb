"""Film genres from text and numbers on real data: the figures of the README.

    python benchmarks/movies.py DATA_FOLDER [--seed 0] [--fine-tune] [--top 2] [--cache FOLDER]
    python benchmarks/movies.py DATA_FOLDER [--seed 0] --minutes 20 [--main-genre] [--tuned 2]
    python benchmarks/movies.py DATA_FOLDER [--seed 0] --fine-tune --lora [8] [--inner] [--rows 1500]

DATA_FOLDER holds data/movies/movies.csv (tidy) and weights/all-MiniLM-L6-v2. Labels are the genres with at least 50
films; 20% of the rows, chosen by the seed, are judged and never seen before. --minutes lets `mm.fit` find an ensemble within that time;
--main-genre tells the genre that stands first instead (15 classes with at least 50 films), with settings of `fit`'s own where --minutes is left out.
--tuned adds to what --minutes finds so many Pipelines whose tower was trained whole, which count as much together.
--all-columns lets `mm.fit` read titles, dates and votes as well, as it suggests itself.
--lora compares LoRA with what --fine-tune asks for, where it does: mAP, seconds from a cold cache to fitted, weights trained, and the adapters' file.
--inner judges a fifth of the training rows instead, by which settings were chosen; --rows takes so many films.
"""

import argparse
import math
import pathlib
import tempfile
import time

START = time.perf_counter()

import numpy as np  # noqa: E402

import mmkeras as mm  # noqa: E402

NUMBERS = ["budget", "popularity", "revenue", "runtime"]
MORE = ["title", "release_date", "vote_average", "vote_count"]  # what --all-columns reads beside overviews and numbers
FIRST = {"batch_size": 32, "learning_rate": 1e-3}  # of the phase before towers train, too
LORA = {"blocks": 3, "epochs": 4}  # by inner rows, as the rates that `fit` chooses where they are left out


def modalities(weights, suffix="", **tower):
    return [
        mm.Text("overview", encoder=weights, pooling="mean", layers=3, name=f"text{suffix}", **tower),
        mm.Text("overview", encoder="lexical", name=f"words{suffix}"),
        mm.Tabular(numeric=NUMBERS, zero_is_missing=["budget", "revenue"], name=f"tabular{suffix}"),
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
    parser.add_argument(
        "--lora", type=int, nargs="?", const=8, metavar="RANK", help="a second phase that trains adapters"
    )
    parser.add_argument(
        "--lora-blocks", type=int, default=LORA["blocks"], help="how many top blocks --lora adapts, 0 for all"
    )
    parser.add_argument("--lora-epochs", type=int, default=LORA["epochs"])
    parser.add_argument("--lora-learning-rate", type=float)
    parser.add_argument("--lora-tower-rate", type=float)
    parser.add_argument(
        "--inner", action="store_true", help="judge a fifth of the training rows, for choosing settings"
    )
    parser.add_argument("--rows", type=int, help="only so many films, drawn by the seed")
    parser.add_argument("--minutes", type=float, help="an ensemble by `mm.fit`, within this time")
    parser.add_argument("--tuned", type=int, help="with --minutes: so many members whose tower is trained, too")
    parser.add_argument("--main-genre", action="store_true", help="the genre that stands first, one of several classes")
    parser.add_argument(
        "--all-columns", action="store_true", help="with --minutes: titles, dates and votes are read, too"
    )
    parser.add_argument("--html")
    options = parser.parse_args()
    if (options.tuned or options.all_columns) and not options.minutes:
        parser.error("--tuned and --all-columns go with --minutes: they add to what is found in them")

    df = mm.sources.movies(options.folder / "data/movies/movies.csv")
    df, task = main_genres(df) if options.main_genre else (df, genres(df))
    df = df.sample(options.rows, random_state=options.seed) if options.rows else df
    train, test = mm.split_frame(df, 0.2, seed=options.seed)
    if options.inner:
        train, test = mm.split_frame(train, 0.2, seed=options.seed)
    weights = options.folder / "weights/all-MiniLM-L6-v2"
    if options.lora:
        compare(train, test, task, weights, options)
        return
    pipe, members = (
        with_tuned(train, task, weights, options) if options.tuned else (fitted(train, task, weights, options), [])
    )
    seconds = time.perf_counter()
    for number, member in enumerate(members):
        print(f"member {number} alone: {score(member, test):.4f}", flush=True)
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
        if options.all_columns:
            train, settings["text_encoder"] = train[["overview", *NUMBERS, *MORE, task.column]], weights
        else:
            settings["modalities"] = modalities(weights)
        return mm.fit(train, task.column, options.minutes, task=task, objective=objective, **settings)
    if options.main_genre:
        pipe = mm.Pipeline(modalities(weights), task)
        pipe.fit(train, verbose=2, **settings)
        return pipe
    tower = {"trainable": options.fine_tune and (options.top or True)}
    pipe = mm.Pipeline(modalities(weights, **tower), task, fusion="hybrid")
    phase = {"fine_tune_learning_rate": options.fine_tune_learning_rate}
    if options.fine_tune:
        phase.update(fine_tune_epochs=options.fine_tune_epochs, **FIRST)
    pipe.fit(
        train, **{"epochs": options.epochs, "batch_size": 128, "learning_rate": 3e-3, "verbose": 2, **phase, **settings}
    )
    return pipe


def with_tuned(train, task, weights, options):
    """(Ensemble, its members): what `mm.fit` finds, and Pipelines whose tower is trained whole, each of which leaves out other rows, by its seed."""
    members = [fitted(train, task, weights, options)]
    for number in range(options.tuned):
        pipe = mm.Pipeline(modalities(weights, f"_{number}", trainable=True), task, fusion="hybrid")
        pipe.fit(
            train, epochs=4, fine_tune_epochs=options.fine_tune_epochs, fine_tune_learning_rate=options.fine_tune_learning_rate,
            seed=options.seed + number, cache_dir=options.cache, verbose=2, **FIRST,
        )  # fmt: skip
        members.append(pipe)
    return mm.Ensemble(members, weights=[options.tuned, *[1] * options.tuned]), members


def compare(train, test, task, weights, options):
    """Tell of full fine-tuning, where it is asked for, and of LoRA what each costs and reaches on the same rows."""
    ways = {}
    if options.fine_tune:
        whole = {
            "fine_tune_epochs": options.fine_tune_epochs,
            "fine_tune_learning_rate": options.fine_tune_learning_rate,
        }
        ways["full"] = {"trainable": options.top or True}, whole
    adapters = {"trainable": "lora", "lora_rank": options.lora, "lora_blocks": options.lora_blocks or None}
    rates = {"fine_tune_learning_rate": options.lora_learning_rate, "tower_rate": options.lora_tower_rate}
    rates = {name: rate for name, rate in rates.items() if rate is not None}
    ways["LoRA"] = adapters, {"fine_tune_epochs": options.lora_epochs, **rates}
    for name, (tower, settings) in ways.items():
        pipe = mm.Pipeline(modalities(weights, **tower), task, fusion="hybrid")
        start, used = time.perf_counter(), time.process_time()
        pipe.fit(
            train,
            epochs=options.epochs,
            verbose=0,
            seed=options.seed,
            **settings,
            **FIRST,
        )
        seconds, used = time.perf_counter() - start, time.process_time() - used
        trained, every = tower_weights(pipe)
        print(
            f"seed {options.seed} {name:5} mAP {score(pipe, test):.4f}, {seconds:.0f} s ({used:.0f} s of all cores), {trained:,} of {every:,} weights "
            f"({trained / every:.2%}), adapters {adapter_megabytes(pipe):.2f} MB; {tower}, {settings}",
            flush=True,
        )


def score(pipe, df):
    """Mean average precision of the labels of some rows, or the accuracy of their classes."""
    fitted = pipe.check_fitted()
    df, _ = fitted.task.judged(df)
    scores = fitted.task.score(fitted.task.target(df), fitted.predict(df))(np.ones((1, len(df))))
    return float(scores["map" if "map" in scores else "accuracy"][0])


def tower_weights(pipe):
    """(weights of the text's tower that trained, all that it came with)."""
    towers = [layer for layer in pipe.encode.layers if layer.name.startswith("text_tower")]
    trained = sum(math.prod(weight.shape) for tower in towers for weight in tower.trainable_weights)
    return trained, sum(math.prod(w.shape) for tower in towers for w in tower.weights if not w.name.startswith("lora"))


def adapter_megabytes(pipe):
    """The size of the file of adapters in a saved Pipeline."""
    with tempfile.TemporaryDirectory() as folder:
        pipe.save(folder)
        return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("adapters.h5")) / 1e6


if __name__ == "__main__":
    main()

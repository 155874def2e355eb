"""Entailment between posts from their texts alone, on the real tweets: the ablation table by cross-validation.

    python benchmarks/tweets.py DATA_FOLDER [--folds 5] [--cache FOLDER] [--html FILE]
    python benchmarks/tweets.py DATA_FOLDER --minutes 2 [--cache FOLDER]
    python benchmarks/tweets.py DATA_FOLDER --curve [--cache FOLDER]

DATA_FOLDER holds data/entailment/tweets.csv (1,260 pairs) and weights/all-MiniLM-L6-v2. The images cannot be had here. The two
texts go through MiniLM one by one, and a product of their features, beside the words, tells whether they agree. With --minutes, `mm.fit` learns
from each fold's other rows within that time; all judged rows together, and the fold's own, are scored. With --curve, class-weighted Pipelines learn from a quarter, a half, three quarters and
all of these rows: what more rows would be worth.
"""

import argparse
import pathlib

import pandas as pd
from sklearn.model_selection import StratifiedKFold

import mmkeras as mm
from mmkeras.evaluation import metrics


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fusion", default="bilinear")
    parser.add_argument("--minutes", type=float, help="an ensemble by `mm.fit` in each fold, within this time")
    parser.add_argument("--curve", action="store_true", help="a learning curve")
    parser.add_argument("--cache")
    parser.add_argument("--html")
    options = parser.parse_args()
    df = mm.sources.entailment(options.folder / "data/entailment/tweets.csv")
    texts, weights = ["text_1", "text_2"], options.folder / "weights/all-MiniLM-L6-v2"
    modalities = [
        mm.Text("text_1", encoder=weights, pooling="mean", name="first"),
        mm.Text("text_2", encoder=weights, pooling="mean", name="second"),
        mm.Text(texts, encoder="lexical", name="words"),
    ]
    if options.minutes or options.curve:
        (learning_curve if options.curve else ensembles)(modalities, df, options)
        return
    found = mm.ablate(
        modalities,
        mm.MultiClass("label"),
        df,
        folds=options.folds,
        fusion=options.fusion,
        epochs=8,
        seed=options.seed,
        cache_dir=options.cache,
    )
    print(found)
    if options.html:
        print(f"Wrote {found.to_html(options.html)}.")


def learning_curve(modalities, df, options):
    """Print what class-weighted Pipelines score that learn from shares of the rows, on the same judged rows."""
    folds = list(StratifiedKFold(options.folds, shuffle=True, random_state=options.seed).split(df, df["label"]))
    task = mm.MultiClass("label").adapt(df)
    for share in (0.25, 0.5, 0.75, 1.0):
        said = []
        for learnt, judged in folds:
            rows = df.iloc[learnt]
            part = rows if share == 1 else rows.groupby("label").sample(frac=share, random_state=options.seed)
            pipe = mm.Pipeline(modalities, mm.MultiClass("label"), options.fusion)
            settings = {"class_weight": "balanced", "seed": options.seed, "cache_dir": options.cache, "verbose": 0}
            pipe.fit(part, False, epochs=round(8 / share), **settings)  # as many steps
            said.append(pipe.predict(df.iloc[judged]))
        count, rare = len(folds[0][0]) * share, (df["label"] == "Implies").sum() * (1 - 1 / options.folds) * share
        print(
            f"{count:.0f} rows, {rare:.0f} of each rare class: {told(task, df, pd.concat(said).loc[df.index])}",
            flush=True,
        )


def ensembles(modalities, df, options):
    """Print what `mm.fit` scores on folds that it did not see."""
    folds = StratifiedKFold(options.folds, shuffle=True, random_state=options.seed)
    task, said = mm.MultiClass("label").adapt(df), []
    for number, (learnt, judged) in enumerate(folds.split(df, df["label"])):
        settings = {"modalities": modalities, "task": mm.MultiClass("label"), "cache_dir": options.cache, "verbose": 0}
        pipe = mm.fit(df.iloc[learnt], "label", options.minutes, seed=options.seed, **settings)
        said.append(pipe.predict(df.iloc[judged]))
        print(f"fold {number}: {told(task, df.iloc[judged], said[-1])}", flush=True)
        print("\n".join(f"  {note}" for note in pipe.notes if note.startswith(("An ensemble", "Member"))), flush=True)
    print(f"together: {told(task, df, pd.concat(said).loc[df.index])}")


def told(task, df, probabilities):
    """Macro-F1 and accuracy of rows, with 95% bootstrap intervals."""
    point, drawn = metrics.bootstrap(task.score(task.target(df), probabilities.to_numpy("float32")), len(df))
    bounds = {name: metrics.interval(drawn[name]) for name in ("macro_f1", "accuracy")}
    return ", ".join(f"{name} {point[name]:.3f} [{low:.3f}, {high:.3f}]" for name, (low, high) in bounds.items())


if __name__ == "__main__":
    main()

"""Public tables with texts on published folds: R² of mmkeras beside that of published models, fold by fold.

    python benchmarks/tables.py DATA_FOLDER [--sets babies videogames vancouver] [--folds 0 1 2 3 4] [--minutes 10] [--plain]

DATA_FOLDER holds data/tables (NAME.csv, NAME_folds.csv and published.csv) and
weights/all-MiniLM-L6-v2. Each fold learns from its own training rows alone, by `mm.fit` with so many minutes; --plain fits what
`mm.suggest` suggests by plain defaults instead. R² is that of the target as it is. Features of the frozen tower are made anew
unless --cache names a folder; those minutes count.
"""

import argparse
import pathlib
import time
import warnings

import numpy as np
import pandas as pd

import mmkeras as mm
from mmkeras.inspection.comparison import Comparison

SETS = ("babies", "videogames", "vancouver")
BESIDE = (
    "AGMM",
    "CatBoost, frozen E5",
    "TabM, frozen E5",
    "TabPFN-3, frozen E5",
    "TabICLv2, frozen E5",
    "TabFM, frozen E5",
)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--folds", nargs="+", type=int, default=range(5))
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument(
        "--plain", action="store_true", help="a Pipeline of what mm.suggest suggests, with its defaults"
    )
    parser.add_argument("--words", action="store_true", help="without the pretrained tower")
    parser.add_argument("--cache", help="folder of the feature cache")
    parser.add_argument("--predictions", type=pathlib.Path, help="folder to write predictions to")
    parser.add_argument("--verbose", type=int, default=0)
    options = parser.parse_args()
    tables = options.folder / "data/tables"
    published = pd.read_csv(tables / "published.csv")
    for name in options.sets:
        df, parts = pd.read_csv(tables / f"{name}.csv"), pd.read_csv(tables / f"{name}_folds.csv")
        scores, sizes = {}, []
        for fold in options.folds:
            of_fold = parts[parts["fold"] == fold]
            train, test = (df.iloc[of_fold.loc[of_fold["part"] == part, "row"]] for part in ("train", "test"))
            sizes.append((range(len(train)), range(len(test))))
            scores[fold] = score(name, fold, train.reset_index(drop=True), test.reset_index(drop=True), options)
        rows = published[(published["dataset"] == name) & published["model"].isin(BESIDE)]
        report(name, scores, rows.pivot_table(index="model", columns="fold", values="score"), sizes)


def score(name, fold, train, test, options):
    """R² of a fold."""
    target, start = train.columns[-1], time.perf_counter()
    tower = None if options.words else options.folder / "weights/all-MiniLM-L6-v2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if options.plain:
            suggestion = mm.suggest(train, target)
            beside = (
                []
                if tower is None
                else [m for modality in suggestion.modalities for m in modality.beside(tower, train)]
            )
            pipe = mm.Pipeline([*suggestion.modalities, *beside], suggestion.task)
            pipe.fit(train, cache_dir=options.cache, verbose=options.verbose)
        else:
            settings = {"text_encoder": tower, "cache_dir": options.cache, "verbose": options.verbose}
            pipe = mm.fit(train, target, options.minutes, **settings)
        seconds = time.perf_counter() - start
        said = pipe.predict(test)[target]
    truth = test[target]
    r2 = 1 - ((truth - said) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    slope = np.polyfit(said, truth, 1)[0]
    print(f"{name}, fold {fold}: R² {r2:.4f} in {seconds:.0f} s (slope of truth on prediction {slope:.2f})", flush=True)
    if options.verbose:
        print("\n".join(pipe.notes), flush=True)
    if options.predictions:
        options.predictions.mkdir(parents=True, exist_ok=True)
        said.to_csv(options.predictions / f"{name}_{fold}.csv", index=False)
    return float(r2)


def report(name, scores, published, sizes):
    """Print the folds' scores beside published ones, and how far apart they are."""
    ours = pd.Series(scores)
    table = pd.concat([ours.to_frame("mmkeras").T, published[list(scores)]])
    table["mean"] = table.mean(axis=1)
    print(f"\n{name}, R² by fold\n{table.sort_values('mean', ascending=False).round(3).to_string()}")
    for model, line in published[list(scores)].iterrows() if len(scores) > 1 else ():
        print(f"less {model}: {Comparison.of('r2', (ours - line).to_numpy(), sizes)}")
    print(flush=True)


if __name__ == "__main__":
    main()

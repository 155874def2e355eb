"""Entailment between posts from their texts alone, on the real tweets: the ablation table by cross-validation.

    python benchmarks/tweets.py DATA_FOLDER [--folds 5] [--cache FOLDER] [--html FILE]

DATA_FOLDER holds data/entailment/tweets.csv (1,260 pairs) and weights/all-MiniLM-L6-v2. The images cannot be had here. The two
texts go through MiniLM one by one, and a product of their features, beside the words, tells whether they agree.
"""

import argparse
import pathlib

import mmkeras as mm


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fusion", default="bilinear")
    parser.add_argument("--cache")
    parser.add_argument("--html")
    options = parser.parse_args()
    df = mm.sources.entailment(options.folder / "data/entailment/tweets.csv")
    texts, weights = ["text_1", "text_2"], options.folder / "weights/all-MiniLM-L6-v2"
    found = mm.ablate(
        [
            mm.Text("text_1", encoder=weights, pooling="mean", name="first"),
            mm.Text("text_2", encoder=weights, pooling="mean", name="second"),
            mm.Text(texts, encoder="lexical", name="words"),
        ],
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


if __name__ == "__main__":
    main()

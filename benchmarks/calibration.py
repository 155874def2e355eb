"""Whether probabilities mean what they say, and sets hold the truth as often as they should: films and tweets, five splits.

    python benchmarks/calibration.py DATA_FOLDER [--seeds 5] [--cache FOLDER]

DATA_FOLDER holds data/movies/movies.csv, data/entailment/tweets.csv and weights/all-MiniLM-L6-v2. Of each split a fifth of the rows is judged; a fifth of the others
teaches sets alone; the rest trains, a tenth of it as validation rows, which calibrate. How strongly calibration is drawn to none was chosen on training rows.
"""

import argparse
import pathlib

import numpy as np
from movies import fitted, genres, main_genres

import mmkeras as mm
from mmkeras.evaluation.calibration import BINS, uncalibrated

PLAIN = {"fine_tune": False, "top": None, "minutes": None, "epochs": 8, "fine_tune_learning_rate": 1e-4}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache")
    options = parser.parse_args()
    films = mm.sources.movies(options.folder / "data/movies/movies.csv")
    tweets = mm.sources.entailment(options.folder / "data/entailment/tweets.csv")
    main_rows, main_task = main_genres(films)
    kinds = {"genres": (films, genres(films)), "main genre": (main_rows, main_task), "tweets": (tweets, None)}
    for kind, (df, task) in kinds.items():
        splits = [judged(df, task, seed, options) for seed in range(options.seeds)]
        for seed, (section, sets, learnt, _) in enumerate(splits):
            before = section.get("value_before", section["value"])["log_loss"]
            told = "kept" if learnt else "none"
            print(
                f"{kind}, split {seed}: log-loss {before:.4f} to {section['value']['log_loss']:.4f} ({told}), ECE {section['value']['ece']:.3f} "
                f"(if true {section['if_true']['ece']:.3f}), 90% sets: {sets['value']['coverage']:.3f} of size {sets['value']['size']:.2f}",
                flush=True,
            )
        changes = [s["value"]["log_loss"] - s.get("value_before", s["value"])["log_loss"] for s, *_ in splits]
        coverage = np.mean([sets["value"]["coverage"] for _, sets, *_ in splits])
        print(
            f"{kind}: change {np.mean(changes):+.4f} in the mean, {max(changes):+.4f} at worst; coverage {coverage:.3f}"
        )
        print(f"{kind}: {pooled([each for *_, each in splits])}", flush=True)


def judged(df, task, seed, options):
    """(calibration and sets tables, what was learnt, (probabilities, truth, before) of what is told) of a split."""
    train, test = mm.split_frame(df, 0.2, seed=seed)
    train, held = mm.split_frame(train, 0.2, seed=seed)
    weights = options.folder / "weights/all-MiniLM-L6-v2"
    settings = argparse.Namespace(seed=seed, cache=options.cache, main_genre=isinstance(task, mm.MultiClass), **PLAIN)
    pipe = tweet_model(train, weights, settings) if task is None else fitted(train, task, weights, settings)
    pipe.conformalize(held, 0.9)
    report, learnt = pipe.evaluate(test, verbose=0), pipe.task.state["calibration"]
    known = pipe.check_fitted()
    rows, _ = known.task.judged(test)
    truth, said = known.task.truth(known.task.target(rows)), known.predict(rows)
    before = uncalibrated(known.task.logit_scale, learnt, said)
    return report.table("calibration"), report.table("sets"), learnt, (told(said, truth), told(before, truth))


def tweet_model(train, weights, settings):
    names = {"text_1": "first", "text_2": "second"}
    modalities = [mm.Text(c, encoder=weights, pooling="mean", name=name) for c, name in names.items()]
    modalities.append(mm.Text(list(names), encoder="lexical", name="words"))
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"), "bilinear")
    pipe.fit(train, epochs=8, seed=settings.seed, cache_dir=settings.cache, verbose=0)
    return pipe


def told(said, truth):
    """((n,) probabilities of the most probable class, (n,) whether it was so)."""
    places = said.argmax(axis=1)[:, None]
    return np.take_along_axis(said, places, 1)[:, 0], np.take_along_axis(truth, places, 1)[:, 0]


def pooled(splits):
    """The error of what was told in all splits together, in 15 equal parts, and what true probabilities would show."""
    lines = []
    for name, place in (("calibrated", 0), ("before", 1)):
        said, so = (np.concatenate([split[place][part] for split in splits]) for part in (0, 1))
        drawn = [error(said, np.random.default_rng(seed).random(len(said)) < said) for seed in range(200)]
        lines.append(f"{name} {error(said, so):.4f} (if true {np.mean(drawn):.4f})")
    return "ECE-15 of the most probable class, pooled: " + ", ".join(lines)


def error(said, so):
    places = np.minimum((said * BINS).astype(int), BINS - 1)
    return np.abs(np.bincount(places, said - so, BINS)).sum() / len(said)


if __name__ == "__main__":
    main()

"""What posters add to text and numbers, on the real films that have one.

    python benchmarks/posters.py DATA_FOLDER [--seed 0] [--cache FOLDER]

DATA_FOLDER holds data/movies/movies.csv, data/movies/posters, weights/all-MiniLM-L6-v2 and weights/mobilenet_v2. Both models learn
from the same rows, with posters and without; a film without a poster is a row with a missing modality. Both are judged on
those of the 20% unseen films that have a poster. The interval is that of the difference, from the same resamples.
"""

import argparse
import pathlib

from movies import modalities

import mmkeras as mm
from mmkeras.evaluation.metrics import interval
from mmkeras.evaluation.report import scores


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache")
    options = parser.parse_args()
    df = mm.sources.movies(options.folder / "data/movies/movies.csv")
    posters = options.folder / "data/movies"
    df["poster"] = [str(posters / name) if isinstance(name, str) and name else "" for name in df["poster"]]
    counts = df["genres"].str.get_dummies("|").sum()
    task = mm.MultiLabel("genres", classes=list(counts.index[counts >= 50]))
    train, test = mm.split_frame(df, 0.2, seed=options.seed)
    shown = test[test["poster"] != ""]
    weights = options.folder / "weights"
    image = mm.Image(
        "poster",
        encoder="MobileNetV2",
        weights=weights / "mobilenet_v2/mobilenet_v2_1.0_224.weights.h5",
        image_size=(256, 160),
        name="poster",
    )
    found = {}
    for name, extra in (("without posters", []), ("with posters", [image])):
        # 1,280 features of 2,400 posters would be learnt by heart without a strong dropout
        dropout = {"poster": 0.93} if extra else 0.5
        pipe = mm.Pipeline([*modalities(weights / "all-MiniLM-L6-v2"), *extra], task, fusion="hybrid", dropout=dropout)
        settings = {"epochs": 8, "batch_size": 128, "learning_rate": 3e-3, "seed": options.seed, "verbose": 2}
        pipe.fit(train, cache_dir=options.cache, **settings)
        point, drawn = scores(pipe.task, pipe.task.encode(shown), pipe.predict(shown).to_numpy(), pipe.thresholds)
        found[name] = point["map"], drawn["map"]
        low, high = interval(drawn["map"])
        print(f"{name:16} mAP {point['map']:.3f} [{low:.3f}, {high:.3f}], micro-F1 {point['micro_f1']:.3f}")
    (before, drawn_before), (after, drawn_after) = found.values()
    low, high = interval(drawn_after - drawn_before)
    print(f"{len(shown)} unseen films with a poster: mAP {after - before:+.3f} [{low:+.3f}, {high:+.3f}] by posters")


if __name__ == "__main__":
    main()

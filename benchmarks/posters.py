"""What posters add to text and numbers, on the real films.

    python benchmarks/posters.py DATA_FOLDER [--seeds 0,1,2,3,4] [--cache FOLDER] [--together]

DATA_FOLDER holds data/movies/movies.csv, data/movies/posters, weights/all-MiniLM-L6-v2 and weights/efficientnet_lite2. Both models
learn from the same rows, with posters and without; a film without a poster is a row with a missing modality. Posters are added
late, by `mm.add_modality`; --together trains them with the others instead, with weights/mobilenet_v2. Both are judged on
the 20% unseen films that a seed chooses: on all of them, and on those that have a poster. Intervals are those of the difference,
from the same resamples; over several seeds the mean of the differences and their range.
"""

import argparse
import pathlib

import numpy as np
from movies import modalities

import mmkeras as mm
from mmkeras.evaluation.metrics import interval
from mmkeras.evaluation.report import scores


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2, 3, 4])
    parser.add_argument("--cache")
    parser.add_argument("--together", action="store_true", help="posters are trained with the other modalities")
    options = parser.parse_args()
    df = mm.sources.movies(options.folder / "data/movies/movies.csv")
    posters = options.folder / "data/movies"
    df["poster"] = [str(posters / name) if isinstance(name, str) and name else "" for name in df["poster"]]
    counts = df["genres"].str.get_dummies("|").sum()
    task = mm.MultiLabel("genres", classes=list(counts.index[counts >= 50]))
    gains = {}
    for seed in options.seeds:
        train, test = mm.split_frame(df, 0.2, seed=seed)
        models = fitted(options, task, train, seed)
        for what, rows in (("films with a poster", test[test["poster"] != ""]), ("all films", test)):
            gains.setdefault(what, []).append(compare(models, rows, f"seed {seed}, {len(rows)} unseen, {what}"))
    for what, values in gains.items():
        spread = f"from {min(values):+.3f} to {max(values):+.3f}"
        print(f"{what}: mAP {np.mean(values):+.3f} by posters, mean of {len(values)} seeds, {spread}")


def fitted(options, task, train, seed):
    """(model without posters, model with posters)."""
    weights = options.folder / "weights"
    texts = modalities(weights / "all-MiniLM-L6-v2")

    def fit(modalities, dropout):
        pipe = mm.Pipeline(modalities, task, fusion="hybrid", dropout=dropout)
        pipe.fit(train, cache_dir=options.cache, epochs=8, batch_size=128, learning_rate=3e-3, seed=seed, verbose=0)
        return pipe

    before = fit(texts, 0.5)
    if options.together:
        mobilenet = weights / "mobilenet_v2/mobilenet_v2_1.0_224.weights.h5"
        image = mm.Image("poster", encoder="MobileNetV2", weights=mobilenet, image_size=(256, 160), name="poster")
        # 1,280 features of 2,400 posters would be learnt by heart without a strong dropout
        return before, fit([*texts, image], {"poster": 0.93})
    image = mm.Image("poster", encoder=weights / "efficientnet_lite2", image_size=(257, 161), name="poster")
    return before, mm.add_modality(before, image, train, seed=seed)


def compare(models, rows, what):
    """The difference of mAP, printed with its interval."""
    target = models[0].task.target(rows)
    judged = [scores(pipe.task, target, pipe.check_fitted().predict(rows)) for pipe in models]
    (before, drawn_before), (after, drawn_after) = [(point["map"], drawn["map"]) for point, drawn in judged]
    low, high = interval(drawn_after - drawn_before)
    print(
        f"{what}: mAP {before:.3f} without, {after:.3f} with: {after - before:+.3f} [{low:+.3f}, {high:+.3f}]",
        flush=True,
    )
    return after - before


if __name__ == "__main__":
    main()

"""A search on the real films: the model it chooses, judged on films it never saw, beside the best model built by hand.

    python benchmarks/movies_search.py DATA_FOLDER [--seed 0] [--trials 30] [--posters] [--cache FOLDER] [--directory FOLDER]

DATA_FOLDER is that of benchmarks/movies.py, which is the model built by hand; with --posters that of benchmarks/posters.py. The
20% of films chosen by the seed are judged once, after the search. An interrupted search resumes from --directory.
"""

import argparse
import pathlib
import time

START = time.perf_counter()

from movies import modalities  # noqa: E402

import mmkeras as mm  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--tuner", default="greedy")
    parser.add_argument("--rows", type=int, help="take only the first rows, to see that it runs")
    parser.add_argument("--posters", action="store_true")
    parser.add_argument("--cache", help="folder of the feature cache; without it the cache is cold")
    parser.add_argument("--directory", help="folder of the search")
    parser.add_argument("--html", help="file for the trail with its plots")
    options = parser.parse_args()
    df = mm.sources.movies(options.folder / "data/movies/movies.csv").head(options.rows)
    counts = df["genres"].str.get_dummies("|").sum()
    task = mm.MultiLabel("genres", classes=list(counts.index[counts >= min(50, len(df) // 20)]))
    posters = options.folder / "data/movies"
    df["poster"] = [str(posters / name) if isinstance(name, str) and name else "" for name in df["poster"]]
    train, test = mm.split_frame(df, 0.2, seed=options.seed)
    weights = options.folder / "weights"
    candidates = modalities(weights / "all-MiniLM-L6-v2")
    if options.posters:
        network = weights / "mobilenet_v2/mobilenet_v2_1.0_224.weights.h5"
        candidates.append(mm.Image("poster", "MobileNetV2", network, image_size=(256, 160), name="poster"))
    pipe = mm.search(
        train, candidates, task, max_trials=options.trials, tuner=options.tuner, seed=options.seed,
        directory=options.directory, cache_dir=options.cache,
    )  # fmt: skip
    searched = time.perf_counter()
    print(f"\n{pipe.trail}\n")
    if options.html:
        pipe.trail.to_html(options.html)
    print(pipe.evaluate(test))
    if options.posters:
        shown = test[test["poster"] != ""]
        low, high = (report := pipe.evaluate(shown)).intervals["map"]
        print(f"{len(shown)} unseen films with a poster: mAP {report.metrics['map']:.3f} [{low:.3f}, {high:.3f}]")
    end = time.perf_counter()
    print(f"start to winner {searched - START:.0f} s, report {end - searched:.0f} s, in all {end - START:.0f} s")


if __name__ == "__main__":
    main()

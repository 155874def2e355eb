"""Explanations of film genres: whether they add up, whether they tell the truth, and what they cost.

    python benchmarks/explain.py DATA_FOLDER [--seed 0] [--rows 200] [--cache FOLDER] [--html FILE]

DATA_FOLDER holds data/movies/movies.csv and weights/all-MiniLM-L6-v2. The model is that of `movies.py`: frozen MiniLM, words, numbers. Rows
that it has not seen are explained, each by the genre that it is most likely of.
"""

import argparse
import pathlib
import time

import numpy as np
import tensorflow as tf
from movies import fitted, genres

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.inspection.deletion import deletion
from mmkeras.inspection.gradients import Gradients
from mmkeras.inspection.sanity import sanity


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--cache")
    parser.add_argument("--html")
    options = parser.parse_args()
    plain = {"fine_tune": False, "top": None, "minutes": None, "main_genre": False, "epochs": 8}
    settings = argparse.Namespace(**vars(options), **plain, fine_tune_learning_rate=1e-4)
    df = mm.sources.movies(options.folder / "data/movies/movies.csv")
    train, test = mm.split_frame(df, 0.2, seed=options.seed)
    pipe = fitted(train, genres(df), options.folder / "weights/all-MiniLM-L6-v2", settings)
    rows = test.sample(options.rows, random_state=options.seed)
    pipe.predict(rows, cache=True)  # features of what follows are cached
    start = time.perf_counter()
    shares = mm.explain(pipe, rows, inside=False)
    print(f"Shapley values of {len(rows)} rows: {time.perf_counter() - start:.1f} s")
    total = shares.nothing + shares.modalities.sum(axis=1)
    print(f"they add up to the prediction within {np.abs(total - shares.worth).max():.1e}")
    some = test.head(1000)
    pipe.predict(some, cache=True)
    start = time.perf_counter()
    table = mm.permutation_importance(pipe, some)
    print(
        f"permutation importance of {len(table)} modalities and columns, {len(some)} rows: {time.perf_counter() - start:.1f} s"
    )
    start = time.perf_counter()
    explanation = mm.explain(pipe, rows)
    print(f"with what is inside: {time.perf_counter() - start:.1f} s, at most {explanation.steps} places on the way")
    print(f"pieces within 2% of the difference: {(explanation.missed <= 0.02).mean():.1%} of rows")
    print(cost(pipe, rows.head(16)))
    print(deletion(pipe, rows, explanation, "text").round(3))
    print("in probabilities:", deletion(pipe, rows, explanation, "text", probability=True).round(3), sep="\n")
    print(sanity(pipe, rows.head(32), mm.explain(pipe, rows.head(32))).round(3))
    if options.html:
        explanation.to_html(options.html)


def cost(pipe, rows, steps=16, rounds=5):
    """How integrated gradients compare with passes forward and back of as many places in one batch, down to the same table of tokens."""
    known, outcomes = pipe.check_fitted(), np.zeros(len(rows), "int32")
    gradients, model = Gradients(known), mm.chain(pipe.encode, pipe.head)
    raw = {name: tf.convert_to_tensor(value) for name, value in raw_values(rows, pipe.modalities).items()}
    tensors = {key: tf.repeat(value, steps, axis=0) for key, value in pipe.prepare(raw).items()}
    table = pipe.encode.get_layer("text_tower").weights[0].value
    every = tf.constant(np.repeat(outcomes, steps))

    @tf.function
    def bare():
        with tf.GradientTape() as tape:
            tape.watch(table)
            worth = known.task.worth(model({key: tensors[key] for key in model.input}, training=False), every)
        return tf.convert_to_tensor(tape.gradient(worth, table))

    ways = (lambda: gradients.inside(rows, outcomes, len(rows), steps=(steps,))), bare
    ratios = []
    for _ in range(rounds + 1):
        times = []
        for run in ways:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        ratios.append(times[0] / times[1])
    return f"{steps} places against bare passes forward and back in one batch: {np.median(ratios[1:]):.2f} times"


if __name__ == "__main__":
    main()

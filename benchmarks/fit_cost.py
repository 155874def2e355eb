"""What a short fit costs beside plain Keras: the same graph, trained on the same rows that lie prepared in memory.

    python benchmarks/fit_cost.py [--rows 400] [--epochs 2] [--rounds 5] [--ablation]

Made-up films, words and numbers, a hybrid head. Both sides take turns; the plain side builds the head anew, compiles it with the
same losses and Keras's AdamW, and calls `fit` on arrays. Printed are the medians of seconds and of the rounds' ratios.

`--ablation` sets `mm.ablate` beside fits of the same models by Pipelines of their own instead.
"""

import argparse
import statistics
import time

import keras
import numpy as np

import mmkeras as mm
from mmkeras.data.columns import raw_values
from mmkeras.trunk.stages import chain


def pipeline():
    modalities = [
        mm.Text("overview", encoder="lexical", name="words"),
        mm.Tabular(numeric=["budget", "popularity", "runtime"], zero_is_missing=["budget"]),
    ]
    return mm.Pipeline(modalities, mm.MultiLabel("genres"), fusion="hybrid")


def plain(pipe, tensors, target, epochs):
    """A plain Keras fit of a new model of the same graph, on prepared tensors and the encoded target."""
    keras.utils.set_random_seed(0)
    trunk, task = pipe.trunk, pipe.task
    training = task.training(task.build_head(trunk.head_inputs(), target, fusion="hybrid"))
    model = chain(keras.models.clone_model(trunk.encode), training.model)
    answers = dict.fromkeys(training.losses, target.values)
    share = len(target) // 10
    train = ({key: tensors[key][share:] for key in model.input}, {key: value[share:] for key, value in answers.items()})
    held = ({key: tensors[key][:share] for key in model.input}, {key: value[:share] for key, value in answers.items()})
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.3)
    model.compile(optimizer, training.losses, metrics=training.metrics, loss_weights=training.loss_weights)
    model.fit(*train, batch_size=32, epochs=epochs, validation_data=held, verbose=0)


def ablation(df, epochs):
    """(seconds of an ablation of nine models, seconds of nine fits of the same models)."""
    pipe, (train, test) = pipeline(), mm.split_frame(df, 0.3, seed=0)
    start = time.perf_counter()
    mm.ablate(pipe.modalities, pipe.task, train, test, fusion=pipe.fusion, epochs=epochs, verbose=0)
    middle = time.perf_counter()
    for modalities in (pipe.modalities, *([modality] for modality in pipe.modalities)):
        for settings in pipe.task.ways.values():
            mm.Pipeline(modalities, pipe.task, pipe.fusion).fit(train, epochs=epochs, verbose=0, **settings)
    return middle - start, time.perf_counter() - middle


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ablation", action="store_true")
    options = parser.parse_args()
    df = mm.samples.movies(options.rows, seed=0)
    pipe = pipeline()
    pipe.fit(df, epochs=1, verbose=0)  # what a process loads once
    if options.ablation:
        times = [ablation(df, options.epochs) for _ in range(options.rounds)]
        ratio = statistics.median(a / b for a, b in times)
        print(f"{options.rows} rows, {options.epochs} epochs: an ablation takes {ratio:.2f} times its nine fits")
        return
    tensors = {key: np.asarray(value) for key, value in pipe.prepare(raw_values(df, pipe.modalities)).items()}
    target = pipe.task.target(df)
    times = []
    for _ in range(options.rounds):
        start = time.perf_counter()
        pipeline().fit(df, epochs=options.epochs, verbose=0)
        middle = time.perf_counter()
        plain(pipe, tensors, target, options.epochs)
        times.append((middle - start, time.perf_counter() - middle))
    ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    print(
        f"{options.rows} rows, {options.epochs} epochs: fit {ours:.2f} s, plain Keras {theirs:.2f} s, ratio {ratio:.2f}"
    )


if __name__ == "__main__":
    main()

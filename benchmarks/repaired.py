"""The tutorials' own graphs, fed as they should have been: the middle column of README's table of tutorials.

    python benchmarks/repaired.py DATA_FOLDER genre [--seed 0]
    python benchmarks/repaired.py DATA_FOLDER entailment

Graphs, optimizer, learning rate, batch size and epochs are the tutorials'; what feeds them is mended: numbers are scaled, and 0
dollars are unknown; texts are padded to the longest of their batch; decisions of rare classes are judged by macro-F1. The text
tower is MiniLM, whose weights DATA_FOLDER holds. The frozen tower runs once, and its seconds are counted for each of ten epochs, as
the tutorials run it. Captions: `flickr8k.py --heads 1 --dropout 0 --label-smoothing 0` is that tutorial's decoder.
"""

import argparse
import pathlib
import time

import keras
import numpy as np
from sklearn.model_selection import StratifiedKFold

import mmkeras as mm
from mmkeras.data.batches import Order, stream
from mmkeras.data.columns import raw_values
from mmkeras.data.targets import Values
from mmkeras.evaluation.metrics import interval
from mmkeras.evaluation.report import scores
from mmkeras.graph import compiled, submodel
from mmkeras.trunk.encoding import token_lengths

EPOCHS, BATCH = 10, 32
NUMERIC = ["budget", "popularity", "revenue", "runtime"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("tutorial", choices=["genre", "entailment"])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    weights = options.folder / "weights/all-MiniLM-L6-v2"
    {"genre": genre, "entailment": entailment}[options.tutorial](options.folder, weights, options.seed)


def genre(folder, weights, seed):
    df = mm.sources.movies(folder / "data/movies/movies.csv")
    totals = df["genres"].str.get_dummies("|").sum()
    train, test = mm.split_frame(df, 0.2, seed=seed)
    task = mm.MultiLabel("genres", classes=list(totals.index[totals >= 50])).adapt(train)
    seconds, text = text_features(mm.Text("overview", encoder=weights, pooling="cls"), df)
    numbers = scaled(df[NUMERIC].mask(df[NUMERIC] == 0), df.index.isin(train.index))
    whole = mm.build_genre_classifier(weights, num_classes=len(task.classes))
    head = submodel(
        {"text": whole.get_layer("text_normalise").input, "numeric": whole.get_layer("numbers").input}, whole.output
    )
    rows = {name: df.index.isin(part.index) for name, part in (("train", train), ("test", test))}
    start = time.perf_counter()
    head.compile("adam", "binary_crossentropy")
    head.fit(*part(text, numbers, rows["train"]), task.encode(train), batch_size=BATCH, epochs=EPOCHS, verbose=0)
    trained = time.perf_counter() - start
    probabilities = head(*part(text, numbers, rows["test"]))["genres"].numpy()
    point, drawn = scores(task, task.target(test), probabilities)
    show(f"genres of {len(test)} films, seed {seed}", point, drawn, EPOCHS * seconds * len(train) / len(df) + trained)


def entailment(folder, weights, seed):
    df = mm.sources.entailment(folder / "data/entailment/tweets.csv")
    task = mm.MultiClass("label").adapt(df)
    target = task.encode(df)
    text = mm.Text(["text_1", "text_2"], encoder=weights, pooling="pooled", sequence_length=128)
    seconds, features = text_features(text, df)
    probabilities, start = np.zeros((len(df), len(task.classes))), time.perf_counter()
    for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(features, target):
        whole = mm.build_entailment_classifier(weights, modalities="text")
        head = submodel({"text": whole.get_layer("text_projection").input}, whole.output)
        head.compile("adam", "sparse_categorical_crossentropy")
        head.fit({"text": features[train]}, target[train], batch_size=BATCH, epochs=EPOCHS, verbose=0)
        probabilities[test] = head({"text": features[test]})["label"].numpy()
    trained = time.perf_counter() - start
    point, drawn = scores(task, Values(target), probabilities)
    show(f"{len(df)} pairs of posts, texts alone, 5 folds", point, drawn, EPOCHS * seconds * 4 + trained)


def text_features(modality, df):
    """(seconds of the pass, (rows, D) features), in float32 by TensorFlow, as the tutorials ran it."""
    modality = modality.adapt(df)
    prepare = mm.build_prepare([modality])
    run = compiled(mm.build_encode([modality], prepare))
    columns = raw_values(df, [modality])
    lengths = token_lengths(prepare, columns)
    prepare = compiled(prepare)
    start = time.perf_counter()
    parts = [
        (rows, run(t)[modality.name]) for rows, t in stream(columns, Order(BATCH, lengths=lengths), prepare=prepare)
    ]
    order, features = (np.concatenate(side) for side in zip(*parts, strict=True))
    return time.perf_counter() - start, features[np.argsort(order)]


def scaled(numbers, train):
    """Logarithms, of mean 0 and variance 1 on the training rows; the mean where a number is unknown."""
    numbers = np.log1p(numbers.clip(lower=0))
    return ((numbers - numbers[train].mean()) / numbers[train].std()).fillna(0).to_numpy("float32")


def part(text, numbers, rows):
    return ({"text": text[rows], "numeric": numbers[rows]},)


def show(what, point, drawn, seconds):
    print(f"\n{what}: the tutorial's graph, repaired; {seconds:.0f} s in ten epochs that run the tower each time")
    for name, value in point.items():
        low, high = interval(drawn[name])
        print(f"  {name:10} {value:.3f} [{low:.3f}, {high:.3f}]")


if __name__ == "__main__":
    main()

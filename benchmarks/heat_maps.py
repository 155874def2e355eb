"""Where networks look: how much of the map of an explanation lies within the drawn shape, against its share of the picture.

    python benchmarks/heat_maps.py [--rows 1500] [--judged 100]

Scenes: coloured shapes on pale paper, of which the colour is asked. Posts: a thing before a landscape, and a pencil sketch that takes no side; whether the second
post's words agree with the picture is asked, so that the thing decides together with what is around it. Shapes are told from paper and landscape by their colour.
"""

import argparse
import pathlib
import tempfile

import numpy as np

import mmkeras as mm
from mmkeras.evaluation import metrics
from mmkeras.evaluation.pages import read_pixels
from mmkeras.samples.pictures import COLOURS


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1500)
    parser.add_argument("--judged", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scenes(pathlib.Path(folder, "scenes"), options)
        posts(pathlib.Path(folder, "posts"), options)


def scenes(folder, options):
    df = mm.samples.captions(options.rows, 0, folder, size=64, groups=1).drop_duplicates("image")
    train, test = mm.split_frame(df, 0.2, seed=0)
    image = mm.Image("image", encoder="scratch", image_size=(64, 64), augment=False)
    pipe = mm.Pipeline([image], mm.MultiClass("colours"), units=32)
    pipe.fit(train, epochs=20, learning_rate=3e-3, seed=0, verbose=0)
    rows = judged(pipe, test, "colours", options.judged)
    heats = mm.explain(pipe, rows).pieces["image"]
    tell("scenes, the colour", heats, [apart(read_pixels(path)) for path in rows["image"]])


def posts(folder, options):
    df = mm.samples.entailment(options.rows, 0, folder)
    train, test = mm.split_frame(df, 0.2, seed=0)
    text = mm.Text(["text_1", "text_2"], encoder="lexical")
    image = mm.Image("image_1", encoder="scratch", image_size=(32, 32))
    pipe = mm.Pipeline([text, image], mm.MultiClass("label"), units=256, dropout=0.1)
    pipe.fit(train, epochs=30, batch_size=32, seed=0, verbose=0, learning_rate=4e-3)
    rows = judged(pipe, test[test["image_1"] != ""], "label", options.judged)
    heats = mm.explain(pipe, rows).pieces["image"]
    tell("posts, agreement", heats, [coloured(read_pixels(path)) for path in rows["image_1"]])


def judged(pipe, test, column, count):
    """Unseen rows of which the model is right."""
    right = pipe.predict_labels(test) == test[column]
    print(f"{column}: right in {right.mean():.3f} of {len(test)} unseen rows")
    return test[right].head(count)


def apart(pixels):
    """(S, S) bools: what differs from the paper, which most of the picture is."""
    paper = np.median(pixels.reshape(-1, 3), axis=0)
    return np.abs(pixels - paper).max(axis=-1) > 60


def coloured(pixels):
    """(S, S) bools: what has a colour of things."""
    distances = [np.abs(pixels - np.array(colour, float)).max(axis=-1) for colour in COLOURS.values()]
    return np.min(distances, axis=0) < 70


def tell(name, heats, masks):
    """Print the share of a map within the shape, and how many times the shape's share of the picture it is."""
    inside, times = [], []
    for heat, mask in zip(heats, masks, strict=True):
        rows, columns = (np.arange(side) * other // side for side, other in zip(heat.shape, mask.shape, strict=True))
        mask = mask[np.ix_(rows, columns)]
        if mask.any():
            inside.append(np.abs(heat)[mask].sum() / np.abs(heat).sum())
            times.append(inside[-1] / mask.mean())
    times = np.array(times)
    point, drawn = metrics.bootstrap(lambda w: {"": w @ times / w.sum(axis=1)}, len(times))
    low, high = metrics.interval(drawn[""])
    print(
        f"{name}: {np.mean(inside):.2f} of the map lies within the shape, {point['']:.2f} [{low:.2f}, {high:.2f}] times its share of the picture"
    )


if __name__ == "__main__":
    main()

"""Does a caption belong to an image? A decision that needs both, on Flickr8k.

    python benchmarks/caption_match.py DATA_FOLDER [--tower efficientnet_lite2] [--fusion bilinear] [--mismatches 4] [--held-out]

DATA_FOLDER holds data/flickr8k, weights/all-MiniLM-L6-v2 and a folder of weights for each tower. Every caption of the train images is paired
with its own image and with others of the same split, as many of each in the dev pairs that are judged: by construction a
caption, or an image, says nothing by itself. With `--mismatches K` training sees K wrong images for each caption, and rows are
weighed so that both classes count the same. With `--held-out`, 500 training images are kept back and judged in place of the
development images, so that settings are chosen without these.
"""

import argparse
import pathlib
import time

import numpy as np
import pandas as pd
from flickr8k import HELD_OUT, TOWERS, parts, tower

import mmkeras as mm

WRONG, RIGHT = "another image's", "its own"


def pairs(captions, mismatches, seed):
    """Each caption with its own image and with `mismatches` others of the same split."""
    rng = np.random.default_rng(seed)
    own = captions.assign(label=RIGHT)
    names = captions["image"].unique()
    place = {name: i for i, name in enumerate(names)}
    tables = [own]
    for _ in range(mismatches):
        # a step of 1 to n - 1 around the circle of images never ends at the caption's own
        steps = rng.integers(1, len(names), len(captions))
        other = names[(captions["image"].map(place).to_numpy() + steps) % len(names)]
        tables.append(captions.assign(image=other, label=WRONG))
    return pd.concat(tables, ignore_index=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tower", choices=TOWERS, default="mobilenet_v2")
    parser.add_argument("--held-out", action="store_true", help=f"judge {HELD_OUT} training images, kept back")
    parser.add_argument("--fusion", default="bilinear")
    parser.add_argument("--mismatches", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--captions", type=int, help="train on only so many captions")
    parser.add_argument("--cache")
    parser.add_argument("--html")
    options = parser.parse_args()
    weights = options.folder / "weights"
    train, judged = parts(options.folder / "data/flickr8k", options.held_out)
    train = pairs(train.head(options.captions or 10**9), options.mismatches, options.seed)
    judged = pairs(judged, 1, seed=1)
    tokens = options.fusion == "cross_attention"
    pipe = mm.Pipeline(
        [
            mm.Text(
                "caption",
                encoder=weights / "all-MiniLM-L6-v2",
                sequence_length=40,
                pooling=None if tokens else "mean",
            ),
            tower(options.tower, weights, None if tokens else "avg"),
        ],
        mm.MultiClass("label", classes=[WRONG, RIGHT]),
        fusion=options.fusion,
        units=options.units,
        dropout=options.dropout,
    )
    start = time.perf_counter()
    pipe.fit(
        train,
        validation_data=False,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        class_weight="balanced",
        seed=options.seed,
        cache_dir=options.cache,
        verbose=2,
    )
    print(f"fitted in {time.perf_counter() - start:.0f} s")
    report = pipe.evaluate(judged)
    print(report)
    if options.html:
        report.to_html(options.html)


if __name__ == "__main__":
    main()

"""Photos found by captions, and captions by photos: trained on Flickr8k's 6,000 training images, judged on the 1,000 development images.

    python benchmarks/image_search.py DATA_FOLDER [--tower efficientnet_lite2] [--loss sigmoid] [--held-out] [--cache FOLDER] [--html FILE]

DATA_FOLDER holds data/flickr8k, weights/all-MiniLM-L6-v2 and a folder of weights for each tower. Both towers are frozen; beside
MiniLM the words of captions are read as they are. With
`--held-out`, 500 training images are kept back and judged in place of the development images: settings are chosen there, so that the
development images are seen once, at the end.
"""

import argparse
import pathlib
import resource
import time

import pandas as pd
from flickr8k import HELD_OUT, TOWERS, parts, tower

import mmkeras as mm


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tower", choices=TOWERS, default="efficientnet_lite2")
    parser.add_argument("--held-out", action="store_true", help=f"judge {HELD_OUT} training images, kept back")
    parser.add_argument("--loss", default="infonce")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--poolings", nargs="+", default=["avg"], help="of patches, side by side")
    parser.add_argument("--words", default="terms", help="encoder of the words of captions")
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, help="learn from only so many images")
    parser.add_argument("--cache")
    parser.add_argument("--html")
    parser.add_argument("--save")
    options = parser.parse_args()
    weights = options.folder / "weights"
    train, judged = parts(options.folder / "data/flickr8k", options.held_out)
    train = train[train["image"].isin(train["image"].unique()[: options.images])]
    texts = [
        mm.Text("caption", encoder=weights / "all-MiniLM-L6-v2", sequence_length=40, layers=3),
        mm.Text("caption", encoder=options.words, name="words"),
    ]
    images = [tower(options.tower, weights, pooling, name=pooling) for pooling in options.poolings]
    task = mm.Retrieval(query=["text", "words"], items=options.poolings, width=options.width, loss=options.loss)
    settings = {name: getattr(options, name) for name in ("units", "depth", "dropout")}
    pipe = mm.Pipeline([*texts, *images], task, **settings)
    start = time.perf_counter()
    learning = {
        name: getattr(options, name) for name in ("epochs", "batch_size", "learning_rate", "weight_decay", "seed")
    }
    pipe.fit(train, validation_data=False, cache_dir=options.cache, verbose=2, **learning)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"fitted in {time.perf_counter() - start:.0f} s, features included; at most {memory:.2f} GiB of memory")
    report = pipe.evaluate(judged)
    print(report)
    if options.html:
        report.to_html(options.html)
    if options.save:
        pipe.save(options.save)


if __name__ == "__main__":
    pd.set_option("display.width", 140)
    main()

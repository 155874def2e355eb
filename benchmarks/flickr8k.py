"""Captions of real photos: trained on Flickr8k's 6,000 training images, scored on the 1,000 development images.

    python benchmarks/flickr8k.py DATA_FOLDER [--tower efficientnet_lite2] [--held-out] [--cache FOLDER] [--html FILE]

DATA_FOLDER holds data/flickr8k and weights/ with a folder for each tower. The network of the images is frozen: its patches
are computed once an image and cached; a GRU with attention learns from them.
With `--held-out`, 500 training images are kept back and judged in place of the development images: settings are chosen there,
so that the development images are seen once, at the end.
Prints the report, seconds, and ten captions, from the best to the worst in even steps.
"""

import argparse
import pathlib
import time

START = time.perf_counter()

import pandas as pd  # noqa: E402

import mmkeras as mm  # noqa: E402

HELD_OUT = 500  # training images that settings are chosen on
TOWERS = {
    "mobilenet_v2": {
        "encoder": "MobileNetV2",
        "weights": "mobilenet_v2/mobilenet_v2_1.0_224.weights.h5",
        "image_size": (224, 224),
    },
    "efficientnet_lite2": {"encoder": "efficientnet_lite2", "image_size": (257, 257)},
}
WAYS = (
    {"method": "greedy", "forbid_repeats": 0},
    *({"beam_width": width, "length_penalty": penalty} for width in (3, 5, 8) for penalty in (0.7, 0.9, 1.1)),
)  # of decoding, told of held-out images


def tower(kind, folder, pooling=None, **more):
    """`mm.Image` of a frozen tower whose weights lie in a folder; `more` are further settings of it."""
    settings = dict(TOWERS[kind])
    place = "weights" if "weights" in settings else "encoder"
    settings[place] = folder / settings[place]
    return mm.Image("image", pooling=pooling, **settings, **more)


def parts(flickr, held_out):
    """Captions to learn from and captions to judge by, each a DataFrame with paths of images."""
    train, dev = (mm.sources.captions(flickr / f"captions_{part}.csv", flickr / "images") for part in ("train", "dev"))
    return mm.split_frame(train, HELD_OUT / train["image"].nunique(), by="image") if held_out else (train, dev)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tower", choices=TOWERS, default="mobilenet_v2")
    parser.add_argument("--held-out", action="store_true", help=f"judge {HELD_OUT} training images, kept back")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.4)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--images", type=int, help="learn from only so many images")
    parser.add_argument("--dtype", help="for example mixed_bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", help="folder of the feature cache; without it the cache is cold")
    parser.add_argument("--html")
    parser.add_argument("--save")
    options = parser.parse_args()
    train, judged = parts(options.folder / "data/flickr8k", options.held_out)
    task = mm.Caption("caption", min_count=4, sequence_length=24, label_smoothing=options.label_smoothing)
    train = task.group(train, ["image"]).head(options.images or 10**9)
    image = tower(options.tower, options.folder / "weights")
    settings = {name: getattr(options, name) for name in ("width", "heads", "dropout", "dtype")}
    pipe = mm.Pipeline([image], task, **settings)
    pipe.fit(
        train,
        validation_data=judged if options.held_out else False,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        cache_dir=options.cache,
        verbose=2,
    )
    fitted = time.perf_counter()
    report = pipe.evaluate(judged)
    print(report)
    print(f"start to fitted {fitted - START:.0f} s, report {time.perf_counter() - fitted:.0f} s")
    if options.held_out:
        grouped = task.group(judged, ["image"])
        for way in WAYS:
            scores = mm.score_captions(mm.generate(pipe, grouped, **way).texts, list(grouped["caption"])).metrics
            print(way, {name: round(value, 3) for name, value in scores.items()})
    shown = report.gallery.iloc[:: max(1, len(report.gallery) // 10)].head(10)
    for row in shown.itertuples(index=False):
        print(f"{row.score:5.2f}  {row.caption}    ({pathlib.Path(row.image).name}; a person: {row.references[0]})")
    if options.html:
        report.to_html(options.html)
    if options.save:
        pipe.save(options.save)


if __name__ == "__main__":
    pd.set_option("display.width", 140)
    main()

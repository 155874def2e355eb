"""Captions of real photos: trained on Flickr8k's 6,000 training images, scored on the 1,000 development images.

    python benchmarks/flickr8k.py DATA_FOLDER [--cache FOLDER] [--html FILE] [--save FOLDER]

DATA_FOLDER holds data/flickr8k and weights/mobilenet_v2. The network of the images is frozen: its 7 × 7 patches are computed
once an image and cached; a GRU with attention learns from them. A twentieth of the training images is held out to watch.
Ways of decoding were chosen on the same development images, which flatters them a little.
Prints the report, seconds, and ten captions, from the best to the worst in even steps.
"""

import argparse
import pathlib
import time

START = time.perf_counter()

import pandas as pd  # noqa: E402

import mmkeras as mm  # noqa: E402


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--dropout", type=float, default=0.4)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--images", type=int, help="learn from only so many images")
    parser.add_argument("--dtype", help="for example mixed_bfloat16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", help="folder of the feature cache; without it the cache is cold")
    parser.add_argument("--html")
    parser.add_argument("--save")
    options = parser.parse_args()
    flickr = options.folder / "data/flickr8k"
    train, dev = (mm.sources.captions(flickr / f"captions_{part}.csv", flickr / "images") for part in ("train", "dev"))
    task = mm.Caption("caption", min_count=4, sequence_length=24, label_smoothing=options.label_smoothing)
    train = task.group(train, ["image"]).head(options.images or 10**9)
    image = mm.Image(
        "image",
        encoder="MobileNetV2",
        weights=options.folder / "weights/mobilenet_v2/mobilenet_v2_1.0_224.weights.h5",
        image_size=(options.image_size, options.image_size),
        pooling=None,
    )
    settings = {name: getattr(options, name) for name in ("width", "heads", "dropout", "dtype")}
    pipe = mm.Pipeline([image], task, **settings)
    pipe.fit(
        train,
        validation_data=0.05,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        cache_dir=options.cache,
        verbose=2,
    )
    fitted = time.perf_counter()
    report = pipe.evaluate(dev)
    print(report)
    print(f"start to fitted {fitted - START:.0f} s, report {time.perf_counter() - fitted:.0f} s")
    grouped = task.group(dev, ["image"])
    for method in ({"method": "greedy", "forbid_repeats": 0}, {"beam_width": 8, "length_penalty": 0.8}):
        found = mm.score_captions(mm.generate(pipe, grouped, **method).texts, list(grouped["caption"])).metrics
        print(method, {name: round(value, 3) for name, value in found.items()})
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

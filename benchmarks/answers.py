"""Questions about drawn pictures: easy-VQA, scenes of our own, and how many passes of a frozen tower many questions cost.

    python benchmarks/answers.py DATA_FOLDER [--free] [--text gru|lexical|scratch] [--fusion film] [--epochs 12] [--rivals FILE]
    python benchmarks/answers.py --scenes 12000 [--epochs 10] [--weights FILE] [--free] [--rivals FILE]
    python benchmarks/answers.py --photos FOLDER [--weights FILE] [--questions 10000] [--images 1400]

DATA_FOLDER holds data/vqa (easy-VQA: 4,000 drawings of 64 × 64 to learn from, 13 answers). Training stops, and settings were chosen, on a tenth
of the train images; the test questions are scored once. With --free a second model writes the answers, and it is told how often both
agree. Scenes are drawn by us; those to be judged have a seed of their own, and another part than those is held out to stop by. They are learnt in two
steps: a network learns from nothing to tell of each picture, once a pass, all answers that its questions have, as labels; then, frozen, it shows its
patches to words that are read in order ("word_attention"). With --weights (of MobileNetV2) its frozen blocks up to the middle see them instead. With
--photos, made-up questions about JPEG files; printed is how many images went through the frozen tower.
"""

import argparse
import pathlib
import tempfile
import time

import keras
import numpy as np
import pandas as pd

import mmkeras as mm
from mmkeras.cli.quickstart import SCENE, learn_to_see
from mmkeras.modalities.image import image_tower
from mmkeras.trunk.store import open_store

CHOOSES = {"units": 128, "dropout": 0.1}
WRITES = {"width": 128, "dropout": 0.1}
RATES = {"gru": 2e-3, "lexical": 4e-3, "scratch": 1e-3}
HELD = 0.1  # of the train images
WIDE = 128  # pixels, as MobileNetV2 sees them, of which it leaves a grid of 8 × 8 as the other network does of 64
MIDDLE = "block_12_add"  # of MobileNetV2, behind which it would leave 4 × 4


def easy_vqa(folder):
    """(train rows, validation rows, test rows) of easy-VQA; no image is in two of them."""
    train, test = (pd.read_csv(folder / f"questions_{part}.csv") for part in ("train", "test"))
    for df in (train, test):
        df["image"] = [str(folder / path) for path in df["image"]]
    return *mm.split_frame(train, HELD, seed=0, by="image"), test


def scenes(count, folder, size):
    """(train rows, validation rows, test rows); the last are drawn with a seed of their own."""
    df, test = (mm.samples.questions(n, seed, folder, size) for seed, n in ((0, count), (1, count // 10)))
    return *mm.split_frame(df, HELD, seed=0, by="image"), test


def middle(weights, folder):
    """A file of MobileNetV2 up to `MIDDLE`, from pixels in 0 to 255, (B, 128, 128, 3), to (B, 8, 8, 96)."""
    whole = image_tower("MobileNetV2", weights, (WIDE, WIDE), pooling=None).layers[-1]
    pixels = keras.Input((WIDE, WIDE, 3))
    seen = keras.Model(whole.input, whole.get_layer(MIDDLE).output)(keras.layers.Rescaling(1 / 127.5, -1)(pixels))
    path = f"{folder}/middle.keras"
    keras.Model(pixels, seen).save(path)
    return path


def pipeline(options, *, free, kind):
    encoder = "gru" if free and options.text == "lexical" else options.text
    settings = {} if encoder == "lexical" else {"pooling": None, "sequence_length": 24}
    size = (WIDE, WIDE) if options.weights else (SCENE, SCENE)
    modalities = [
        mm.Text("question", encoder=encoder, name="question", **settings),
        mm.Image("image", encoder=options.sees, image_size=size, pooling=None, augment=False),
    ]
    task = mm.Answer("answer", free=free, question_kind=kind)
    return mm.Pipeline(modalities, task, options.fusion, **(WRITES if free else CHOOSES))


def learn(options, rows, *, free, kind):
    train, held, _ = rows
    pipe, start = pipeline(options, free=free, kind=kind), time.perf_counter()
    settings = {"epochs": options.epochs, "batch_size": options.batch_size, "learning_rate": RATES[options.text]}
    pipe.fit(train, validation_data=held, verbose=2, **settings)
    print(
        f"{'written' if free else 'chosen'}: fitted on {len(train):,} questions in {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    return pipe


def judge(options, rows, kind):
    chosen, test = learn(options, rows, free=False, kind=kind), rows[2]
    said = chosen.predict_labels(test)
    right = said.to_numpy() == test["answer"].to_numpy()
    print(
        f"chosen: {right.mean():.4f} of {len(test):,} unseen questions about {test['image'].nunique():,} unseen images"
    )
    if options.rivals:
        report = chosen.evaluate(test, verbose=0)
        print(report.to_frame().round(3), report.table("kinds").round(3), sep="\n")
        report.to_html(options.rivals)
    if options.free:
        written = learn(options, rows, free=True, kind=kind).predict_labels(test)
        print(f"written: {(written.to_numpy() == test['answer'].to_numpy()).mean():.4f}")
        print(f"both say the same of {(written == said).mean():.4f}")


def passes(options):
    """Many questions about few photos, through a frozen tower whose features are kept."""
    rng = np.random.default_rng(0)
    photos = sorted(map(str, options.photos.rglob("*.jpg")))[: options.images]
    names = ["dog", "child", "ball", "tree", "car", "water"]
    df = pd.DataFrame({"image": rng.choice(photos, options.questions)})
    df["question"] = [f"is there a {name}?" for name in rng.choice(names, len(df))]
    df["answer"] = [list(some) for some in rng.choice(["yes", "no", "maybe"], (len(df), 10))]
    tower = {
        "encoder": "MobileNetV2",
        "weights": options.weights or "imagenet",
        "image_size": (224, 224),
        "pooling": None,
    }
    with tempfile.TemporaryDirectory() as cache:
        modalities = [mm.Text("question", encoder="lexical", name="question"), mm.Image("image", **tower)]
        pipe, start = mm.Pipeline(modalities, mm.Answer("answer"), **CHOOSES), time.perf_counter()
        pipe.fit(df, epochs=1, verbose=0, cache_dir=cache)
        seconds = time.perf_counter() - start
        (entries,) = (tower["rows"] for tower in open_store(cache).info())
    print(
        f"{len(df):,} questions with ten answers each about {df['image'].nunique():,} photos: {entries:,} passes, {seconds:.0f} s"
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path, nargs="?")
    parser.add_argument("--scenes", type=int)
    parser.add_argument("--photos", type=pathlib.Path)
    parser.add_argument("--weights", help="of MobileNetV2: a file, or imagenet")
    parser.set_defaults(sees="scratch")
    parser.add_argument("--questions", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=1_400)
    parser.add_argument("--text", choices=list(RATES), default="gru")
    parser.add_argument("--fusion", help="left out, the usual one")
    parser.add_argument("--free", action="store_true")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rivals", metavar="FILE", help="the whole report with its rivals, as HTML")
    options = parser.parse_args()
    if options.photos is not None:
        passes(options)
    elif options.scenes:
        with tempfile.TemporaryDirectory() as folder:
            rows = scenes(options.scenes, folder, WIDE if options.weights else SCENE)
            if options.weights:
                options.sees = middle(options.weights, folder)
            else:
                options.sees = str(learn_to_see(rows[0], pathlib.Path(folder) / "seeing.keras"))
            judge(options, rows, "kind")
    else:
        judge(options, easy_vqa(options.folder / "data/vqa"), None)


if __name__ == "__main__":
    main()

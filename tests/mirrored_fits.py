"""Fits on one device and on two, in a process of its own: prints {case: the greatest difference of weights and histories} as JSON.

`python tests/mirrored_fits.py tables` or `scenes`.
"""

import json
import sys
import tempfile

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import mmkeras as mm
from mmkeras.modalities.encoders.scratch import ScratchText

QUICK = {"epochs": 2, "batch_size": 8, "verbose": 0, "validation_data": False}
SMALL = {"units": 8, "dropout": 0.0}
WRITER = {"width": 8, "heads": 2, "dropout": 0.0}


def rows(count=37):
    """Numbers with gaps, a category that comes again in a batch, and a target of each kind."""
    rng = np.random.default_rng(0)
    df = pd.DataFrame({f"x{i}": rng.normal(size=count) for i in range(6)})
    df.loc[::5, ["x0", "x1"]] = np.nan
    df["kind"] = rng.choice(list("abc"), count)
    df["labels"] = [["up"] * int(a > 0) + ["right"] * int(b > 0) for a, b in df[["x2", "x3"]].to_numpy()]
    df["class"], df["number"], df["other"] = df["kind"] + "!", df["x2"] + 2.0, df["x0"]
    df["weight"] = rng.uniform(size=count)
    return df


def tables():
    first = mm.Tabular(numeric=["x0", "x1"], name="first")
    return [first, mm.Tabular(numeric=["x2", "x3"], categorical=["kind"], name="second")]


def scenes(count=22):
    """Pictures, questions of unlike lengths, answers of several people, and one to three captions of a row."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(count, 16, 16, 3)).astype("uint8")

    def words():
        return " ".join(rng.choice(["red", "star", "is", "left", "of", "two", "circles"], rng.integers(2, 9)))

    return pd.DataFrame({
        "image": [tf.io.encode_png(picture).numpy() for picture in pixels],
        "question": [words() for _ in range(count)],
        "answer": [rng.choice(["yes", "no", "two"], 1 + row % 3).tolist() for row in range(count)],
        "caption": [[words() for _ in range(1 + row % 3)] for row in range(count)],
        "weight": rng.uniform(size=count),
    })  # fmt: skip


class Words(ScratchText):
    """An embedding of words: sequences as long as the longest of a share; not normalised by a batch, which is another in parts."""

    label, scaled = "words", True

    def backbone(self):
        tokens = {key: keras.Input((None,), dtype="int32", name=key) for key in ("token_ids", "padding_mask")}
        x = keras.layers.Embedding(self.modality.state["tokenizer"].vocabulary_size(), 8)(tokens["token_ids"])
        return keras.Model(tokens, keras.ops.where(keras.ops.cast(tokens["padding_mask"], "bool")[..., None], x, 0.0))


def of_scenes(folder):
    """As `of_tables`; by SGD, as Adam divides a gradient of nearly 0 by its own size, and learns from rounding what nothing depends on."""
    keras.utils.set_random_seed(0)
    pixels, tower = keras.Input((16, 16, 3)), f"{folder}/tower.keras"
    x = keras.layers.Conv2D(8, 8, 8)(keras.layers.Rescaling(1 / 255)(pixels))
    keras.Model(pixels, keras.layers.BatchNormalization()(x)).save(tower)

    def grid(trainable=False):
        settings = {"image_size": (16, 16), "pooling": None, "augment": False}
        return [mm.Image("image", encoder=tower, trainable=trainable, **settings)]

    def asked(**settings):
        return [*grid(**settings), mm.Text("question", encoder="words", pooling=None)]

    def texts():
        return [mm.Text("question", encoder="words", pooling="mean", name=name) for name in ("first", "second")]

    df, how = scenes(), {"optimizer": "sgd", "learning_rate": 0.1}
    answer, free = mm.Answer("answer", min_count=1), mm.Answer("answer", min_count=1, free=True)
    caption = mm.Caption("caption", min_count=1)
    in_parts = mm.Retrieval("first", "second", width=4, rows_at_once=3)
    return {
        "cross_attention": (df, asked, answer, how, {"fusion": "cross_attention", **SMALL}),
        "stacked_attention": (df, asked, answer, how, {"fusion": "stacked_attention", **SMALL}),
        "film": (df, lambda: asked(trainable=True), answer, how, {"fusion": "film", **SMALL}),
        "word_attention": (df, asked, free, how, {"fusion": "word_attention", **WRITER}),
        "captions": (df, grid, caption, {"sample_weight": "weight", **how}, WRITER),
        "infonce": (df, texts, in_parts, {**how, "learning_rate": 0.01}, SMALL),
    }


def of_tables():
    """{name: (rows, modalities, task, settings of the fit, settings of the Pipeline)}."""
    df, labels, classes = rows(), mm.MultiLabel("labels"), mm.MultiClass("class")
    judged = {"validation_data": df[:12]}
    numbers = mm.Regression(["number", "other"], transform="none", quantiles=(0.2, 0.5))
    number, sgd = mm.Regression("number", transform="none"), {"optimizer": "sgd", "clip_norm": 0.1, "loss": "huber"}
    pairs = mm.Retrieval("first", "second", width=4, loss="triplet")
    return {
        "concat": (df, tables, labels, judged, {"fusion": "concat", **SMALL}),
        "early": (df, tables, classes, {"sample_weight": "weight", **judged}, {"fusion": "early", **SMALL}),
        "gated": (df, tables, numbers, {"clip_norm": 0.1}, {"fusion": "gated", **SMALL}),
        "bilinear": (df, tables, number, sgd, {"fusion": "bilinear", **SMALL}),
        "late": (df, tables, number, {}, {"fusion": "late", **SMALL}),
        "hybrid": (df, tables, labels, {}, {"fusion": "hybrid", **SMALL}),
        "triplet": (df, tables, pairs, judged, SMALL),
    }


def differs(df, modalities, task, how, settings):
    """(The greatest difference between a fit on two devices and on one, the Pipeline of two)."""
    results = []
    for way in (None, "mirrored"):
        pipe = mm.Pipeline(modalities(), task, distribute=way, **settings)
        history = pipe.fit(df, **{**QUICK, **how}).history
        results.append([*map(np.array, history.values()), *pipe.head.get_weights(), *pipe.encode.get_weights()])
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(*results, strict=True)), pipe


def main(what):
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in (of_tables() if what == "tables" else of_scenes(folder)).items():
            told[name], pipe = differs(*case)
            if name == "gated":
                pipe.save(f"{folder}/saved")
                saved, df = mm.load(f"{folder}/saved"), case[0]
                told["saved"] = float(np.abs(saved.predict(df).to_numpy() - pipe.predict(df).to_numpy()).max())
                told["kept"] = float(saved.distribute is not None)
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])

"""Fits on one device and on two, in a process of its own: prints {case: the greatest difference of weights and histories} as JSON."""

import json
import sys
import tempfile

import numpy as np
import pandas as pd
import tensorflow as tf

import mmkeras as mm

QUICK = {"epochs": 2, "batch_size": 8, "verbose": 0}


def rows(count=37):
    """Numbers with gaps, a category that comes again in a batch, and a target of each kind."""
    rng = np.random.default_rng(0)
    df = pd.DataFrame({f"x{i}": rng.normal(size=count) for i in range(6)})
    df.loc[::5, ["x0", "x1"]] = np.nan
    df["kind"] = rng.choice(list("abc"), count)
    df["labels"] = [["up"] * int(a > 0) + ["right"] * int(b > 0) for a, b in df[["x2", "x3"]].to_numpy()]
    df["class"], df["number"] = df["kind"] + "!", df["x2"] + 2.0
    return df


def tables():
    first = mm.Tabular(numeric=["x0", "x1"], name="first")
    return [first, mm.Tabular(numeric=["x2", "x3"], categorical=["kind"], name="second")]


def differs(df, modalities, task, how=(), judged=True, **settings):
    """The greatest difference between a fit on two devices and on one; validated where `judged`, which takes a graph more."""
    results = []
    for way in (None, "mirrored"):
        pipe = mm.Pipeline(modalities(), task(), distribute=way, **settings)
        history = pipe.fit(df, df[:12] if judged else False, **{**QUICK, **dict(how)}).history
        results.append([*map(np.array, history.values()), *pipe.head.get_weights(), *pipe.encode.get_weights()])
    return max(float(np.abs(a - b).max(initial=0)) for a, b in zip(*results, strict=True)), pipe


def main():
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    df, small, told = rows(), {"units": 8, "dropout": 0.0}, {}
    cases = {fusion: (tables, lambda: mm.MultiLabel("labels"), {"fusion": fusion}) for fusion in FUSIONS}
    cases["classes"] = (tables, lambda: mm.MultiClass("class"), {})
    for name, (modalities, task, settings) in cases.items():
        told[name], pipe = differs(df, modalities, task, judged=name in ("concat", "classes"), **settings, **small)
    told["numbers"], pipe = differs(df, tables, lambda: mm.Regression("number"), {"clip_norm": 0.1}, **small)
    told["sgd"], _ = differs(
        df, tables, lambda: mm.Regression("number"), {"optimizer": "sgd", "clip_norm": 0.1}, **small
    )
    with tempfile.TemporaryDirectory() as folder:
        pipe.save(f"{folder}/saved")
        saved = mm.load(f"{folder}/saved")
        told["saved"] = float(np.abs(saved.predict(df).to_numpy() - pipe.predict(df).to_numpy()).max())
        told["kept"] = float(saved.distribute is not None)
    json.dump(told, sys.stdout)


FUSIONS = ("concat", "early", "gated", "bilinear", "late", "hybrid")


if __name__ == "__main__":
    main()

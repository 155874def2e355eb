"""Bare towers beside each other: rows a second as ratios to the first of their kind, EfficientNet-Lite2 or MiniLM.

    python benchmarks/towers.py DATA_FOLDER [--rows 8] [--rounds 5] [--engine "OpenVINO bfloat16"]

All towers of a kind take turns in one run, so that other programs of the machine slow all alike; printed are medians of the rounds'
ratios, parameters in millions and MB of float32. Weights are random, but for EfficientNet-Lite2: speed does not depend on them.
Images are 224 × 224 (257 × 257 for EfficientNet-Lite2), texts 128 tokens without padding.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import keras
import keras_hub
import numpy as np
from encode import SIDES

from mmkeras.trunk.engines import base

hub = keras_hub.models
BASE = {"num_layers": 12, "hidden_dim": 768, "num_heads": 12, "image_shape": (224, 224, 3)}
IMAGES = {
    "MobileNetV2": lambda: keras.applications.MobileNetV2(include_top=False, weights=None),
    "ResNet50V2": lambda: keras.applications.ResNet50V2(include_top=False, weights=None),
    "ViT base, patches of 16": lambda: hub.ViTBackbone(**BASE, patch_size=16, mlp_dim=3072),
    "CLIP ViT-B/32": lambda: hub.CLIPVisionEncoder(**BASE, patch_size=32, intermediate_dim=3072),
    "SigLIP base, patches of 16": lambda: hub.SigLIPVisionEncoder(**BASE, patch_size=16, intermediate_dim=3072),
    "DINOv2 small": lambda: hub.DINOV2Backbone(14, 12, 384, 6, 1536, use_mask_token=False),
    "DINOv2 base": lambda: hub.DINOV2Backbone(14, 12, 768, 12, 3072, use_mask_token=False),
    "Swin tiny": lambda: hub.SwinTransformerBackbone((224, 224, 3), 96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
}
# Layers, heads, width, width between: of BERT's form.
TEXTS = {"MiniLM, 6 layers": (6, 12, 384, 1536), "E5 small": (12, 12, 384, 1536), "E5 base": (12, 12, 768, 3072)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", choices=SIDES, default="TensorFlow float32")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    base.LEAST_COSINE = -1.0  # random weights are no test of agreement
    lite2 = options.folder / "weights/efficientnet_lite2"
    images = {"EfficientNet-Lite2": lambda: hub.Backbone.from_preset(str(lite2)), **IMAGES}
    compare({name: image_tower(make()) for name, make in images.items()}, options)
    compare({name: text_tower(*sizes) for name, sizes in TEXTS.items()}, options)


def image_tower(backbone):
    """keras.Model of pixels to features, (B, D)."""
    side = backbone.inputs[0].shape[1] or 257
    pixels = keras.Input((side, side, 3), name="pixels")
    features = backbone({"images": pixels} if isinstance(backbone.input, dict) else pixels)
    features = next(iter(features.values())) if isinstance(features, dict) else features
    axes = tuple(range(1, len(features.shape) - 1))
    return keras.Model({"pixels": pixels}, {"features": keras.ops.mean(features, axes) if axes else features})


def text_tower(layers, heads, width, between):
    """keras.Model of token ids to features, (B, D)."""
    backbone = hub.BertBackbone(30522, layers, heads, width, between)
    ids = keras.Input((128,), dtype="int32", name="ids")
    inputs = {"token_ids": ids, "padding_mask": keras.ops.ones_like(ids), "segment_ids": keras.ops.zeros_like(ids)}
    return keras.Model({"ids": ids}, {"features": keras.ops.mean(backbone(inputs)["sequence_output"], 1)})


def compare(towers, options):
    """Print a line for each tower."""
    rng, runs = np.random.default_rng(0), {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, tower) in enumerate(towers.items()):
            shape = (options.rows, *next(iter(tower.input.values())).shape[1:])
            rows = {key: rng.integers(0, 255, shape).astype(x.dtype) for key, x in tower.input.items()}
            engine, place = SIDES[options.engine](), pathlib.Path(folder)
            engine.rows = options.rows
            try:
                run = engine.open(
                    tower, number.to_bytes(16, "little"), folder=place, rows=options.rows, sample=(rows, None)
                )
            except base.EngineError as error:
                print(f"{name:28} {options.engine} does not take it: {error}")
                continue
            list(run([rows]))  # traced, and warm
            runs[name] = run, rows
        seconds = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, (run, rows) in runs.items():
                start = time.perf_counter()
                list(run([rows]))
                seconds[name].append(time.perf_counter() - start)
    reference = seconds[next(iter(seconds))]
    print(f"\n{options.engine}, {options.rows} rows, {options.rounds} rounds")
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(reference, times, strict=True))
        count, rate = towers[name].count_params() / 1e6, options.rows / statistics.median(times)
        print(f"{name:28} {count:6.1f} million, {4 * count:6.0f} MB  {rate:7.1f} rows/s  ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()

"""Frozen towers over many rows: rows per second of each engine and precision, from files or strings to features on disk.

    python benchmarks/encode.py DATA_FOLDER [--rows 1000] [--rounds 3] [--towers distilbert,resnet50v2]
    python benchmarks/encode.py DATA_FOLDER --part fine-tuning [--rows 512]

Engines take turns on the same rows in the same batches; printed are medians of the rounds, and of the rounds' ratios to
TensorFlow in float32. "Outside" is the share of that time which the same engine does not need for the same batches when
they lie ready in memory. FLOP/s count the products of matrices on tokens that are not padding, beside the fastest bfloat16
product of two matrices that TensorFlow or OpenVINO does here. Conversion of a tower is paid once and told apart.

Of images, two shares are told besides, start-up apart: from decoded pixels to features on disk against the bare tower, and from files
to features on disk against bare tf.data, which reads, decodes and resizes JPEG files by TensorFlow's own operations, a batch ahead, and
feeds the same engine. A share far above 100% says that the bare side does more than it must.

Fine-tuning: an epoch of the top 2 of MiniLM's 6 blocks on what is cached below them, against one that runs all of them.

Texts are film overviews, images photos of Flickr8k. Weights are random, but for MiniLM: speed does not depend on them.
"""

import argparse
import collections
import dataclasses
import pathlib
import shutil
import statistics
import tempfile
import time

import keras
import keras_hub
import numpy as np
import pandas as pd
import tensorflow as tf
from genre import Seconds

import mmkeras as mm
from mmkeras.data import files
from mmkeras.data.batches import Order, batches
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.graph import all_layers, compiled, submodel
from mmkeras.models.entailment import SMALL_BERT
from mmkeras.models.genre import DISTILBERT_BASE
from mmkeras.trunk import encoding, engines
from mmkeras.trunk.encoding import Tower, encode_rows, token_lengths
from mmkeras.trunk.engines import base, converted
from mmkeras.trunk.folder import TOWERS
from mmkeras.trunk.stages import chain, cut_frozen
from mmkeras.trunk.store import open_store

IMAGES = {
    "resnet50v2": ("ResNet50V2", 128),
    "inceptionresnetv2": ("InceptionResNetV2", 299),
    "mobilenetv2": ("MobileNetV2", 224),
    "efficientnet_lite2": ("weights/efficientnet_lite2", 257),  # a preset, with its weights
}
TEXTS = ("distilbert", "minilm", "bertsmall")
SHARED = 256  # rows of the shares
SIDES = {
    "TensorFlow float32": lambda: engines.TensorFlow("float32"),
    "TensorFlow bfloat16": lambda: engines.TensorFlow("mixed_bfloat16"),
    "OpenVINO float32": lambda: engines.OpenVINO("f32"),
    "OpenVINO mixed": lambda: engines.OpenVINO("mixed"),
    "OpenVINO bfloat16": lambda: engines.OpenVINO("bf16"),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--part", choices=["towers", "fine-tuning"], default="towers")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--towers", default=",".join((*TEXTS, *IMAGES)))
    parser.add_argument("--sides", default=",".join(SIDES), help="some of: %(default)s")
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    base.LEAST_COSINE = -1.0  # random weights are no test of agreement
    if options.part == "fine-tuning":
        return fine_tuning(options.folder, options.rows, options.rounds)
    sides = {name: SIDES[name]() for name in options.sides.split(",")}
    for side in sides.values():
        side.rows, side.tokens = 16, 1024
    peak = matrix_product()
    print(f"a bfloat16 product of two matrices reaches {peak / 1e9:.0f} GFLOP/s")
    for name in options.towers.split(","):
        with tempfile.TemporaryDirectory() as folder:
            compare(name, options.folder, options.rows, options.rounds, sides, peak, pathlib.Path(folder))


# === Towers ===


def compare(name, data, rows, rounds, sides, peak, folder):
    """Print a line for each side."""
    modality, df = tower_rows(name, data, rows, folder)
    prepare = mm.build_prepare([modality])
    encode = mm.build_encode([modality], prepare)
    for layer in modality.tower_layers(False):
        encode.get_layer(layer).trainable = False
    (model,) = cut_frozen(encode).towers.values()
    prepare = submodel(prepare.input, {key: prepare.output[key] for key in model.input})
    columns = raw_values(df, [modality])
    tower = Tower(prepare, model, heavy=modality.preparing == "heavy")
    size = 16 if tower.heavy else None
    parts = list(encoding.cut_windows(prepare, encoding.windows_of(tower, columns, size), None, 1024))
    lengths = [part_lengths for _, part_lengths, _ in parts]
    padding = 0.0
    if lengths[0] is not None:
        padding = 1 - sum(part.sum() for part in lengths) / sum(part.max() * len(part) for part in lengths)
    work = flops(model, None if lengths[0] is None else np.concatenate(lengths), len(df))
    print(f"\n{name}: {len(df)} rows, {work / len(df) / 1e9:.2f} GFLOP a row, padding {padding:.1%} of the tokens")
    whole, bare, first = {}, {}, {}
    for side, engine in sides.items():
        once, again = (end_to_end(engine, df.head(32), modality, tower, folder) for _ in range(2))
        first[side] = once - again
    for _ in range(rounds):
        for side, engine in sides.items():
            seconds = end_to_end(engine, df, modality, tower, folder)
            whole.setdefault(side, []).append(seconds)
            bare.setdefault(side, []).append(tower_alone(engine, tower, parts, size=size, folder=folder))
    reference = whole[next(iter(whole))]
    for side in sides:
        times, ratio = whole[side], statistics.median(a / b for a, b in zip(reference, whole[side], strict=True))
        outside = statistics.median(1 - alone / all_ for alone, all_ in zip(bare[side], times, strict=True))
        rate = len(df) / statistics.median(times)
        speed = work / statistics.median(bare[side])
        print(
            f"  {side:20} {rate:8.1f} rows/s  {ratio:5.2f} times  outside the tower {max(outside, 0):5.1%}  "
            f"{speed / 1e9:7.0f} GFLOP/s ({speed / peak:.0%} of the product)  first time {first[side]:+.1f} s"
        )
    if tower.heavy:
        for side, engine in sides.items():
            print(
                f"  {side:20} "
                + shares(engine, tower, columns, parts[: SHARED // size], rounds, folder, paths=df["image"])
            )


def tower_rows(name, data, rows, folder):
    """(adapted modality, DataFrame)."""
    if name in IMAGES:
        network, size = IMAGES[name]
        photos = sorted(map(str, (data / "data/flickr8k/images").glob("*.jpg")))[:rows]
        df = pd.DataFrame({"image": photos})
        preset = data / network
        settings = {"encoder": preset} if preset.is_dir() else {"encoder": network, "weights": None}
        return mm.Image("image", image_size=(size, size), **settings).adapt(df), df
    df = mm.sources.movies(data / "data/movies/movies.csv").head(rows)
    preset = data / "weights/all-MiniLM-L6-v2"
    if name != "minilm":
        words = (preset / "vocab.txt").read_text(encoding="utf-8").split("\n")[:30522]
        kind, size = ("DistilBert", DISTILBERT_BASE) if name == "distilbert" else ("Bert", SMALL_BERT)
        preset = folder / name
        getattr(keras_hub.models, f"{kind}Backbone")(**size).save_to_preset(str(preset))
        tokenizer = getattr(keras_hub.models, f"{kind}Tokenizer")(vocabulary=words, lowercase=True)
        tokenizer.save_to_preset(str(preset))
    return mm.Text("overview", encoder=preset, sequence_length=512, pooling="mean").adapt(df), df


def end_to_end(engine, df, modality, tower, folder):
    """Seconds from a DataFrame of paths or strings to features on disk; only the converted tower is kept."""
    cache, converted = pathlib.Path(tempfile.mkdtemp(dir=folder)), folder / TOWERS
    converted.mkdir(exist_ok=True)
    open_store(cache).close()  # it takes a folder of others for another program's
    shutil.copytree(converted, cache / TOWERS, dirs_exist_ok=True)
    files._known.clear()  # files are read anew
    files._faults.clear()
    tower = Tower(tower.prepare, tower.model, heavy=tower.heavy)  # known to nobody
    start = time.perf_counter()
    columns = raw_values(df, [modality])
    store = open_store(cache)
    encode_rows(store, tower, columns, row_keys(modality, columns), engine=engine, verbose=0)
    seconds = time.perf_counter() - start
    store.close()
    shutil.copytree(cache / TOWERS, converted, dirs_exist_ok=True)
    return seconds


def tower_alone(engine, tower, parts, *, size, folder):
    """Seconds of the tower over batches that lie ready in memory."""
    _, lengths, tensors = parts[0]
    sample = {key: values[:8] for key, values in tensors.items()}, lengths if lengths is None else lengths[:8]
    run = engine.open(tower.model, engine.key(tower.fingerprint), folder=folder / TOWERS, rows=size, sample=sample)
    start = time.perf_counter()
    for _ in run(tensors for _, _, tensors in parts):
        pass
    return time.perf_counter() - start


def shares(engine, tower, columns, parts, rounds, folder, *, paths):
    """A line of how fast rows become features on disk, against the least that must be done; medians of alternated rounds."""
    size = len(parts[0][0])
    rows = size * len(parts)
    columns = {name: values[:rows] for name, values in columns.items()}
    pixels = {key: np.concatenate([np.asarray(tensors[key]) for _, _, tensors in parts]) for key in parts[0][2]}
    inputs = {key: keras.Input(array.shape[1:], dtype=array.dtype.name, name=key) for key, array in pixels.items()}
    decoded = Tower(keras.Model(inputs, dict(inputs)), tower.model, heavy=True)
    files_read = Tower(tower.prepare, tower.model, heavy=True)
    key = engine.key(tower.fingerprint)
    run = tower.open(engine, key, folder=folder / TOWERS, rows=size, columns=columns)

    (image,), (present,) = ([key for key in pixels if key.endswith(end)] for end in ("pixels_0", "each_present"))

    def decode(path):
        shown = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.cast(tf.round(tf.image.resize(shown, pixels[image].shape[1:3])), tf.uint8)

    def bare_files():
        dataset = tf.data.Dataset.from_tensor_slices(paths.tolist()[:rows]).map(decode).batch(size).prefetch(2)
        return run({image: batch, present: np.ones((len(batch), 1), "float32")} for batch in dataset)

    works = {
        "bare tower": lambda: collections.deque(run(tensors for _, _, tensors in parts), 0),
        "pixels": lambda: stored(engine, decoded, pixels, size, folder),
        "bare files": lambda: collections.deque(bare_files(), 0),
        "files": lambda: stored(engine, files_read, columns, size, folder),
    }
    seconds = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            files._known.clear()
            start = time.perf_counter()
            work()
            if number:  # the first round opens and traces
                seconds[name].append(time.perf_counter() - start)
    rates = {name: rows / statistics.median(values) for name, values in seconds.items()}

    def share(name, bare):
        return statistics.median(a / b for a, b in zip(seconds[bare], seconds[name], strict=True))

    return (
        f"from pixels {rates['pixels']:.1f} rows/s, {share('pixels', 'bare tower'):.0%} of the bare tower; "
        f"from files {rates['files']:.1f} rows/s, {share('files', 'bare files'):.0%} of bare decoding and tower"
    )


def stored(engine, tower, columns, size, folder):
    """Write the features of all rows to a fresh cache; the tower stays open."""
    store = open_store(pathlib.Path(tempfile.mkdtemp(dir=folder)))
    row_keys = [number.to_bytes(16, "little") for number in range(len(next(iter(columns.values()))))]
    encode_rows(store, tower, columns, row_keys, engine=engine, batch_size=size, verbose=0)
    store.close()


def flops(model, lengths, rows):
    """Multiplications and additions of matrix products and convolutions over all rows."""
    total = 0
    for layer in all_layers(model):
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        if lengths is None:
            sides = [side or np.nan for side in layer.output.shape[1:3]]  # not known where a backbone takes any size
            places = np.prod(sides) if len(kernel.shape) == 4 else 1
            total += 2 * np.prod(kernel.shape) * places * rows
        else:
            total += 2 * np.prod(kernel.shape) * lengths.sum()
        if lengths is not None and layer.name == "attention_output":  # scores, and the mean by them
            total += 4 * kernel.shape[-1] * (lengths.astype(float) ** 2).sum()
    return float(total)


def matrix_product(size=2048, links=8, rounds=5):
    """FLOP/s of the fastest bfloat16 product of two matrices, several in a row."""
    values = np.random.default_rng(0).normal(0, size**-0.5, (size, size)).astype("float32")
    square = tf.cast(values, tf.bfloat16)

    def chained(x):
        for _ in range(links):
            x = x @ square
        return tf.reduce_sum(x)

    product = tf.function(chained, autograph=False)
    runs = [lambda: product(square).numpy()]
    if converted.installed():
        openvino = converted.openvino()
        given = openvino.opset13.parameter([size, size], np.float32)
        x, weights = given, openvino.opset13.constant(values)
        for _ in range(links):
            x = openvino.opset13.matmul(x, weights, False, False)
        model = openvino.Model([openvino.opset13.reduce_sum(x, np.array([0, 1]))], [given], "product")
        network = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
        runs.append(lambda: network(values))
    best = np.inf
    for run in runs:
        run()
        for _ in range(rounds):
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
    return 2 * size**3 * links / best


# === Fine-tuning ===


def fine_tuning(data, rows, rounds, blocks=2):
    """Seconds of an epoch that trains the top blocks on cached features, the same through the whole tower, and all blocks."""
    df = mm.sources.movies(data / "data/movies/movies.csv").head(rows)
    sides = {}
    with tempfile.TemporaryDirectory() as cache:
        for name, trainable in (("cached", blocks), ("all", True)):
            text = mm.Text("overview", encoder=data / "weights/all-MiniLM-L6-v2", pooling="mean", trainable=trainable)
            pipe = mm.Pipeline([text], mm.MultiLabel("genres"))
            pipe.fit(df, validation_data=False, epochs=1, verbose=0, cache_dir=cache)
            order = Order(32, 0, target=pipe.task.target(df), outputs=("genres",))
            attached = pipe.trunk.attach(pipe.head, fine_tune=True)
            sides[name] = attached.model, attached.dataset(df, order, pipe.trunk.cache.open())
            if name == "cached":
                columns = raw_values(df, pipe.modalities)
                order = dataclasses.replace(order, lengths=token_lengths(pipe.prepare, columns))
                whole = batches(columns, order, prepare=compiled(pipe.prepare))
                sides["whole"] = chain(pipe.encode, pipe.head), whole
        times = {name: [] for name in sides}
        for model, dataset in sides.values():
            model.compile("adam", "binary_crossentropy", jit_compile=False)
            model.fit(dataset, epochs=1, verbose=0, shuffle=False)  # traced, and warm
        for _ in range(rounds):
            for name, (model, dataset) in sides.items():
                seconds = Seconds()
                model.fit(dataset, epochs=1, verbose=0, shuffle=False, callbacks=[seconds])
                times[name] += seconds.epochs
    seconds = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(times["cached"], times[name], strict=True)) for name in times
    }
    print(
        f"{len(df)} films, an epoch that trains the top {blocks} of MiniLM's 6 blocks, on cached features: {seconds['cached']:.1f} s"
    )
    print(f"the same, with the blocks below run in each epoch: {seconds['whole']:.1f} s, ratio {ratios['whole']:.2f}")
    print(f"an epoch that trains all blocks: {seconds['all']:.1f} s, ratio {ratios['all']:.2f}")


if __name__ == "__main__":
    main()

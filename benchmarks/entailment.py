"""Multimodal entailment: mmkeras against the tutorial's procedure, on the same posts, batch size and weights.

    python benchmarks/entailment.py DATA_FOLDER [--rows 1197]

The tutorial decodes, scales and tokenises row by row, and runs the frozen ResNet50V2 and BERT again in every epoch; mmkeras
runs them once per row. Weights are random: speed does not depend on them. The tweets' own images cannot be had, so
each post gets a photo of Flickr8k, no two the same. DATA_FOLDER holds data/entailment/tweets.csv, data/flickr8k/images and
weights/all-MiniLM-L6-v2/vocab.txt. Prints ratios measured in one run; absolute times depend on the machine.
"""

import argparse
import pathlib
import statistics
import tempfile
import time

import keras
import keras_hub
import tensorflow as tf
from genre import Seconds

import mmkeras as mm
from mmkeras.layers import DecodeImage, Tokenize
from mmkeras.modalities.image import application
from mmkeras.models.entailment import SMALL_BERT

EPOCHS, BATCH, SIZE, TOKENS = 10, 32, (128, 128), 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=1197)
    options = parser.parse_args()
    df = mm.sources.entailment(options.folder / "data/entailment/tweets.csv").head(options.rows)
    photos = sorted(map(str, (options.folder / "data/flickr8k/images").glob("*.jpg")))
    df["image_1"], df["image_2"] = photos[: len(df)], photos[len(df) : 2 * len(df)]
    words = (options.folder / "weights/all-MiniLM-L6-v2/vocab.txt").read_text(encoding="utf-8").split("\n")[:30522]
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        bert, resnet = f"{folder}/bert", f"{folder}/resnet.weights.h5"
        keras_hub.models.BertBackbone(**SMALL_BERT).save_to_preset(bert)
        keras_hub.models.BertTokenizer(vocabulary=words, lowercase=True).save_to_preset(bert)
        build, _ = application("ResNet50V2")
        build(include_top=False, weights=None, input_shape=(*SIZE, 3), pooling="avg").save_weights(resnet)
        naive = tutorial(df, bert, resnet)
        cold = pipeline(df, bert, resnet, f"{folder}/cache")
        warm = pipeline(df, bert, resnet, f"{folder}/cache")
    print(f"\n{len(df)} pairs of posts, {EPOCHS} epochs, batch size {BATCH}, ResNet50V2 at 128 × 128 and BERT 2-layer")
    print(f"tutorial's procedure   {naive:8.1f} s (two epochs measured, the second extrapolated to the other eight)")
    print(f"mmkeras, cold cache    {cold:8.1f} s   {naive / cold:7.1f} times faster")
    print(f"mmkeras, warm cache    {warm:8.1f} s   {naive / warm:7.1f} times faster")
    decoding(photos[:1000])


def tutorial(df, bert, resnet):
    """Seconds of ten epochs as the tutorial trains."""
    model = mm.build_entailment_classifier(bert, image_weights=resnet, sequence_length=TOKENS)
    tokenizer = keras_hub.models.BertTokenizer.from_preset(bert)
    pack = Tokenize(tokenizer, tokenizer.cls_token_id, tokenizer.sep_token_id, sequence_length=TOKENS)
    task = mm.MultiClass("label").adapt(df)

    def one_row(row, label):
        tokens = pack([row["text_1"][None], row["text_2"][None]])
        inputs = {name: pad(tokens[name][0]) for name in ("token_ids", "padding_mask", "segment_ids")}
        for name in ("image_1", "image_2"):
            pixels = tf.io.decode_image(tf.io.read_file(row[name]), 3, expand_animations=False)
            inputs[name] = tf.image.resize(pixels, SIZE)
        return inputs, {"label": label}

    def pad(ids):
        return tf.ensure_shape(tf.pad(ids, [[0, TOKENS - tf.shape(ids)[0]]]), [TOKENS])

    columns = {name: df[name].tolist() for name in ("text_1", "text_2", "image_1", "image_2")}
    rows = tf.data.Dataset.from_tensor_slices((columns, task.encode(df))).shuffle(len(df))
    rows = rows.map(one_row, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    seconds = Seconds()
    model.fit(rows, epochs=2, callbacks=[seconds], verbose=0)
    print(f"tutorial's procedure, seconds of the first two epochs: {[round(s, 1) for s in seconds.epochs]}")
    return seconds.epochs[0] + (EPOCHS - 1) * seconds.epochs[1]


def pipeline(df, bert, resnet, cache):
    """Seconds of a whole `fit`: adapting, checking files, encoding, ten epochs."""
    modalities = [
        mm.Text(["text_1", "text_2"], encoder=bert, sequence_length=TOKENS, pooling="pooled"),
        mm.Image(["image_1", "image_2"], encoder="ResNet50V2", weights=resnet, image_size=SIZE),
    ]
    start = time.perf_counter()
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"))
    pipe.fit(df, validation_data=False, epochs=EPOCHS, batch_size=BATCH, verbose=0, cache_dir=cache)
    return time.perf_counter() - start


def decoding(photos, rounds=3):
    """Images per second from files to (128, 128, 3): `DecodeImage` against decode_image and resize, in turns."""
    layer = DecodeImage(SIZE)

    def plain(path):
        pixels = tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)
        return tf.image.resize(pixels, SIZE, antialias=True)

    files = tf.data.Dataset.from_tensor_slices(photos)
    batched = files.map(tf.io.read_file, tf.data.AUTOTUNE).batch(BATCH)
    for name, source in (("as they are, 224 × 224", batched), ("eight times the target, 1024 × 1024", None)):
        data = source
        paths = files
        if data is None:
            paths, data = enlarged(photos[:100])
        ratios, rates = [], []
        for _ in range(rounds):
            ours = rate(data.map(layer, tf.data.AUTOTUNE), len(photos) if source is not None else 100)
            naive = rate(paths.map(plain, tf.data.AUTOTUNE).batch(BATCH), len(photos) if source is not None else 100)
            ratios.append(ours / naive)
            rates.append((ours, naive))
        ours, naive = (statistics.median(values) for values in zip(*rates, strict=True))
        print(
            f"photos {name}: {ours:.0f} images/s against {naive:.0f} by decode_image and resize, "
            f"median of {rounds} ratios {statistics.median(ratios):.2f}"
        )


def enlarged(photos):
    """Datasets of the same photos as JPEGs of 1024 × 1024: of paths, and of batches of bytes."""
    folder = pathlib.Path(tempfile.mkdtemp())
    paths = []
    for number, photo in enumerate(photos):
        pixels = tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(photo), 3), (1024, 1024))
        paths.append(str(folder / f"{number}.jpg"))
        tf.io.write_file(paths[-1], tf.io.encode_jpeg(tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)))
    files = tf.data.Dataset.from_tensor_slices(paths)
    return files, files.map(tf.io.read_file, tf.data.AUTOTUNE).batch(BATCH)


def rate(dataset, count):
    start = time.perf_counter()
    for _ in dataset:
        pass
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

"""Multimodal entailment: mmkeras against the tutorial's procedure, on the same posts, batch size and weights.

    python benchmarks/entailment.py DATA_FOLDER [--rows 1197]

The tutorial decodes, scales and tokenises row by row, and runs the frozen ResNet50V2 and BERT again in every epoch; mmkeras
runs them once per row, by the engine that `Pipeline` chooses. Weights are random: speed does not depend on them. The tweets' own images cannot be had, so each
post gets a photo of Flickr8k, no two the same, enlarged to 1200 × 900 pixels, as large as Twitter serves photos. DATA_FOLDER holds data/entailment/tweets.csv, data/flickr8k/images and
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
from mmkeras.modalities.encoders.applications import application
from mmkeras.models.entailment import SMALL_BERT

EPOCHS, BATCH, SIZE, TOKENS = 10, 32, (128, 128), 128


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=1197)
    options = parser.parse_args()
    df = mm.sources.entailment(options.folder / "data/entailment/tweets.csv").head(options.rows)
    photos = sorted(map(str, (options.folder / "data/flickr8k/images").glob("*.jpg")))
    words = (options.folder / "weights/all-MiniLM-L6-v2/vocab.txt").read_text(encoding="utf-8").split("\n")[:30522]
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        bert, resnet = f"{folder}/bert", f"{folder}/resnet.weights.h5"
        keras_hub.models.BertBackbone(**SMALL_BERT).save_to_preset(bert)
        keras_hub.models.BertTokenizer(vocabulary=words, lowercase=True).save_to_preset(bert)
        build, _ = application("ResNet50V2")
        build(include_top=False, weights=None, input_shape=(*SIZE, 3), pooling="avg").save_weights(resnet)
        large = enlarged(photos[: 2 * len(df)], pathlib.Path(folder))
        df["image_1"], df["image_2"] = large[: len(df)], large[len(df) :]
        naive = tutorial(df, bert, resnet)
        cold = pipeline(df, bert, resnet, f"{folder}/cache")
        warm = pipeline(df, bert, resnet, f"{folder}/cache")
        decoding("as they are, 224 × 224", photos[:1000])
        decoding("enlarged, 1200 × 900", large[:300])
        plain = pipeline(df, bert, resnet, f"{folder}/plain", encode_engine="tensorflow")
    print(f"\n{len(df)} pairs of posts, {EPOCHS} epochs, batch size {BATCH}, ResNet50V2 at 128 × 128 and BERT 2-layer")
    print(f"tutorial's procedure   {naive:8.1f} s (two epochs measured, the second extrapolated to the other eight)")
    print(f"mmkeras, cold cache    {cold:8.1f} s   {naive / cold:7.1f} times faster")
    print(f"mmkeras, warm cache    {warm:8.1f} s   {naive / warm:7.1f} times faster")
    print(f"the same, TensorFlow   {plain:8.1f} s   {naive / plain:7.1f} times faster")


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


def pipeline(df, bert, resnet, cache, **settings):
    """Seconds of a whole `fit`: adapting, checking files, encoding, ten epochs."""
    modalities = [
        mm.Text(["text_1", "text_2"], encoder=bert, sequence_length=TOKENS, pooling="pooled"),
        mm.Image(["image_1", "image_2"], encoder="ResNet50V2", weights=resnet, image_size=SIZE),
    ]
    start = time.perf_counter()
    pipe = mm.Pipeline(modalities, mm.MultiClass("label"), **settings)
    pipe.fit(df, validation_data=False, epochs=EPOCHS, batch_size=BATCH, verbose=0, cache_dir=cache)
    return time.perf_counter() - start


def enlarged(photos, folder):
    """Paths of the same photos as JPEGs of 1200 × 900 pixels."""

    def one(number, path):
        pixels = tf.image.resize(tf.io.decode_jpeg(tf.io.read_file(path), 3), (900, 1200))
        data = tf.io.encode_jpeg(tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8), quality=90)
        name = tf.strings.join([str(folder), "/", tf.strings.as_string(number), ".jpg"])
        tf.io.write_file(name, data)
        return name

    rows = tf.data.Dataset.from_tensor_slices(photos).enumerate().map(one, tf.data.AUTOTUNE)
    return [name.decode() for name in rows.as_numpy_iterator()]


def decoding(name, photos, rounds=3):
    """Images per second from files to (128, 128, 3): `DecodeImage` against decode_image and resize, in turns."""

    def plain(path):
        pixels = tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)
        return tf.image.resize(pixels, SIZE, antialias=True)

    files = tf.data.Dataset.from_tensor_slices(photos)
    ours = files.map(tf.io.read_file, tf.data.AUTOTUNE).batch(BATCH).map(DecodeImage(SIZE), tf.data.AUTOTUNE)
    naive = files.map(plain, tf.data.AUTOTUNE).batch(BATCH)
    rates = [(rate(ours, len(photos)), rate(naive, len(photos))) for _ in range(rounds)]
    ratio = statistics.median(one / two for one, two in rates)
    one, two = (statistics.median(values) for values in zip(*rates, strict=True))
    print(
        f"photos {name}: {one:.0f} images/s against {two:.0f} by decode_image and resize, "
        f"median of {rounds} ratios {ratio:.2f}"
    )


def rate(dataset, count):
    start = time.perf_counter()
    for _ in dataset:
        pass
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()

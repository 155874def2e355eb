"""Image captioner: mmkeras against the tutorial's procedure, with the same weights and images.

    python benchmarks/captioner.py [--part decoding] [--images 256] [--naive 8] [--rounds 3]
    python benchmarks/captioner.py --part training [--images 48] [--naive 32] [--dtype mixed_bfloat16]
    python benchmarks/captioner.py --part memory

Decoding: the tutorial runs one image at a time, a Keras model called eagerly word by word, its answer looked up in a vocabulary
that is fetched from the layer for every word. Here it takes the most likely word, as greedy decoding does, so that both
write the same words; the draw among ten that the tutorial has costs it a little more. mmkeras decodes 64 images at a time in
one compiled graph. Both write 64 words: with random weights no end comes, and speed does not depend on the weights. The
sides take turns; printed are captions per second and the median of the rounds' ratios.

Training: the tutorial runs the frozen InceptionResNetV2 again for each caption in every epoch, and pads captions to 64 words. Both
sides learn from drawn scenes with five captions each, for ten epochs; of the tutorial's, four are measured, two before mmkeras and two
behind, on the first `--naive` images, and the median of those after the first is extrapolated. Memory: peaks of whole processes as images grow tenfold. Absolute numbers depend on the machine.
"""

import argparse
import functools
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf

import mmkeras as mm
from mmkeras.decoding import decode, generate_from_patches
from mmkeras.layers.words import END, SPECIAL, START

WORDS, WIDTH, STEPS, BATCH, EPOCHS = 20_000, 512, 64, 64, 10


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=["decoding", "training", "memory"], default="decoding")
    parser.add_argument("--images", type=int, help="images that mmkeras captions in a round (256), or learns from (48)")
    parser.add_argument(
        "--naive", type=int, help="images that the tutorial's procedure captions in a round (8), or learns from (all)"
    )
    parser.add_argument("--dtype", help="of mmkeras's head in training, for example mixed_bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    if options.memory_of:
        memory_of(options.memory_of)
    elif options.part == "memory":
        memory()
    elif options.part == "training":
        training(options.images or 48, options.naive, options.dtype)
    else:
        decoding(options.images or 256, options.naive or 8, options.rounds)


# === Decoding ===


def decoding(images, naive, rounds):
    """Captions per second of both sides, without and with the encoder."""
    model = mm.build_captioner(WORDS, WIDTH, weights=None)
    # Without an end both sides write all 64 words.
    model.get_layer("decoder").output_layer.bias[END].assign(-1e9)
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    vocabulary = [*SPECIAL, *(f"word{number}" for number in range(len(SPECIAL), WORDS))]
    tutorial = Tutorial(encoder, decoder, vocabulary)
    rng = np.random.default_rng(0)
    patches = tf.constant(rng.normal(size=(images, 64, WIDTH)), tf.float32)
    pixels = rng.integers(0, 256, (min(images, 32), 299, 299, 3), dtype="uint8")

    greedy = decode(decoder, patches[:1], max_length=STEPS)["tokens"][0].numpy()
    assert [vocabulary[number] for number in greedy] == tutorial.caption(patches[:1]), "both must write the same words"
    sides = {"greedy": {}, "beam 5": {"method": "beam", "beam_width": 5}}

    def of_patches(**settings):
        parts = tf.data.Dataset.from_tensor_slices(patches).batch(BATCH)
        return generate_from_patches(decoder, parts, vocabulary, max_length=STEPS, **settings)

    def of_images(**settings):
        return mm.generate(model, pixels, vocabulary, max_length=STEPS, **settings)

    print(f"decoding, {WORDS} words, {STEPS} steps, captions per second:")
    for name, ours, count, theirs in (
        ("patches given", of_patches, images, lambda: [tutorial.caption(patches[i : i + 1]) for i in range(naive)]),
        ("from pixels", of_images, len(pixels), lambda: [tutorial.caption_image(pixels[i]) for i in range(naive)]),
    ):
        for settings in sides.values():  # traced, and warm
            ours(**settings)
        theirs()
        rates = {side: [] for side in (*sides, "tutorial")}
        for _ in range(rounds):
            rates["tutorial"].append(naive / seconds(theirs))
            for side, settings in sides.items():
                rates[side].append(count / seconds(functools.partial(ours, **settings)))
        print(f"  {name}: tutorial's procedure {statistics.median(rates['tutorial']):.2f}")
        for side in sides:
            ratio = statistics.median(one / two for one, two in zip(rates[side], rates["tutorial"], strict=True))
            print(f"  {name}: mmkeras, {side} {statistics.median(rates[side]):.1f}, {ratio:.1f} times as many")


class Tutorial:
    """One image at a time, one eager call a word, the vocabulary fetched in the loop."""

    def __init__(self, encoder, decoder, vocabulary):
        self.encoder = encoder
        self.tokenizer = keras.layers.StringLookup(vocabulary=vocabulary[2:], mask_token="", oov_token=SPECIAL[1])
        words, state = keras.Input((1,), dtype="int32"), keras.Input((WIDTH,))
        patches = keras.Input((64, WIDTH))
        gru = keras.layers.GRU(WIDTH, return_sequences=True, return_state=True)
        seen, after = gru(decoder.embedding(words), initial_state=state)
        gru.set_weights(decoder.gru.get_weights())
        context = keras.layers.Attention()([seen, patches])
        logits = decoder.output_layer(decoder.norm(keras.layers.Add()([seen, context])))
        self.step = keras.Model([words, state, patches], [logits, after])

    def caption_image(self, pixels):
        return self.caption(self.encoder(tf.cast(pixels, "float32")[None]))

    def caption(self, patches):
        """(1, 64, W) → list of words."""
        state, word, result = tf.zeros((1, WIDTH)), tf.constant([[START]]), []
        for _ in range(STEPS):
            logits, state = self.step([word, state, patches])
            number = int(tf.argmax(logits[0][0]).numpy())
            result.append(self.tokenizer.get_vocabulary()[number])
            if number == int(self.tokenizer("[end]")):
                break
            word = tf.constant([[number]])
        return result


# === Training ===


def training(images, some=None, dtype=None):
    """Ten epochs: the tutorial's procedure against a Pipeline with a cold cache, and with a warm one."""
    with tempfile.TemporaryDirectory() as folder:
        df = mm.samples.captions(images, 0, f"{folder}/scenes")
        model = mm.build_captioner(WORDS, WIDTH, weights=None)
        weights = f"{folder}/inception.weights.h5"
        build = keras.applications.InceptionResNetV2
        build(include_top=False, weights=None, input_shape=(299, 299, 3)).save_weights(weights)
        epoch = tutorial_training(model, df.head(5 * (some or images)))
        times = [epoch(), epoch()]
        cold, warm = (pipeline_training(df, weights, f"{folder}/cache", dtype) for _ in range(2))
        times += [epoch(), epoch()]  # machines slow down and speed up
        usual = statistics.median(times[1:])
        naive = times[0] - usual + EPOCHS * usual * images / (some or images)
    print(f"tutorial's procedure, seconds of two epochs before and two behind: {[round(value, 1) for value in times]}")
    print(f"\n{images} images with five captions each, {EPOCHS} epochs, InceptionResNetV2 at 299 × 299")
    print(f"tutorial's procedure   {naive:8.1f} s")
    print(f"mmkeras, cold cache    {cold:8.1f} s   {naive / cold:7.1f} times faster")
    print(f"mmkeras, warm cache    {warm:8.1f} s   {naive / warm:7.1f} times faster")


def tutorial_training(model, df):
    """A function that runs an epoch and gives its seconds: every pair decodes its image and passes the network."""
    vocabulary = mm.layers.learn_vocabulary(list(df["caption"]), WORDS)
    tokens = mm.layers.CaptionTokens(vocabulary, STEPS + 1)

    def pair(path, caption):
        pixels = tf.io.decode_image(tf.io.read_file(path), 3, expand_animations=False)
        words = tokens(caption[None])[0]
        return {"image": tf.image.resize(pixels, (299, 299)), "caption": words[:-1]}, words[1:]

    rows = tf.data.Dataset.from_tensor_slices((list(df["image"]), list(df["caption"])))
    rows = rows.map(pair, tf.data.AUTOTUNE).batch(32).prefetch(tf.data.AUTOTUNE)
    model.compile("adam", mm.losses.MaskedTokenCrossentropy(), jit_compile=False)
    return lambda: seconds(lambda: model.fit(rows, verbose=0, shuffle=False))


def pipeline_training(df, weights, cache, dtype):
    image = mm.Image("image", "InceptionResNetV2", weights, (299, 299), pooling=None)
    pipe = mm.Pipeline([image], mm.Caption("caption"), width=WIDTH, dtype=dtype)
    settings = {"validation_data": False, "epochs": EPOCHS, "batch_size": 32, "verbose": 0, "cache_dir": cache}
    return seconds(lambda: pipe.fit(df, **settings))


# === Memory ===


def memory():
    """Peak memory of a fit as images grow tenfold, each in a fresh process."""
    peaks = {}
    for images in (500, 5_000):
        command = [sys.executable, __file__, "--memory-of", str(images)]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[images] = float(run.stdout.splitlines()[-1])
    first, last = peaks.values()
    print(
        f"peak memory of a fit on {' and '.join(map(str, peaks))} images: {first:.0f} and {last:.0f} MiB, ratio {last / first:.2f}"
    )


def memory_of(images):
    """Fit on drawn scenes with a frozen network of random weights; print the process's peak in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        df = mm.samples.captions(images, 0, folder)
        image = mm.Image("image", "MobileNetV2", None, (96, 96), pooling=None)
        pipe = mm.Pipeline([image], mm.Caption("caption"), width=64)
        pipe.fit(df, validation_data=False, epochs=1, batch_size=64, verbose=0, cache_dir=f"{folder}/cache")
    status = pathlib.Path("/proc/self/status").read_text()
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

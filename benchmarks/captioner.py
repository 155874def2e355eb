"""Image captioner: mmkeras against the tutorial's procedure, with the same weights and images.

    python benchmarks/captioner.py [--images 256] [--naive 8] [--rounds 3]

Decoding: the tutorial runs one image at a time, a Keras model called eagerly word by word, its answer looked up in a vocabulary
that is fetched from the layer for every word. Here it takes the most likely word, as greedy decoding does, so that both
write the same words; the draw among ten that the tutorial has costs it a little more. mmkeras decodes 64 images at a time in
one compiled graph. Both write 64 words: with random weights no end comes, and speed does not depend on the weights. The
sides take turns; printed are captions per second and the median of the rounds' ratios. Absolute times depend on the machine.
"""

import argparse
import functools
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import mmkeras as mm
from mmkeras.decoding import decode, generate_from_patches
from mmkeras.layers.captions import END, SPECIAL, START

WORDS, WIDTH, STEPS, BATCH = 20_000, 512, 64, 64


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=256, help="images that mmkeras captions in a round")
    parser.add_argument("--naive", type=int, default=8, help="images that the tutorial's procedure captions in a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    decoding(options.images, options.naive, options.rounds)


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


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

"""Decoding as a function of a decoder and patches, and as a layer of a model."""

import dataclasses
import functools

import keras
import tensorflow as tf

from mmkeras.decoding.search import beam, follow
from mmkeras.decoding.settings import Settings
from mmkeras.decoding.step import chances_of_rows

PACKAGE = "mmkeras"
KEPT = 16  # compiled functions a decoder keeps


def decode(decoder, patches, patch_mask=None, rows=None, **settings):
    """Captions of images from their patches, as one compiled graph: (B, P, W) → word numbers and how they came about.

    Padding and the start are never given as words. A caption that reaches `max_length` words before its end keeps
    them all.

    An image's greedy or beam caption does not depend on which images share its batch, up to the rounding of matrix
    products. A sampled one depends on the seed and on its row's number: the same image under the same number is given
    the same words in any batch.

    Args:
        decoder: a `CaptionDecoder` that has been built.
        patches: (B, P, W) floats.
        patch_mask: None or (B, P), 1 where there is a patch.
        rows: None for 0 to B − 1, or (B,) ints, the rows' numbers for sampling.
        method: "greedy", "sample" or "beam".
        beam_width: int, K, for "beam".
        temperature: float, for "sample": below 1 sharpens the chances, above 1 flattens them.
        top_k: None or int, for "sample": draw among the k most likely words.
        top_p: None or float, for "sample": draw among the fewest words that together reach this chance (Holtzman et
            al., 2020, https://arxiv.org/abs/1904.09751).
        length_penalty: float, for "beam": log-probabilities are compared divided by length ** length_penalty; 0 compares
            them as they are, 1 their mean a word.
        max_length: int, T, the most words, the end among them. min_length: int, words before which it may not end.
        seed: int, for "sample".
        forbid_repeats: int; 1 or more: no word twice in a row; n of 2 or more: also no n words twice in a caption.
        forbid_unknown: bool, whether the unknown word is never given.
        start, end: ints, their numbers in the vocabulary.

    Returns:
        dict of tensors:
            "tokens": (B, T) int32, the words, then the end if it was reached, then 0;
            "log_probabilities": (B,) of all words and the end, by the decoder's own chances;
            "step_log_probabilities": (B, T), 0 after the end;
            "lengths": (B,) int32, words without the end;
            "attention": (B, T, P), how each word looked at the patches, 0 after the end.

    Raises:
        ValueError: a setting outside the above; a beam wider than the vocabulary; a decoder that is not built.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> decoder = mm.layers.CaptionDecoder(50, width=8)
        >>> patches = np.ones((2, 4, 8), "float32")
        >>> logits = decoder(np.array([[2], [2]]), patches)  # builds it
        >>> decode(decoder, patches, method="beam", beam_width=3, max_length=5)["tokens"].shape
        TensorShape([2, 5])
    """
    settings = Settings(**settings)
    if not decoder.built:
        raise ValueError(
            "`decoder` must have weights before it decodes. Received: a CaptionDecoder that is not built. "
            "Call it once, or take it from a model."
        )
    settings.check_vocabulary_size(decoder.vocabulary_size)
    patches = tf.convert_to_tensor(patches)
    patches = tf.cast(patches, decoder.compute_dtype)
    rows = tf.range(tf.shape(patches)[0]) if rows is None else tf.cast(rows, tf.int32)
    arguments = [patches, rows, tf.constant(settings.seed % 2**31, tf.int32)]
    if patch_mask is not None:
        arguments.append(tf.cast(patch_mask, tf.bool))
    settings = dataclasses.replace(settings, seed=0)  # it is an argument, so that another seed is no other graph
    signature = [tf.TensorSpec((None, *x.shape[1:]) if x.shape.rank else (), x.dtype) for x in arguments]

    def run(patches, rows, seed, patch_mask=None):
        if settings.method == "beam":
            return beam(decoder, patches, patch_mask, settings)
        chances = chances_of_rows(seed, rows, settings.max_length) if settings.method == "sample" else None
        return follow(decoder, patches, patch_mask, settings, chances=chances)

    return compiled(decoder, settings, run, signature)(*arguments)


def compiled(owner, key, function, signature):
    """A tf.function, kept with the layer it belongs to, so that it is traced once and goes when the layer goes."""
    known = owner.__dict__.setdefault("_compiled_functions", {})  # past Keras, which would track it for saving
    key = (key, tuple(signature))
    # Partial: TensorFlow knows functions by their code, and would take those of many decoders for one that is traced too often.
    known[key] = known.pop(key, None) or tf.function(
        functools.partial(function), input_signature=signature, autograph=False
    )
    if len(known) > KEPT:
        del known[next(iter(known))]  # the one not used for longest
    return known[key]


@keras.saving.register_keras_serializable(PACKAGE)
class DecodeCaptions(keras.layers.Layer):
    """`decode` as a layer, for models that go from images to captions: (B, P, W) patches → what `decode` returns.

    The decoder is used as it is: its weights are those that train, not a copy.

    Args:
        decoder: a `CaptionDecoder`, or its serialised form.
        **settings: as in `decode`: method, beam_width, temperature, top_k, top_p, length_penalty, max_length, min_length, seed,
            forbid_repeats, forbid_unknown, start, end.

    Call arguments:
        patches: (B, P, W).
        patch_mask: None or (B, P).

    Raises:
        ValueError: as `decode`.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> layer = DecodeCaptions(mm.layers.CaptionDecoder(50, width=8), max_length=5)
        >>> layer(np.ones((2, 4, 8), "float32"))["lengths"].shape
        TensorShape([2])
    """

    def __init__(self, decoder, **kwargs):
        names = {field.name for field in dataclasses.fields(Settings)}
        self.settings = Settings(**{name: kwargs.pop(name) for name in names & set(kwargs)})
        super().__init__(**kwargs)
        self.decoder = keras.saving.deserialize_keras_object(decoder) if isinstance(decoder, dict) else decoder
        self.settings.check_vocabulary_size(self.decoder.vocabulary_size)
        self.supports_jit = False  # the number of sequences that go on is known at each step only

    def build(self, patches_shape, patch_mask_shape=None):
        if not self.decoder.built:
            self.decoder.build((patches_shape[0], None), patches_shape, patch_mask_shape)

    def call(self, patches, patch_mask=None):
        return decode(self.decoder, patches, patch_mask, **dataclasses.asdict(self.settings))

    def compute_output_spec(self, patches, patch_mask=None):
        batch, length = patches.shape[0], self.settings.max_length
        return {
            "tokens": keras.KerasTensor((batch, length), "int32"),
            "log_probabilities": keras.KerasTensor((batch,), "float32"),
            "step_log_probabilities": keras.KerasTensor((batch, length), "float32"),
            "lengths": keras.KerasTensor((batch,), "int32"),
            "attention": keras.KerasTensor((batch, length, patches.shape[1]), "float32"),
        }

    def get_config(self):
        decoder = keras.saving.serialize_keras_object(self.decoder)
        return {**super().get_config(), "decoder": decoder, **dataclasses.asdict(self.settings)}

"""The image captioner: patches of a convolutional network, described word by word."""

import keras

from mmkeras.decoding import DecodeCaptions
from mmkeras.layers import CaptionDecoder, CaptionText, DecodeImage
from mmkeras.layers.words import check_vocabulary
from mmkeras.modalities.image import image_tower


def build_captioner(
    vocabulary_size=20_000, width=512, sequence_length=64, image_encoder="InceptionResNetV2", weights="imagenet",
    image_size=(299, 299), trainable=False, *, dropout=0.0, tied=False, heads=None, first_state="zeros",
):  # fmt: skip
    """The graph of the tutorial "image captioning", as one model.

    "encoder": the network's last grid, 8 × 8 patches of 1,536 features, → Dense `width` with relu for each patch: 55,123,680
    parameters, of which 786,944 train. "decoder": Embedding → GRU, its output attends to the patches → both added and
    normalised → Dense: 22,076,960 parameters. The encoder brings pixels to the range its network was trained with; the
    tutorial fed 0 to 1 where −1 to 1 was due.

    It is trained with `losses.MaskedTokenCrossentropy`, reading the words and answering the next ones, see
    `layers.teacher_forcing`. `generate` writes captions with it, `build_caption_server` makes a model of image files of it.

    Args:
        vocabulary_size: int, words, the four special ones among them.
        width: int, of embedding, state and patches.
        sequence_length: int, words the decoder reads in training; None for any length.
        image_encoder: a network of keras.applications, or "scratch".
        weights: "imagenet" (downloaded by Keras), None (random), or a path, see `Image`.
        image_size: (H, W).
        trainable: bool, whether the network of the encoder trains.
        dropout, tied, heads, first_state: as in `layers.CaptionDecoder`.

    Returns:
        keras.Model, not compiled, from {"image": (B, H, W, 3) pixels from 0 to 255, "caption": (B, T) int32} to logits of
        the next words, (B, T, vocabulary_size).

    Raises:
        ValueError: settings outside the above; an image too small for its network to leave a patch.

    Example:
        >>> import mmkeras as mm
        >>> model = mm.build_captioner(500, 32, image_encoder="scratch", weights=None, image_size=(64, 64))
        >>> model.output.shape, model.get_layer("encoder").output.shape
        ((None, 64, 500), (None, 16, 32))
    """
    if sequence_length is not None and (not isinstance(sequence_length, int) or sequence_length < 1):
        raise ValueError(f"`sequence_length` must be None or a positive int. Received: {sequence_length!r}.")
    # The decoder checks its settings at once; the network takes seconds to build.
    decoder = CaptionDecoder(vocabulary_size, width, dropout, tied, heads, first_state, name="decoder")
    encoder = patch_encoder(image_encoder, weights, image_size, width, trainable=trainable)
    image = keras.Input((*image_size, 3), name="image")
    caption = keras.Input((sequence_length,), dtype="int32", name="caption")
    return keras.Model({"image": image, "caption": caption}, decoder(caption, encoder(image)), name="captioner")


def patch_encoder(image_encoder, weights, image_size, width, *, trainable=False):
    """keras.Model "encoder" from pixels (B, H, W, 3) to patches (B, P, width); its layer "patches" flattens the grid."""
    image = keras.Input((*image_size, 3), name="image")
    tower = image_tower(image_encoder, weights, image_size, None)
    tower.name, tower.trainable = "tower", trainable or image_encoder == "scratch"
    grid = tower(image)  # (B, h, w, D)
    if 0 in grid.shape[1:3]:
        raise ValueError(
            f"`image_size` must leave {image_encoder} a patch. Received: {tuple(image_size)}. Use larger images."
        )
    patches = keras.layers.Reshape((-1, grid.shape[-1]), name="patches")(grid)
    return keras.Model(image, keras.layers.Dense(width, activation="relu", name="bring")(patches), name="encoder")


def grid_shape(model):
    """(h, w) of the patches of a captioner."""
    return tuple(model.get_layer("encoder").get_layer("patches").input.shape[1:3])


def build_caption_server(model, vocabulary, **settings):
    """A captioner as one model from image files to captions, to be saved or exported as a SavedModel.

    It shares the captioner's weights: what is trained there shows here.

    Args:
        model: from `build_captioner`.
        vocabulary: list of words, from `layers.learn_vocabulary`.
        **settings: as in `decoding.decode`, for example method="beam".

    Returns:
        keras.Model from {"image": (B,) strings, the bytes of JPEG, PNG, GIF, BMP or WebP files} to {"caption": (B,)
        strings, "log_probability": (B,)}.

    Raises:
        ValueError: a vocabulary of another size than the model's; settings as in `decoding.decode`.

    Example:
        >>> import mmkeras as mm
        >>> vocabulary = mm.layers.learn_vocabulary(["a red dog", "a blue dog"])
        >>> model = mm.build_captioner(len(vocabulary), 16, image_encoder="scratch", weights=None, image_size=(32, 32))
        >>> sorted(mm.models.build_caption_server(model, vocabulary, method="beam", beam_width=2).output)
        ['caption', 'log_probability']
    """
    words = vocabulary_of(model, vocabulary)
    encoder, decoder = model.get_layer("encoder"), model.get_layer("decoder")
    data = keras.Input((), dtype="string", name="image")
    pixels = DecodeImage(encoder.input.shape[1:3], name="pixels")(data)
    captions = DecodeCaptions(decoder, name="words", **settings)(encoder(keras.ops.cast(pixels, "float32")))
    caption = CaptionText(words, name="caption")(captions["tokens"])
    output = {"caption": caption, "log_probability": captions["log_probabilities"]}
    return keras.Model({"image": data}, output, name="caption_server")


def vocabulary_of(model, vocabulary):
    """The vocabulary as a list, of the size that the captioner was built for.

    Raises:
        ValueError: another size.
    """
    words, size = check_vocabulary(vocabulary), model.get_layer("decoder").vocabulary_size
    if len(words) != size:
        raise ValueError(
            f"`vocabulary` must have one word for each logit of the model. Received: {len(words)} words, {size} logits. "
            f"Use the vocabulary it was trained with, or build_captioner(vocabulary_size={len(words)})."
        )
    return words

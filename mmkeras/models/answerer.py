"""The question answerer: a question scales and shifts what a convolutional network sees, and one answer is chosen."""

import keras

from mmkeras.fusion import FilmFusion, StackedAttentionFusion
from mmkeras.models.captioner import patch_encoder

LOOKS = {"film": FilmFusion, "stacked_attention": StackedAttentionFusion}


def build_question_answerer(
    num_answers=1000, vocabulary_size=10_000, image_encoder="ResNet50V2", weights="imagenet", image_size=(224, 224), *,
    width=512, fusion="film", dropout=0.1, trainable=False,
):  # fmt: skip
    """Visual question answering as one graph: which of some answers a question about an image has.

    The question's words go through an embedding of 300 and a GRU, the image through a network whose last grid is brought to `width`
    patches; the question looks at the patches by `fusion`; a hidden layer and a softmax choose. With the vocabulary's words for inputs and
    a product in place of the look it is the baseline of Antol et al., 2015 (https://arxiv.org/abs/1505.00468).

    Args:
        num_answers: int, at least 2.
        vocabulary_size: int, words that the question may have; 0 is padding.
        image_encoder: a network of keras.applications, or "scratch".
        weights: "imagenet" (downloaded by Keras), None (random), or a path, see `Image`.
        image_size: (H, W).
        width: int, of the state, the patches and the hidden layer.
        fusion: "film" (Perez et al., 2018) or "stacked_attention" (Yang et al., 2016), see `fusion`.
        dropout: float, share of the hidden layer left out in training.
        trainable: bool, whether the network of the image trains.

    Returns:
        keras.Model, not compiled, from {"image": (B, H, W, 3) pixels from 0 to 255, "question": (B, T) int32} to {"answer":
        (B, num_answers) probabilities}.

    Raises:
        ValueError: an unknown fusion, fewer than two answers, an image too small for its network to leave a patch.

    Example:
        >>> import mmkeras as mm
        >>> model = mm.build_question_answerer(13, 50, "scratch", None, (64, 64), width=32)
        >>> model.output["answer"].shape
        (None, 13)
    """
    if fusion not in LOOKS:
        raise ValueError(f"`fusion` must be one of {tuple(LOOKS)}. Received: {fusion!r}.")
    if isinstance(num_answers, bool) or not isinstance(num_answers, int) or num_answers < 2:
        raise ValueError(f"`num_answers` must be an int of at least 2. Received: {num_answers!r}.")
    image = keras.Input((*image_size, 3), name="image")
    question = keras.Input((None,), dtype="int32", name="question")
    patches = patch_encoder(image_encoder, weights, image_size, width, trainable=trainable)(image)
    words = keras.layers.Embedding(vocabulary_size, 300, mask_zero=True, name="words")(question)
    asked = keras.layers.GRU(width, name="asked")(words)
    there = keras.ops.ones_like(patches[..., 0])
    x = LOOKS[fusion](width, name="look")(patches, there, there[:, :1], asked)
    x = keras.layers.Dense(width, activation="gelu", name="hidden")(x)
    x = keras.layers.Dropout(dropout, name="hidden_drop")(x)
    answer = keras.layers.Dense(num_answers, activation="softmax", dtype="float32", name="answer")(x)
    return keras.Model({"image": image, "question": question}, {"answer": answer}, name="question_answerer")

"""The head that writes captions: features of every modality as patches, and a decoder that looks at them."""

import keras

from mmkeras.decoding import DecodeCaptions
from mmkeras.graph import submodel
from mmkeras.heads.inputs import HeadInputs, modality_names
from mmkeras.layers import CaptionDecoder, CaptionText, PatchPositions


def build_caption_head(
    features, task, modalities=None, *, width=512, dropout=0.4, tied=True, heads=8, first_state="patches", dtype=None,
):  # fmt: skip
    """Features and the words so far → logits of the next words, as one Functional model.

    The features of all modalities stand side by side as patches; a feature vector is one patch. Each is brought to
    `width`, normalised, and told its place in the grid. The decoder is `layers.CaptionDecoder`.

    Args:
        features: see `build_head`.
        task: an adapted `Caption`.
        modalities: names of the features to use; None takes all.
        width: int, of patches, words and state.
        dropout: float, share of features and of the decoder's activations left out in training.
        tied, heads, first_state: see `layers.CaptionDecoder`. The defaults are those that describe unseen photos best;
            `build_captioner` has the tutorial's.
        dtype: Keras dtype policy, for example "mixed_bfloat16"; None for Keras's default.

    Returns:
        keras.Model from the used features, {"column.tokens": (N, T) int32} and {"column.row": (N,) int32}, the row of the
        features that each of the N captions is about, to {task.column: (N, T, V) logits}.

    Raises:
        ValueError: settings that `CaptionDecoder` refuses.
    """
    names = modalities or modality_names(features)
    decoder = CaptionDecoder(
        len(task.vocabulary), width, dropout, tied, heads, first_state, dtype=dtype, name="decoder"
    )
    take = HeadInputs(features)
    patches, masks = [], []
    for name in names:
        x, there = take(name), take(f"{name}.present")
        if len(x.shape) == 2:
            x, mask = keras.ops.expand_dims(x, 1), there
        else:
            mask = take.mask(name)
        # A feature is left out of all patches alike, and normalised once it is narrow: grids are wide, and memory is slow.
        x = keras.layers.SpatialDropout1D(dropout / 2, dtype=dtype, name=f"{name}_drop")(x)
        x = keras.layers.Dense(width, activation="relu", dtype=dtype, name=f"{name}_bring")(x)
        x = keras.layers.LayerNormalization(dtype=dtype, name=f"{name}_normalise")(x)
        if x.shape[1] is not None and x.shape[1] > 1:
            x = PatchPositions(dtype=dtype, name=f"{name}_positions")(x)
        patches.append(x)
        masks.append(keras.ops.cast(mask, "float32"))
    patches = (
        keras.layers.Concatenate(axis=1, dtype=dtype, name="patches")(patches)
        if len(names) > 1
        else (keras.layers.Identity(dtype=dtype, name="patches")(patches[0]))
    )
    mask = (
        keras.layers.Concatenate(axis=1, name="patch_mask")(masks)
        if len(names) > 1
        else (keras.layers.Identity(name="patch_mask")(masks[0]))
    )
    words = keras.Input((None,), dtype="int32", name=f"{task.column}.tokens")
    row = keras.Input((), dtype="int32", name=f"{task.column}.row")
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(decoder(words, patches, mask, row))
    inputs = {**take.inputs, f"{task.column}.tokens": words, f"{task.column}.row": row}
    return keras.Model(inputs, {task.column: logits}, name="head")


def patches_of(head):
    """keras.Model from features to {"patches": (B, P, W), "mask": (B, P)}, with the weights of a caption head."""
    outputs = {"patches": head.get_layer("patches").output, "mask": head.get_layer("patch_mask").output}
    return submodel(head.input, outputs, name="patches")


def writing_head(head, task, **settings):
    """keras.Model from features to {task.column: (B,) strings, "score": (B,)}, with the weights of a caption head."""
    patches = patches_of(head)
    found = patches(patches.input)
    written = DecodeCaptions(head.get_layer("decoder"), name="words", **settings)(found["patches"], found["mask"])
    caption = CaptionText(list(task.vocabulary), name="caption")(written["tokens"])
    return keras.Model(patches.input, {task.column: caption, "score": written["log_probabilities"]}, name="writer")

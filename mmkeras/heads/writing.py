"""The third stage for sentences: features of every modality as patches, and a decoder that looks at them."""

import weakref

import keras
import numpy as np

from mmkeras.decoding import DecodeCaptions
from mmkeras.graph import submodel
from mmkeras.heads.decisions import read_features
from mmkeras.heads.inputs import HeadInputs, JoinInputs
from mmkeras.layers import CaptionDecoder, CaptionText, PatchPositions

# Of `layers.CaptionDecoder`: what describes unseen photos best; `build_captioner` has the tutorial's.
DECODER = {"tied": True, "heads": 8, "first_state": "patches"}


def build_caption_head(
    inputs, task, *, width=512, dropout=0.4, fusion=None, dtype=None, **decoder,
):  # fmt: skip
    """Features and the words so far → logits of the next words, as one Functional model.

    The features of all modalities stand side by side as patches; a feature vector is one patch. Each is brought to
    `width`, normalised, and told its place in the grid. The decoder is `layers.CaptionDecoder`.

    Args:
        inputs: `HeadInputs`.
        task: an adapted `Caption`.
        width: int, of patches, words and state.
        dropout: float, share of features and of the decoder's activations left out in training.
        fusion: class of a fusion that joins the modalities to a vector, which is added to every patch; None for none.
        dtype: Keras dtype policy, for example "mixed_bfloat16"; None for Keras's default.
        **decoder: tied, heads, first_state, see `layers.CaptionDecoder`; those left out are of `DECODER`.

    Returns:
        keras.Model from the used features, {"column.tokens": (N, T) int32} and {"column.row": (N,) int32}, the row of the
        features that each of the N captions is about, to {task.column: (N, T, V) logits}.

    Raises:
        ValueError: settings that `CaptionDecoder` refuses.
    """
    settings = {**DECODER, **decoder}
    decoder = CaptionDecoder(len(task.vocabulary), width, dropout, dtype=dtype, name="decoder", **settings)
    patches, masks = [], []
    for name in inputs.names:
        x, mask = _as_patches(inputs, name)
        # A feature is left out of all patches alike, and normalised once it is narrow: grids are wide, and memory is slow.
        x = keras.layers.SpatialDropout1D(dropout / 2, dtype=dtype, name=f"{name}_drop")(x)
        x = keras.layers.Dense(width, activation="relu", dtype=dtype, name=f"{name}_bring")(x)
        x = keras.layers.LayerNormalization(dtype=dtype, name=f"{name}_normalise")(x)
        if x.shape[1] is not None and x.shape[1] > 1:
            x = PatchPositions(dtype=dtype, name=f"{name}_positions")(x)
        patches.append(x)
        masks.append(keras.ops.cast(mask, "float32"))
    if fusion is not None and len(inputs.names) > 1:
        vector = _fused(inputs, fusion, width=width, dropout=dropout, heads=settings["heads"] or 1)[:, None]
        patches = [keras.ops.add(x, keras.ops.cast(vector, x.dtype)) for x in patches]
    patches, mask = _joined(patches, "patches", dtype), _joined(masks, "patch_mask")
    words = keras.Input((None,), dtype="int32", name=f"{task.column}.tokens")
    row = keras.Input((), dtype="int32", name=f"{task.column}.row")
    logits = keras.layers.Activation("linear", dtype="float32", name="logits")(decoder(words, patches, mask, row))
    read = {**inputs.inputs, f"{task.column}.tokens": words, f"{task.column}.row": row}
    return keras.Model(read, {task.column: logits}, name="head")


def _as_patches(inputs: HeadInputs, name):
    """(B, P, D) patches of a modality and (B, P) which of them are there."""
    if inputs.is_sequence(name):
        return inputs(name), keras.ops.cast(inputs.mask(name), "float32") * inputs.present(name)
    return keras.ops.expand_dims(inputs(name), 1), inputs.present(name)


def _fused(inputs, fusion, *, width, dropout, heads):
    """(B, width), what a fusion makes of the modalities, normalised."""
    read = read_features(inputs, fusion, dict.fromkeys(inputs.names, dropout), before="fuse_")

    def decide(x, number=0, plus=None):
        x = keras.layers.Dense(width, activation="gelu", name=f"fused_{number}")(x)
        return x if plus is None else keras.ops.add(x, plus)

    joined = fusion.join(
        JoinInputs(**read, units=width, dropout=dropout, attention_heads=heads, decide=decide, decide_linearly=decide)
    )
    return keras.layers.LayerNormalization(name="fused")(joined)


def _joined(tensors, name, dtype=None):
    """Tensors side by side along their second axis, as a layer of this name."""
    if len(tensors) == 1:
        return keras.layers.Identity(dtype=dtype, name=name)(tensors[0])
    return keras.layers.Concatenate(axis=1, dtype=dtype, name=name)(tensors)


_patches = weakref.WeakKeyDictionary()  # head → its patches, so that their graph is made once


def patches_of(head):
    """keras.Model from features to {"patches": (B, P, W), "mask": (B, P)}, with the weights of a caption head."""
    if head not in _patches:
        outputs = {"patches": head.get_layer("patches").output, "mask": head.get_layer("patch_mask").output}
        _patches[head] = submodel(head.input, outputs, name="patches")
    return _patches[head]


def writing_head(head, task, **settings):
    """keras.Model from features to {task.column: (B,) strings, "score": (B,)}, with the weights of a caption head."""
    patches = patches_of(head)
    seen = patches(patches.input)
    decoded = DecodeCaptions(head.get_layer("decoder"), name="words", **settings)(seen["patches"], seen["mask"])
    caption = CaptionText(list(task.vocabulary), name="caption")(decoded["tokens"])
    return keras.Model(patches.input, {task.column: caption, "score": decoded["log_probabilities"]}, name="writer")


def written(texts, scores=None):
    """Sentences as predictions: an array (R,) with the fields "text" and "score", NaN where there is none."""
    predictions = np.empty(len(texts), [("text", object), ("score", "float64")])
    predictions["text"] = texts
    predictions["score"] = np.nan if scores is None else scores
    return predictions

"""AutoKeras's best model as the three stages of a Pipeline, with Keras's layers alone.

Importing this file imports AutoKeras.
"""

import keras
import numpy as np
import tensorflow as tf
from autokeras.keras_layers import CastToFloat32, ExpandLastDim

from mmkeras import layers
from mmkeras.fusion import ConcatFusion
from mmkeras.graph import parents, submodel
from mmkeras.layers.text import plain_spaces


def adopt(model, modalities, preprocessors, task):
    """(prepare, encode, head) that predict from raw values what `model` does from AutoKeras's arrays.

    Args:
        model: what `ak.AutoModel.export_model` gives.
        modalities: what its inputs read, in their order.
        preprocessors: for each input the list of AutoKeras's preprocessors.
        task: adapted task.
    """
    best = _without_autokeras(model)
    raw, tensors, given = {}, {}, {}
    for modality, steps, tensor in zip(modalities, preprocessors, best.inputs, strict=True):
        if modality.name == "image":
            stage = prepare_image(modality)
        else:
            stage = (_prepare_text if modality.name == "text" else _prepare_table)(modality, steps[-1])
        raw.update(stage.input)
        tensors.update(stage.output)
        given[next(iter(stage.output))] = tensor
    prepare = keras.Model(raw, tensors, name="prepare")
    encode, head = _cut(best, given, tensors, task)
    empty = {column: tf.constant([""] if t.dtype == "string" else [np.nan]) for column, t in raw.items()}
    for name, feature in encode(prepare(empty)).items():
        if name in head.input and "." not in name:
            head.get_layer(f"{name}_there").absent[0].assign(feature[0])
    return prepare, encode, head


def _prepare_text(modality, tokenizer):
    """Raw strings → {"text.tokens": (B, T) as AutoKeras's TextTokenizer numbers words, "text.present"}."""
    ((column, text),) = modality.inputs().items()
    words = list(tokenizer.vocab)
    vectorize = keras.layers.TextVectorization(
        standardize=plain_spaces, split="whitespace", output_sequence_length=tokenizer.max_len, vocabulary=words or None,
        name="text_words",
    )  # fmt: skip
    # Keras: 0 padding, 1 unknown, words from 2 on. AutoKeras: 0 for both, words from 1 on.
    tokens = keras.ops.cast(keras.ops.maximum(vectorize(text) - 1, 0), "int32")
    return keras.Model(
        {column: text}, {"text.tokens": tokens, "text.present": layers.Present(name="text_present")(text)}
    )


def _prepare_table(modality, encoder):
    """Raw numbers and categories → {"structured.values": (B, K) as AutoKeras numbers categories, "structured.present"}."""
    inputs, columns, present = modality.inputs(), [], []
    for number, (column, value) in enumerate(inputs.items()):
        if column in modality.numeric:
            columns.append(keras.ops.where(keras.ops.isnan(value), 0.0, value))
            present.append(layers.AnyNumber(name=f"structured_any_{number}")(value[:, None]))
            continue
        labels = encoder.encoders[number].labels
        lookup = keras.layers.StringLookup(
            vocabulary=labels, mask_token=None, oov_token="(never seen)", name=f"structured_lookup_{number}"
        )
        place = lookup(value)  # 0 for a category never seen, which AutoKeras numbers last
        columns.append(keras.ops.cast(keras.ops.where(place > 0, place - 1, len(labels)), "float32"))
        present.append(layers.Present(name=f"structured_present_{number}")(value))
    there = present[0] if len(present) == 1 else keras.ops.max(keras.ops.stack(present), axis=0)
    return keras.Model(inputs, {"structured.values": keras.ops.stack(columns, axis=1), "structured.present": there})


def prepare_image(modality):
    """Raw files → {"image.pixels_0": (B, H, W, 3), "image.each_present", "image.present"}."""
    inputs = modality.inputs()
    return keras.Model(inputs, modality.prepare(inputs))


def _without_autokeras(model):
    """The same model with Keras's layers alone."""

    def swap(layer):
        if isinstance(layer, CastToFloat32):
            return keras.layers.Rescaling(1.0, name=layer.name)
        if isinstance(layer, ExpandLastDim):
            return keras.layers.Reshape((*layer.output.shape[1:],), name=layer.name)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=swap)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    return copy


def _cut(model, given, tensors, task):
    """`encode` and `head`: the graph cut where the ways of the inputs meet; with one input, before the last layer."""
    names = {id(tensor): key.partition(".")[0] for key, tensor in given.items()}
    ways, features = {}, {}

    def way(tensor):
        """Names of the inputs that a tensor depends on."""
        if id(tensor) not in ways:
            before = [way(parent) for parent in parents(tensor)]
            ways[id(tensor)] = {names[id(tensor)]} if id(tensor) in names else set().union(*before)
        return ways[id(tensor)]

    def visit(tensor):
        if len(way(tensor)) == 1:
            features.setdefault(next(iter(way(tensor))), tensor)
            return
        for parent in parents(tensor):
            visit(parent)

    output = model.outputs[0]
    if len(names) == 1:
        last = output
        while not isinstance(last._keras_history[0], keras.layers.Dense):
            (last,) = parents(last)
        features[next(iter(names.values()))] = parents(last)[0]
    else:
        visit(output)
    body = submodel(given, features)
    handed_on = {
        key: keras.Input(t.shape[1:], dtype=t.dtype, name=key) for key, t in tensors.items() if key not in given
    }
    encode = keras.Model({**body.input, **handed_on}, {**body.output, **handed_on}, name="encode")
    return encode, _head(submodel(features, {task.column: output}), task)


def _head(decide, task):
    """`decide` on features and presence masks: an absent input is what an empty cell gives, which the rows have anyway."""
    inputs, there = {}, {}
    for name, tensor in decide.input.items():
        inputs[name] = keras.Input(tensor.shape[1:], name=name)
        present = inputs[f"{name}.present"] = keras.Input((1,), name=f"{name}.present")
        there[name] = ConcatFusion(name=f"{name}_there")([inputs[name]], [present])
    decision = decide(there)[task.column]
    if task.kind == "multiclass" and len(task.classes) == 2:
        decision = keras.ops.concatenate([1.0 - decision, decision], axis=1)
    return keras.Model(inputs, {task.column: decision}, name="head")

"""AutoKeras's best model as the three stages of a Pipeline, with Keras's layers alone.

Importing this file imports AutoKeras.
"""

import keras
import numpy as np
import tensorflow as tf
from autokeras.keras_layers import CastToFloat32, ExpandLastDim

from mmkeras.fusion import ConcatFusion
from mmkeras.graph import operation_of, parents, submodel


def adopt(model, sources, preprocessors, *, answers, task):
    """(prepare, encode, head) that predict from raw values what `model` does from AutoKeras's arrays.

    Args:
        model: what `ak.AutoModel.export_model` gives.
        sources: list of `Source`, in the order of its inputs.
        preprocessors: for each input the list of AutoKeras's preprocessors.
        answers: `Answers`. task: adapted.
    """
    best = _without_autokeras(model)
    raw, tensors, taken = {}, {}, {}
    for source, steps, tensor in zip(sources, preprocessors, best.inputs, strict=True):
        stage = source.prepare(steps)
        raw.update(stage.input)
        tensors.update(stage.output)
        taken[next(iter(stage.output))] = tensor
    prepare = keras.Model(raw, tensors, name="prepare")
    encode, decide = _cut(best, taken, tensors, task.column)
    head = _head(decide, task.column, lambda decision: answers.predictions(task, decision))
    empty = {column: tf.constant([""] if t.dtype == "string" else [np.nan]) for column, t in raw.items()}
    for name, feature in encode(prepare(empty)).items():
        if name in head.input and "." not in name:
            head.get_layer(f"{name}_there").absent[0].assign(feature[0])
    return prepare, encode, head


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


def _cut(model, taken, tensors, column):
    """`encode`, and what decides on its features: the graph cut where the ways of the inputs meet; with one input, before the last layer."""
    names = {id(tensor): key.partition(".")[0] for key, tensor in taken.items()}
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
        while not isinstance(operation_of(last), keras.layers.Dense):
            (last,) = parents(last)
        features[next(iter(names.values()))] = parents(last)[0]
    else:
        visit(output)
    body = submodel(taken, features)
    handed_on = {
        key: keras.Input(t.shape[1:], dtype=t.dtype, name=key) for key, t in tensors.items() if key not in taken
    }
    encode = keras.Model({**body.input, **handed_on}, {**body.output, **handed_on}, name="encode")
    return encode, submodel(features, {column: output})


def _head(decide, column, predictions):
    """`decide` on features and presence masks: an absent input is what an empty cell gives, which the rows have anyway."""
    inputs, there = {}, {}
    for name, tensor in decide.input.items():
        inputs[name] = keras.Input(tensor.shape[1:], name=name)
        present = inputs[f"{name}.present"] = keras.Input((1,), name=f"{name}.present")
        there[name] = ConcatFusion(name=f"{name}_there")([inputs[name]], [present])
    return keras.Model(inputs, {column: predictions(decide(there)[column])}, name="head")

"""Cutting Functional graphs: which tensors a tensor depends on, and the model between two sets of tensors."""

import keras
import tensorflow as tf


def parents(tensor):
    """The tensors that the operation behind `tensor` was called on; none for an input."""
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index].input_tensors


def submodel(inputs, outputs, name=None):
    """The part of a graph that leads from some tensors to others, as a model that shares its layers.

    `keras.Model(intermediate, outputs)` does nearly the same, but the result cannot always be saved
    (Keras 3.15: "could not find node key"), so the layers are called anew on fresh inputs.

    Args:
        inputs: {key: KerasTensor}; those that no output depends on are left out.
        outputs: {key: KerasTensor} or one KerasTensor, none of them among the inputs.
        name: str, name of the model.

    Returns:
        keras.Model with dict inputs.

    Raises:
        ValueError: an output depends on an input of the graph that is not among `inputs`.
    """
    keys = {id(tensor): key for key, tensor in inputs.items()}
    fresh, known = {}, {}

    def replay(tensor):
        if id(tensor) in known:
            return known[id(tensor)]
        if id(tensor) in keys:
            key = keys[id(tensor)]
            fresh[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key.replace("/", "_"))
            known[id(tensor)] = fresh[key]
            return fresh[key]
        operation, node_index, _ = tensor._keras_history
        node = operation._inbound_nodes[node_index]
        if not node.input_tensors:
            raise ValueError(
                f"`outputs` must depend on `inputs` only. Received inputs {list(inputs)}; also needed: {operation.name!r}."
            )
        for parent in node.input_tensors:
            replay(parent)
        args, kwargs = node.arguments.fill_in(known)
        results = keras.tree.flatten(operation(*args, **kwargs))
        known.update({id(old): new for old, new in zip(node.output_tensors, results, strict=True)})
        return known[id(tensor)]

    results = keras.tree.map_structure(replay, outputs)
    return keras.Model({key: fresh[key] for key in inputs if key in fresh}, results, name=name)


def compiled(model):
    """A Functional model with dict inputs as one inference graph for batches of any size and length.

    The graph can be called inside others, too, as of a tf.data pipeline, which then need not trace the model again.
    """
    signature = {key: tf.TensorSpec(tensor.shape, tensor.dtype) for key, tensor in model.input.items()}
    infer = tf.function(lambda tensors: model(tensors, training=False), input_signature=[signature], autograph=False)
    graph = infer.get_concrete_function()  # traced now, once; calls of it count as no retracing

    def run(tensors):
        return graph({key: tf.convert_to_tensor(tensors[key]) for key in signature})

    run.input, run.output = model.input, model.output
    return run

"""Functional graphs: which tensors a tensor depends on, and the model between two sets of tensors.

The only file that touches Keras's private names.
"""

import math
import pathlib
import warnings

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.models.functional import Functional
from keras.src.saving import serialization_lib

from mmkeras.persistence.archives import check_archive

MOST_GROWTH = 4  # how much larger weights may be than they are stored, as half floats are


def operation_of(tensor):
    """The layer or operation that gave a KerasTensor."""
    return tensor._keras_history.operation


def call_of(tensor):
    """What the operation behind a KerasTensor was called on, and gave: Keras's node, with `input_tensors`,
    `output_tensors` and `arguments`."""
    operation, node_index, _ = tensor._keras_history
    return operation._inbound_nodes[node_index]


def call_key(tensor):
    """What tells the call behind a KerasTensor from all others."""
    operation, node_index, _ = tensor._keras_history
    return id(operation), node_index


def parents(tensor):
    """The tensors that the operation behind `tensor` was called on; none for an input."""
    return call_of(tensor).input_tensors


def consumers(tensor):
    """The operations that are called on an input tensor."""
    return [node.operation for node in operation_of(tensor)._outbound_nodes]


def all_layers(model):
    """All layers inside a model, those of layers within layers too."""
    return model._flatten_layers(include_self=False)


def named_layers(model, before=""):
    """{place: layer} of all layers in a Functional model; places are the same once it was copied, or saved and loaded.

    A place is the layer's name, behind those of the models that it lies in; within other layers, whose names may differ from
    process to process, it is a number.
    """
    places = {}
    for layer in model.layers:
        if type(layer) is Functional:
            places.update(named_layers(layer, f"{before}{layer.name}/"))
        else:
            inner = layer._flatten_layers()
            places.update({f"{before}{layer.name}/{number}": each for number, each in enumerate(inner)})
    return places


def with_layers(model, replace, closed=()):
    """A copy of a Functional model, of the same layers but for some: `replace(layer)` gives the layer that stands in its place.

    It is asked of each layer that lies in no other but Functional models, and may give the layer itself. `closed` are Functional models
    within it that count as one layer.
    """

    def replaced(layer):
        whole = type(layer) is not Functional or any(layer is one for one in closed)
        return replace(layer) if whole else with_layers(layer, replace, closed)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict, all keys in the dict must match")
        return keras.models.clone_model(model, clone_function=replaced)


def adopt_variable(weight, variable):
    """Let a Keras weight that has no value yet stand for a TensorFlow variable that exists."""
    weight._initialize(variable)


def functional(inputs, outputs, name=None):
    """keras.Model of dicts whose keys may differ from the layers' names, of which Keras would warn.

    Columns keep their names as keys even where TensorFlow does not allow them as names of layers.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict, all keys in the dict must match")
        return keras.Model(inputs, outputs, name=name)


def unused_name(model, name):
    """The name, or one made of it, that no layer of a model has."""
    taken = {layer.name for layer in model.layers}
    return next(
        each for each in (name, *(f"{name}_{number}" for number in range(1, len(taken) + 2))) if each not in taken
    )


class Untrusted(ValueError):
    """A file holds what could run code of others, and nobody said that its maker is trusted."""


def loading(safe_mode):
    """A context in which every file is loaded in safe mode or not, whatever Keras is set to."""
    # Keras's own mode holds while layers are made. Afterwards KerasHub's tokenizers read their vocabularies, in no mode at all.
    return serialization_lib.SafeModeScope(None if safe_mode else False)


def is_trusted():
    """Whether who loads a file said that its maker is trusted: safe mode is off."""
    return serialization_lib.in_safe_mode() is False


def is_from_file():
    """Whether Keras makes layers of a file now; else they are made or cloned of what this process has."""
    return global_state.get_global_attribute("shared_objects/id_to_obj_map") is not None


def check_file(path):
    """Raise unless a `.keras` file from anybody may be opened.

    Raises:
        ValueError: see `check_archive`; weights much larger than those that are stored; Untrusted: it holds code.
    """
    config, stored = check_archive(path)
    _check_size(config, {}, stored)


def load_model(path, classes=()):
    """A model from a `.keras` file, without its training state, that may hold layers of some classes; see `functional`.

    Layers that run code of the file are refused, unless it is called within `loading(safe_mode=False)`.

    Raises:
        ValueError: no such file, see `check_archive`; one that Keras cannot load; Untrusted: it holds code.
    """
    config, stored = check_archive(path, is_trusted())
    named = {cls.__name__: cls for cls in classes}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="When providing `inputs` as a dict, all keys in the dict must match")
        try:
            if not is_trusted():
                _check_size(config, named, stored)
            return keras.saving.load_model(path, named, compile=False, safe_mode=not is_trusted())
        except Untrusted:
            raise
        except Exception as error:  # of layers of many kinds
            told = " ".join(str(error).split())
            raise ValueError(
                f"A stage of a saved Pipeline must be one that Keras can load. Received: {pathlib.Path(path).name!r}, which "
                f"fails: {type(error).__name__}: {told[:300]}. Import the files that define its layers, or give the classes: "
                "mm.load(path, classes=[...]); where it holds code and you trust its maker, mm.load(path, safe_mode=False), "
                "on the command line `--unsafe`."
            ) from error


def _check_size(config, classes, stored):
    """Raise unless the weights of a configuration are about as large as those that are stored; none is made for it.

    What else is wrong with it is told when it is loaded.
    """
    waiting = global_state.get_global_attribute("uninitialized_variables", [], set_to_default=True)
    before = len(waiting)
    try:
        with keras.StatelessScope(initialize_variables=False), serialization_lib.ObjectSharingScope():
            keras.saving.deserialize_keras_object(config, classes)
    except Untrusted:
        raise
    except Exception:  # of layers of many kinds: it comes again, and is told
        pass
    finally:
        size = sum(4 * math.prod(variable.shape) for variable in waiting[before:])
        del waiting[before:]
    if size > MOST_GROWTH * stored + 2**20:
        raise Untrusted(
            f"A stage's weights must be stored with it. Received: layers whose weights take {size:,} bytes, in a file that holds "
            f"{stored:,}. Do not use it; get one from whom you trust, or fit and save again."
        )


def with_policy(model, policy):
    """A copy of a model, with its weights, whose layers calculate by a Keras dtype policy.

    Raises:
        ValueError: layers that cannot be copied.
    """

    def renewed(layer):
        if not isinstance(layer, keras.layers.Layer):  # keras.ops, which have no precision of their own
            return layer
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    try:
        copy = keras.models.clone_model(model, clone_function=renewed, recursive=True)
        copy.set_weights(model.get_weights())
    except Exception as error:  # of layers of many kinds
        raise ValueError(f"The model {model.name!r} cannot be copied to {policy}: {error}") from error
    return copy


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
        operation, node = operation_of(tensor), call_of(tensor)
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
    return functional({key: fresh[key] for key in inputs if key in fresh}, results, name)


def arithmetic(model):
    """What a traced graph of a model depends on: another value once its layers were quantised or given other variables."""
    return hash(tuple((id(x), x.dtype_policy.name, *map(id, x.variables)) for x in model._flatten_layers()))


def compiled(model, before=None):
    """A Functional model with dict inputs as one inference graph for batches of any size and length.

    The graph can be called inside others, too, as of a tf.data pipeline, which then need not trace the model again.

    Args:
        model: keras.Model.
        before: a graph that this function gave, whose outputs hold all that the model reads; the result then takes its inputs.
    """
    inputs = (model if before is None else before).input
    signature = {key: tf.TensorSpec(tensor.shape, tensor.dtype) for key, tensor in inputs.items()}

    def call(tensors):
        tensors = tensors if before is None else before(tensors)
        return model({key: tensors[key] for key in model.input}, training=False)

    infer = tf.function(call, input_signature=[signature], autograph=False)
    graph = infer.get_concrete_function()  # traced now, once; calls of it count as no retracing

    def run(tensors):
        return graph({key: tf.convert_to_tensor(tensors[key]) for key in signature})

    run.input, run.output = inputs, model.output
    return run

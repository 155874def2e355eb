"""Towers that read the parts of rows, such as each of several files, one by one, so that each part is encoded once."""

import keras

from mmkeras.graph import functional, operation_of, parents, submodel


def joins(tensor):
    """Whether a tensor is where the parts of rows stand side by side again, each as a tower made it."""
    return getattr(operation_of(tensor), "places_parts", False)


def read_by(prepare, tower):
    """What a tower reads, and how: (preparation, tower, whether both are of parts by themselves).

    Args:
        prepare: keras.Model, the first stage.
        tower: keras.Model from its tensors to features, see `stages.cut_frozen`.

    Returns:
        keras.Model from raw columns to tensors, one from there to features, and bool. Those of parts take {column: (F,) raw values} of F
        parts, and give {key: (F, …)}.
    """
    if not all(map(joins, tower.output.values())):
        before = {key: prepare.output[key] for key in tower.input}
        return submodel(prepare.input, before, f"{tower.name}_prepare"), tower, False
    keys, taken = {id(tensor): key for key, tensor in tower.input.items()}, {}

    def visit(tensor):
        before = parents(tensor)
        if getattr(operation_of(tensor), "takes_parts", False):
            taken[keys[id(before[0])]] = tensor
            return
        for parent in before:
            visit(parent)

    features = {key: parents(tensor)[0] for key, tensor in tower.output.items()}
    for tensor in features.values():
        visit(tensor)
    columns = {id(tensor): name for name, tensor in prepare.input.items()}
    inputs, outputs = {}, {}
    for key in taken:
        (raw,) = parents(prepare.output[key])
        name = columns[id(raw)]
        inputs[name] = keras.Input((), dtype=raw.dtype, name=raw.name)
        outputs[key] = operation_of(prepare.output[key])(inputs[name])
    return functional(inputs, outputs), submodel(taken, features, tower.name), True

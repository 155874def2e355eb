"""Several heads as one, and several fitted models as one that reads each row once."""

import keras

from mmkeras.graph import functional, submodel
from mmkeras.layers import WeightedMean
from mmkeras.registry import describe
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.stages import build_prepare, chain, cut_frozen
from mmkeras.trunk.trunk import Trunk


def joined(heads, weights, scale):
    """The weighted mean of heads, as one: a model of all that they read. The layers of the first stay layers of the whole.

    Args:
        heads: list of keras.Models of features and prepared tensors, with the same outputs; each weight is above 0.
        weights: list of numbers.
        scale: one of `layers.averaging.SCALES`.
    """
    first, *others = heads
    if not others:
        return first
    taken, number, inputs = {layer.name for layer in first.layers}, 1, dict(first.input)
    for head in others:
        for key, tensor in head.input.items():
            if key not in inputs:
                inputs[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
    said = [first.output]
    for head in others:
        while (name := f"member_{number}") in taken:
            number += 1
        taken.add(name)
        member = functional(head.input, head.output, name)  # the same layers under a name of its own
        said.append(member({key: inputs[key] for key in head.input}))
    outputs = {}
    for key, tensor in first.output.items():
        name = next(n for n in (f"mean_of_members_{i}" for i in range(len(taken) + 1)) if n not in taken)
        taken.add(name)
        outputs[key] = WeightedMean(weights, scale, name=name, dtype=tensor.dtype)([each[key] for each in said])
    return functional(inputs, outputs, "head")


def one_trunk(trunks):
    """(`Trunk` that reads what some trunks read, each modality as the first that has it, {modality: that trunk}).

    Raises:
        ValueError: modalities of one name that are not alike.
    """
    owners, modalities = {}, []
    for trunk in trunks:
        for modality in trunk.modalities:
            if modality.name not in owners:
                owners[modality.name] = trunk
                modalities.append(modality)
            elif owners[modality.name] is not trunk:
                _check_alike(owners[modality.name], trunk, modality)
    first = trunks[0]
    if all(owner is first for owner in owners.values()):
        return Trunk(modalities, first.prepare, first.encode, cache=first.cache, engine=first.engine), owners
    prepare = _prepare(modalities, owners)
    used, inputs, outputs = set(), {}, {}
    for name, owner in owners.items():
        inputs.update({key: x for key, x in owner.encode.input.items() if key.startswith(f"{name}.")})
        outputs[name] = owner.encode.output[name]
    encode = submodel(inputs, outputs)
    used = set(encode.input)
    rest = {k: keras.Input(x.shape[1:], dtype=x.dtype, name=k) for k, x in prepare.output.items() if k not in used}
    encode = functional({**encode.input, **rest}, {**encode.output, **rest}, "encode")
    return Trunk(modalities, prepare, encode, cache=first.cache, engine=first.engine), owners


def _prepare(modalities, owners):
    """`prepare` of all modalities: built anew where they know what they learnt, else made of their owners' parts."""
    if all(modality.state is not None for modality in modalities):
        return build_prepare(modalities)
    inputs, outputs = {}, {}
    for modality in modalities:
        part = _prepare_part(owners[modality.name], modality.name)
        for column, tensor in part.input.items():
            if column not in inputs:
                inputs[column] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
        outputs.update(part({column: inputs[column] for column in part.input}))
    return functional(inputs, outputs, "prepare")


def _prepare_part(trunk, name):
    """What is prepared for a modality, as a model from its columns."""
    outputs = {key: tensor for key, tensor in trunk.prepare.output.items() if key.startswith(f"{name}.")}
    return submodel(trunk.prepare.input, outputs, name=f"{name}_prepare")


def _check_alike(trunk, other, modality):
    """Raise a ValueError unless two trunks read and prepare the modality of a name in the same way."""
    own, name = next(m for m in trunk.modalities if m.name == modality.name), modality.name
    parts = [_prepare_part(each, name) for each in (trunk, other)]
    same = describe(own) == describe(modality) and own.readers == modality.readers
    if not same or fingerprint(parts[0], parts[0]) != fingerprint(parts[1], parts[1]):
        raise ValueError(
            "Members of an ensemble must read a modality of one name alike: the same settings, fitted on the same rows. Received: "
            f"{name!r}, which differs. Fit the members on the same rows with the same `seed` and `validation_data`, or give "
            "modalities that differ names that differ (`name=`)."
        )


def own_model(trunk, head, owners):
    """A head with what trains before it, as a model of prepared tensors and of features that its owners' frozen towers give.

    Args:
        trunk: `Trunk` of the head.
        head: keras.Model of features.
        owners: {modality: `Trunk`} that another model reads it from.
    """
    model = trunk.attach(head).model
    frozen = [key for key in model.input if key not in trunk.prepare.output]
    if all(_same_tower(trunk, owners, key) for key in frozen):
        return model
    return chain(trunk.encode, head)  # it brings its towers along


def _same_tower(trunk, owners, key):
    owner = owners.get(key)
    if owner is None:
        return False
    if owner is trunk or owner.encode is trunk.encode:
        return True
    towers = [cut_frozen(each.encode).towers.get(key) for each in (owner, trunk)]
    whole = all(tower is not None and key in tower.output for tower in towers)
    part = _prepare_part(trunk, key)
    return whole and fingerprint(part, towers[0]) == fingerprint(part, towers[1])

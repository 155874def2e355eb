"""LoRA (Hu et al., 2021, https://arxiv.org/abs/2106.09685): small products of two matrices, added to a tower's kernels, train in its place.

Keras's layers hold the two matrices beside their kernel, as `enable_lora` makes them; the first is random and the second 0, so that a tower
begins as it was. All kernels have them: Dettmers et al. (2023, https://arxiv.org/abs/2305.14314) found that queries and values alone do not reach a whole tower that trains.
"""

import math

import keras
import numpy as np

from mmkeras.graph import all_layers, named_layers, with_layers

RANK = 8  # where a modality leaves it out
SETTINGS = ("lora_rank", "lora_alpha")  # that a layer with LoRA tells of itself


def check(settings):
    """Raise a ValueError unless the settings `trainable`, `lora_rank` and, where there is one, `lora_blocks` go together.

    Args:
        settings: modality with a setting `encoder`.
    """
    lora = settings.trainable == "lora"
    if lora and not settings.pretrained:
        raise ValueError(
            f"`trainable='lora'` adapts a pretrained tower. Received: encoder={settings.encoder!r}, which trains as a whole. "
            "Leave `trainable` out, or give a pretrained encoder."
        )
    for name in ("lora_rank", "lora_blocks"):
        value = getattr(settings, name, None)
        if value is None:
            continue
        if not lora:
            raise ValueError(
                f"`{name}` goes with `trainable='lora'`. Received: {name}={value!r} with trainable={settings.trainable!r}. "
                "Leave it out, or use trainable='lora'."
            )
        if type(value) is not int or value < 1:
            raise ValueError(
                f"`{name}` must be an int of 1 or more. Received: {value!r}. Leave it out for the usual value."
            )


def add_adapters(tower, rank, what):
    """Let a tower have adapters: in all layers that take them but tables of embeddings, or in these, where there are no others.

    Args:
        tower: keras.Model; one that has adapters already is left as it is.
        rank: int.
        what: str, how an error calls it.

    Raises:
        ValueError: no layer takes them.
    """
    layers = [layer for layer in all_layers(tower) if hasattr(layer, "lora_enabled")]
    layers = [layer for layer in layers if not isinstance(layer, keras.layers.Embedding)] or layers
    if not layers:
        raise ValueError(
            "`trainable='lora'` needs a tower with layers that take it: Dense, EinsumDense, Embedding or convolutions. "
            f"Received: {what}, which has none. Use trainable=True, or another encoder."
        )
    for layer in layers:
        if not layer.lora_enabled:
            layer.enable_lora(rank)


def is_adapter(weight):
    """Whether a weight is one of the two matrices of an adapter."""
    return weight.name.startswith("lora_")


def has_adapters(model):
    """Whether a model, layer or operation holds adapters."""
    return any(map(is_adapter, getattr(model, "weights", ())))


def set_trainable(tower, trains):
    """Let a tower train or not; of one with adapters, these alone."""
    tower.trainable = bool(trains)
    if trains and has_adapters(tower):
        for layer in all_layers(tower):
            if not has_adapters(layer):  # so that it runs as it does outside training, too
                layer.trainable = False
        for weight in tower.weights:
            weight.trainable = is_adapter(weight)


def told(name, layers):
    """[a sentence about how much of a modality's tower trained], where its layers hold adapters."""
    weights = [weight for layer in layers for weight in layer.weights]
    adapters = sum(math.prod(weight.shape) for weight in weights if is_adapter(weight))
    others = sum(math.prod(weight.shape) for weight in weights) - adapters
    sentence = f"LoRA of {name!r} trained {adapters:,} weights, {adapters / max(1, others):.2%} of the {others:,} of its tower, which stayed."
    return [sentence] if adapters else []


def adapter_values(model):
    """{place: array} of all adapters in a Functional model; places are the same once it was saved and loaded."""
    return {place: np.asarray(weight) for place, weight in _adapters(model).items()}


def assign_adapters(model, values):
    """Give a Functional model the adapters that `adapter_values` told: layers that have none yet take them, of the rank that they have there.

    Raises:
        ValueError: other places or shapes; nothing is assigned then.
    """
    layers = named_layers(model)
    for place, value in values.items():
        layer = layers.get(place.rpartition("/")[0])
        first = place.endswith("_a") and getattr(layer, "lora_enabled", None) is False
        if first and np.size(value) and value.shape[:-1] == tuple(layer.weights[0].shape[:-1]):
            layer.enable_lora(value.shape[-1])
    weights = _adapters(model)
    own = {place: tuple(weight.shape) for place, weight in weights.items()}
    shapes = {place: np.shape(value) for place, value in values.items()}
    if own != shapes:
        differ = sorted(place for place in own.keys() | shapes.keys() if own.get(place) != shapes.get(place))
        raise ValueError(
            f"Adapters must be those of the tower that they were trained in. Received: {len(differ)} that differ, such as "
            f"{differ[0]:.80}. Get the whole folder once more, or fit and save again."
        )
    for place, weight in weights.items():
        weight.assign(values[place])


def _adapters(model):
    """{place: weight} of all adapters in a Functional model."""
    return {
        f"{place}/{weight.name}": weight
        for place, layer in named_layers(model).items()
        if _is_adapted(layer)
        for weight in layer.weights
        if is_adapter(weight)
    }


def without_adapters(model, merged):
    """A Functional model without adapters, which calculates as plain layers do; layers that have none are shared with it.

    Args:
        model: keras.Model, which stays as it is.
        merged: bool, whether adapters are added to the kernels, so that it gives the same, or left out, so that it is as before training.
    """
    if not has_adapters(model):
        return model
    plain = with_layers(model, lambda layer: _plain(layer) if has_adapters(layer) else layer)
    adapted = {id(weight): each for each in all_layers(model) if _is_adapted(each) for weight in each.weights}
    twins = named_layers(plain)
    for place, layer in named_layers(model).items():
        if twins.get(place) not in (layer, None) and place.endswith("/0"):  # a layer with all that lies within it
            weights = [weight for weight in layer.weights if not is_adapter(weight)]
            owners = [adapted.get(id(weight)) if merged else None for weight in weights]
            # Keras's layers tell what a weight is with its adapter by an attribute of the weight's name.
            values = [w if own is None else getattr(own, w.name) for w, own in zip(weights, owners, strict=True)]
            twins[place].set_weights([np.asarray(value) for value in values])
    return plain


def _is_adapted(layer):
    return getattr(layer, "lora_enabled", False)


def _plain(layer):
    """A new layer of the same settings, without adapters."""
    return type(layer).from_config(_without_settings(layer.get_config()))


def _without_settings(config):
    if isinstance(config, dict):
        return {key: _without_settings(value) for key, value in config.items() if key not in SETTINGS}
    return [_without_settings(value) for value in config] if isinstance(config, list | tuple) else config

"""The three stages of a model as plain Functional models, joining them, and cutting off the frozen part."""

import dataclasses

import keras

from mmkeras.data.columns import columns_of, inputs_of
from mmkeras.graph import call_key, functional, operation_of, parents, submodel
from mmkeras.trunk.parts import joins


def build_prepare(modalities):
    """Raw columns → tensors, as one model without trainable weights; it runs inside tf.data.

    Args:
        modalities: list of adapted modalities with different names.

    Returns:
        keras.Model from {column: (B,) strings or numbers} to {"modality.tensor": tensor}.

    Raises:
        ValueError: two modalities of one name, or one column read in two ways that exclude each other.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(20, seed=0)
        >>> prepare = mm.build_prepare([mm.Tabular(numeric=["runtime"]).adapt(df)])
        >>> sorted(prepare.output)
        ['tabular.bins', 'tabular.numeric', 'tabular.present']
    """
    check_modalities(modalities)
    inputs, outputs = inputs_of(columns_of(modalities)), {}
    for modality in modalities:
        raw = {
            column: reader.read(inputs[column], f"{modality.name}_read_{number}")
            for number, (column, reader) in enumerate(modality.readers.items())
        }
        outputs.update(modality.prepare(raw))
    return functional(inputs, outputs, "prepare")


def build_encode(modalities, prepare):
    """Tensors → features, as one model that holds the encoders.

    Args:
        modalities: the list given to `build_prepare`.
        prepare: the model it returned.

    Returns:
        keras.Model from {"modality.tensor": tensor} to {modality: (B, D) or (B, T, D)}; tensors that no encoder
        uses, such as {"modality.present": (B, 1)}, are handed on.

    Raises:
        ValueError, FileNotFoundError: an encoder that cannot be loaded, or adapted, or weights that do not fit.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(20, seed=0)
        >>> modalities = [mm.Tabular(numeric=["runtime"]).adapt(df)]
        >>> mm.build_encode(modalities, mm.build_prepare(modalities)).output["tabular"].shape
        (None, 64)
    """
    inputs = {
        name: keras.Input(shape=tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in prepare.output.items()
    }
    outputs = {}
    for modality in modalities:
        own = {name: inputs[name] for name in inputs if name.startswith(f"{modality.name}.")}
        outputs[modality.name] = modality.encode(own)
    used = submodel(inputs, outputs).input
    # Keras cannot save a model with unused inputs; forwarding them lets `encode` take all that `prepare` gives.
    outputs.update({name: tensor for name, tensor in inputs.items() if name not in used})
    encode = keras.Model(inputs, outputs, name="encode")
    for modality in modalities:
        modality.add_adapters(encode)
    return encode


def check_modalities(modalities):
    """Raise unless there is at least one modality, all names differ, and columns can be read as is asked."""
    names = [modality.name for modality in modalities]
    if not names:
        raise ValueError("There must be a modality. Received: an empty list. Use for example mm.Text('overview').")
    if len(set(names)) != len(names):
        raise ValueError(f"Modalities must have different names. Received: {names}. Give each `name=...`.")
    columns_of(modalities)


def chain(*models, name=None):
    """Join models whose dict outputs feed the next one's dict inputs; all weights are shared with the parts.

    Args:
        *models: Functional models with dicts of tensors for inputs and outputs. A model may use outputs of any
            model before it; inputs that no earlier model gives become inputs of the whole.
        name: str, name of the result.

    Returns:
        keras.Model from the first inputs to the last model's outputs.

    Raises:
        ValueError: models whose tensors do not fit together, as Keras says.

    Example:
        >>> import keras, mmkeras as mm
        >>> x, h = keras.Input((4,), name="x"), keras.Input((3,), name="h")
        >>> first = keras.Model({"x": x}, {"h": keras.layers.Dense(3)(x)})
        >>> second = keras.Model({"h": h}, {"y": keras.layers.Dense(1)(h)})
        >>> mm.chain(first, second).output["y"].shape
        (None, 1)
    """
    inputs, tensors, outputs = {}, {}, {}
    for model in models:
        for key, tensor in model.input.items():
            if key not in tensors:
                tensors[key] = inputs[key] = keras.Input(shape=tensor.shape[1:], dtype=tensor.dtype, name=tensor.name)
        outputs = model({key: tensors[key] for key in model.input})
        tensors.update(outputs)
    return functional(inputs, outputs, name)


@dataclasses.dataclass(frozen=True)
class Cut:
    """`encode` cut where frozen layers meet trained ones.

    towers: {modality: keras.Model} from prepared tensors to {key: frozen features}. The key is the modality's
        name where all of it is frozen, else "name.stored_0" and so on.
    rest: keras.Model from prepared tensors and frozen features to the other outputs of `encode`, or None.
    """

    towers: dict
    rest: keras.Model | None


def cut_frozen(encode):
    """Cut `encode` so that everything with frozen weights, and nothing that trains, lies in the towers.

    A tensor belongs to a tower when all layers before it are frozen and at least one of them has weights.
    Tensors without weights before them are left to `rest`: making them again costs less than storing them.
    So is what is made of the parts of rows, such as the mean over files, which are stored one by one, see `parts`.
    """
    stored, seen = {}, {}
    inputs = {id(tensor) for tensor in encode.input.values()}
    outputs = {name: tensor for name, tensor in encode.output.items() if id(tensor) not in inputs}

    def inspect(tensor):
        """(all layers before are frozen, some layer before has weights)."""
        operation, key = operation_of(tensor), call_key(tensor)
        if key not in seen:
            states = [inspect(parent) for parent in parents(tensor)]
            trains = bool(getattr(operation, "trainable_weights", ()))
            heavy = bool(getattr(operation, "weights", ())) or any(state[1] for state in states)
            whole = not any(map(joins, parents(tensor)))
            seen[key] = (whole and not trains and all(state[0] for state in states), heavy)
        return seen[key]

    def visit(tensor, name):
        if inspect(tensor) == (True, True):
            stored[name].setdefault(id(tensor), tensor)
            return
        for parent in parents(tensor):
            visit(parent, name)

    for name, tensor in outputs.items():
        stored[name] = {}
        visit(tensor, name)
    towers, features = {}, {}
    for name, tensors in stored.items():
        if not tensors:
            continue
        own = {f"{name}.stored_{i}": tensor for i, tensor in enumerate(tensors.values())}
        if id(encode.output[name]) in tensors:
            own = {name: outputs.pop(name)}
        towers[name] = submodel(encode.input, own, name=f"{name}_frozen")
        features.update(own)
    inner = {key: tensor for key, tensor in features.items() if key not in encode.output}
    if not outputs:
        return Cut(towers, None)
    return Cut(towers, submodel({**encode.input, **inner}, outputs, name="encode_rest"))


def renewed(rest):
    """A copy of the `rest` of a `Cut` with new weights, those of each output by themselves."""
    inputs = {key: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name) for key, x in rest.input.items()}
    outputs = {}
    for key, tensor in rest.output.items():
        copy = keras.models.clone_model(submodel(rest.input, {key: tensor}))
        outputs.update(copy({name: inputs[name] for name in copy.input}))
    return keras.Model(inputs, outputs, name="encode_rest")

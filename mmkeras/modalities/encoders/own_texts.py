"""Texts through a `keras.Model` of one's own, from a file."""

import keras

from mmkeras.graph import operation_of, parents, submodel
from mmkeras.modalities.encoders.base import TextEncoder
from mmkeras.modalities.encoders.own_images import open_model


class OwnText(TextEncoder):
    """The path of a `.keras` file: a model from strings, (B,) or (B, 1), to (B, D).

    It is cut where its weights begin: what turns strings into numbers prepares, and the rest is the tower.
    """

    pretrained = True
    most_columns = 1

    @classmethod
    def reads(cls, encoder):
        return encoder.endswith(".keras")

    def check(self):
        settings = self.modality
        known = isinstance(settings.trainable, bool) or settings.trainable == "lora"
        if not known or settings.layers > 1 or settings.pooling is None:
            raise ValueError(
                "A model of one's own is frozen or trained as a whole, and gives a vector: `trainable` must be a bool or 'lora', `layers` "
                f"1, and `pooling` not None. Received: {settings.trainable!r}, {settings.layers} and {settings.pooling!r}."
            )
        if settings.lora_blocks is not None:
            raise ValueError(
                "`lora_blocks` goes with KerasHub encoders, whose blocks are known. "
                f"Received: {settings.lora_blocks} with {settings.encoder!r}. Leave it out: all layers are adapted."
            )
        if settings.dtype is not None:
            raise ValueError(
                f"`dtype` of a model of one's own is in its file. Received: {settings.dtype!r}. Leave it out."
            )

    def prepare(self, raw):
        model = load_model(self.modality.encoder)
        words = submodel(
            {"text": model.inputs[0]}, dict(numbers_of(model, self.modality.encoder)), f"{self.name}_words"
        )
        (texts,) = raw.values()
        return words({"text": texts if len(model.inputs[0].shape) == 1 else keras.ops.expand_dims(texts, -1)})

    def encode(self, tensors):
        model = load_model(self.modality.encoder)
        numbers = dict(numbers_of(model, self.modality.encoder))
        tower = submodel(numbers, model.outputs[0], f"{self.name}_tower")
        return keras.ops.cast(tower({key: tensors[key] for key in numbers}), "float32")

    def tower_layers(self, fine_tune):
        return {f"{self.name}_tower": fine_tune and bool(self.modality.trainable)}


def load_model(path):
    """A `.keras` file's model of texts, without code of others.

    Raises:
        FileNotFoundError, ValueError: see `open_model`; a model of something else.
    """
    model = open_model(path)
    takes = [(str(x.dtype), tuple(x.shape)) for x in model.inputs]
    gives = [tuple(x.shape) for x in model.outputs]
    if takes not in ([("string", (None,))], [("string", (None, 1))]) or len(gives) != 1 or len(gives[0]) != 2:
        raise ValueError(
            f"`encoder` of `Text` must take strings (B,) or (B, 1), and give (B, D). Received: {path!r}, which takes {takes} and gives "
            f"{gives}. Put what makes tokens into the model, such as TextVectorization, and pool at its end."
        )
    return model


def numbers_of(model, path):
    """[(key, tensor of numbers)] of a model of strings after which its weights begin.

    Raises:
        ValueError: strings that a layer with weights reads; numbers of no fixed length, which would depend on other rows.
    """
    numbers, weighs = {}, {}

    def has_weights(tensor):
        if id(tensor) not in weighs:
            weighs[id(tensor)] = bool(getattr(operation_of(tensor), "weights", ())) or any(
                map(has_weights, parents(tensor))
            )
        return weighs[id(tensor)]

    def visit(tensor):
        if not has_weights(tensor):
            numbers.setdefault(id(tensor), tensor)
        else:
            for before in parents(tensor):
                visit(before)

    visit(model.outputs[0])
    for tensor in numbers.values():
        if tensor.dtype == "string" or None in tensor.shape[1:]:
            rule = (
                "in layers without weights, outside of models within it"
                if tensor.dtype == "string"
                else "of a fixed length"
            )
            raise ValueError(
                f"A model of one's own must turn strings into numbers {rule}. Received: {path!r}, where {operation_of(tensor).name!r} "
                f"gives {tensor.dtype} {tuple(tensor.shape)} to a layer with weights. Use for example "
                "TextVectorization(output_sequence_length=…) in the model itself."
            )
    return [(f"numbers_{number}", tensor) for number, tensor in enumerate(numbers.values())]

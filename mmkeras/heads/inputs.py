"""What heads read: features of modalities, and which of their tokens and patches are there."""

import keras


def modality_names(features):
    """Names of the modalities among the keys of `features`, see `build_head`."""
    return [key for key in features if "." not in key and f"{key}.present" in features]


class HeadInputs:
    """Inputs of a head, made when they are first taken.

    Args:
        features: {name: KerasTensor}, see `build_head`.

    Attributes:
        inputs: {key: keras.Input} of those that were taken.
    """

    def __init__(self, features):
        self.features, self.inputs = features, {}

    def __call__(self, key):
        if key not in self.inputs:
            tensor = self.features[key]
            self.inputs[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        return self.inputs[key]

    def mask(self, name):
        """(B, T) of the tokens that are there; patches of an image count as padding where that image is absent."""
        x, parts = self(name), f"{name}.each_present"
        if f"{name}.padding_mask" in self.features:
            return self(f"{name}.padding_mask")
        if parts in self.features:
            return keras.ops.repeat(self(parts), x.shape[1] // self.features[parts].shape[1], axis=1)
        return keras.ops.ones_like(x[..., 0])

"""Backbones of KerasHub with layers that do not tell their settings, so that they are stored as a whole."""

import warnings

import keras

PACKAGE = "mmkeras"


def whole(backbone):
    """A backbone that can be stored: itself, or a model with it as a `Whole`, where layers in it do not tell their settings.

    Those of DeiT and of Swin transformers in KerasHub 0.32 do not.
    """
    try:
        for layer in backbone.layers:
            layer.get_config()
    except Exception:  # of layers of many kinds
        return keras.Model(backbone.input, Whole(backbone, dtype=backbone.dtype_policy)(backbone.input))
    return backbone


@keras.saving.register_keras_serializable(PACKAGE)
class Whole(keras.layers.Layer):
    """A backbone that is made anew by its own settings, never by those of the layers in it: (B, H, W, 3) → its features.

    Args:
        backbone: keras.Model of one input and one output, whose class is registered and has a full `get_config`.

    Example:
        >>> import keras
        >>> pixels = keras.Input((4, 4, 3))
        >>> Whole(keras.Model(pixels, keras.layers.Flatten()(pixels)))(pixels).shape
        (None, 48)
    """

    def __init__(self, backbone, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone

    def build(self, shape):
        super().build(shape)

    def call(self, pixels, training=None):
        with warnings.catch_warnings():  # windows of a Swin transformer have a mask of their own, no sequence's
            warnings.filterwarnings("ignore", message="Layer 'attn' .*was passed an input with a mask")
            return self.backbone(pixels, training=training)

    def compute_output_spec(self, pixels, training=None):
        return self.backbone.compute_output_spec(pixels)

    def get_config(self):
        return {**super().get_config(), "backbone": keras.saving.serialize_keras_object(self.backbone)}

    @classmethod
    def from_config(cls, config):
        backbone = config["backbone"]
        settings = {**backbone["config"], "dtype": config["dtype"]}
        return cls(**{**config, "backbone": keras.saving.deserialize_keras_object({**backbone, "config": settings})})

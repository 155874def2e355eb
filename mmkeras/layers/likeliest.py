"""The name of the class that is most probable."""

import keras
import tensorflow as tf

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class Likeliest(keras.layers.Layer):
    """Probabilities → {"name": (B,) strings, "probability": (B,)} of the most probable class: (B, C) floats.

    Args:
        names: list of C strings.

    Raises:
        ValueError: as many names as classes are not given.

    Example:
        >>> import numpy as np
        >>> likeliest = Likeliest(["no", "yes"])(np.array([[0.2, 0.8]]))
        >>> likeliest["name"].numpy().tolist(), round(float(likeliest["probability"][0]), 1)
        ([b'yes'], 0.8)
    """

    def __init__(self, names, **kwargs):
        super().__init__(**kwargs)
        self.names = list(names)
        self.supports_jit = False  # strings

    def build(self, probabilities_shape):
        if probabilities_shape[-1] != len(self.names):
            raise ValueError(
                f"Likeliest needs a name for each class. Received: {len(self.names)} names, probabilities of shape "
                f"{tuple(probabilities_shape)}."
            )

    def call(self, probabilities):
        number = tf.argmax(probabilities, axis=-1)
        return {
            "name": tf.gather(tf.constant(self.names), number),
            "probability": tf.reduce_max(probabilities, axis=-1),
        }

    def compute_output_spec(self, probabilities):
        rows = probabilities.shape[:1]
        return {"name": keras.KerasTensor(rows, "string"), "probability": keras.KerasTensor(rows, probabilities.dtype)}

    def get_config(self):
        return {**super().get_config(), "names": self.names}

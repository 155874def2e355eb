"""Probabilities that are brought to mean what they say."""

import keras

from mmkeras.layers.averaging import SCALES

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class Calibration(keras.layers.Layer):
    """Probabilities with other logits, slope · logit + shift: (B, C) → (B, C).

    On "log_probabilities", those of classes, a slope is the inverse of a temperature (Guo et al., 2017,
    https://arxiv.org/abs/1706.04599); on "log_odds", those of labels, it is Platt's scaling (1999). Nothing in it trains.

    Args:
        slope: list of numbers above 0, one, or one for each of C.
        shift: list of numbers, as many.
        scale: "log_odds" or "log_probabilities".

    Raises:
        ValueError: a slope that is not above 0, another number of shifts than of slopes, or an unknown scale.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.Calibration([2.0], [0.0], "log_odds")(np.array([[0.5]])).numpy().tolist()
        [[0.5]]
    """

    def __init__(self, slope, shift, scale, **kwargs):
        super().__init__(trainable=False, **kwargs)
        self.slope, self.shift, self.scale = [float(x) for x in slope], [float(x) for x in shift], scale
        if not self.slope or len(self.slope) != len(self.shift) or not min(self.slope) > 0:
            raise ValueError(
                f"`slope` must be numbers above 0, and `shift` as many numbers. Received: {list(slope)} and {list(shift)}."
            )
        if scale not in SCALES or scale == "predictions":
            raise ValueError(f"`scale` must be 'log_odds' or 'log_probabilities'. Received: {scale!r}.")

    def build(self, input_shape):
        for name in ("slope", "shift"):
            values = getattr(self, name)

            def start(shape, dtype=None, values=values):
                return keras.ops.convert_to_tensor(values, dtype)

            weight = self.add_weight(shape=(len(values),), initializer=start, trainable=False, name=name)
            setattr(self, f"_{name}", weight)

    def call(self, x):
        onto, back = SCALES[self.scale]
        return back(self._slope * onto(x) + self._shift)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.pop("trainable")
        return {**config, "slope": self.slope, "shift": self.shift, "scale": self.scale}

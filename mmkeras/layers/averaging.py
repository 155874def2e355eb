"""The mean of what several models say."""

import keras

PACKAGE = "mmkeras"
SMALL = 1e-7  # probabilities are cut off this far from 0 and 1, where their logarithms end


def _log_odds(x):
    x = keras.ops.clip(x, SMALL, 1.0 - SMALL)
    return keras.ops.log(x) - keras.ops.log(1.0 - x)


# scale → (onto it, and back from it)
SCALES = {
    "predictions": (lambda x: x, lambda x: x),
    "log_odds": (_log_odds, keras.ops.sigmoid),
    "log_probabilities": (lambda x: keras.ops.log(keras.ops.maximum(x, SMALL)), keras.ops.softmax),
}


@keras.saving.register_keras_serializable(PACKAGE)
class WeightedMean(keras.layers.Layer):
    """Weighted mean of predictions, on a scale of its own: [(B, C), …] → (B, C).

    On "log_odds" it is the mean of the logits of labels, on "log_probabilities" that of classes, whose probabilities add to 1 again;
    on "predictions" that of the numbers themselves.

    Args:
        shares: sequence of floats of 0 or more, one for each input; they count by their part of the sum.
        scale: "predictions", "log_odds" or "log_probabilities".

    Raises:
        ValueError: shares that are no numbers of 0 or more, or all 0, an unknown scale, or another number of inputs than of shares.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> mm.layers.WeightedMean([3, 1])([np.array([[1.0]]), np.array([[0.0]])]).numpy().tolist()
        [[0.75]]
    """

    def __init__(self, shares, scale="predictions", **kwargs):
        super().__init__(**kwargs)
        self.shares, self.scale = [float(share) for share in shares], scale
        if not self.shares or min(self.shares) < 0 or not 0 < sum(self.shares) < float("inf"):
            raise ValueError(
                f"`shares` must be numbers of 0 or more, not all 0. Received: {list(shares)}. Use for example [1, 1]."
            )
        if scale not in SCALES:
            raise ValueError(f"`scale` must be one of {tuple(SCALES)}. Received: {scale!r}.")

    def build(self, input_shape):
        if len(input_shape) != len(self.shares):
            raise ValueError(
                f"WeightedMean takes an input for each of {len(self.shares)} shares. Received: {len(input_shape)}."
            )

    def call(self, inputs):
        onto, back = SCALES[self.scale]
        total = sum(self.shares)
        return back(sum(onto(x) * (share / total) for x, share in zip(inputs, self.shares, strict=True)))

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {**super().get_config(), "shares": self.shares, "scale": self.scale}

"""Series through a recurrent layer that trains with the head."""

import keras

from mmkeras import layers
from mmkeras.modalities.encoders.base import SeriesEncoder

UNITS = 64


class GRUSeries(SeriesEncoder):
    """A gated recurrent layer in both directions (Cho et al., 2014, https://arxiv.org/abs/1406.1078), then mean and maximum over the steps."""

    label = "gru"

    def vectors(self, steps, mask):
        x = keras.layers.Reshape((-1, 2 * steps.shape[2]), name=f"{self.name}_channels")(steps)
        both = keras.layers.Bidirectional(keras.layers.GRU(UNITS, return_sequences=True), name=f"{self.name}_gru")
        return layers.PoolSteps(name=f"{self.name}_pool")(both(x, mask=keras.ops.cast(mask, "bool")), mask)

"""Series through dilated convolutions that train with the head."""

import keras

from mmkeras import layers
from mmkeras.backend import replicas
from mmkeras.modalities.encoders.base import SeriesEncoder

FILTERS, DILATIONS = 64, (1, 2, 4, 8, 16)


class ScratchSeries(SeriesEncoder):
    """Five residual blocks of convolutions that see ever farther (Bai et al., 2018, https://arxiv.org/abs/1803.01271), then mean and maximum."""

    label = "scratch"

    def vectors(self, steps, mask):
        x = keras.layers.Reshape((-1, 2 * steps.shape[2]), name=f"{self.name}_channels")(steps)
        there = keras.ops.cast(mask, "bool")
        row = keras.ops.cast(mask, "float32")[:, :, None]  # beyond its end all stays 0, as where there is nothing
        x = keras.layers.Conv1D(FILTERS, 7, padding="same", name=f"{self.name}_start")(x) * row
        for dilation in DILATIONS:
            name = f"{self.name}_{dilation}"
            y = keras.layers.Conv1D(
                FILTERS, 3, padding="same", dilation_rate=dilation, use_bias=False, name=f"{name}_conv"
            )(x)
            norm = keras.layers.BatchNormalization(momentum=0.9, synchronized=replicas() > 1, name=f"{name}_norm")
            x = x + keras.layers.Activation("relu")(norm(y, mask=there)) * row
        return layers.PoolSteps(name=f"{self.name}_pool")(x, mask)

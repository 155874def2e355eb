"""Images through four convolutions that train with the head."""

import keras

from mmkeras.backend import replicas
from mmkeras.modalities.encoders.base import ImageEncoder

POOL = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}


class ScratchImage(ImageEncoder):
    """Each convolution halves height and width: (B, H, W, 3) → (B, 128) or (B, H/16, W/16, 128)."""

    label = "scratch"

    def tower(self):
        dtype = {"dtype": self.modality.dtype}
        pixels = keras.Input((*self.image_size, 3))
        x = keras.layers.Rescaling(1 / 127.5, -1, **dtype)(pixels)
        for filters in (16, 32, 64, 128):
            x = keras.layers.Conv2D(filters, 3, 2, "same", use_bias=False, **dtype)(x)
            x = keras.layers.BatchNormalization(momentum=0.9, synchronized=replicas() > 1, **dtype)(x)
            x = keras.layers.Activation("relu", **dtype)(x)
        if self.modality.pooling is not None:
            x = POOL[self.modality.pooling](**dtype)(x)
        return keras.Model(pixels, x)

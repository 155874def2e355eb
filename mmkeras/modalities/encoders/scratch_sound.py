"""Sounds through a log-mel spectrum and four convolutions that train with the head."""

import keras

from mmkeras import layers
from mmkeras.backend import replicas
from mmkeras.modalities.encoders.sounds import SoundEncoder

FILTERS = (24, 48, 64, 96)
WIDTH = 128


class ScratchSound(SoundEncoder):
    """Three of the convolutions halve time and frequency; mean and maximum over time: (F, N) → (F, 256)."""

    label = "scratch"
    entrance = "standard"

    def features(self, samples, filled):
        settings, name = self.modality, self.name
        if settings.augment:
            samples, filled = layers.VarySound(name=f"{name}_vary")(samples, filled)
        x = layers.LogMel(settings.sampling_rate, settings.bands, name=f"{name}_mel")(samples)
        if settings.augment:
            x = layers.VaryBands(name=f"{name}_microphone")(x)
        there = layers.FramesPresent(name=f"{name}_frames")(x, filled)
        x = layers.StandardizeFrames(name=f"{name}_standard_frames")(x, there)
        x = keras.layers.Identity(name=f"{name}_standard")(x)
        if settings.augment:
            x = layers.MaskBands(name=f"{name}_mask")(x)
        x = x[..., None]
        for number, filters in enumerate(FILTERS):
            stride = 2 if number < 3 else 1
            x = keras.layers.Conv2D(filters, 3, stride, "same", use_bias=False, name=f"{name}_conv_{number}")(x)
            x = keras.layers.BatchNormalization(
                momentum=0.9, synchronized=replicas() > 1, name=f"{name}_norm_{number}"
            )(x)
            x = keras.layers.Activation("relu", name=f"{name}_relu_{number}")(x)
        x = keras.layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name=f"{name}_bands")(x)
        x = keras.layers.Dense(WIDTH, activation="relu", name=f"{name}_dense")(x)
        there = layers.FramesPresent(name=f"{name}_steps")(x, filled)
        return layers.PoolSteps(name=f"{name}_pool")(x, there)

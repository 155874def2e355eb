"""Sounds as pictures of their spectrum, through any pretrained encoder of images."""

import dataclasses

import keras

from mmkeras import layers
from mmkeras.modalities.encoders.applications import Application
from mmkeras.modalities.encoders.base import ImageEncoder, find_encoder
from mmkeras.modalities.encoders.sounds import SoundEncoder

PREFIX = "image:"
DEVIATIONS = 3.0  # of a spectrum that a picture shows, from black to white


@dataclasses.dataclass(frozen=True)
class Picture:
    """The settings of a modality that encoders of images read."""

    encoder: str
    weights: str | None
    name: str
    image_size: tuple | None = None
    pooling: str = "avg"
    layers: int = 1
    dtype: str | None = None
    state: dict | None = None


class SoundPicture(SoundEncoder):
    """ "image:" and the name of an encoder of `Image`: frequencies upwards, time to the right, as grey as they are loud."""

    pretrained = True
    entrance = "standard"

    @classmethod
    def reads(cls, encoder):
        return encoder.startswith(PREFIX)

    @property
    def image(self):
        """The encoder of images."""
        encoder = self.modality.encoder.removeprefix(PREFIX)
        settings = Picture(encoder, self.modality.weights, self.name)
        return find_encoder(ImageEncoder, encoder, Application)(settings)

    def check(self):
        image = self.image
        image.check()
        if not image.pretrained:
            raise ValueError(
                f"`encoder` behind 'image:' must be a pretrained one of `Image`. Received: {self.modality.encoder!r}. Use 'scratch'."
            )

    def features(self, samples, filled):
        image, name = self.image, self.name
        height, width = image.image_size
        heard = layers.LogMel(self.modality.sampling_rate, self.modality.bands, name=f"{name}_mel")(samples)
        there = layers.FramesPresent(name=f"{name}_frames")(heard, filled)
        heard = layers.StandardizeFrames(name=f"{name}_standard_frames")(heard, there)
        heard = keras.layers.Identity(name=f"{name}_standard")(heard)
        grey = keras.ops.clip((heard / DEVIATIONS + 1) * 127.5, 0, 255)
        grey = keras.ops.transpose(grey, (0, 2, 1))[:, ::-1, :, None]
        grey = keras.ops.image.resize(grey, (height, width))
        tower = image.tower()
        tower.name = f"{name}_tower"
        return tower(keras.ops.repeat(grey, 3, axis=-1))

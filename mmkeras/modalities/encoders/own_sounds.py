"""Sounds through a `keras.Model` of one's own, from a file."""

import keras

from mmkeras import layers
from mmkeras.modalities.encoders.own_images import open_model
from mmkeras.modalities.encoders.sounds import SoundEncoder


class OwnSound(SoundEncoder):
    """The path of a `.keras` file: a model from samples (B, N) to (B, D), or to (B, T, D), whose mean over what is sound is taken."""

    pretrained = True

    @classmethod
    def reads(cls, encoder):
        return encoder.endswith(".keras")

    def check(self):
        if self.modality.seconds is not None and self.usual_samples is not None:
            raise ValueError(
                f"`seconds` of a model of one's own that takes {self.usual_samples:,} samples is known. Received: {self.modality.seconds!r}. "
                "Leave it out."
            )

    @property
    def usual_samples(self):
        return load_model(self.modality.encoder).inputs[0].shape[1]

    def features(self, samples, filled):
        model = load_model(self.modality.encoder)
        waves = keras.Input(samples.shape[1:])
        features = keras.Model(waves, model(waves), name=f"{self.name}_tower")(samples)
        if len(features.shape) == 2:
            return features
        there = layers.FramesPresent(name=f"{self.name}_steps")(features, filled)
        return layers.MaskedMean(name=f"{self.name}_steps_mean")(features, there)


def load_model(path):
    """A `.keras` file's model of sounds, without code of others.

    Raises:
        FileNotFoundError, ValueError: see `own_images.open_model`; a model of something else.
    """
    model = open_model(path)
    takes, gives = ([tuple(x.shape) for x in tensors] for tensors in (model.inputs, model.outputs))
    if [len(shape) for shape in takes] != [2] or [len(shape) for shape in gives] not in ([2], [3]):
        raise ValueError(
            f"`encoder` of `Audio` must take samples (B, N), and give (B, D) or (B, T, D). Received: {path!r}, which takes {takes} and gives "
            f"{gives}. Give a model of sounds."
        )
    return model

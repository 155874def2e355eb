"""Sounds through a SavedModel of TensorFlow Hub, such as YAMNet."""

from mmkeras import hub
from mmkeras.modalities.encoders.sounds import SoundEncoder


class TfHubSound(SoundEncoder):
    """A TF-Hub handle, or the folder of a SavedModel that takes samples (N,) at the modality's rate; see `hub.HubSoundEncoder`."""

    pretrained = True

    @classmethod
    def reads(cls, encoder):
        return hub.is_saved_model(encoder)

    def check(self):
        if self.modality.trainable:
            raise ValueError(
                f"A sound encoder of TF-Hub is frozen. Received: trainable={self.modality.trainable!r} with {self.modality.encoder!r}. "
                "Leave `trainable` out."
            )

    def features(self, samples, filled):
        return hub.HubSoundEncoder(self.modality.encoder, name=f"{self.name}_tower")(samples, filled)

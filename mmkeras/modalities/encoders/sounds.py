"""What encoders of sounds share: decoding, windows of a long recording, and which of its moments decided."""

import abc

import keras
import numpy as np

from mmkeras import layers
from mmkeras.modalities.encoders.base import Encoder, mean_of_windows
from mmkeras.modalities.entrances import Entrance

MOMENTS = 20  # of a window, which explanations tell of


class SoundEncoder(Encoder):
    """Base of the encoders of `Audio`. A concrete one writes `features`; one with weights of its own calls them "name_tower"."""

    # Samples of a window that it is made for; None for as many as there are.
    usual_samples = None

    @abc.abstractmethod
    def features(self, samples, filled):
        """(F, N) samples and (F, 1), the share of each that is sound → (F, D), of windows of all rows."""

    def prepare(self, raw):
        ((_, sounds),) = raw.items()
        length, count = self.modality.samples, self.modality.windows
        sound = layers.DecodeSound(self.modality.sampling_rate, length * count, name=f"{self.name}_decode")(sounds)
        begins = length * np.arange(count)
        filled = keras.ops.clip((keras.ops.cast(sound["lengths"], "float32")[:, None] - begins) / length, 0.0, 1.0)
        return {"samples": keras.ops.reshape(sound["samples"], (-1, count, length)), "filled": filled}

    def encode(self, tensors):
        filled, length = tensors["filled"], tensors["samples"].shape[2]
        moments = keras.layers.Reshape((length, 1), name=f"{self.name}_moments")
        samples = keras.ops.reshape(moments(keras.ops.reshape(tensors["samples"], (-1, length))), (-1, length))
        features = self.features(samples, keras.ops.reshape(filled, (-1, 1)))
        return mean_of_windows(features, filled, self.name)

    def tower_layers(self, fine_tune):
        return {f"{self.name}_tower": fine_tune and bool(self.modality.trainable)} if self.pretrained else {}

    # The layer whose values are followed on the way from silence.
    entrance = "moments"

    def entrances(self, encode):
        places = [layer for layer in encode.layers if layer.name == f"{self.name}_{self.entrance}"]
        return {"moments": Entrance(places[0])} if places else {}

    def pieces(self, tensors, given):
        """[("0.2–0.4 s", number), …] of the moments of each row that hold sound."""
        rows, count, length = tensors["samples"].shape
        given = given["moments"].reshape(rows, count, -1)
        parts = np.array_split(np.arange(given.shape[-1]), MOMENTS)
        sums = np.stack([given[:, :, part].sum(axis=-1) for part in parts], axis=-1).reshape(rows, -1)
        step = length / MOMENTS / self.modality.sampling_rate
        told = [f"{number * step:.2f}–{(number + 1) * step:.2f} s" for number in range(count * MOMENTS)]
        ends = np.ceil(tensors["filled"].sum(axis=1) * MOMENTS - 1e-4).astype(int)
        return [list(zip(told[:end], map(float, row[:end]), strict=True)) for row, end in zip(sums, ends, strict=True)]

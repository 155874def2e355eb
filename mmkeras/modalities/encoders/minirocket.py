"""Series through random convolutions with fixed weights, whose features are stored once."""

import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.columns import raw_values
from mmkeras.modalities.encoders.base import SeriesEncoder

FEATURES, SEED = 10_000, 0
MOST_ROWS = 1_000  # that biases are drawn from


class MiniRocketSeries(SeriesEncoder):
    """See `layers.MiniRocket`: (B, 9,996) features that need no training."""

    label = "minirocket"
    pretrained = True
    trains = False

    def adapt(self, df):
        raw = raw_values(df, [self.modality])
        gaps = [column.gaps(raw[name]) for name, column in self.modality.readers.items()]
        known = np.flatnonzero(~np.all(gaps, axis=0))
        rows = np.sort(np.random.default_rng(SEED).permutation(known)[:MOST_ROWS])
        tensors = self.prepare({name: tf.convert_to_tensor(values[rows]) for name, values in raw.items()})
        steps, mask = (np.asarray(tensor) for tensor in self.windows(tensors))
        held, rocket = mask.any(axis=1), self._layer()
        rocket.learn(steps[held, ..., 0], mask[held])
        return {"rocket": rocket.get_weights()}

    def _layer(self):
        return layers.MiniRocket(self.modality.length, FEATURES, SEED, name=f"{self.name}_tower")

    def vectors(self, steps, mask):
        rocket = self._layer()
        features = rocket(steps[..., 0], mask)
        rocket.set_weights(self.modality.state["rocket"])
        return features

    def entrances(self, encode):
        return {}  # a count has no slope

    def tower_layers(self, fine_tune):
        return {f"{self.name}_tower": False}

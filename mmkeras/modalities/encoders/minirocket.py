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
        rows = np.random.default_rng(SEED).permutation(len(df))[:MOST_ROWS]
        raw = raw_values(df.iloc[np.sort(rows)], [self.modality])
        tensors = self.prepare({column: tf.convert_to_tensor(values) for column, values in raw.items()})
        there = tensors["present"].numpy()[:, 0] > 0
        rocket = self._layer()
        rocket.learn(tensors["steps"].numpy()[there, ..., 0], tensors["padding_mask"].numpy()[there])
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

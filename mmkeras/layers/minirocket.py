"""MiniRocket: shares of positive values behind fixed convolutions of many widths."""

import itertools

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "mmkeras"
TAPS = 9  # of a kernel, three of which weigh 2, the others −1
WEIGHTS = np.array([[2.0 if tap in chosen else -1.0 for tap in range(TAPS)]
                    for chosen in itertools.combinations(range(TAPS), 3)], "float32")  # fmt: skip
KERNELS = len(WEIGHTS)  # 84
MOST_DILATIONS = 32
MOST_CHANNELS = 9  # that a kernel adds up
# Values are brought to this grid: then every sum of 9 taps in 9 channels of at most 10 is exact in float32, whatever adds it up in which order.
GRID = 2.0**-13
GOLDEN = (np.sqrt(5) + 1) / 2


def dilations_of(length, features=10_000):
    """[(dilation, features of each kernel), …] for series of a length: more features where the kernels are narrower.

    Args:
        length: int, steps.
        features: int, about how many there are of all kernels.

    Example:
        >>> dilations_of(33, 840), sum(count for _, count in dilations_of(100)) * 84
        ([(1, 5), (2, 3), (3, 1), (4, 1)], 9996)
    """
    each = max(1, features // KERNELS)
    count = min(each, MOST_DILATIONS)
    widest = max(0.0, np.log2(max(1, length - 1) / (TAPS - 1)))
    # Machines differ in the last digit, which would move the widest.
    grown = np.logspace(0, widest, count, base=2) + 1e-9
    dilations, shares = np.unique(grown.astype(int), return_counts=True)
    counts = shares * each // count
    counts[np.arange(each - counts.sum()) % len(counts)] += 1
    return [(int(dilation), int(own)) for dilation, own in zip(dilations, counts, strict=True)]


@keras.saving.register_keras_serializable(PACKAGE)
class MiniRocket(keras.layers.Layer):
    """Series (B, T, C) and a mask (B, T) → (B, F), shares of the steps at which convolutions exceed biases, in 0 to 1.

    The 84 kernels of 9 taps with three 2 and six −1, at dilations that grow up to the length of a series, each over some channels that
    are drawn; for every other pair of kernel and dilation only steps count at which the kernel lies within the row. The biases are
    quantiles of what the convolutions give on training rows. After Dempster et al., 2021 (MINIROCKET, https://arxiv.org/abs/2012.08791).

    Values are rounded to a grid on which all sums are exact, so that a row has the same features in every batch. Nothing in it trains:
    `learn` sets its weights.

    Args:
        length: int, steps of a usual row, from which the dilations follow.
        features: int, about how many there are.
        seed: int, draws the channels of kernels, and the rows that biases come from.

    Example:
        >>> import numpy as np
        >>> from mmkeras.layers import MiniRocket
        >>> waves = np.sin(np.arange(40.0) * np.array([[0.3], [0.9]]))[:, :, None]
        >>> rocket = MiniRocket(40, features=840)
        >>> rocket.learn(waves, np.ones((2, 40)))
        >>> rocket(waves, np.ones((2, 40))).shape
        TensorShape([2, 840])
    """

    exact = True  # it counts: what engines round would be counted wrong

    def __init__(self, length, features=10_000, seed=0, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.length, self.features, self.seed = int(length), int(features), int(seed)
        self.dilations = dilations_of(self.length, self.features)

    def build(self, values_shape, mask_shape=None):
        total = KERNELS * sum(count for _, count in self.dilations)
        fixed = {"trainable": False, "initializer": "zeros"}
        self.channels = self.add_weight((len(self.dilations), values_shape[-1], KERNELS), name="channels", **fixed)
        self.biases = self.add_weight((total,), name="biases", **fixed)

    def learn(self, values, mask):
        """Draw channels, and take biases from training rows.

        Args:
            values: (R, T, C) array. mask: (R, T) array.
        """
        values, mask = np.asarray(values, "float32"), np.asarray(mask)
        if not self.built:
            self.build(values.shape)
        rng, count = np.random.default_rng(self.seed), values.shape[2]
        chosen = np.zeros(self.channels.shape, "float32")
        for place, kernel in itertools.product(range(len(self.dilations)), range(KERNELS)):
            size = int(2 ** rng.uniform(0, np.log2(min(count, MOST_CHANNELS) + 1)))
            chosen[place, rng.choice(count, size, replace=False), kernel] = 1.0
        self.channels.assign(chosen)
        quantiles, biases = np.arange(1, self.biases.shape[0] + 1) * GOLDEN % 1, []
        for place, (_, own) in enumerate(self.dilations):
            some, where = np.unique(rng.integers(len(values), size=KERNELS), return_inverse=True)
            given, there = (np.asarray(x) for x in self._convolved(values[some], mask[some], place))
            for kernel, row in enumerate(where):
                within = there[row, :, kernel] if there[row, :, kernel].any() else mask[some][row] > 0
                biases.append(np.quantile(given[row, within, kernel], quantiles[:own]))
                quantiles = quantiles[own:]
        self.biases.assign(np.concatenate(biases))

    def call(self, values, mask):
        features, start = [], 0
        for place, (_, own) in enumerate(self.dilations):
            given, there = self._convolved(values, mask, place)
            given = tf.where(there, given, -np.inf)
            count = tf.maximum(tf.reduce_sum(tf.cast(there, tf.float32), axis=1), 1.0)  # (B, 84)
            biases = tf.reshape(self.biases[start : start + KERNELS * own], [KERNELS, own])
            above = [tf.reduce_sum(tf.cast(given > biases[:, i], tf.float32), axis=1) / count for i in range(own)]
            features.append(tf.reshape(tf.stack(above, axis=-1), [-1, KERNELS * own]))
            start += KERNELS * own
        return tf.concat(features, axis=1)

    def _convolved(self, values, mask, place):
        """((B, T, 84) convolutions at a dilation, (B, T, 84) which of them count)."""
        dilation, _ = self.dilations[place]
        values = tf.round(tf.cast(values, tf.float32) / GRID) * GRID
        kernel = WEIGHTS.T[:, None, :] * self.channels[place][None]  # (9, C, 84)
        given = tf.nn.conv1d(values, kernel, 1, "SAME", dilations=dilation)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)[:, None]
        steps, edge = tf.range(tf.shape(values)[1])[None], dilation * (TAPS // 2)
        row, inner = steps < lengths, (steps >= edge) & (steps < lengths - edge)
        padded = (np.arange(KERNELS) + place) % 2 == 0
        return given, tf.where(padded, row[:, :, None], inner[:, :, None])

    def compute_output_spec(self, values, mask):
        return keras.KerasTensor((values.shape[0], KERNELS * sum(count for _, count in self.dilations)), "float32")

    def get_config(self):
        return {**super().get_config(), "length": self.length, "features": self.features, "seed": self.seed}

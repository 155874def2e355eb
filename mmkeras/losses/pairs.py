"""Losses of a batch of pairs, in which each row's own pair is set against those of other rows.

All take the groups of B rows, (B,) or (B, 1) numbers, and logits (B, B) of each row's first side with every row's second. Rows of
one group belong together: they are never set against each other.
"""

import keras

PACKAGE = "mmkeras"
FAR = 1e9


def belonging(groups):
    """(B, B), 1 where two rows are of one group."""
    groups = keras.ops.reshape(groups, (-1, 1))
    return keras.ops.cast(keras.ops.equal(groups, keras.ops.transpose(groups)), "float32")


class Pairs(keras.losses.Loss):
    """Base of the losses of a batch of pairs; float32, as groups are numbers that must stay apart.

    Args:
        apart: bool, whether a row's own pair is left out, because both sides are one thing. Then the others of its group are what
            it belongs to, and a row without others in its batch takes no part.
    """

    def __init__(self, apart=False, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.apart = apart

    def masks(self, y_true, y_pred):
        """((B, B), 1 where a pair belongs together; (B, B), 1 where it does not)."""
        together = belonging(y_true)
        alone = keras.ops.eye(keras.ops.shape(y_pred)[0]) if self.apart else 0.0
        return together - alone, 1.0 - together

    def get_config(self):
        return {**super().get_config(), "apart": self.apart}


@keras.saving.register_keras_serializable(PACKAGE)
class InfoNCE(Pairs):
    """The cross-entropy of finding what belongs together, from either side: groups (B,), logits (B, B) → (B,) losses.

    Of van den Oord et al., 2018 (https://arxiv.org/abs/1807.03748), and symmetric as in Radford et al., 2021
    (https://arxiv.org/abs/2103.00020). Where several rows of a batch are of one group, a loss is the mean over all that belong to its
    row, each set against what does not belong to it.

    Args:
        apart: bool, whether a row's own pair is left out, because both sides are one thing; then the others of its group are what it
            belongs to.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> round(float(mm.losses.InfoNCE()(np.array([0, 1]), np.zeros((2, 2)))), 3)  # of 2, log 2
        0.693
    """

    def call(self, y_true, y_pred):
        positive, negative = self.masks(y_true, y_pred)
        return (_one_way(y_pred, positive, negative) + _one_way(keras.ops.transpose(y_pred), positive, negative)) / 2


def _one_way(logits, positive, negative):
    """(B,) means over the positives of log(1 + Σ exp(negative − positive))."""
    others = keras.ops.logsumexp(logits - FAR * (1.0 - negative), axis=1, keepdims=True)
    losses = positive * keras.ops.softplus(others - logits)
    return keras.ops.sum(losses, axis=1) / keras.ops.maximum(keras.ops.sum(positive, axis=1), 1.0)


@keras.saving.register_keras_serializable(PACKAGE)
class PairwiseSigmoid(Pairs):
    """Whether each pair of a batch belongs together, each decided by itself: groups (B,), logits (B, B) → (B,) losses.

    Of Zhai et al., 2023 (https://arxiv.org/abs/2303.15343).

    Args:
        apart: bool, whether a row's own pair is left out, because both sides are one thing; then the others of its group are what it
            belongs to.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> round(float(mm.losses.PairwiseSigmoid()(np.array([0, 1]), np.zeros((2, 2)))), 3)  # 2 log 2 of a row
        1.386
    """

    def call(self, y_true, y_pred):
        positive, negative = self.masks(y_true, y_pred)
        losses = positive * keras.ops.softplus(-y_pred) + negative * keras.ops.softplus(y_pred)
        return keras.ops.sum(losses, axis=1)


@keras.saving.register_keras_serializable(PACKAGE)
class HardestTriplet(Pairs):
    """By how much the nearest of another group is not farther than what belongs to a row: groups (B,), cosines (B, B) → (B,).

    Of Faghri et al., 2018 (VSE++, https://arxiv.org/abs/1707.05612). At the start the mean over all others counts, as the hardest alone
    would draw everything to one point; `Warm` lets the hardest count from the second epoch.

    Args:
        margin: float, how much farther they should be.
        apart: bool, see `InfoNCE`.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> round(float(mm.losses.HardestTriplet(margin=0.2)(np.array([0, 1]), np.zeros((2, 2)))), 3)
        0.4
    """

    def __init__(self, margin=0.2, apart=False, **kwargs):
        super().__init__(apart=apart, **kwargs)
        self.margin = margin
        self.hardest = keras.Variable(0.0, trainable=False, name="hardest")

    def call(self, y_true, y_pred):
        positive, negative = self.masks(y_true, y_pred)
        ways = (y_pred, keras.ops.transpose(y_pred))
        return sum(self._one_way(logits, positive, negative) for logits in ways)

    def _one_way(self, cosines, positive, negative):
        # Of several that belong together, the farthest must still be nearer.
        own = keras.ops.min(cosines + FAR * (1.0 - positive), axis=1, keepdims=True)
        some = keras.ops.cast(keras.ops.any(positive > 0, axis=1), "float32")
        hinges = negative * keras.ops.relu(self.margin + cosines - own)
        mean = keras.ops.sum(hinges, axis=1) / keras.ops.maximum(keras.ops.sum(negative, axis=1), 1.0)
        return some * (self.hardest * keras.ops.max(hinges, axis=1) + (1.0 - self.hardest) * mean)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


class Warm(keras.callbacks.Callback):
    """Lets the hardest of a batch count from the second epoch of a training.

    Args:
        loss: `HardestTriplet`.
    """

    def __init__(self, loss):
        super().__init__()
        self.loss, self.epochs = loss, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.loss.hardest.assign(float(self.epochs > 0))
        self.epochs += 1

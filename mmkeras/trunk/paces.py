"""The pace at which pretrained towers learn beside the head: a share of its learning rate, block by block from the top."""

import keras
import numpy as np


class Paces(keras.callbacks.Callback):
    """Shares of the learning rate for the weights of towers, and the epochs from which these learn (Howard & Ruder, 2018).

    Layers of each tower that have weights to train are divided into as many groups as there are epochs, in the order in which the tower runs
    them, the last ones first. Weights of a group stay as they are, to the bit, before its epoch.

    Args:
        towers: list of layers or models that train.
        rate: float, the share of the head's learning rate.
        unfreeze: epochs of this phase from which the groups learn; () for a single group that learns from the start.
        first: int, number of the phase's first epoch.

    Raises:
        ValueError: fewer layers than groups.
    """

    def __init__(self, towers, rate, unfreeze=(), first=0):
        super().__init__()
        self.rate, self.starts = rate, [first + epoch for epoch in unfreeze or (0,)]
        self.shares = [keras.Variable(0.0, trainable=False, dtype="float32") for _ in self.starts]
        self._places = {}
        for tower in towers:
            layers = [layer for layer in single_layers(tower) if layer.trainable_variables]
            if len(layers) < len(self.starts):
                raise ValueError(
                    f"`unfreeze` must name at most as many epochs as a tower has layers that train. Received: {len(self.starts)} "
                    f"epochs, and {len(layers)} such layers of {tower.name!r}. Name fewer."
                )
            for group, places in enumerate(np.array_split(np.arange(len(layers))[::-1], len(self.starts))):
                for variable in (v for place in places for v in layers[place].trainable_variables):
                    self._places[id(variable)] = group

    def __call__(self, variable):
        """The share of a variable, a scalar tensor; None for one of the head, which learns at the whole rate."""
        group = self._places.get(id(variable))
        return None if group is None else self.shares[group].value

    def on_epoch_begin(self, epoch, logs=None):
        for share, start in zip(self.shares, self.starts, strict=True):
            share.assign(self.rate if epoch >= start else 0.0)


def single_layers(tower):
    """The layers of a model in the order in which it runs them, those of models inside it in their place."""
    if not isinstance(tower, keras.Model) or not tower.layers:
        return [tower]
    return [single for layer in tower.layers for single in single_layers(layer)]

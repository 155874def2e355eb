"""What heads read: features of modalities, and which of their tokens and patches are there."""

import dataclasses

import keras

from mmkeras.layers import MaskedMean
from mmkeras.modalities.base import EACH_PRESENT, PADDING, PRESENT


def modality_names(features):
    """Names of the modalities among the keys of `features`, see `build_head`."""
    return [key for key in features if "." not in key and f"{key}{PRESENT}" in features]


class HeadInputs:
    """Inputs of a head, made when they are first taken.

    Args:
        features: {key: KerasTensor}, what `prepare` and `encode` give, see `build_head`.
        names: names of the modalities to use; None takes all.
        normalise: names of the features to be brought to mean 0 and variance 1.
        whole: names of the features of which training leaves nothing out.
        scaled: names of the features that are never normalised, as one scale is common to all their numbers.
        ways: {modality: its `alike`}, see `Modality.alike`.

    Attributes:
        inputs: {key: keras.Input} of those that were taken.
    """

    def __init__(self, features, names=None, normalise=(), *, whole=(), scaled=(), ways=None):
        self.features, self.inputs = features, {}
        self.names = modality_names(features) if names is None else list(names)
        self.normalise = [name for name in normalise if name not in scaled]
        self.whole, self.scaled, self._ways = whole, scaled, ways or {}

    def __call__(self, key):
        if key not in self.inputs:
            tensor = self.features[key]
            self.inputs[key] = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
        return self.inputs[key]

    def only(self, names):
        """The same for some of the modalities, with inputs of its own, all to be normalised but those that have one scale."""
        return HeadInputs(self.features, names, names, whole=self.whole, scaled=self.scaled, ways=self._ways)

    def alike(self, name):
        """What of a modality's rows may be compared, see `Modality.alike`; None for nothing."""
        return self._ways[name](self) if name in self._ways else None

    def present(self, name):
        """(B, 1), 1 where the row has the modality."""
        return self(f"{name}{PRESENT}")

    def mask(self, name):
        """(B, T) of the tokens that are there; patches of an image count as padding where that image is absent."""
        x, parts = self(name), f"{name}{EACH_PRESENT}"
        if f"{name}{PADDING}" in self.features:
            return self(f"{name}{PADDING}")
        if parts in self.features:
            return keras.ops.repeat(self(parts), x.shape[1] // self.features[parts].shape[1], axis=1)
        return keras.ops.ones_like(x[..., 0])

    def is_sequence(self, name):
        """Whether the feature is (B, T, D)."""
        return len(self.features[name].shape) == 3

    def vector(self, name):
        """The feature as (B, D): of a sequence, the mean over what is there."""
        x = self(name)
        return MaskedMean(name=f"{name}_mean")(x, self.mask(name)) if self.is_sequence(name) else x


# Layers of this name, and what stands behind it, are decisions that train by a loss of their own.
DECISION = "decision_"


@dataclasses.dataclass
class JoinInputs:
    """What a fusion joins, and how a head decides; see `Fusion.join`.

    Attributes:
        names: names of the modalities, in order.
        sequence_names: those that the fusion takes as sequences.
        units, attention_heads: int. dropout, momentum: float; settings of the head.
        decide: function of (B, D), a number that names its layers, and logits (B, C) to which its own add up, or None; to (B, C).
        decide_linearly: function of (B, D) and a number to (B, C).
        adds: bool, whether logits of several modalities add up, see `Decisions.adds`.
    """

    names: list
    sequence_names: list
    vector_of: dict
    sequence_of: dict
    mask_of: dict
    presence_of: dict
    units: int
    dropout: float
    attention_heads: int
    decide: object
    decide_linearly: object
    adds: bool = False
    # A short memory of statistics: heads see few steps, and their moving averages must have converged by then.
    momentum: float = 0.9

    def vectors(self, names=None):
        """[(B, D), …] of all modalities, or of those named."""
        return [self.vector_of[name] for name in (self.names if names is None else names)]

    def presence(self, names=None):
        """[(B, 1), …], 1 where the row has the modality."""
        return [self.presence_of[name] for name in (self.names if names is None else names)]

    def sequences(self):
        """[(B, T, D), …] of `sequence_names`."""
        return [self.sequence_of[name] for name in self.sequence_names]

    def masks(self):
        """[(B, T), …] of what is there in the sequences."""
        return [self.mask_of[name] for name in self.sequence_names]

    @staticmethod
    def decision(logits, name):
        """The logits (B, C) themselves, marked as a decision that gets a loss of its own."""
        return keras.layers.Identity(dtype="float32", name=f"{DECISION}{name}")(logits)

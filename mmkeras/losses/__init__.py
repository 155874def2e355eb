"""Losses and metrics that Keras lacks, and weights of rows for classes of unequal size."""

from mmkeras.losses.classes import AsymmetricCrossentropy, SparseCategoricalFocalCrossentropy
from mmkeras.losses.pairs import HardestTriplet, InfoNCE, PairwiseSigmoid
from mmkeras.losses.weights import sample_weights
from mmkeras.losses.words import MaskedTokenAccuracy, MaskedTokenCrossentropy

__all__ = [
    "AsymmetricCrossentropy",
    "HardestTriplet",
    "InfoNCE",
    "MaskedTokenAccuracy",
    "MaskedTokenCrossentropy",
    "PairwiseSigmoid",
    "SparseCategoricalFocalCrossentropy",
    "sample_weights",
]

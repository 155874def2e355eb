"""Fusion layers: several feature tensors and their presence → one tensor.

They know no modality by name: features and presence masks come as lists in one order. A presence mask (B, 1) is 1
where the row has that input. B = rows, T_i, D_i = length and width of input i, C = classes, U = units.
"""

from mmkeras.fusion.attention import CrossAttentionFusion
from mmkeras.fusion.base import Fusion, ModalityDropout, NormalizePresent
from mmkeras.fusion.decisions import HybridFusion, LateFusion
from mmkeras.fusion.film import FilmFusion
from mmkeras.fusion.joint import BilinearFusion, ConcatFusion, EarlyFusion, GatedFusion
from mmkeras.fusion.stacked_attention import StackedAttentionFusion
from mmkeras.fusion.word_attention import WordAttentionFusion

__all__ = [
    "BilinearFusion",
    "ConcatFusion",
    "CrossAttentionFusion",
    "EarlyFusion",
    "FilmFusion",
    "Fusion",
    "GatedFusion",
    "HybridFusion",
    "LateFusion",
    "ModalityDropout",
    "NormalizePresent",
    "StackedAttentionFusion",
    "WordAttentionFusion",
]

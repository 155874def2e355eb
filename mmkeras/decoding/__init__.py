"""Captions from a decoder and patches: greedy, sampled or by beam search, as one compiled graph."""

from mmkeras.decoding.layer import DecodeCaptions, decode
from mmkeras.decoding.results import Captions, generate_from_patches
from mmkeras.decoding.settings import Settings

__all__ = ["Captions", "DecodeCaptions", "Settings", "decode", "generate_from_patches"]

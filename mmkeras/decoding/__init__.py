"""Captions from a decoder and patches: greedy, sampled or by beam search, as one compiled graph."""

from mmkeras.decoding.layer import DecodeCaptions, decode
from mmkeras.decoding.results import Captions, as_captions, generate_from_patches
from mmkeras.decoding.settings import Settings

__all__ = ["Captions", "DecodeCaptions", "Settings", "as_captions", "decode", "generate_from_patches"]

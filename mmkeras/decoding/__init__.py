"""Captions from a decoder and patches: greedy, sampled or by beam search, as one compiled graph."""

from mmkeras.decoding.layer import DecodeCaptions, decode
from mmkeras.decoding.settings import Settings

__all__ = ["DecodeCaptions", "Settings", "decode"]

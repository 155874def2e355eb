"""Readers of the public data sets that the tutorials use."""

from mmkeras.sources.films import MOVIE_COLUMNS, movies
from mmkeras.sources.photos import captions, coco_captions, flickr8k, tfds_captions
from mmkeras.sources.posts import (
    ENTAILMENT_COLUMNS,
    ENTAILMENT_CSV,
    ENTAILMENT_IMAGES,
    ENTAILMENT_LABELS,
    download_entailment,
    entailment,
)

__all__ = [
    "ENTAILMENT_COLUMNS",
    "ENTAILMENT_CSV",
    "ENTAILMENT_IMAGES",
    "ENTAILMENT_LABELS",
    "MOVIE_COLUMNS",
    "captions",
    "coco_captions",
    "download_entailment",
    "entailment",
    "flickr8k",
    "movies",
    "tfds_captions",
]

"""Embedded sample data: generated, seeded, written and drawn by us."""

from mmkeras.samples.films import movies
from mmkeras.samples.posts import entailment

__all__ = ["entailment", "movies"]

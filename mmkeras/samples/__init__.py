"""Embedded sample data: generated, seeded, written and drawn by us."""

from mmkeras.samples.calls import calls
from mmkeras.samples.drawings import captions
from mmkeras.samples.films import movies
from mmkeras.samples.listings import listings
from mmkeras.samples.machines import machines
from mmkeras.samples.posts import entailment
from mmkeras.samples.questions import questions
from mmkeras.samples.scenes import caption_content

__all__ = ["calls", "caption_content", "captions", "entailment", "listings", "machines", "movies", "questions"]

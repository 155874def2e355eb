"""How a Pipeline learns from rows, what it has learnt, and what a user asks of it."""

from mmkeras.fitting.fitted import Fitted
from mmkeras.fitting.recipe import Recipe, Series

__all__ = ["Fitted", "Recipe", "Series"]

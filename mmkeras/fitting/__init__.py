"""How a Pipeline learns from rows, what it has learnt, and what a user asks of it."""

from mmkeras.fitting.fit_files import fit_files
from mmkeras.fitting.fitted import Fitted
from mmkeras.fitting.recipe import Recipe, Series
from mmkeras.fitting.row_files import check_no_files

__all__ = ["Fitted", "Recipe", "Series", "check_no_files", "fit_files"]

"""Checks that a task, modality, fusion, encoder or rival of your own keeps its contract; they run on every one of ours.

Each raises an AssertionError with a sentence on what is wrong.
"""

from mmkeras.testing.columns import check_columns
from mmkeras.testing.features import check_encoder, check_fusion, check_modality
from mmkeras.testing.tasks import check_rival, check_task

__all__ = ["check_columns", "check_encoder", "check_fusion", "check_modality", "check_rival", "check_task"]

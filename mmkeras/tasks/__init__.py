"""What the target column means: encoding it, the output layer, loss and metrics, and reading predictions."""

from mmkeras.tasks.classes import MultiClass, MultiLabel
from mmkeras.tasks.regression import Regression

__all__ = ["MultiClass", "MultiLabel", "Regression"]

"""What the target column means: encoding it, the output layer, loss and metrics, and reading predictions."""

from mmkeras.tasks.caption import Caption
from mmkeras.tasks.classes import MultiClass
from mmkeras.tasks.labels import MultiLabel
from mmkeras.tasks.regression import Regression
from mmkeras.tasks.retrieval import Retrieval

__all__ = ["Caption", "MultiClass", "MultiLabel", "Regression", "Retrieval"]

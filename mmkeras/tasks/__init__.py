"""What the target column means: encoding it, the output layer, loss and metrics, and reading predictions."""

from mmkeras.tasks.answer import Answer
from mmkeras.tasks.answer_choice import ChosenAnswer  # noqa: F401 of `Answer`
from mmkeras.tasks.answer_writing import WrittenAnswer  # noqa: F401 of `Answer`
from mmkeras.tasks.caption import Caption
from mmkeras.tasks.classes import MultiClass
from mmkeras.tasks.labels import MultiLabel
from mmkeras.tasks.regression import Regression
from mmkeras.tasks.retrieval import Retrieval

__all__ = ["Answer", "Caption", "MultiClass", "MultiLabel", "Regression", "Retrieval"]

"""The tutorials' models as functions that return a plain keras.Model."""

from mmkeras.models.entailment import build_entailment_classifier
from mmkeras.models.genre import build_genre_classifier

__all__ = ["build_entailment_classifier", "build_genre_classifier"]

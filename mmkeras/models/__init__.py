"""The tutorials' models as functions that return a plain keras.Model."""

from mmkeras.models.captioner import build_caption_server, build_captioner
from mmkeras.models.entailment import build_entailment_classifier
from mmkeras.models.genre import build_genre_classifier

__all__ = ["build_caption_server", "build_captioner", "build_entailment_classifier", "build_genre_classifier"]

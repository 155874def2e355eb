"""The tutorials' models as functions that return a plain keras.Model."""

from mmkeras.models.genre import build_genre_classifier

__all__ = ["build_genre_classifier"]

"""Modalities of a Pipeline whose stages come from a finished model: they say what the columns are, and learn nothing."""

from mmkeras.modalities.image import Image
from mmkeras.modalities.tabular import Tabular
from mmkeras.modalities.text import Text


class _Adopted:
    """Reads columns like its other base; preparation and encoding came with the model."""

    normalise = few_features = scaled = False

    def adapt(self, df):
        raise ValueError(
            f"Modality {self.name!r} belongs to a finished model of `search.auto_model`, which learns nothing anew. Search again, "
            f"or make a Pipeline with mm.{type(self).__bases__[1].__name__}."
        )


class AdoptedText(_Adopted, Text):
    """Text that a finished model tokenises itself."""


class AdoptedTabular(_Adopted, Tabular):
    """Numbers and categories that a finished model encodes itself."""


class AdoptedImage(_Adopted, Image):
    """Images that a finished model looks at itself."""

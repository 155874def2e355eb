"""What columns of a DataFrame mean."""

from mmkeras.modalities.adopted import AdoptedImage, AdoptedTabular, AdoptedText
from mmkeras.modalities.audio import Audio
from mmkeras.modalities.base import Modality
from mmkeras.modalities.image import Image
from mmkeras.modalities.series import Series
from mmkeras.modalities.tabular import Tabular
from mmkeras.modalities.text import Text
from mmkeras.modalities.vector import Vector
from mmkeras.registry import subclasses

__all__ = [
    "AdoptedImage",
    "AdoptedTabular",
    "AdoptedText",
    "Audio",
    "Image",
    "Modality",
    "Series",
    "Tabular",
    "Text",
    "Vector",
    "with_claims",
    "with_options",
]


def with_options():
    """The modalities whose columns a command line can name, in the order in which they stand side by side.

    Those that say so themselves, as `option`; of two with the same option, the latest.
    """
    classes = dict.fromkeys((Text, Image, Tabular, *subclasses(Modality)))
    return list({cls.option: cls for cls in classes if vars(cls).get("option")}.values())


def with_claims():
    """The modalities that say what they would read a column as; those that write `claims` themselves."""
    classes = dict.fromkeys((Text, Image, Tabular, *subclasses(Modality)))
    return [cls for cls in classes if "claims" in vars(cls)]

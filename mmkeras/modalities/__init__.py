"""What columns of a DataFrame mean."""

from mmkeras.modalities.adopted import AdoptedImage, AdoptedTabular, AdoptedText
from mmkeras.modalities.image import Image
from mmkeras.modalities.tabular import Tabular
from mmkeras.modalities.text import Text

__all__ = ["AdoptedImage", "AdoptedTabular", "AdoptedText", "Image", "Tabular", "Text"]

"""What columns of a DataFrame mean."""

from mmkeras.modalities.image import Image
from mmkeras.modalities.tabular import Tabular
from mmkeras.modalities.text import Text

__all__ = ["Image", "Tabular", "Text"]

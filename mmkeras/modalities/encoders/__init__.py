"""What turns prepared tensors into features, a file for each kind.

Derive from `TextEncoder` or `ImageEncoder` to add one; see `encoders.base`.
"""

from mmkeras.modalities.encoders.applications import Application
from mmkeras.modalities.encoders.base import Encoder, ImageEncoder, SeriesEncoder, TextEncoder
from mmkeras.modalities.encoders.characters import Characters
from mmkeras.modalities.encoders.gru import GRUSeries
from mmkeras.modalities.encoders.gru_text import GRUText
from mmkeras.modalities.encoders.hub_images import HubImage
from mmkeras.modalities.encoders.hub_sounds import HubSound
from mmkeras.modalities.encoders.keras_hub import KerasHub
from mmkeras.modalities.encoders.lexical import Lexical
from mmkeras.modalities.encoders.minirocket import MiniRocketSeries
from mmkeras.modalities.encoders.own_images import OwnImage
from mmkeras.modalities.encoders.own_sounds import OwnSound
from mmkeras.modalities.encoders.own_texts import OwnText
from mmkeras.modalities.encoders.scratch import ScratchText
from mmkeras.modalities.encoders.scratch_image import ScratchImage
from mmkeras.modalities.encoders.scratch_series import ScratchSeries
from mmkeras.modalities.encoders.scratch_sound import ScratchSound
from mmkeras.modalities.encoders.sound_pictures import SoundPicture
from mmkeras.modalities.encoders.sounds import SoundEncoder
from mmkeras.modalities.encoders.terms import Terms
from mmkeras.modalities.encoders.tf_hub import TfHub
from mmkeras.modalities.encoders.tf_hub_sounds import TfHubSound

__all__ = [
    "Application", "Characters", "Encoder", "GRUSeries", "GRUText", "HubImage", "HubSound", "ImageEncoder", "KerasHub", "Lexical",
    "MiniRocketSeries", "OwnImage", "OwnSound", "OwnText", "ScratchImage", "ScratchSeries", "ScratchSound", "ScratchText", "SeriesEncoder", "SoundEncoder", "SoundPicture",
    "Terms", "TextEncoder", "TfHub", "TfHubSound",
]  # fmt: skip

"""SavedModels of TensorFlow Hub as Keras 3 layers: BERT-like encoders and their preprocessing, and encoders of sounds.

A layer copies the SavedModel's files to a temporary folder of its own, because a loaded SavedModel reads its vocabularies
from there again when it is exported. A `.keras` file holds the graph and the vocabularies as the layer's assets, and an
encoder's weights as the layer's weights; loading it needs neither the first folder nor a connection.

A SavedModel is a program. So a `.keras` file with one inside is loaded with `safe_mode=False` only, as Keras's own layers
that hold code are. Load SavedModels, and such files, from people you trust only.
"""

from mmkeras.hub.encoder import HubEncoder
from mmkeras.hub.preprocessor import HubPreprocessor
from mmkeras.hub.saved_models import TENSORS, is_handle, is_saved_model, resolve
from mmkeras.hub.sound_encoder import HubSoundEncoder

__all__ = ["TENSORS", "HubEncoder", "HubPreprocessor", "HubSoundEncoder", "is_handle", "is_saved_model", "resolve"]

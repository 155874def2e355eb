"""A sound encoder of TensorFlow Hub as a layer."""

import keras
import tensorflow as tf

from mmkeras.hub.saved_models import Folder, SavedModelLayer, folders, interface, resolve

NAMED = ("embedding", "embeddings")  # what a SavedModel may call its features


@keras.saving.register_keras_serializable("mmkeras")
class HubSoundEncoder(SavedModelLayer):
    """A frozen sound encoder of TensorFlow Hub, such as YAMNet or VGGish: samples (B, N) → (B, D), the mean over its frames of sound.

    The SavedModel must be callable with the samples (N,) float32 of one sound. Of what it gives, the features are what it calls
    "embedding" or "embeddings", or the widest of those with one axis of frames, (T, D); YAMNet's are 1,024 wide.

    Args:
        handle: the SavedModel's folder or TF-Hub handle, see `resolve`.
        stored: what `get_config` tells of a SavedModel that has been read, see `HubEncoder`.

    Call arguments:
        samples: (B, N) float32.
        filled: (B, 1), the share of each row that is sound; None where all is.

    Returns:
        (B, D) float32.

    Raises:
        FileNotFoundError: a folder that does not exist.
        ValueError: no SavedModel, one that does not take samples or gives no frames, or a handle that cannot be fetched.

    Example:
        >>> from mmkeras.hub import HubSoundEncoder
        >>> hear = HubSoundEncoder("https://tfhub.dev/google/yamnet/1")  # doctest: +SKIP
        >>> hear(tf.zeros((2, 16000))).shape  # doctest: +SKIP
        TensorShape([2, 1024])
    """

    def __init__(self, handle, stored=None, **kwargs):
        super().__init__(handle, stored, **{**kwargs, "dtype": "float32"})
        folder = Folder(resolve(self.handle)) if stored is None else folders.get(stored["digest"])
        if folder is not None:
            self._read(folder)

    def _read(self, folder):
        loaded = tf.saved_model.load(str(folder.model))
        run = tf.function(lambda wave: _features(loaded(wave)), autograph=False)
        try:
            frames = run.get_concrete_function(tf.TensorSpec([None], tf.float32)).structured_outputs
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"A sound encoder must be a SavedModel that takes samples (N,) float32 and gives frames (T, D). Received: {self.handle!r}, "
                f"which has {interface(loaded)}. Use one such as YAMNet."
            ) from error
        self._folder, self._loaded = folder, loaded
        self._remember({"digest": folder.finish(), "width": frames.shape[-1]})

    def call(self, samples, filled=None):
        self._check_loaded()
        filled = tf.ones([tf.shape(samples)[0], 1]) if filled is None else filled

        def heard(row):
            frames = _features(self._loaded(row[0]))
            count = tf.math.ceil(row[1][0] * tf.cast(tf.shape(frames)[0], tf.float32))
            return tf.reduce_mean(frames[: tf.maximum(tf.cast(count, tf.int32), 1)], axis=0)

        spec = tf.TensorSpec((self.stored["width"],), tf.float32)
        return tf.map_fn(heard, (samples, filled), fn_output_signature=spec)

    def compute_output_spec(self, samples, filled=None):
        return keras.KerasTensor((samples.shape[0], self.stored["width"]), "float32")


def _features(outputs):
    """(T, D) of what a SavedModel gives for one sound."""
    if isinstance(outputs, dict):
        named = [outputs[name] for name in NAMED if name in outputs]
        outputs = named or list(outputs.values())
    tensors = [outputs] if tf.is_tensor(outputs) else list(outputs)
    frames = [tensor for tensor in tensors if tensor.shape.rank == 2 and tensor.shape[-1] is not None]
    if not frames:
        raise ValueError(f"no output (T, D) among {[tensor.shape for tensor in tensors]}")
    return tf.cast(max(frames, key=lambda tensor: tensor.shape[-1]), tf.float32)

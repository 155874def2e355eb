"""Layers of rows that have any number of files: taking them apart, and joining what was made of each."""

import keras
import tensorflow as tf

from mmkeras.layers.text import Present

PACKAGE = "mmkeras"


@keras.saving.register_keras_serializable(PACKAGE)
class FilesPresent(Present):
    """Which files are there: (B, K) strings → (B, K) of 0. and 1.

    Example:
        >>> import tensorflow as tf
        >>> import mmkeras as mm
        >>> mm.layers.FilesPresent()(tf.constant([["GIF8", "BM"], ["GIF8", ""]])).numpy().tolist()
        [[1.0, 1.0], [1.0, 0.0]]
    """

    def call(self, files):
        return tf.cast(tf.strings.length(files) > 0, self.compute_dtype)

    def compute_output_spec(self, files):
        return keras.KerasTensor(files.shape, self.compute_dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class TakeFiles(keras.layers.Layer):
    """What belongs to files, row by row, as rows of its own: (B, K, …) and (B, K) of which are there → (F, …), F files of all rows.

    Where none is there, the first place stands for it, so that no layer behind meets an empty batch.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> values, there = np.array([[[1.0], [2.0]], [[3.0], [0.0]]]), np.array([[1, 1], [1, 0]])
        >>> mm.layers.TakeFiles()(values, there).numpy().tolist()
        [[1.0], [2.0], [3.0]]
    """

    # What lies between such a layer and a `PlaceFiles` reads files one by one; see `trunk.parts`.
    takes_parts = True

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = False  # how many there are is known when it runs

    def call(self, values, there):
        flat = tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], axis=0))
        places = tf.where(tf.reshape(there, [-1]) > 0)[:, 0]
        padded = tf.concat([places, tf.zeros([1], places.dtype)], axis=0)
        return tf.gather(flat, padded[: tf.maximum(tf.size(places), 1)])

    def compute_output_spec(self, values, there):
        return keras.KerasTensor((None, *values.shape[2:]), values.dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class PlaceFiles(keras.layers.Layer):
    """The way back from `TakeFiles`: (F, …) and (B, K) of which are there → (B, K, …), zeros where none is.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> features, there = np.array([[1.0], [2.0], [3.0]]), np.array([[1, 1], [1, 0]])
        >>> mm.layers.PlaceFiles()(features, there).numpy().tolist()
        [[[1.0], [2.0]], [[3.0], [0.0]]]
    """

    places_parts = True  # what it gives is stored for each file by itself

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = False

    def call(self, features, there):
        known = tf.reshape(there, [-1]) > 0
        numbers = tf.maximum(tf.cumsum(tf.cast(known, tf.int32)) - 1, 0)
        known = tf.reshape(known, tf.concat([[-1], tf.ones([tf.rank(features) - 1], tf.int32)], axis=0))
        placed = tf.where(known, tf.gather(features, numbers), tf.zeros([], features.dtype))
        return tf.reshape(placed, tf.concat([tf.shape(there), tf.shape(features)[1:]], axis=0))

    def compute_output_spec(self, features, there):
        return keras.KerasTensor((*there.shape, *features.shape[1:]), features.dtype)


@keras.saving.register_keras_serializable(PACKAGE)
class MeanOfFiles(keras.layers.Layer):
    """Mean over the files that are there: (B, K, D) and (B, K) → (B, D); zeros for a row without any.

    Places that the second does not tell of are empty.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> features, there = np.array([[[1.0], [3.0]], [[5.0], [0.0]]]), np.array([[1, 1], [1, 0]])
        >>> mm.layers.MeanOfFiles()(features, there).numpy().tolist()
        [[2.0], [5.0]]
    """

    def call(self, features, there):
        features = features[:, : keras.ops.shape(there)[1]]
        weights = keras.ops.cast(there, features.dtype)[:, :, None]
        return keras.ops.sum(features * weights, axis=1) / keras.ops.maximum(keras.ops.sum(weights, axis=1), 1)

    def compute_output_shape(self, features_shape, there_shape):
        return (features_shape[0], features_shape[2])

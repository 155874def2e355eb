"""Loads Keras on TensorFlow, quietly; imported before everything else."""

import contextlib
import os
import sys

# Before TensorFlow is loaded: it reports a missing GPU as an error; real errors still come as exceptions.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet():
    """What TensorFlow 2.21 writes to standard error while it is loaded, before it heeds its level, goes nowhere.

    Exceptions pass. Nothing is hidden from those who set TF_CPP_MIN_LOG_LEVEL to less.
    """
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] != "3" or "tensorflow" in sys.modules:
        yield
        return
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with quiet():
    import keras
    import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "mmkeras runs on Keras's TensorFlow backend: its preparation and serving are TensorFlow graphs. "
        f"Received: the {keras.backend.backend()!r} backend. Set the environment variable KERAS_BACKEND=tensorflow "
        "before Keras is imported."
    )


def replicas():
    """How many devices train together, each with a share of a batch; 1 outside a strategy of TensorFlow."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def summed(tensors):
    """Tensors, in any structure, summed over the devices that train together; every device gets the sums."""
    context = tf.distribute.get_replica_context()
    return tensors if context is None or replicas() == 1 else context.all_reduce("SUM", tensors)


def gathered(tensors):
    """Tensors (b, …), in any structure, of the rows of all devices that train together: (B, …); gradients find the way back."""
    context = tf.distribute.get_replica_context()
    return tensors if context is None or replicas() == 1 else tf.nest.map_structure(_gathered, tensors)


def _gathered(tensor):
    context = tf.distribute.get_replica_context()
    if tensor is None:
        return None
    if tensor.shape[1:2] == [None]:  # sequences are as long as the longest of a device
        longest = tf.reduce_max(context.all_gather(tf.shape(tensor)[1:2], axis=0))
        tensor = tf.pad(tensor, [(0, 0), (0, longest - tf.shape(tensor)[1]), *[(0, 0)] * (len(tensor.shape) - 2)])
    return context.all_gather(tensor, axis=0)


def dense(gradient):
    """A gradient with all its rows; None stays."""
    return None if gradient is None else tf.convert_to_tensor(gradient)

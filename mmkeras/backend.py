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

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "mmkeras runs on Keras's TensorFlow backend: its preparation and serving are TensorFlow graphs. "
        f"Received: the {keras.backend.backend()!r} backend. Set the environment variable KERAS_BACKEND=tensorflow "
        "before Keras is imported."
    )

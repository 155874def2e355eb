"""The engine that TensorFlow is, and what all engines must agree on."""

import hashlib

import keras
import numpy as np
import tensorflow as tf

from mmkeras.graph import compiled

LEAST_COSINE = 0.999


class EngineError(RuntimeError):
    """A tower that an engine cannot run, or not well enough."""


class TensorFlow:
    """Towers as they are, or with layers of another dtype policy.

    Args:
        precision: "float32" to leave the tower alone, or a Keras dtype policy such as "mixed_bfloat16".
        why: str, for people.
    """

    rows, tokens = 32, 4096  # of a batch

    def __init__(self, precision="float32", why=""):
        self.precision, self.why = precision, why

    def __str__(self):
        return f"TensorFlow in {self.precision}"

    def key(self, fingerprint):
        """16 bytes that stand for a tower's features by this engine."""
        return fingerprint if self.precision == "float32" else feature_key(fingerprint, str(self))

    def open(self, tower, key, folder, rows, sample, lengths):
        """`run` for a tower; see `OpenVINO.open`."""
        infer = compiled(tower if self.precision == "float32" else with_policy(tower, self.precision))
        dtypes = output_dtypes(tower)

        def run(batches):
            for tensors in batches:
                yield {name: value.numpy().astype(dtypes[name]) for name, value in infer(tensors).items()}

        if self.precision != "float32":
            exact = compiled(tower)(sample)
            check_agreement(str(self), next(run([sample])), exact, lengths)
        return run


def check_agreement(engine, found, exact, lengths=None):
    """Raise EngineError unless features of some rows point the way that TensorFlow's point in float32.

    Args:
        engine: str, for the message.
        found, exact: {key: (rows, …)}, the features of both.
        lengths: (rows,) ints or None; what lies behind them in sequences is padding.

    Returns:
        bool, whether any row had features other than zeros to compare.
    """
    cosines = []
    for name, values in exact.items():
        for row, one in enumerate(np.asarray(values, "float32")):
            two = found[name][row].astype("float32")
            if lengths is not None and one.ndim > 1:
                one, two = one[: lengths[row]], two[: lengths[row]]
            if np.any(one):  # zeros stand for an image that is not there
                cosines.append(np.sum(one * two) / np.sqrt(np.sum(one * one) * np.sum(two * two)))
    if not np.all(np.array(cosines) >= LEAST_COSINE):  # NaN, too
        raise EngineError(
            f"{engine} must give the features that TensorFlow gives in float32: a cosine of {LEAST_COSINE} or more. "
            f"Received: {np.min(cosines):.5f}. Use encode_engine='tensorflow'."
        )
    return bool(cosines)


def with_policy(model, policy):
    """A copy of a model whose layers calculate by a Keras dtype policy.

    Raises:
        EngineError: layers that cannot be copied.
    """

    def renewed(layer):
        if not isinstance(layer, keras.layers.Layer):  # keras.ops, which have no precision of their own
            return layer
        return type(layer).from_config({**layer.get_config(), "dtype": policy})

    try:
        copy = keras.models.clone_model(model, clone_function=renewed, recursive=True)
        copy.set_weights(model.get_weights())
    except Exception as error:  # of layers of many kinds
        raise EngineError(f"The tower {model.name!r} cannot be copied to {policy}: {error}") from error
    return copy


def feature_key(fingerprint, engine):
    return hashlib.blake2b(fingerprint + engine.encode(), digest_size=16).digest()


def output_dtypes(tower):
    return {name: tf.as_dtype(tensor.dtype).as_numpy_dtype for name, tensor in tower.output.items()}

"""The engine that TensorFlow is, and what all engines must agree on."""

import hashlib

import numpy as np
import tensorflow as tf

from mmkeras.graph import compiled, with_policy

LEAST_COSINE = 0.999


class EngineError(RuntimeError):
    """A tower that an engine cannot run, or not well enough."""


class Inexact(EngineError):
    """A tower whose features an engine's precision spoils, as bfloat16 does those of networks with many narrow convolutions."""


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

    versions = tf.__version__  # on which it depends what it can run

    def key(self, fingerprint):
        """16 bytes that stand for a tower's features by this engine."""
        return fingerprint if self.precision == "float32" else feature_key(fingerprint, str(self))

    def open(self, tower, key, *, folder, rows, sample):
        """`run` for a tower; see `OpenVINO.open`."""
        infer = compiled(tower if self.precision == "float32" else with_precision(tower, self.precision))
        dtypes = output_dtypes(tower)

        def run(batches):
            for tensors in batches:
                yield {name: value.numpy().astype(dtypes[name]) for name, value in infer(tensors).items()}

        if self.precision != "float32":
            tensors, lengths = sample
            check_agreement(str(self), next(run([tensors])), compiled(tower)(tensors), lengths)
        return run


def check_agreement(engine, features, exact, lengths=None):
    """Raise Inexact unless features of some rows point the way that TensorFlow's point in float32.

    Args:
        engine: str, for the message.
        features, exact: {key: (rows, …)}, the features of both.
        lengths: (rows,) ints or None; what lies behind them in sequences is padding.

    Returns:
        bool, whether any row had features other than zeros to compare.
    """
    cosines = []
    for name, values in exact.items():
        for row, wanted in enumerate(np.asarray(values, "float32")):
            got = features[name][row].astype("float32")
            if lengths is not None and wanted.ndim > 1:
                wanted, got = wanted[: lengths[row]], got[: lengths[row]]
            if np.any(wanted):  # zeros stand for an image that is not there
                cosines.append(np.sum(wanted * got) / np.sqrt(np.sum(wanted * wanted) * np.sum(got * got)))
    if not np.all(np.array(cosines) >= LEAST_COSINE):  # NaN, too
        raise Inexact(
            f"{engine} must give the features that TensorFlow gives in float32: a cosine of {LEAST_COSINE} or more. "
            f"Received: {np.min(cosines):.5f}. Use encode_engine='tensorflow'."
        )
    return bool(cosines)


def with_precision(tower, policy):
    """A copy of a tower whose layers calculate by a Keras dtype policy.

    Raises:
        EngineError: layers that cannot be copied.
    """
    try:
        return with_policy(tower, policy)
    except ValueError as error:
        raise EngineError(str(error)) from error


def feature_key(fingerprint, engine):
    return hashlib.blake2b(fingerprint + engine.encode(), digest_size=16).digest()


def output_dtypes(tower):
    return {name: tf.as_dtype(tensor.dtype).as_numpy_dtype for name, tensor in tower.output.items()}

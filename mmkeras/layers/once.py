"""Graphs that many graphs share."""

import tensorflow as tf


def traced_once(function, shape=(None,)):
    """A function of a tensor of strings as one graph, which all graphs of a process call: to trace it takes up to a second."""
    return tf.function(function, input_signature=[tf.TensorSpec(shape, tf.string)], autograph=False)

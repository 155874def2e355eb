"""Large batches in little memory: what towers give of a batch is found in parts, though its loss needs all of it."""

import itertools

import keras
import tensorflow as tf

from mmkeras.backend import dense, gathered, replicas
from mmkeras.trunk.mirrored import Mirrored


class InChunks(Mirrored):
    """A model in two: vectors of rows, and a loss that sets the rows of a batch against each other.

    A step finds the vectors part by part and keeps nothing else of them, then the loss and what it wants of each vector, then goes through
    the parts again to bring that into the weights. Memory is that of a part, time a third more, the gradient the same: Gao et al., 2021
    (https://arxiv.org/abs/2101.06983). Only layers that normalise by their batch see the part alone.

    Args:
        vectors: keras.Model from inputs to {name: (B, D)}.
        after: keras.Model from {name: (B, D)} to outputs that a loss judges.
        rows: int, how many rows go through `vectors` at once in training; None for whole batches.
        batch_size: int, of training.
    """

    def __init__(self, vectors, after, rows, batch_size):
        super().__init__(vectors, after, name="in_chunks")
        self.parts = 1 if rows is None else -(-batch_size // (rows * replicas()))

    def train_step(self, data):
        if self.parts == 1:
            return super().train_step(data)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        rows = tf.shape(next(iter(x.values())))[0]
        ends = [rows * place // self.parts for place in range(self.parts + 1)]
        parts = [{key: value[start:end] for key, value in x.items()} for start, end in itertools.pairwise(ends)]
        # A row must be left the same gaps by dropout the second time, and statistics of batches must move once.
        random = [v for v in self.vectors.non_trainable_variables if v.path.endswith("seed_generator_state")]
        other = [v for v in self.vectors.non_trainable_variables if not v.path.endswith("seed_generator_state")]
        before, states, found = [tf.identity(v) for v in other], [], []
        for part in parts:
            states.append([tf.identity(v) for v in random])
            found.append(self.vectors(_once(part, found[-1:]), training=True))
        _assign(other, before)
        every = {key: tf.concat([some[key] for some in found], axis=0) for key in found[0]}
        with tf.GradientTape() as tape:
            tape.watch(every)
            answers = self.after(gathered(every), training=True)
            loss = self.compute_loss(x=x, y=gathered(y), y_pred=answers, sample_weight=gathered(weight))
            scaled = self.optimizer.scale_loss(loss)
        own = self.after.trainable_variables
        wanted, *given = _gradients(tape, scaled, [every, *(v.value for v in own)])
        summed = {id(v): gradient for v, gradient in zip(own, given, strict=True)}
        for part, state, (start, end) in zip(parts, states, itertools.pairwise(ends), strict=True):
            _assign(random, state)
            with tf.GradientTape() as tape:
                again = self.vectors(_once(part, list(summed.values())), training=True)
            pull = {key: gradient[start:end] for key, gradient in wanted.items()}
            own = self.vectors.trainable_variables
            for v, gradient in zip(own, _gradients(tape, again, [v.value for v in own], pull), strict=True):
                summed[id(v)] = summed.get(id(v), 0.0) + gradient
        self.optimizer.apply([summed[id(v)] for v in self.trainable_variables], self.trainable_variables)
        return self.measure(data, loss, answers)


def _once(part, done):
    """Tensors that are there once others are: parts that TensorFlow ran side by side would take the memory of the whole batch."""
    with tf.control_dependencies(tf.nest.flatten(done)):
        return {key: tf.identity(value) for key, value in part.items()}


def _gradients(tape, target, sources, pull=None):
    """Dense gradients, zeros where nothing leads to a source."""
    return tf.nest.map_structure(
        dense, tape.gradient(target, sources, pull, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    )


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)

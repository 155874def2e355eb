"""Integrated gradients: what each word, column and pixel gave to a prediction.

B = rows of a batch.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.columns import raw_values
from mmkeras.graph import compiled, with_layers
from mmkeras.trunk.stages import chain
from mmkeras.trunk.training import quiet_tracing

STEPS = (16, 32, 64, 128, 256)  # places on the way that are tried, until the error is small
ENOUGH = 0.02  # of the difference, for which no more steps are made
NOTHING = 1e-3  # a difference that is no larger needs no better sum


@dataclasses.dataclass
class Inside:
    """What the parts of R rows gave.

    Attributes:
        pieces: {modality: list of R, see `Modality.pieces`}.
        difference: (R,) worth of the row less that of a row that says nothing. error: (R,) by how much the parts miss it.
        steps: (R,) places on the way.
        closed: names of modalities that are not differentiable.
    """

    pieces: dict
    difference: np.ndarray
    error: np.ndarray
    steps: np.ndarray
    closed: list


class Way:
    """The way from rows that say nothing, 0, to the rows as they are, 1; what passes entrances is taken down."""

    def __init__(self):
        self.tape = self.share = None
        self.passed = {}

    def walk(self, name, value, silent):
        """What passes an entrance at this place of the way."""
        if self.tape is None:
            return value
        moved = silent + tf.cast(self.share, value.dtype) * (value - silent)
        self.tape.watch(moved)
        self.passed[name] = moved, value - silent
        return moved


class OnTheWay(keras.layers.Layer):
    """A layer of a model, where a `Way` passes before or behind it; not to be saved."""

    def __init__(self, inner, way, name, entrance):
        super().__init__(name=inner.name, dtype=inner.dtype_policy)
        self.inner, self.way, self.place, self.entrance = inner, way, name, entrance

    def call(self, x, mask=None, training=None):
        if self.entrance.before:
            x = keras.ops.cast(x, "float32")
            return self.inner(self.way.walk(self.place, x, self.entrance.silent(x)), training=False)
        return self.way.walk(self.place, self.inner(x), self.inner(self.entrance.silent(x)))


class Gradients:
    """Integrated gradients of a fitted model (Sundararajan et al., 2017, https://arxiv.org/abs/1703.01365).

    All modalities go the way together, in TensorFlow's own arithmetic, by Gauss and Legendre's places.

    Args:
        fitted: `fitting.Fitted`.
    """

    def __init__(self, fitted):
        trunk, (model, self._worth_of) = fitted.trunk, fitted.task.explained(fitted.head)
        self._modalities = [m.recalled(trunk.prepare) if m.state is None else m for m in trunk.modalities]
        self._prepare, self._way = compiled(trunk.prepare), Way()
        self._entrances = {
            (m.name, name): entrance for m in self._modalities for name, entrance in m.entrances(trunk.encode).items()
        }
        wrapped = {
            id(entrance.place): OnTheWay(entrance.place, self._way, name, entrance)
            for name, entrance in self._entrances.items()
            if not isinstance(entrance.place, str)
        }
        self._keys = {
            entrance.place: (name, entrance)
            for name, entrance in self._entrances.items()
            if isinstance(entrance.place, str)
        }
        closed = [entrance.place for entrance in self._entrances.values() if entrance.before]
        encode = with_layers(trunk.encode, lambda layer: wrapped.get(id(layer), layer), closed)
        self._model = chain(encode, model)
        opened = {name for name, _ in self._entrances}
        self.closed = [m.name for m in trunk.modalities if m.name not in opened]
        self._slopes = tf.function(self._slopes_at, reduce_retracing=True)
        self._worth = tf.function(self._worth_at, reduce_retracing=True)

    def inside(self, df, outcomes, batch_size=16, steps=STEPS):
        """`Inside` of rows.

        Args:
            df: DataFrame. outcomes: (R, …) ints, see `Task.chosen`.
            batch_size: int, rows that are looked at together.
            steps: numbers of places on the way that are tried, until the pieces add up.
        """
        parts = []
        with quiet_tracing("Gradients"):
            for start in range(0, len(df), batch_size):
                rows = slice(start, start + batch_size)
                parts.append(self._batch(df.iloc[rows], outcomes[rows], steps))
        pieces = {name: [row for part in parts for row in part[0][name]] for name in parts[0][0]}
        return Inside(pieces, *(np.concatenate(some) for some in list(zip(*parts, strict=True))[1:]), self.closed)

    def _batch(self, df, outcomes, tried):
        raw = raw_values(df, self._modalities)
        tensors = self._prepare({name: tf.convert_to_tensor(value) for name, value in raw.items()})
        outcomes = tf.constant(outcomes, "int32")
        ends = [self._worth(tensors, outcomes, tf.constant(share)).numpy().astype("float64") for share in (0.0, 1.0)]
        difference, given = ends[1] - ends[0], {}
        error, done, rows = np.zeros(len(df)), np.zeros(len(df), int), np.arange(len(df))
        for steps in tried:  # of the rows of which the sum is not yet good enough
            own = {key: tf.gather(value, rows) for key, value in tensors.items()}
            for name, value in self._sum(own, tf.gather(outcomes, rows), steps).items():
                value = value.reshape(
                    len(rows), len(value) // len(rows), *value.shape[1:]
                )  # an image of each column has a place of its own
                given.setdefault(name, np.zeros((len(df), *value.shape[1:])))[rows] = value
            total = sum(value[rows].sum(axis=tuple(range(1, value.ndim))) for value in given.values())
            error[rows], done[rows] = np.abs(total - difference[rows]), steps
            rows = rows[error[rows] > np.maximum(ENOUGH * np.abs(difference[rows]), NOTHING)]
            if not len(rows):
                break
        values = {key: value.numpy() for key, value in tensors.items()}
        pieces = {}
        for modality in self._modalities:
            own = {name: np.concatenate(x) for (owner, name), x in given.items() if owner == modality.name}
            if own:
                pieces[modality.name] = modality.pieces(values, own)
        return pieces, difference, error, done

    def _sum(self, tensors, outcomes, steps):
        """{(modality, entrance): (B, …) array}: slopes along the way, times how far it goes."""
        places, weights = np.polynomial.legendre.leggauss(steps)
        total = {}
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            for name, value in self._slopes(tensors, outcomes, tf.constant(place, "float32")).items():
                total[name] = total.get(name, 0.0) + weight * value.numpy().astype("float64")
        return {tuple(name.split("/")): value for name, value in total.items()}

    def _walked(self, tensors):
        moved = dict(tensors)
        for key, (name, entrance) in self._keys.items():
            moved[key] = self._way.walk(name, tensors[key], entrance.silent(tensors[key]))
        return self._model({key: moved[key] for key in self._model.input}, training=False)

    def _slopes_at(self, tensors, outcomes, share):
        way = self._way
        with tf.GradientTape() as way.tape:
            way.share, way.passed = share, {}
            worth = self._worth_of(self._walked(tensors), outcomes)
            tape, way.tape = way.tape, None
        passed, names = way.passed, list(way.passed)
        slopes = tape.gradient(worth, [passed[name][0] for name in names], unconnected_gradients="zero")
        given = {}
        for name, slope in zip(names, slopes, strict=True):
            value = tf.cast(slope, "float32") * tf.cast(passed[name][1], "float32")
            given["/".join(name)] = tf.reduce_sum(value, axis=-1) if value.shape.rank > 2 else value
        return given

    def _worth_at(self, tensors, outcomes, share):
        way = self._way
        with tf.GradientTape() as way.tape:
            way.share, way.passed = share, {}
            worth = self._worth_of(self._walked(tensors), outcomes)
            way.tape = None
        return worth

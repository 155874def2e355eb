"""Training on all devices of a machine: weights are the same on each, and every step takes a share of the batch on each."""

import contextlib
import functools
import warnings

import keras
import tensorflow as tf

from mmkeras.backend import dense, gathered, replicas
from mmkeras.graph import all_layers

WAYS = (None, "mirrored")
# What TensorFlow raises where a device did not answer another.
COLLECTIVE = (
    tf.errors.InternalError, tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError,
)  # fmt: skip


def check_distribute(way):
    """Raise unless it is a way to use several devices."""
    if way not in WAYS:
        raise ValueError(
            f'`distribute` must be None or "mirrored". Received: {way!r}. Use "mirrored" for all GPUs of one machine.'
        )


@contextlib.contextmanager
def devices_of(way):
    """A context in which models are made and trained: on all devices of this machine for "mirrored", where there are several.

    Raises:
        RuntimeError: devices that could not bring their shares together.
    """
    if way is None:
        yield
        return
    gpus = [device.name for device in tf.config.list_logical_devices("GPU")]
    names = gpus or [device.name for device in tf.config.list_logical_devices("CPU")]
    if len(names) < 2:
        warnings.warn(
            f'distribute="mirrored" spreads a training over several devices, and this machine has one, {names[0]}: it trains as without.',
            stacklevel=6,
        )
        yield
        return
    try:
        with _strategy(tuple(names), bool(gpus)).scope():
            yield
    except COLLECTIVE as error:
        raise RuntimeError(
            "Devices that train together must all finish each step. Received a failure of one of them, after which this process cannot "
            f"train on several any more: {error.message:.300}. Start Python anew, or use distribute=None."
        ) from error


@functools.cache
def _strategy(names, gpus):
    """One for a process. Its reductions, other than those by default, also run in loops of several steps."""
    reduce = tf.distribute.HierarchicalCopyAllReduce if gpus else tf.distribute.ReductionToOneDevice
    return tf.distribute.MirroredStrategy(names, cross_device_ops=reduce())


def dealt(dataset):
    """A dataset whose elements go to the devices in turn, see `data.batches.Order.replicas`; as it is where there is one device."""
    strategy = tf.distribute.get_strategy()
    return dataset if replicas() == 1 else strategy.distribute_datasets_from_function(lambda context: dataset)


def replicas_of(model):
    return model.distribute_strategy.num_replicas_in_sync


class Mirrored(keras.Model):
    """A model that trains on several devices as on one: loss and statistics are those of the whole batch, whatever share of it a device has.

    Args:
        vectors: keras.Model, the part of which each device runs its rows.
        after: keras.Model from what it gives for the whole batch to what the loss judges; None for that itself.
    """

    def __init__(self, vectors, after=None, name="mirrored"):
        inputs = {key: keras.Input(t.shape[1:], dtype=t.dtype, name=t.name) for key, t in vectors.input.items()}
        outputs = vectors(inputs)
        super().__init__(inputs, outputs if after is None else after(outputs), name=name)
        self.vectors, self.after = vectors, after
        for layer in all_layers(self) if replicas() > 1 else ():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def know(self, spec):
        """Tell what batches are like, as tf.TensorSpecs, before `fit`."""
        self.spec = lambda: spec  # Keras would make dicts of its own of it

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras's own takes the mean of what two devices get, which shares of unlike sizes do not have, and lets that batch go.
        if replicas_of(self) > 1:
            with self.distribute_strategy.scope():
                self._symbolic_build(data_batch=self.spec())

    def train_step(self, data):
        if replicas() == 1:
            return super().train_step(data)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            loss, answers = self.judge(x, gathered(y), gathered(weight), training=True)
            scaled = self.optimizer.scale_loss(loss)
        gradients = [dense(g) for g in tape.gradient(scaled, [v.value for v in self.trainable_variables])]
        self.optimizer.apply(gradients, self.trainable_variables)
        return self.measure(data, loss, answers)

    def test_step(self, data):
        if replicas() == 1:
            return super().test_step(data)
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        return self.measure(data, *self.judge(x, gathered(y), gathered(weight), training=False))

    def judge(self, x, y, weight, *, training):
        """(the loss of the whole batch, of which each device bears a share; its answers, of the whole batch where there is `after`)."""
        answers = self.vectors({key: x[key] for key in self.vectors.input}, training=training)
        every = gathered(answers)
        if self.after is not None:
            answers = every = self.after(every, training=training)
        return self.compute_loss(x=x, y=y, y_pred=every, sample_weight=weight, training=training), answers

    def measure(self, data, loss, answers):
        """{name: metric} after a step."""
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss * replicas(), sample_weight=tf.shape(next(iter(x.values())))[0])
        if self.after is not None:
            y, weight = gathered(y), gathered(weight)
        return self.compute_metrics(x, y, answers, sample_weight=weight)

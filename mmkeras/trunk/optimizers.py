"""The optimizer, its learning rate, and the pace at which pretrained towers follow it."""

import keras
import numpy as np
import tensorflow as tf

from mmkeras.backend import dense, replicas, summed

PACKAGE = "mmkeras"
# Weights decay (AdamW: Loshchilov & Hutter, 2019), but not biases and scales.
NOT_DECAYED = ["bias", "gamma", "beta", "absent", "_fill_", "scores", "scale_in", "scale_out"]
# Gradients of rare terms are smaller than Keras's default of 1e-7, which would keep them from being learnt.
EPSILON = 1e-10


OPTIMIZERS = ("adamw", "adam", "sgd")


@keras.saving.register_keras_serializable(PACKAGE)
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises along a line, then falls to 0 along a cosine (Loshchilov & Hutter, 2017).

    Args:
        peak: float, the highest rate.
        steps: int, all steps of the training; or a keras.Variable of them, where they may turn out to be fewer.
        warmup: float, the share of the steps in which it rises.
    """

    def __init__(self, peak, steps, warmup=0.0):
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rising = keras.ops.maximum(1.0, self.warmup * self.steps)
        share = keras.ops.clip((step - rising) / keras.ops.maximum(1.0, self.steps - rising), 0.0, 1.0)
        falling = 0.5 * (1.0 + keras.ops.cos(np.pi * share))
        return self.peak * keras.ops.where(step < rising, (step + 1.0) / rising, falling)

    def get_config(self):
        return {"peak": self.peak, "steps": int(self.steps), "warmup": self.warmup}


class Paced:
    """Before an optimizer of Keras: some variables learn at a share of its rate.

    Attributes:
        pace: function of a variable → scalar tf.Variable, the share, or None for the whole rate; asked when the optimizer is built.
    """

    @staticmethod
    def pace(variable):
        return None

    def build(self, variables):
        super().build(variables)
        self._shares = [self.pace(variable) for variable in variables]

    def share(self, variable):
        """The share of a variable, in whatever form Keras hands it on."""
        return self._shares[self._get_variable_index(variable)]

    def apply(self, grads, trainable_variables=None):
        if replicas() > 1:  # Keras adds up those of all devices, but after it has cut them to a length
            grads = [None if gradient is None else gradient / replicas() for gradient in self.whole(grads)]
        return super().apply(grads, trainable_variables)

    def whole(self, grads):
        """Gradients of the whole batch, whatever share of it a device has, cut to the longest that they may be."""
        if replicas() > 1:
            known = iter(summed([dense(gradient) for gradient in grads if gradient is not None]))
            grads = [None if gradient is None else next(known) for gradient in grads]
        return tf.clip_by_global_norm(grads, self.global_clipnorm)[0] if self.global_clipnorm else grads

    def update_step(self, gradient, variable, learning_rate):
        share = self.share(variable)
        rate = learning_rate if share is None else learning_rate * keras.ops.cast(share, learning_rate.dtype)
        super().update_step(gradient, variable, rate)


@keras.saving.register_keras_serializable(PACKAGE)
class PacedSGD(Paced, keras.optimizers.SGD):
    """Keras's SGD, where some variables may learn at a share of the rate."""


@keras.saving.register_keras_serializable(PACKAGE)
class FusedAdamW(Paced, keras.optimizers.AdamW):
    """Keras's AdamW by TensorFlow's own kernels, which read and write each variable in its place and are traced at once."""

    def apply(self, grads, trainable_variables=None):
        narrow = trainable_variables is None or any(variable.dtype != "float32" for variable in trainable_variables)
        if narrow:
            return super().apply(grads, trainable_variables)
        if not self.built:
            self.build(trainable_variables)
        grads = self.whole(grads)
        whole, step = tf.cast(self.learning_rate, "float32"), tf.cast(self.iterations + 1, "float32")
        powers = [tf.pow(beta, step) for beta in (self.beta_1, self.beta_2)]
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            if gradient is not None:
                share = self.share(variable)
                rate = whole if share is None else whole * share
                decay = tf.minimum(rate * self.weight_decay, 0.99) if self._decays(variable) else None
                self._update(variable, tf.convert_to_tensor(gradient), rate, powers, decay=decay)
        self.iterations.assign_add(1)
        return self.iterations

    def _decays(self, variable):
        return self.weight_decay and super()._use_weight_decay(variable)

    def _use_weight_decay(self, variable):  # asked by Keras's own step, whose decay knows no share
        return self.share(variable) is None and super()._use_weight_decay(variable)

    def _update(self, variable, gradient, rate, powers, *, decay):
        place = self._get_variable_index(variable)
        if decay is not None:  # variable / (1 + decay / (1 - decay)), without a copy of it; nothing of the gradient
            nothing = 1e-30
            tf.raw_ops.ResourceApplyProximalGradientDescent(
                var=variable.value.handle, alpha=nothing, l1=0.0, l2=decay / (1.0 - decay) / nothing, delta=gradient
            )
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle, m=self._momentums[place].value.handle, v=self._velocities[place].value.handle,
            beta1_power=powers[0], beta2_power=powers[1], lr=rate, beta1=self.beta_1, beta2=self.beta_2,
            epsilon=self.epsilon, grad=gradient,
        )  # fmt: skip


def make_optimizer(learning_rate, name="adamw", weight_decay=0.3, *, clip_norm=None, pace=None):
    """An optimizer as `Pipeline.fit` uses it: AdamW, Adam (the same without weight decay), or SGD with Nesterov's momentum.

    Args:
        learning_rate: float or schedule.
        name: one of `OPTIMIZERS`.
        weight_decay: float.
        clip_norm: float, the longest that all gradients together may be, or None.
        pace: see `Paced`, or None.
    """
    clipping = {} if clip_norm is None else {"global_clipnorm": float(clip_norm)}
    if name == "sgd":
        optimizer = PacedSGD(learning_rate, momentum=0.9, nesterov=True, **clipping)
    else:
        decay = weight_decay if name == "adamw" else 0.0
        optimizer = FusedAdamW(learning_rate, weight_decay=decay, epsilon=EPSILON, **clipping)
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    if pace is not None:
        optimizer.pace = pace
    return optimizer

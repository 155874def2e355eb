"""The optimizer, its learning rate, and the pace at which pretrained towers follow it."""

import keras
import numpy as np
import tensorflow as tf

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
        steps: int, all steps of the training.
        warmup: float, the share of the steps in which it rises.
    """

    def __init__(self, peak, steps, warmup=0.0):
        self.peak, self.steps, self.warmup = peak, steps, warmup

    def __call__(self, step):
        step = keras.ops.cast(step, "float32")
        rising = max(1.0, self.warmup * self.steps)
        share = keras.ops.clip((step - rising) / max(1.0, self.steps - rising), 0.0, 1.0)
        falling = 0.5 * (1.0 + keras.ops.cos(np.pi * share))
        return self.peak * keras.ops.where(step < rising, (step + 1.0) / rising, falling)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup}


@keras.saving.register_keras_serializable(PACKAGE)
class FusedAdamW(keras.optimizers.AdamW):
    """Keras's AdamW by TensorFlow's own kernels, which read and write each variable in its place and are traced at once."""

    def apply(self, grads, trainable_variables=None):
        narrow = trainable_variables is None or any(variable.dtype != "float32" for variable in trainable_variables)
        if narrow or tf.distribute.has_strategy():
            return super().apply(grads, trainable_variables)
        if not self.built:
            self.build(trainable_variables)
        rate, step = tf.cast(self.learning_rate, "float32"), tf.cast(self.iterations + 1, "float32")
        decay = tf.minimum(rate * (self.weight_decay or 0.0), 0.99)
        powers = [tf.pow(beta, step) for beta in (self.beta_1, self.beta_2)]
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            if gradient is not None:
                decays = self.weight_decay and self._use_weight_decay(variable)
                self._update(variable, tf.convert_to_tensor(gradient), rate, powers, decay=decay if decays else None)
        self.iterations.assign_add(1)
        return self.iterations

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


def make_optimizer(learning_rate, name="adamw", weight_decay=0.3):
    """An optimizer as `Pipeline.fit` uses it: AdamW, Adam (the same without weight decay), or SGD with Nesterov's momentum."""
    if name == "sgd":
        return keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True)
    optimizer = FusedAdamW(learning_rate, weight_decay=weight_decay if name == "adamw" else 0.0, epsilon=EPSILON)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer

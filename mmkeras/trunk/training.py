"""How models are trained: the optimizer, its learning rate, and losses and metrics of several decisions at once."""

import keras
import numpy as np
import tensorflow as tf

PACKAGE = "mmkeras"
# Weights decay (AdamW: Loshchilov & Hutter, 2019), but not biases and scales.
NOT_DECAYED = ["bias", "gamma", "beta", "absent", "_fill_", "scores"]
# Gradients of rare terms are smaller than Keras's default of 1e-7, which would keep them from being learnt.
EPSILON = 1e-10


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
class CompiledAdamW(keras.optimizers.AdamW):
    """Keras's AdamW as one compiled step, so that each variable is read and written once.

    The model itself is not compiled, because its batches differ in length; its variables do not.
    """

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None or tf.distribute.has_strategy():
            return super().apply(grads, trainable_variables)
        if not self.built:
            self.build(trainable_variables)

        @tf.function(jit_compile=True, autograph=False)
        def update(grads):
            super(CompiledAdamW, self).apply(grads, trainable_variables)

        update([tf.convert_to_tensor(gradient) for gradient in grads])
        return self.iterations


OPTIMIZERS = ("adamw", "adam", "sgd")


def make_optimizer(learning_rate, name="adamw", weight_decay=0.3):
    """An optimizer as `Pipeline.fit` uses it: AdamW, Adam (the same without weight decay), or SGD with Nesterov's momentum.

    Raises:
        ValueError: an unknown name.
    """
    check_optimizer(name)
    if name == "sgd":
        return keras.optimizers.SGD(learning_rate, momentum=0.9, nesterov=True)
    optimizer = CompiledAdamW(learning_rate, weight_decay=weight_decay if name == "adamw" else 0.0, epsilon=EPSILON)
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def check_optimizer(name):
    """Raise a ValueError unless there is such an optimizer."""
    if name not in OPTIMIZERS:
        raise ValueError(f"`optimizer` must be one of {OPTIMIZERS}. Received: {name!r}.")


def planned_rate(rate, callbacks, warmup):
    """A function of the number of steps → the learning rate, or its schedule.

    A plain number becomes a `WarmupCosine`, unless one of the callbacks sets the rate.
    """
    setters = (keras.callbacks.ReduceLROnPlateau, keras.callbacks.LearningRateScheduler)
    if not isinstance(rate, float | int) or any(isinstance(callback, setters) for callback in callbacks):
        return lambda steps: rate
    return lambda steps: WarmupCosine(float(rate), int(steps), warmup)


class MeanOfDecisions(keras.losses.Loss):
    """A loss on predictions (B, K, …) of K decisions: the mean of the loss of each."""

    def __init__(self, loss, **kwargs):
        super().__init__(**kwargs)
        loss = keras.losses.get(loss)
        self.loss = getattr(loss, "call", loss)  # a value for each row, so that rows can be weighed

    def call(self, y_true, y_pred):
        return sum(self.loss(y_true, y_pred[:, k]) for k in range(y_pred.shape[1])) / y_pred.shape[1]


class OfFirstDecision(keras.metrics.Metric):
    """A metric on predictions (B, K, …) of K decisions that looks at the first."""

    def __init__(self, metric):
        super().__init__(name=metric.name)
        self.metric = metric

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.metric.update_state(y_true, y_pred[:, 0], sample_weight)

    def result(self):
        return self.metric.result()

    def reset_state(self):
        self.metric.reset_state()


def compile_for_training(
    model, task, learning_rate, watched=True, loss=None, optimizer="adamw", weight_decay=0.3
):  # fmt: skip
    """Compile a model whose output for `task` is a prediction, or several decisions (B, K, …), see `training_head`.

    Metrics cost time; they are computed when the training is `watched`. `loss` is None for the task's own, or one that
    `Task.choose_loss` gave.
    """
    loss, metrics = loss or task.loss(), task.metrics() if watched else []
    if len(model.output[task.column].shape) == 3 and task.kind != "caption":
        loss, metrics = MeanOfDecisions(loss), [OfFirstDecision(metric) for metric in metrics]
    model.compile(
        optimizer=make_optimizer(learning_rate, optimizer, weight_decay),
        loss=loss,
        loss_weights=task.loss_weight,
        metrics=metrics,
        jit_compile=False,  # the longest row of a batch sets its width: XLA would compile anew for each
    )
    model.optimizer.build(model.trainable_variables)  # so that Keras traces the training step once, not twice

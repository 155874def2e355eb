"""The contract of a fusion, what the fusion layers share, and dropping whole modalities."""

import keras

from mmkeras.backend import replicas, summed

PACKAGE = "mmkeras"


class Fusion(keras.layers.Layer):
    """Base of the layers that join modalities: [(B, D_1), …] features and [(B, 1), …] presence masks → one tensor.

    A class with a `label` is known by it: `Pipeline(..., fusion="label")`. `join` says how the layer sits in a head; it is
    written anew where a fusion joins something else than vectors to a vector. docs/extending.md shows a whole one.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> class SumFusion(mm.fusion.Fusion):
        ...     def call(self, features, presence):
        ...         return sum(x * there for x, there in zip(features, presence, strict=True))
        >>> SumFusion()([np.ones((4, 3)), np.ones((4, 3))], [np.ones((4, 1)), np.zeros((4, 1))]).shape
        TensorShape([4, 3])
    """

    # The name that users choose it by; None for a layer that is only part of another fusion.
    label = None
    # Whether it takes features as they are; others come normalised, and in training with gaps.
    raw = False
    # How many of the modalities must give sequences (B, T, D), see `attending`.
    sequences = 0

    def __init_subclass__(cls, **kwargs):
        """Its own name is registered with Keras, so that models that hold it are loaded wherever it is defined."""
        super().__init_subclass__(**kwargs)
        keras.saving.register_keras_serializable(cls.__module__.partition(".")[0])(cls)

    def looked(self, *inputs):
        """(B, P) how much of each patch of a picture counted, together 1 in a row that has one; None of a fusion that does not tell.

        Args:
            *inputs: what it is called with.
        """
        return None

    @classmethod
    def make(cls, inputs):
        """The layer, for a head of these settings, see `JoinInputs`."""
        return cls(name="fusion")

    @classmethod
    def attending(cls, sequences):
        """Names of the modalities whose sequences it takes as they are; of others it takes the mean.

        Args:
            sequences: {name: shape (B, T, D)} of all modalities that give sequences.
        """
        return list(sequences) if cls.sequences else []

    @classmethod
    def join(cls, inputs):
        """Logits (B, C) of a head.

        Args:
            inputs: `heads.inputs.JoinInputs`: features, presence, masks and settings, and `decide` from (B, D) to (B, C).
        """
        return inputs.decide(cls.make(inputs)(inputs.vectors(), inputs.presence()))


def check_inputs(features_shape, presence_shape, name, rank=2):
    """Raise unless there is one mask for each feature, and all features have the rank."""
    if len(features_shape) != len(presence_shape):
        raise ValueError(
            f"{name} needs one presence mask (B, 1) for each feature. "
            f"Received: {len(features_shape)} features, {len(presence_shape)} masks."
        )
    if {len(shape) for shape in features_shape} != {rank}:
        form, fix = ("(B, D)", "Pool sequences first") if rank == 2 else ("(B, T, D)", "Use pooling=None")
        raise ValueError(f"{name} joins features of shape {form}. Received shapes: {features_shape}. {fix}.")


def check_units(units, name):
    if isinstance(units, bool) or not isinstance(units, int) or units < 1:
        raise ValueError(f"`units` of {name} must be a positive int. Received: {units!r}.")


def given(presence, like):
    """Presence masks [(B, 1), …] as one (B, inputs, 1) of the dtype of `like`."""
    return keras.ops.cast(keras.ops.stack(presence, axis=1), like.dtype)


def zeros_where_absent(features, presence):
    """The features, with zeros in place of whatever an absent input holds, be it NaN."""
    return [
        keras.ops.where(
            keras.ops.reshape(keras.ops.cast(mask, "bool"), (-1, *[1] * (len(feature.shape) - 1))),
            feature,
            keras.ops.zeros_like(feature),
        )
        for feature, mask in zip(features, presence, strict=True)
    ]


@keras.saving.register_keras_serializable(PACKAGE)
class ModalityDropout(keras.layers.Layer):
    """Presence masks with whole inputs taken away at random in training: [(B, 1), …] → [(B, 1), …].

    Each input of each row is dropped by itself with the chance `rate`, but never the last one a row has. What follows
    then sees the input as absent, and puts there what it has learnt for absent inputs (the learned vectors of
    `ConcatFusion`). The idea is that of Neverova et al., 2016 (ModDrop, https://arxiv.org/abs/1501.00102).

    Args:
        rate: float in [0, 1).
        seed: int, or None.

    Raises:
        ValueError: a rate outside its range.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> text, image = mm.fusion.ModalityDropout(0.5, seed=0)([np.ones((100, 1))] * 2, training=True)
        >>> bool(np.all(text.numpy() + image.numpy() > 0)), bool(np.all(text.numpy() > 0))
        (True, False)
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"`rate` of ModalityDropout must lie in [0, 1). Received: {rate!r}.")
        self.rate = rate
        self.seed = seed
        self._random = keras.random.SeedGenerator(seed)

    def call(self, presence, training=None):
        if not training or self.rate == 0:
            return list(presence)
        masks = keras.ops.concatenate(presence, axis=-1)  # (B, inputs)
        chance = keras.random.uniform(keras.ops.shape(masks), seed=self._random)
        chance = keras.ops.where(masks > 0, chance, -1.0)
        # The present input with the highest draw stays in any case.
        last = keras.ops.equal(chance, keras.ops.max(chance, axis=-1, keepdims=True))
        kept = masks * keras.ops.cast(keras.ops.logical_or(chance >= self.rate, last), masks.dtype)
        return keras.ops.split(kept, len(presence), axis=-1)

    def compute_output_shape(self, presence_shape):
        return list(presence_shape)

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class NormalizePresent(keras.layers.BatchNormalization):
    """Batch normalisation whose statistics are those of the rows that have the input: (B, D), (B, 1) → (B, D).

    Otherwise the zeros of absent inputs would count as measured. On several devices, the rows are those of all. It is Ioffe & Szegedy, 2015
    (https://arxiv.org/abs/1502.03167), with the arguments of `keras.layers.BatchNormalization`.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> rows, there = np.array([[1.0], [3.0], [0.0]]), np.array([[1.0], [1.0], [0.0]])
        >>> normalised = mm.fusion.NormalizePresent()(rows, there, training=True).numpy()
        >>> normalised[:2].round().ravel().tolist()
        [-1.0, 1.0]
    """

    def build(self, inputs_shape, presence_shape=None):
        super().build(inputs_shape)

    def call(self, inputs, presence, training=None):
        there = keras.ops.cast(presence[:, :1], "bool")
        if not training or not self.trainable or replicas() == 1:
            return super().call(inputs, training=training, mask=there[:, 0])
        inputs = keras.ops.where(there, keras.ops.cast(inputs, self.variable_dtype), 0.0)
        count = keras.ops.sum(keras.ops.cast(there, inputs.dtype))
        total, count = summed([keras.ops.sum(inputs, axis=0), count])
        mean = total / (count + keras.config.epsilon())
        apart = keras.ops.where(there, inputs - mean, 0.0)
        variance = summed(keras.ops.sum(keras.ops.square(apart), axis=0)) / (count + keras.config.epsilon())
        for average, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + value * (1.0 - self.momentum))
        outputs = keras.ops.batch_normalization(inputs, mean, variance, -1, self.beta, self.gamma, self.epsilon)
        return keras.ops.cast(outputs, self.compute_dtype)

    def compute_output_shape(self, inputs_shape, presence_shape=None):
        return inputs_shape

"""What the fusion layers share, and dropping whole modalities."""

import keras

PACKAGE = "mmkeras"


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

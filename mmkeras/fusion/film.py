"""Fusion in which a question scales and shifts what is seen in each patch of a picture."""

import keras

from mmkeras.fusion.guided import Guided


class FilmFusion(Guided):
    """A question modulates the patches: (B, P, D), (B, P), (B, 1), (B, Q) → (B, 2 · U + Q).

    Patches are brought to U units. Then `blocks` times h ← h + relu(γ(q) · norm(W a) + β(q)) with a = relu(V h): the question q
    says, unit by unit, what counts. Behind the mean and the maximum over the patches stands q itself, which alone answers where
    the picture is absent. It is the feature-wise linear modulation of Perez et al., 2018 (https://arxiv.org/abs/1709.07871),
    with a vector for each place in place of coordinates, and normalised within a row, so that rows know nothing of each other.

    Args:
        units: int, U.
        blocks: int, how many residual blocks.

    Call arguments:
        patches: (B, P, D).
        there: (B, P), 1 where a patch is there.
        present: (B, 1), 1 where the row has a picture.
        question: (B, Q).

    Raises:
        ValueError: units or blocks below 1; patches that are not of rank 3, or a question that is not of rank 2.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> patches, question = np.ones((4, 9, 5)), np.ones((4, 3))
        >>> mm.fusion.FilmFusion(8)(patches, np.ones((4, 9)), np.ones((4, 1)), question).shape
        TensorShape([4, 19])
    """

    label = "film"

    def __init__(self, units, blocks=2, **kwargs):
        super().__init__(units, **kwargs)
        if isinstance(blocks, bool) or not isinstance(blocks, int) or blocks < 1:
            raise ValueError(
                f"`blocks` of {type(self).__name__} must be a positive int. Received: {blocks!r}. Use for example 2."
            )
        self.blocks = blocks

    def build(self, patches_shape, there_shape, present_shape, question_shape):
        super().build(patches_shape, there_shape, present_shape, question_shape)
        hidden = (*patches_shape[:2], self.units)
        self.steps = []
        for number in range(self.blocks):
            self.steps.append({
                "see": self.own(keras.layers.Dense, f"see_{number}", hidden, units=self.units, activation="relu"),
                "weigh": self.own(keras.layers.Dense, f"weigh_{number}", hidden, units=self.units),
                "normalise": self.own(
                    keras.layers.LayerNormalization, f"normalise_{number}", hidden, center=False, scale=False
                ),
                "modulate": self.own(keras.layers.Dense, f"modulate_{number}", question_shape, units=2 * self.units),
            })  # fmt: skip

    def modulated(self, hidden, question):
        """(B, P, U) patches as the question has them."""
        for step in self.steps:
            # γ = 1 + what is learnt, so that nothing is lost at the start.
            scale, shift = keras.ops.split(step["modulate"](question)[:, None], 2, axis=-1)
            seen = step["normalise"](step["weigh"](step["see"](hidden)))
            hidden = hidden + keras.ops.relu((1 + scale) * seen + shift)
        return hidden

    def pooled(self, hidden, live):
        """(B, 2 · U), mean and maximum of the patches that are there; zeros where there is none."""
        count = keras.ops.sum(keras.ops.cast(live, hidden.dtype), axis=1)
        mean = keras.ops.sum(keras.ops.where(live, hidden, 0.0), axis=1) / keras.ops.maximum(count, 1)
        most = keras.ops.max(keras.ops.where(live, hidden, -1e4), axis=1)
        most = keras.ops.where(count > 0, most, keras.ops.zeros_like(most))
        return keras.ops.concatenate([mean, most], axis=-1)

    def call(self, patches, there, present, question):
        hidden, live = self.patches(patches, there, present)
        return keras.ops.concatenate([self.pooled(self.modulated(hidden, question), live), question], axis=-1)

    def looked(self, patches, there, present, question):
        """(B, P), the share of the units whose maximum lies there."""
        hidden, live = self.patches(patches, there, present)
        hidden = self.modulated(hidden, question)
        first = keras.ops.argmax(keras.ops.where(live, hidden, -1e4), axis=1)  # (B, U)
        shares = keras.ops.mean(keras.ops.one_hot(first, hidden.shape[1] or keras.ops.shape(hidden)[1]), axis=1)
        return keras.ops.where(live[..., 0], shares, keras.ops.zeros_like(shares))

    def compute_output_shape(self, patches_shape, there_shape, present_shape, question_shape):
        return (patches_shape[0], 2 * self.units + question_shape[-1])

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks}

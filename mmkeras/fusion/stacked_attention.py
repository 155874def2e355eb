"""Fusion in which a question looks for the patches of a picture that answer it, several times."""

import keras

from mmkeras.fusion.guided import Guided


class StackedAttentionFusion(Guided):
    """A question attends to patches, again and again: (B, P, D), (B, P), (B, 1), (B, Q) → (B, U).

    Patches v and the question u are brought to U units. Then `hops` times: the weights of the patches are
    p = softmax(w · tanh(A v + B u)), and u ← u + Σ p v, so that each look knows what the one before it saw. Where the picture
    is absent, u stays what the question said. It is the stacked attention of Yang et al., 2016
    (https://arxiv.org/abs/1511.02274), with a vector for each place.

    Args:
        units: int, U.
        hops: int, how many looks.

    Call arguments:
        patches: (B, P, D).
        there: (B, P), 1 where a patch is there.
        present: (B, 1), 1 where the row has a picture.
        question: (B, Q).

    Raises:
        ValueError: units or hops below 1; patches that are not of rank 3, or a question that is not of rank 2.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> patches, question = np.ones((4, 9, 5)), np.ones((4, 3))
        >>> mm.fusion.StackedAttentionFusion(8)(patches, np.ones((4, 9)), np.ones((4, 1)), question).shape
        TensorShape([4, 8])
    """

    label = "stacked_attention"

    def __init__(self, units, hops=2, **kwargs):
        super().__init__(units, **kwargs)
        if isinstance(hops, bool) or not isinstance(hops, int) or hops < 1:
            raise ValueError(
                f"`hops` of StackedAttentionFusion must be a positive int. Received: {hops!r}. Use for example 2."
            )
        self.hops = hops

    def build(self, patches_shape, there_shape, present_shape, question_shape):
        super().build(patches_shape, there_shape, present_shape, question_shape)
        hidden, vector = (*patches_shape[:2], self.units), (question_shape[0], self.units)
        self.ask = self.own(keras.layers.Dense, "ask", question_shape, units=self.units, activation="tanh")
        self.looks = []
        for number in range(self.hops):
            self.looks.append({
                "patches": self.own(keras.layers.Dense, f"patches_{number}", hidden, units=self.units, use_bias=False),
                "question": self.own(keras.layers.Dense, f"question_{number}", vector, units=self.units),
                "weights": self.own(keras.layers.Dense, f"weights_{number}", hidden, units=1),
            })  # fmt: skip

    def look(self, patches, there, present, question):
        """(B, U), and (B, hops, P) how much each look takes of each patch; zeros where none is there."""
        hidden, live = self.patches(patches, there, present)
        asked, taken = self.ask(question), []
        for look in self.looks:
            scores = look["weights"](keras.ops.tanh(look["patches"](hidden) + look["question"](asked)[:, None]))
            weights = keras.ops.softmax(keras.ops.where(live, scores, -1e4), axis=1)
            weights = keras.ops.where(live, weights, keras.ops.zeros_like(weights))
            asked = asked + keras.ops.sum(weights * hidden, axis=1)
            taken.append(weights[..., 0])
        return asked, keras.ops.stack(taken, axis=1)

    def call(self, patches, there, present, question):
        return self.look(patches, there, present, question)[0]

    def looked(self, patches, there, present, question):
        return keras.ops.mean(self.look(patches, there, present, question)[1], axis=1)

    def compute_output_shape(self, patches_shape, there_shape, present_shape, question_shape):
        return (patches_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "hops": self.hops}

"""Fusion of decisions: the logits (B, C) of each input."""

import keras

from mmkeras.fusion.base import Fusion, check_inputs, given, zeros_where_absent
from mmkeras.fusion.joint import ConcatFusion


class LateFusion(Fusion):
    """Weighted mean of each input's own decision: [(B, C), …] logits, [(B, 1), …] → (B, C).

    The weights are a softmax over inputs, one for each class; they start equal and are learned when
    `learned=True`. Absent inputs take no part, the rest's weights still add to 1. When all inputs are absent,
    the result is 0. Late fusion is described in Atrey et al., 2010, https://doi.org/10.1007/s00530-010-0182-0.

    Args:
        learned: bool, whether the weights are learned; False gives the plain mean.

    Raises:
        ValueError: inputs of different widths, or a number of masks other than that of inputs.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> text, image = np.array([[2.0, 0.0]]), np.array([[0.0, 4.0]])
        >>> there, absent = np.ones((1, 1)), np.zeros((1, 1))
        >>> mm.fusion.LateFusion()([text, image], [there, there]).numpy().tolist()
        [[1.0, 2.0]]
        >>> mm.fusion.LateFusion()([text, image], [there, absent]).numpy().tolist()
        [[2.0, 0.0]]
    """

    label = "late"

    def __init__(self, learned=True, **kwargs):
        super().__init__(**kwargs)
        self.learned = learned

    @classmethod
    def join(cls, inputs):
        """Each modality decides by a hidden layer of its own; numbers add up."""
        if not inputs.adds:
            return cls.make(inputs)([inputs.decide(x, i) for i, x in enumerate(inputs.vectors())], inputs.presence())
        logits = None
        for number, x in enumerate(zeros_where_absent(inputs.vectors(), inputs.presence())):
            logits = inputs.decide(x, number, plus=logits)
        return logits

    def build(self, features_shape, presence_shape):
        check_inputs(features_shape, presence_shape, "LateFusion")
        widths = {shape[-1] for shape in features_shape}
        if len(widths) != 1:
            raise ValueError(f"LateFusion joins decisions of one width. Received widths: {sorted(widths)}.")
        self.scores = self.add_weight(
            shape=(len(features_shape), widths.pop()),
            initializer="zeros",
            trainable=self.learned,
            name="scores",
        )

    def call(self, features, presence):
        decisions = keras.ops.stack(zeros_where_absent(features, presence), axis=1)  # (B, inputs, C)
        masks = given(presence, decisions)  # (B, inputs, 1)
        scores = keras.ops.where(masks > 0, keras.ops.cast(self.scores, decisions.dtype), -1e4)
        return keras.ops.sum(keras.ops.softmax(scores, axis=1) * masks * decisions, axis=1)

    def compute_output_shape(self, features_shape, presence_shape):
        return features_shape[0]

    def get_config(self):
        return {**super().get_config(), "learned": self.learned}


class HybridFusion(Fusion):
    """A joint decision beside each input's own: (B, C), [(B, C), …] logits, [(B, 1), …] → (B, 1 + inputs, C).

    An absent input abstains: the joint decision stands in its place, so that a mean over axis 1 gives it no say.
    Hybrid fusion is described in Atrey et al., 2010, https://doi.org/10.1007/s00530-010-0182-0.

    Raises:
        ValueError: decisions of different widths, or a number of masks other than that of inputs.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> joint, text, there, absent = np.ones((1, 2)), np.zeros((1, 2)), np.ones((1, 1)), np.zeros((1, 1))
        >>> mm.fusion.HybridFusion()(joint, [text, text], [there, absent]).numpy().tolist()
        [[[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]]
    """

    label = "hybrid"

    @classmethod
    def join(cls, inputs):
        """The joint decision of "concat" and a linear one of each modality, each with a loss of its own; their learned mean.

        Numbers add up: the mean of decisions that say too little each says too little. The linear ones train by a loss of their
        sum, and the joint one by what they leave, through that of the whole.
        """
        vectors, presence = inputs.vectors(), inputs.presence()
        fused = ConcatFusion(name="fusion")(vectors, presence)
        if inputs.adds:
            there = enumerate(zeros_where_absent(vectors, presence))
            own = [inputs.decide_linearly(x, number) for number, x in there]
            own = inputs.decision(keras.layers.Add(dtype="float32", name="own_sum")(own), "own")
            return inputs.decide(fused, plus=own)
        joint = inputs.decide(fused)
        own = [inputs.decide_linearly(x, i) for i, x in enumerate(vectors)]
        decisions = cls(name="decisions")(joint, own, presence)  # (B, 1 + modalities, C)
        each = [inputs.decision(decisions[:, i], name) for i, name in enumerate(["joint", *inputs.names])]
        return LateFusion(name="mean")(each, [keras.ops.ones_like(presence[0]), *presence])

    def build(self, joint_shape, own_shape, presence_shape):
        check_inputs(own_shape, presence_shape, "HybridFusion")
        widths = {shape[-1] for shape in [joint_shape, *own_shape]}
        if len(widths) != 1:
            raise ValueError(f"HybridFusion joins decisions of one width. Received widths: {sorted(widths)}.")

    def call(self, joint, own, presence):
        filled = [
            keras.ops.where(keras.ops.cast(mask, "bool"), decision, joint)
            for decision, mask in zip(own, presence, strict=True)
        ]
        return keras.ops.stack([joint, *filled], axis=1)

    def compute_output_shape(self, joint_shape, own_shape, presence_shape):
        return (joint_shape[0], 1 + len(own_shape), joint_shape[1])

"""Fusion of sequences (B, T_i, D_i) by attention between them."""

import keras

from mmkeras.fusion.base import Fusion, check_inputs, check_units, zeros_where_absent
from mmkeras.fusion.joint import ConcatFusion


class CrossAttentionFusion(Fusion):
    """Every sequence attends to the others, token by token: [(B, T_i, D_i), …], masks, presence → (B, inputs · U).

    Each sequence is brought to U units and normalised. Then, for each, its tokens are the queries and the tokens of
    all other sequences of the same row are keys and values; the answer is added, normalised, and averaged over the
    tokens that are not padding. Padding and absent inputs are never attended to; an absent input gives zeros, and a row
    that has one input alone is told by that alone. Rows of a batch know nothing of each other: attention runs over the
    tokens of one row. It is the co-attention of ViLBERT (Lu et al., 2019, https://arxiv.org/abs/1908.02265) on
    Vaswani et al., 2017.

    Args:
        units: int, U.
        heads: int, attention heads; must divide `units`.
        dropout: float, share of attention weights left out in training.

    Call arguments:
        features: list of (B, T_i, D_i).
        masks: list of (B, T_i), 1 where a token is no padding.
        presence: list of (B, 1).

    Raises:
        ValueError: fewer than two inputs; features of rank 2, over which attention would run across the batch; as many
            masks as features are not given; `heads` does not divide `units`.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> tokens, patches, there = np.ones((4, 7, 3)), np.ones((4, 9, 5)), np.ones((4, 1))
        >>> masks = [np.ones((4, 7)), np.ones((4, 9))]
        >>> mm.fusion.CrossAttentionFusion(8)([tokens, patches], masks, [there, there]).shape
        TensorShape([4, 16])
    """

    label = "cross_attention"
    sequences = 2

    def __init__(self, units, heads=4, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        check_units(units, "CrossAttentionFusion")
        if units % heads:
            raise ValueError(f"`heads` must divide `units`. Received: {heads} heads, {units} units.")
        self.units, self.heads, self.dropout = units, heads, dropout

    @classmethod
    def join(cls, inputs):
        """Sequences attend to one another; modalities that give vectors join afterwards."""
        attending = inputs.sequence_names
        layer = cls(inputs.units, inputs.attention_heads, dropout=min(inputs.dropout, 0.1), name="fusion")
        x = layer(inputs.sequences(), inputs.masks(), inputs.presence(attending))
        beside = [name for name in inputs.names if name not in attending]
        if beside:
            vectors = ConcatFusion(name="beside")(inputs.vectors(beside), inputs.presence(beside))
            x = keras.ops.concatenate([x, vectors], axis=-1)
        return inputs.decide(x)

    def build(self, features_shape, masks_shape, presence_shape):
        name = "CrossAttentionFusion"
        if len(features_shape) < 2:
            raise ValueError(f"{name} needs at least two sequences. Received: {len(features_shape)}.")
        if any(len(shape) == 2 for shape in features_shape):
            raise ValueError(
                f"{name} attends over tokens: its features must be of shape (B, T, D). Received shapes: {features_shape}. "
                "With rank 2, rows would attend to each other across the batch. Use pooling=None in `Text` and `Image`."
            )
        check_inputs(features_shape, presence_shape, name, rank=3)
        if len(masks_shape) != len(features_shape):
            raise ValueError(
                f"{name} needs one padding mask (B, T) for each feature. "
                f"Received: {len(features_shape)} features, {len(masks_shape)} masks."
            )
        self.picture = next((place for place, shape in enumerate(features_shape) if shape[1] is not None), 0)
        self.projections, self.before, self.attentions, self.after = [], [], [], []
        for number, shape in enumerate(features_shape):

            def own(layer, shape, kind, number=number, **settings):
                made = layer(dtype=self.dtype_policy, name=f"{self.name}_{kind}_{number}", **settings)
                made.build(*shape)
                return made

            hidden = (*shape[:2], self.units)
            size = {"num_heads": self.heads, "key_dim": self.units // self.heads, "dropout": self.dropout}
            self.projections.append(own(keras.layers.Dense, [shape], "projection", units=self.units))
            self.before.append(own(keras.layers.LayerNormalization, [hidden], "before"))
            others = (shape[0], None, self.units)
            self.attentions.append(own(keras.layers.MultiHeadAttention, [hidden, others, others], "attention", **size))
            self.after.append(own(keras.layers.LayerNormalization, [hidden], "after"))

    def read(self, features, masks, presence):
        """[(B, T_i, U), …] hidden tokens, and [(B, T_i), …] which may be attended to, and averaged."""
        hidden = [
            normalise(project(feature))
            for feature, project, normalise in zip(
                zeros_where_absent(features, presence), self.projections, self.before, strict=True
            )
        ]
        # Tokens that are no padding, of inputs that are there.
        live = [
            keras.ops.cast(mask, "bool") & keras.ops.cast(there, "bool")
            for mask, there in zip(masks, presence, strict=True)
        ]
        return hidden, live

    def call(self, features, masks, presence, training=None):
        hidden, live = self.read(features, masks, presence)
        pooled = []
        for i, (query, attend, normalise) in enumerate(zip(hidden, self.attentions, self.after, strict=True)):
            keys = keras.ops.concatenate([h for j, h in enumerate(hidden) if j != i], axis=1)
            allowed = keras.ops.concatenate([m for j, m in enumerate(live) if j != i], axis=1)  # (B, T of others)
            answer = attend(query, keys, attention_mask=allowed[:, None, :], training=training)
            # A softmax over nothing but masked tokens is no answer.
            any_other = keras.ops.any(allowed, axis=1)[:, None, None]
            answer = keras.ops.where(any_other, answer, keras.ops.zeros_like(answer))
            weights = keras.ops.cast(live[i], query.dtype)[..., None]
            total = keras.ops.sum(normalise(query + answer) * weights, axis=1)
            pooled.append(total / keras.ops.maximum(keras.ops.sum(weights, axis=1), 1))
        return keras.ops.concatenate(pooled, axis=-1)

    def looked(self, *inputs):
        """(B, P), what the tokens of all others take of each patch, as the mean over them and the heads."""
        count, total = len(inputs) // 3, 0.0
        hidden, live = self.read(*(inputs[start : start + count] for start in (0, count, 2 * count)))
        for i in (place for place in range(count) if place != self.picture):
            others = [j for j in range(count) if j != i]
            keys, allowed = (keras.ops.concatenate([x[j] for j in others], axis=1) for x in (hidden, live))
            _, weights = self.attentions[i](
                hidden[i], keys, attention_mask=allowed[:, None, :], return_attention_scores=True
            )
            start = sum(hidden[j].shape[1] for j in others[: others.index(self.picture)])
            weights = keras.ops.mean(weights[..., start : start + hidden[self.picture].shape[1]], axis=1)
            total += keras.ops.sum(weights * keras.ops.cast(live[i], weights.dtype)[..., None], axis=1)
        total = keras.ops.where(live[self.picture], total, keras.ops.zeros_like(total))
        return total / keras.ops.maximum(keras.ops.sum(total, axis=1, keepdims=True), 1e-9)

    def compute_output_shape(self, features_shape, masks_shape, presence_shape):
        return (features_shape[0][0], len(features_shape) * self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "heads": self.heads, "dropout": self.dropout}

"""Fusion of features (B, D_i) into one vector: side by side, gated, or multiplied."""

import keras

from mmkeras.backend import replicas
from mmkeras.fusion.base import Fusion, check_inputs, check_units, given, zeros_where_absent


class ConcatFusion(Fusion):
    """Features side by side: [(B, D_1), …], [(B, 1), …] → (B, D_1 + …).

    Where an input is absent, a learned vector stands in for it (it starts at zero).

    Raises:
        ValueError: features that are not of rank 2, or as many masks as features are not given.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> text, image, there = np.ones((4, 3)), np.ones((4, 5)), np.ones((4, 1))
        >>> mm.fusion.ConcatFusion()([text, image], [there, there]).shape
        TensorShape([4, 8])
    """

    label = "concat"

    def build(self, features_shape, presence_shape):
        check_inputs(features_shape, presence_shape, "ConcatFusion")
        self.absent = [
            self.add_weight(shape=(shape[-1],), initializer="zeros", name=f"absent_{i}")
            for i, shape in enumerate(features_shape)
        ]

    def call(self, features, presence):
        filled = [
            keras.ops.where(keras.ops.cast(mask, "bool"), feature, keras.ops.cast(absent, feature.dtype))
            for feature, mask, absent in zip(features, presence, self.absent, strict=True)
        ]
        return keras.ops.concatenate(filled, axis=-1)

    def compute_output_shape(self, features_shape, presence_shape):
        return (features_shape[0][0], sum(shape[-1] for shape in features_shape))


class EarlyFusion(Fusion):
    """Raw features and their presence side by side: [(B, D_1), …], [(B, 1), …] → (B, D_1 + … + inputs).

    Absent inputs are zeros; the presence flags at the end tell them from zeros that were measured. Nothing is learned:
    the features are joined before any layer of their own. Early fusion is described in Atrey et al., 2010,
    https://doi.org/10.1007/s00530-010-0182-0.

    Raises:
        ValueError: features that are not of rank 2, or as many masks as features are not given.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> text, image, there = np.ones((4, 3)), np.ones((4, 5)), np.ones((4, 1))
        >>> mm.fusion.EarlyFusion()([text, image], [there, there]).shape
        TensorShape([4, 10])
    """

    label = "early"
    raw = True

    @classmethod
    def join(cls, inputs):
        x = cls.make(inputs)(inputs.vectors(), inputs.presence())
        x = keras.layers.BatchNormalization(momentum=inputs.momentum, synchronized=replicas() > 1, name="normalise")(x)
        return inputs.decide(keras.layers.Dropout(inputs.dropout, name="drop")(x))

    def build(self, features_shape, presence_shape):
        check_inputs(features_shape, presence_shape, "EarlyFusion")

    def call(self, features, presence):
        flags = [keras.ops.cast(mask, features[0].dtype) for mask in presence]
        return keras.ops.concatenate([*zeros_where_absent(features, presence), *flags], axis=-1)

    def compute_output_shape(self, features_shape, presence_shape):
        return (features_shape[0][0], sum(shape[-1] for shape in features_shape) + len(features_shape))


class _Projected(Fusion):
    """What gated and bilinear fusion share: tanh(W_i x_i + b_i) of each input, U wide."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        check_units(units, type(self).__name__)
        self.units = units

    @classmethod
    def make(cls, inputs):
        return cls(inputs.units, name="fusion")

    def build(self, features_shape, presence_shape):
        check_inputs(features_shape, presence_shape, type(self).__name__)
        self.projections = []
        for number, shape in enumerate(features_shape):
            dense = keras.layers.Dense(
                self.units, activation="tanh", dtype=self.dtype_policy, name=f"{self.name}_projection_{number}"
            )
            dense.build(shape)
            self.projections.append(dense)

    def project(self, features):
        """[(B, D_i), …] → (B, inputs, U)."""
        each = [project(feature) for project, feature in zip(self.projections, features, strict=True)]
        return keras.ops.stack(each, axis=1)

    def compute_output_shape(self, features_shape, presence_shape):
        return (features_shape[0][0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class GatedFusion(_Projected):
    """Each unit listens to the inputs by weights that depend on the row: [(B, D_i), …], [(B, 1), …] → (B, U).

    out = Σ_i g_i · h_i with h_i = tanh(W_i x_i + b_i), and g the softmax over the present inputs, unit by unit, of
    V [x_1 … x_n] + c, in which absent inputs are zeros. When all inputs are absent, the result is 0. It is the gated
    multimodal unit of Arevalo et al., 2017 (https://arxiv.org/abs/1702.01992), with a softmax for any number of inputs.

    Args:
        units: int, U.

    Raises:
        ValueError: units below 1; features that are not of rank 2; as many masks as features are not given.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> text, image, there = np.ones((4, 3)), np.ones((4, 5)), np.ones((4, 1))
        >>> mm.fusion.GatedFusion(6)([text, image], [there, there]).shape
        TensorShape([4, 6])
    """

    label = "gated"

    def build(self, features_shape, presence_shape):
        super().build(features_shape, presence_shape)
        width = sum(shape[-1] for shape in features_shape)
        self.gate = keras.layers.Dense(
            len(features_shape) * self.units, dtype=self.dtype_policy, name=f"{self.name}_gate"
        )
        self.gate.build((None, width))

    def call(self, features, presence):
        features = zeros_where_absent(features, presence)
        hidden = self.project(features)  # (B, inputs, U)
        masks = given(presence, hidden)  # (B, inputs, 1)
        scores = self.gate(keras.ops.concatenate(features, axis=-1))
        scores = keras.ops.reshape(scores, (-1, len(features), self.units))
        weights = keras.ops.softmax(keras.ops.where(masks > 0, scores, -1e4), axis=1) * masks
        return keras.ops.sum(weights * hidden, axis=1)


class BilinearFusion(_Projected):
    """The product of all inputs, each brought to U units: [(B, D_i), …], [(B, 1), …] → (B, U).

    out = Π_i tanh(W_i x_i + b_i) over the present inputs; when all are absent, the result is 0. Each unit is a bilinear
    form of rank one, so that U of them can say whether inputs agree, which a sum cannot. It is the low-rank bilinear
    pooling of Kim et al., 2017 (https://arxiv.org/abs/1610.04325), for any number of inputs.

    Args:
        units: int, U.

    Raises:
        ValueError: units below 1; features that are not of rank 2; as many masks as features are not given.

    Example:
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> text, image, there = np.ones((4, 3)), np.ones((4, 5)), np.ones((4, 1))
        >>> mm.fusion.BilinearFusion(6)([text, image], [there, there]).shape
        TensorShape([4, 6])
    """

    label = "bilinear"

    def call(self, features, presence):
        hidden = self.project(zeros_where_absent(features, presence))  # (B, inputs, U)
        masks = given(presence, hidden)
        product = keras.ops.prod(keras.ops.where(masks > 0, hidden, keras.ops.ones_like(hidden)), axis=1)
        return product * keras.ops.max(masks, axis=1)

"""What fusions share that look at the patches of a picture as other modalities, such as a question, tell."""

import keras

from mmkeras.fusion.base import Fusion, check_units
from mmkeras.fusion.joint import ConcatFusion


class Guided(Fusion):
    """Patches (B, P, D) looked at as a vector (B, Q) tells → (B, U'); a class of its own says how.

    The patches are those of the first modality whose sequences have a fixed length, such as those of an image; without such
    a modality, of the first that gives sequences. All others make the vector, of their sequences the mean.
    """

    sequences = 1

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        check_units(units, type(self).__name__)
        self.units = units

    @classmethod
    def make(cls, inputs):
        return cls(inputs.units, name="fusion")

    @classmethod
    def attending(cls, sequences):
        fixed = [name for name, shape in sequences.items() if shape[1] is not None]
        return (fixed or list(sequences))[:1]

    @classmethod
    def join(cls, inputs):
        """All but the patches stand side by side and guide; what they make of the patches decides."""
        (picture,) = inputs.sequence_names
        others = [name for name in inputs.names if name != picture]
        question = ConcatFusion(name="fusion_question")(inputs.vectors(others), inputs.presence(others))
        return inputs.decide(
            cls.make(inputs)(inputs.sequences()[0], inputs.masks()[0], *inputs.presence([picture]), question)
        )

    def build(self, patches_shape, there_shape, present_shape, question_shape):
        """The layers that bring patches to U units, to which a vector of each place is added, where places are fixed."""
        if len(patches_shape) != 3 or len(question_shape) != 2:
            raise ValueError(
                f"{type(self).__name__} looks at patches (B, P, D) as a vector (B, Q) tells. Received shapes: "
                f"{patches_shape} and {question_shape}. Use pooling=None in `Image`, and pool the question."
            )
        hidden = (*patches_shape[:2], self.units)
        self.project = self.own(keras.layers.Dense, "project", patches_shape, units=self.units)
        self.before = self.own(keras.layers.LayerNormalization, "before", hidden)
        self.places = (
            None if hidden[1] is None else self.add_weight(shape=hidden[1:], initializer="zeros", name="places")
        )

    def own(self, layer, part, shape, **settings):
        """A layer of this one, built."""
        made = layer(dtype=self.dtype_policy, name=f"{self.name}_{part}", **settings)
        made.build(shape)
        return made

    def patches(self, features, there, present):
        """(B, P, U) of features (B, P, D), and (B, P, 1) of those that are there."""
        live = keras.ops.cast(there, "bool") & keras.ops.cast(present, "bool")
        live = live[..., None]
        hidden = self.before(self.project(keras.ops.where(live, features, keras.ops.zeros_like(features))))
        return (hidden if self.places is None else hidden + keras.ops.cast(self.places, hidden.dtype)), live

    def get_config(self):
        return {**super().get_config(), "units": self.units}

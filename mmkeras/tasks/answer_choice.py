"""Answers chosen of the most frequent ones."""

import dataclasses

import keras
import numpy as np

from mmkeras.data.targets import Values
from mmkeras.data.telling import shortened
from mmkeras.evaluation.answers import PriorByKind, plain_answer
from mmkeras.evaluation.calibration import learn_calibration
from mmkeras.graph import submodel
from mmkeras.layers import Likeliest
from mmkeras.tasks.answer import Answer, Answers
from mmkeras.tasks.classes import Classes, MultiClass


@keras.saving.register_keras_serializable("mmkeras")
def rightly_chosen(target, probabilities):
    """(B,) 1 where the likeliest answer is what most said; 0 where a row's answers are none of the task's, whose targets are zeros."""
    same = keras.ops.argmax(target, axis=-1) == keras.ops.argmax(probabilities, axis=-1)
    return keras.ops.cast(same & (keras.ops.max(target, axis=-1) > 0), probabilities.dtype)


@dataclasses.dataclass(frozen=True)
class ChosenAnswer(Answer, MultiClass):
    """`Answer` that chooses: softmax over the answers, cross-entropy to what people said."""

    rivals = (*MultiClass.rivals, PriorByKind)
    ways = {"standard": {}, "weighted": {"class_weight": "balanced"}}  # noqa: RUF012
    writes = streams = False
    option = "answer"
    option_help = "target column of answers to questions, chosen of the most frequent ones"

    indices = Classes.indices
    values = Classes.values
    answers = property(lambda self: self.classes)

    @classmethod
    def claim(cls, samples, modalities=()):
        return None  # as classes they are claimed already

    def check_classes(self):
        if self.classes is not None:
            self._set(classes=[plain_answer(answer) for answer in self.classes])
        super().check_classes()
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(
                f"`classes` of Answer must be at least two answers to choose from. Received: {self.classes!r}."
            )

    def adapt(self, df):
        answers, people = self.settings.classes or self.frequent(df), self._people(df)
        taught = {answer for some in people for answer in some} & set(answers)
        if len(taught) < 2:
            raise ValueError(
                f"Training rows must hold at least two of the given `classes` {shortened(list(answers), 200)}. Received: "
                f"{sorted(taught)} in {len(people)} rows, the first of which says {shortened(people[0])}. Give answers that the rows have."
            )
        self.warn_of_others(people, answers)
        return self.settings.learn(classes=tuple(answers), words=self.words_asked(df))

    def encode(self, df):
        return self.target(df).values

    def target(self, df):
        return Answers(self.indices(), self._people(df), self.told_of_rows(df))

    def weights(self, target, how):
        known = target.values >= 0
        some = super().weights(Values(target.values[known]), how)
        if some is None:
            return None
        weights = np.zeros(len(known), some.dtype)
        weights[known] = some
        return weights

    def named_losses(self):
        return {}

    def loss(self):
        return "categorical_crossentropy"

    def metrics(self):
        return [keras.metrics.MeanMetricWrapper(rightly_chosen, name="accuracy")]

    def prior(self, target):
        return super().prior(target[target >= 0])

    def fit_linear(self, terms, target):
        return super().fit_linear(terms[target >= 0], target[target >= 0])

    def logits(self, hidden, target=None, name="logits"):
        return super().logits(hidden, None if target is None else target[target >= 0], name)

    # --- predictions

    decide = MultiClass.decide
    read = Answer.read

    def said_of(self, probabilities):
        return probabilities

    def sure_of(self, predictions):
        return np.max(predictions, axis=1)

    def calibrate(self, target, predictions):
        known = target.values >= 0
        truth = self.truth(target)[known]
        return self.learn(calibration=learn_calibration(self.logit_scale, truth, predictions[known]))

    def told_of_calibration(self, target, predictions):
        known = target.values >= 0
        return super().told_of_calibration(Values(target.values[known]), predictions[known])

    def misfits(self, target, predictions):
        """As of `MultiClass`; an answer that cannot be chosen fits worst."""
        misfits = np.ones(len(target))
        (misfits[target.values >= 0],) = super().misfits(target, predictions)
        return [misfits]

    def covered(self, target, within):
        hits, sizes = super().covered(target, within)
        hits[target.values < 0, 0] = 0.0
        return hits, sizes

    def sections(self, target, predictions, pictures=None):
        own = super().sections(target, predictions, pictures)
        return [*own, self.told_of_calibration(target, predictions)] if (target.values >= 0).any() else own

    # --- serving

    def serving(self, head):
        """The likeliest answer and its probability; of sets, as `Classes`."""
        chosen = Likeliest(list(self.classes), name="answer")(head.output[self.column])
        served = submodel(head.input, {self.column: chosen["name"], "probability": chosen["probability"]})
        return {**super().serving(head), "serve": served}

"""Answers written word by word."""

import collections
import dataclasses

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.targets import Sentences
from mmkeras.evaluation.answers import PriorByKind
from mmkeras.evaluation.rivals import Alone, Prior
from mmkeras.fusion import Fusion
from mmkeras.heads.writing import build_caption_head, written
from mmkeras.layers import CaptionText, CaptionTokens, Replace, count_words
from mmkeras.layers.words import SPECIAL, UNKNOWN
from mmkeras.registry import named
from mmkeras.tasks.answer import Answer, Answers
from mmkeras.tasks.answer_choice import ChosenAnswer
from mmkeras.tasks.caption import Caption
from mmkeras.trunk.trunk import Rows

TINY = 1e-9


class PeoplesSentences(Sentences, Answers):
    """What people answered, as sentences to be written and as answers to be counted.

    Attributes:
        texts, tokens, said, people, question, kinds, picture, shown, asked, strange: see `Sentences` and `Answers`.
    """

    def __init__(self, sentences, answers):
        vars(self).update(vars(answers), values=None)  # sentences are not of one shape
        Sentences.__init__(self, sentences.texts, sentences.tokens, sentences.name)

    answers = Sentences.answers


class ChosenPrior(Prior):
    """The most frequent answer of the training rows, for every row."""

    @classmethod
    def fit(cls, bench):
        rival = cls(bench.task.chooser.prior(bench.rows.target.said))
        rival.task = bench.task
        return {"most frequent answer": rival}

    def predict(self, trunk, df):
        return self.task.said_of(super().predict(trunk, df))


class ChosenAlone(Alone):
    """One modality alone, by a model that chooses of the most frequent answers."""

    @classmethod
    def fit(cls, bench):
        task, df = bench.task.chooser, bench.rows.df
        settings = {"rows": Rows(df, task.target(df)), "settings": {"dropout": 0.1}}
        rivals = super().fit(dataclasses.replace(bench, task=task, **settings))
        for rival in rivals.values():
            rival.task = bench.task
        return rivals

    def predict(self, trunk, df):
        return self.task.said_of(super().predict(trunk, df))


@dataclasses.dataclass(frozen=True)
class WrittenAnswer(Answer, Caption):
    """`Answer` that writes: the decoder of `Caption`, which looks at patches and words of the question."""

    rivals = (ChosenPrior, PriorByKind, ChosenAlone)
    sequence_length: int = 12
    writes = True

    def units(self, df, modalities):
        return Answer.units(self, df, modalities)

    def adapt(self, df):
        answers, people = self.frequent(df), self._people(df)
        self.warn_of_others(people, answers)
        adapted = Caption.adapt(self, df)
        spellings = adapted.spellings([answer for some in people for answer in some])
        return adapted.learn(answers=answers, words=self.words_asked(df), spellings=spellings)

    def spellings(self, said):
        """{answer as words write it: as most people spell it, such as "2:50"} of training answers in which words leave signs out."""
        counts, usual = collections.Counter(said), {}
        answers = sorted(counts, key=counts.get)
        fits = count_words(answers) <= self.sequence_length - 2
        tokens = CaptionTokens(list(self.vocabulary), self.sequence_length)(tf.constant(answers))
        for answer, text, whole in zip(answers, CaptionText(list(self.vocabulary))(tokens).numpy(), fits, strict=True):
            if whole and SPECIAL[UNKNOWN] not in text.decode().split():
                usual[text.decode()] = answer  # the most frequent comes last
        return {text: answer for text, answer in usual.items() if text and text != answer}

    @property
    def answers(self):
        return self.state["answers"]

    @property
    def chooser(self):
        """The task of choosing among the most frequent of the same answers."""
        settings = {"top": self.top, "min_count": self.min_count, "question_kind": self.question_kind}
        return ChosenAnswer(self.column, **settings).learn(classes=tuple(self.answers))

    def judged(self, df):
        self._people(df)  # raises where a row has none; what is written may be any answer
        return df, []

    def target(self, df):
        numbers = {answer: number for number, answer in enumerate(self.answers)}
        answers = Answers(numbers, self._people(df), self.told_of_rows(df))
        return PeoplesSentences(Caption.target(self, df), answers)

    def check_settings(self, names, fusion="concat", **settings):
        named(Fusion, fusion, "fusion")
        super().check_settings(names, **settings)

    def build_head(self, inputs, target=None, fusion="concat", **settings):
        return build_caption_head(inputs, self, fusion=named(Fusion, fusion, "fusion"), **settings)

    @property
    def decode_settings(self):
        """Greedy where nobody chose; by any way at least a word is written."""
        return {"max_length": self.sequence_length - 1, "min_length": 1, **(self.decoding or {"method": "greedy"})}

    def watch(self, predict, df):
        return []

    def predict(self, run, head, **settings):
        predictions, spelled = Caption.predict(self, run, head, **settings), self.state.get("spellings", {})
        predictions["text"] = [spelled.get(text, text) for text in predictions["text"]]
        return predictions

    def said_of(self, probabilities):
        best = np.argmax(probabilities, axis=1)
        chances = np.take_along_axis(np.asarray(probabilities), best[:, None], axis=1)[:, 0]
        return written([self.answers[number] for number in best], np.log(np.maximum(chances, TINY)))

    def sure_of(self, predictions):
        return np.exp(predictions["score"])

    def frame(self, predictions, index):
        """Answers under the target's name, and their probability."""
        import pandas as pd

        return pd.DataFrame({self.column: predictions["text"], "probability": self.sure_of(predictions)}, index=index)

    def serving(self, head):
        """The answer and its probability."""
        writer = Caption.serving(self, head)["serve"]
        sure, text = keras.ops.exp(writer.output["score"]), writer.output[self.column]
        spelled = list(self.state.get("spellings", {}).items())
        text = Replace(spelled, name="spelled")(text) if spelled else text
        return {"serve": keras.Model(writer.input, {self.column: text, "probability": sure})}

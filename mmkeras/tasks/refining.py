"""Captions that are learnt on by their CIDEr-D."""

import itertools

import keras

from mmkeras.evaluation.sentences import Cider, ngrams
from mmkeras.heads.critic import DrawnLoss, DrawnReward, build_critic, words_of_numbers
from mmkeras.trunk.training import Training


@keras.saving.register_keras_serializable("mmkeras")
class CiderReward:
    """CIDEr-D of drawn captions, as word numbers; see `SelfCritic`.

    Args:
        references: for each image of the training rows the list of its references, each a list of word numbers.

    Example:
        >>> [round(value, 2) for value in CiderReward([[[7, 5, 3]], [[8, 9, 3]]])([[7, 5, 3], [4, 6, 3]], [[7, 5, 3]])]
        [7.5, 0.0]
    """

    def __init__(self, references):
        self.references = references
        self._cider = Cider([[ngrams(words) for words in texts] for texts in references])

    def __call__(self, drawn, references):
        return self._cider([ngrams(words) for words in drawn], [ngrams(words) for words in references])

    def get_config(self):
        return {"references": self.references}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def refining_training(task, head, target, *, draws, seed):
    """`Training` of a caption head by captions that it draws.

    Args:
        task: an adapted `Caption`. head: its head. target: `Sentences` of the training rows.
        draws, seed: see `SelfCritic`.
    """
    references = [
        [words_of_numbers(words) for words in target.tokens[start:end]]
        for start, end in itertools.pairwise(target.starts)
    ]
    settings = {"draws": draws, "max_length": task.sequence_length - 1, "seed": seed}
    critic = build_critic(head, task.column, CiderReward(references), **settings)
    name = task.column
    return Training(critic, {name: DrawnLoss()}, {name: [DrawnReward()]}, {name: 1.0}, name)

"""Targets: what a model must answer, by rows."""

import abc

import numpy as np


class Target(abc.ABC):
    """The answers to rows, as a model trains on them and is judged by them.

    Attributes:
        lengths: (rows,) ints that padding of the answers depends on, or None.
        answers: int, how many answers there are; a row may have several.
        values: (rows, …) array where each row has one answer of one shape, else None.
        together: (rows,) ints, equal where rows are drawn in resamples as one, or None.
        batched: (rows,) ints, equal where rows share a batch in training, or None.
    """

    lengths = None
    values = None
    together = batched = None

    @abc.abstractmethod
    def __len__(self):
        """How many rows there are."""

    @property
    def answers(self):
        return len(self)

    @abc.abstractmethod
    def take(self, rows):
        """({input: array}, answers) of some rows: what a model reads to give the answers, and the answers."""

    def spread(self, values, rows):
        """A value for each answer of some rows, from (all rows,) values."""
        return values[rows]


class Values(Target):
    """One answer of one shape for each row: (rows, …)."""

    def __init__(self, values):
        self.values = np.asarray(values)

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        return {}, self.values[rows]


class Sentences(Target):
    """Sentences of rows, one or several for each: N sentences of T words.

    A batch holds rows with all their sentences, so that what is computed for a row, such as the patches of its image,
    serves them all.

    Args:
        texts: list of lists of str, the sentences of each row.
        tokens: (N, T) ints of all of them, padded with 0 behind.
        name: str, the target; a model reads the words as "name.tokens", to answer the next ones, and as "name.row" to
            which row of the batch each sentence belongs.
    """

    def __init__(self, texts, tokens, name):
        self.texts, self.tokens, self.name = texts, tokens, name
        counts = np.array([len(sentences) for sentences in texts], int)
        self.starts = np.append(0, np.cumsum(counts))  # those of row r are starts[r] … starts[r + 1] − 1
        self.lengths = np.zeros(len(texts), int)  # of each row's longest
        np.maximum.at(self.lengths, np.repeat(np.arange(len(texts)), counts), (tokens > 0).sum(axis=1))

    def __len__(self):
        return len(self.texts)

    @property
    def answers(self):
        return len(self.tokens)

    def take(self, rows):
        """Sentences of some rows: ({"name.tokens": (n, longest − 1), "name.row": (n,)}, (n, longest − 1) to answer)."""
        counts = np.diff(self.starts)[rows]
        each = [np.arange(self.starts[row], self.starts[row + 1]) for row in rows]
        numbers = np.concatenate([np.arange(0), *each])  # of no row, none
        words = self.tokens[numbers, : self.lengths[rows].max(initial=2)]
        place = np.repeat(np.arange(len(rows), dtype="int32"), counts)
        return {f"{self.name}.tokens": words[:, :-1], f"{self.name}.row": place}, words[:, 1:]

    def spread(self, values, rows):
        return np.repeat(values[rows], np.diff(self.starts)[rows])

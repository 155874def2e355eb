"""Targets: what a model must answer, by rows."""

import numpy as np


class Sentences:
    """Target sentences of rows, one or several for each: N sentences of T words.

    A batch holds rows with all their sentences, so that what is computed for a row, such as the patches of its image,
    serves them all.

    Args:
        rows: (N,) ints in ascending order, the row each belongs to.
        tokens: (N, T) ints, padded with 0 behind.
        name: str, the target; a model reads the words as "name.tokens", to answer the next ones, and as "name.row" to
            which row of the batch each sentence belongs.
    """

    def __init__(self, rows, tokens, name):
        self.tokens, self.name = tokens, name
        count = int(rows[-1]) + 1 if len(rows) else 0
        self.starts = np.searchsorted(rows, np.arange(count + 1))  # those of row r are starts[r] … starts[r + 1] − 1
        self.lengths = np.zeros(count, int)  # of each row's longest
        np.maximum.at(self.lengths, rows, (tokens > 0).sum(axis=1))

    def __len__(self):
        return len(self.tokens)

    def take(self, rows):
        """Sentences of some rows: ({"name.tokens": (n, longest − 1), "name.row": (n,)}, (n, longest − 1) to answer)."""
        counts = np.diff(self.starts)[rows]
        numbers = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        part = self.tokens[numbers, : self.lengths[rows].max(initial=2)]
        place = np.repeat(np.arange(len(rows), dtype="int32"), counts)
        return {f"{self.name}.tokens": part[:, :-1], f"{self.name}.row": place}, part[:, 1:]

"""What queries of requests find in an index."""

import numpy as np

from mmkeras.heads.sides import QUERY
from mmkeras.inference.index_checks import check_k
from mmkeras.inference.retrieve import check_model
from mmkeras.serving.answers import Reply
from mmkeras.serving.limits import Refused

USUAL = 10  # items of a query


class Finder:
    """The items of an index that vectors of queries find.

    Args:
        pipe: fitted `Pipeline` for `Retrieval`.
        index: `Index` of its items.

    Raises:
        ValueError: another model made the index, or a Pipeline for another task.
    """

    signature = f"embed_{QUERY}"  # which gives the vectors

    def __init__(self, pipe, index):
        check_model(index, pipe)
        self.index = index

    @property
    def about(self):
        """What is found, in a sentence."""
        return f"the nearest of {len(self.index):,} items"

    def checked(self, k):
        """How many items a request wants; of None the usual number, or all of fewer.

        Raises:
            Refused: none between 1 and the number of items.
        """
        try:
            return check_k(min(USUAL, len(self.index)) if k is None else k, len(self.index))
        except ValueError as error:
            raise Refused(422, str(error)) from error

    def found(self, answer, k):
        """The `Reply` {"item": lists of k ids, "score": of their cosines} to one that holds vectors of queries."""
        vectors = np.reshape(answer.table[QUERY], (-1, self.index.width))
        ids, scores = self.index.search(vectors, k)
        return Reply({"item": ids.tolist(), "score": scores.tolist()}, None, answer.told)

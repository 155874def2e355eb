"""A memory of limited size, for what a process need not find out twice."""

import collections
import threading


class Recent:
    """{key: value} of at most `most` entries; the entry that was not used for longest makes room. Threads may share it.

    Args:
        most: int, how many entries it keeps.

    Example:
        >>> words = Recent(2)
        >>> for number, word in enumerate(["a", "dog", "runs"]):
        ...     words.put(word, number)
        >>> words.get("a"), words.get("runs"), len(words)
        (None, 2, 2)
    """

    def __init__(self, most):
        self._most, self._values, self._lock = most, collections.OrderedDict(), threading.Lock()

    def get(self, key):
        """The value of a key, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key, value):
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            if len(self._values) > self._most:
                self._values.popitem(last=False)

    def clear(self):
        self._values.clear()

    def __len__(self):
        return len(self._values)

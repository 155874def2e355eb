"""Whether a file of LMDB can be read without danger: it trusts its pages, and one that is damaged may end the process.

The file is of pages. The first two say where the trees begin (of rows, and of free pages); pages of a tree hold the
numbers of others, or keys with values; a value that is too long for a page has pages of its own.
"""

import os

import numpy as np

_META, _BRANCH, _LEAF, _OVERFLOW = 8, 1, 2, 4  # kinds of pages
_MAGIC, _VERSION, _HEADER, _EMPTY = 0xBEEFC0DE, 1, 16, 2**64 - 1
_OF_ITS_OWN, _INTEGER_KEY, _LONGEST_KEY = 1, 8, 511  # a value has pages of its own; the flag of the tree of free pages
_SIZES = [2**power for power in range(9, 17)]
_NUMBER, _SHORT = "<u8", "<u2"
_TREE = np.dtype(
    [
        ("page_size", "<u4"),
        ("flags", _SHORT),
        ("depth", _SHORT),
        *((name, _NUMBER) for name in ("branches", "leaves", "overflows", "entries", "root")),
    ]
)
_HEAD = np.dtype(
    [
        ("page", _NUMBER),
        *((name, _SHORT) for name in ("pad", "kind", "lower", "upper")),
        ("magic", "<u4"),
        ("version", "<u4"),
        ("address", _NUMBER),
        ("map_size", _NUMBER),
        ("free", _TREE),
        ("rows", _TREE),
        ("last", _NUMBER),
        ("number", _NUMBER),
    ]
)


class Damaged(ValueError):
    """A file whose pages are not as LMDB wrote them."""


class Snapshot:
    """The state of a store after one of its transactions, with every page of it checked.

    Args:
        file: path of LMDB's data file.
        number: of the transaction; None takes the last.

    Raises:
        Damaged: a page that is needed is not there, or not whole.
        LookupError: the file no longer holds that transaction.
    """

    def __init__(self, file, number=None):
        if os.stat(file).st_size < 2 * _HEAD.itemsize:
            raise Damaged("it ends before its first pages do")
        self._bytes = np.memmap(file, np.uint8, "r")
        head, self._size = self._head(number)
        self._last = min(int(head["last"]), len(self._bytes) // self._size - 1)
        if int(head["last"]) + 1 > 2**48 // self._size:
            raise Damaged("it counts more pages than can be")
        self._bytes = self._bytes[: len(self._bytes) // self._size * self._size]
        self._halves = self._bytes.view("<u2")
        self._taken = np.zeros(self._last + 3, np.int32)  # begins and ends of what pages are taken for
        self._keys = self._walk(head["rows"], 0)
        for start, size in self._values(self._walk(head["free"], _INTEGER_KEY)):
            listed = self._bytes[start : start + size // 8 * 8].view("<u8")
            if not len(listed) or listed[0] >= len(listed):
                raise Damaged("a list of free pages is longer than its value")
            free = listed[1 : 1 + int(listed[0])]
            if (free > head["last"]).any():
                raise Damaged("a free page is none of the file's")
            self._take(free[free <= self._last].astype(np.int64), 1)
        taken = np.cumsum(self._taken)
        if taken.max(initial=0) > 1 or taken[:2].any():
            raise Damaged("a page is used twice")

    def keys(self):
        """Each key, as bytes."""
        starts, sizes = self._keys[0], self._keys[1]
        for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
            yield self._bytes[start : start + size].tobytes()

    def _head(self, number):
        """(the page that a transaction ended with, the size of pages)."""
        heads, size = [], 0
        for _ in range(2):
            part = self._bytes[size : size + _HEAD.itemsize]
            if len(part) < _HEAD.itemsize:
                raise Damaged("it ends before its first pages do")
            heads.append(np.frombuffer(part.tobytes(), _HEAD)[0])
            if tuple(heads[-1][name] for name in ("magic", "version", "kind")) != (_MAGIC, _VERSION, _META):
                raise Damaged("it is no file of LMDB, or its first pages are damaged")
            size = int(heads[0]["free"]["page_size"])
            if size not in _SIZES or heads[-1]["free"]["page_size"] != size:
                raise Damaged("its first pages are damaged")
        if number is None:
            return max(heads, key=lambda head: head["number"]), size
        found = [head for head in heads if head["number"] == number]
        if not found:
            raise LookupError(number)
        return found[0], size

    def _take(self, pages, counts):
        if len(pages) and (pages.min() < 2 or (pages + counts - 1).max() > self._last):
            raise Damaged("a page that is needed lies behind its end")
        np.add.at(self._taken, pages, 1)
        np.add.at(self._taken, pages + counts, -1)

    def _walk(self, tree, flags):
        """(starts of the keys, their sizes, starts of the values, their sizes) of all leaves of a tree."""
        depth, level, levels = int(tree["depth"]), np.array([tree["root"]], np.uint64), []
        if tree["flags"] != flags or depth > 32 or (depth == 0) != (tree["root"] == _EMPTY):
            raise Damaged("a tree of pages begins nowhere")
        if depth == 0:
            level = level[:0]
        for _ in range(depth - 1):
            counts, nodes, starts = self._nodes(level, _BRANCH)
            levels.append((counts, starts + 8, nodes[:, 3]))
            level = (nodes[:, 0] | nodes[:, 1] << 16 | nodes[:, 2] << 32).astype(np.uint64)
            if len(level) > self._last:
                raise Damaged("a page is used twice")
        counts, nodes, starts = self._nodes(level, _LEAF)
        if len(nodes) != tree["entries"]:
            raise Damaged("rows are lost")
        self._check_order([*levels, (counts, starts + 8, nodes[:, 3])], flags == _INTEGER_KEY)
        sizes, key_sizes, big = nodes[:, 0] | nodes[:, 1] << 16, nodes[:, 3], nodes[:, 2] == _OF_ITS_OWN
        if (nodes[:, 2] & ~_OF_ITS_OWN).any():
            raise Damaged("a page holds what features do not need")
        values = starts + 8 + key_sizes
        if (values + np.where(big, 8, sizes) > (starts // self._size + 1) * self._size).any():
            raise Damaged("a value goes beyond its page")
        values[big] = self._long(values[big], sizes[big])
        return starts + 8, key_sizes, values, sizes

    def _check_order(self, levels, integers):
        """Raise unless keys rise, and the pages above say rightly where each page below begins.

        Args:
            levels: [(entries of each page, starts of keys, sizes of keys)] from the root to the leaves.
            integers: bool, whether keys are integers.
        """
        width = max(int(sizes.max(initial=0)) for _, _, sizes in levels)
        if width > _LONGEST_KEY or (integers and (levels[-1][2] != 8).any()):
            raise Damaged("a key is too long")
        *above, (counts, starts, sizes) = levels
        keys = self._padded(starts, sizes, width, integers=integers)
        if not _rise(keys[:-1], keys[1:]).all():
            raise Damaged("keys are in no order")
        firsts = np.cumsum(counts) - counts  # the first key below each entry
        for counts, starts, sizes in reversed(above):
            begins = np.cumsum(counts) - counts
            inner = np.ones(len(starts), bool)
            inner[begins] = False  # which has no key: it leads to all that is smaller
            marks = self._padded(starts[inner], sizes[inner], width, integers=integers)
            at = firsts[inner]
            if not (_rise(keys[at - 1], marks) & ~_rise(keys[at], marks)).all():
                raise Damaged("a page says wrongly where the next begins")
            firsts = firsts[begins]

    def _padded(self, starts, sizes, width, *, integers):
        """(keys, width + 2) bytes that compare as the keys do: zeros after the end, then the length."""
        places = np.arange(width)
        keys = self._bytes[np.minimum(starts[:, None] + places, len(self._bytes) - 1)]
        keys = np.where(places < sizes[:, None], keys, 0).astype(np.uint8)
        if integers:
            keys = keys[:, ::-1]
        return np.concatenate([keys, (sizes >> 8)[:, None], (sizes & 255)[:, None]], axis=1).astype(np.uint8)

    def _nodes(self, level, kind):
        """(entries of each page; [low, high, flags, key size] and start of each entry) of pages of a kind."""
        if len(level) and int(level.max()) > self._last:
            raise Damaged("a page that is needed lies behind its end")
        level = level.astype(np.int64)
        self._take(level, 1)
        lower, upper = self._checked(level, kind)
        if (
            (lower % 2 | upper % 2).any()
            or (lower <= _HEADER).any()
            or (lower > upper).any()
            or (upper > self._size).any()
        ):
            raise Damaged("a page has no right bounds")
        counts = (lower - _HEADER) // 2
        pages = np.repeat(level, counts)
        places = np.arange(len(pages)) - np.repeat(np.cumsum(counts) - counts, counts)
        offsets = self._halves[(pages * self._size + _HEADER) // 2 + places].astype(np.int64)
        if (offsets % 2).any() or (offsets < np.repeat(upper, counts)).any() or (offsets > self._size - 8).any():
            raise Damaged("an entry lies outside its page")
        starts = pages * self._size + offsets
        nodes = self._halves[starts[:, None] // 2 + np.arange(4)].astype(np.int64)
        if (offsets + 8 + nodes[:, 3] > self._size).any():
            raise Damaged("a key goes beyond its page")
        if kind == _BRANCH and (counts < 2).any():
            raise Damaged("a page leads to one other")
        return counts, nodes, starts

    def _checked(self, pages, kind):
        """(lower, upper) bounds of pages, or what stands in their place, once they are known to be of a kind."""
        heads = self._halves[pages[:, None] * (self._size // 2) + np.arange(8)].astype(np.int64)
        numbers = heads[:, 0] | heads[:, 1] << 16 | heads[:, 2] << 32 | heads[:, 3] << 48
        if (numbers != pages).any() or (heads[:, 5] != kind).any():
            raise Damaged("a page is not what it should be")
        return heads[:, 6], heads[:, 7]

    def _long(self, places, sizes):
        """Starts of the values that have pages of their own."""
        firsts = self._bytes[places[:, None] + np.arange(8)].view("<u8")[:, 0]
        if (firsts > self._last).any():
            raise Damaged("a page that is needed lies behind its end")
        firsts = firsts.astype(np.int64)
        low, high = self._checked(firsts, _OVERFLOW)
        counts = low | high << 16
        if (counts < (_HEADER - 1 + sizes) // self._size + 1).any():  # more of them are left from a longer value
            raise Damaged("a value has fewer pages than it needs")
        self._take(firsts, counts)
        return firsts * self._size + _HEADER

    def _values(self, walked):
        return zip(walked[2].tolist(), walked[3].tolist(), strict=True)


def _rise(keys, others):
    """Whether each key is smaller than another."""
    differs = keys != others
    first, rows = differs.argmax(axis=1), np.arange(len(keys))
    return keys[rows, first] < others[rows, first]

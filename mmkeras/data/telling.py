"""Warnings of cells that cannot be read, which a thread may leave out without touching what others are told."""

import contextlib
import contextvars
import warnings

_quiet = contextvars.ContextVar("quiet", default=False)


@contextlib.contextmanager
def quiet():
    """Nothing is told of cells, in this thread alone: `warnings.catch_warnings` would change the filters of all threads.

    Example:
        >>> with quiet():
        ...     tell("3 cells are no numbers.")
    """
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


def tell(sentence, stacklevel=2):
    """Warn of cells, unless it is to be `quiet`."""
    if not _quiet.get():
        warnings.warn(sentence, stacklevel=stacklevel + 1)

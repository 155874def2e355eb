"""Warnings as sentences for whom they are about."""

import contextlib
import pathlib
import threading
import warnings

OURS = str(pathlib.Path(__file__).parents[1])
_heard = threading.local()


@contextlib.contextmanager
def all_warnings():
    """Say every warning, however often, so that `heard` has them; while a server runs."""
    said = warnings.showwarning

    def show(message, category, filename, *where, **more):
        sentences = getattr(_heard, "sentences", None)
        if sentences is not None and issubclass(category, UserWarning) and filename.startswith(OURS):
            sentences.append(str(message))
        else:
            said(message, category, filename, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def heard():
    """A list of what mmkeras warns of in this thread, in place of saying it; see `all_warnings`."""
    _heard.sentences = []
    try:
        yield _heard.sentences
    finally:
        _heard.sentences = None

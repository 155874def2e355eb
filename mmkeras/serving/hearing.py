"""Warnings as sentences for whom they are about."""

import contextlib
import threading
import warnings

_heard = threading.local()


@contextlib.contextmanager
def all_warnings():
    """Say every warning, however often, so that `heard` has them; while a server runs."""
    from PIL import Image

    said = warnings.showwarning

    def show(message, category, *where, **more):
        sentences = getattr(_heard, "sentences", None)
        if sentences is None:
            said(message, category, *where, **more)
        elif issubclass(category, UserWarning):
            sentences.append(str(message))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        # Pictures have a limit of their own.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.showwarning = show
        yield


@contextlib.contextmanager
def heard():
    """A list of what is warned of in this thread, in place of saying it; see `all_warnings`."""
    _heard.sentences = []
    try:
        yield _heard.sentences
    finally:
        _heard.sentences = None

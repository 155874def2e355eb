"""What is told of cells: shortened, and warned of unless a thread leaves it out, without touching what others are told."""

import contextlib
import contextvars
import re
import warnings

NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
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


def shortened(value, most=120, text=repr):
    """A value as a message repeats it: whole when it is short, else its beginning and how long it is.

    Args:
        value: anything.
        most: int, characters.
        text: function of a value → str; `str` leaves out the quotes.

    Example:
        >>> shortened("a" * 1_000_000, 12), shortened(["x"], 12), shortened([3] * 9, 8)
        ("'aaaaaaaaaa'… (1,000,000 characters)", "['x']", '[3, 3, … (list)')
    """
    if isinstance(value, str | bytes):
        if len(value) <= most:
            return clean(text(value))
        return (
            f"{clean(text(value[: most - 2]))}… ({len(value):,} {'characters' if isinstance(value, str) else 'bytes'})"
        )
    try:
        words = clean(text(value))
    except (ValueError, RecursionError) as error:  # an integer of more digits than Python writes
        words = f"<{type(value).__name__}: {error}>"
    return words if len(words) <= most else f"{words[: most - 1]}… ({type(value).__name__})"


def clean(text):
    r"""A text without control characters and half surrogates, which no page, font or file can hold; "\ufffd" stands for each.

    Example:
        >>> clean("a\x00b\ud800")
        'a\ufffdb\ufffd'
    """
    return NO_TEXT.sub("\ufffd", text)

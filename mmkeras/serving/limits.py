"""What a server takes of a request, and how it says no."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Limits:
    """The most that one request may hold, and take.

    Args:
        body: int, bytes of the body.
        rows: int.
        pixels: int, height × width of a picture, as its first bytes tell; it is not decoded for that.
        seconds: float, from the first byte to the answer.
        paths: bool, whether a string may name a picture on the server's own disk.

    Raises:
        ValueError: a limit of 0 or less.
    """

    body: int = 32 * 2**20
    rows: int = 1000
    pixels: int = 50_000_000
    seconds: float = 60
    paths: bool = False

    def __post_init__(self):
        for name in ("body", "rows", "pixels", "seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"A limit must be greater than 0. Received: {name}={getattr(self, name)!r}.")


class Refused(Exception):
    """A request that is not answered, with the status of HTTP and a sentence for the client."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence

"""How captions are decoded: the settings, checked once."""

import dataclasses

from mmkeras.layers.words import END, PADDING, START, UNKNOWN

METHODS = ("greedy", "sample", "beam")


@dataclasses.dataclass(frozen=True)
class Settings:
    """Settings of `decode`, which explains them.

    Raises:
        ValueError: a value outside its range; a setting that belongs to another method.

    Example:
        >>> Settings("beam", beam_width=3).beam_width
        3
    """

    method: str = "greedy"
    beam_width: int = 5
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    length_penalty: float = 0.7
    max_length: int = 64
    min_length: int = 0
    seed: int = 0
    forbid_repeats: int = 0
    forbid_unknown: bool = True
    start: int = START
    end: int = END

    def __post_init__(self):
        def whole(value):
            return isinstance(value, int) and not isinstance(value, bool)

        if self.method not in METHODS:
            raise ValueError(f"`method` must be one of {METHODS}. Received: {self.method!r}.")
        for name, holds, rule in (
            ("beam_width", whole(self.beam_width) and self.beam_width >= 1, "be an int of at least 1"),
            ("temperature", self.temperature > 0, "be above 0; use method='greedy' for the most likely words"),
            ("top_k", self.top_k is None or (whole(self.top_k) and self.top_k >= 1), "be None or an int of at least 1"),
            ("top_p", self.top_p is None or 0 < self.top_p <= 1, "be None or lie in (0, 1]"),
            ("length_penalty", self.length_penalty >= 0, "be at least 0"),
            ("max_length", whole(self.max_length) and self.max_length >= 1, "be an int of at least 1"),
            ("min_length", whole(self.min_length) and self.min_length >= 0, "be an int of at least 0"),
            ("forbid_repeats", whole(self.forbid_repeats) and self.forbid_repeats >= 0, "be an int of at least 0"),
            ("seed", whole(self.seed), "be an int"),
        ):
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Received: {getattr(self, name)!r}.")
        drawn = {"temperature": self.temperature != 1, "top_k": self.top_k is not None, "top_p": self.top_p is not None}
        if self.method != "sample" and any(drawn.values()):
            names = [name for name, changed in drawn.items() if changed]
            raise ValueError(
                f"`temperature`, `top_k` and `top_p` belong to method='sample'. "
                f"Received: {', '.join(names)} with method={self.method!r}. Leave them out, or sample."
            )

    def check_vocabulary_size(self, size):
        """Raise ValueError when these settings ask for more words than there are."""
        if self.method == "beam" and self.beam_width > size:
            raise ValueError(
                f"`beam_width` must not exceed the vocabulary of {size} words. Received: {self.beam_width}. "
                "Use a narrower beam."
            )
        if not (0 <= self.start < size and 0 <= self.end < size) or PADDING in (self.start, self.end):
            raise ValueError(
                f"`start` and `end` must be word numbers from 1 to {size - 1}. Received: {self.start} and {self.end}."
            )

    @property
    def never(self):
        """Numbers that are no words of a caption."""
        return sorted({PADDING, self.start} | ({UNKNOWN} if self.forbid_unknown else set()) - {self.end})

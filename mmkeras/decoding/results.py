"""Captions of many images, and how each came about."""

import dataclasses

import numpy as np

from mmkeras.decoding.layer import decode
from mmkeras.layers import SPECIAL, CaptionText
from mmkeras.layers.words import UNKNOWN


@dataclasses.dataclass(frozen=True)
class Captions:
    """Captions of N images, and how each came about. T = `max_length`, P = h · w patches.

    Attributes:
        texts: list of N strings.
        words: N lists of strings, or None for what stands between blanks. Chinese is written without those.
        log_probabilities: (N,), of all words of a caption and its end.
        step_log_probabilities: (N, T), of each word; 0 after the end.
        tokens: (N, T) ints, the words' numbers, the end if it was reached, then 0.
        lengths: (N,) ints, words without the end.
        attention: (N, T, P), how each word looked at the patches; 0 after the end.
        grid: (h, w) of the patches, or None when they come from no grid.

    Example:
        >>> import numpy as np
        >>> none = np.zeros((1, 2))
        >>> one = Captions(["a dog"], none[:, 0], none, none, np.array([2]), np.ones((1, 2, 6)), grid=(2, 3))
        >>> [(word, weights.shape) for word, weights in one.maps(0)]
        [('a', (2, 3)), ('dog', (2, 3))]
    """

    texts: list
    log_probabilities: np.ndarray
    step_log_probabilities: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray
    attention: np.ndarray
    grid: tuple | None = None
    words: list | None = None

    def __len__(self):
        return len(self.texts)

    def in_order(self, rows):
        """The captions with these numbers, `rows`, in this order."""
        arrays = ("log_probabilities", "step_log_probabilities", "tokens", "lengths", "attention")
        chosen = {name: getattr(self, name)[rows] for name in arrays}
        if self.words is not None:
            chosen["words"] = [self.words[row] for row in rows]
        return dataclasses.replace(self, texts=[self.texts[row] for row in rows], **chosen)

    def maps(self, number):
        """[(word, (h, w) attention), …] of the caption `number`, or (P,) attention when there is no grid."""
        seen = self.attention[number, : self.lengths[number]]
        if self.grid is not None:
            seen = seen.reshape(-1, *self.grid)
        words = self.texts[number].split() if self.words is None else self.words[number]
        return list(zip(words, seen, strict=True))


def generate_from_patches(decoder, batches, vocabulary, *, grid=None, **settings):
    """Captions of images whose patches are there already.

    Args:
        decoder: a built `CaptionDecoder`.
        batches: iterable of (B, P, W) patches, or of (patches, (B, P) masks), of any batch sizes.
        vocabulary: list of words.
        grid: (h, w) of the patches, if they come from a grid.
        **settings: as in `decoding.decode`.

    Returns:
        `Captions`.

    Raises:
        ValueError: no image; settings as in `decoding.decode`.
    """
    results, done = [], 0
    for batch in batches:
        patches, mask = batch if isinstance(batch, tuple | list) else (batch, None)
        rows = np.arange(done, done + len(patches))  # a sampled caption depends on the image's number, not on batches
        results.append({k: v.numpy() for k, v in decode(decoder, patches, mask, rows=rows, **settings).items()})
        done += len(patches)
    if not done:
        raise ValueError("`images` must hold an image. Received: none. Give pixels, paths or bytes.")
    return as_captions(
        {name: np.concatenate([result[name] for result in results]) for name in results[0]}, vocabulary, grid
    )


def as_captions(decoded, vocabulary, grid=None):
    """`Captions` of what `decoding.decode` gave, as arrays.

    Args:
        decoded: {name: (N, …) array}.
        vocabulary: list of words.
        grid: (h, w) of the patches, or None.
    """
    texts = [text.decode() for text in CaptionText(vocabulary)(decoded["tokens"]).numpy()]
    known = [SPECIAL[UNKNOWN] if word in SPECIAL else word for word in vocabulary]
    words = [
        [known[number] for number in tokens[:length]]
        for tokens, length in zip(decoded["tokens"], decoded["lengths"], strict=True)
    ]
    return Captions(texts, **decoded, grid=grid, words=words)

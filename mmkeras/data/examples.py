"""Made-up raw values that are always the same, on which two engines that run one tower can be compared.

They are no white noise: texts are words of several scripts and lengths; pictures have areas, edges and light as photos do; sounds are voices.
"""

import functools

import numpy as np
import tensorflow as tf

SENTENCES = (
    "Thanks.",
    "A dog runs along the beach.",
    "The little shop around the corner sells bread, cheese and old records; it opens at 7:30 and closes when nobody is left.",
    "Who would have thought that 1984 could be so funny?",
    "Zwei Brüder fahren im Winter über die Alpen, um ihren verschollenen Vater zu suchen.",
    "По вечерам они читали друг другу письма. 昨日、駅で古い友人に会いました。",
    "no battery, scratched screen, sold as is - 45 EUR or best offer",
    "In a city that never sleeps, a retired detective takes one last case: the daughter of an old enemy has vanished, and every "
    "trace leads back to the harbour where his own story began. With the help of a young reporter he follows letters, bank notes "
    "and a photograph of 1962 through bars, courts and hospitals, until he must choose between the truth and the only friend he has.",
)  # fmt: skip
SIZES = ((96, 128), (128, 96), (160, 160), (64, 200), (240, 320), (113, 75))


def sentences():
    """(8,) array of str.

    Example:
        >>> sentences()[0]
        'Thanks.'
    """
    return np.array(SENTENCES, dtype=object)


@functools.lru_cache(1)
def photos():
    """(6,) array of the bytes of PNG files.

    Example:
        >>> len(photos()), photos()[0][:4]
        (6, b'\\x89PNG')
    """
    files = np.empty(len(SIZES), dtype=object)
    rng = np.random.default_rng(0)
    files[:] = [tf.io.encode_png(_photo(rng, *size)).numpy() for size in SIZES]
    return files


def _photo(rng, height, width):
    """(height, width, 3) pixels: clouds, whose power falls with the square of the frequency as that of photos does, and objects."""
    y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    waves = np.fft.fft2(rng.normal(size=(3, height, width))) / np.maximum(np.hypot(x, y), 1 / max(height, width))
    clouds = np.fft.ifft2(waves).real
    shared = 0.8 * clouds[:1] + 0.2 * clouds  # the colours of a photo are much alike
    pixels = shared / shared.std() * rng.uniform(25, 60) + rng.uniform(60, 190, size=(3, 1, 1))
    down, across = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    for _ in range(5):
        middle, size = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.25, 2)
        apart = np.abs(np.stack([down - middle[0], across - middle[1]])) / size.reshape(2, 1, 1)
        inside = np.hypot(*apart) < 1 if rng.random() < 0.5 else np.max(apart, axis=0) < 1
        pixels = np.where(inside, 0.3 * pixels + 0.7 * rng.uniform(0, 255, size=(3, 1, 1)), pixels)
    return np.clip(pixels, 0, 255).astype("uint8").transpose(1, 2, 0)


@functools.lru_cache(1)
def sounds():
    """(6,) tuple of the samples of sounds at 16 kHz: voices whose pitch glides, with breath between, and noise.

    Example:
        >>> len(sounds()), sounds()[0].dtype.name
        (6, 'float32')
    """
    rng, made = np.random.default_rng(0), []
    for seconds in (0.2, 0.6, 1.0, 1.5, 2.0, 0.9):
        time = np.arange(round(16_000 * seconds)) / 16_000
        pitch = rng.uniform(90, 250) * (1 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.5, 2) * time))
        angle = 2 * np.pi * np.cumsum(pitch) / 16_000
        voice = sum(rng.uniform(0.2, 1) / k * np.sin(k * angle) for k in range(1, 12))
        loud = np.clip(np.sin(2 * np.pi * rng.uniform(1, 3) * time), 0, 1)
        made.append((0.2 * loud * voice + 0.01 * rng.normal(size=len(time))).astype("float32"))
    return tuple(made)

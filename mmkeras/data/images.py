"""Images: cells that hold files of pictures, one or several."""

import dataclasses
import functools
import re

import pandas as pd
import tensorflow as tf

from mmkeras.data.column import Claim, Column
from mmkeras.data.examples import photos
from mmkeras.data.file_lists import MAX_FILES, FileLists, files_of, holds_several, single_files
from mmkeras.data.files import LOOKED_FOR, MAX_BYTES, Files, looks_like
from mmkeras.data.sample import Sample
from mmkeras.layers import DecodeImage
from mmkeras.layers.image import MAX_BLOCKS, MAX_PIXELS, MAX_SCANS

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"RIFF....WEBP")  # any byte for a point
SEPARATORS = ("|", ";", ",", " ")


@dataclasses.dataclass(frozen=True)
class ImageColumn(Column):
    """Images, as paths or bytes, read when they are needed; b"" for a missing one.

    Args:
        on_error: "raise", or "missing" to take a file that cannot be read for no image.
        max_bytes: int; longer files are not read.
        limits: (most pixels, scans, blocks) of an image, see `layers.DecodeImage`.
        separator, max_files: see `Image`.
        several: bool, whether a cell may hold any number of them, (B, K) bytes; found by `adapt`.
    """

    on_error: str = "raise"
    max_bytes: int = MAX_BYTES
    limits: tuple = (MAX_PIXELS, MAX_SCANS, MAX_BLOCKS)
    separator: str | None = None
    max_files: int = MAX_FILES
    several: bool = False

    reads = "image"
    files = picture = True

    @property
    def shape(self):
        return (None,) if self.several else ()

    def adapt(self, series):
        return dataclasses.replace(self, several=self.separator is not None or any(map(holds_several, series)))

    def values(self, series):
        settings = {"on_error": self.on_error, "max_bytes": self.max_bytes, "trust": _whole_jpeg, "begins": _begins}
        where = series.index, series.name, _attempt(*self.limits)
        if self.several:
            return FileLists(series, *where, separator=self.separator, max_files=self.max_files, **settings)
        return Files(single_files(series), *where, **settings)

    def digests(self, values):
        return values.digests

    def examples(self):
        return photos()

    def shown(self, cell):
        files = files_of(cell, "image", self.separator)
        return files[0] if files else None

    def claim(self, sample):
        (share, there), settings, what = _looks(sample)
        if share < 0.5 or there == 0:
            return None
        missing = {} if share == there == 1 else {"on_error": "missing"}
        told = "" if share == there == 1 else f"; of those that were looked for, {share * there:.0%} are there"
        why = f"{what}pictures, as files or bytes{told}"
        settings = {**settings, **missing}
        return Claim(0.98, why, self.reads, settings=settings, of_things=True, several=what != "")


def _looks(sample):
    """(what `looks_like` says of a column, settings that read it so, words for several in a cell)."""
    if sample.holds_lists:
        cells = sample.known.head(LOOKED_FOR)
        files = [file for cell in cells for file in (list(cell)[:LOOKED_FOR] if holds_several(cell) else [cell])]
        return _looks_alone(files), {}, "lists of "
    looks, settings, what = looks_like(sample, ENDINGS, BEGINNINGS), {}, ""
    for separator in SEPARATORS if looks[0] >= 0.5 and looks[1] < 1 else ():
        apart = _looks_alone([file for text in (sample.texts or ())[:LOOKED_FOR] for file in text.split(separator)])
        if apart[0] >= 0.5 and apart[1] > looks[1]:
            looks, settings, what = apart, {"separator": separator}, f"names with {separator!r} between them of "
    return looks, settings, what


def _looks_alone(files):
    """The same of files by themselves."""
    return looks_like(Sample(pd.Series(files, dtype=object)), ENDINGS, BEGINNINGS)


def _whole_jpeg(data):
    """Whether bytes begin and end as a JPEG does: what cuts or replaces files would show. Decoding finds the rest."""
    return data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")


BEGINNING = re.compile(b"|".join(re.escape(start).replace(rb"\.", b".") for start in BEGINNINGS), re.DOTALL)


def _begins(data):
    """Whether a file begins as an image does, so that the rest of it is worth reading."""
    return BEGINNING.match(data) is not None


@functools.lru_cache(8)
def _attempt(max_pixels, max_scans, max_blocks):
    """A function of bytes that raises `tf.errors.OpError` if they cannot be decoded."""
    # Whether it can be decoded shows at an eighth of the size.
    decode = DecodeImage((8, 8), max_pixels, max_scans, max_blocks=max_blocks)
    signature = [tf.TensorSpec([None], tf.string)]
    run = tf.function(lambda images: decode(images), input_signature=signature, autograph=False)
    return lambda data: run(tf.constant([data]))

"""Columns that nobody should learn from, whatever they look like: ids, constants, links, files that are not there."""

import re

import numpy as np

from mmkeras.data.column import Claim
from mmkeras.data.files import looks_like
from mmkeras.data.numbers import NAMES_OF_CODES
from mmkeras.data.sample import shown
from mmkeras.data.texts import ONE_WORD

FEWEST = 20  # rows of which uniqueness says anything
READ = 0.6  # strength of a claim of numbers that are some
ODDS = 5  # cells that should have met another by chance, where none did
LONG = 10**11  # whole numbers that are no quantities
YEARS = (1800, 2100)
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus", ".aif", ".aiff", ".wma")
SOUND_BEGINNINGS = (b"RIFF....WAVE", b"ID3", b"fLaC", b"OggS", b"\xff\xfb", b"\xff\xf3")
FILES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".heic",
    ".svg",
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
)
FILES += (".pdf", ".npy", ".npz")
SIGNS = re.compile(r"[!-~\d]+")  # that stand together
LINK = re.compile(r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+$", re.IGNORECASE)


def stranger(sample, numbers=None):
    """`Claim` that a column should be left out, whose `reads` says as what; or None.

    Args:
        sample: `data.sample.Sample`.
        numbers: `NumberColumn`'s `Claim` on it, or None.

    Example:
        >>> import pandas as pd
        >>> from mmkeras.data.sample import Sample
        >>> stranger(Sample(pd.Series(["same"] * 30))).reads
        'constant'
    """
    if not len(sample.distinct):
        return Claim(1.0, "every cell is empty", "empty")
    if len(sample.distinct) == 1 and (sample.codes >= 0).all() and len(sample.codes) > 1:
        return Claim(1.0, f"every cell is {shown(sample.distinct[0])}", "constant")
    return _file(sample) or _link(sample) or _vector(sample) or _id(sample, numbers)


def _file(sample):
    share, _ = looks_like(sample, SOUNDS, SOUND_BEGINNINGS)
    if share >= 0.5:
        return _thing(
            0.95, "sounds of which none is there, or of a kind that is not read: give the paths of WAV files", "sound"
        )
    share, there = looks_like(sample, FILES, ())
    if share >= 0.5 and sample.words <= 2 * ONE_WORD and sample.share(LINK.match) < 0.5:
        gone = (
            "no file of those that were looked for is there, seen from the working folder: put the folder before them"
        )
        why = gone if there == 0 else "files of a kind that no modality reads"
        return _thing(0.95, why, "path")
    return None


def _link(sample):
    if sample.share(LINK.match) < 0.5 or sample.repeated > 20:
        return None
    return _thing(0.95, "links, behind which nothing is fetched: download pictures first, and give their paths", "link")


def _thing(strength, why, reads, doubt=""):
    return Claim(strength, why, reads, doubt, of_things=True)


def _vector(sample):
    if sample.lists is None:
        return None
    lengths = {len(cell) for cell in sample.lists}
    told = f"lists of {lengths.pop()} values each: give each place a column" if len(lengths) == 1 else "lists of values"
    return Claim(0.5, told, "list")


def _id(sample, claim):
    """Claim on values that only tell rows apart: near-unique words, and whole numbers too dense or too long to be measured."""
    rows = sample.count
    if rows < FEWEST:
        return None
    if sample.dtype_letter in "bmM" or sample.lists is not None:
        return None
    if claim is None or claim.strength < READ:
        return None if sample.texts is None else _id_of_text(sample)
    numbers = claim.values[~np.isnan(claim.values)].astype("float64")
    if (numbers != np.floor(numbers)).any():
        return None
    named = bool(NAMES_OF_CODES.search(str(sample.name)))
    if not sample.unique:
        long = np.abs(numbers).min() >= LONG and len(sample.distinct) > FEWEST
        return _thing(0.95, f"whole numbers too long to be measured, such as {numbers[0]:.0f}", "id") if long else None
    if YEARS[0] <= numbers.min() and numbers.max() <= YEARS[1]:
        return None
    dense = len(np.unique(numbers)) == rows and _expected_pairs(numbers) >= ODDS
    long = np.abs(numbers).min() >= LONG and not claim.doubt
    if dense or long:
        what = "each once, too dense to be chance" if dense else "too long to be measured"
        return _thing(0.95, f"whole numbers, {what}: they tell rows apart, and nothing else", "id")
    if named:
        return _thing(0.82, "whole numbers, each once, in a column named like an id", "id")
    return None


def _expected_pairs(numbers):
    """How many pairs of equal numbers there would be at least, were they drawn as densely as they lie."""
    numbers = np.sort(numbers)
    parts = [part for part in np.array_split(numbers, 10) if len(part) > 1]
    return sum(len(part) * (len(part) - 1) / 2 / (part[-1] - part[0] + 1) for part in parts)


def _id_of_text(sample):
    if not sample.unique:
        return None
    if sample.words <= ONE_WORD:
        named = NAMES_OF_CODES.search(str(sample.name)) or sample.share(_has_digit) > 0.5
        doubt = "" if named else "they may be names that say something"
        return _thing(0.88 if named else 0.6, "one word in each cell, hardly any twice", "id", doubt)
    rest = {SIGNS.sub(lambda signs: "" if _has_digit(signs[0]) else signs[0], text) for text in sample.texts}
    if len(rest) <= max(1, 0.05 * len(sample.texts)) and sample.share(_has_digit) > 0.9:
        return _thing(0.95, "the same words with another number in nearly every cell", "id")
    return None


def _has_digit(text):
    return any(sign.isdigit() for sign in text)

"""Sounds: cells that hold a recording, as a file or as its samples."""

import base64
import dataclasses
import functools
import io
import numbers
import re
import struct

import numpy as np
import tensorflow as tf

from mmkeras.data.column import Claim, Column
from mmkeras.data.examples import sounds
from mmkeras.data.files import MAX_BYTES, Files, file_bytes, looks_like
from mmkeras.data.paths import NoFile
from mmkeras.data.telling import shortened
from mmkeras.layers import DecodeSound
from mmkeras.layers.sound import MOST_CHANNELS, read_form, samples_of

ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
BEGINNINGS = (b"RIFF....WAVE", b"fLaC", b"OggS", b"ID3", b"\xff\xfb", b"\xff\xf3", b"\xff\xfa", b"\xff\xf2")
BEGINNING = re.compile(b"|".join(re.escape(start).replace(rb"\.", b".") for start in BEGINNINGS), re.DOTALL)
PLAYED, PLAYED_RATE = 10, 16_000  # seconds of a recording that a page plays, and samples a second
FORMS = {"int16": (1, 16), "int32": (1, 32), "uint8": (1, 8), "float32": (3, 32)}  # of a WAV file: kind, bits


@dataclasses.dataclass(frozen=True)
class SoundColumn(Column):
    """Recordings, as paths, bytes or samples, read when they are needed as bytes of WAV files; b"" for a missing one.

    Files of other kinds become WAV files when they are read. Samples are (N,) or (N, C) arrays or lists of numbers, floats from −1 to 1 or
    integers of their full scale; or {"array": …, "sampling_rate": …}.

    Args:
        on_error: "raise", or "missing" to take a recording that cannot be read for none.
        max_bytes: int; longer files are not read.
        sampling_rate: int, samples a second of cells that are samples and do not say so themselves.
    """

    on_error: str = "raise"
    max_bytes: int = MAX_BYTES
    sampling_rate: int = 16_000

    reads = "sound"
    files = drawn = True

    def values(self, series):
        cells = [self._file(cell, series.name) for cell in series]
        settings = {"on_error": self.on_error, "max_bytes": self.max_bytes, "begins": BEGINNING.match}
        return Sounds(cells, series.index, series.name, _try, **settings)

    def _file(self, cell, name):
        """A cell as a path or bytes."""
        rate = self.sampling_rate
        if isinstance(cell, dict) and {"array", "sampling_rate"} <= set(cell):
            cell, rate = cell["array"], cell["sampling_rate"]
        return wav_bytes(cell, rate, name) if isinstance(cell, np.ndarray | list | tuple) else cell

    def digests(self, values):
        return values.digests

    def examples(self):
        files = np.empty(len(sounds()), dtype=object)
        files[:] = [wav_bytes(sound, 16_000) for sound in sounds()]
        return files

    def shown(self, cell):
        return self._file(cell, "a cell")

    def html(self, cell):
        """A player of the first seconds."""
        try:
            data = as_wav(file_bytes(cell))
            samples, length = _played()(tf.constant(data))
        except (tf.errors.OpError, NoFile, TypeError):
            return "<p>(no sound)</p>"
        if not length:
            return "<p>(no sound)</p>"
        whole = np.clip(samples.numpy()[: int(length)] * 2**15, -(2**15), 2**15 - 1).astype("int16")
        data = base64.b64encode(wav_bytes(whole, PLAYED_RATE)).decode()
        return f"<audio controls preload=none src='data:audio/wav;base64,{data}'></audio>"

    def claim(self, sample):
        share, there = looks_like(sample, ENDINGS, BEGINNINGS)
        if share < 0.5 or there == 0:
            return None
        whole = share == there == 1
        told = "" if whole else f"; of those that were looked for, {share * there:.0%} are there"
        settings = {} if whole else {"on_error": "missing"}
        return Claim(0.98, f"sounds, as files or bytes{told}", self.reads, settings=settings, of_things=True)


class Sounds(Files):
    """A column of recordings as an array of bytes of WAV files, see `data.files.Files`."""

    what = "sound"

    def convert(self, data):
        return as_wav(data)


def as_wav(data):
    """The bytes of a recording as those of a WAV file; b"" for none.

    Raises:
        tf.errors.InvalidArgumentError: bytes of another kind that cannot be read.

    Example:
        >>> as_wav(b"")
        b''
    """
    if not data or data[:4] + data[8:12] == b"RIFFWAVE":
        return data
    if not BEGINNING.match(data):
        raise _refused(
            f"A sound must be a WAV, FLAC, OGG or MP3 file. Received: bytes that start with {data[:12].hex(' ')}. Convert it first."
        )
    try:
        import soundfile
    except (ImportError, OSError) as error:  # the package, or the library below it
        raise _refused(
            "FLAC, OGG and MP3 files need the package soundfile. Received: one of them. Install it with pip install 'mmkeras[audio]', or give WAV files."
        ) from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            claimed = file.frames * file.channels * 4
            samples = file.read(dtype="float32", frames=min(file.frames, MAX_BYTES // (4 * file.channels)))
            rate = file.samplerate
    except soundfile.SoundFileError as error:
        raise _refused(f"A sound must be a file that libsndfile reads. Received: {error}. Convert it first.") from error
    if claimed > MAX_BYTES:
        raise _refused(f"A sound must have at most {MAX_BYTES:,} bytes as WAV. Received: {claimed:,}. Cut it first.")
    return wav_bytes(samples, rate)


def wav_bytes(samples, sampling_rate, name="a sound"):
    """The bytes of a WAV file of (N,) or (N, C) samples.

    Args:
        samples: array or list of floats from −1 to 1, or array of integers of 8 bits without a sign, 16 or 32.
        sampling_rate: int, samples a second.
        name: of the column, for messages.

    Raises:
        ValueError: samples that are no numbers, or of another shape or type; a rate that is no number.

    Example:
        >>> len(wav_bytes([0.0, 0.5], 8000))
        52
    """
    what = "Samples of {} must be numbers (N,) or (N, C): floats from −1 to 1, or integers of 8 (without a sign), 16 or 32 bits."
    try:
        array = np.asarray(samples)
        small = array.dtype.kind in "biu" and np.abs(array).max(initial=0) <= 1
        if array.dtype.name not in FORMS and (small or array.dtype.kind in "fO"):
            array = array.astype("float32")
    except (TypeError, ValueError, OverflowError):
        array = np.zeros((), "O")
    if array.dtype.name not in FORMS or array.ndim not in (1, 2) or array.shape[1:] > (MOST_CHANNELS,):
        raise ValueError(
            f"{what.format(repr(name))} Received: {shortened(samples)}. Convert them, with the channels last."
        )
    if not isinstance(sampling_rate, numbers.Real) or not 0 <= sampling_rate < 2**32:
        raise ValueError(
            f"'sampling_rate' beside samples of {name!r} must be a number of samples a second. Received: {shortened(sampling_rate)}. "
            "Give it, such as 16000."
        )
    kind, bits = FORMS[array.dtype.name]
    channels = array.shape[1] if array.ndim == 2 else 1
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    width, rate = channels * bits // 8, int(sampling_rate)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, kind, channels, rate, min(rate * width, 2**32 - 1), width, bits)
    head = struct.pack("<4sI4s", b"RIFF", 28 + len(form) + len(data) - 16, b"WAVE")
    return head + form + struct.pack("<4sI", b"data", len(data)) + data


def seconds_of(data):
    """How long a recording is; `data` is what `Sounds` gives of it."""
    count, rate = _measure()(tf.constant(data))
    return int(count) / int(rate)


def _refused(message):
    return tf.errors.InvalidArgumentError(None, None, message)


def _try(data):
    """Raise `tf.errors.OpError` if bytes are no sound that can be used."""
    _whole()(tf.constant(as_wav(data)))


@functools.lru_cache(1)
def _whole():
    def read(data):
        form = read_form(data)
        return tf.size(samples_of(data, form, form["count"]))

    return tf.function(read, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


@functools.lru_cache(1)
def _measure():
    def read(data):
        form = read_form(data)
        return form["count"], form["rate"]

    return tf.function(read, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)


@functools.lru_cache(1)
def _played():
    decode = DecodeSound(PLAYED_RATE, PLAYED * PLAYED_RATE)

    def read(data):
        sound = decode(data[None])
        return sound["samples"][0], sound["lengths"][0]

    return tf.function(read, input_signature=[tf.TensorSpec((), tf.string)], autograph=False)

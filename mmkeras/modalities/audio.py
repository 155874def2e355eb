"""Audio: recordings through a small network trained from scratch, a pretrained one, or one of your own."""

import dataclasses
import numbers

import numpy as np

from mmkeras import layers
from mmkeras.data.columns import raw_values
from mmkeras.data.files import MAX_BYTES
from mmkeras.data.sounds import SoundColumn, seconds_of
from mmkeras.layers.sound import RATES
from mmkeras.modalities.base import PRESENT, EncodedModality, check_name, column_names, unique_names
from mmkeras.modalities.encoders import HubSound, SoundEncoder, lora
from mmkeras.modalities.encoders.base import encoder_name

MEASURED = 200  # recordings of which lengths are learnt
USUAL = 0.95  # share of them that is heard whole
LONGEST, SHORTEST = 10.0, 0.2  # seconds of a window


@dataclasses.dataclass(frozen=True)
class Audio(EncodedModality):
    """A column of recordings as one feature vector.

    A cell is a path (local, or one that `tf.io.gfile` reads) or the bytes of a WAV file (integers of 8, 16, 24 or 32 bits, floats of 32 or
    64), or of a FLAC, OGG or MP3 file, which soundfile reads (`pip install 'mmkeras[audio]'`); the samples, (N,) or (N, C), as an array or
    a list; or {"array": samples, "sampling_rate": …}. '' and missing values mean "no sound". A served model reads WAV files alone.

    Channels are mixed to one, and the rate is changed by a polyphase filter, see `layers.DecodeSound`. A recording is heard up to its first
    `windows` · `seconds`; what is shorter is followed by silence, which means over time leave out.

    Args:
        columns: a column name.
        encoder: what turns sounds into features:
            - "scratch": logarithms of a mel spectrum, each recording on its own scale, and four convolutions, trained with the head on
              sounds whose speed and begin vary, and whose spectrum has gaps (SpecAugment, Park et al., 2019,
              https://arxiv.org/abs/1904.08779);
            - a KerasHub preset name of Whisper or Moonshine ("whisper_tiny_en", "moonshine_tiny_en"), a handle, or a local directory in
              KerasHub's format with its audio converter: the encoder half, and the mean over what is sound;
            - a TF-Hub handle, or the directory of a SavedModel that takes samples, such as YAMNet; always frozen;
            - "image:" and a pretrained encoder of `Image`, such as "image:MobileNetV2", which sees the spectrum as a picture;
            - the path of a `.keras` file: a model of your own, from samples (B, N) to (B, D) or (B, T, D).
        seconds: float, the length of a window; None for what 95% of the training recordings have, at most 10, or what a model of your own
            is made for.
        windows: int, the most windows of a recording, one after another; its feature is their mean, weighed by how much sound each holds.
        sampling_rate: int, samples a second that the encoder hears; also of cells that are samples and do not say so themselves.
        bands: int, of frequencies in the spectrum of "scratch" and of pictures.
        trainable: False (frozen), True, or "lora", which trains small matrices beside the tower's own weights (Hu et al., 2021,
            https://arxiv.org/abs/2106.09685); not for "scratch", which always trains.
        weights: of a picture's encoder, see `Image`.
        augment: whether "scratch" varies what it hears in training.
        on_error: "raise", or "missing" to take a recording that cannot be read for none.
        max_bytes: int; a longer file is not read.
        name: str, name of the modality.
        lora_rank: int, the rank of the matrices of "lora"; None for 8.

    Features: (B, D) float32; zeros for an absent recording.

    Raises:
        ValueError: a setting outside the above; a recording that cannot be read (when adapting).
        FileNotFoundError: a model, or a recording, that does not exist.

    Example:
        >>> import numpy as np
        >>> import pandas as pd
        >>> import mmkeras as mm
        >>> df = pd.DataFrame({"call": [np.zeros(8000), np.ones(16000)]})
        >>> mm.Audio("call").adapt(df).seconds_heard
        1.0
    """

    columns: tuple
    encoder: str = "scratch"
    seconds: float | None = None
    windows: int = 1
    sampling_rate: int = 16_000
    bands: int = 64
    trainable: bool | str = False
    weights: str | None = "imagenet"
    augment: bool = True
    on_error: str = "raise"
    max_bytes: int = MAX_BYTES
    name: str = "audio"
    lora_rank: int | None = None

    family, usual = SoundEncoder, HubSound
    dropouts = 0.5, 0.8
    things = "recordings"
    preparing = "heavy"
    option = "audio"
    option_help = "columns of paths of recordings"
    advice = (
        "Recordings go through a small network that learns from these rows alone. A pretrained one hears more, and is downloaded: "
        "mm.Audio(…, encoder='whisper_tiny_en')."
    )

    def __post_init__(self):
        self._set(columns=column_names(self.columns, "`columns` of `Audio`"), encoder=encoder_name(self.encoder))
        check_name(self.name)
        if len(self.columns) != 1:
            raise ValueError(
                f"`Audio` reads one column. Received: {list(self.columns)}. Give each column an `Audio` of its own."
            )
        low, high = RATES
        for setting, least, most in (
            ("windows", 1, 1000),
            ("sampling_rate", low, high),
            ("bands", 8, 512),
            ("max_bytes", 1, None),
        ):
            value = getattr(self, setting)
            if type(value) is not int or value < least or (most and value > most):
                until = f" to {most:,}" if most else ""
                raise ValueError(f"`{setting}` must be an int from {least:,}{until}. Received: {value!r}.")
        seconds = self.seconds
        known = isinstance(seconds, numbers.Real) and not isinstance(seconds, bool)
        if seconds is not None and not (known and SHORTEST <= seconds <= 3600):
            raise ValueError(f"`seconds` must be a number from {SHORTEST} to 3600, or None. Received: {seconds!r}.")
        for setting, choices in (
            ("on_error", ("raise", "missing")),
            ("trainable", (False, True, "lora")),
            ("augment", (False, True)),
        ):
            if getattr(self, setting) not in choices:
                raise ValueError(f"`{setting}` must be one of {choices}. Received: {getattr(self, setting)!r}.")
        self.made_encoder().check()
        lora.check(self)

    @property
    def columns_read(self):
        return {self.columns[0]: SoundColumn(self.on_error, self.max_bytes, self.sampling_rate)}

    @property
    def samples(self):
        """Samples of a window."""
        return self.made_encoder().usual_samples or round(self.seconds_heard * self.sampling_rate)

    @property
    def seconds_heard(self):
        """The length of a window: `seconds`, or what `adapt` learnt."""
        if self.seconds is not None:
            return float(self.seconds)
        self.check_adapted()
        return self.state["seconds"]

    def adapt(self, df):
        reading = self.reading(df)
        seconds = self.seconds or self._usual_seconds(raw_values(df, [reading])[self.columns[0]])
        return reading.learn(seconds=float(seconds), **reading.made_encoder().adapt(df))

    @staticmethod
    def _usual_seconds(sounds):
        some = sounds[np.unique(np.linspace(0, len(sounds) - 1, min(MEASURED, len(sounds))).astype(int))]
        lengths = [seconds_of(sound) for number in range(len(some)) for sound in np.asarray(some[[number]]) if sound]
        return float(np.clip(np.ceil(10 * np.quantile(lengths or [1.0], USUAL)) / 10, SHORTEST, LONGEST))

    def prepare(self, raw):
        self.check_adapted()
        return super().prepare(raw)

    def presence(self, raw):
        present = layers.Present(name=f"{self.name}_present")(raw[self.columns[0]])
        return {f"{self.name}{PRESENT}": present}

    def train_tower(self, trainable):
        if not self.pretrained or trainable is False:
            return self
        try:
            rank = self.lora_rank if trainable == "lora" else None
            return dataclasses.replace(self, trainable=trainable, lora_rank=rank)
        except ValueError:  # one of TF-Hub, or a number of blocks
            return self

    @classmethod
    def claims(cls, sample):
        claim = SoundColumn().claim(sample)
        return [claim] if claim else []

    @classmethod
    def of_claims(cls, claims, sequences=False):
        names = unique_names(claims, "audio")
        return [cls(column, name=names[column], **claim.settings) for column, claim in claims.items()]

    @classmethod
    def add_options(cls, parser, towers=True):
        super().add_options(parser, towers)
        parser.add_argument(
            "--audio-encoder",
            default="scratch",
            help="what hears recordings: scratch, a KerasHub preset or folder, a TF-Hub handle, image:NETWORK, or a .keras file",
        )

    @classmethod
    def from_options(cls, options, sequences=False):
        names = unique_names(options.audio, "audio")
        return [cls(column, options.audio_encoder, on_error="missing", name=names[column]) for column in options.audio]

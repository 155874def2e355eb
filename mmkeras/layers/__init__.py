"""Layers that take raw values (strings, numbers with gaps), summarise token sequences, or write captions.

Each is registered, keeps its arguments as attributes, and gives the same numbers eagerly, inside `tf.data`
and after reloading. B = rows in the batch, T = tokens or terms, D = width of a feature, K = numeric columns.
"""

from mmkeras.layers.averaging import WeightedMean
from mmkeras.layers.calibration import Calibration
from mmkeras.layers.cells import ReadNumbers, Replace, Spell
from mmkeras.layers.dates import CalendarParts, ReadDates
from mmkeras.layers.decoder import CaptionDecoder, PatchPositions
from mmkeras.layers.files import FilesPresent, MeanOfFiles, PlaceFiles, TakeFiles
from mmkeras.layers.forms import FormText, PadTokens
from mmkeras.layers.image import DecodeImage
from mmkeras.layers.kernel import Alike
from mmkeras.layers.late import AddLinear
from mmkeras.layers.likeliest import Likeliest
from mmkeras.layers.members import MemberDense, MemberScale
from mmkeras.layers.minirocket import MiniRocket
from mmkeras.layers.pairs import Similarity
from mmkeras.layers.scripts import SpaceCharacters
from mmkeras.layers.series import JoinChannels, PoolSteps
from mmkeras.layers.sound import DecodeSound
from mmkeras.layers.spectrum import FramesPresent, LogMel, StandardizeFrames
from mmkeras.layers.tabular import AnyNumber, CleanNumbers, FillMissing, PiecewiseLinear, Standardize
from mmkeras.layers.text import MaskedMean, Present, TermBag, TermVector, TermWeights, Tokenize
from mmkeras.layers.units import RisingQuantiles, Units
from mmkeras.layers.variation import MaskBands, VaryBands, VarySound
from mmkeras.layers.words import (
    SPECIAL,
    CaptionText,
    CaptionTokens,
    count_words,
    learn_vocabulary,
    plain_words,
    teacher_forcing,
)

__all__ = [
    "SPECIAL",
    "AddLinear",
    "Alike",
    "AnyNumber",
    "CalendarParts",
    "Calibration",
    "CaptionDecoder",
    "CaptionText",
    "CaptionTokens",
    "CleanNumbers",
    "DecodeImage",
    "DecodeSound",
    "FilesPresent",
    "FillMissing",
    "FormText",
    "FramesPresent",
    "JoinChannels",
    "Likeliest",
    "LogMel",
    "MaskBands",
    "MaskedMean",
    "MeanOfFiles",
    "MemberDense",
    "MemberScale",
    "MiniRocket",
    "PadTokens",
    "PatchPositions",
    "PiecewiseLinear",
    "PlaceFiles",
    "PoolSteps",
    "Present",
    "ReadDates",
    "ReadNumbers",
    "Replace",
    "RisingQuantiles",
    "Similarity",
    "SpaceCharacters",
    "Spell",
    "Standardize",
    "StandardizeFrames",
    "TakeFiles",
    "TermBag",
    "TermVector",
    "TermWeights",
    "Tokenize",
    "Units",
    "VaryBands",
    "VarySound",
    "WeightedMean",
    "count_words",
    "learn_vocabulary",
    "plain_words",
    "teacher_forcing",
]

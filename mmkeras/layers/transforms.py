"""Scales on which numbers of heavy tails lie more evenly, and the way back.

Each goes both ways without loss, is finite for every finite number, and is a straight line beyond the numbers that it learnt from:
a prediction that is too high by a little is not too high by a thousand times.
"""

import dataclasses

import keras
import numpy as np

KNOTS = 100  # of the numbers, by which ranks are kept


@dataclasses.dataclass(frozen=True)
class Logarithm:
    """sign(x) · log(1 + |x|) of numbers up to `most`; 0 stays 0, and negative numbers mirror positive ones.

    Args:
        most: float, the largest |x|.

    Example:
        >>> from mmkeras.layers.transforms import Logarithm
        >>> Logarithm(99.0).forward([0.0, 99.0]).numpy().round(4).tolist()
        [0.0, 4.6052]
    """

    most: float

    @classmethod
    def learn(cls, values):
        """From numbers (R,)."""
        return cls(float(np.abs(values).max()))

    def forward(self, x):
        """Numbers of any shape on the logarithmic scale, float64."""
        x, most = _exact(x), _exact(self.most)
        size = keras.ops.abs(x)
        beyond = keras.ops.maximum(size - most, 0.0) / (1.0 + most)
        return keras.ops.sign(x) * (keras.ops.log1p(keras.ops.minimum(size, most)) + beyond)

    def inverse(self, x):
        """The way back, float64."""
        x, most = _exact(x), _exact(self.most)
        size, last = keras.ops.abs(x), keras.ops.log1p(most)
        beyond = keras.ops.maximum(size - last, 0.0) * (1.0 + most)
        return keras.ops.sign(x) * (keras.ops.expm1(keras.ops.minimum(size, last)) + beyond)


@dataclasses.dataclass(frozen=True)
class Ranks:
    """Numbers by their rank, as numbers of a normal distribution: straight lines between knots.

    Args:
        cells: list of K rising numbers. normal: list of K rising numbers that stand for them.

    Example:
        >>> from mmkeras.layers.transforms import Ranks
        >>> ranks = Ranks([0.0, 1.0, 100.0], [-1.0, 0.0, 1.0])
        >>> ranks.forward([0.5, 199.0]).numpy().tolist(), ranks.inverse([0.0, 2.0]).numpy().tolist()
        ([-0.5, 2.0], [1.0, 199.0])
    """

    cells: list
    normal: list

    @classmethod
    def learn(cls, values):
        """From numbers (R,), which are not all the same."""
        ordered = np.sort(values)
        cells = np.unique(np.quantile(ordered, np.linspace(0.0, 1.0, KNOTS), method="inverted_cdf"))
        below, upto = (np.searchsorted(ordered, cells, side) for side in ("left", "right"))
        shares = (below + upto) / (2 * len(ordered))  # those of equal numbers share the middle
        normal = keras.ops.erfinv(_exact(2.0 * shares - 1.0)) * np.sqrt(2.0)
        return cls(cells.tolist(), np.asarray(normal).tolist())

    def forward(self, x):
        """Numbers of any shape on the normal scale, float64."""
        return _along(x, self.cells, self.normal)

    def inverse(self, x):
        """The way back, float64."""
        return _along(x, self.normal, self.cells)


@dataclasses.dataclass(frozen=True)
class AsItIs:
    """No transform.

    Example:
        >>> from mmkeras.layers.transforms import AsItIs
        >>> AsItIs().forward([2.0]).numpy().tolist()
        [2.0]
    """

    @classmethod
    def learn(cls, values):
        """From numbers (R,)."""
        return cls()

    def forward(self, x):
        """The numbers, float64."""
        return _exact(x)

    inverse = forward


TRANSFORMS = {"none": AsItIs, "log1p": Logarithm, "signed_log": Logarithm, "quantile": Ranks}


def transform_of(config):
    """A transform of {"kind": its name, and its settings}.

    Example:
        >>> from mmkeras.layers.transforms import transform_of
        >>> transform_of({"kind": "none"})
        AsItIs()
    """
    settings = dict(config)
    return TRANSFORMS[settings.pop("kind")](**settings)


def learn_transform(kind, values):
    """The config of a transform of numbers (R,), see `transform_of`.

    Example:
        >>> from mmkeras.layers.transforms import learn_transform
        >>> learn_transform("log1p", [0.0, 3.0])
        {'kind': 'log1p', 'most': 3.0}
    """
    return {"kind": kind, **dataclasses.asdict(TRANSFORMS[kind].learn(values))}


def _exact(x):
    return keras.ops.cast(keras.ops.convert_to_tensor(x, "float64") if isinstance(x, list | float) else x, "float64")


def _along(x, starts, heights):
    """The line through the points (starts, heights), which goes on straight at both ends."""
    starts, heights = np.asarray(starts, "float64"), np.asarray(heights, "float64")
    widths = np.diff(starts)
    lowest, highest = np.append(-np.inf, np.zeros(len(widths) - 1)), np.append(widths[:-1], np.inf)
    way = keras.ops.clip(_exact(x)[..., None] - starts[:-1], _exact(lowest), _exact(highest))  # in each piece
    return heights[0] + keras.ops.sum(way * (np.diff(heights) / widths), axis=-1)

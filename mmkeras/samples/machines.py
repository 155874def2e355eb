"""Made-up pumps: how they shake, and what their gauge shows, tell together what is wrong with them."""

import numpy as np

from mmkeras.samples.pictures import finish, grid, paint, soft
from mmkeras.samples.writing import draw_rows, write_picture

# (whether it knocks, whether the pressure is high) → what is wrong
FAULTS = {
    (False, False): "healthy",
    (False, True): "blocked valve",
    (True, False): "worn bearing",
    (True, True): "loose belt",
}
_NO_GAUGE, _NO_SERIES, _GAP = 0.05, 0.05, 0.2


def machines(n=400, seed=0, directory=None):
    """Made-up pumps with vibrations in two directions, a drawing of their pressure gauge, and what is wrong with them.

    Whether a pump knocks only the vibrations tell; whether its pressure is high only the gauge. All four faults are as frequent, so that one of the two
    alone is right in half of the rows. Vibrations differ in length, and in some of them a stretch is missing; some cells are empty.

    A gauge is written to `directory`/gauge_{seed}_{number}.png, beside its place and then renamed; one that is there already and would not
    change is left alone.

    Args:
        n: int, how many rows; a larger sample begins with the smaller one.
        seed: int, at least 0; the same seed gives the same rows and files.
        directory: the folder for the pictures, 64×64 pixels; made if absent.

    Returns:
        DataFrame with the columns vibration_x and vibration_y (arrays (T,) float32 with NaN where nothing was measured, or None), gauge (a path, or ''),
        and the target fault ("healthy", "blocked valve", "worn bearing" or "loose belt").

    Raises:
        ValueError: n below 1, seed below 0, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df = mm.samples.machines(3, seed=0, directory=folder)
        >>> df.columns.tolist()
        ['vibration_x', 'vibration_y', 'gauge', 'fault']
    """
    import pandas as pd

    return pd.DataFrame(draw_rows(_pump, n, seed, directory))


def _pump(rng, seed, row, folder):
    knocks, high = (bool(flag) for flag in rng.integers(0, 2, 2))
    x, y = _vibrations(rng, knocks)
    picture = _gauge(rng, rng.uniform(0.78, 0.97) if high else rng.uniform(0.05, 0.55))
    known = rng.random(2) > (_NO_SERIES, _NO_GAUGE)
    return {
        "vibration_x": x if known[0] else None,
        "vibration_y": y if known[0] else None,
        "gauge": write_picture(folder / f"gauge_{seed}_{row:06d}.png", picture) if known[1] else "",
        "fault": FAULTS[knocks, high],
    }


def _vibrations(rng, knocks):
    """Two (T,) arrays: a hum of any pitch, and knocks that die away."""
    steps = np.arange(rng.integers(96, 161))
    pitch, loud = rng.uniform(0.25, 0.6), rng.uniform(0.7, 1.3)
    since = (steps + rng.integers(0, 30)) % rng.integers(22, 34)  # steps since the last knock
    ring = knocks * rng.uniform(1.0, 1.6) * np.exp(-since / 3) * np.sin(since * 2.2)
    channels = []
    for share, unit in ((1.0, 1.0), (0.5, 40.0)):  # the second sensor has another unit
        hum = loud * np.sin(steps * pitch + rng.uniform(0, 6))
        channels.append((unit * (hum + share * ring + rng.normal(0, 0.35, len(steps)))).astype("float32"))
    if rng.random() < _GAP:
        start = rng.integers(0, len(steps) - 20)
        for channel in channels:
            channel[start : start + rng.integers(6, 20)] = np.nan
    return channels


def _gauge(rng, pressure):
    """A dial on which a pressure from 0 to 1 is reached, red from 0.7 on."""
    x, y = grid(64)
    across, down = rng.uniform(0.45, 0.55, 2)
    u, v = x - across, y - down
    radius, turn = np.hypot(u, v), np.arctan2(u, -v) / 2.2  # −1 at the lower left, 1 at the lower right
    picture = np.full((64, 64, 3), rng.uniform(150, 200))
    picture = paint(picture, soft(0.4 - radius), (60, 60, 66))
    picture = paint(picture, soft(0.37 - radius), (244, 244, 238))
    scale = soft(0.33 - radius) * soft(radius - 0.27) * (abs(turn) < 1)
    reached = turn < 2 * pressure - 1
    picture = paint(picture, scale, (205, 208, 200))
    picture = paint(picture, scale * reached, (60, 150, 90))
    picture = paint(picture, scale * reached * (turn > 0.4), (214, 60, 50))
    angle = (2 * pressure - 1) * 2.2
    along, aside = u * np.sin(angle) - v * np.cos(angle), u * np.cos(angle) + v * np.sin(angle)
    picture = paint(picture, soft(0.022 - abs(aside)) * soft(along + 0.05) * soft(0.3 - along), (20, 20, 24))
    return finish(rng, paint(picture, soft(0.05 - radius), (20, 20, 24)))

"""Little posters drawn with NumPy: a thing in a colour before a scene, and pencil sketches of the thing.

S = height = width in pixels. Masks are (S, S) floats in 0 to 1, soft at their edges; pixels are (S, S, 3) floats
in 0 to 255 until they are encoded.
"""

import numpy as np

# In sRGB; far from one another, and from the scenes' own colours, also where the light is warm or the picture small.
COLOURS = {"red": (222, 38, 44), "yellow": (252, 214, 36), "white": (250, 250, 250)}


def poster(rng, scene, thing, colour, *, size=64):
    """A picture of a thing before a scene.

    Args:
        rng: a NumPy Generator, for place, size, light and noise.
        scene: "sea", "field" or "night".
        thing: "balloon", "kite", "ball" or "umbrella".
        colour: a key of `COLOURS`.
        size: int S.

    Returns:
        (S, S, 3) uint8 array.
    """
    x, y = grid(size)
    picture = SCENES[scene](rng, x, y)
    shape, lines = _place(rng, thing, x, y)
    tint = np.array(COLOURS[colour]) * rng.uniform(0.9, 1.0) + rng.normal(0, 5, 3)
    shade = 1 - 0.22 * np.clip(x - y + 0.3, 0, 1)[..., None]  # light falls from the upper left
    picture = paint(picture, grown(shape), (40, 36, 40))  # an outline, which sets white off from a pale sky
    picture = paint(picture, shape, tint * shade)
    return finish(rng, paint(picture, lines, (70, 60, 60)))


def sketch(rng, thing, *, size=64):
    """A pencil drawing of a thing on paper, which tells neither a scene nor a colour.

    Args:
        rng, thing, size: see `poster`.

    Returns:
        (S, S, 3) uint8 array.
    """
    x, y = grid(size)
    paper = np.full((size, size, 3), 235.0)
    shape, lines = _place(rng, thing, x, y)
    hatching = 0.5 + 0.5 * np.sin((x + y) * 75)
    paper = paint(paper, grown(shape), (60, 60, 60))
    paper = paint(paper, shape, np.stack([200 - 60 * hatching] * 3, axis=-1))
    return finish(rng, paint(paper, lines, (90, 90, 90)))


def grid(size):
    """x and y of every pixel's centre, in 0 to 1 from the upper left."""
    axis = (np.arange(size) + 0.5) / size
    return np.meshgrid(axis, axis)


def soft(distance):
    """A mask of where `distance` is positive, one pixel in a hundred wide at the edge."""
    return np.clip(distance * 100 + 0.5, 0, 1)


def paint(picture, mask, colour):
    return picture + mask[..., None] * (np.asarray(colour, "float64") - picture)


def finish(rng, picture):
    """Brightness, grain and whole numbers."""
    picture = picture * rng.uniform(0.93, 1.05) + rng.normal(0, 4, picture.shape)
    return np.clip(np.round(picture), 0, 255).astype("uint8")


def _between(top, bottom, share):
    return np.asarray(top, "float64") + share[..., None] * (np.asarray(bottom, "float64") - np.asarray(top, "float64"))


# --- scenes: (rng, x, y) → pixels


def _sea(rng, x, y):
    horizon = rng.uniform(0.28, 0.42)
    picture = _between((150, 205, 235), (205, 232, 242), y / horizon)
    picture = paint(picture, soft(y - horizon), (24, 98, 170))
    waves = np.sin(x * rng.uniform(18, 26) + 4 * np.sin(y * 9 + rng.uniform(0, 6)) + y * 60)
    return paint(picture, soft(y - horizon - 0.03) * soft(waves - 0.82) * 0.7, (130, 195, 225))


def _field(rng, x, y):
    hill = rng.uniform(0.3, 0.42) + 0.05 * np.sin(x * rng.uniform(3, 6) + rng.uniform(0, 6))
    picture = _between((170, 212, 240), (222, 236, 240), y / 0.45)
    picture = paint(picture, soft(y - hill), (88, 160, 58))
    furrows = np.sin((x - 0.5) / (y - hill + 0.2) * rng.uniform(9, 13))
    return paint(picture, soft(y - hill - 0.06) * soft(furrows - 0.5) * 0.5, (52, 122, 44))


def _night(rng, x, y):
    picture = _between((12, 14, 46), (36, 36, 84), y)
    for _ in range(14):
        star = rng.random(2)
        picture = paint(picture, soft(0.011 - np.hypot(x - star[0], y - 0.8 * star[1])), (235, 235, 210))
    moon = rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.2)
    crescent = soft(0.075 - np.hypot(x - moon[0], y - moon[1])) * soft(
        np.hypot(x - moon[0] - 0.035, y - moon[1] + 0.02) - 0.065
    )
    hills = 0.86 + 0.05 * np.sin(x * rng.uniform(5, 9) + rng.uniform(0, 6))
    return paint(paint(picture, crescent, (240, 236, 200)), soft(y - hills), (6, 8, 18))


SCENES = {"sea": _sea, "field": _field, "night": _night}


# --- things: (u, v) around the thing's middle, in its radii → distances, positive inside


def _balloon(u, v):
    body = 1 - np.hypot(u / 0.85, (v + 0.1) / 1.0)
    string = (0.07 - abs(u - 0.12 * np.sin(v * 5))) * ((v > 0.85) & (v < 2.0))
    return body, string


def _kite(u, v):
    body = np.where(v < -0.2, 1 - abs(u) / 0.95 - (-0.2 - v) / 0.9, 1 - abs(u) / 0.95 - (v + 0.2) / 1.3)
    tail = (0.08 - abs(u - 0.2 * np.sin((v - 1.1) * 6))) * ((v > 1.05) & (v < 2.1))
    return body * 0.7, tail


def _ball(u, v):
    radius = np.hypot(u, v)
    seam = (0.06 - abs(abs(u) - 0.25 - 0.3 * v**2)) * (radius < 0.92)
    return 0.95 - radius, seam


def _umbrella(u, v):
    dome = np.minimum(1.1 - np.hypot(u, v - 0.3), 0.32 + 0.08 * abs(np.sin(u * 5)) - v)
    stick = (0.08 - abs(u)) * ((v > 0.2) & (v < 1.5))
    return dome, stick


THINGS = {"balloon": _balloon, "kite": _kite, "ball": _ball, "umbrella": _umbrella}


def _place(rng, thing, x, y):
    """(mask of the body, mask of strings and sticks) of a thing of random size at a random place."""
    radius = rng.uniform(0.3, 0.38)
    across, down = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.52)
    body, lines = THINGS[thing]((x - across) / radius, (y - down) / radius)
    return soft(body * radius), soft(lines * radius * (lines > 0) - 0.001 * (lines <= 0) - 0.004)


def grown(mask):
    """A mask widened by a pixel in four directions."""
    padded = np.pad(mask, 1)
    return np.max([mask, padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]], axis=0)

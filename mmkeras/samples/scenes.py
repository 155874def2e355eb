"""Scenes of coloured shapes, drawn, told in sentences, and read back from a sentence.

A scene is one group of one to three equal shapes, or two groups, one left of or above the other.
"""

import re

import numpy as np

from mmkeras.evaluation.sentences import words
from mmkeras.samples.pictures import finish, grid, grown, paint, soft
from mmkeras.samples.writing import pick

# In sRGB; far from one another and from the paper.
COLOURS = {"red": (220, 40, 44), "yellow": (250, 212, 30), "green": (40, 160, 70), "blue": (40, 90, 220),
           "purple": (150, 60, 180), "black": (30, 30, 34)}  # fmt: skip
# What a shape may be called.
SHAPES = {"circle": ("circle", "disc"), "square": ("square",), "triangle": ("triangle",), "star": ("star",)}
RELATIONS = ("left of", "above")
_SHARES = {None: (0.3, 0.35, 0.35), 1: (1.0, 0.0, 0.0), 2: (0.0, 0.5, 0.5)}  # of no relation, and of these
_NUMBERS = {1: ("a", "one", "a single"), 2: ("two",), 3: ("three",)}
# {a} is the first group, {b} the second; {A} and {B} begin a sentence; "is" and "stands" agree with the group before.
_SENTENCES = {
    "": ["There {is_a} {a}.", "{A} {is_a} all there is.", "The picture shows {a}.", "You can see {a} and nothing else.",
         "This is a drawing of {a}.", "Someone drew {a}.", "{A} {is_a} drawn on pale paper."],
    "left of": ["{A} {is_a} to the left of {b}.", "{B} {is_b} to the right of {a}.", "There {is_a} {a} left of {b}.",
                "There {is_b} {b} right of {a}.", "On the left {is_a} {a}, and on the right {is_b} {b}.",
                "The picture shows {a} on the left and {b} on the right.",
                "You can see {b} on the right and {a} on the left."],
    "above": ["{A} {is_a} above {b}.", "{B} {is_b} below {a}.", "There {is_a} {a} above {b}.", "There {is_b} {b} under {a}.",
              "At the top {is_a} {a}, and at the bottom {is_b} {b}.", "The picture shows {a} at the top and {b} at the bottom.",
              "You can see {b} at the bottom and {a} at the top."],
}  # fmt: skip


def scene(rng, groups=None):
    """The content of a scene, see `caption_content`, drawn at random; of so many groups, or either."""
    relation = str(rng.choice(["", *RELATIONS], p=_SHARES[groups]))
    kinds = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    picked = rng.choice(len(kinds), size=2 if relation else 1, replace=False)  # two groups are never of one kind
    colours, shapes = zip(*(kinds[kind] for kind in picked), strict=True)
    return _content(colours, shapes, [str(rng.integers(1, 4)) for _ in picked], relation)


def draw(rng, content, size=64):
    """A picture of a scene on pale paper; places, sizes and light are drawn at random.

    Args:
        rng: a NumPy Generator.
        content: dict, see `caption_content`.
        size: int S.

    Returns:
        (S, S, 3) uint8 array.
    """
    picture = np.broadcast_to(np.array([232.0, 228, 220]) + rng.normal(0, 6, 3), (size, size, 3))
    x, y = grid(size)
    for number, (colour, shape, count) in enumerate(groups_of(content)):
        radius = rng.uniform(0.09, 0.11) if content["relation"] else rng.uniform(0.1, 0.17)
        mask = np.zeros((size, size))
        margin = radius + 0.5 / size
        for across, along in _places(rng, int(count), margin, relation=content["relation"], number=number):
            # Only the square around a shape is looked at, which is many times faster.
            near = tuple(slice(max(0, int((m - radius) * size)), int((m + radius) * size) + 2) for m in (along, across))
            distance = _DISTANCES[shape]((x[near] - across) / radius, (y[near] - along) / radius)
            mask[near] = np.maximum(mask[near], soft(distance * radius))
        picture = paint(picture, grown(mask), (60, 56, 60))
        picture = paint(picture, mask, np.array(COLOURS[colour]) + rng.normal(0, 5, 3))
    return finish(rng, picture)


def groups_of(content):
    """[(colour, shape, count), …] of a scene, all strings."""
    return list(zip(*(content[name].split("|") for name in ("colours", "shapes", "counts")), strict=True))


def _places(rng, count, margin, *, relation, number):
    """(x, y) of the middles of a group's shapes, each in a cell of its own.

    A group's place in the picture has two by two cells. One of two groups has half of the picture, and reaches over
    its middle in the long direction, so that nothing that is left of another group could be called above it.

    Args:
        rng: a NumPy Generator. count: int. margin: float, how far a middle stays from the edge of its cell.
        relation: str. number: int, 0 for the first group, 1 for the second.
    """
    if not relation:
        cells = rng.choice(4, size=count, replace=False)
        return [np.array([cell % 2, cell // 2]) / 2 + rng.uniform(margin, 0.5 - margin, 2) for cell in cells]
    if count == 1:
        across, along = rng.uniform(margin, 0.5 - margin), rng.uniform(0.4, 0.6)
        middles = [(across, along)]
    else:
        # One cell of each of the two rows first, then any.
        cells = [rng.integers(2), 2 + rng.integers(2)]
        cells += list(rng.permutation([cell for cell in range(4) if cell not in cells]))[: count - 2]
        room = 0.25 - 2 * margin, 0.5 - 2 * margin
        middles = [
            (cell % 2 * 0.25 + margin + rng.random() * room[0], cell // 2 * 0.5 + margin + rng.random() * room[1])
            for cell in cells
        ]
    middles = [(across + number * 0.5, along) for across, along in middles]
    return middles if relation == "left of" else [(along, across) for across, along in middles]


def tell(rng, content, sentences=5):
    """Different sentences, each of which tells all of a scene.

    Args:
        rng: a NumPy Generator.
        content: dict, see `caption_content`.
        sentences: int, at most 7.

    Returns:
        list of str.
    """
    return [
        _tell(rng, content, str(form)) for form in rng.choice(_SENTENCES[content["relation"]], sentences, replace=False)
    ]


def _tell(rng, content, form):
    phrases = {}
    for letter, (colour, shape, count) in zip("ab", groups_of(content), strict=False):
        number, name = pick(rng, _NUMBERS[int(count)]), pick(rng, SHAPES[shape])
        phrase = f"{number} {colour} {name}{'s' if count != '1' else ''}"
        phrases[letter], phrases[letter.upper()] = phrase, phrase[0].upper() + phrase[1:]
        phrases[f"is_{letter}"] = "is" if count == "1" else "are"
    return form.format(**phrases)


def caption_content(text):
    """What a sentence about the scenes of `captions` says, so that captions a model writes can be judged exactly.

    Read are all sentences of that family, also with words in another order. Upper case and punctuation do not matter.

    Args:
        text: str.

    Returns:
        dict of strings, as in the columns of `captions`: "colours", "shapes", "counts", each "first|second" (the group
        at the left or top is the first), and "relation": "left of", "above", or "" for one group. None for a sentence
        that says nothing of this kind, says it in part, or contradicts itself ("one red circles").

    Example:
        >>> import mmkeras as mm
        >>> mm.samples.caption_content("Two red discs are below a star that is black.") is None
        True
        >>> mm.samples.caption_content("Two red discs are below a black star.")
        {'colours': 'black|red', 'shapes': 'star|circle', 'counts': '1|2', 'relation': 'above'}
    """
    groups = []

    def keep(match):
        number, colour, name, plural = match.groups()
        count = next(value for value, names in _NUMBERS.items() if number in names)
        if (count > 1) != bool(plural):
            return "?"  # which no rest of a sentence may hold
        groups.append((colour, next(shape for shape, names in SHAPES.items() if name in names), str(count)))
        return "#"

    rest = _GROUP.sub(keep, " ".join(words(text))).split()
    if "?" in rest or _CONTENT_WORDS & set(rest) or len(groups) not in (1, 2):
        return None
    places = [_PLACE_WORDS[word] for word in rest if word in _PLACE_WORDS]
    if len(groups) == 1:
        return _content(*([value] for value in groups[0]), "") if not places else None
    relation, swapped = _relation(rest, places)
    if relation is None:
        return None
    return _content(*zip(*(reversed(groups) if swapped else groups), strict=True), relation)


def _relation(rest, places):
    """(relation, whether the group told first is the second), or (None, None).

    Args:
        rest: the sentence's words, "#" in place of a group. places: its words of place as (relation, 0 or 1).
    """
    first, second = (place for place, word in enumerate(rest) if word == "#")
    if len(places) == 1 and any(word in _PLACE_WORDS for word in rest[first:second]):
        # "# left of #": of the first group.
        relation, side = places[0]
        return relation, side == 1
    if len(places) == 2 and places[0][0] == places[1][0] and places[0][1] != places[1][1]:
        # "# on the left, # on the right", or "on the left #, on the right #": one word of place for each group.
        at = [place for place, word in enumerate(rest) if word in _PLACE_WORDS]
        if at[0] < first < at[1] < second or first < at[0] < second < at[1]:
            return places[0][0], places[0][1] == 1
    return None, None


def _content(colours, shapes, counts, relation):
    return {
        "colours": "|".join(colours),
        "shapes": "|".join(shapes),
        "counts": "|".join(counts),
        "relation": relation,
    }


_PLACE_WORDS = {
    "left": ("left of", 0), "right": ("left of", 1),
    "above": ("above", 0), "top": ("above", 0), "over": ("above", 0),
    "below": ("above", 1), "under": ("above", 1), "bottom": ("above", 1), "beneath": ("above", 1),
}  # fmt: skip
_NAMES = {name for names in SHAPES.values() for name in names}
_GROUP = re.compile(
    rf"\b({'|'.join(sorted((n for names in _NUMBERS.values() for n in names), key=len, reverse=True))}) "
    rf"({'|'.join(COLOURS)}) ({'|'.join(_NAMES)})(s?)\b"
)
# A sentence that has more of these than its groups take tells something else. "a" may stand elsewhere: "a drawing".
_CONTENT_WORDS = {*COLOURS, *_NAMES, *(f"{name}s" for name in _NAMES), "one", "single", "two", "three"}


# --- shapes: (u, v) around the middle, in radii → distances, positive inside


def _circle(u, v):
    return 0.92 - np.hypot(u, v)


def _square(u, v):
    return 0.8 - np.maximum(abs(u), abs(v))


def _triangle(u, v):
    # Corners at (0, -1) and (±0.95, 0.75).
    return np.minimum(0.75 - v, (v + 1 - abs(u) * 1.75 / 0.95) * 0.477)


def _star(u, v):
    radius = np.hypot(u, v)
    angle = abs((np.arctan2(u, -v) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)  # from the nearest point of the star
    across, along = radius * np.sin(angle), radius * np.cos(angle)
    # The edge from the point (0, 1) to the notch between two points.
    notch = 0.45 * np.array([np.sin(np.pi / 5), np.cos(np.pi / 5)])
    edge = notch - (0, 1)
    return (across * edge[1] - (along - 1) * edge[0]) / np.hypot(*edge)


_DISTANCES = {"circle": _circle, "square": _square, "triangle": _triangle, "star": _star}

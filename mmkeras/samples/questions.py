"""Made-up scenes of coloured shapes, with questions that only a look at the picture answers."""

from mmkeras.samples import scenes
from mmkeras.samples.drawings import check_size
from mmkeras.samples.writing import draw_rows, pick, write_picture

_COUNTS = ("How many {things} are there?", "How many {things} do you see?", "What is the number of {things}?")
_PRESENCE = ("Is there a {thing}?", "Do you see a {thing}?", "Does the picture show a {thing}?")
_COLOUR = ("What colour {is_are} the {name}?", "In which colour {is_are} the {name} drawn?")
_SHAPE = ("What shape is {colour}?", "Which shape is drawn in {colour}?")
_RELATION = ("{is_are} {first} {place} {second}?", "{is_are} {first} drawn {place} {second}?")
_PLACE = {"colour": ("What colour is {where}?", "Which colour do you see {where}?"),
          "shape": ("What shape is {where}?", "Which shape do you see {where}?")}  # fmt: skip
# relation → where its first group is, and its second
_SIDES = {"left of": ("on the left", "on the right"), "above": ("at the top", "at the bottom")}
# relation → what may be said of the first group, and of the second
_PLACES = {
    "left of": (("left of", "to the left of"), ("right of", "to the right of")),
    "above": (("above", "over"), ("below", "under")),
}


def questions(n=600, seed=0, directory=None, size=64):
    """Made-up scenes, drawn, with two to six questions each: "Are the red circles left of the blue star?"

    The scenes are those of `captions`, of one group of equal shapes or of two. Every scene is asked how many shapes of a kind there are, whether
    there is a shape of a kind, what colour a shape is, what shape a colour has (each where there is only one answer), and, of two groups,
    whether one is left of, right of, above or below the other, and what colour or shape is on one side. Answers are drawn before the words
    of a question are, and colours and shapes are as frequent under each answer: whoever reads questions without pictures answers yes or no
    by chance, and the others as often as there are answers.

    A picture is written to `directory`/question_{seed}_{number}.jpg or .png, beside its place and then renamed; one that is
    there already and would not change is left alone.

    Args:
        n: int, how many scenes; a larger sample begins with the smaller one.
        seed: int, at least 0; the same seed gives the same rows and files.
        directory: the folder for the pictures, about half JPEG and half PNG; made if absent. It must be given, so that
            nothing is written where nobody asked.
        size: int, at least 32, height and width of the pictures in pixels.

    Returns:
        DataFrame with the questions of each scene, one after the other, and the columns image (a path), question, answer ("0" to "3",
        "yes", "no", a colour or a shape) and kind ("count", "presence", "colour", "shape", "relation" or "place").

    Raises:
        ValueError: n below 1, seed below 0, size below 32, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    The balance is that of Goyal et al., 2017 (https://arxiv.org/abs/1612.00837): to every question, other pictures have other answers.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df = mm.samples.questions(2, seed=0, directory=folder)
        >>> df.columns.tolist()
        ['image', 'question', 'answer', 'kind']
    """
    import pandas as pd

    check_size(size)

    def scene(rng, seed, row, folder):
        content = scenes.scene(rng)
        path = folder / f"question_{seed}_{row:06d}.{pick(rng, ['jpg', 'png'])}"
        image = write_picture(path, scenes.draw(rng, content, size))
        return [{"image": image, **question} for question in ask(rng, content)]

    return pd.DataFrame([row for rows in draw_rows(scene, n, seed, directory) for row in rows])


def ask(rng, content):
    """Questions about a scene, one of each kind that it has an answer to.

    Args:
        rng: a NumPy Generator.
        content: dict, see `caption_content`.

    Returns:
        list of dicts of question, answer and kind.
    """
    groups = scenes.groups_of(content)
    shown = {(colour, shape): count for colour, shape, count in groups}
    absent = [
        (colour, shape)
        for colour in scenes.COLOURS
        for shape in scenes.SHAPES
        if (colour, shape) not in shown and any(colour == c or shape == s for c, s in shown)
    ]

    def thing_of(there, plural=False):
        """Colour and shape in words, of a kind that is in the picture or of one that has its colour or its shape."""
        kinds = list(shown) if there else absent
        colour, shape = kinds[rng.integers(len(kinds))]
        return f"{colour} {pick(rng, scenes.SHAPES[shape])}{'s' * plural}", shown.get((colour, shape), "0")

    things, count = thing_of(rng.random() < 0.75, plural=True)
    asked = [_filled(rng, "count", _COUNTS, count, things=things)]
    answer = pick(rng, ["yes", "no"])
    asked.append(_filled(rng, "presence", _PRESENCE, answer, thing=thing_of(answer == "yes")[0]))
    colour, shape, count = groups[rng.integers(len(groups))]
    if sum(shape == other for _, other in shown) == 1:
        name = pick(rng, scenes.SHAPES[shape])
        words = {"name": f"{name}s", "is_are": "are"} if count != "1" else {"name": name, "is_are": "is"}
        asked.append(_filled(rng, "colour", _COLOUR, colour, **words))
    if sum(colour == other for other, _ in shown) == 1:
        asked.append(_filled(rng, "shape", _SHAPE, shape, colour=colour))
    if content["relation"]:
        asked.append(_relation(rng, groups, content["relation"]))
        asked.append(_place(rng, groups, content["relation"]))
    return asked


def _place(rng, groups, relation):
    """What colour or what shape is on one side."""
    side, what = int(rng.integers(2)), int(rng.integers(2))
    return _filled(rng, "place", list(_PLACE.values())[what], groups[side][what], where=_SIDES[relation][side])


def _relation(rng, groups, relation):
    """Whether one group stands where it does to the other, or where the other does to it."""
    first, answer = int(rng.integers(2)), pick(rng, ["yes", "no"])
    place = pick(rng, _PLACES[relation][first if answer == "yes" else 1 - first])
    names = [
        f"the {colour} {pick(rng, scenes.SHAPES[shape])}{'s' if count != '1' else ''}"
        for colour, shape, count in groups
    ]
    words = {"first": names[first], "second": names[1 - first], "place": place}
    return _filled(rng, "relation", _RELATION, answer, is_are="Is" if groups[first][2] == "1" else "Are", **words)


def _filled(rng, kind, forms, answer, **words):
    return {"question": pick(rng, forms).format(**words), "answer": answer, "kind": kind}

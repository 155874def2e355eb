"""Made-up pairs of posts, each a text and a picture: does the first, with its picture, entail the second?"""

from mmkeras.samples import pictures
from mmkeras.samples.writing import draw_rows, pick, write_picture

LABELS = ("Contradictory", "Implies", "NoEntailment")
# What a text may call a scene.
_PLACES = {
    "sea": ["over the sea", "above the waves"],
    "field": ["over the meadow", "above the green field"],
    "night": ["under the moon", "below the stars"],
}
_CLAIMS = [
    "A {colour} {thing} {place}!", "Look at that {colour} {thing} {place}.", "Somebody lost a {colour} {thing} {place}.",
    "My sister saw a {colour} {thing} {place} too.", "{place}: a {colour} {thing}.",
]  # fmt: skip
_CAPTIONS = ["Guess what we saw", "No words for this", "Picture of the day", "My best shot so far", "This made my week"]
_ASIDES = ["What a day.", "So I drew it.", "Can anyone confirm?", "Nobody believes me."]
_WRONG_LABEL, _NO_TEXT, _NO_IMAGE = 0.015, 0.01, 0.01


def entailment(n=600, seed=0, directory=None):
    """Made-up pairs of posts, in the form of the public tweet data, with pictures drawn for them.

    The first picture shows a thing in a colour (a red kite) before a scene (the sea); the second text claims a thing
    in a colour at a place. "Implies": the place and the colour are those of the picture. "Contradictory": the place is,
    the colour is not. "NoEntailment": the text tells of another place. The first text and the second picture (a
    pencil sketch of the thing) take no side. Places and colours are drawn such that the texts of every label, looked at
    without pictures, are distributed alike, and so are the pictures of every label without texts: only both together
    tell. 1.5% of the rows get a label drawn at random, 1% of the cells of each text and image are empty.

    A picture is written to `directory`/{id}.jpg or .png, beside its place and then renamed; one that is there already
    and would not change is left alone. Ids differ between seeds, so that samples can share a folder.

    Args:
        n: int, how many rows.
        seed: int, at least 0; the same seed gives the same rows and files.
        directory: the folder for the pictures, 64×64 pixels, about half JPEG and half PNG; made if absent. It must be
            given, so that nothing is written where nobody asked.

    Returns:
        DataFrame with the columns id_1, text_1, image_1 (a path, or '' for none), id_2, text_2, image_2, label.

    Raises:
        ValueError: n below 1, seed below 0, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df = mm.samples.entailment(2, seed=0, directory=folder)
        >>> df.columns.tolist()
        ['id_1', 'text_1', 'image_1', 'id_2', 'text_2', 'image_2', 'label']
    """
    import pandas as pd

    return pd.DataFrame(draw_rows(_pair, n, seed, directory))


def _pair(rng, seed, row, folder):
    label, thing = pick(rng, LABELS), pick(rng, pictures.THINGS)
    scene, colour = pick(rng, _PLACES), pick(rng, pictures.COLOURS)
    # Another place or colour is each as likely, so that the claims, too, are as likely under every label.
    place = pick(rng, [p for p in _PLACES if p != scene]) if label == "NoEntailment" else scene
    hue = pick(rng, pictures.COLOURS) if label == "NoEntailment" else colour
    if label == "Contradictory":
        hue = pick(rng, [c for c in pictures.COLOURS if c != colour])
    claim = pick(rng, _CLAIMS).format(colour=hue, thing=thing, place=pick(rng, _PLACES[place]))
    texts = [f"{pick(rng, _CAPTIONS)}.", f"{claim[0].upper()}{claim[1:]} {pick(rng, _ASIDES)}"]
    images = [pictures.poster(rng, scene, thing, colour), pictures.sketch(rng, thing)]
    pair = {}
    for number in (0, 1):
        name = str((seed + 1) * 10**8 + 2 * row + number)
        pair[f"id_{number + 1}"] = name
        pair[f"text_{number + 1}"] = "" if rng.random() < _NO_TEXT else texts[number]
        kind = pick(rng, ["jpg", "png"])
        path = "" if rng.random() < _NO_IMAGE else write_picture(folder / f"{name}.{kind}", images[number])
        pair[f"image_{number + 1}"] = path
    pair["label"] = pick(rng, LABELS) if rng.random() < _WRONG_LABEL else label
    return pair

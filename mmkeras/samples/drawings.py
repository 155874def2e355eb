"""Made-up scenes of coloured shapes with five captions each."""

from mmkeras.samples import scenes
from mmkeras.samples.writing import draw_rows, pick, write_picture


def captions(n=600, seed=0, directory=None, size=64, groups=None):
    """Made-up scenes, drawn, with five captions each: "Two red circles are to the left of a blue star."

    A scene is one group of one to three equal shapes on pale paper, or two groups, one left of or above the other. Every
    caption of a scene tells all of it in other words, so that a caption a model writes is right or wrong:
    `caption_content` reads it.

    A picture is written to `directory`/scene_{seed}_{number}.jpg or .png, beside its place and then renamed; one that is
    there already and would not change is left alone.

    Args:
        n: int, how many scenes.
        seed: int, at least 0; the same seed gives the same rows and files.
        directory: the folder for the pictures, about half JPEG and half PNG; made if absent. It must be given, so that
            nothing is written where nobody asked.
        size: int, at least 32, height and width of the pictures in pixels.
        groups: 1 or 2, how many groups of shapes each scene has; None for some of either.

    Returns:
        DataFrame with five rows for each scene, one after the other, and the columns image (a path), caption, and the
        content: colours, shapes, counts ("two|values" for two groups, the one at the left or top first), relation
        ("left of", "above", or "" for one group).

    Raises:
        ValueError: n below 1, seed below 0, size below 32, other groups, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    Example:
        >>> import tempfile
        >>> import mmkeras as mm
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     df = mm.samples.captions(2, seed=0, directory=folder)
        >>> len(df), df.columns.tolist()
        (10, ['image', 'caption', 'colours', 'shapes', 'counts', 'relation'])
        >>> mm.samples.caption_content(df["caption"][0]) == df.loc[0, "colours":].to_dict()
        True
    """
    import pandas as pd

    check_size(size)
    if groups not in (None, 1, 2):
        raise ValueError(f"`groups` must be 1, 2, or None for either. Received: {groups!r}.")

    def scene(rng, seed, row, folder):
        content = scenes.scene(rng, groups)
        kind = pick(rng, ["jpg", "png"])
        path = write_picture(folder / f"scene_{seed}_{row:06d}.{kind}", scenes.draw(rng, content, size))
        return [{"image": path, "caption": caption, **content} for caption in scenes.tell(rng, content)]

    return pd.DataFrame([row for rows in draw_rows(scene, n, seed, directory) for row in rows])


def check_size(size):
    """Raise a ValueError for the side of a picture on which shapes look alike."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 32:
        raise ValueError(f"`size` must be an int of at least 32. Received: {size!r}. Smaller shapes look alike.")

"""What samples share: checks, choices, rows drawn each by its own generator, and files that are written once."""

import concurrent.futures
import os
import pathlib

import numpy as np

from mmkeras.persistence import write_changed


def check_counts(n, seed=0):
    """Raise ValueError for n below 1 or seed below 0."""
    for name, value, least in (("n", n, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            rule = "a positive int" if least else "an int of at least 0"
            raise ValueError(f"`{name}` must be {rule}. Received: {value!r}. Use for example {600 * least}.")


def pick(rng, options):
    """One of some strings, drawn at random."""
    return str(rng.choice(list(options)))


def folder_at(directory):
    """The path of a folder that is there or can be made.

    Raises:
        NotADirectoryError: there is a file of this name.
    """
    folder = pathlib.Path(directory).expanduser()
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"`directory` must be a folder, or the name of a new one. Received: {str(folder)!r}, a file. Choose another."
        )
    return folder


def draw_rows(draw, n, seed, directory):
    """Call `draw(rng, seed, row, folder)` for each of n rows.

    Every row has a generator of its own: rows may be drawn in any order, and a larger sample begins with the smaller one.

    Args:
        draw: the function. n, seed, directory: what the caller of a sample gave, checked here.

    Returns:
        list of n results. The folder is there before the first row.

    Raises:
        ValueError: n below 1, seed below 0, or no directory.
        NotADirectoryError, OSError: `directory` is a file, or cannot be made.
    """
    check_counts(n, seed)
    if directory is None:
        raise ValueError("`directory` must name a folder for the pictures. Received: None. Use for example 'pictures'.")
    folder = folder_at(directory)
    folder.mkdir(parents=True, exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda row: draw(np.random.default_rng([seed, row]), seed, row, folder), range(n)))


def write_picture(path, pixels):
    """Write (S, S, 3) uint8 pixels as .png or .jpg; a file that is there and would not change is left alone.

    Returns:
        the path as str.
    """
    import tensorflow as tf

    encode = tf.io.encode_png if path.suffix == ".png" else tf.io.encode_jpeg
    return str(write_changed(path, encode(pixels).numpy()))

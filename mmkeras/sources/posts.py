"""Pairs of posts: the public multimodal entailment data."""

import pathlib
import re
import urllib.parse
import warnings

from mmkeras.data.telling import shortened
from mmkeras.sources.reading import HELP, inside, read_csv, readable_folder

ENTAILMENT_COLUMNS = ["id_1", "text_1", "image_1", "id_2", "text_2", "image_2", "label"]
ENTAILMENT_LABELS = ("Contradictory", "Implies", "NoEntailment")
# The release that the tutorial uses: 1,400 pairs, and an archive of about 344 MB.
ENTAILMENT_CSV = "https://github.com/sayakpaul/Multimodal-Entailment-Baseline/raw/main/csvs/tweets.csv"
ENTAILMENT_IMAGES = (
    "https://github.com/sayakpaul/Multimodal-Entailment-Baseline/releases/download/v1.0.0/tweet_images.tar.gz"
)


def entailment(csv, images_dir=None):
    """Read pairs of posts: the tweets of the public multimodal entailment data, or a CSV of the same columns.

    In the file image_1 and image_2 are URLs. The images are files of one folder, {id_1}.jpg, {id_2}.png …, each with
    the extension of its URL. A row whose file is not there is kept, and the image counts as missing.

    Args:
        csv: the CSV file, see `download_entailment`.
        images_dir: the folder of the images; None leaves all images out.

    Returns:
        DataFrame with a fresh index and the columns id_1, text_1, image_1, id_2, text_2, image_2, label, all strings:
        ids of digits, images as paths ('' for no image), labels as in `ENTAILMENT_LABELS`.

    Raises:
        FileNotFoundError: no such file, or no such folder.
        ValueError: a file without these columns or that is no CSV; an id, URL or label that is none; an image that
            lies outside `images_dir`.

    Example:
        >>> import mmkeras as mm
        >>> mm.sources.entailment("nowhere.csv")
        Traceback (most recent call last):
        FileNotFoundError: There is no file 'nowhere.csv'. data/README.md says how to get the public data.
    """
    import pandas as pd

    df = read_csv(csv, ENTAILMENT_COLUMNS, "An entailment CSV", "Give tweets.csv or a CSV of its form.")
    df = df[ENTAILMENT_COLUMNS].fillna("").astype(object).reset_index(drop=True)
    for column in ("id_1", "id_2"):
        # Ids become names of files, so nothing but digits may pass: no separators, no dots.
        _check_cells(df, column, lambda cell: re.fullmatch("[0-9]+", cell), "an id of the digits 0 to 9")
    _check_cells(df, "label", ENTAILMENT_LABELS.__contains__, f"one of {list(ENTAILMENT_LABELS)}")
    if images_dir is None:
        df["image_1"] = df["image_2"] = ""
        return df
    folder = readable_folder(images_dir)
    named, absent = 0, []
    for number in (1, 2):
        cells = []
        for row, (name, url) in enumerate(zip(df[f"id_{number}"], df[f"image_{number}"], strict=True)):
            path = _image_path(folder, name, url.strip(), f"row {row} of 'image_{number}'")
            there = path is not None and path.is_file()
            named += path is not None
            absent += [path] if path is not None and not there else []
            cells.append(str(path) if there else "")
        df[f"image_{number}"] = pd.Series(cells, dtype=object)
    if absent:
        warnings.warn(
            f"{len(absent)} of {named} images are not there and count as missing, for example {shortened(str(absent[0]))}. {HELP}",
            stacklevel=2,
        )
    return df


def download_entailment(directory):
    """Download the public multimodal entailment data: the CSV and an archive of images, which is unpacked.

    What is in `directory` already is not downloaded again.

    Args:
        directory: the folder to keep them in; made if absent.

    Returns:
        (path of the CSV, path of the folder of images), both str, as `entailment` takes them.

    Raises:
        OSError: the folder cannot be written, or the files cannot be had.

    Example:
        >>> import mmkeras as mm
        >>> csv, images = mm.sources.download_entailment("data/entailment")  # doctest: +SKIP
        >>> df = mm.sources.entailment(csv, images)  # doctest: +SKIP
    """
    import keras

    directory = pathlib.Path(directory).expanduser().absolute()
    # Made here, because Keras takes a folder in /tmp when this one is not there.
    directory.mkdir(parents=True, exist_ok=True)
    place = {"cache_dir": str(directory), "cache_subdir": ""}
    try:
        csv = keras.utils.get_file("tweets.csv", ENTAILMENT_CSV, **place)
        images = pathlib.Path(keras.utils.get_file("tweet_images", ENTAILMENT_IMAGES, extract=True, **place))
    except Exception as error:  # Keras raises a bare Exception for a failed download
        raise OSError(
            f"The public data must be within reach. Received: {error}. Check the connection; if the archive in "
            f"{str(directory)!r} is cut short, delete it."
        ) from error
    # The archive holds one folder of the images.
    inner = images / "tweet_images"
    return str(csv), str(inner if inner.is_dir() else images)


def _check_cells(df, column, good, rule):
    wrong = [row for row, cell in enumerate(df[column]) if not good(cell)]
    if wrong:
        raise ValueError(
            f"A cell of {column!r} must be {rule}. Received: {df[column][wrong[0]]!r} in row {wrong[0]}. "
            f"{len(wrong)} of {len(df)} rows are at fault. Correct or drop them."
        )


def _image_path(folder, name, url, where):
    """folder/{name}{extension of the URL's path}, or None for no URL."""
    if not url:
        return None
    # Twitter's URLs may name a size after the extension: x.jpg:large.
    try:
        path = urllib.parse.urlsplit(url).path
    except ValueError:  # "[" that opens no address
        path = ""
    extension = re.search(r"\.[A-Za-z0-9]{1,5}(?=(:[a-z0-9]+)?$)", path)
    if extension is None:
        raise ValueError(
            f"An image must be a URL that ends in an extension, such as .jpg. Received: {shortened(url)} in {where}. Correct or empty the cell."
        )
    return inside(folder, f"{name}{extension[0]}", where)

"""Captioned images: CSV files, COCO's JSON, Flickr8k's token file, and COCO from TensorFlow Datasets.

Every reader gives the columns image (a path) and caption, a row for each caption. Images come in the order in which the
file (of the split, if there is one) first names them; the captions of one image stand together, in the order of the file.
"""

import json
import re
import warnings

from mmkeras.data.telling import shortened
from mmkeras.persistence import write_changed
from mmkeras.samples.writing import folder_at
from mmkeras.sources.reading import HELP, inside, read_csv, readable_file, readable_folder


def captions(csv, images_dir):
    """Read captions from a CSV with the columns image (a file name) and caption, as Kaggle has Flickr8k.

    Left out, counted and told in a warning: captions of images that are not there, captions without text or image, rows of more
    cells than the header.

    Args:
        csv: the CSV file.
        images_dir: the folder of the images.

    Returns:
        DataFrame with a fresh index and the columns image (a path) and caption.

    Raises:
        FileNotFoundError: no such file or folder, or none of the images is there.
        ValueError: a file without these columns or that is no CSV; an image that lies outside `images_dir`.

    Example:
        >>> import mmkeras as mm
        >>> mm.sources.captions("nowhere.csv", "images")
        Traceback (most recent call last):
        FileNotFoundError: There is no file 'nowhere.csv'. data/README.md says how to get the public data.
    """
    fix = "Give one with a header and a row for each caption."
    df = read_csv(csv, ["image", "caption"], "A CSV of captions", fix, mend=True)
    folder = readable_folder(images_dir)
    return _frame(zip(df["image"].fillna(""), df["caption"].fillna(""), df.index, strict=True), folder)


def flickr8k(token_file, images_dir, split_file=None):
    """Read Flickr8k as it is published (`Flickr8k.token.txt`); Flickr30k's token file has the same form.

    Every line is `name.jpg#0`, a tab, and a caption. What is left out is counted and told in a warning: captions of
    images that are not there (the published file names one such image), empty captions, images of the split without
    captions.

    Args:
        token_file: the file of captions.
        images_dir: the folder of the images.
        split_file: a file of image names, one a line, such as `Flickr_8k.trainImages.txt`; None takes all.

    Returns:
        DataFrame with a fresh index and the columns image (a path) and caption.

    Raises:
        FileNotFoundError: no such file or folder, or none of the images is there.
        ValueError: a line of another form; an image that lies outside `images_dir`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.sources.flickr8k(
        ...     "Flickr8k.token.txt", "Flicker8k_Dataset", "Flickr_8k.trainImages.txt"
        ... )  # doctest: +SKIP
    """
    pairs = []
    for number, line in enumerate(_text(token_file).split("\n"), start=1):
        match = re.fullmatch(r"([^\t]+)#\d+\t(.*)", line)
        if match:
            pairs.append((*match.groups(), number))
        elif line.strip():
            raise ValueError(
                f"A line of a token file must be 'name.jpg#0', a tab, and a caption. Received: {line[:80]!r} in line "
                f"{number} of {str(token_file)!r}. Give Flickr8k.token.txt."
            )
    folder, names = readable_folder(images_dir), None
    if split_file is not None:
        lines = map(str.strip, _text(split_file).split("\n"))
        names = list(dict.fromkeys(line for line in lines if line))
        wanted = set(names)
        pairs = [pair for pair in pairs if pair[0] in wanted]
    return _frame(pairs, folder, names)


def coco_captions(json_path, images_dir):
    """Read COCO's captions (`captions_train2014.json` and the like), or data in the same form.

    What is left out is counted and told in a warning: captions of images that are not there, empty captions, images
    without captions.

    Args:
        json_path: the JSON file: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}.
        images_dir: the folder of the images, such as `train2014`.

    Returns:
        DataFrame with a fresh index and the columns image (a path) and caption.

    Raises:
        FileNotFoundError: no such file or folder, or none of the images is there.
        ValueError: no JSON of this form; a caption of an image that is not listed; an image that lies outside
            `images_dir`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.sources.coco_captions("annotations/captions_val2014.json", "val2014")  # doctest: +SKIP
    """
    rule = 'COCO captions are JSON: {"images": [{"id", "file_name"}], "annotations": [{"image_id", "caption"}]}.'
    fix = "Give a file such as captions_train2014.json; those named instances_… or image_info_… have no captions."
    content = _text(json_path)
    try:
        content = json.loads(content)
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        told = [(note["image_id"], str(note["caption"])) for note in content["annotations"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{rule} Received: {str(json_path)!r}: {type(error).__name__}: {error}. {fix}") from error
    unknown = [number for number, _ in told if number not in names]
    if unknown:
        raise ValueError(
            f"A caption's image must be among the images. Received: image_id {unknown[0]!r} in {str(json_path)!r}. "
            f"{len(unknown)} of {len(told)} captions are at fault. Correct or drop them."
        )
    pairs = ((names[image], caption, number) for number, (image, caption) in enumerate(told))
    return _frame(pairs, readable_folder(images_dir), list(names.values()), place="annotation")


def tfds_captions(split, directory, data_dir=None):
    """Read `coco_captions` of TensorFlow Datasets, the tutorial's source, and write its images as files once.

    The splits are those of Karpathy and Li (2015): "train" (82,783 images), "val" and "test" (5,000 each), "restval";
    shares such as "train[:10%]" work too. The first use downloads COCO 2014, about 38 GB. JPEG files are written as they
    were, never decoded; one that is there already and would not change is left alone.

    Args:
        split: str.
        directory: the folder to write the images to; made if absent.
        data_dir: where TensorFlow Datasets keeps its data; None for its own default.

    Returns:
        DataFrame with a fresh index and the columns image (a path) and caption.

    Raises:
        ImportError: the package tensorflow-datasets is not installed.
        ValueError: an image whose name leads out of `directory`.
        NotADirectoryError, OSError: `directory` is a file, or cannot be written.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.sources.tfds_captions("train[:1000]", "data/coco")  # doctest: +SKIP
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "`tfds_captions` needs the package tensorflow-datasets, which mmkeras does not install. "
            "Run `pip install tensorflow-datasets`, or read COCO's own files with `coco_captions`."
        ) from error
    folder = folder_at(directory)
    records = tfds.load(
        "coco_captions",
        split=split,
        data_dir=data_dir,
        shuffle_files=False,  # the order of rows must not change
        decoders={"image": tfds.decode.SkipDecoding()},
    )
    pairs, names = [], []
    for number, record in enumerate(tfds.as_numpy(records)):
        name = record["image/filename"].decode("utf-8")
        write_changed(inside(folder, name, f"record {number}", "directory"), record["image"])
        names.append(name)
        pairs += [(name, text.decode("utf-8"), number) for text in record["captions"]["text"]]
    return _frame(pairs, folder, names, place="record")


def _text(path):
    path = readable_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Captions must be text in UTF-8. Received: {str(path)!r}: {error}. Save it in UTF-8, or give another file."
        ) from error


def _frame(pairs, folder, names=None, place="line"):
    """The DataFrame of (image name, caption) pairs whose images are in the folder.

    Args:
        pairs: iterable of (str, str, int), the last where it stands. folder: pathlib.Path.
        names: list of str, the images that should have captions, in their order; None for those of the pairs.
        place: what the ints of the pairs count.
    """
    import pandas as pd

    known = {name: [] for name in names or ()}
    blank = []
    for name, caption, number in pairs:
        blank += [] if name and caption.strip() else [f"{place} {number}"]
        if name:
            known.setdefault(name, []).extend([caption.strip()] if caption.strip() else [])
    told = {name: texts for name, texts in known.items() if texts}
    paths = {name: inside(folder, name, f"image {number}") for number, name in enumerate(told)}
    absent = {name: path for name, path in paths.items() if not path.is_file()}
    if told and len(absent) == len(told):
        raise FileNotFoundError(
            f"The images must be in their folder. Received: {str(folder)!r}, which has none of {len(absent)}, for example "
            f"{next(iter(absent))!r}. Give the folder that holds them. {HELP}"
        )
    _warn(blank, [name for name in known if name not in told], len(told), [*map(str, absent.values())])
    rows = [(str(paths[name]), text) for name, texts in told.items() if name not in absent for text in texts]
    return pd.DataFrame(rows, columns=["image", "caption"], dtype=object)


def _warn(blank, untold, told, absent):
    """Tell what is left out, if anything."""
    counts = [f"{len(blank)} captions without text or image, for example in {blank[0]}"] if blank else []
    if untold:
        counts.append(f"{len(untold)} images without a caption, for example {shortened(untold[0])}")
    if absent:
        counts.append(
            f"{len(absent)} of {told} images that are not there, for example {shortened(absent[0])}, with their captions"
        )
    if counts:
        warnings.warn(f"Left out: {'; '.join(counts)}. {HELP}", stacklevel=4)

"""What the readers share: tables of strings, and paths that stay inside their folder."""

import pathlib
import warnings

from mmkeras.data.tables import read_lines

HELP = "data/README.md says how to get the public data."


def read_csv(path, columns, table, fix, *, mend=False):
    """All cells of a CSV file as strings, NaN where empty, on an index of the lines at which its rows begin.

    Args:
        path: the file. columns: list of str, the names it must have.
        table, fix: str, what an error calls the file, and what it advises.
        mend: bool, whether rows of another length are mended and told of; else they are an error.
    """
    path, told = readable_file(path), []
    try:
        df, lines = read_lines(path, mend=mend, tell=told.append)
    except ValueError as error:
        raise ValueError(f"{table} must be text with as many cells in each row. {error} {fix}") from error
    for sentence in told:
        warnings.warn(sentence, stacklevel=3)
    df.index = lines
    absent = [column for column in columns if column not in df.columns]
    if absent:
        raise ValueError(f"{table} needs the columns {columns}. Received: {list(df.columns)}, without {absent}. {fix}")
    return df


def readable_file(path):
    """The path of a file that is there."""
    path = pathlib.Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}. {HELP}")
    return path


def readable_folder(images_dir):
    """The path of a folder of images that is there."""
    folder = pathlib.Path(images_dir).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"`images_dir` must be a folder. Received: {str(folder)!r}, which is none. {HELP}")
    return folder


def inside(folder, name, where, argument="images_dir"):
    """folder/name, refused if it leads out of the folder.

    Args:
        folder: pathlib.Path. name: str, a path inside it.
        where: str, what an error calls the place of the name, such as "row 3 of 'image'".
        argument: str, what an error calls the folder.
    """
    path = folder / name
    # A name may climb out, and a link in an unpacked archive may lead anywhere.
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"An image must lie inside `{argument}`. Received: {str(path)!r} in {where}, which leads to "
            f"{str(path.resolve())!r}. Correct the name, or replace the link by the file."
        )
    return path

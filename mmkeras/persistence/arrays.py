"""Arrays by name in a file of HDF5, looked at before they are read."""

import pathlib

from mmkeras.persistence.archives import check_weights, wrong


def write_arrays(path, arrays):
    """Write {name: array} to a new file.

    Args:
        path: the file.
        arrays: names may hold "/", which makes groups.
    """
    import h5py

    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array


def read_arrays(path):
    """{name: array} of a file that `write_arrays` wrote.

    Args:
        path: the file.

    Raises:
        ValueError: there is none, or it holds links, values of other files, or fewer values than it tells.
    """
    import h5py
    import numpy as np

    path, arrays = pathlib.Path(path), {}
    try:
        check_weights(path, path)
        with h5py.File(path, "r") as file:

            def visit(name, item):
                if isinstance(item, h5py.Dataset):
                    arrays[name] = np.asarray(item)

            file.visititems(visit)
    except (OSError, KeyError, RuntimeError) as error:
        raise wrong(path, f"cannot be read ({type(error).__name__})") from error
    return arrays

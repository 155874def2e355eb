"""Files and folders that the command line names: a user's own Python, `mmkeras --use mytasks.py …`, and saved models."""

import importlib.util
import inspect
import pathlib
import sys

from mmkeras.evaluation.rivals import Rival
from mmkeras.pipeline import load
from mmkeras.registry import subclasses


def import_file(path):
    """The module of a Python file, known by the file's name without ending; a file is imported once.

    Args:
        path: of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file whose name no `import` could give, or that another module has.
        ImportError: it fails when it is run.
    """
    file = pathlib.Path(path).expanduser().resolve()
    name = file.stem
    if not file.is_file():
        raise FileNotFoundError(f"--use imports a Python file. Received: {str(path)!r}, which is not there.")
    if file.suffix != ".py" or not name.isidentifier():
        raise ValueError(
            f"--use imports a Python file with a name such as my_tasks.py. Received: {str(path)!r}. Rename it."
        )
    loaded = sys.modules.get(name)
    if loaded is not None and _is_file(getattr(loaded, "__file__", None), file):
        return loaded
    if loaded is not None or _is_installed(name, file):
        raise ValueError(
            f"--use must not hide another module. Received: {str(path)!r}, and there is a module {name!r} already. "
            "Rename the file."
        )
    spec = importlib.util.spec_from_file_location(name, file)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ImportError(
            f"--use could not import {str(path)!r}. Received: {type(error).__name__}: {error}. Correct the file."
        ) from error
    return module


def rivals_of(modules):
    """The classes of rivals that modules define."""
    names = {module.__name__ for module in modules}
    return [cls for cls in subclasses(Rival) if cls.__module__ in names and not inspect.isabstract(cls)]


def load_folder(folder, unsafe=False):
    """The Pipeline in a folder that a command wrote, or in its model/; `unsafe` turns off safe mode, see `mmkeras.load`."""
    folder = pathlib.Path(folder).expanduser()
    return load(folder / "model" if (folder / "model").is_dir() else folder, safe_mode=not unsafe)


def _is_installed(name, file):
    """Whether `import name` would import anything but this file; folders without Python code count for nothing."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None and not _is_file(spec.origin, file)


def _is_file(place, file):
    return place is not None and pathlib.Path(place).resolve() == file

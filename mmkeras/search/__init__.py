"""Architecture search with AutoKeras and KerasTuner that ends in an ordinary Pipeline.

The module itself is called: `mm.search(df, modalities, task, …)`, see `mmkeras.search.run.search`. It also holds

- `auto_model`: the well-known call of AutoKeras, `AutoModel([TextInput(), StructuredDataInput()], ClassificationHead())`, on
  columns of a DataFrame, with a Pipeline for its result;
- `FusionBlock`, `ClassificationHead`, `RegressionHead` and `NamedInput`: blocks for `ak.AutoModel` graphs of one's own;
- `Trail`: what a search did.

AutoKeras and KerasTuner are imported when first used.

Example:
    >>> import mmkeras as mm
    >>> callable(mm.search)
    True
"""

import importlib
import sys
import types
import typing

from mmkeras.search.run import need
from mmkeras.search.run import search as _search
from mmkeras.search.trail import Trail

__all__ = ["ClassificationHead", "FusionBlock", "NamedInput", "RegressionHead", "Trail", "auto_model"]

# Told to readers of the API reference, which cannot see what is imported when first used.
ClassificationHead: type
"""See `mmkeras.search.autokeras.blocks.ClassificationHead`."""
FusionBlock: type
"""See `mmkeras.search.autokeras.blocks.FusionBlock`."""
NamedInput: type
"""See `mmkeras.search.autokeras.blocks.NamedInput`."""
RegressionHead: type
"""See `mmkeras.search.autokeras.blocks.RegressionHead`."""
auto_model: typing.Callable
"""See `mmkeras.search.autokeras.tutorial.auto_model`."""

# name → the file that has it, which imports AutoKeras
_LATER = {
    "FusionBlock": "autokeras.blocks", "ClassificationHead": "autokeras.blocks", "RegressionHead": "autokeras.blocks",
    "NamedInput": "autokeras.blocks", "auto_model": "autokeras.tutorial",
}  # fmt: skip


def __getattr__(name):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    need("autokeras")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)


def __dir__():
    return sorted({*globals(), *_LATER})


class _Callable(types.ModuleType):
    """A module that is called like the function it is about."""

    __wrapped__ = staticmethod(_search)  # for `inspect.signature`

    def __call__(self, *args, **kwargs):
        return _search(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

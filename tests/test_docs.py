"""The reference that is made of docstrings: every public name says what goes in, what comes out and what can go wrong."""

import inspect
import pathlib
import re
import types
import warnings

import keras
import pytest

import mmkeras as mm
from mmkeras import fusion, hub

ROOT = pathlib.Path(__file__).parents[1]
MODULES = {"mm": mm, "mm.layers": mm.layers, "mm.losses": mm.losses, "mm.samples": mm.samples, "mm.sources": mm.sources}
MODULES |= {"mm.hub": hub, "mm.fusion": fusion}
# What an evaluation or a decoding hands over: nobody makes these by hand.
RESULTS = (mm.Report, mm.Ablation, mm.Captions)


def public_names():
    """{"mm.layers.Tokenize": the class, …}: classes and functions of the public modules."""
    found = {}
    for place, module in MODULES.items():
        for name in module.__all__:
            thing = getattr(module, name)
            if isinstance(thing, type | types.FunctionType):
                found[f"{place}.{name}"] = thing
    return found


# These take any value of their kind.
NEVER_RAISE = {"mm.hub.is_handle", "mm.hub.is_saved_model", "mm.samples.caption_content"}
NEVER_RAISE |= {"mm.layers.count_words", "mm.layers.plain_words", "mm.layers.teacher_forcing"}
NAMES = public_names()
METHODS = {
    f"{thing.__name__}.{name}": method
    for thing in (mm.Pipeline, *RESULTS)
    for name, method in vars(thing).items()
    if not name.startswith("_") and isinstance(method, types.FunctionType)
}


def parameters(function):
    """Names of a function's or a class's own arguments."""
    if issubclass_of(function, [keras.layers.Layer]) and function.__init__.__module__.startswith("keras"):
        return []  # those of the Keras layer it extends
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.name != "self" and p.kind not in kinds]


def lacking(name):
    """What the docstring of a public name lacks, as a list of words."""
    thing = NAMES[name]
    text, missing = inspect.getdoc(thing) or "", []
    if not re.match(r"\S.*[.:]", text):
        missing.append("a first line")
    if ">>> " not in text:
        missing.append("an example")
    if issubclass_of(thing, RESULTS):
        return missing + ([] if "Attributes:" in text else ["Attributes:"])
    own = parameters(thing)
    missing += [f"the argument {one!r}" for one in own if not re.search(rf"(?<![\w.]){one}\b", text)]
    tensors = issubclass_of(thing, (keras.layers.Layer, keras.losses.Loss, keras.metrics.Metric))
    if own and "Args:" not in text:
        missing.append("Args:")
    if own and not tensors and name not in NEVER_RAISE and "Raises:" not in text:
        missing.append("Raises:")
    if isinstance(thing, types.FunctionType) and "Returns:" not in text and "→" not in text:
        missing.append("Returns:")
    if tensors and not re.search(r"\((B|N|rows|n)\b[^)]*\)|scalar", text):
        missing.append("shapes")
    return missing


def issubclass_of(thing, classes):
    return isinstance(thing, type) and issubclass(thing, tuple(classes))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_documented(name):
    assert lacking(name) == []


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_public_method_tells_its_arguments(name):
    text = inspect.getdoc(METHODS[name]) or ""
    assert text and [p for p in parameters(METHODS[name]) if not re.search(rf"\b{p}\b", text)] == []


def test_losses_and_all_modules_say_what_is_public():
    assert len(NAMES) > 60 and all(hasattr(module, "__all__") for module in MODULES.values())


def test_one_command_makes_the_reference(tmp_path):
    pdoc = pytest.importorskip("pdoc")
    pdoc.render.configure(docformat="google")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found .* does not resolve")
        pages = [f"mmkeras.search.{name}" for name in ("run", "blocks", "tutorial")]
        pdoc.pdoc("mmkeras", *pages, output_directory=tmp_path)
    page = (tmp_path / "mmkeras.html").read_text(encoding="utf-8")
    assert "Pipeline" in page and "build_captioner" in page and (tmp_path / "mmkeras" / "layers.html").is_file()
    assert "max_trials" in (tmp_path / "mmkeras" / "search" / "tutorial.html").read_text(encoding="utf-8")


def test_what_the_readme_names_is_there():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text):
        assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((notebooks/[^)]+)\)", text):
        assert (ROOT / link).is_file()
    for script in re.findall(r"python (benchmarks/\w+\.py)", text):
        assert (ROOT / script).is_file()

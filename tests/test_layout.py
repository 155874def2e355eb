"""The layout that CONTRIBUTING.md draws: a file imports only from lower floors."""

import ast
import logging
import os
import pathlib
import subprocess
import sys

import pytest

import mmkeras

ROOT = pathlib.Path(mmkeras.__file__).parent
FLOORS = {
    "backend": 0, "graph": 0, "head_inputs": 0, "files": 0, "hub": 0, "layers": 0, "fusion": 0, "losses": 0, "columns": 0, "datasets": 1, "metrics": 0, "caption_scores": 0,
    "persistence": 0, "modalities": 1, "samples": 1, "tasks": 1, "decoding": 1, "sources": 2, "stages": 2, "heads": 2,
    "engines": 1, "features": 1, "encoding": 2, "evaluation": 2, "plots": 2, "training": 2, "cached": 3, "models": 3, "baselines": 3, "caption_head": 2, "captioning": 4, "pipeline": 5,
    "ablation": 6, "generate": 6, "search": 6, "__init__": 7,
    "quickstart": 8, "__main__": 9,
}  # fmt: skip
OWNERS = {
    "keras_hub": {"modalities", "models"},
    "tensorflow_hub": {"hub"},
    "lmdb": {"features"},
    "openvino": {"engines"},
    "matplotlib": {"plots"},
    "tensorflow_datasets": {"sources"},
    "autokeras": {"search"},
    "keras_tuner": {"search"},
}
# Loaded when first used, whole: their classes derive from AutoKeras's.
LOADED_LATE = {"search/blocks.py", "search/tuners.py", "search/tutorial.py", "search/adopt.py"}


def imports(path):
    """(module, imported lazily) for every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"mmkeras.{alias.name}" for alias in node.names] if node.module == "mmkeras" else [node.module]
            yield from ((name, id(node) not in top) for name in names)


def concept(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def test_files_import_from_lower_floors_only():
    wrong = []
    for path in ROOT.rglob("*.py"):
        own = concept(path)
        for name, _ in imports(path):
            parts = name.split(".")
            if parts[0] == "mmkeras" and len(parts) > 1 and parts[1] in FLOORS and parts[1] != own:
                lazily_to_the_page = own in ("evaluation", "ablation") and parts[1] == "plots"
                if FLOORS[parts[1]] >= FLOORS[own] and not lazily_to_the_page:
                    wrong.append(f"{path.name} imports {name}")
    assert wrong == []


def test_every_file_has_a_floor():
    assert {concept(path) for path in ROOT.rglob("*.py")} == set(FLOORS)


def test_only_their_owners_import_heavy_packages():
    for path in ROOT.rglob("*.py"):
        for name, lazily in imports(path):
            package = name.split(".")[0]
            if package in OWNERS:
                assert concept(path) in OWNERS[package], f"{path.name} imports {package}"
            if package in {*OWNERS, "sklearn"} and path.relative_to(ROOT).as_posix() not in LOADED_LATE:
                assert lazily, f"{path.name} imports {package} when it is loaded"


def test_importing_mmkeras_loads_no_heavy_package():
    code = (
        "import sys, keras; before = set(sys.modules); import mmkeras; "
        "heavy = {'autokeras', 'keras_tuner', 'matplotlib', 'sklearn', 'keras_hub', 'lmdb', 'tensorflow_text', 'tensorflow_hub', "
        "'tensorflow_datasets', 'openvino'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_importing_mmkeras_writes_nothing_and_leaves_standard_error_open():
    code = "import os, mmkeras; os.write(2, b'open')"
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert (run.stdout, run.stderr) == ("", "open")


def test_every_public_name_has_a_docstring_with_an_example():
    lacking = []
    for name in mmkeras.__all__:
        thing = getattr(mmkeras, name)
        if name.startswith("__") or type(thing).__name__ == "module":
            continue
        if ">>>" not in (thing.__doc__ or ""):
            lacking.append(name)
    assert lacking == []


@pytest.mark.parametrize(
    ("function", "heard"), [("TensorFlowTrainer._make_function.<locals>.multi_step_on_iterator", False), ("mine", True)]
)
def test_many_fits_are_no_reason_to_warn_of_tracing(function, heard):
    message = f"5 out of the last 11 calls to <function {function} at 0x7f> triggered tf.function retracing."
    assert bool(logging.getLogger("tensorflow").filter(logging.makeLogRecord({"msg": message}))) == heard

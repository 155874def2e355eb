"""The layout that CONTRIBUTING.md draws, and the rules of its house: every test names the places that break one."""

import ast
import functools
import inspect
import logging
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

import mmkeras
from mmkeras.fusion import Fusion
from mmkeras.modalities.base import Modality
from mmkeras.registry import subclasses
from mmkeras.tasks.base import Task
from mmkeras.trunk.training import quiet_tracing

ROOT = pathlib.Path(mmkeras.__file__).parent
# What stands on a floor imports only from lower ones; within a folder, files import each other without circles.
FLOORS = [
    {"persistence", "backend"},
    {"registry", "graph", "losses", "layers", "fusion"},
    {"data", "hub", "decoding"},
    {"modalities"},
    {"heads", "models"},
    {"trunk"},
    {"evaluation"},
    {"tasks", "samples"},
    {"fitting", "sources"},
    {"pipeline"},
    {"inference", "inspection", "search"},
    {"automl", "serving"},
    {"testing"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
MOST_ENTRIES = 29
OWNERS = {
    "keras_hub": ("modalities/encoders/", "models/"),
    "tensorflow_hub": ("hub/saved_models.py",),
    "lmdb": ("trunk/store.py",),
    "faiss": ("inference/cells.py",),
    "openvino": ("trunk/engines/converted.py",),
    "matplotlib": ("evaluation/figures.py", "inspection/attention.py"),
    "tensorflow_datasets": ("sources/photos.py",),
    "autokeras": ("search/autokeras/",),
    "keras_tuner": ("search/",),
    "starlette": ("serving/app.py",),
    "uvicorn": ("serving/running.py",),
    "ray": ("trunk/cluster.py",),
    "nltk": ("evaluation/meteor.py",),
}
# Loaded when first used, whole: what derives from AutoKeras's classes, and what runs a server.
LOADED_LATE = ("search/autokeras/", "serving/")
# Names of Keras's own that begin with "_".
KERAS_PRIVATE = re.compile(
    r"_(keras_history|inbound_nodes|outbound_nodes|flatten_layers|parent_nodes|nodes_by_depth)\b"
)
# Private members of others that no public way leads to: {(file, name)}.
OTHERS_PRIVATE = {
    ("search/autokeras/tuners.py", "_save_trial"),  # KerasTuner's oracle, whose state is written after each trial
    ("search/autokeras/tuners.py", "_get_oracle_fname"),
    ("layers/text.py", "_model_resource"),  # TensorFlow Text's vocabularies, to which KerasHub gives no name
    ("layers/text.py", "_name"),
}
NAMED_TUPLES = {"_replace", "_asdict", "_fields", "_make"}  # public, by Python's own documentation
# What `search.auto_model` gives is fitted as AutoKeras's models are.
PUBLIC_TOO = {("search/autokeras/tutorial.py", "ColumnModel.fit")}
KERAS_CALLS = ("call", "build", "compute_output_shape", "compute_output_spec")
MOST_LINES, MOST_PARAMETERS, MOST_POSITIONAL = 60, 8, 4


# === Reading the package ===


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def files():
    return sorted(ROOT.rglob("*.py"))


def short(path):
    return path.relative_to(ROOT).as_posix()


def module_of(path):
    """The name that a file is imported by."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """(module, imported when first used) for every import in a file; of `from package import file`, the file."""
    top = set(map(id, tree_of(path).body))
    modules = {module_of(file) for file in files()}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in modules else node.module), id(node) not in top


def concept(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def functions(path):
    """(qualified name, node, class that holds it or None) of every function in a file."""

    def visit(node, prefix, owner):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{prefix}{child.name}", child, owner
                yield from visit(child, f"{prefix}{child.name}.", None)
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.", child.name)
            else:
                yield from visit(child, prefix, owner)

    return visit(tree_of(path), "", None)


def none_of(offenders):
    """Fail with the list of them, unless there is none."""
    offenders = [str(offender) for offender in offenders]
    assert not offenders, "\n".join(["", *offenders])


# === Floors ===


def test_every_file_has_a_floor_and_the_top_level_is_small():
    assert {concept(path) for path in files()} == set(FLOOR)
    entries = [path.name for path in ROOT.iterdir() if path.name != "__pycache__"]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_files_import_from_lower_floors_only():
    wrong = []
    for path in files():
        own = concept(path)
        for name, _ in imports(path):
            parts = name.split(".")
            if parts[0] != "mmkeras":
                continue
            other = parts[1] if len(parts) > 1 else "__init__"
            if other != own and FLOOR[other] >= FLOOR[own]:
                wrong.append(f"{short(path)} (floor {FLOOR[own]}) imports {name} (floor {FLOOR[other]})")
    none_of(wrong)


def test_no_circles_among_files():
    modules = {module_of(path): path for path in files()}
    # A package's page imports its files; that a file stands in the folder of the page is no import.
    reads = {
        name: {other for other, _ in imports(path) if other in modules and other != name}
        for name, path in modules.items()
    }
    before = None
    while before != reads:  # leave out who imports none of the rest, and whom none of the rest imports
        before = reads
        needed = set().union(*reads.values())
        reads = {
            name: {o for o in others if reads.get(o)} for name, others in reads.items() if others and name in needed
        }
    circles = {name: sorted(others) for name, others in reads.items()}
    none_of(f"{name} imports {others}" for name, others in circles.items())


def test_only_their_owners_import_heavy_packages():
    wrong = []
    for path in files():
        for name, lazily in imports(path):
            package = name.split(".")[0]
            if package in OWNERS and not short(path).startswith(OWNERS[package]):
                wrong.append(f"{short(path)} imports {package}")
            if package in {*OWNERS, "sklearn"} and not lazily and not short(path).startswith(LOADED_LATE):
                wrong.append(f"{short(path)} imports {package} when it is loaded")
    none_of(wrong)


# === What an import does to a process ===


def run(code):
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)


def test_importing_mmkeras_loads_no_heavy_package():
    heavy = {*OWNERS, "sklearn", "tensorflow_text"}
    code = (
        "import sys, keras; before = set(sys.modules); import mmkeras; "
        f"print(sorted({heavy!r} & (set(sys.modules) - before)))"
    )
    assert run(code).stdout.strip() == "[]"


def test_importing_mmkeras_writes_nothing_and_leaves_standard_error_open():
    done = run("import os, mmkeras; os.write(2, b'open')")
    assert (done.stdout, done.stderr) == ("", "open")


def test_importing_mmkeras_changes_nothing_of_the_process():
    code = """
import logging, os, random, sys, warnings
import keras, numpy as np, tensorflow as tf

def state():
    loggers = {
        name: (list(logger.filters), list(logger.handlers), logger.level, logger.disabled)
        for name, logger in ((name, logging.getLogger(name)) for name in ("", "tensorflow", "keras", "absl"))
    }
    return {
        "warnings": list(warnings.filters), "showwarning": warnings.showwarning, "loggers": loggers,
        "policy": keras.config.dtype_policy().name, "floatx": keras.config.floatx(),
        "random": random.getstate(), "numpy": str(np.random.get_state()), "format": keras.config.image_data_format(),
        "hooks": (sys.excepthook, sys.displayhook), "eager": tf.config.functions_run_eagerly(),
        "path": list(sys.path), "folder": os.getcwd(), "print": np.get_printoptions(),
    }

before = state()
import mmkeras
after = state()
print([name for name in before if before[name] != after[name]])
"""
    assert run(code).stdout.strip() == "[]"


def test_building_changes_no_global_dtype_policy():
    code = """
import keras, mmkeras as mm
seen = []
real = keras.config.set_dtype_policy
for place in (keras.config, keras.mixed_precision, keras.dtype_policies):
    for name in ("set_dtype_policy", "set_global_policy"):
        if hasattr(place, name):
            setattr(place, name, lambda policy: seen.append(policy))
mm.build_captioner(12, 8, image_encoder="scratch", weights=None, image_size=(32, 32))
modality = mm.Image("image", encoder="MobileNetV2", weights=None, image_size=(32, 32), pooling=None)
prepare = mm.build_prepare([modality])
mm.build_encode([modality], prepare)
print(seen, keras.config.dtype_policy().name)
"""
    assert run(code).stdout.strip() == "[] float32"


def test_what_tensorflow_says_of_tracing_is_kept_back_while_a_model_trains_and_no_longer():
    logger = logging.getLogger("tensorflow")

    def heard(function):
        message = f"5 out of the last 11 calls to <function {function} at 0x7f> triggered tf.function retracing."
        return bool(logger.filter(logging.makeLogRecord({"msg": message})))

    keras_own = "TensorFlowTrainer._make_function.<locals>.multi_step_on_iterator"
    before = list(logger.filters)
    with pytest.raises(KeyError), quiet_tracing():
        assert not heard(keras_own) and heard("mine")
        raise KeyError
    assert heard(keras_own) and logger.filters == before


# === Rules of the house ===


def test_every_public_name_has_a_docstring_with_an_example():
    lacking = []
    for name in mmkeras.__all__:
        thing = getattr(mmkeras, name)
        if name.startswith("__") or inspect.ismodule(thing):
            continue
        if ">>>" not in (thing.__doc__ or ""):
            lacking.append(name)
    none_of(lacking)


def test_nothing_is_asked_for_its_kind():
    """NumPy's dtype.kind is another thing."""
    wrong = []
    for path in files():
        for node in ast.walk(tree_of(path)):
            asked = isinstance(node, ast.Attribute) and node.attr == "kind"
            if asked and not (isinstance(node.value, ast.Attribute) and node.value.attr == "dtype"):
                wrong.append(f"{short(path)}:{node.lineno} {ast.unparse(node)}")
    none_of(wrong)


def concrete():
    """{name: file} of the concrete tasks, modalities and fusions."""
    families = [cls for base in (Task, Modality, Fusion) for cls in subclasses(base)]
    return {cls.__name__: inspect.getfile(cls) for cls in families if cls.__module__.startswith("mmkeras.")}


def last_names(node):
    """The last names of a class, or of a tuple or union of classes."""
    if isinstance(node, ast.Tuple):
        return [name for element in node.elts for name in last_names(element)]
    if isinstance(node, ast.BinOp):
        return [*last_names(node.left), *last_names(node.right)]
    if isinstance(node, ast.Attribute) and last_names(node.value) == ["pd"]:  # pandas has a Series, too
        return [f"pd.{node.attr}"]
    return [node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")]


def class_questions(path):
    """(line, names that a class is compared with) of a file: isinstance, type(x) is, type(x).__name__ in, match."""

    def of_type(node):
        named = isinstance(node, ast.Attribute) and node.attr in ("__name__", "__qualname__")
        inner = node.value if named else node
        is_class = isinstance(inner, ast.Attribute) and inner.attr == "__class__"
        return is_class or (isinstance(inner, ast.Call) and last_names(inner.func) == ["type"])

    def texts(node):
        return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]

    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call) and last_names(node.func)[0] in ("isinstance", "issubclass"):
            yield node.lineno, last_names(node.args[1])
        elif isinstance(node, ast.Compare) and any(map(of_type, (node.left, *node.comparators))):
            sides = [side for side in (node.left, *node.comparators) if not of_type(side)]
            yield node.lineno, [name for side in sides for name in (*last_names(side), *texts(side))]
        elif isinstance(node, ast.MatchClass):
            yield node.lineno, last_names(node.cls)
        elif isinstance(node, ast.Subscript) and of_type(node.slice):
            yield node.lineno, texts(node.value)


def test_no_concrete_task_modality_or_fusion_is_asked_for_outside_its_own_file():
    home = concrete()
    assert {"MultiLabel", "Caption", "Text", "Image", "HybridFusion"} <= set(home)
    wrong = [
        f"{short(path)}:{line} asks for {name}"
        for path in files()
        for line, names in class_questions(path)
        for name in names
        if name in home and home[name] != str(path)
    ]
    none_of(wrong)


def test_labels_of_fusions_are_listed_nowhere():
    """Who wants them asks `registry.names(Fusion)`."""
    labels = {cls.label for cls in subclasses(Fusion) if cls.label and cls.__module__.startswith("mmkeras.")}
    wrong = []
    for path in files():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
                entries = node.keys if isinstance(node, ast.Dict) else node.elts
                held = {entry.value for entry in entries if isinstance(entry, ast.Constant)} & labels
                if len(held) > 2:
                    wrong.append(f"{short(path)}:{node.lineno} lists {sorted(held)}")
    none_of(wrong)


def own_privates(path):
    """Names that begin with "_" and that the classes and functions of a file define."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {
                getattr(target, "id", "")
                for line in node.body
                if isinstance(line, ast.Assign)
                for target in line.targets
            }
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and last_names(node.value) == ["self"]:
            names.add(node.attr)
    return names


def test_nobody_reads_private_members_of_anothers_object():
    """Of `self`, of objects of a class of the same file, and of modules' own names it is no other's."""
    wrong = []
    for path in files():
        if short(path) == "graph.py":  # Keras's, see below
            continue
        own = own_privates(path)
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
                continue
            itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            parent = isinstance(node.value, ast.Call) and last_names(node.value.func) == ["super"]
            allowed = node.attr in own or node.attr in NAMED_TUPLES or (short(path), node.attr) in OTHERS_PRIVATE
            if not (itself or parent or allowed):
                wrong.append(f"{short(path)}:{node.lineno} {ast.unparse(node)}")
        for node in ast.walk(tree_of(path)):  # from another file: from mmkeras.x import _y
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmkeras"):
                names = [alias.name for alias in node.names if alias.name.startswith("_")]
                wrong += [f"{short(path)}:{node.lineno} imports {name} of {node.module}" for name in names]
    none_of(wrong)


def test_keras_private_names_are_touched_in_graph_alone():
    wrong = [
        f"{short(path)}:{number} {line.strip()}"
        for path in files()
        if short(path) != "graph.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if KERAS_PRIVATE.search(line)
    ]
    none_of(wrong)


def code_of(node):
    """The source of a file or function without docstrings and comments."""
    copy = ast.parse(ast.unparse(node))
    for inner in ast.walk(copy):
        body = getattr(inner, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            body[0].value = ast.Constant(...)
    return ast.unparse(copy)


def test_the_pipeline_is_small_and_names_no_kind_of_task_or_modality():
    paths = [ROOT / "pipeline.py", ROOT / "fitting/model.py"]
    assert max(len(path.read_text(encoding="utf-8").splitlines()) for path in paths) <= 300
    code = "\n".join(code_of(tree_of(path)) for path in paths)
    code = re.sub(r"\bmm\.\w+\(|encode_engine", "", code)  # examples in messages, a public argument
    kinds = r"caption|image|picture|label|engine|openvino|tensorflow|vocabulary|sentence|tabular|\btext"
    words = re.compile(kinds, re.IGNORECASE)
    public = {"predict_labels", "engine"}  # the latter hands `encode_engine` on
    wrong = [name for name in re.findall(r"\w+", code) if words.search(name) and name not in public]
    none_of(wrong)
    assert concrete().keys() & set(re.findall(r"\w+", code)) == set()


def lines_of_code(path, node):
    """Lines of a function that hold code: no blank line, no comment, no docstring."""
    lines = path.read_text(encoding="utf-8").splitlines()
    documented = ast.get_docstring(node, clean=False) is not None
    skipped = range(node.body[0].lineno, node.body[0].end_lineno + 1) if documented else ()
    numbers = [n for n in range(node.lineno, node.end_lineno + 1) if n not in skipped]
    return sum(bool(lines[n - 1].strip()) and not lines[n - 1].strip().startswith("#") for n in numbers)


def test_functions_are_short():
    long = [
        f"{short(path)}:{node.lineno} {name} has {size} lines of code"
        for path in files()
        for name, node, _ in functions(path)
        if (size := lines_of_code(path, node)) > MOST_LINES
    ]
    none_of(long)


def public_names():
    """(file, name of the function) of what users call: names of public pages, and methods of public classes."""
    pages = [
        mmkeras,
        *(thing for thing in vars(mmkeras).values() if inspect.ismodule(thing) and hasattr(thing, "__all__")),
    ]
    named = set()
    for page in pages:
        for name in page.__all__:
            thing = inspect.unwrap(getattr(page, name)) if callable(getattr(page, name)) else getattr(page, name)
            if inspect.isfunction(thing):
                named.add((inspect.getfile(thing), thing.__qualname__))
            elif inspect.isclass(thing) and thing.__module__.startswith("mmkeras"):
                for method in vars(thing):
                    if not method.startswith("_") or method == "__init__":
                        named.add((inspect.getfile(thing), f"{thing.__qualname__}.{method}"))
    return named


def test_functions_take_few_parameters():
    """Public calls keep theirs; so does what Keras calls by its own rules."""
    public, wrong = public_names(), []
    for path in files():
        for name, node, owner in functions(path):
            if (str(path), name) in public or (short(path), name) in PUBLIC_TOO or node.name in KERAS_CALLS:
                continue
            positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
            if owner and positional[:1] in (["self"], ["cls"]):
                positional = positional[1:]
            count = len(positional) + len(node.args.kwonlyargs)
            if count > MOST_PARAMETERS:
                wrong.append(f"{short(path)}:{node.lineno} {name} takes {count}")
            if len(positional) > MOST_POSITIONAL:
                wrong.append(f"{short(path)}:{node.lineno} {name} takes {len(positional)} by position")
    none_of(wrong)


def test_the_version_is_that_of_the_package():
    page = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    assert page["project"]["version"] == mmkeras.__version__


def test_no_assert_outside_tests():
    wrong = [
        f"{short(path)}:{node.lineno}"
        for path in files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Assert)
    ]
    none_of(wrong)

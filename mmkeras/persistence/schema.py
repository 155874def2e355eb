"""What values a manifest may hold. A checker of our own: a manifest has a dozen fields, for which `jsonschema` would be one more package."""

import math

TEXT, WHOLE, OBJECT, LIST = (str,), (int,), (dict,), (list,)
FIELDS = {
    "folder": TEXT, "files": OBJECT, "modalities": LIST, "columns": LIST, "task": OBJECT, "state": OBJECT,
    "fusion": TEXT, "head": OBJECT, "rivals": OBJECT, "notes": LIST,
}  # fmt: skip
OPTIONAL = ("notes",)
DEEPEST = 40  # of lists and objects within each other


def check_values(manifest):
    """Raise unless a manifest holds values of the right kinds.

    Raises:
        ValueError: it does not.
    """
    for name, kinds in FIELDS.items():
        if name not in manifest and name not in OPTIONAL:
            raise _wrong(f"{name}: it is missing")
        if name in manifest:
            _check(name, manifest[name], kinds)
    _check_depth(manifest)
    classes = [("task", manifest["task"]), *(("modalities", x) for x in manifest["modalities"])]
    for columns in manifest["columns"]:
        _check("columns", columns, OBJECT)
        classes += [("columns", column) for column in columns.values()]
    for name, rival in manifest["rivals"].items():
        _check("rivals", rival, OBJECT)
        _check_stem(rival.get("stem"))
        _check(f"rivals[{name[:40]!r}].state", rival.get("state"), OBJECT)
        _check_state(rival["state"])
        classes.append(("rivals", rival))
    for name, described in classes:
        _check(name, described, OBJECT)
        _check(f"{name}.class", described.get("class"), TEXT)
        if described.get("column") is not None:
            _check(f"{name}.column", described["column"], TEXT)
    if len(manifest["columns"]) not in (0, len(manifest["modalities"])):
        raise _wrong("columns: there must be as many as modalities")
    for note in manifest.get("notes", ()):
        _check("notes", note, TEXT)
    _check_state(manifest["state"])


def _check(name, value, kinds):
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise _wrong(f"{name}: {value!r:.60} is no {kinds[0].__name__}")


def _check_depth(value):
    """Lists and objects lie within each other only so far."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    if level:
        raise _wrong(f"values lie within each other more than {DEEPEST} times")


def _check_stem(stem):
    """The name of a rival's files, without ending: a file of the folder itself."""
    _check("rivals.stem", stem, TEXT)
    if not stem or not all(sign.isalnum() or sign in "_-" for sign in stem):
        raise _wrong(f"rivals.stem: {stem!r:.60} is no name of a file in the folder")


def _check_state(state):
    """Thresholds are numbers from 0 to 1, what calibrates and bounds sets is finite."""
    _check_numbers("thresholds", state.get("thresholds"), 0, 1)
    for name in ("calibration", "sets"):
        _check_numbers(name, state.get(name), -math.inf, math.inf)


def _check_numbers(name, value, least, most):
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
        elif value is not None:
            _check(name, value, (float, int))
            if not (math.isfinite(value) and least <= value <= most):
                raise _wrong(f"{name}: {value!r:.60} is not from {least} to {most}")


def _wrong(what):
    return ValueError(
        f"A saved Pipeline's manifest must hold what `pipe.save` wrote. Received: one in which {what[:200]}. Do not use it; get one "
        "from whom you trust, or fit and save again."
    )

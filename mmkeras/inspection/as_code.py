"""Settings as the Python that makes them."""

import dataclasses

from mmkeras.registry import import_path

WIDEST = 110  # signs of a line
INDENT = "    "


def as_code(learner, indent=""):
    """The call that makes a modality or a task, with what differs from its defaults.

    Args:
        learner: a modality or a task.
        indent: str, what the lines after the first begin with.

    Example:
        >>> import mmkeras as mm
        >>> as_code(mm.Text("plot", encoder="lexical"))
        'mm.Text("plot", encoder="lexical")'
    """
    arguments = []
    for field in dataclasses.fields(learner):
        value = getattr(learner, field.name) if field.init else field.default
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if not field.init or (not required and value == field.default):
            continue
        names = isinstance(value, tuple) and all(isinstance(name, str) for name in value)
        value = value[0] if names and required and len(value) == 1 else list(value) if names else value
        arguments.append(("" if required and not arguments else f"{field.name}=", value))
    return _call(_named(learner), arguments, indent)


def as_program(modalities, task, before, split):
    """Python that makes a Pipeline for the table `df`, fits it, and judges it.

    Args:
        modalities: list of modalities.
        task: the task.
        before: list of lines that come first.
        split: str, further settings of `mm.split_frame`; None where no rows are held out.
    """
    held_out = [] if split is None else [f"train, test = mm.split_frame(df, 0.2, seed=0{split})"]
    rows = "df" if split is None else "train"
    calls = [f"{INDENT * 2}{as_code(modality, INDENT * 2)}," for modality in modalities]
    lines = ["import mmkeras as mm", *_imports([*modalities, task]), "", *before, *held_out, "pipe = mm.Pipeline("]
    lines += [f"{INDENT}[", *calls, f"{INDENT}],", f"{INDENT}{as_code(task, INDENT)},", ")", f"pipe.fit({rows})"]
    return "\n".join([*lines, *([] if split is None else ["print(pipe.evaluate(test))"]), ""])


def _imports(learners):
    """Lines that import the classes of a user's own.

    Args:
        learners: modalities and a task.
    """
    classes = dict.fromkeys(type(learner) for learner in learners)
    own = [cls for cls in classes if "." in import_path(cls) and cls.__module__ != "__main__"]
    return [f"from {cls.__module__} import {cls.__qualname__}" for cls in own]


def _named(learner):
    path = import_path(type(learner))
    return type(learner).__qualname__ if "." in path else f"mm.{path}"


def _call(name, arguments, indent):
    written = [f"{key}{_literal(value)}" for key, value in arguments]
    whole = f"{name}({', '.join(written)})"
    if len(indent) + len(whole) <= WIDEST:
        return whole
    inner = indent + INDENT
    lines = [""]
    for (key, value), text in zip(arguments, written, strict=True):
        if isinstance(value, list) and len(inner) + len(text) >= WIDEST:
            lines += [f"{key}{_wrapped(value, inner)},", ""]
        elif lines[-1] and len(inner) + len(lines[-1]) + len(text) + 2 > WIDEST:
            lines.append(f"{text},")
        else:
            lines[-1] += f"{' ' if lines[-1] else ''}{text},"
    return "\n".join([f"{name}(", *(inner + line for line in lines if line), f"{indent})"])


def _wrapped(values, indent):
    lines, inner = [""], indent + INDENT
    for text in map(_literal, values):
        if lines[-1] and len(inner) + len(lines[-1]) + len(text) + 2 > WIDEST:
            lines.append("")
        lines[-1] += f"{' ' if lines[-1] else ''}{text},"
    return "\n".join(["[", *(inner + line for line in lines), f"{indent}]"])


def _literal(value):
    """A plain value as Python, strings in double quotes where they hold none."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    text = repr(value)
    return f'"{text[1:-1]}"' if isinstance(value, str) and text[0] == "'" and '"' not in text else text

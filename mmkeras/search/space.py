"""What a search may choose from, as plain values, and what choices mean for the ordinary builder."""

import dataclasses
import itertools
import json

from mmkeras.fusion import Fusion
from mmkeras.registry import named, names
from mmkeras.trunk.optimizers import OPTIMIZERS
from mmkeras.trunk.training import Plan

# Beyond these, a search would rather draw which modalities it leaves out than learn it.
MOST_SUBSETS = 64
JOIN = " + "
TRAINING = {"learning_rate": [3e-3, 3e-4, 1e-3, 6e-3], "optimizer": list(OPTIMIZERS)}
# Settings of `Pipeline.fit` that are chosen only where a space names them; the last three where trials train towers.
FIXED = {"epochs": 8, "batch_size": 128, "fine_tune_epochs": 0, "fine_tune_learning_rate": 5e-5}
TOWERS = ("trainable", "fine_tune_epochs", "fine_tune_learning_rate")
BEGIN_WITH = "hybrid"  # of the fusions, where it is offered


def candidates(modalities):
    """Every candidate modality, in order, of a list in which a list of modalities stands for alternatives."""
    return [m for entry in modalities for m in (entry if isinstance(entry, list | tuple) else [entry])]


def subsets(modalities):
    """Names of modalities that may be used together, joined; the largest sets first, of alternatives one at most."""
    options = [[m.name for m in entry] if isinstance(entry, list | tuple) else [entry.name] for entry in modalities]
    chosen = [
        [name for name in names if name is not None]
        for names in itertools.islice(itertools.product(*([*names, None] for names in options)), 4096)
    ]
    chosen = sorted((names for names in chosen if names), key=len, reverse=True)
    return [JOIN.join(names) for names in chosen[:MOST_SUBSETS]]


def make_space(modalities, task, space=None, tunes_towers=False):
    """The space of a search: {choice: values}, the first of them what the search begins with.

    Args:
        modalities: list of modalities, and of lists of alternatives.
        task: a task.
        space: None, or {choice: a value | list of values | (low, high)}, which replaces the default of that choice.
        tunes_towers: bool, whether trials may train towers.

    Returns:
        {choice: list of values of one kind, or {"low", "high"} for a range}.

    Raises:
        ValueError: an unknown choice, or a value that cannot be.
    """
    every = candidates(modalities)
    trained = [m.name for m in every if m.pretrained and getattr(m, "trainable", False)]
    if trained and not tunes_towers:
        raise ValueError(
            f"With engine='autokeras' towers must be frozen: its trials read cached features. Received `trainable` in {trained}. "
            "Use engine='kerastuner', or leave `trainable` False."
        )
    full = {
        "modalities": subsets(modalities),
        "fusion": _fusions(every, task),
        **{name: values for name, values in task.head_choices(every).items() if values},
        **TRAINING,
        "loss": list(task.ways),
    }
    known = {*full, *task.head_choices(every), *FIXED, *TOWERS}
    for name, values in (space or {}).items():
        if name not in known:
            raise ValueError(f"`space` must name choices among {sorted(known)}. Received: {name!r}.")
        if name in TOWERS and not tunes_towers:
            raise ValueError(
                f"`space` may name {name!r} only where trials can train towers. Received it with engine='autokeras', whose "
                "trials read cached features. Use engine='kerastuner'."
            )
        full[name] = _checked(name, values, every, task)
    if len(every) == 1 and full["fusion"] != ["concat"]:
        raise ValueError(
            f"`space['fusion']` needs two modalities to choose for. Received: {full['fusion']} with {every[0].name!r} alone. Leave "
            "it out: the head and its training are searched all the same."
        )
    return full


def _fusions(modalities, task):
    """Labels of the fusions that can join these modalities in a head of the task."""
    if len(modalities) == 1:
        return ["concat"]
    sequences = sum(modality.sequence for modality in modalities)
    labels = [label for label in names(Fusion) if named(Fusion, label, "fusion").sequences <= sequences]
    labels = [label for label in labels if _takes(task, modalities, fusion=label)]
    return sorted(labels, key=lambda label: label != BEGIN_WITH)


def _takes(task, modalities, **settings):
    try:
        task.check_settings([modality.name for modality in modalities], **settings)
    except ValueError:
        return False
    return True


def _checked(name, values, modalities, task):
    """A given entry of a space in the form of `make_space`, checked by those who know what its values mean."""
    allowed = {"fusion": names(Fusion), "optimizer": OPTIMIZERS, "loss": tuple(task.ways)}.get(name)
    if isinstance(values, tuple) and len(values) == 2 and all(map(_is_number, values)):
        low, high = values
        if not low < high or allowed or name == "trainable":
            raise ValueError(
                f"A range in `space` must be (low, high) of numbers, low < high. Received {name!r}: {values}."
            )
        _check_values(name, values, modalities, task)
        return {"low": low, "high": high}
    checked = list(values) if isinstance(values, list | tuple) else [values]
    if name == "modalities":
        checked = [JOIN.join(v) if isinstance(v, list | tuple) else v for v in checked]
        known = [modality.name for modality in modalities]
        strange = sorted({member for v in checked for member in str(v).split(JOIN)} - set(known))
        if strange:
            raise ValueError(f"`space['modalities']` must name modalities of {known}. Received: {strange}.")
    if allowed and not set(checked) <= set(allowed):
        raise ValueError(
            f"`space[{name!r}]` must hold values among {list(allowed)}. Received: {sorted(set(map(str, checked)) - set(allowed))}."
        )
    if not checked or len(set(map(repr, checked))) < len(checked):
        raise ValueError(f"`space[{name!r}]` must hold different values, at least one. Received: {values!r}.")
    _check_values(name, checked, modalities, task)
    return checked


def _check_values(name, values, modalities, task):
    """Raise a ValueError for a value that a head, or a training, refuses."""
    known, choices = [modality.name for modality in modalities], task.head_choices(modalities)
    usual = choices.get(name) or TRAINING.get(name) or [FIXED.get(name)]
    if all(map(_is_number, usual)) and not all(map(_is_number, values)):
        raise ValueError(f"`space[{name!r}]` must hold numbers. Received: {values!r}.")
    for value in values:
        if name in choices:
            setting, modality = _owner(name, known)
            task.check_settings(known, **{setting: value if modality is None else {modality: value}})
        elif name == "fusion":
            task.check_settings(known, fusion=value)
        elif name in FIXED or name in TRAINING:
            Plan(**{name: value})


def _owner(name, modalities):
    """(setting, modality) of a choice such as "dropout_text"; (name, None) of one that is for all modalities."""
    for modality in modalities:
        if name.endswith(f"_{modality}"):
            return name.removesuffix(f"_{modality}"), modality
    return name, None


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def declare(space, hp):
    """Draw a value for each choice from KerasTuner's `hp`; drawing again gives the same. Returns {choice: value}."""
    return {name: _draw(hp, _group(name) + name, values) for name, values in space.items()}


def _group(name):
    """AutoKeras's greedy tuner changes the choices of a group together, or one alone."""
    return "training/" if name in TRAINING or name in FIXED or name in (*TOWERS, "loss") else "head/"


def _draw(hp, name, values):
    if isinstance(values, dict):
        low, high = values["low"], values["high"]
        sampling = "log" if low > 0 and high / low >= 10 else "linear"
        whole = isinstance(low, int) and isinstance(high, int)
        draw = hp.Int if whole else hp.Float
        return draw(name, low, high, sampling=sampling)
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values) or all(isinstance(v, float) for v in values):
        return hp.Choice(name, values, default=values[0])
    # KerasTuner's choices are of one type: others go by their JSON.
    texts = {v if isinstance(v, str) else json.dumps(v): v for v in values}
    return texts[hp.Choice(name, list(texts), default=next(iter(texts)))]


def first_values(space):
    """What `declare` draws when each choice takes its default, as KerasTuner stores it."""
    import keras_tuner

    hp = keras_tuner.HyperParameters()
    declare(space, hp)
    return dict(hp.values)


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the choices of a trial mean for the ordinary builder.

    Attributes:
        modalities: list of the modalities used.
        head: settings of `Pipeline`, its fusion among them.
        fit: settings of `Pipeline.fit`.
    """

    modalities: list
    head: dict
    fit: dict


def make_variant(choices, modalities, task):
    """`Variant` of {choice: value}."""
    every = candidates(modalities)
    chosen = [
        m.train_tower(choices.get("trainable", False)) for m in every if m.name in choices["modalities"].split(JOIN)
    ]
    names = [modality.name for modality in chosen]
    head, own = {"fusion": choices["fusion"]}, {}
    for name in [name for name in task.head_choices(every) if name in choices]:
        setting, modality = _owner(name, [m.name for m in every])
        if modality is None:
            head[setting] = choices[name]
        elif modality in names:
            own.setdefault(setting, {})[modality] = choices[name]
    for setting, values in own.items():
        head[setting] = {**(dict.fromkeys(names, head[setting]) if setting in head else {}), **values}
    fit = {name: value for name, value in {**FIXED, **choices}.items() if name in FIXED or name in TRAINING}
    return Variant(chosen, head, {**fit, **task.ways[choices["loss"]]})

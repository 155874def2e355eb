"""What a search may choose from, as plain values, and what a choice means for the ordinary builder."""

import dataclasses
import itertools
import json

from mmkeras.fusion import Fusion
from mmkeras.losses import WeightedBinaryCrossentropy, label_weights
from mmkeras.registry import names
from mmkeras.trunk.training import OPTIMIZERS

FUSIONS = names(Fusion)

LOSSES = {"multiclass": ("standard", "weighted", "focal"), "multilabel": ("standard", "weighted", "focal")}
# Beyond these, a search would rather draw which modalities it leaves out than learn it.
MOST_SUBSETS = 64
JOIN = " + "
TRAINING = {
    "learning_rate", "optimizer", "loss", "epochs", "batch_size", "trainable", "fine_tune_epochs",
    "fine_tune_learning_rate",
}  # fmt: skip
# Chosen only where a space names them.
FIXED = {
    "modality_dropout": 0.0, "attention_heads": 4, "epochs": 8, "batch_size": 128, "trainable": False,
    "fine_tune_epochs": 0, "fine_tune_learning_rate": 5e-5,
}  # fmt: skip
TUNED = {
    "units": [512, 128, 256, 1024],
    "depth": [1, 2],
    "dropout": [0.5, 0.2, 0.35, 0.65],
    "learning_rate": [3e-3, 3e-4, 1e-3, 6e-3],
    "optimizer": list(OPTIMIZERS),
}
KNOWN = {"fusion": FUSIONS, "optimizer": OPTIMIZERS}
WIDE_DROPOUT = [0.93, 0.5, 0.8]


def candidates(modalities):
    """Every candidate modality, in order, of a list in which a list of modalities stands for alternatives."""
    return [m for entry in modalities for m in (entry if isinstance(entry, list | tuple) else [entry])]


def subsets(modalities):
    """Names of modalities that may be used together, joined; the largest sets first, of alternatives one at most."""
    options = [[m.name for m in entry] if isinstance(entry, list | tuple) else [entry.name] for entry in modalities]
    found = [
        [name for name in chosen if name is not None]
        for chosen in itertools.islice(itertools.product(*([*names, None] for names in options)), 4096)
    ]
    found = sorted((names for names in found if names), key=len, reverse=True)
    return [JOIN.join(names) for names in found[:MOST_SUBSETS]]


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
    names = [m.name for m in every]
    trained = [m.name for m in every if getattr(m, "pretrained", False) and m.trainable]
    if trained and not tunes_towers:
        raise ValueError(
            f"With engine='autokeras' towers must be frozen: its trials read cached features. Received `trainable` in {trained}. "
            "Use engine='kerastuner', or leave `trainable` False."
        )
    full = {
        "modalities": subsets(modalities),
        "fusion": _fusions(every),
        **TUNED,
        "loss": list(LOSSES.get(task.kind, ("standard",))),
    }
    wide = [m.name for m in every if type(m).__name__ == "Image" and m.normalise]
    full.update({f"dropout_{name}": WIDE_DROPOUT for name in wide if len(every) > 1})
    known = {*full, *FIXED, *(f"dropout_{name}" for name in names)}
    for name, given in (space or {}).items():
        if name not in known:
            raise ValueError(f"`space` must name choices among {sorted(known)}. Received: {name!r}.")
        if name in ("trainable", "fine_tune_epochs", "fine_tune_learning_rate") and not tunes_towers:
            raise ValueError(
                f"`space` may name {name!r} only where trials can train towers. Received it with engine='autokeras', whose "
                "trials read cached features. Use engine='kerastuner'."
            )
        full[name] = _values(name, given, names, full.get(name))
    if len(every) == 1 and full["fusion"] != ["concat"]:
        raise ValueError(
            f"`space['fusion']` needs two modalities to choose for. Received: {full['fusion']} with {names} alone. Leave it out: "
            "the head and its training are searched all the same."
        )
    return full


def _fusions(modalities):
    if len(modalities) == 1:
        return ["concat"]
    sequences = [m for m in modalities if getattr(m, "pooling", "") is None]
    kinds = ["hybrid", *(kind for kind in FUSIONS if kind != "hybrid")]
    return [kind for kind in kinds if kind != "cross_attention" or len(sequences) > 1]


def _values(name, given, names, default):
    """A given entry of a space in the form of `make_space`, checked."""
    if isinstance(given, tuple) and len(given) == 2 and all(_is_number(v) for v in given):
        low, high = given
        if not low < high or name in ("loss", "trainable"):
            raise ValueError(
                f"A range in `space` must be (low, high) of numbers, low < high. Received {name!r}: {given}."
            )
        return {"low": low, "high": high}
    values = list(given) if isinstance(given, list | tuple) else [given]
    if name == "modalities":
        values = [JOIN.join(v) if isinstance(v, list | tuple) else v for v in values]
        strange = sorted({part for v in values for part in str(v).split(JOIN)} - set(names))
        if strange:
            raise ValueError(f"`space['modalities']` must name modalities of {names}. Received: {strange}.")
    allowed = KNOWN.get(name) or (default if name == "loss" else None)
    if allowed and not set(values) <= set(allowed):
        raise ValueError(
            f"`space[{name!r}]` must hold values among {list(allowed)}. Received: {sorted(set(map(str, values)) - set(allowed))}."
        )
    if not values or len(set(map(repr, values))) < len(values):
        raise ValueError(f"`space[{name!r}]` must hold different values, at least one. Received: {given!r}.")
    if not allowed and name not in ("modalities", "trainable") and not all(map(_is_number, values)):
        raise ValueError(f"`space[{name!r}]` must hold numbers. Received: {given!r}.")
    return values


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def declare(space, hp):
    """Draw a value for each choice from KerasTuner's `hp`; drawing again gives the same. Returns {choice: value}."""
    return {name: _draw(hp, _group(name) + name, values) for name, values in space.items()}


def _group(name):
    """AutoKeras's greedy tuner changes the choices of a group together, or one alone."""
    return "training/" if name in TRAINING else "head/"


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
class Plan:
    """What a trial's choices mean for the ordinary builder.

    Attributes:
        modalities: list of the modalities used.
        fusion: str.
        head: settings of `build_head`.
        fit: settings of `Pipeline.fit`.
    """

    modalities: list
    fusion: str
    head: dict
    fit: dict


def make_plan(choices, modalities, task):
    """A `Plan` from the choices of a trial; `task` is adapted, and learns weights from `target` in `loss_of`."""
    names = choices["modalities"].split(JOIN)
    used = [m for m in candidates(modalities) if m.name in names]
    value = {**FIXED, **choices}
    used = [_train_tower(m, value["trainable"]) for m in used]
    dropout = value["dropout"]
    own = {m.name: value[f"dropout_{m.name}"] for m in used if f"dropout_{m.name}" in value}
    if own:
        dropout = {**{m.name: dropout for m in used}, **own}
    head = {"units": value["units"], "depth": value["depth"], "dropout": dropout}
    if value["modality_dropout"]:
        head["modality_dropout"] = value["modality_dropout"]
    if value["fusion"] == "cross_attention":
        head["attention_heads"] = value["attention_heads"]
    fit = {
        name: value[name]
        for name in (
            "epochs",
            "batch_size",
            "learning_rate",
            "optimizer",
            "fine_tune_epochs",
            "fine_tune_learning_rate",
        )
    }
    if value["loss"] == "weighted" and task.kind == "multiclass":
        fit["class_weight"] = "balanced"
    return Plan(used, value["fusion"], head, {**fit, "loss": None if value["loss"] == "standard" else value["loss"]})


def _train_tower(modality, trainable):
    """The modality with this setting, where its tower knows it: images train whole towers or none."""
    is_image = type(modality).__name__ == "Image"
    if trainable is False or not getattr(modality, "pretrained", False) or (is_image and trainable is not True):
        return modality
    return dataclasses.replace(modality, trainable=trainable)


def fit_settings(plan, task, target):
    """`Plan.fit` with a loss that `Pipeline.fit` takes."""
    settings = dict(plan.fit)
    if settings["loss"] == "weighted":
        weighted = None if task.kind == "multiclass" else WeightedBinaryCrossentropy(label_weights(target))
        settings["loss"] = weighted
    return settings

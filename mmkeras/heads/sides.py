"""The third stage for retrieval: features of two sides → a unit vector each, and how alike these are."""

import keras
import numpy as np

from mmkeras.fusion import ConcatFusion
from mmkeras.heads.decisions import check_settings, read_features, unknown_settings
from mmkeras.heads.inputs import JoinInputs
from mmkeras.modalities.base import PRESENT

QUERY, ITEMS = "query", "items"
USUAL = {
    "units": 512,
    "depth": 0,
    "dropout": 0.5,
    "modality_dropout": 0.0,
    "attention_heads": 4,
    "projection": 0,
}  # settings of a head, beside its fusion


def check_sides(names, sides, fusion="concat", **settings):
    """Raise a ValueError unless `build_sides` can take these settings, and every modality is of a side.

    Args:
        names: names of the modalities.
        sides: {side: names of its modalities}.
        fusion, **settings: see `build_sides`.
    """
    unknown_settings(tuple(USUAL), settings, "A head for Retrieval")
    depth = settings.get("depth", USUAL["depth"])
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 0:
        raise ValueError(f"`depth` of a head for Retrieval must be an int, 0 for no hidden layer. Received: {depth!r}.")
    check_settings(names, fusion, **{name: value for name, value in settings.items() if name != "depth"})
    named = [name for side in sides.values() for name in side]
    if set(named) != set(names):
        raise ValueError(
            f"Every modality must be of a side of Retrieval, by its name. Received: modalities {list(names)}, sides {sides}. "
            "Name them in `query` or `items`."
        )


def build_sides(inputs, task, similarity, fusion="concat", **settings):
    """Features → {task.column: (B, 1) cosines, "query" and "items": (B, task.width) unit vectors}, as one Functional model.

    "query.present" and "items.present", (B, 1), are 1 where a row has a modality of that side.

    Each side joins its modalities, normalised, by a fusion, as a head for decisions does, where `depth` hidden layers and a linear one
    decide; what comes of it is brought to length 1. Without a hidden layer, as usual, features of frozen towers overfit least: on photos
    (docs/figures.md) it found more. Where both sides are the same modalities, they share all weights.

    Args:
        inputs: `HeadInputs`.
        task: `Retrieval`.
        similarity: `layers.Similarity`.
        fusion, **settings: units, depth, modality_dropout, attention_heads and projection, see `build_head`; dropout: float, share of the
            features, and of a hidden layer, left out in training; or {modality: share of its features}.
    """
    settings = {**USUAL, **settings, "fusion": fusion}
    models = {
        names: _side(inputs.only(names), side, task.width, settings) for side, names in reversed(task.sides.items())
    }
    read = {key: inputs(key) for model in models.values() for key in model.input}
    vectors = {
        side: models[names]({key: read[key] for key in models[names].input}) for side, names in task.sides.items()
    }
    presence = {}
    for side, names in task.sides.items():
        present = [keras.ops.cast(read[f"{name}{PRESENT}"], "float32") for name in names]
        presence[f"{side}{PRESENT}"] = keras.ops.max(keras.ops.concatenate(present, axis=1), axis=1, keepdims=True)
    cosines = similarity(vectors[QUERY], vectors[ITEMS])
    return keras.Model(read, {task.column: cosines, **vectors, **presence}, name="head")


def _side(inputs, name, width, settings):
    """keras.Model from the features of a side to its unit vectors."""
    kind = check_settings(inputs.names, settings["fusion"]) if len(inputs.names) > 1 else ConcatFusion
    dropout, units = settings["dropout"], settings["units"]
    shares, rest = (dropout, 0.0) if isinstance(dropout, dict) else (dict.fromkeys(inputs.names, dropout), dropout)

    def decide(x, number=0, plus=None):
        for layer in range(settings["depth"]):
            x = keras.layers.Dense(units, activation="gelu", name=f"hidden_{number}_{layer}")(x)
            x = keras.layers.Dropout(rest, name=f"hidden_drop_{number}_{layer}")(x)
        x = keras.layers.Dense(width, dtype="float32", name=f"vector_{number}")(x)
        return x if plus is None else keras.layers.Add(dtype="float32", name=f"sum_{number}")([x, plus])

    def decide_linearly(x, number):
        return keras.layers.Dense(width, dtype="float32", name=f"own_vector_{number}")(x)

    narrowing = {name: settings[name] for name in ("modality_dropout", "projection")}
    read = read_features(inputs, kind, shares, **narrowing)
    size = {"units": units, "dropout": rest, "attention_heads": settings["attention_heads"]}
    joined = kind.join(JoinInputs(**read, **size, decide=decide, decide_linearly=decide_linearly))
    return keras.Model(inputs.inputs, keras.layers.UnitNormalization(dtype="float32", name="unit")(joined), name=name)


def paired(query, items, present=True):
    """(R,) records of the vectors of both sides, (R, D) each, as "query" and "items", and (R, 2) of whether a row has them, as "present"."""
    kinds = [(side, "float32", x.shape[1:]) for side, x in ((QUERY, query), (ITEMS, items))]
    records = np.empty(len(query), [*kinds, ("present", bool, (2,))])
    records[QUERY], records[ITEMS], records["present"] = query, items, present
    return records

"""What `mm.fit` trains: settings known to be good, the best of them first, and then variations of those that did well.

This list is the one place where they stand. Each is of plain values: settings of the task's head and of `Pipeline.fit`.
"""

import dataclasses

import numpy as np

FEW_ROWS = 10_000  # up to here, settings are trained as they stand; on more rows with larger batches and fewer passes


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model to train.

    Attributes:
        name: str, told to the user.
        head: settings of the task's head, its fusion among them.
        fit: settings of `Pipeline.fit`.
        reads: which modalities: "all", "texts" (those whose features are many), "table" (those whose features are few), "untrained"
            (those without pretrained towers), or a tuple of names.
    """

    name: str
    head: dict
    fit: dict
    reads: object = "all"


PORTFOLIO = [
    Candidate("joint, deep", {"fusion": "concat", "dropout": 0.1, "depth": 2}, {"epochs": 30, "learning_rate": 1e-3}),
    Candidate("hybrid", {"fusion": "hybrid", "dropout": 0.5}, {"epochs": 8, "learning_rate": 1e-3}),
    Candidate("joint", {"fusion": "concat", "dropout": 0.5}, {"epochs": 15, "learning_rate": 1e-3}),
    Candidate("gated", {"fusion": "gated", "dropout": 0.2, "depth": 2}, {"epochs": 20, "learning_rate": 1e-3}),
    Candidate(
        "without towers",
        {"fusion": "concat", "dropout": 0.1, "depth": 2},
        {"epochs": 30, "learning_rate": 1e-3},
        "untrained",
    ),
    Candidate("hybrid, long", {"fusion": "hybrid", "dropout": 0.35}, {"epochs": 20, "learning_rate": 1e-3}),
    Candidate("texts alone", {"fusion": "concat", "dropout": 0.35}, {"epochs": 15, "learning_rate": 1e-3}, "texts"),
    Candidate(
        "table alone", {"fusion": "concat", "dropout": 0.1, "depth": 2}, {"epochs": 30, "learning_rate": 1e-3}, "table"
    ),
]
# What variations change, one or two of these at a time.
VARIED_HEAD = {"dropout": (0.05, 0.1, 0.2, 0.35, 0.5), "units": (256, 512, 1024), "depth": (1, 2, 3)}
VARIED_FIT = {"learning_rate": (5e-4, 1e-3, 2e-3), "epochs": (10, 20, 30), "weight_decay": (0.05, 0.3)}


def candidates(task, modalities):
    """The portfolio as far as a task and modalities can take it: a list of `Candidate`, whose `reads` are names."""
    made, seen = [], set()
    for candidate in PORTFOLIO:
        names = _names(candidate.reads, modalities)
        if not names or not _takes(task, names, candidate.head):
            continue
        head = candidate.head if len(names) > 1 else {**candidate.head, "fusion": "concat"}
        made_one = dataclasses.replace(candidate, reads=names, head=head)
        key = repr((names, sorted(head.items()), sorted(candidate.fit.items())))
        if key not in seen:
            seen.add(key)
            made.append(made_one)
    return made


def variation(best, number, seed):
    """A `Candidate` near one that did well: two of its settings are drawn anew.

    Args:
        best: `Candidate`.
        number: int, how many variations came before.
        seed: int.
    """
    rng = np.random.default_rng([seed, number])
    head, fit = dict(best.head), dict(best.fit)
    for name in rng.choice([*VARIED_HEAD, *VARIED_FIT], 2, replace=False):
        values = VARIED_HEAD.get(name) or VARIED_FIT[name]
        value = values[int(rng.integers(len(values)))]
        (head if name in VARIED_HEAD else fit)[str(name)] = value
    return dataclasses.replace(best, name=f"variation {number + 1}", head=head, fit=fit)


def fitted_to(candidate, rows):
    """Settings of `Pipeline.fit` for a number of rows: on many, batches are larger, and passes fewer."""
    fit = {"batch_size": 32, **candidate.fit}
    factor = max(1.0, rows / FEW_ROWS)
    fit["batch_size"] = int(min(512, fit["batch_size"] * 2 ** int(np.log2(factor) + 0.5)))
    fit["epochs"] = max(4, round(fit["epochs"] / factor**0.35)) if factor > 1 else fit["epochs"]
    return fit


def _names(reads, modalities):
    kept = {
        "all": lambda m: True,
        "texts": lambda m: not m.few_features,
        "table": lambda m: m.few_features,
        "untrained": lambda m: not m.pretrained,
    }
    names = tuple(m.name for m in modalities if (kept[reads](m) if isinstance(reads, str) else m.name in reads))
    return names


def _takes(task, names, head):
    try:
        task.check_settings(list(names), **head)
    except ValueError:
        return False
    return True

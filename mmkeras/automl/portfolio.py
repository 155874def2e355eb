"""What `mm.fit` trains: settings known to be good, the best of them first, and then variations of those that did well.

This list is the one place where they stand. Each is of plain values: settings of the task's head and of `Pipeline.fit`; what is left out
is chosen by the rows and the task, as `fit` does it.
"""

import dataclasses

import numpy as np

from mmkeras.trunk.training import Plan


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A model to train.

    Attributes:
        name: str, told to the user.
        head: settings of the task's head, its fusion among them.
        fit: settings of `Pipeline.fit`.
        reads: which modalities: "all", "texts" (those whose features are many), "table" (those whose features are few), "untrained"
            (those without pretrained towers), or a tuple of names.
        share: float, of the epochs that the rows call for, in (0, 1].
    """

    name: str
    head: dict
    fit: dict
    reads: object = "all"
    share: float = 1.0

    varies = True  # whether it has settings to be drawn anew

    @property
    def work(self):
        """About how much longer one of its epochs takes than one of a plain head."""
        return WORK_OF_MEMBERS if "members" in self.head else 1.0

    @property
    def group(self):
        """Candidates of one group are trained in the same passes over the rows."""
        return repr((self.share, sorted(self.fit.items())))

    def train(self, bench, jobs, until=np.inf):
        """`members.Trained` heads of this candidate's group, see `Workbench.train`."""
        return bench.train(jobs, until)

    def takes(self, task, names):
        """Whether a head of it can be, for a task and modalities of these names."""
        weights = {name: how for name, how in self.fit.items() if name == "class_weight"}
        if weights and weights not in task.ways.values():
            return False
        try:
            task.check_settings(list(names), **self.head)
        except ValueError:
            return False
        return True


@dataclasses.dataclass(frozen=True)
class Likeness(Candidate):
    """A head that is solved at once, by how alike rows are; see `heads.likeness`. It has no settings."""

    group, varies = "likeness", False

    def train(self, bench, jobs, until=np.inf):
        return bench.solve(jobs)

    def takes(self, task, names):
        return task.mean_is_told


WORK_OF_MEMBERS = 3.0  # 2.1 and 3.5 on two public tables
BALANCED = {"class_weight": "balanced"}
PORTFOLIO = [
    Likeness("likeness", {}, {}),
    Candidate("usual", {"fusion": "concat"}, {}),
    Candidate("half as long", {"fusion": "concat"}, {}, share=0.5),
    Candidate("members", {"fusion": "concat", "members": 8}, {}),
    Candidate("hybrid", {"fusion": "hybrid"}, {}),
    Candidate("deep", {"fusion": "concat", "dropout": 0.2, "depth": 2, "projection": 0}, {}),
    Candidate("products", {"fusion": "bilinear"}, {}),
    Candidate("rare classes", {"fusion": "concat"}, BALANCED),
    Candidate("products for rare classes", {"fusion": "bilinear"}, BALANCED),
    Candidate("gated", {"fusion": "gated", "dropout": 0.2, "depth": 2}, {}),
    Candidate("without towers", {"fusion": "concat", "dropout": 0.1, "depth": 2}, {}, "untrained"),
    Candidate("hybrid of half the dropout", {"fusion": "hybrid", "dropout": 0.25}, {}),
    Candidate("texts alone", {"fusion": "concat", "dropout": 0.35}, {}, "texts"),
    Candidate("table alone", {"fusion": "concat", "dropout": 0.1, "depth": 2}, {}, "table"),
    Candidate("members, a third as long", {"fusion": "concat", "members": 8}, {}, share=1 / 3),
]
# Members that share weights lead where numbers are told: R² .520 against .470 of "usual" on rows held out of one public table, .847 against
# .833 of another, where labels of films are told worse by them (mAP .589 against .609). How long they should learn differs between tables
# (R² .449 in a third of the epochs against .391 in all of them, .752 against .756), so that a short one comes first.
FIRST_FOR_NUMBERS = ("likeness", "members, a third as long", "members")
# What variations change, two of these at a time.
VARIED_HEAD = {"dropout": (0.05, 0.1, 0.2, 0.35, 0.5), "units": (256, 512, 1024), "depth": (1, 2, 3)}
VARIED_FIT = {"learning_rate": (5e-4, 1e-3, 2e-3), "weight_decay": (0.05, 0.3)}


def candidates(task, modalities):
    """The portfolio as far as a task and modalities can take it: a list of `Candidate`, whose `reads` are names."""
    made, seen = [], set()
    first = [candidate for name in FIRST_FOR_NUMBERS for candidate in PORTFOLIO if candidate.name == name]
    for candidate in [*(first if task.adds else ()), *PORTFOLIO]:
        names = _names(candidate.reads, modalities)
        if not names or not candidate.takes(task, names):
            continue
        head = candidate.head if len(names) > 1 or not candidate.head else {**candidate.head, "fusion": "concat"}
        made_one = dataclasses.replace(candidate, reads=names, head=head)
        key = repr((names, sorted(head.items()), candidate.group))
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


def plan_of(candidate, task, rows, seed=0):
    """`Plan` of a candidate on so many rows; what it leaves out is chosen, see `Plan.of`. All its epochs count."""
    plan = Plan.of(rows, task.usual_epochs, False, **{**candidate.fit, "seed": seed, "verbose": 0})
    return dataclasses.replace(plan, epochs=max(1, round(candidate.share * plan.epochs)))


def _names(reads, modalities):
    kept = {
        "all": lambda m: True,
        "texts": lambda m: not m.few_features,
        "table": lambda m: m.few_features,
        "untrained": lambda m: not m.pretrained,
    }
    names = tuple(m.name for m in modalities if (kept[reads](m) if isinstance(reads, str) else m.name in reads))
    return names

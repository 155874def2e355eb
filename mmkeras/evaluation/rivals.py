"""The simple models that every evaluation shows beside the real one: the contract, and those of any decisions."""

import abc
import dataclasses
import os

import numpy as np

from mmkeras.fusion import Fusion
from mmkeras.graph import load_model
from mmkeras.registry import find_class, import_path, named
from mmkeras.trunk.training import Plan, seeded, side_by_side

# How rivals of a loaded Pipeline are trained, whose own plan is not kept.
DEFAULT_PLAN = Plan(verbose=0)
SEVERAL = range(3, 6)  # modalities of which a model without each is shown: of two, the other alone is that


@dataclasses.dataclass
class Bench:
    """What rivals learn from.

    Attributes:
        task: adapted task. modalities: list of modalities. rows: `Rows`, the training rows.
        trunk: `Trunk`, or None where only rivals that need none are fitted. validation: `Rows`, or None.
        settings: of the Pipeline's head, its fusion among them.
        plan: `Plan` of the Pipeline.
    """

    task: object
    modalities: list
    rows: object
    trunk: object = None
    validation: object = None
    settings: dict = dataclasses.field(default_factory=dict)
    plan: Plan = DEFAULT_PLAN

    def settings_of(self, names):
        """Settings of a head of some modalities: the task's usual fusion, where they give fewer sequences than the Pipeline's needs."""
        kept = [modality for modality in self.modalities if modality.name in names]
        fusion = self.settings.get("fusion")
        if fusion is None or sum(modality.sequence for modality in kept) >= named(Fusion, fusion, "fusion").sequences:
            return self.settings
        return {**self.settings, "fusion": self.task.usual_fusion(kept)}


class Rival(abc.ABC):
    """A simple model of the same rows.

    Attributes:
        task: the task that judges its predictions, tuned on them.
        needs_trunk: bool, whether it learns from features; others predict with None for a trunk.
        without: name of the modality that it lacks beside the model, or None.
    """

    task = without = None
    needs_trunk = True

    @classmethod
    @abc.abstractmethod
    def fit(cls, bench):
        """{name in the report: rival}; empty where this kind has nothing to learn from, several where it comes in several."""

    @abc.abstractmethod
    def predict(self, trunk, df):
        """Predictions in the form of the task's own."""

    @abc.abstractmethod
    def write(self, path):
        """Write files beside `path`, a pathlib.Path without ending. Returns plain values that `read` needs."""

    @classmethod
    @abc.abstractmethod
    def read(cls, path, saved):
        """The rival from what `write` wrote and returned."""


def fit_rivals(kinds, bench):
    """{name: fitted rival} of classes of rivals; each is tuned on the validation rows as the model was."""
    rivals = {}
    for kind in kinds:
        rivals.update(kind.fit(bench))
    for rival in rivals.values():
        rival.task = bench.task
        if bench.validation is not None:
            predictions = rival.predict(bench.trunk, bench.validation.df)
            rival.task = bench.task.tune(bench.validation.target, predictions)
    return rivals


def save_rival(rival, folder, stem):
    """Write a rival. Returns what `load_rival` needs, as plain values."""
    return {"class": import_path(type(rival)), "stem": stem, "state": rival.task.state, **rival.write(folder / stem)}


def load_rival(folder, saved, task, classes=()):
    """A rival from what `save_rival` wrote and returned; `task` is adapted."""
    rival = find_class(Rival, saved["class"], classes).read(folder / os.path.basename(saved["stem"]), saved)
    rival.task = task.learn(**saved["state"])
    return rival


class Prior(Rival):
    """The same for every row: label frequencies of the training rows, or their mean."""

    needs_trunk = False

    def __init__(self, values):
        self.values = np.asarray(values, "float64")

    @classmethod
    def fit(cls, bench):
        return {bench.task.prior_name: cls(bench.task.prior(bench.rows.target.values))}

    def predict(self, trunk, df):
        return np.tile(self.values, (len(df), 1))

    def write(self, path):
        return {"values": self.values.tolist()}

    @classmethod
    def read(cls, path, saved):
        return cls(saved["values"])


class Alone(Rival):
    """A model of the Pipeline's own kind that sees one modality, or all but one, on the same cached features."""

    def __init__(self, head, output, without=None):
        self.head, self.output, self.without = head, output, without

    @classmethod
    def fit(cls, bench):
        """One for each modality and, of three to five, one without each, all trained in the same passes over the rows."""
        names = [modality.name for modality in bench.modalities]
        if len(names) < 2:
            return {}
        reads = {f"{name} alone": ([name], None) for name in names}
        if len(names) in SEVERAL:
            reads |= {f"without {name}": ([other for other in names if other != name], name) for name in names}
        task = bench.task
        with seeded(bench.plan.seed):
            loss, heads = task.choose_loss(bench.plan.loss, bench.rows.target), {}
            for number, (kept, _) in enumerate(reads.values()):
                inputs = bench.trunk.head_inputs(kept)
                heads[f"head_{number}"] = task.build_head(inputs, bench.rows.target, **bench.settings_of(kept))
            trunk = bench.trunk.branch()
            together = side_by_side({name: task.training(head, loss) for name, head in heads.items()})
            trunk.train(together, bench.rows, dataclasses.replace(bench.plan, verbose=0))
        attached = [trunk.attach(head).model for head in heads.values()]
        return {
            name: cls(head, task.column, without)
            for (name, (_, without)), head in zip(reads.items(), attached, strict=True)
        }

    def predict(self, trunk, df):
        return trunk.outputs(self.head, df)[self.output]

    def write(self, path):
        self.head.save(path.with_suffix(".keras"))
        return {"output": self.output, "without": self.without}

    @classmethod
    def read(cls, path, saved):
        return cls(load_model(path.with_suffix(".keras")), saved["output"], saved.get("without"))

"""Members of an ensemble, trained one after another as long as there is time."""

import dataclasses
import time as clock

import keras
import numpy as np
import tensorflow as tf

from mmkeras.automl.members import NO_FOLD, Workbench
from mmkeras.automl.portfolio import plan_of, variation
from mmkeras.modalities.base import adapt
from mmkeras.search.space import JOIN
from mmkeras.search.trials import FailedTrial, judge
from mmkeras.trunk.training import Diverged
from mmkeras.trunk.trunk import Trunk

MOST_MEMBERS, VARIED = 40, 3
SHORTEST = 0.5  # of the epochs of a candidate, for which there must be time


def make_bench(table, rows, cache, *, seed, verbose):
    """`Workbench` of rows, whose features are made now."""
    known = rows.df if (rows.folds != NO_FOLD).all() else rows.df.iloc[np.flatnonzero(rows.folds == NO_FOLD)]
    task = table.task.adapt(rows.df if rows.refit else known)
    if task.target(known).values is None:
        raise ValueError(
            f"An ensemble is a mean of numbers: labels, classes and numbers have one. Received: {type(task).__name__}. Use "
            "mm.Pipeline or mm.search."
        )
    keras.utils.set_random_seed(seed)
    trunk = Trunk([adapt(modality, known) for modality in table.modalities], cache=cache).over(rows.df)
    towers = [modality.name for modality in trunk.modalities if modality.pretrained]
    if towers:
        inputs = trunk.head_inputs(towers)
        features = {name: keras.layers.Identity(dtype=inputs(name).dtype)(inputs(name)) for name in towers}
        model = keras.Model(inputs.inputs, features)
        trunk.outputs(model, rows.df, each=lambda outputs, numbers: {"row": numbers}, verbose=verbose)
    return Workbench(task, trunk, rows.df, folds=rows.folds, seed=seed)


class Run:
    """Members that are trained one after another until a moment.

    Attributes:
        members: list of `Member`. records: of all candidates, for the trail. notes: list of sentences.
        interrupted: bool, whether a user ended it.
    """

    def __init__(self, bench, objective, until, verbose):
        self.bench, self.objective, self.until, self.verbose = bench, objective, until, verbose
        self.members, self.records, self.notes, self.interrupted = [], [], [], False

    @property
    def sign(self):
        return -1.0 if self.objective in self.bench.task.smaller_is_better else 1.0

    def best_first(self):
        return sorted(self.members, key=lambda member: -self.sign * member.score)

    def portfolio(self, portfolio):
        """Train what is known to work, then variations of the best, as long as there is time."""
        try:
            for candidate in portfolio:
                candidate = dataclasses.replace(candidate, share=min(candidate.share, self._share()))
                tried = [dataclasses.replace(each.candidate, name=candidate.name) for each in self.members]
                if candidate not in tried and self._fits(candidate):
                    self._try(candidate)
            for number in range(MOST_MEMBERS - len(portfolio)):
                best = [member for member in self.best_first() if member.candidate.varies][:VARIED]
                candidate = variation(best[number % len(best)].candidate, number, self.bench.seed) if best else None
                if candidate is None or not self._fits(candidate):
                    break
                self._try(candidate)
        except KeyboardInterrupt:
            if not self.members:
                raise
            self.notes.append(f"Interrupted after {len(self.members)} members: these are the best so far.")
            self.interrupted = True
        if not self.members:
            failures = [record["failure"] for record in self.records]
            raise ValueError(f"None of {len(failures)} members could be trained. The last said: {failures[-1]}")

    def _share(self):
        """The share of its epochs by which a candidate did no worse than by more of them; 1 where that was not tried, or was worse."""
        tried = [(member.candidate, self.sign * member.score) for member in self.members]
        for brief, score in tried:
            for longer, rival in tried:
                alike = dataclasses.replace(brief, name=longer.name, share=longer.share) == longer
                if brief.share < longer.share and alike and score >= rival:
                    return brief.share
        return 1.0

    def _fits(self, candidate):
        """Whether there is time for most of a candidate, by what earlier ones took; the first always fits."""
        rates = [
            member.seconds / (self._epochs(member.candidate) * member.candidate.work)
            for member in self.members
            if member.candidate.varies
        ]
        needs = SHORTEST * float(np.median(rates)) * self._epochs(candidate) * candidate.work if rates else 0.0
        return not self.members or clock.monotonic() + needs < self.until

    def _epochs(self, candidate):
        return plan_of(candidate, self.bench.task, len(self.bench.df)).epochs

    def _try(self, candidate):
        """Train a candidate and judge it; one that fails is told, and the others go on."""
        start, planned = clock.monotonic(), self._epochs(candidate)
        length = {"epochs": planned} if candidate.varies else {}
        record = {"choices": {**_choices(candidate), **length}, "failure": ""}
        try:
            member = self.bench.member(candidate, self.until)
            record.update(judge(self.bench.task, self.bench.judged_target, member.predictions, self.objective))
        except (Diverged, FailedTrial, ValueError, tf.errors.OpError, MemoryError) as error:
            record["failure"] = f"{type(error).__name__}: {error}"[:300]
        else:
            member.score = record["score"]
            self.members.append(member)
            epochs = self._epochs(member.candidate)
            if epochs < planned:
                record["choices"]["epochs"] = epochs
                self.notes.append(
                    f"Time was short for {candidate.name!r}: it learnt in {epochs} passes over the rows in place of {planned}."
                )
        record["seconds"] = round(clock.monotonic() - start, 2)
        self.records.append(record)
        if self.verbose:
            outcome = record["failure"] or f"{self.objective} {record['score']:.4f}"
            print(f"Member {len(self.records)}, {record['seconds']:.0f} s: {outcome}; {candidate.name}", flush=True)


def _choices(candidate):
    return {"member": candidate.name, "modalities": JOIN.join(candidate.reads), **candidate.head, **candidate.fit}

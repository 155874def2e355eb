"""What a search did: a table of its trials, how each choice mattered, and what the scores allow one to say."""

import dataclasses

import numpy as np

from mmkeras.evaluation.report import indent
from mmkeras.search.space import JOIN

FACTS = ("score", "low", "high", "seconds", "mean", "trained_epochs", "weight", "failure")


@dataclasses.dataclass(frozen=True, repr=False)
class Trail:
    """The trials of a search. Print it, or see `to_html`.

    Attributes:
        table: DataFrame with a row per trial, in the order of their start: a column for each choice; "score" on the
            validation rows with the bounds "low" and "high" of its 95% interval; "seconds"; "failure", the reason of a
            trial that gave no score, else ""; where there were finals, "mean", of all scores of a finalist; of "hyperband" also "trained_epochs", which its early rounds cut short; of an ensemble
            "weight", how much each counts in it.
        objective: str, the metric. direction: "max" or "min".
        notes: list of sentences about what the scores allow one to say.
        rows: int, how many rows were judged.
        target: str, the target column.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(80, seed=0)
        >>> pipe = mm.search(
        ...     df, [mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"), max_trials=1,
        ...     space={"epochs": 1}, verbose=0,
        ... )
        >>> len(pipe.trail.table), pipe.trail.objective
        (1, 'map')
    """

    table: object
    objective: str
    direction: str
    notes: list
    rows: int
    target: str

    @property
    def best(self):
        """Row number of the best trial in `table`; None if all failed."""
        scores = self.table["mean" if "mean" in self.table else "score"].dropna()
        if scores.empty:
            return None
        return int(scores.idxmax() if self.direction == "max" else scores.idxmin())

    def choices(self):
        """Names of the columns that hold choices."""
        return [name for name in self.table if name not in FACTS]

    def mattered(self):
        """How much of the differences between scores each choice explains by itself, as a Series, most first.

        It is the share of the scores' variance between the values of the choice, less what as many groups would explain
        by chance (ω² of an analysis of variance, not below 0); for modalities, of each one's presence. Numbers drawn from a
        range count in three groups. Choices are not drawn independently, so that this is a hint and no proof.
        """
        import pandas as pd

        done = self.table[self.table["score"].notna()]
        columns = {}
        for name in self.choices():
            if name == "modalities":
                names = dict.fromkeys(modality for value in done[name] for modality in value.split(JOIN))
                columns.update(
                    {f"use {modality}": [modality in v.split(JOIN) for v in done[name]] for modality in names}
                )
            elif done[name].nunique() > 5:
                columns[name] = pd.qcut(done[name].rank(method="first"), 3, labels=False).tolist()
            else:
                columns[name] = done[name].tolist()
        shares = {name: _explained(values, done["score"].to_numpy()) for name, values in columns.items()}
        return pd.Series(shares, dtype=float).dropna().sort_values(ascending=False, kind="stable")

    def to_html(self, path):
        """Write table and plots as one HTML file. Returns the path."""
        from mmkeras.search.plots import write_trail

        return write_trail(self, path)

    def __str__(self):
        shown = self.table.copy()
        shown.insert(0, "trial", np.arange(1, len(shown) + 1))
        lines = [
            f"Search for {self.target!r}: {len(shown)} trials, {self.objective} on {self.rows} validation rows",
            "",
        ]
        lines += [indent(shown.round(4).to_string(index=False, na_rep="-")), ""]
        mattered = self.mattered()
        if len(mattered):
            said = ", ".join(f"{name} {share:.0%}" for name, share in mattered.items() if share > 0)
            lines += [f"What mattered (share of the scores' variance): {said or 'nothing beyond chance'}", ""]
        return "\n".join(lines + [f"- {note}" for note in self.notes])

    __repr__ = __str__


def _explained(values, scores):
    """ω² of groups of equal values; NaN where there is one group, or no row to spare."""
    keys = [repr(value) for value in values]
    groups = [scores[[key == other for key in keys]] for other in dict.fromkeys(keys)]
    spare = len(scores) - len(groups)
    total = float(((scores - scores.mean()) ** 2).sum()) if len(scores) else 0.0
    if len(groups) < 2 or spare < 1 or total == 0:
        return np.nan
    within = float(sum(((group - group.mean()) ** 2).sum() for group in groups))
    error = within / spare
    return max(0.0, (total - within - (len(groups) - 1) * error) / (total + error))


def make_trail(records, objective, direction, *, rows, target):
    """A `Trail` from the trials' records, see `study.Study`."""
    import pandas as pd

    lines = []
    for record in records:
        facts = {name: record.get(name, np.nan) for name in FACTS[:4]}
        if any("finals" in r for r in records):
            facts["mean"] = float(np.mean([record["score"], *record["finals"]])) if "finals" in record else np.nan
        facts.update({"trained_epochs": record["trained_epochs"]} if "trained_epochs" in record else {})
        lines.append({**record["choices"], **facts, "failure": record.get("failure", "")})
    table = pd.DataFrame(lines)
    notes = []
    scores = table["score"].dropna()
    failed = int((table["failure"] != "").sum())
    if len(scores):
        trail = Trail(table, objective, direction, notes, rows, target)
        notes.append(warning(trail))
        best = table.loc[trail.best]
        near = int(((scores >= best["low"]) & (scores <= best["high"])).sum()) - 1
        if near:
            notes.append(
                f"{near} of the other trials' scores lie within the best one's interval [{best['low']:.3f}, {best['high']:.3f}]: these rows do "
                "not tell them apart."
            )
    if failed:
        notes.append(f"{failed} of {len(table)} trials failed; the column “failure” says why.")
    return Trail(table, objective, direction, notes, rows, target)


def warning(trail):
    """The sentence that goes with every report of a model that a search chose."""
    row = trail.table.loc[trail.best]
    score = f"{trail.objective} of {row['score']:.3f}"
    if "mean" in row:
        score = (
            f"mean {trail.objective} of {row['mean']:.3f} over several splits or starts, {row['score']:.3f} at first,"
        )
    return (
        f"Chosen as the best of {int(trail.table['score'].notna().sum())} trials by its {score} on "
        f"{trail.rows} validation rows: selection makes that score look better than new rows will show. Judge the model on rows "
        "that the search never saw."
    )

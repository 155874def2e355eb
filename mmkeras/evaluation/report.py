"""Scores with confidence intervals, and the Report that sets a model beside its rivals."""

import dataclasses

import numpy as np

from mmkeras.evaluation import metrics
from mmkeras.evaluation.conformal import sets_section
from mmkeras.evaluation.sections import Section
from mmkeras.evaluation.shapley import shapley


def scores(task, target, predictions, *, samples=1000, seed=0):
    """Point values and bootstrap resamples of a task's metrics, see `metrics.bootstrap`."""
    return metrics.bootstrap(task.score(target, predictions), len(target), samples, seed, together=target.together)


def with_interval(point, drawn, primary):
    """A row of a table: the metrics, and the interval of the primary one as "low" and "high"."""
    low, high = metrics.interval(drawn[primary])
    return {**point, "low": low, "high": high}


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """What an evaluation found. Print it, or see `to_frame` and `to_html`.

    Attributes:
        metrics: {name: value}. MultiLabel: map (macro average precision), micro_f1, macro_f1. MultiClass:
            accuracy, macro_f1, map. Regression: r2, mae, rmse. Caption: bleu_1 to bleu_4, rouge_l, cider, meteor. Retrieval: see there.
        intervals: {name: (low, high)}, 95% bootstrap intervals over the evaluated rows.
        baselines: DataFrame with a row per simple rival; the metrics, and the interval of the primary one.
        sections: list of `Section`, further tables.
        notes: list of sentences about what the figures mean here.
        examples: DataFrame of some rows: the truth, the prediction, what was read.
        pictures: names of the columns of `examples` that hold pictures.
        drawn: {column of `examples`: function of a cell that gives the HTML of a page} of those that words do not tell, such as sounds.
        rows: int, how many rows were evaluated.
        target: str, the target column.
        primary: str, the metric that decides whether the model beats a rival.
        labels: DataFrame with a row per class, for MultiLabel and MultiClass.
        confusion: DataFrame for MultiClass: rows of each true class (index) by predicted class (columns).
        calibration: DataFrame for MultiLabel and MultiClass with the rows log_loss, brier and ece (expected calibration error).
        sets: DataFrame with the rows coverage and size, of a Pipeline that was given held-out rows by `conformalize`.
        missing: DataFrame with a row per subset of modalities, from `evaluate(missing=True)`.
        earned: DataFrame with a row per modality, from `evaluate(explain=True)`: what it adds to the primary metric.
        groups: DataFrame with a row per value of a column, from `evaluate(by=column)`.
        gallery: DataFrame for Caption, a row for each image, best first: image (a path or bytes), caption, references,
            score (CIDEr-D of this caption).
        hits: DataFrame for Retrieval, a row for each of some queries: query, rank, its own item, and the items that came first.

    Example:
        >>> import mmkeras as mm
        >>> train, test = mm.split_frame(mm.samples.movies(80, seed=0), 0.3, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(train, epochs=1, verbose=0)
        >>> sorted(pipe.evaluate(test, verbose=0).metrics)
        ['macro_f1', 'map', 'micro_f1']
    """

    metrics: dict
    intervals: dict
    baselines: object
    sections: list
    notes: list
    examples: object
    pictures: tuple
    rows: int
    target: str
    primary: str
    drawn: dict = dataclasses.field(default_factory=dict)

    def table(self, name):
        """The table of a section by its name; an empty DataFrame where there is none."""
        import pandas as pd

        return next((section.table for section in self.sections if section.name == name), pd.DataFrame())

    labels = property(lambda self: self.table("labels"))
    confusion = property(lambda self: self.table("confusion"))
    calibration = property(lambda self: self.table("calibration"))
    sets = property(lambda self: self.table("sets"))
    missing = property(lambda self: self.table("missing"))
    earned = property(lambda self: self.table("earned"))
    groups = property(lambda self: self.table("groups"))
    gallery = property(lambda self: self.table("gallery"))
    hits = property(lambda self: self.table("hits"))

    def to_frame(self):
        """The model and its rivals as a DataFrame: metrics, and the primary metric's interval."""
        import pandas as pd

        low, high = self.intervals[self.primary]
        own = pd.DataFrame([{**self.metrics, "low": low, "high": high}], index=["this model"])
        return own if self.baselines.empty else pd.concat([own, self.baselines])

    def to_html(self, path):
        """Write the report with its plots as one HTML file. Returns the path."""
        from mmkeras.evaluation.pages import write_report

        return write_report(self, path)

    def __str__(self):
        lines = [f"Evaluation of {self.target!r} on {self.rows} rows (95% bootstrap intervals)"]
        for name, value in self.metrics.items():
            low, high = self.intervals[name]
            lines.append(f"  {name:<9} {value:6.3f}   [{low:.3f}, {high:.3f}]")
        if not self.baselines.empty:
            lines += ["", "Beside its baselines", indent(self.to_frame().round(3).to_string())]
        for section in self.sections:
            if not (section.gallery or section.pictures or section.table.empty):
                lines += ["", section.title, indent(section.table.round(3).to_string(na_rep="-"))]
        return "\n".join(lines + [""] + [f"- {note}" for note in self.notes])

    __repr__ = __str__


class Judgement:
    """Scores of a model and its rivals on the same rows and resamples.

    Args:
        task: adapted task.
        target: `Target` of the judged rows.
        predictions: of the model.
        samples: int, resamples of the bootstrap.
    """

    def __init__(self, task, target, predictions, samples=1000):
        self.task, self.target, self.predictions, self.samples = task, target, predictions, samples
        self.point, self.drawn = scores(task, target, predictions, samples=samples)

    def rivals(self, rivals, without=None):
        """(table of rivals, best first; sentences on whether the model beats the best of them, and on modalities that are no gain).

        Args:
            rivals: {name: (its task, its predictions)}.
            without: {name of a rival that lacks a modality beside the model: name of the modality}.
        """
        rows, drawn = {}, {}
        for name, (task, predictions) in rivals.items():
            point, drawn[name] = scores(task, self.target, predictions, samples=self.samples)
            rows[name] = with_interval(point, drawn[name], self.task.primary)
        table = self._table(rows)
        if table.empty:
            return table, []
        less = self.task.primary in self.task.smaller_is_better
        table = table.sort_values(self.task.primary, ascending=less)
        return table, [self._verdict(table, drawn[table.index[0]]), *self._unpaid(table, drawn, without or {})]

    def missing(self, subsets):
        """`Section` of the model when only some of the modalities are there: {their names joined: predictions}."""
        rows = {}
        for name, predictions in subsets.items():
            point, drawn = scores(self.task, self.target, predictions, samples=self.samples)
            rows[name] = with_interval(point, drawn, self.task.primary)
        return Section("missing", "With only some of the modalities", self._table(rows))

    def sets(self):
        """[`Section` of how often sets hold the truth], of a task that knows some."""
        task = self.task
        if task.sets is None:
            return []
        hits, sizes = task.covered(self.target, task.in_sets(self.predictions))
        about = {"hits": hits, "sizes": sizes, "what": task.set_unit}
        return [sets_section(task.sets["coverage"], task.sets["rows"], **about)]

    def earned(self, names, of):
        """`Section` of what each modality adds to the primary metric: Shapley values, which add up from that of nothing to that of all.

        Args:
            names: of the modalities.
            of: function of a tuple of some of them to the predictions when only these are there.
        """
        primary = self.task.primary

        def worth(there):
            point, drawn = scores(self.task, self.target, of(there), samples=self.samples)
            return np.append(
                drawn[primary], point[primary]
            )  # the same resamples for all, so that differences are paired

        values, errors = shapley(names, worth)
        nothing, whole = worth(()), worth(tuple(names))
        lines = {"nothing": nothing, **dict(zip(names, values, strict=True)), "all of them": whole}
        rows = {}
        for name, each in lines.items():
            low, high = metrics.interval(each[:-1])
            rows[name] = {primary: each[-1], "low": low, "high": high}
        notes = []
        if errors is not None:
            notes.append(
                f"What modalities earn was drawn from orders of them: a standard error of {errors[:, -1].max():.3f} at most."
            )
        return Section(
            "earned", f"How much of {primary} each modality earns (Shapley values)", self._table(rows), notes=notes
        )

    def groups(self, values, column):
        """`Section` with the scores of the rows of each value of a column, most rows first.

        Args:
            values: (rows,) array of the column.
            column: str.
        """
        import pandas as pd

        names = pd.Series(values, dtype=object).fillna("").astype(str).str.strip().replace("", "(missing)")
        numbers, names = pd.factorize(names)
        score, rows = self.task.score(self.target, self.predictions), {}
        counts = np.bincount(numbers)
        for number in np.argsort(-counts, kind="stable"):
            members = np.flatnonzero(numbers == number)

            def of_group(weights, members=members):
                spread = np.zeros((len(weights), len(numbers)))
                spread[:, members] = weights
                return score(spread)

            point, drawn = metrics.bootstrap(of_group, len(members), self.samples, 0)
            rows[names[number]] = {"rows": len(members), **with_interval(point, drawn, self.task.primary)}
        table = self._table(rows)
        table.index.name = column
        return Section("groups", f"By {column}", table)

    @staticmethod
    def _table(rows):
        import pandas as pd

        return pd.DataFrame.from_dict(rows, orient="index")

    def _verdict(self, table, drawn):
        """Whether the model beats its best rival."""
        best = table.index[0]
        value, rival = self.point[self.task.primary], table.loc[best, self.task.primary]
        if value != value or rival != rival:
            return f"The model cannot be set beside its baselines: without a known label, {self.task.primary} is no number."
        beats, span = self._difference(rival, drawn)
        if beats:
            return f"The model beats its best baseline, {best!r}, beyond the interval: {span}."
        return (
            f"The model does NOT beat its best baseline, {best!r}, beyond the interval: {span}. "
            "Prefer the simpler one, or get more data."
        )

    def _difference(self, rival, drawn):
        """(whether the model is better beyond the interval of paired differences, the figures as a text)."""
        primary, value = self.task.primary, self.point[self.task.primary]
        sign = -1 if primary in self.task.smaller_is_better else 1
        low, high = metrics.interval(self.drawn[primary] - drawn[primary])
        span = f"{primary} {value:.3f} against {rival:.3f}, difference {value - rival:+.3f} [{low:+.3f}, {high:+.3f}]"
        return min(sign * low, sign * high) > 0, span

    def _unpaid(self, table, drawn, without):
        """A sentence on the modalities without which a model does as well, in a list; see `rivals`."""
        spans = {}
        for rival, modality in without.items():
            value = table.loc[rival, self.task.primary]
            beats, span = self._difference(value, drawn[rival])
            if value == value and not beats:
                spans[modality] = span
        told = "; ".join(f"{modality!r}, {span}" for modality, span in spans.items())
        return (
            [f"Modalities that are no gain beyond the interval, against a model trained without each: {told}."]
            if told
            else []
        )

    def report(
        self, *, rivals, without=None, sections=(), notes=(), examples=None, pictures=(), drawn=None, own_pictures=None
    ):
        """The `Report`.

        Args:
            rivals, without: see `rivals`.
            sections: list of `Section` behind the task's own.
            notes: sentences to begin with.
            examples: DataFrame. pictures, drawn: see `Report`.
            own_pictures: a picture of each judged row, or None.
        """
        import pandas as pd

        table, verdict = self.rivals(rivals, without)
        sections = [*self.task.sections(self.target, self.predictions, own_pictures), *sections]
        return Report(
            metrics=self.point,
            intervals={name: metrics.interval(values) for name, values in self.drawn.items()},
            baselines=table,
            sections=sections,
            notes=[*notes, *(note for section in sections for note in section.notes), *verdict],
            examples=pd.DataFrame() if examples is None else examples,
            pictures=tuple(pictures),
            drawn=drawn or {},
            rows=len(self.target),
            target=self.task.column,
            primary=self.task.primary,
        )


def indent(text):
    """Each line of a text two places to the right."""
    return "\n".join("  " + line for line in text.splitlines())

"""Scores with confidence intervals, thresholds, and the Report that sets a model beside its baselines."""

import dataclasses

import numpy as np

from mmkeras.evaluation import metrics
from mmkeras.evaluation.sentences import score_captions

# The metric that decides whether the model beats a baseline.
PRIMARY = {"multilabel": "map", "multiclass": "macro_f1", "regression": "r2", "caption": "cider"}


def tune_thresholds(target, probabilities, strength=50):
    """Per-label thresholds for F1 from validation rows.

    Each label's own best threshold is drawn towards the best common one, the more so the fewer positive rows
    the label has: weight n / (n + strength) on its own. Best thresholds of rare labels are mostly noise.

    Args:
        target: (n, C) of 0 and 1. probabilities: (n, C).
        strength: float, the number of positive rows at which both count equally.

    Returns:
        (C,) float array.
    """
    target = target.astype(bool)
    common = _best_threshold(target.ravel(), probabilities.ravel())
    own = np.array([_best_threshold(target[:, c], probabilities[:, c], common) for c in range(target.shape[1])])
    trust = target.sum(axis=0) / (target.sum(axis=0) + strength)
    return trust * own + (1 - trust) * common


def _best_threshold(positive, scores, default=0.5):
    """The midpoint below the score at which F1 is highest; `default` without positive rows."""
    if not positive.any():
        return default
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(positive[order])
    f1 = 2 * found / (np.arange(1, len(order) + 1) + found[-1])
    f1[np.append(np.diff(scores[order]) == 0, False)] = -1  # a threshold cannot part equal scores
    best = int(np.argmax(f1))
    below = scores[order][best + 1] if best + 1 < len(order) else 0.0
    return float((scores[order][best] + below) / 2)


def scores(task, target, predictions, thresholds=None, samples=1000, seed=0):
    """Point values and bootstrap resamples of a task's metrics, see `metrics.bootstrap`."""
    if task.kind == "caption":
        return metrics.bootstrap(score_captions(predictions, target).weighted, len(target), samples, seed)
    if task.kind == "regression":
        numbers, truth = predictions[:, 0].astype("float64"), target[:, 0].astype("float64")
        return metrics.bootstrap(lambda w: metrics.regression(truth, numbers, w), len(truth), samples, seed)
    if task.kind == "multiclass":
        classes = np.arange(len(task.classes))
        truth, decisions = target[:, None] == classes, predictions.argmax(axis=1)[:, None] == classes
        function = metrics.multiclass
    else:
        truth, decisions = target, predictions >= (0.5 if thresholds is None else thresholds)
        function = metrics.multilabel
    return metrics.bootstrap(lambda w: function(truth, predictions, decisions, w), len(truth), samples, seed)


def label_table(task, target, predictions, thresholds=None):
    """A DataFrame with a row per class: rows, average precision, precision, recall, F1 and threshold."""
    import pandas as pd

    if task.kind in ("regression", "caption"):
        return pd.DataFrame()
    if task.kind == "multiclass":
        classes = np.arange(len(task.classes))
        target, decisions = target[:, None] == classes, predictions.argmax(axis=1)[:, None] == classes
        used = [np.nan] * len(classes)
    else:
        used = np.full(len(task.classes), 0.5) if thresholds is None else thresholds
        decisions = predictions >= used
    ones = np.ones((1, len(target)))
    tp, fp, fn = (values[0] for values in metrics.counts(target, decisions, ones))
    flags = target.astype(bool)
    ap = [metrics.average_precision(flags[:, c], predictions[:, c], ones)[0] for c in range(flags.shape[1])]
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {
            "rows": (tp + fn).astype(int),
            "ap": ap,
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
        }
    columns["f1"] = np.where(tp + fn > 0, metrics.f1(tp, fp, fn), np.nan)
    return pd.DataFrame({**columns, "threshold": used}, index=pd.Index(task.classes, name="label"))


def confusion_table(task, target, predictions):
    """A DataFrame of counts: the true class down, the predicted one across; empty but for MultiClass."""
    import pandas as pd

    if task.kind != "multiclass":
        return pd.DataFrame()
    counts = np.zeros((len(task.classes),) * 2, int)
    np.add.at(counts, (target, predictions.argmax(axis=1)), 1)
    return pd.DataFrame(
        counts, index=pd.Index(task.classes, name="true"), columns=pd.Index(task.classes, name="predicted")
    )


def with_interval(point, drawn, primary):
    """A row of a table: the metrics, and the interval of the primary one as "low" and "high"."""
    low, high = metrics.interval(drawn[primary])
    return {**point, "low": low, "high": high}


@dataclasses.dataclass(frozen=True, repr=False)
class Report:
    """What an evaluation found. Print it, or see `to_frame` and `to_html`.

    Attributes:
        metrics: {name: value}. MultiLabel: map (macro average precision), micro_f1, macro_f1. MultiClass:
            accuracy, macro_f1, map. Regression: r2, mae, rmse.
        intervals: {name: (low, high)}, 95% bootstrap intervals over the evaluated rows.
        baselines: DataFrame with a row per baseline; the metrics, and the interval of the primary one.
        labels: DataFrame with a row per class.
        notes: list of sentences about what the figures mean here.
        examples: DataFrame of some rows: the truth, the prediction, what was read.
        rows: int, how many rows were evaluated.
        confusion: DataFrame for MultiClass: rows of each true class (index) by predicted class (columns).
        missing: DataFrame with a row per subset of modalities, from `evaluate(missing=True)`.
        gallery: DataFrame for Caption, a row for each image, best first: image (a path or bytes), caption, references,
            score (CIDEr-D of this caption).
        target: str, the target column.
        primary: str, the metric that decides whether the model beats a baseline.

    Example:
        >>> import mmkeras as mm
        >>> train, test = mm.split_frame(mm.samples.movies(80, seed=0), 0.3, seed=0)
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(train, epochs=1, verbose=0)
        >>> sorted(pipe.evaluate(test).metrics)
        ['macro_f1', 'map', 'micro_f1']
    """

    metrics: dict
    intervals: dict
    baselines: object
    labels: object
    notes: list
    examples: object
    rows: int
    confusion: object
    missing: object
    gallery: object
    target: str
    primary: str

    def to_frame(self):
        """The model and its baselines as a DataFrame: metrics, and the primary metric's interval."""
        import pandas as pd

        low, high = self.intervals[self.primary]
        own = pd.DataFrame([{**self.metrics, "low": low, "high": high}], index=["this model"])
        return own if self.baselines.empty else pd.concat([own, self.baselines])

    def to_html(self, path):
        """Write the report with its plots as one HTML file. Returns the path."""
        from mmkeras.evaluation.pages import write_html

        return write_html(self, path)

    def __str__(self):
        lines = [f"Evaluation of {self.target!r} on {self.rows} rows (95% bootstrap intervals)"]
        for name, value in self.metrics.items():
            low, high = self.intervals[name]
            lines.append(f"  {name:<9} {value:6.3f}   [{low:.3f}, {high:.3f}]")
        if not self.baselines.empty:
            lines += ["", "Beside its baselines", indent(self.to_frame().round(3).to_string())]
        if not self.labels.empty:
            lines += ["", "By label", indent(self.labels.round(3).to_string(na_rep="-"))]
        if not self.confusion.empty:
            lines += ["", "True classes (down) as predicted (across)", indent(self.confusion.to_string())]
        if not self.missing.empty:
            lines += ["", "With only some of the modalities", indent(self.missing.round(3).to_string())]
        return "\n".join(lines + [""] + [f"- {note}" for note in self.notes])

    __repr__ = __str__


def make_report(
    task, target, predictions, thresholds, baselines, notes=(), examples=None, subsets=None, samples=1000, images=None,
):  # fmt: skip
    """Score the model and its baselines on the same rows and resamples.

    Args:
        task, target, predictions, thresholds: of the model.
        baselines: {name: (predictions, thresholds)}.
        notes: sentences to begin with.
        examples: DataFrame for `Report.examples`.
        subsets: {name: predictions} of the same model with some modalities missing.
        images: paths or bytes beside the captions, for `Report.gallery`.
    """
    import pandas as pd

    primary = PRIMARY[task.kind]
    point, drawn = scores(task, target, predictions, thresholds, samples)
    others = {}

    def row(name, values, cut):
        own, others[name] = scores(task, target, values, cut, samples)
        return with_interval(own, others[name], primary)

    partial = {name: row(name, values, thresholds) for name, values in (subsets or {}).items()}
    rows = {name: row(name, values, cut) for name, (values, cut) in baselines.items()}
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table.sort_values(primary, ascending=False) if len(table) else table
    labels = label_table(task, target, predictions, thresholds)
    notes = list(notes) + _label_notes(labels)
    if len(table):
        notes.append(_verdict(point[primary], drawn[primary], table, others, primary))
    return Report(
        metrics=point,
        intervals={name: metrics.interval(values) for name, values in drawn.items()},
        baselines=table,
        labels=labels,
        notes=notes,
        examples=pd.DataFrame() if examples is None else examples,
        rows=len(target),
        confusion=confusion_table(task, target, predictions),
        missing=pd.DataFrame.from_dict(partial, orient="index"),
        gallery=pd.DataFrame() if images is None else _gallery(images, predictions, target),
        target=task.column,
        primary=primary,
    )


def _gallery(images, captions, references):
    import pandas as pd

    found = score_captions(captions, references).table["cider"].to_numpy()
    frame = pd.DataFrame(
        {"image": list(images), "caption": list(captions), "references": list(references), "score": found}
    )
    return frame.sort_values("score", ascending=False, ignore_index=True, kind="stable")


def _verdict(value, drawn, table, others, primary):
    """Whether the model beats its best baseline, by the paired differences on the same resamples."""
    best = table.index[0]
    gain = value - table.loc[best, primary]
    low, high = metrics.interval(drawn - others[best][primary])
    span = f"{primary} {value:.3f} against {table.loc[best, primary]:.3f}, difference {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
    if gain != gain:
        return f"The model cannot be set beside its baselines: without a known label, {primary} is no number."
    if low > 0:
        return f"The model beats its best baseline, {best!r}, beyond the interval: {span}."
    return f"The model does NOT beat its best baseline, {best!r}, beyond the interval: {span}. Prefer the simpler one, or get more data."


def _label_notes(labels):
    if labels.empty:
        return []
    empty = list(labels.index[labels["rows"] == 0])
    return [f"No evaluated row has {empty}: left out of the macro averages."] if empty else []


def indent(text):
    return "\n".join("  " + line for line in text.splitlines())

"""Sections of a report: a table with a title, and a figure or a gallery."""

import dataclasses

import numpy as np

from mmkeras.evaluation import metrics


@dataclasses.dataclass
class Section:
    """A table of a report.

    Attributes:
        name: str, by which code finds it.
        title: str, for people.
        table: DataFrame.
        figure: function without arguments → matplotlib Figure, or None.
        alt: str, what the figure shows.
        notes: list of sentences that the report should hold.
        gallery: bool; True for rows with the columns image, caption, references and score, shown as pictures and not printed.
        pictures: names of columns of the table that hold pictures, paths or bytes; such a table is not printed either.
    """

    name: str
    title: str
    table: object
    figure: object = None
    alt: str = ""
    notes: list = dataclasses.field(default_factory=list)
    gallery: bool = False
    pictures: tuple = ()


def label_section(classes, truth, predictions, *, decisions, thresholds):
    """A row per class: rows, average precision, precision, recall, F1 and threshold.

    Args:
        classes: (C,) names.
        truth, decisions: (n, C) of 0 and 1. predictions: (n, C) probabilities.
        thresholds: (C,), NaN where there are none.
    """
    import pandas as pd

    ones = np.ones((1, len(truth)))
    tp, fp, fn = (values[0] for values in metrics.counts(truth, decisions, ones))
    flags = np.asarray(truth, bool)
    ap = [metrics.average_precision(flags[:, c], predictions[:, c], ones)[0] for c in range(flags.shape[1])]
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = {"rows": (tp + fn).astype(int), "ap": ap, "precision": tp / (tp + fp), "recall": tp / (tp + fn)}
    columns["f1"] = np.where(tp + fn > 0, metrics.f1(tp, fp, fn), np.nan)
    table = pd.DataFrame({**columns, "threshold": thresholds}, index=pd.Index(classes, name="label"))
    empty = list(table.index[table["rows"] == 0])
    notes = [f"No evaluated row has {empty}: left out of the macro averages."] if empty else []

    def figure():
        from mmkeras.evaluation.figures import draw_labels

        return draw_labels(table, len(truth))

    return Section("labels", "By label", table, figure, "Average precision of each label", notes)


def confusion_section(classes, truth, decided):
    """Counts: the true class down, the predicted one across.

    Args:
        classes: (C,) names.
        truth, decided: (n,) class numbers.
    """
    import pandas as pd

    counts = np.zeros((len(classes),) * 2, int)
    np.add.at(counts, (truth, decided), 1)
    table = pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"))

    def figure():
        from mmkeras.evaluation.figures import draw_confusion

        return draw_confusion(table)

    return Section("confusion", "True classes (down) as predicted (across)", table, figure, "Confusion matrix")


def hits_section(target, rows, ranks, hits, *, notes):
    """A row for each query: what it is, the rank of the first item of its group, that item, and what came first.

    Args:
        target: `tasks.retrieval.Pairs`. rows: (Q,) numbers of the queries' rows. ranks: (Q,).
        hits: for each query the rows of the items that came first. notes: sentences.
    """
    import pandas as pd

    query, items = target.shown["query"], target.shown["items"]
    found = [{str(place): items[hit] for place, hit in enumerate(some, start=1)} for some in hits]
    table = pd.DataFrame(
        [
            {"query": query[row], "rank": rank, "its own": items[row], **more}
            for row, rank, more in zip(rows, ranks, found, strict=True)
        ]
    )
    sides = {"query": ["query"], "items": [name for name in table if name not in ("query", "rank")]}
    pictures = tuple(name for side in target.pictured for name in sides[side])
    return Section("hits", "Queries that found theirs first, and last", table, notes=notes, pictures=pictures)

"""model_card: a page that tells what a model reads, what it learnt from, how it scores, and what nobody checked."""

import dataclasses
import html
import pathlib

import keras
import pandas as pd

from mmkeras.data.telling import clean, shortened
from mmkeras.evaluation.pages import html_note, html_page, html_table
from mmkeras.persistence import VERSION, write_text

UNKNOWN = "not known: a loaded model, or one of several, keeps no rows"
INTERVALS = "Low and high: 95% bootstrap intervals over the judged rows."


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of the card: its title, sentences, and tables by their titles ('' for none)."""

    title: str
    sentences: list
    tables: dict = dataclasses.field(default_factory=dict)


def model_card(pipe, path, df=None, by=None):
    """Write a card of a model (Mitchell et al., 2019, https://arxiv.org/abs/1810.03993), as a page to hand on with it, atomically.

    It tells what the model answers and reads, what its training cells held, how many rows it learnt from and was validated on, how it scores, by
    subset of modalities and by group, and its limits in sentences. What it is meant for, and for whom it may be harmful, only people know: it
    says that they must add it.

    Args:
        pipe: a fitted or loaded `Pipeline`. What is not known of a loaded one is said.
        path: str or pathlib.Path that ends in .html, or in .md for Markdown.
        df: DataFrame of rows that it did not learn from, with the target, on which it is judged; None leaves scores out, and says so.
        by: name of a column of `df`, of whose values the card shows scores, too; or None.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: another ending, a column `by` without rows, or no model yet.
        KeyError, TypeError: as `Pipeline.evaluate`. OSError: it cannot be written.

    Example:
        >>> import tempfile, mmkeras as mm
        >>> pipe = mm.Pipeline([mm.Tabular(numeric=["budget", "runtime"])], mm.MultiLabel("genres"))
        >>> history = pipe.fit(mm.samples.movies(60, seed=0), epochs=1, verbose=0)
        >>> mm.model_card(pipe, tempfile.mkdtemp() + "/card.md").read_text().splitlines()[0]
        '# Model card of “genres”'
    """
    ending = pathlib.Path(path).suffix.lower()
    if ending not in WRITERS:
        raise ValueError(
            f"A card is written as .html or .md. Received: {shortened(str(path))}. Use one of these endings."
        )
    if by is not None and df is None:
        raise ValueError(
            f"`by` names a column of `df`. Received: by={by!r} without rows. Give rows to judge the model on."
        )
    fitted = pipe.check_fitted()
    several = len(fitted.trunk.modalities) > 1
    report = None if df is None else pipe.evaluate(df, verbose=0, missing=several, by=by)
    parts = [_model(pipe), _reads(fitted), _rows(fitted), _scores(report), _limits(fitted, report, several, by)]
    return write_text(path, clean(WRITERS[ending](f"Model card of “{fitted.task.column}”", parts)))


def _model(pipe):
    fitted = pipe.check_fitted()
    names = [repr(modality.name) for modality in fitted.trunk.modalities]
    target = f": {', '.join(map(repr, fitted.task.columns))}" if fitted.task.columns else ""
    joined = f", joined by the fusion {pipe.fusion!r}" if len(names) > 1 else ""
    weights = fitted.trunk.encode.count_params() + fitted.head.count_params()
    sentences = [
        f"It answers {type(fitted.task).__name__}{target}, from {', '.join(names)}{joined}.",
        f"It has {weights:,} weights, and was made by mmkeras {VERSION} on Keras {keras.__version__}, as far as this program knows.",
        "Who made it, what it is meant for and what not, under which licence, and whom its errors may harm is not known here: add it.",
    ]
    return _Part("The model", [*sentences, *pipe.notes])


def _reads(fitted):
    """What each column holds, as it was in training."""
    rows = [
        {
            "column": name,
            "modality": modality.name,
            "by": type(modality).__name__,
            "read as": f"{column.reads}, {column.how}" if column.how else column.reads,
            "training cells": column.held or ("not looked at" if column.files or column.usual else "not known"),
            "missing in training": _share(column.usual),
        }
        for modality in fitted.trunk.modalities
        for name, column in modality.readers.items()
    ]
    return _Part("What it reads", [], {"": pd.DataFrame(rows).set_index("column")})


def _share(usual):
    return "not known" if usual is None else f"{usual['missing'] / max(1, usual['looked']):.1%}"


def _rows(fitted):
    learnt, judged = (None if rows is None else len(rows.df) for rows in (fitted.rows, fitted.validation))
    counts = {c.usual["rows"] for m in fitted.trunk.modalities for c in m.readers.values() if c.usual}
    if learnt is not None:
        sentences = [
            f"It learnt from {learnt:,} rows; from more if they streamed from files, of which it keeps a sample."
        ]
        sentences.append(
            f"{judged:,} rows validated it." if judged else "No rows validated it: nothing was tuned on rows apart."
        )
    else:
        looked = f"its columns were read by {max(counts):,} rows" if counts else "nor by how many its columns were read"
        sentences = [
            f"How many rows it learnt from is {UNKNOWN}; {looked}.",
            f"How many rows validated it is {UNKNOWN}.",
        ]
    return _Part("What it learnt from", sentences)


def _scores(report):
    if report is None:
        return _Part(
            "How it scores",
            ["NOT judged: no rows were given. A card of use has scores on rows that the model did not learn from."],
        )
    own = pd.DataFrame(
        [[value, *report.intervals[name]] for name, value in report.metrics.items()],
        index=pd.Index(report.metrics, name="metric"),
        columns=["value", "low", "high"],
    )
    tables = {f"On {report.rows:,} rows": own, "Beside its baselines": report.baselines}
    tables |= {section.title: section.table for section in report.sections if section.name in SHOWN}
    return _Part("How it scores", [INTERVALS, *report.notes], {title: t for title, t in tables.items() if not t.empty})


SHOWN = ("missing", "groups", "calibration", "sets")  # sections of a report


def _limits(fitted, report, several, by):
    task = fitted.task
    columns = [(name, column) for modality in fitted.trunk.modalities for name, column in modality.readers.items()]
    told = [f"{name!r}: of {column.held}; beyond them nothing was learnt." for name, column in columns if column.held]
    if any(column.words for _, column in columns):
        told.append(
            "In which languages texts are was not looked at, only in which scripts; it is untested in others than those above."
        )
    files = [name for name, column in columns if column.files]
    if files:
        told.append(f"What files hold was not looked at: {', '.join(map(repr, files))}.")
    if task.tuned and (fitted.validation is not None or fitted.rows is None):
        told.append(f"From the rows that validated it, it learnt: {', '.join(task.tuned)}.")
    if task.sets is not None:
        told.append(
            f"Its sets hold the truth {task.sets['coverage']:.0%} of the time on rows like the {task.sets['rows']:,} held-out ones, and on no others."
        )
    elif task.set_unit is not None:
        told.append(
            "No held-out rows were given for sets that hold the truth as often as they should: `conformalize` was not called."
        )
    if several and report is None:
        told.append("How it does without some of its modalities was not checked.")
    if not by:
        told.append("How it does on groups of rows was not checked.")
    told.append(
        "Whether new rows are like those of training, `pipe.check(df)` says of columns, but of no file and no meaning."
    )
    return _Part("Limits", told)


def _html(title, parts):
    lines = html_page(title, title)
    for part in parts:
        lines.append(f"<h2>{html.escape(part.title)}</h2>")
        lines.append(
            "<ul>" + "".join(html_note(sentence) for sentence in part.sentences) + "</ul>" if part.sentences else ""
        )
        for heading, table in part.tables.items():
            lines += [f"<h3>{html.escape(heading)}</h3>" if heading else "", html_table(table)]
    return "\n".join(lines) + "</html>\n"


def _markdown(title, parts):
    lines = [f"# {_line(title)}", ""]
    for part in parts:
        lines += [f"## {part.title}", "", *(f"- {_line(sentence)}" for sentence in part.sentences), ""]
        for heading, table in part.tables.items():
            cells = [[table.index.name or "", *table.columns], ["---"] * (1 + len(table.columns))]
            cells += [
                [index, *row] for index, row in zip(table.index, table.itertuples(index=False, name=None), strict=True)
            ]
            lines += [
                *([f"### {_line(heading)}", ""] if heading else []),
                *(f"| {' | '.join(map(_cell, row))} |" for row in cells),
                "",
            ]
    return "\n".join(lines)


def _cell(value):
    return ("–" if value != value else f"{value:.3f}") if isinstance(value, float) else _line(value).replace("|", "\\|")


def _line(text):
    """A text in a line, without what Markdown takes for HTML."""
    return " ".join(str(text).split()).replace("<", "&lt;")


WRITERS = {".html": _html, ".md": _markdown}

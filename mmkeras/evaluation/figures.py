"""The figures of reports, which need no display."""

import functools
import io

import numpy as np

from mmkeras.data.telling import clean

DOTS = 3_000  # rows in a cloud of them


def label(text, most=80):
    """A text as matplotlib shows it in full: no sign of it begins a formula, and what no font has is replaced.

    Example:
        >>> label("$x_$\\ud800")
        '\\\\$x_\\\\$\ufffd'
    """
    text = str(text)
    return clean(text if len(text) <= most else f"{text[: most - 1]}…").replace("$", r"\$")


def new_figure(width, height, heights=None):
    """A figure that needs no display and leaves pyplot's state alone, with axes, or one below the other for `heights`."""
    figure, axes = new_grid(width, height, heights or [1])
    return figure, axes[0, 0] if heights is None else axes[:, 0]


def new_grid(width, height, heights, columns=1):
    """The same with several axes beside each other: (len(heights), columns) of them."""
    figure = _shown_figure()(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(heights), columns, height_ratios=heights, squeeze=False)
    for place in np.ravel(axes):
        place.spines[["top", "right"]].set_visible(False)
    return figure, axes


@functools.cache
def _shown_figure():
    """matplotlib's Figure, which notebooks show also where pyplot was never imported."""
    from matplotlib.figure import Figure

    class ShownFigure(Figure):
        def _repr_png_(self):
            file = io.BytesIO()
            self.savefig(file, format="png", dpi=80)
            return file.getvalue()

    return ShownFigure


def draw_rivals(report):
    """The model and its rivals by the primary metric, with intervals."""
    frame = report.to_frame().iloc[::-1]
    figure, axes = new_figure(8, 0.9 + 0.42 * len(frame))
    colors = ["#9aa5b1"] * (len(frame) - 1) + ["#1f6feb"]
    values = frame[report.primary]
    axes.barh(range(len(frame)), values, color=colors)
    low, high = (values - frame["low"]).clip(lower=0), (frame["high"] - values).clip(lower=0)
    axes.errorbar(values, range(len(frame)), xerr=[low.fillna(0), high.fillna(0)], fmt="none", ecolor="#333", capsize=3)
    axes.set_yticks(range(len(frame)), map(label, frame.index))
    axes.set_xlabel(f"{report.primary}, with its 95% interval")
    return figure


def draw_labels(labels, rows):
    """Average precision of each label, beside its share of the rows."""
    labels = labels.sort_values("ap")
    figure, axes = new_figure(8, 0.9 + 0.3 * len(labels))
    axes.barh(range(len(labels)), labels["ap"].fillna(0), color="#1f6feb")
    share = labels["rows"] / rows
    axes.plot(
        share,
        range(len(labels)),
        "|",
        color="#d1242f",
        markersize=11,
        markeredgewidth=2,
        label="share of rows (chance)",
    )
    axes.set_yticks(
        range(len(labels)),
        [f"{label(name)} ({count})" for name, count in zip(labels.index, labels["rows"], strict=True)],
    )
    axes.set_xlim(0, 1)
    axes.set_xlabel("average precision")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderpad=0, frameon=False)
    return figure


def draw_ablation(ablation):
    """Every metric with an interval beside each other, a row per variant."""
    table = ablation.table.iloc[::-1]
    names = [c for c in table if f"{c}_low" in table]
    others = iter(("#9aa5b1", "#d29922", "#2da44e", "#8250df"))
    figure, axes = new_figure(8, 1.2 + 0.34 * len(table))
    for number, name in enumerate(names):
        places = np.arange(len(table)) + 0.18 * (number - (len(names) - 1) / 2)
        spans = [
            (table[name] - table[f"{name}_low"]).clip(lower=0),
            (table[f"{name}_high"] - table[name]).clip(lower=0),
        ]
        color = "#1f6feb" if name == ablation.primary else next(others)
        axes.errorbar(table[name], places, xerr=spans, fmt="o", color=color, capsize=3, label=name)
    labels = [m if loss == "–" else f"{m}, {loss}" for m, loss in zip(table["modalities"], table["loss"], strict=True)]
    axes.set_yticks(range(len(table)), map(label, labels))
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names))
    return figure


def draw_numbers(columns, truth, predictions, kinds):
    """For each column, truth against prediction with the line where they are the same, and beside it the residuals.

    Args:
        columns: K names. truth: (n, K), NaN for missing cells. predictions: (n, K).
        kinds: K names of transforms; all but "none" are drawn on a logarithmic scale.
    """
    figure, axes = new_grid(8, 3.6 * len(columns), [1] * len(columns), 2)
    for place, name in enumerate(columns):
        known = np.flatnonzero(~np.isnan(truth[:, place]))
        shown = known[np.unique(np.linspace(0, len(known) - 1, min(DOTS, len(known))).astype(int))]
        numbers, said = truth[shown, place], predictions[shown, place]
        ends = [min(numbers.min(), said.min()), max(numbers.max(), said.max())]
        size = max(float(np.median(np.abs(numbers))), np.finfo("float32").tiny)
        for beside, values, line, what in zip(
            axes[place], (numbers, numbers - said), (ends, [0.0, 0.0]), ("true", "true − predicted"), strict=True
        ):
            beside.plot(said, values, ".", color="#1f6feb", alpha=min(0.8, max(0.15, 100 / len(shown))))
            beside.plot(ends, line, color="#d1242f", linewidth=1)
            beside.set_xlabel(f"{label(name)}, predicted")
            beside.set_ylabel(what)
            if kinds[place] != "none":
                beside.set_xscale("symlog", linthresh=size)
                beside.set_yscale("symlog", linthresh=size)
    return figure


def draw_confusion(counts):
    """Counts as numbers, the share of the true class as colour."""
    side = 2.2 + 0.75 * len(counts)
    figure, axes = new_figure(side + 1.2, side)
    share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0).to_numpy()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*share.shape):
        color = "white" if share[row, column] > 0.6 else "#222"
        axes.text(column, row, f"{counts.iat[row, column]:,}", ha="center", va="center", color=color)
    names = list(map(label, counts.index))
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure


def draw_reliability(curves):
    """How often what is told with a probability is true, for each part of [0, 1]; on the line, probabilities mean what they say.

    Args:
        curves: {"now" or "before": (mean probabilities, shares that were so, how many)}.
    """
    figure, axes = new_figure(5.2, 4.6)
    axes.plot([0, 1], [0, 1], color="#9aa5b1", linewidth=1)
    for (name, (said, so, counts)), color in zip(curves.items(), ("#1f6feb", "#d1242f"), strict=False):
        axes.plot(said, so, color=color, linewidth=1, alpha=0.7, label=name)
        axes.scatter(said, so, s=8 + 120 * counts / counts.max(), color=color, alpha=0.7)
    axes.set_xlabel("probability that was told")
    axes.set_ylabel("share that was so")
    axes.legend(frameon=False)
    return figure

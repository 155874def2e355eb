"""The figures of reports, which need no display."""

import numpy as np


def new_figure(width, height, heights=None):
    """A figure that needs no display and leaves pyplot's state alone, with axes, or one below the other for `heights`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = (
        figure.subplots() if heights is None else figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)
    )
    for place in np.ravel(axes):
        place.spines[["top", "right"]].set_visible(False)
    return figure, axes if heights is None else axes[:, 0]


def draw_rivals(report):
    """The model and its rivals by the primary metric, with intervals."""
    frame = report.to_frame().iloc[::-1]
    figure, axes = new_figure(8, 0.9 + 0.42 * len(frame))
    colors = ["#9aa5b1"] * (len(frame) - 1) + ["#1f6feb"]
    values = frame[report.primary]
    axes.barh(range(len(frame)), values, color=colors)
    low, high = (values - frame["low"]).clip(lower=0), (frame["high"] - values).clip(lower=0)
    axes.errorbar(values, range(len(frame)), xerr=[low.fillna(0), high.fillna(0)], fmt="none", ecolor="#333", capsize=3)
    axes.set_yticks(range(len(frame)), frame.index)
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
        [f"{name} ({count})" for name, count in zip(labels.index, labels["rows"], strict=True)],
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
    axes.set_yticks(range(len(table)), labels)
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names))
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
    names = list(map(str, counts.index))
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    return figure

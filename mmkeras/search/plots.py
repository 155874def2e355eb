"""The trail of a search as one HTML file, with its plots inside."""

import html

import numpy as np

from mmkeras.evaluation.figures import label, new_figure
from mmkeras.evaluation.pages import html_image, html_note, html_page, html_table
from mmkeras.persistence import write_text
from mmkeras.search.space import JOIN


def write_trail(trail, path):
    """Write a `Trail` as a standalone HTML file, atomically. Returns the path."""
    title = f"Search for “{trail.target}”"
    blocks = html_page(title, f"{title}: {len(trail.table)} trials")
    blocks.append("<ul>" + "".join(html_note(text) for text in trail.notes) + "</ul>")
    if trail.best is not None:
        blocks += ["<h2>Scores</h2>", html_image(_scores(trail), "Score of each trial")]
        mattered = trail.mattered()
        if len(mattered):
            blocks += [
                "<h2>Which choices mattered</h2>",
                html_image(_mattered(trail, mattered), "Which choices mattered"),
            ]
            blocks.append(f"<p><small>{html.escape(_explain())}</small></p>")
    shown = trail.table.copy()
    shown.index = np.arange(1, len(shown) + 1)
    blocks += ["<h2>Trials</h2>", html_table(shown)]
    blocks.append(f"<p><small>Low and high: 95% bootstrap intervals over {trail.rows} validation rows.</small></p>")
    return write_text(path, "\n".join(blocks) + "</html>\n")


def _explain():
    return (
        "Bars: the share of the scores' variance that lies between the values of a choice, less chance. Dots: the trials' scores "
        "by value. Choices are not drawn independently: a hint, no proof."
    )


def _scores(trail):
    """Scores with intervals over trials, the best so far as a line, failures as crosses at the bottom."""
    data = trail.table
    canvas, axes = new_figure(8, 3.6)
    numbers, done = np.arange(1, len(data) + 1), data["score"].notna().to_numpy()
    values = data["score"].to_numpy(float)
    spans = [
        (data["score"] - data["low"]).clip(lower=0).to_numpy()[done],
        (data["high"] - data["score"]).clip(lower=0).to_numpy()[done],
    ]
    axes.errorbar(numbers[done], values[done], yerr=spans, fmt="o", color="#9aa5b1", capsize=3, label="trial")
    so_far = np.fmax.accumulate(values) if trail.direction == "max" else np.fmin.accumulate(values)
    axes.step(numbers, so_far, where="post", color="#1f6feb", label="best so far")
    axes.plot(trail.best + 1, values[trail.best], "o", color="#1f6feb", zorder=5)
    if not done.all():
        axes.plot(numbers[~done], np.zeros((~done).sum()), "x", color="#d1242f", label="failed",
                  transform=axes.get_xaxis_transform(), clip_on=False)  # fmt: skip
    axes.set_xlabel("trial")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel(f"{trail.objective}, with its 95% interval")
    axes.legend(frameon=False)
    return canvas


def _mattered(trail, mattered, most=6):
    """A bar for each choice, and beside it the scores by value of those that mattered most."""
    names = list(mattered.index[:most])
    done = trail.table[trail.table["score"].notna()]
    heights = [1 + 0.3 * len(mattered), *[1.5] * len(names)]
    canvas, axes = new_figure(8, 0.3 + sum(heights), heights)
    places = np.arange(len(mattered))[::-1]
    axes[0].barh(places, mattered.to_numpy(), color="#1f6feb")
    axes[0].set_yticks(places, [label(name) for name in mattered.index])
    axes[0].set_xlim(0, 1)
    axes[0].set_xlabel("share of the scores' variance")
    for place, name in zip(axes[1:], names, strict=True):
        if name.startswith("use "):
            keys = ["yes" if name[4:] in value.split(JOIN) else "no" for value in done["modalities"]]
        else:
            keys = [f"{v:.3g}" if isinstance(v, float) else str(v) for v in done[name]]
        values = sorted(set(keys))
        place.plot(done["score"], [values.index(key) for key in keys], "o", color="#9aa5b1", alpha=0.8)
        for row, value in enumerate(values):
            mean = done["score"][[key == value for key in keys]].mean()
            place.plot([mean, mean], [row - 0.3, row + 0.3], color="#1f6feb")
        place.set_yticks(range(len(values)), [label(value) for value in values])
        place.set_ylim(-0.6, len(values) - 0.4)
        place.set_title(label(name), fontsize=10, loc="left")
    axes[-1].set_xlabel(trail.objective)
    return canvas

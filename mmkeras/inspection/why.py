"""An explanation drawn: what a row's modalities, words, columns and pixels gave."""

import html
import textwrap

import numpy as np

from mmkeras.data.telling import clean
from mmkeras.evaluation.figures import label, new_figure
from mmkeras.evaluation.pages import html_image, html_page, read_pixels
from mmkeras.persistence import write_text

FOR, AGAINST = (31, 111, 235), (209, 73, 58)  # colours of what spoke for an outcome, and against it
LINE = 84  # characters of a line of words
MOST_WORDS, MOST_BARS = 150, 12  # of a picture
CONTEXT_SIZE = 320  # pixels a side of a picture


def draw_row(explanation, row):
    """A matplotlib Figure: modalities on top, then what is within each of them."""
    shares = list(explanation.modalities.iloc[row].items())
    if explanation.errors is not None:
        errors = explanation.errors.iloc[row]
        shares = [(f"{name} (± {errors[name]:.2g})", value) for name, value in shares]
    panels = [(_bars, (shares, "what each modality gave; blue spoke for it, red against it"), _tall(shares))]
    for name, rows in explanation.pieces.items():
        if isinstance(rows[row], np.ndarray):
            cells = explanation.pictures[name][row] if name in explanation.pictures else (None,)
            panels.append((_picture, (rows[row], cells, name), 3.2))
        elif rows[row] and name in explanation.texts:
            panels.append((_words, (rows[row], name), 0.5 + 0.26 * len(_lines(rows[row]))))
        elif rows[row]:
            bars = _strongest(rows[row])
            if name in explanation.cells:
                cells = explanation.cells[name].iloc[row]
                bars = [(f"{column} = {_shown(cells[column])}", value) for column, value in bars]
            panels.append((_bars, (bars, f"within {name}"), _tall(bars)))
    heights = [height for *_, height in panels]
    figure, axes = new_figure(8.4, 0.5 + sum(heights), heights)
    for (draw, what, _), place in zip(panels, axes, strict=True):
        draw(place, *what)
    figure.suptitle(label(title(explanation, row)), fontsize=11, x=0.01, ha="left")
    return figure


def title(explanation, row):
    """What is explained of a row, in a line."""
    outcome = "" if explanation.outcomes is None else f"{explanation.outcomes[row]}: "
    worth, nothing = explanation.worth[row], explanation.nothing[row]
    return f"{outcome}{explanation.worth_name} {worth:.3g}, without any modality {nothing:.3g}"


def write_rows(explanation, path, most):
    """Write the first rows as a page, atomically. Returns the path."""
    count = min(most, len(explanation))
    lines = html_page("What decided", f"What decided {count:,} of {len(explanation):,} rows")
    lines.append("<p>Blue spoke for it, red against it; of each row the strongest is darkest.</p>")
    lines.append("<ul>" + "".join(f"<li>{html.escape(note)}</li>" for note in explanation.notes) + "</ul>")
    for row in range(count):
        lines.append(f"<h2>{html.escape(str(explanation.index[row]))}</h2>")
        lines.append(html_image(draw_row(explanation, row), title(explanation, row)))
        for name in explanation.texts:
            words = explanation.pieces[name][row]
            lines.append(f"<p><small>{html.escape(name)}</small><br>{_spans(words)}</p>" if words else "")
    return write_text(path, clean("\n".join(lines)) + "</html>\n")


def _tall(bars):
    return 0.55 + 0.26 * max(1, len(bars))


def _strongest(pieces):
    """The pieces of most weight, strongest first."""
    return sorted(pieces, key=lambda piece: -abs(piece[1]))[:MOST_BARS]


def _shown(cell):
    """A cell in a few signs."""
    import pandas as pd

    if pd.api.types.is_scalar(cell) and pd.isna(cell):
        return "missing"
    return f"{cell:.6g}" if isinstance(cell, float | np.floating) else str(cell).strip() or "missing"


def _bars(axes, bars, what):
    names, values = zip(*bars, strict=True)
    colours = [np.array(FOR if value >= 0 else AGAINST) / 255 for value in values]
    axes.barh(range(len(values)), values, color=colours)
    axes.set_yticks(range(len(values)), [label(name, 32) for name in names], fontsize=9)
    axes.invert_yaxis()
    axes.axvline(0, color="#333", linewidth=0.8)
    axes.set_title(label(what), fontsize=9, loc="left")
    for place, value in enumerate(values):
        axes.annotate(f"{value:+.3g}", (value, place), (3 if value >= 0 else -3, 0), textcoords="offset points",
                      va="center", ha="left" if value >= 0 else "right", fontsize=8)  # fmt: skip
    axes.margins(x=0.18)


def _lines(pieces):
    """[[(word, number), …], …] of lines that are not too long."""
    lines, length, more = [[]], 0, len(pieces) - MOST_WORDS
    for word, value in [*pieces[:MOST_WORDS], *([(f"… {more:,} more", 0.0)] if more > 0 else [])]:
        word = textwrap.shorten(word, 40, placeholder="…") or " "
        if length and length + len(word) > LINE:
            lines.append([])
            length = 0
        lines[-1].append((word, value))
        length += len(word) + 1
    return lines


def _words(axes, pieces, name):
    lines, most = _lines(pieces), max(abs(value) for _, value in pieces) or 1.0
    axes.set_xlim(0, LINE + 6)
    axes.set_ylim(len(lines), -0.6)
    axes.axis("off")
    axes.set_title(label(name), fontsize=9, loc="left")
    for number, line in enumerate(lines):
        place = 0
        for word, value in line:
            colour = (*(np.array(FOR if value >= 0 else AGAINST) / 255), 0.85 * abs(value) / most)
            box = {"facecolor": colour, "edgecolor": "none", "pad": 1.2}
            axes.text(place, number, label(word), fontsize=9, family="monospace", bbox=box, va="center")
            place += len(word) + 1


def _picture(axes, heat, cells, name):
    pixels = [read_pixels(cell, CONTEXT_SIZE) for cell in cells]  # each below its own part of the map
    shapes = [picture.shape[:2] for picture in pixels if picture is not None]
    height, width = shapes[0] if shapes else (len(heat), heat.shape[1] // len(cells))
    for place, picture in enumerate(pixels):
        if picture is not None:
            extent = (place * width, (place + 1) * width, height, 0)
            axes.imshow(picture.mean(axis=-1), cmap="gray", vmin=0, vmax=255, extent=extent)
    smooth = _smoothed(heat)
    most, extent = np.abs(smooth).max() or 1.0, (0, len(cells) * width, height, 0)
    axes.imshow(smooth, cmap="RdBu", vmin=-most, vmax=most, alpha=0.55, extent=extent, interpolation="bilinear")
    axes.axis("off")
    axes.set_title(label(name), fontsize=9, loc="left")


def _smoothed(heat):
    """A map whose single pixels, which are noise to the eye, are means of their neighbours."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(heat, max(1.0, max(heat.shape) / 40))


def _spans(words):
    """Words as HTML, coloured."""
    most, spans = max(abs(value) for _, value in words) or 1.0, []
    for word, value in words:
        colour = FOR if value >= 0 else AGAINST
        style = f"background: rgba({colour[0]}, {colour[1]}, {colour[2]}, {0.85 * abs(value) / most:.2f})"
        spans.append(f"<span style='{style}' title='{value:+.3g}'>{html.escape(word)}</span>")
    return " ".join(spans)

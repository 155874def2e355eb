"""The Report as one HTML file, with its plots inside."""

import base64
import html
import io

import numpy as np

from mmkeras.persistence import write_bytes, write_text

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp")
NAMES = {"map": "mean average precision", "macro_f1": "macro-F1", "cider": "CIDEr-D", "r2": "R²"}
SHOWN = 8  # captions of the best and of the worst
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .9rem; } th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); }
th { text-align: left; } td { text-align: right; } td:first-child, td.text { text-align: left; }
td.long { min-width: 11rem; } .gallery img { min-width: 9rem; } td.picture img { width: 6rem; display: block; } td.picture p { margin: 0; opacity: .7; }
.scroll { overflow-x: auto; } .first td { font-weight: 600; background: var(--soft); }
img { max-width: 100%; background: #fff; border-radius: 6px; } li.bad { font-weight: 600; }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; } .card { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-weight: 600; } figcaption small { opacity: .7; font-weight: 400; }
figcaption ul { font-weight: 400; font-size: .8rem; padding-left: 1.1rem; opacity: .85; margin: .3rem 0; }
.card b { display: block; font-size: 1.5rem; } .card small { opacity: .7; }
"""


def html_page(title, heading):
    return [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
        f"<h1>{html.escape(heading)}</h1>",
    ]


def write_ablation(ablation, path):
    """Write an `Ablation` as a standalone HTML file, atomically. Returns the path."""
    title = f"Ablation of “{ablation.target}”"
    parts = html_page(title, f"{title} on {ablation.rows} rows")
    parts.append("<ul>" + "".join(html_note(note) for note in ablation.notes) + "</ul>")
    parts += [
        html_image(_variants(ablation), "Variants and baselines"),
        html_table(ablation.table.set_index("modalities")),
    ]
    parts.append("<p><small>Low and high: 95% bootstrap intervals over the judged rows.</small></p>")
    return write_text(path, "\n".join(parts) + "</html>\n")


def write_html(report, path):
    """Write a `Report` as a standalone HTML file, atomically. Returns the path."""
    cards = "".join(
        f"<div class=card>{html.escape(name)}<b>{value:.3f}</b>"
        f"<small>[{report.intervals[name][0]:.3f}, {report.intervals[name][1]:.3f}]</small></div>"
        for name, value in report.metrics.items()
    )
    parts = [
        *html_page(f"Evaluation of {report.target}", f"Evaluation of “{report.target}” on {report.rows} rows"),
        f"<div class=cards>{cards}</div><p><small>95% bootstrap intervals over the evaluated rows.</small></p>",
        "<ul>" + "".join(html_note(note) for note in report.notes) + "</ul>",
    ]
    if not report.baselines.empty:
        parts += ["<h2>Beside its baselines</h2>", html_image(_compare(report), "The model and its baselines")]
        parts.append(html_table(report.to_frame(), first=True))
    if not report.labels.empty:
        parts += ["<h2>By label</h2>", html_image(_by_label(report), "Average precision of each label")]
        parts.append(html_table(report.labels))
    if not report.confusion.empty:
        parts += ["<h2>True and predicted classes</h2>", html_image(_confusion(report.confusion), "Confusion matrix")]
        parts.append(html_table(report.confusion))
    if not report.missing.empty:
        parts += ["<h2>With only some of the modalities</h2>", html_table(report.missing)]
    if not report.gallery.empty:
        best, worst = report.gallery.head(SHOWN), report.gallery.tail(min(SHOWN, max(0, len(report.gallery) - SHOWN)))
        parts += ["<h2>Best captions</h2>", _gallery(best), "<h2>Worst captions</h2>", _gallery(worst.iloc[::-1])]
    if not report.examples.empty:
        parts += ["<h2>Some rows</h2>", html_table(report.examples, pictures=True)]
    return write_text(path, "\n".join(parts) + "</html>\n")


def write_index(parts, path):
    """Write a page that links several reports, atomically. Returns the path.

    Args:
        parts: list of dicts: title, story (str), report (`Report`), link (str, relative), seconds (float).
        path: the HTML file.
    """
    page = html_page("mmkeras quickstart", "What mmkeras learnt just now")
    page.append(
        "<p>Models trained on this machine, on made-up data. Each report has plots, baselines and more rows.</p>"
    )
    for part in parts:
        report = part["report"]
        low, high = report.intervals[report.primary]
        cards = [
            (
                NAMES[report.primary],
                f"{report.metrics[report.primary]:.3f}",
                f"[{low:.3f}, {high:.3f}], {report.rows} unseen rows",
            )
        ]
        if not report.baselines.empty:
            best = report.baselines.iloc[0]
            cards.append(("best baseline", f"{best[report.primary]:.3f}", str(best.name)))
        cards.append(("time", f"{part['seconds']:.0f} s", "training, evaluation, saving"))
        page.append(f"<h2>{html.escape(part['title'])}</h2><p>{html.escape(part['story'])}</p><div class=cards>")
        page += [
            f"<div class=card>{html.escape(name)}<b>{value}</b><small>{html.escape(note)}</small></div>"
            for name, value, note in cards
        ]
        page.append(f"</div><p><a href='{html.escape(part['link'])}'>The whole report</a></p>")
        page.append(
            _gallery(report.gallery.iloc[:: max(1, len(report.gallery) // 4)].head(4))
            if len(report.gallery)
            else html_table(report.examples.head(4), pictures=True)
        )
    return write_text(path, "\n".join(page) + "</html>\n")


def _gallery(rows):
    """Pictures with what was written and what people wrote."""
    cards = []
    for row in rows.itertuples(index=False):
        references = "".join(f"<li>{html.escape(text)}</li>" for text in row.references[:5])
        cards.append(
            f"<figure>{_picture(row.image)}<figcaption>{html.escape(row.caption)} <small>CIDEr-D {row.score:.2f}</small>"
            f"<ul>{references}</ul></figcaption></figure>"
        )
    return f"<div class=gallery>{''.join(cards)}</div>"


def _picture(cell, size=224):
    """A picture file as an HTML image of at most `size` pixels a side; nothing for no image."""
    pixels = read_pixels(cell, size)
    if pixels is None:
        return "<p>(no image)</p>"
    import tensorflow as tf

    data = base64.b64encode(tf.io.encode_jpeg(pixels, quality=85).numpy()).decode()
    return f"<img alt='' src='data:image/jpeg;base64,{data}'>"


def read_pixels(cell, size=None):
    """(H, W, 3) uint8 pixels of a path or of bytes, at most `size` a side; None for an empty cell or an unreadable file."""
    import tensorflow as tf

    try:
        data = cell if isinstance(cell, bytes) else tf.io.read_file(str(cell)) if cell and cell == cell else b""
        pixels = tf.io.decode_image(data, 3, expand_animations=False)
    except tf.errors.OpError:
        return None
    longest = max(pixels.shape[:2])
    if size and longest > size:
        shape = [max(1, round(side * size / longest)) for side in pixels.shape[:2]]
        pixels = tf.cast(tf.round(tf.image.resize(pixels, shape, antialias=True)), tf.uint8)
    return pixels.numpy()


def plot_attention(captions, number, image, path):
    """Write a PNG with the image, and beside it where each word of its caption looked.

    Args:
        captions: `Captions`, from `generate`, with a grid.
        number: int, which of them.
        image: path or bytes of that image file.
        path: the PNG file, written beside its place and renamed.

    Returns:
        pathlib.Path of the file.

    Raises:
        ValueError: captions of patches that form no grid, or fewer of them; an image that cannot be read.

    The picture is that of Xu et al., 2015, "Show, Attend and Tell", https://arxiv.org/abs/1502.03044.

    Example:
        >>> import pathlib, tempfile
        >>> import numpy as np
        >>> import mmkeras as mm
        >>> none = np.zeros((1, 2))
        >>> one = mm.Captions(["a dog"], none[:, 0], none, none, np.array([2]), np.ones((1, 2, 6)), grid=(2, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     photo = pathlib.Path(mm.samples.captions(1, 0, folder)["image"][0])
        ...     plot_attention(one, 0, photo, photo.with_name("attention.png")).name
        'attention.png'
    """
    from matplotlib.figure import Figure

    if not 0 <= number < len(captions.texts):
        raise ValueError(f"`number` must name one of the {len(captions.texts)} captions, from 0. Received: {number}.")
    if captions.grid is None:
        raise ValueError("`captions` must come from one grid of patches. Received: none. Use Image(..., pooling=None).")
    pixels = read_pixels(image)
    if pixels is None:
        raise ValueError(f"`image` must be an image file, or its bytes. Received: {str(image)[:80]!r}. Check the path.")
    words = captions.maps(number)
    columns = min(5, len(words) + 1)
    lines = -(-(len(words) + 1) // columns)
    figure = Figure(figsize=(2.2 * columns, 2.4 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for place in axes:
        place.axis("off")
    axes[0].imshow(pixels)
    axes[0].set_title("image", fontsize=10)
    height, width = pixels.shape[:2]
    for place, (word, weights) in zip(axes[1:], words, strict=False):
        place.imshow(pixels)
        place.imshow(
            weights, cmap="magma", alpha=0.6, extent=(0, width, height, 0), interpolation="bicubic", vmin=0,
        )  # fmt: skip
        place.set_title(word, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return write_bytes(path, buffer.getvalue())


def html_note(note):
    return f"<li{' class=bad' if 'NOT' in note else ''}>{html.escape(note)}</li>"


def html_table(frame, first=False, pictures=False):
    def cell(value):
        if pictures and isinstance(value, str) and value.lower().endswith(ENDINGS):
            return f"<td class=picture>{_picture(value, 96)}</td>"
        if isinstance(value, float):
            return f"<td>{'–' if value != value else f'{value:.3f}'}</td>"
        kind = "" if not isinstance(value, str) else " class='text long'" if len(value) > 24 else " class=text"
        return f"<td{kind}>{html.escape(str(value))}</td>"

    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ["", *frame.columns])
    rows = [
        f"<tr{' class=first' if first and i == 0 else ''}><td>{html.escape(str(index))}</td>{''.join(map(cell, row))}</tr>"
        for i, (index, row) in enumerate(zip(frame.index, frame.itertuples(index=False, name=None), strict=True))
    ]
    return f"<div class=scroll><table><tr>{head}</tr>{''.join(rows)}</table></div>"


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


def html_image(figure, alt):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<p><img alt='{html.escape(alt)}' src='data:image/png;base64,{data}'></p>"


def _compare(report):
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


def _by_label(report):
    labels = report.labels.sort_values("ap")
    figure, axes = new_figure(8, 0.9 + 0.3 * len(labels))
    axes.barh(range(len(labels)), labels["ap"].fillna(0), color="#1f6feb")
    share = labels["rows"] / report.rows
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


def _variants(ablation):
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


def _confusion(counts):
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

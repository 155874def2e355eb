"""The Report as one HTML file, with its plots inside."""

import base64
import html
import io

from mmkeras.data.files import file_bytes
from mmkeras.data.paths import NoFile
from mmkeras.data.telling import clean
from mmkeras.evaluation.figures import draw_ablation, draw_rivals
from mmkeras.layers.image import picture_pixels
from mmkeras.persistence import write_text

SHOWN = 8  # captions of the best and of the worst
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: .9rem; } th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); }
th { text-align: left; } td { text-align: right; } td:first-child, td.text { text-align: left; }
td.long { min-width: 11rem; } .gallery img { min-width: 9rem; } td.picture img { max-height: 6rem; max-width: 12rem; min-width: 4rem; display: block; } td.picture p { margin: 0; opacity: .7; }
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
    lines = html_page(title, f"{title} on {ablation.rows} rows")
    lines.append("<ul>" + "".join(html_note(note) for note in ablation.notes) + "</ul>")
    lines += [
        html_image(draw_ablation(ablation), "Variants and baselines"),
        html_table(ablation.table.set_index("modalities")),
    ]
    lines.append("<p><small>Low and high: 95% bootstrap intervals over the judged rows.</small></p>")
    return write_text(path, clean("\n".join(lines)) + "</html>\n")


def write_report(report, path):
    """Write a `Report` as a standalone HTML file, atomically. Returns the path."""
    cards = "".join(
        f"<div class=card>{html.escape(name)}<b>{value:.3f}</b>"
        f"<small>[{report.intervals[name][0]:.3f}, {report.intervals[name][1]:.3f}]</small></div>"
        for name, value in report.metrics.items()
    )
    lines = [
        *html_page(f"Evaluation of {report.target}", f"Evaluation of “{report.target}” on {report.rows} rows"),
        f"<div class=cards>{cards}</div><p><small>95% bootstrap intervals over the evaluated rows.</small></p>",
        "<ul>" + "".join(html_note(note) for note in report.notes) + "</ul>",
    ]
    if not report.baselines.empty:
        lines += ["<h2>Beside its baselines</h2>", html_image(draw_rivals(report), "The model and its baselines")]
        lines.append(html_table(report.to_frame(), first=True))
    for section in report.sections:
        if section.table.empty:  # such as columns that are read as text, where there are pictures alone
            continue
        if section.gallery:
            worst = section.table.tail(min(SHOWN, max(0, len(section.table) - SHOWN))).iloc[::-1]
            lines += ["<h2>Best captions</h2>", html_gallery(section.table.head(SHOWN))]
            lines += ["<h2>Worst captions</h2>", html_gallery(worst)]
            continue
        lines.append(f"<h2>{html.escape(section.title)}</h2>")
        if section.figure is not None:
            lines.append(html_image(section.figure(), section.alt))
        lines.append(html_table(section.table, pictures=section.pictures))
    if not report.examples.empty:
        lines += ["<h2>Some rows</h2>", html_table(report.examples, pictures=report.pictures, drawn=report.drawn)]
    return write_text(path, clean("\n".join(lines)) + "</html>\n")


def write_index(models, path):
    """Write a page that links several reports, atomically. Returns the path.

    Args:
        models: list of dicts: title, story (str), report (`Report`), link (str, relative), seconds (float).
        path: the HTML file.
    """
    page = html_page("mmkeras quickstart", "What mmkeras learnt just now")
    page.append(
        "<p>Models trained on this machine, on made-up data. Each report has plots, baselines and more rows.</p>"
    )
    for model in models:
        report = model["report"]
        low, high = report.intervals[report.primary]
        cards = [
            (
                report.primary,
                f"{report.metrics[report.primary]:.3f}",
                f"[{low:.3f}, {high:.3f}], {report.rows} unseen rows",
            )
        ]
        if not report.baselines.empty:
            best = report.baselines.iloc[0]
            cards.append(("best baseline", f"{best[report.primary]:.3f}", str(best.name)))
        cards.append(("time", f"{model['seconds']:.0f} s", "training, evaluation, saving"))
        page.append(f"<h2>{html.escape(model['title'])}</h2><p>{html.escape(model['story'])}</p><div class=cards>")
        page += [
            f"<div class=card>{html.escape(name)}<b>{value}</b><small>{html.escape(note)}</small></div>"
            for name, value, note in cards
        ]
        page.append(f"</div><p><a href='{html.escape(model['link'])}'>The whole report</a></p>")
        shown = next((section for section in report.sections if section.pictures), None)
        table, pictures = (report.examples, report.pictures) if shown is None else (shown.table, shown.pictures)
        page.append(
            html_gallery(report.gallery.iloc[:: max(1, len(report.gallery) // 4)].head(4))
            if len(report.gallery)
            else html_table(table.head(4), pictures=pictures, drawn=report.drawn)
        )
    return write_text(path, clean("\n".join(page)) + "</html>\n")


def html_gallery(rows):
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
    """(H, W, 3) uint8 pixels of a path or of bytes, at most `size` a side, within the usual limits of `mm.Image`.

    None for an empty cell, and for what is no image or beyond the limits.
    """
    import tensorflow as tf

    try:
        data = file_bytes(cell)
        pixels = picture_pixels(data, size or 1 << 30) if data else None
    except (tf.errors.OpError, NoFile, TypeError):
        return None
    if pixels is not None and size and max(pixels.shape[:2]) > size:
        shape = [max(1, round(side * size / max(pixels.shape[:2]))) for side in pixels.shape[:2]]
        pixels = tf.cast(tf.round(tf.image.resize(pixels, shape, antialias=True)), tf.uint8).numpy()
    return pixels


def html_note(note):
    return f"<li{' class=bad' if 'NOT' in note else ''}>{html.escape(note)}</li>"


def html_table(frame, first=False, pictures=(), drawn=None):
    """A DataFrame as an HTML table.

    Args:
        frame: DataFrame.
        first: bool, whether the first row stands out.
        pictures: names of the columns that hold paths or bytes of pictures.
        drawn: {column: function of a cell to HTML}, or None.
    """
    drawn = drawn or {}

    def cell(value, column):
        if column in pictures and value is not None and not isinstance(value, float):
            return f"<td class=picture>{_picture(value, 192)}</td>"
        if column in drawn:
            return f"<td class=picture>{drawn[column](value)}</td>"
        if isinstance(value, float):
            return f"<td>{'–' if value != value else f'{value:.3f}'}</td>"
        kind = "" if not isinstance(value, str) else " class='text long'" if len(value) > 24 else " class=text"
        return f"<td{kind}>{html.escape(str(value))}</td>"

    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ["", *frame.columns])
    rows = []
    for number, (index, row) in enumerate(zip(frame.index, frame.itertuples(index=False, name=None), strict=True)):
        cells = "".join(cell(value, column) for value, column in zip(row, frame.columns, strict=True))
        rows.append(
            f"<tr{' class=first' if first and number == 0 else ''}><td>{html.escape(str(index))}</td>{cells}</tr>"
        )
    return f"<div class=scroll><table><tr>{head}</tr>{''.join(rows)}</table></div>"


def html_image(figure, alt):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f"<p><img alt='{html.escape(alt)}' src='data:image/png;base64,{data}'></p>"

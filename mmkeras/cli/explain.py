"""`mmkeras explain` and `mmkeras card`: what decided rows, and a page about a model."""


def add_explain(parser):
    """Add the options of `mmkeras explain` that are its own."""
    parser.add_argument("--html", help="write a page with a picture of each row to this file")
    parser.add_argument(
        "--choice", help="the class or label that is explained; without it what each row is most likely"
    )
    parser.add_argument("--rows", type=int, default=50, help="rows of the file that are explained, the first")


def add_card(parser):
    """Add the options of `mmkeras card` that are its own."""
    parser.add_argument("--html", required=True, metavar="FILE", help="where it is written: .html, or .md for Markdown")
    parser.add_argument("--csv", metavar="FILE", help="rows that it did not learn from, on which it is judged")
    parser.add_argument("--by", metavar="COLUMN", help="score also the rows of each value of this column")
    parser.set_defaults(sep=None, encoding=None)  # are found


def explain(pipe, df, options):
    """(DataFrame of what decided the first rows, a sentence on the page or '').

    Args:
        pipe: a fitted `Pipeline`. df: DataFrame. options: of the command.

    Raises:
        As `mm.explain` does; ValueError for fewer than 1 row.
    """
    import mmkeras as mm

    if options.rows < 1:
        raise ValueError(f"--rows must be 1 or more. Received: {options.rows}.")
    names = {str(outcome): outcome for outcome in pipe.task.outcomes}
    explanation = mm.explain(
        pipe, df.head(options.rows), names.get(options.choice, options.choice), inside=bool(options.html)
    )
    wrote = f"Wrote {explanation.to_html(options.html, options.rows)}." if options.html else ""
    return explanation.to_frame(), wrote

"""Options and commands for rows that stream from files of Parquet."""

import pathlib


def add_rows(parser, add_csv):
    """Add --rows, which excludes --csv; `add_csv` is a function that adds the latter to a parser, or to a group."""
    group = parser.add_mutually_exclusive_group(required=True)
    add_csv(group, required=False)
    group.add_argument("--rows", metavar="PATTERN", help='files of Parquet that stream, such as "rows/*.parquet"')
    parser.add_argument("--features", metavar="DIR", help="with --rows, what mmkeras encode wrote of them")


def check_rows(options, *names):
    """Raise a ValueError where options of rows that stream go with --csv; `names` are those beside --features."""
    for name in ("features", *names):
        if options.rows is None and getattr(options, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} goes with --rows. Received: --csv. Leave it out.")


def train_rows(pipe, options, settings):
    """Fit a Pipeline on files, and write model, served model and, where --test-rows are given, a report."""
    for name, usual in (("split_by", None), ("split_time", None), ("min_label_rows", 1)):
        if getattr(options, name) != usual:
            raise ValueError(
                f"--{name.replace('_', '-')} goes with --csv. Received: --rows. Leave it out, or see --key."
            )
    out = pathlib.Path(options.out)
    pipe.fit(options.rows, features=options.features, key=options.key, **settings)
    if options.test_rows:
        report = pipe.evaluate(options.test_rows, features=options.features, verbose=0)
        print(f"\n{report}\n")
    pipe.save(out / "model")
    pipe.export(out / "served")
    if options.test_rows:
        report.to_html(out / "report.html")
    print(
        f"Wrote {out}/model (mmkeras.load) and {out}/served (SavedModel){', and a report' if options.test_rows else ''}."
    )

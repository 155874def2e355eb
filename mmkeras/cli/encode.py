"""`mmkeras encode`: the features of frozen towers of all rows of many files, here or on a Ray cluster."""


def add_encode(parser, add_columns):
    """Add the options of `mmkeras encode`; `add_columns` is that of `Offers`."""
    parser.add_argument(
        "rows",
        nargs="+",
        metavar="ROWS",
        help='files of Parquet or CSV, patterns such as "rows/*.parquet", or URLs of these',
    )
    parser.add_argument(
        "--model", help="folder written by train or quickstart, whose towers encode, in place of columns"
    )
    parser.add_argument("--out", required=True, help="folder of the features; on Ray one that all machines see")
    parser.add_argument("--on", choices=["local", "ray"], default="local", help="where; ray reads $RAY_ADDRESS")
    parser.add_argument("--workers", type=int, default=2, help="processes on Ray")
    parser.add_argument("--gpus-per-worker", type=float, default=0, help="GPUs of each of them")
    parser.add_argument("--rows-per-block", type=int, default=2000, help="rows that are encoded and written together")
    add_columns(parser, False)


def encode(options, modalities):
    """Encode rows by the towers of a model, or of modalities; returns a sentence.

    Args:
        options: of the command.
        modalities: list of those of the columns that are given; None where a model is.

    Raises:
        As `mm.encode_table` does.
    """
    import mmkeras as mm
    from mmkeras.cli.use import load_folder
    from mmkeras.data.columns import columns_of
    from mmkeras.inference.encode_table import Workers, encode_blocks
    from mmkeras.trunk.row_blocks import RowBlocks

    if modalities is not None:
        done = mm.encode_table(
            options.rows, modalities, options.out, options.on, options.workers,
            gpus_per_worker=options.gpus_per_worker, rows_per_block=options.rows_per_block,
        )  # fmt: skip
    else:
        trunk = load_folder(options.model, options.unsafe).check_fitted().trunk
        blocks = RowBlocks(options.rows, columns_of(trunk.modalities), options.rows_per_block)
        workers = Workers(options.on, options.workers, options.gpus_per_worker)
        done = encode_blocks(trunk, blocks, options.out, workers)
    stored = ", ".join(f"{count:,} of {name!r}" for name, count in done.stored.items())
    return f"Wrote {done.encoded:,} features of {done.rows:,} rows to {options.out}, which holds {stored}."

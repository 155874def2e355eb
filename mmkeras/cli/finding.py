"""`mmkeras embed` and `mmkeras retrieve`: vectors of rows, and what queries find among items."""

import io
import pathlib


def add_embed(parser):
    """Add the options of `mmkeras embed`, beside the model and the table."""
    parser.add_argument("--side", choices=["query", "items"], help="what the rows are, of a model for retrieval")
    parser.add_argument(
        "--out",
        required=True,
        help="a file that ends in .npz for the vectors; or, for items, a folder for an index of them",
    )
    add_ids(parser)


def add_retrieve(parser):
    """Add the options of `mmkeras retrieve`, beside the model and the table of queries."""
    parser.add_argument("--items", required=True, help="file of rows to be found, or a folder that embed wrote")
    add_ids(parser)
    parser.add_argument("-k", type=int, default=10, help="items for each query")
    parser.add_argument("--out", help="CSV file for what is found; without it that of the first queries is printed")


def add_ids(parser):
    """Add the option of the column that names items."""
    parser.add_argument(
        "--ids", metavar="COLUMN", help="column that names the items; without it they are numbered from 0"
    )


def embed(pipe, df, options):
    """Write vectors of rows to a file, or an index of them to a folder; returns a sentence.

    Args:
        pipe: a fitted `Pipeline`. df: DataFrame. options: of the command.
    """
    import numpy as np

    import mmkeras as mm
    from mmkeras.persistence.writing import write_bytes

    if options.out.endswith(".npz"):
        if options.ids is not None:
            raise ValueError(
                f"--ids goes with an index. Received: --out {options.out!r}. Vectors stand in the order of the rows."
            )
        arrays = {"vectors": mm.embed(pipe, df, side=options.side)}
        data = io.BytesIO()
        np.savez(data, **arrays)
        write_bytes(options.out, data.getvalue())
        rows, width = arrays["vectors"].shape
        return f"Wrote {rows:,} vectors of {width} numbers to {options.out}."
    if options.side == "query":
        raise ValueError(f"An index holds items. Received: --side query with --out {options.out!r}. End --out in .npz.")
    index = mm.index_items(pipe, df, options.ids)
    index.save(options.out)
    return f"Wrote an index of {len(index):,} items to {options.out}. Next: mmkeras retrieve {options.model} --items {options.out} --csv QUERIES.csv"


def retrieve(pipe, queries, read, options):
    """DataFrame of what queries find, see `mm.retrieve`.

    Args:
        pipe: a fitted `Pipeline` for `Retrieval`. queries: DataFrame. read: function of a file to its rows. options: of the command.
    """
    import mmkeras as mm

    if pathlib.Path(options.items).is_dir():
        if options.ids is not None:
            raise ValueError(f"An index has its ids already. Received: --ids {options.ids!r}. Leave it out.")
        items = mm.load_index(options.items)
    else:
        items = mm.index_items(pipe, read(options.items), options.ids)
    return mm.retrieve(pipe, queries, items, options.k)

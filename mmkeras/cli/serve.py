"""`mmkeras serve`: saved models behind HTTP."""

import ipaddress
import os
import pathlib
import sys

TOKEN = "MMKERAS_TOKEN"


def add_options(parser):
    """Add the options of the command."""
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="folder written by train or quickstart, or NAME=FOLDER; several may be given",
    )
    add_unsafe(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all of this machine")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 for any that is free")
    parser.add_argument(
        "--index",
        action="append",
        default=[],
        metavar="FOLDER",
        help="items that embed wrote, in which queries are found at :retrieve; or NAME=FOLDER, for one of several models",
    )
    parser.add_argument("--token", help=f"what clients must send as a bearer token; without it ${TOKEN}, if it is set")
    parser.add_argument("--max-bytes", type=int, default=32 * 2**20, help="bytes of a request")
    parser.add_argument("--max-rows", type=int, default=1000, help="rows of a request")
    parser.add_argument("--max-pixels", type=int, default=50_000_000, help="pixels of a picture")
    parser.add_argument("--max-seconds", type=float, default=60, help="seconds that a request may take")
    parser.add_argument("--allow-paths", action="store_true", help="read pictures that a request names from this disk")


def add_unsafe(parser):
    """Add the option of every command that loads a saved model."""
    parser.add_argument(
        "--unsafe",
        action="store_true",
        help="run code that a model holds, such as a SavedModel of TensorFlow Hub; only for models whose maker you trust",
    )


def serve(options):
    """Serve models until Ctrl-C or SIGTERM."""
    folders, token = _named(options.models), _token(options)
    indexed = _named_indexes(options.index, folders)
    try:
        from mmkeras.serving import app, running
    except ImportError as error:
        raise ImportError(
            f"`mmkeras serve` needs the package {error.name}. Run `pip install 'mmkeras[serve]'`."
        ) from error
    from mmkeras.cli.use import load_folder
    from mmkeras.inference.index import load_index
    from mmkeras.serving.limits import Limits

    limits = Limits(options.max_bytes, options.max_rows, options.max_pixels, options.max_seconds, options.allow_paths)
    with running.listen(options.host, options.port) as place:
        address = running.address_of(place)
        if token is None and not _is_own(place.getsockname()[0]):
            print(f"Anybody who reaches {address} may use it. Give --token to ask for one.", file=sys.stderr)
        pipes = {name: load_folder(folder, options.unsafe) for name, folder in folders.items()}

        indexes = {name: load_index(folder) for name, folder in indexed.items()}

        def ready():
            for name in pipes:
                print(f"Serving {name} at {address}/v1/models/{name}:predict", flush=True)
            for name, index in indexes.items():
                print(f"Finding {len(index):,} items at {address}/v1/models/{name}:retrieve", flush=True)
            print("Ctrl-C stops it.", flush=True)

        running.serve(app.make_app(pipes, token, limits, indexes), place, ready=ready)
    print("Stopped.", flush=True)


def _named(models):
    """{name: folder} of FOLDER or NAME=FOLDER.

    Raises:
        ValueError: two of one name, or a name that no URL can hold.
        FileNotFoundError: there is no such folder.
    """
    folders = {}
    for model in models:
        name, sign, folder = model.partition("=")
        if not sign or pathlib.Path(model).is_dir():
            folder, name = model, pathlib.Path(model).expanduser().resolve().name
        if not pathlib.Path(folder).expanduser().is_dir():
            raise FileNotFoundError(f"There is no folder {folder!r}. Give one that `train` or `pipe.save` wrote.")
        if not name or not all(sign.isalnum() or sign in "._-" for sign in name):
            raise ValueError(
                f"A model's name must be letters, digits, '.', '_' or '-'. Received: {name!r}. Give NAME=FOLDER."
            )
        if name in folders:
            raise ValueError(
                f"Models must have different names. Received: {name!r} twice. Give NAME=FOLDER for one of them."
            )
        folders[name] = folder
    return folders


def _named_indexes(indexes, models):
    """{name of a model: folder of an index} of FOLDER or NAME=FOLDER.

    Raises:
        ValueError: two for one model, no name where there are several models, or one that none of them has.
    """
    folders = {}
    for index in indexes:
        name, sign, folder = index.partition("=")
        if not sign or pathlib.Path(index).is_dir():
            name, folder = next(iter(models)) if len(models) == 1 else "", index
        if name not in models or name in folders:
            raise ValueError(
                f"--index must be NAME=FOLDER, once for each of the models {list(models)} that has one. Received: {index!r}."
            )
        folders[name] = folder
    return folders


def _token(options):
    """The token, or None.

    Raises:
        ValueError: it is empty, or no header can hold it.
    """
    token = os.environ.get(TOKEN) if options.token is None else options.token
    if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
        raise ValueError("--token must be ASCII signs without blanks, at least one. Received: something else.")
    return token


def _is_own(host):
    """Whether an address is reached from this machine alone."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback

"""`.keras` files, looked at before Keras opens them: what they hold, how large it grows, and which files it names."""

import json
import pathlib
import zipfile

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"
MOST_JSON = 64 * 2**20  # bytes of a configuration
MOST_MEMBERS = 10_000
# Settings of layers and tokenizers that may name a file to read in place of holding values.
PATHS = ("vocabulary", "merges", "proto", "idf_weights", "filepath", "preset")
FUNCTIONS = tuple(
    f"keras.{place}" for place in ("activations", "ops", "initializers", "regularizers", "constraints", "losses")
)


def check_archive(path, trusted=False):
    """Raise unless a `.keras` file is as Keras writes them, so that opening it reads that file alone, and no more than it holds.

    Args:
        path: of the file.
        trusted: bool, whether its configuration may name other files, and any function of Keras.

    Returns:
        (what its configuration says, bytes of its weights).

    Raises:
        ValueError: it is not.
    """
    path = pathlib.Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive)
            config, size = json.loads(archive.read(CONFIG)), archive.getinfo(WEIGHTS).file_size
            with archive.open(WEIGHTS) as weights:
                check_weights(path, weights)
    except (
        zipfile.BadZipFile,
        RecursionError,
        KeyError,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise wrong(path, f"cannot be read ({type(error).__name__})") from error
    except json.JSONDecodeError as error:
        raise wrong(path, f"has a {CONFIG} that is no JSON") from error
    if not trusted:
        _check_config(path, config)
    return config, size


def _check_members(path, archive):
    """Names, and sizes: Keras compresses nothing, so nothing may grow when it is read."""
    members = archive.infolist()
    names = [member.filename for member in members]
    for name in names:
        parts = name.split("/")
        known = name in (CONFIG, METADATA, WEIGHTS) or name.startswith(ASSETS)
        if not known or ".." in parts or "\\" in name or "" in parts[:-1]:
            raise wrong(path, f"holds {name!r:.80}")
    if len(set(names)) < len(names) or len(names) > MOST_MEMBERS:
        raise wrong(path, "holds a name twice, or too many")
    grown = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size]
    if grown or sum(member.file_size for member in members) > path.stat().st_size:
        raise wrong(path, f"holds {(grown or names)[0]!r:.80}, which is larger than the file itself, or compressed")
    if archive.getinfo(CONFIG).file_size > MOST_JSON:
        raise wrong(path, f"has a {CONFIG} of {archive.getinfo(CONFIG).file_size:,} bytes, above {MOST_JSON:,}")


def check_weights(path, file):
    """Raise unless a file of HDF5 has no links, no values in other files, and no shape that is larger than what is stored.

    Args:
        path: how errors call it.
        file: of HDF5, open or by its path.

    Raises:
        ValueError: it has.
    """
    import h5py

    seen, waiting = set(), []
    with h5py.File(file, "r") as weights:
        waiting.append(weights)
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise wrong(path, f"has a link {name!r:.80} in {WEIGHTS}")
                inner = group[name]
                if isinstance(inner, h5py.Dataset):
                    if inner.external or inner.is_virtual:
                        raise wrong(path, f"has weights {name!r:.80} whose values are in another file")
                    if inner.nbytes > inner.id.get_storage_size():
                        raise wrong(
                            path, f"has weights {name!r:.80} of shape {inner.shape}, larger than what is stored"
                        )
                elif h5py.h5o.get_info(inner.id).addr not in seen:
                    seen.add(h5py.h5o.get_info(inner.id).addr)
                    waiting.append(inner)


def _check_config(path, config):
    """No file is named that a layer would read, and no function that does more than calculate."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            named = [name for name in PATHS if isinstance(value.get(name), str)]
            if named:
                raise wrong(path, f"names a file in {named[0]!r}: {value[named[0]]!r:.80}")
            module = value.get("module")
            of_keras = value.get("class_name") == "function" and isinstance(module, str) and module.startswith("keras.")
            if of_keras and not module.startswith(FUNCTIONS):
                raise wrong(path, f"names the function {module}.{value.get('config')!r:.80}"[:160])


def wrong(path, what):
    """A ValueError about a file of a saved Pipeline, and what to do."""
    kind = "A stage of a saved Pipeline must be a `.keras` file as Keras writes them, with all that it needs inside"
    if path.suffix != ".keras":
        kind = "Adapters of a saved Pipeline must be in a file of HDF5 as `pipe.save` writes it"
    return ValueError(
        f"{kind}. Received: {path.name!r}, which {what}. Do not use it; get one from whom you trust, or fit and save again."
    )

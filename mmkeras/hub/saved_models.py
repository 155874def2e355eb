"""Where a SavedModel's files are, and what both layers share: files that live with the layer and inside `.keras` files."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import weakref

import keras
import numpy as np
import tensorflow as tf

from mmkeras.graph import Untrusted, is_from_file, is_trusted

# What TF-Hub's text encoders call their inputs, and what mmkeras does.
TENSORS = {"input_word_ids": "token_ids", "input_mask": "padding_mask", "input_type_ids": "segment_ids"}
FILES = ("saved_model.pb", "fingerprint.pb", "assets", "variables")
folders = weakref.WeakValueDictionary()  # by digest: what clones are made from, while the layer they come from lives


def is_handle(handle):
    """Whether a string is a TF-Hub handle, that is, an address and not a folder.

    Args:
        handle: str.

    Returns:
        bool.

    Example:
        >>> is_handle("https://tfhub.dev/google/experts/bert/wiki_books/2"), is_handle("models/bert")
        (True, False)
    """
    return handle.startswith(("https://", "http://"))


def is_saved_model(handle):
    """Whether a string is a TF-Hub handle, or a folder that holds a SavedModel.

    Args:
        handle: str.

    Returns:
        bool.

    Example:
        >>> is_saved_model("no/such/folder")
        False
    """
    return is_handle(handle) or (pathlib.Path(handle).expanduser() / "saved_model.pb").is_file()


def resolve(handle):
    """The local folder of a SavedModel.

    Args:
        handle: a folder, or an address such as "https://tfhub.dev/…" or "https://www.kaggle.com/models/…", which
            TensorFlow Hub downloads once, into $TFHUB_CACHE_DIR.

    Returns:
        pathlib.Path.

    Raises:
        FileNotFoundError: a folder that does not exist.
        ValueError: an address that cannot be fetched, or a folder without saved_model.pb.

    Example:
        >>> from mmkeras import hub
        >>> hub.resolve("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: A SavedModel's folder must exist. Received: 'no/such/folder'. Check the path.
    """
    if is_handle(handle):
        import tensorflow_hub

        try:
            path = pathlib.Path(tensorflow_hub.resolve(handle))
        except Exception as error:
            raise ValueError(
                f"A TF-Hub handle must be one that can be downloaded. Received: {handle!r}, which failed with: "
                f"{type(error).__name__}: {error}. Check the address and the connection, or download the SavedModel "
                "elsewhere and give its folder."
            ) from error
    else:
        path = pathlib.Path(handle).expanduser()
        if not path.is_dir():
            raise FileNotFoundError(f"A SavedModel's folder must exist. Received: {handle!r}. Check the path.")
    if not (path / "saved_model.pb").is_file():
        held = sorted(file.name for file in path.iterdir())[:8]
        raise ValueError(
            f"A SavedModel's folder must hold saved_model.pb. Received: {handle!r}, which holds {held}. Give the folder "
            "that `tf.saved_model.save` wrote, or that an archive of TensorFlow Hub unpacks to."
        )
    return path


class Folder:
    """A SavedModel's files in a temporary place, which goes when nothing holds this object any more."""

    def __init__(self, source):
        path = pathlib.Path(tempfile.mkdtemp(prefix="mmkeras-hub-"))
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        self.model, self._values = path / "model", path / "weights"
        self._digest = self._twin = None
        copy_model(pathlib.Path(source), self.model)

    def finish(self, arrays=None):
        """The digest of graph, vocabularies and weights; `arrays`, if given, take the checkpoint's place."""
        if self._digest is not None:
            return self._digest
        digest = hashlib.blake2b(digest_size=16)
        if arrays is not None:
            shutil.rmtree(self.model / "variables", ignore_errors=True)
            with open(self._values, "wb") as file:
                for array in arrays:
                    data = array.tobytes()
                    digest.update(f"{array.shape}{array.dtype}".encode() + data)
                    file.write(data)
        for file in sorted(path for path in self.model.rglob("*") if path.is_file()):
            digest.update(file.relative_to(self.model).as_posix().encode() + file.read_bytes())
        self._digest = digest.hexdigest()
        first = folders.setdefault(self._digest, self)
        self._twin = None if first is self else first  # held, so that the digest is known as long as this one lives
        return self._digest

    def arrays(self, specs):
        """The weights given to `finish`, one by one."""
        with open(self._values, "rb") as file:
            for spec in specs:
                dtype = tf.as_dtype(spec["dtype"]).as_numpy_dtype
                yield np.fromfile(file, dtype, int(np.prod(spec["shape"], dtype="int64"))).reshape(spec["shape"])


def copy_model(source, target):
    """Copy the files of a SavedModel, without their permissions: the source may be read-only."""
    for name in FILES:
        for file in [source / name, *(source / name).rglob("*")]:
            if file.is_file():
                place = target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, place)


class SavedModelLayer(keras.layers.Layer):
    """What both layers share: files that are stored inside a `.keras` file, and what the configuration says of them."""

    def __init__(self, handle, stored, **kwargs):
        super().__init__(**kwargs)
        self.handle = os.fspath(handle)
        self.supports_jit = False  # a SavedModel may use operations that XLA does not know
        self._folder = self._loaded = None
        self._trusted = stored is None or is_trusted()
        self._remember(stored)

    @property
    def stored(self):
        return json.loads(self._stored)

    def _remember(self, stored):
        self._stored = json.dumps(stored)  # as text: Keras would track what is in a dict

    def build(self, inputs_shape):
        """Nothing to make: weights are the SavedModel's, and known since it was read."""

    def save_assets(self, directory):
        self._check_loaded()
        copy_model(self._folder.model, pathlib.Path(directory))

    def load_assets(self, directory):
        if not self._trusted:
            raise self._untrusted(self.handle)
        self._read(Folder(directory))

    def _check_loaded(self):
        if self._loaded is None:
            raise ValueError(
                f"A configuration alone does not hold a SavedModel. Received: layer {self.name!r}, made from one, without "
                f"its files. Load the `.keras` file, or make the layer anew: {type(self).__name__}({self.handle!r})."
            )

    @classmethod
    def from_config(cls, config):
        if not isinstance(config.get("stored"), dict):
            raise ValueError(
                "A stored layer's SavedModel comes from its own `.keras` file, never from an address or a folder that the "
                f"file names. Received: a {cls.__name__} with stored={config.get('stored')!r:.80} and the handle "
                f"{config.get('handle')!r:.80}. If you trust that place, make the layer anew: {cls.__name__}(handle)."
            )
        if is_from_file() and not is_trusted():
            raise cls._untrusted(config.get("handle"))
        return cls(**config)

    @classmethod
    def _untrusted(cls, handle):
        return Untrusted(
            "A SavedModel is a program, which runs when it is loaded: one inside a file is loaded only if you say that you "
            f"trust whom the file comes from. Received: a {cls.__name__} that was made of {handle!r:.80}. If you do, give "
            "`safe_mode=False`: mm.load(path, safe_mode=False), or keras.saving.load_model(path, safe_mode=False); on the "
            "command line `--unsafe`."
        )

    def get_config(self):
        return {**super().get_config(), "handle": self.handle, "stored": self.stored}


def interface(loaded):
    """What a SavedModel offers, for error messages."""
    signatures = [
        f"{name}({', '.join(sorted(function.structured_input_signature[1]))})"
        for name, function in getattr(loaded, "signatures", {}).items()
    ]

    def short(spec):
        return f"{spec.dtype.name}{spec.shape}" if isinstance(spec, tf.TensorSpec) else spec

    calls = [
        str(keras.tree.map_structure(short, function.structured_input_signature[0]))
        for function in (getattr(loaded.__call__, "concrete_functions", ()) if callable(loaded) else ())
    ]
    common = {*dir(tf.Module), "signatures", "graph_debug_info", "tensorflow_version", "tensorflow_git_version"}
    attributes = sorted(name for name in set(dir(loaded)) - common if name[0] != "_")
    return f"the calls {calls}, the signatures {signatures} and the attributes {attributes[:12]}"

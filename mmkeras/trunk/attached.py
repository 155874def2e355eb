"""A model on the first two stages: what it reads of them, from the cache where a frozen tower gave it."""

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.batches import batches
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.data.files import Files, examine
from mmkeras.graph import compiled, consumers, functional, submodel
from mmkeras.layers import Present
from mmkeras.modalities.base import PRESENT
from mmkeras.trunk.encoding import encode_rows, token_lengths
from mmkeras.trunk.stages import chain
from mmkeras.trunk.store import layout_of, row_bytes

IN_MEMORY = 1 << 26  # bytes of features that are read, and columns that are prepared, once and not in each epoch


class Attached:
    """A model of features, arranged so that frozen towers run once per distinct row. Use `Trunk.attach`.

    Args:
        head: keras.Model of features and prepared tensors; it may use only some of them.
        rest: keras.Model, the part of `encode` above the frozen towers, or None; see `stages.Cut`.
        prepare: keras.Model, the first stage.
        towers: {modality's name: `Tower`}.
        modalities: list of adapted modalities.

    Attributes:
        model: keras.Model from cached features and prepared tensors to what the head gives.
        modalities: those that the model reads.
    """

    def __init__(self, head, rest, prepare, towers, *, modalities):
        stages = [head]
        wanted = {} if rest is None else {key: tensor for key, tensor in rest.output.items() if key in head.input}
        if wanted:
            stages.insert(0, submodel(rest.input, wanted, name="encode_rest"))
        self.model = _with_presence(chain(*stages), prepare)
        needed = set(self.model.input)
        self._prepare = submodel(
            prepare.input, {k: t for k, t in prepare.output.items() if k in needed}, name="prepare_rest"
        )
        self._marked = [  # columns of which it matters only whether there is something
            key
            for key, tensor in self._prepare.input.items()
            if all(isinstance(operation, Present) for operation in consumers(tensor))
        ]
        self._towers = {name: tower for name, tower in towers.items() if needed & set(tower.model.output)}
        read = {key.partition(".")[0] for key in needed}
        self.modalities = [modality for modality in modalities if modality.name in read]
        self._others = [modality for modality in modalities if modality.name not in read]
        self._run = self._run_prepare = None  # made when they are needed, and kept

    def run(self, tensors):
        """What the model gives for a batch, outside training."""
        if self._run is None:
            self._run = compiled(self.model)
        return self._run(tensors)

    def dataset(self, df, order, store, *, engine="auto", verbose=0):
        """Encode what is not yet cached, then give batches of what `model` takes; see `data.batches.batches`.

        Args:
            df: DataFrame.
            order: `data.batches.Order`; lengths are found here.
            store: `Store` of the features.
            engine: what runs the frozen towers, one of `engines.ENGINES`.
            verbose: 1 shows progress of encoding.
        """
        columns = raw_values(df, self.modalities, self._others)
        raw = self._raw(columns)
        examine(raw.values())  # these are decoded in each epoch
        stored, size = [], row_bytes(layout_of(self._prepare)) * len(df)
        for modality in self.modalities:
            tower = self._towers.get(modality.name)
            if tower is not None:
                keys = _encoded(modality, tower, store, columns, engine=engine, verbose=verbose)
                stored.append((np.array(keys, dtype=object), tower.layout))
                size += row_bytes(tower.layout) * len(keys)

        def fetch(rows):
            features = {}
            for keys, layout in stored:
                features.update(store.read(keys[rows], layout))
            return features

        if size > IN_MEMORY or any(isinstance(values, Files) for values in raw.values()):
            order.lengths = token_lengths(self._prepare, raw)
            return batches(raw, order, prepare=self._prepare, fetch=fetch)
        return batches({**fetch(slice(None)), **self._prepared(raw)}, order)

    def _raw(self, columns):
        """The columns that are prepared in each epoch; of some files, only whether they are there."""
        raw = {name: columns[name] for name in self._prepare.input}
        marked = {name: raw[name].marks() for name in self._marked if isinstance(raw[name], Files)}
        return {**raw, **marked}

    def _prepared(self, raw, chunk=1024):
        """{tensor: array} of all rows."""
        if self._run_prepare is None:
            self._run_prepare = compiled(self._prepare)
        rows = len(next(iter(raw.values()), ()))
        chunks = [
            self._run_prepare({name: values[start : start + chunk] for name, values in raw.items()})
            for start in range(0, rows, chunk)
        ]
        return {key: np.concatenate([tensors[key].numpy() for tensors in chunks]) for key in self._prepare.output}


def _with_presence(model, prepare):
    """The model, with an input that says who is there, where it reads nothing else of what is prepared for each row."""
    if set(model.input) & set(prepare.output):
        return model
    key = f"{next(iter(model.input)).partition('.')[0]}{PRESENT}"
    presence = keras.Input(prepare.output[key].shape[1:], dtype=prepare.output[key].dtype, name=key)
    return functional({**model.input, key: presence}, model.output, model.name)


def _encoded(modality, tower, store, columns, *, engine, verbose):
    """Keys of the features of all rows, which are encoded if need be."""
    own = {name: columns[name] for name in tower.prepare.input}
    while True:
        try:
            return encode_rows(store, tower, own, row_keys(modality, columns), engine=engine, verbose=verbose)
        except tf.errors.OpError as error:
            failure = error
        if not examine(own.values()):  # it tells which file is at fault
            raise failure

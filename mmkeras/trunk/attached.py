"""A model on the first two stages: what it reads of them, from the cache where a frozen tower gave it."""

import functools

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.batches import Order, batches, stream
from mmkeras.data.columns import raw_values, row_keys
from mmkeras.data.files import Files, examine
from mmkeras.graph import compiled, consumers, functional, submodel
from mmkeras.layers import Present
from mmkeras.modalities.base import PRESENT
from mmkeras.trunk.encoding import encode_rows, token_lengths
from mmkeras.trunk.stages import chain
from mmkeras.trunk.store import row_bytes

IN_MEMORY = 1 << 26  # bytes of features that are read, and columns that are prepared, once and not in each epoch
AT_ONCE = 2048  # rows that go through the graphs as they are: a tf.data pipeline takes longer to begin
LARGE = 10**7  # weights of a model that is better run on batches of rows of one length


class Attached:
    """A model of features, arranged so that frozen towers run once per distinct row. Use `Trunk.attach`.

    Args:
        head: keras.Model of features and prepared tensors; it may use only some of them.
        rest: keras.Model, the part of `encode` above the frozen towers, or None; see `stages.Cut`.
        prepare_part: function of keys of tensors → `PreparePart` that gives them.
        towers: {modality's name: `Tower`}.
        modalities: list of adapted modalities.

    Attributes:
        model: keras.Model from cached features and prepared tensors to what the head gives.
        modalities: those that the model reads.
    """

    def __init__(self, head, rest, prepare_part, towers, *, modalities):
        stages = [head]
        wanted = {} if rest is None else {key: tensor for key, tensor in rest.output.items() if key in head.input}
        if wanted:
            stages.insert(0, submodel(rest.input, wanted, name="encode_rest"))
        self.model = chain(*stages)
        part = prepare_part(self.model.input)
        if not part.keys:  # nothing is prepared for each row: read who is there, so that there are rows
            part = prepare_part([f"{next(iter(self.model.input)).partition('.')[0]}{PRESENT}"])
            ((key, tensor),) = part.model.output.items()
            presence = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
            self.model = functional({**self.model.input, key: presence}, self.model.output, self.model.name)
        self._part, self._prepare, needed = part, part.model, set(self.model.input)
        self._marked = [  # columns of which it matters only whether there is something
            key
            for key, tensor in self._prepare.input.items()
            if all(isinstance(operation, Present) for operation in consumers(tensor))
        ]
        self._towers = {name: tower for name, tower in towers.items() if needed & set(tower.model.output)}
        read = {key.partition(".")[0] for key in needed}
        self.modalities = [modality for modality in modalities if modality.name in read]
        self._others = [modality for modality in modalities if modality.name not in read]

    def dataset(self, df, order, store, **how):
        """Encode what is not yet cached, then give batches of what `model` takes; see `data.batches.batches`.

        Args:
            df: DataFrame.
            order: `data.batches.Order`; lengths are found here.
            store: `Store` of the features.
            **how: see `read`.
        """
        return self._batches(self.read(df, store, **how), order)

    def read(self, df, store, *, engine="auto", verbose=0, keep=True):
        """(raw values of what is prepared anew, function of row numbers → cached features, bytes of a row of those).

        Args:
            df: DataFrame.
            store: `Store` of the features.
            engine: what runs the frozen towers, one of `engines.ENGINES`.
            verbose: 1 shows progress of encoding.
            keep: bool, whether features of rows that are not yet cached go to the cache.
        """
        columns = raw_values(df, self.modalities, self._others)
        raw = self._raw(columns)
        examine(raw.values())  # these are decoded in each epoch
        stored, size = [], 0
        for modality in self.modalities:
            tower = self._towers.get(modality.name)
            if tower is not None:
                keys, fresh = _encoded(modality, tower, store, columns, engine=engine, verbose=verbose, keep=keep)
                stored.append((np.array(keys, dtype=object), tower.layout, fresh))
                size += row_bytes(tower.layout)

        def fetch(rows):
            features = {}
            for keys, layout, fresh in stored:
                features.update(store.read(keys[rows], layout, fresh))
            return features

        return raw, fetch, size

    def outputs(self, df, store, *, batch_size, each, absent=(), **how):
        """What `each` makes of the model's outputs for batches of rows, in turn, and the numbers of those rows.

        Args:
            df, store: see `dataset`.
            batch_size: int.
            each: function of {key: tensor} and row numbers.
            absent: keys of tensors that are taken for 0.
            **how: see `read`.
        """
        read = raw, fetch, _ = self.read(df, store, **how)
        small = len(df) <= batch_size or (len(df) <= AT_ONCE and self.model.count_params() < LARGE and each is keep_all)
        if small and not any(isinstance(values, Files) for values in raw.values()):
            rows = np.arange(len(df))
            if not self._towers and not absent:
                yield rows, each(self._run_whole(raw), rows)
                return
            parts = [(rows, {**fetch(slice(None)), **self._part.run(raw)})]
        else:
            parts = self._batches(read, Order(batch_size), stream)
        for rows, tensors in parts:
            gone = {key: tf.zeros_like(tensors[key]) for key in absent if key in tensors}
            yield rows, each(self.run({**tensors, **gone}), rows)

    def _batches(self, read, order, make=batches):
        raw, fetch, size = read
        rows, files = len(next(iter(raw.values()))), any(isinstance(values, Files) for values in raw.values())
        prepared = None if files else self._part.in_memory(raw, IN_MEMORY)
        if prepared is None:
            order.lengths = token_lengths(self._prepare, raw)
            return make(raw, order, prepare=self._part.run, fetch=fetch)
        columns, order.lengths = prepared
        if size * rows > IN_MEMORY:
            return make(columns, order, fetch=fetch)
        return make({**fetch(slice(None)), **columns}, order)

    @functools.cached_property
    def _run_whole(self):
        """The model with its preparation as one graph, where nothing comes from a cache."""
        return compiled(self.model, self._part.run)

    @functools.cached_property
    def run(self):
        """What the model gives for a batch, outside training, as one graph."""
        return compiled(self.model)

    def _raw(self, columns):
        """The columns that are prepared in each epoch; of some files, only whether they are there."""
        raw = {name: columns[name] for name in self._prepare.input}
        marked = {name: raw[name].marks() for name in self._marked if isinstance(raw[name], Files)}
        return {**raw, **marked}


def keep_all(outputs, rows):
    """All outputs of a batch as arrays."""
    return {key: np.asarray(value) for key, value in outputs.items()}


def _encoded(modality, tower, store, columns, **how):
    """(keys of the features of all rows, {key: features that are not kept}); rows are encoded if need be."""
    own = {name: columns[name] for name in tower.prepare.input}
    while True:
        try:
            return encode_rows(store, tower, own, row_keys(modality, columns), **how)
        except tf.errors.OpError as error:
            failure = error
        if not examine(own.values()):  # it tells which file is at fault
            raise failure

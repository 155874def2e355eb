"""A model on the first two stages: what it reads of them, from the cache where a frozen tower gave it."""

import functools

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.batches import Order, stream
from mmkeras.data.columns import digest, raw_values, row_keys
from mmkeras.data.files import Files, examine
from mmkeras.data.ragged import Ragged
from mmkeras.graph import compiled, functional, submodel
from mmkeras.modalities.base import PRESENT
from mmkeras.trunk.encoding import encode_rows, padding_masks
from mmkeras.trunk.reading import Reading, Stored
from mmkeras.trunk.stages import chain

AT_ONCE = 2048  # rows that go through the graphs together: batches, one after another, take longer
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
        if not part.output:  # nothing is prepared for each row: read who is there, so that there are rows
            part = prepare_part([f"{next(iter(self.model.input)).partition('.')[0]}{PRESENT}"])
            ((key, tensor),) = part.output.items()
            presence = keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
            self.model = functional({**self.model.input, key: presence}, self.model.output, self.model.name)
        self._part, needed = part, set(self.model.input)
        self._towers = {name: tower for name, tower in towers.items() if needed & set(tower.model.output)}
        read = {key.partition(".")[0] for key in needed}
        self.modalities = [modality for modality in modalities if modality.name in read]
        self._others = [modality for modality in modalities if modality.name not in read]

    def read(self, df, store, *, engine="auto", verbose=0, keep=True):
        """The `Reading` of the rows of a DataFrame; what is not yet in the cache is encoded.

        Args:
            df: DataFrame.
            store: `Store` of the features.
            engine: what runs the frozen towers, one of `engines.ENGINES`.
            verbose: 1 shows progress of encoding.
            keep: bool, whether features of rows that are not yet cached go to the cache.
        """
        columns = raw_values(df, self.modalities, self._others)
        examine(self._raw(columns).values())  # these are decoded in each epoch
        stored = []
        for modality in self.modalities:
            tower = self._towers.get(modality.name)
            if tower is not None:
                encode = functools.partial(encoded, modality, tower, store, columns, engine=engine, keep=keep)
                keys, fresh = encode(verbose=verbose)
                stored.append(Stored(tower.layout, store, encode, keys=keys, fresh=fresh))
        # Anew: a pass may have found files that cannot be used.
        return Reading(self._part, self._raw(columns), stored)

    @property
    def towers(self):
        """{modality: `Tower`} of the frozen ones that it reads from."""
        return self._towers

    def prepared(self, df):
        """({key: array or `Ragged`} of what is prepared of each row, {modality: (rows, 16) uint8, digests of what its tower reads})."""
        columns = raw_values(df, self.modalities, self._others)
        raw = self._raw(columns)
        examine(raw.values())
        keys = {
            modality.name: row_keys(modality, columns) for modality in self.modalities if modality.name in self._towers
        }
        rows = self._part.rows({name: np.asarray(values[:]) for name, values in raw.items()})
        return rows, {name: np.frombuffer(b"".join(own), "uint8").reshape(-1, 16) for name, own in keys.items()}

    def batches(self, reading, order):
        """Batches of what `model` takes; see `data.batches.batches`.

        Args:
            reading: `Reading`, of this or of a model that takes more.
            order: `data.batches.Order`; lengths are found here.
        """
        return reading.batches(order, self.model.input)

    def outputs(self, reading, *, batch_size, each, absent=(), again=False):
        """What `each` makes of the model's outputs for batches of rows, in turn, and the numbers of those rows.

        Args:
            reading: see `batches`.
            batch_size: int.
            each: function of {key: tensor} and row numbers.
            absent: keys of tensors that are taken for 0.
            again: bool, whether the rows are read more than once, so that they are worth keeping in memory.
        """
        count, keys = len(reading), self.model.input
        # Rows of tokens would all be padded to the longest.
        light = self.model.count_params() < LARGE and not padding_masks(self.model.input) and each is keep_all
        small = count <= batch_size or (count <= AT_ONCE and light and not reading.varies)
        if small and not reading.files:
            rows = np.arange(count)
            if not self._towers and not absent and not again:
                yield rows, each(self._run_whole(reading.raw), rows)
                return
            parts = [(rows, reading.at_once(keys, again))]
        else:
            parts = reading.batches(Order(batch_size), keys, stream)
        for rows, tensors in parts:
            gone = {key: tf.zeros_like(tensors[key]) for key in absent if key in tensors}
            yield rows, each(self.run({**tensors, **gone}), rows)

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
        raw = {name: columns[name] for name in self._part.input}
        marked = {name: raw[name].marks() for name in self._part.marked if isinstance(raw[name], Files)}
        return {**raw, **marked}


def keep_all(outputs, rows):
    """All outputs of a batch as arrays."""
    return {key: np.asarray(value) for key, value in outputs.items()}


def encoded(modality, tower, store, columns, **how):
    """(keys of the features of all rows, {key: features that are not kept}); rows are encoded if need be.

    The keys are an array, or `Ragged` where the tower reads parts of rows.
    """
    own = {name: columns[name] for name in tower.prepare.input}
    while True:
        try:
            if tower.parts:
                ((name, values),) = own.items()
                parts, counts = values.parts()
                keys, fresh = encode_rows(store, tower, {name: parts}, [digest([d]) for d in parts.digests], **how)
                return Ragged(np.array(keys, dtype=object), counts), fresh
            keys, fresh = encode_rows(store, tower, own, row_keys(modality, columns), **how)
            return np.array(keys, dtype=object), fresh
        except tf.errors.OpError as error:
            failure = error
        if not examine(own.values()):  # it tells which file is at fault
            raise failure

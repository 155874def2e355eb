"""A model that runs on cached features: the frozen towers cut off, the rest joined with a head."""

import keras
import numpy as np
import tensorflow as tf

from mmkeras import layers
from mmkeras.data.batches import batches
from mmkeras.data.columns import raw_values
from mmkeras.data.files import Files, examine
from mmkeras.graph import compiled, submodel
from mmkeras.heads.decisions import training_head
from mmkeras.trunk.encoding import encode_rows, token_lengths
from mmkeras.trunk.stages import chain, cut_frozen
from mmkeras.trunk.store import layout_of, open_store, row_bytes

IN_MEMORY = 1 << 26  # bytes of features that are read, and columns that are prepared, once and not in each epoch


class CachedModel:
    """`prepare`, `encode` and a head, arranged so that frozen towers run once per distinct row.

    Args:
        modalities: adapted modalities.
        prepare, encode, head: the three stages. The head may use only some of the features.
        fresh: bool; True trains a copy of what trains in `encode`, from new weights, and leaves `encode` alone.
        fine_tune: bool, whether the layers that the modalities' `trainable` names train.
        directory: folder of the feature cache.
        engine: what runs the frozen towers, one of `engines.ENGINES`.

    Attributes:
        model: keras.Model from cached features and prepared tensors to the prediction; its weights are those of
            `encode` and `head`.
    """

    def __init__(self, modalities, prepare, encode, head, directory, fine_tune=False, fresh=False, engine="auto"):
        self._modalities, self._encode, self._fine_tune = modalities, encode, fine_tune
        self._directory, self._engine = directory, engine
        self.set_trainable()
        cut = cut_frozen(encode)
        parts = [head]
        if cut.rest is not None:
            wanted = {key: tensor for key, tensor in cut.rest.output.items() if key in head.input}
            if wanted:
                rest = submodel(cut.rest.input, wanted, name="encode_rest")
                parts.insert(0, keras.models.clone_model(rest) if fresh else rest)
        self.model = chain(*parts)
        self._parts = parts
        needed = set(self.model.input)
        self._prepare = submodel(
            prepare.input, {k: t for k, t in prepare.output.items() if k in needed}, name="prepare_rest"
        )
        self._marked = [  # columns of which it matters only whether there is something
            key
            for key, tensor in self._prepare.input.items()
            if all(isinstance(n.operation, layers.Present) for n in tensor._keras_history.operation._outbound_nodes)
        ]
        self._towers = {}
        for name, tower in cut.towers.items():
            if needed & set(tower.output):
                before = {key: prepare.output[key] for key in tower.input}
                self._towers[name] = (submodel(prepare.input, before, name=f"{name}_prepare"), tower)
        self._opened, self._run_prepare = {}, None  # made when they are needed, and kept
        self.run = compiled(self.model)

    def training_model(self, task):
        """`model` as it trains: with all decisions of a hybrid head, see `training_head`."""
        *rest, head = self._parts
        trained = training_head(head, task)
        return self.model if trained is head else chain(*rest, trained)

    def set_trainable(self):
        """Freeze and unfreeze the towers' layers as this model needs them."""
        for modality in self._modalities:
            for layer, trains in modality.tower_layers(self._fine_tune).items():
                self._encode.get_layer(layer).trainable = trains

    def dataset(self, df, batch_size, verbose=0, *, target=None, seed=None, weights=None):
        """Encode what is not yet cached, then give batches of what `model` takes; see `datasets.batches`."""
        columns = raw_values(df, self._modalities)
        raw = self._raw(columns)
        examine(raw.values())  # these are decoded in each epoch
        fetch, size = self._features(columns, verbose)
        size += row_bytes(layout_of(self._prepare)) * len(df)
        plan = {"target": target, "batch_size": batch_size, "seed": seed, "weights": weights}
        if size > IN_MEMORY or any(isinstance(values, Files) for values in raw.values()):
            lengths = token_lengths(self._prepare, raw)
            return batches(raw, lengths=lengths, prepare=self._prepare, fetch=fetch, **plan)
        return batches({**fetch(slice(None)), **self._prepared(raw)}, **plan)

    def _raw(self, columns):
        """The columns that are prepared in each epoch; of some files, only whether they are there."""
        raw = {name: columns[name] for name in self._prepare.input}
        marked = {name: raw[name].marks() for name in self._marked if isinstance(raw[name], Files)}
        return {**raw, **marked}

    def _features(self, columns, verbose):
        """(function of row numbers → {key: array} of frozen features, the bytes that those of all rows take)."""
        store, stored, size = open_store(self._directory), [], 0
        for modality in self._modalities:
            if modality.name in self._towers:
                layout = layout_of(self._towers[modality.name][1])
                keys = self._encoded(modality, store, columns, verbose)
                stored.append((np.array(keys, dtype=object), layout))
                size += row_bytes(layout) * len(keys)

        def fetch(rows):
            features = {}
            for keys, layout in stored:
                features.update(store.read(keys[rows], layout))
            return features

        return fetch, size

    def _prepared(self, raw, chunk=1024):
        """{tensor: array} of all rows."""
        if self._run_prepare is None:
            self._run_prepare = compiled(self._prepare)
        rows = len(next(iter(raw.values()), ()))
        parts = [
            self._run_prepare({name: values[start : start + chunk] for name, values in raw.items()})
            for start in range(0, rows, chunk)
        ]
        return {key: np.concatenate([part[key].numpy() for part in parts]) for key in self._prepare.output}

    def _encoded(self, modality, store, columns, verbose):
        """Keys of the features of all rows, which are encoded if need be."""
        before, tower = self._towers[modality.name]
        own = {name: columns[name] for name in before.input}
        settings = {
            "describe": repr(modality),
            "engine": self._engine,
            "verbose": verbose,
            "opened": self._opened.setdefault(modality.name, {}),
        }
        while True:
            try:
                return encode_rows(store, before, tower, own, modality.row_keys(columns), **settings)
            except tf.errors.OpError as error:
                failure = error
            if not examine(own.values()):  # it tells which file is at fault
                raise failure

"""A model that runs on cached features: the frozen towers cut off, the rest joined with a head."""

import keras
import numpy as np

from mmkeras.datasets import batches, raw_values
from mmkeras.encoding import encode_rows, token_lengths
from mmkeras.features import layout_of, open_store
from mmkeras.graph import compiled, submodel
from mmkeras.heads import training_head
from mmkeras.stages import chain, cut_frozen


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
        self._towers = {}
        for name, tower in cut.towers.items():
            if needed & set(tower.output):
                before = {key: prepare.output[key] for key in tower.input}
                self._towers[name] = (submodel(prepare.input, before, name=f"{name}_prepare"), tower)
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
        store = open_store(self._directory)
        stored = []
        for modality in self._modalities:
            if modality.name not in self._towers:
                continue
            before, tower = self._towers[modality.name]
            own = {name: columns[name] for name in before.input}
            keys = encode_rows(
                store,
                before,
                tower,
                own,
                modality.row_keys(columns),
                describe=repr(modality),
                engine=self._engine,
                verbose=verbose,
            )
            stored.append((np.array(keys, dtype=object), layout_of(tower)))

        def fetch(rows):
            features = {}
            for keys, layout in stored:
                features.update(store.read(keys[rows], layout))
            return features

        raw = {name: columns[name] for name in self._prepare.input}
        lengths = token_lengths(self._prepare, raw)
        return batches(raw, target, batch_size, lengths, seed, self._prepare, fetch, weights)

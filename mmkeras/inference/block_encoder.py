"""What a worker does: the features of a block of rows, by towers that were shipped to it."""

import dataclasses
import errno
import pathlib
import tempfile
import threading

import tensorflow as tf

from mmkeras.data.columns import raw_values
from mmkeras.graph import load_model, loading
from mmkeras.trunk.attached import encoded
from mmkeras.trunk.encoding import Tower
from mmkeras.trunk.parquet import ParquetStore
from mmkeras.trunk.row_blocks import Failure

ENGINE = "tensorflow"  # the same on every machine, so that features do not depend on where they were made
FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclasses.dataclass
class Outcome:
    """What became of a block.

    Attributes:
        block: `Block`, without its rows.
        items: [(key, packed features)] that were not stored.
        towers: {first 16 bytes of keys: (text, layout, engine)}.
        failures: list of `Failure`.
    """

    block: object
    items: list
    towers: dict
    failures: list


@dataclasses.dataclass(frozen=True)
class Shipped:
    """Frozen towers in a form that goes to other processes.

    Attributes:
        modalities: list of adapted modalities.
        towers: {modality: (bytes of the preparation, bytes of the tower, settings, fingerprint)}.
    """

    modalities: list
    towers: dict

    @classmethod
    def of(cls, trunk):
        """Those of a `Trunk`."""
        return cls(trunk.modalities, {name: _packed(tower) for name, tower in trunk.frozen.items()})

    def open(self):
        """{modality: `Tower`}."""
        return {name: _unpacked(*packed) for name, packed in self.towers.items()}


class BlockEncoder:
    """Encodes blocks.

    Args:
        modalities: list of adapted modalities. towers: {modality: `Tower`}.
        out: folder of the `ParquetStore`, in which is looked what is stored already.
    """

    def __init__(self, modalities, towers, out):
        self.modalities, self.towers, self.store = modalities, towers, ParquetStore(out)

    def encode(self, block):
        """`Outcome` of a block; a row that fails is left out, and told.

        Raises:
            OSError: no space left.
        """
        collector = _Collector(self.store)
        try:
            failures = self._encode(block, block.read(), collector)
        except (OSError, ValueError, KeyError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            failures = [Failure(block.source, block.start, block.start + block.count - 1, _told(error))]
        return Outcome(
            dataclasses.replace(block, frame=None), list(collector.items.items()), collector.towers, failures
        )

    def _encode(self, block, df, collector):
        """Failures of the rows of a DataFrame; halves are tried where the whole fails."""
        try:
            for modality in self.modalities:
                if modality.name in self.towers:
                    others = [other for other in self.modalities if other is not modality]
                    columns = raw_values(df, [modality], others)
                    encoded(
                        modality, self.towers[modality.name], collector, columns, engine=ENGINE, keep=True, verbose=0
                    )
            return []
        except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError) as error:
            if getattr(error, "errno", None) in FULL:
                raise
            if len(df) == 1:
                return [Failure(block.source, block.start, block.start, _told(error))]
        half = len(df) // 2
        parts = [(block.start, df.iloc[:half]), (block.start + half, df.iloc[half:])]
        return [
            failure
            for start, part in parts
            for failure in self._encode(dataclasses.replace(block, start=start), part, collector)
        ]


class _Collector:
    """Stands in the place of a store: knows what is stored, and keeps what is not."""

    def __init__(self, store):
        self._store, self.path, self.items, self.towers = store, store.path, {}, {}

    def missing(self, keys, layout=None):
        return [place for place in self._store.missing(keys, layout) if keys[place] not in self.items]

    def write(self, items):
        self.items.update(items)

    def describe(self, prefix, text, layout, engine):
        self.towers[prefix] = (text, layout, engine)


def _told(error):
    return " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split())[:500]


_saving = threading.Lock()


def _packed(tower):
    with tempfile.TemporaryDirectory() as folder, _saving:
        models = []
        for name, model in (("prepare", tower.prepare), ("tower", tower.model)):
            path = pathlib.Path(folder, f"{name}.keras")
            model.save(path)
            models.append(path.read_bytes())
    settings = {"describe": tower.describe, "heavy": tower.heavy, "parts": tower.parts, "layout": tower.layout}
    return *models, settings, tower.fingerprint


def _unpacked(prepare, model, settings, fingerprint):
    models = []
    with tempfile.TemporaryDirectory() as folder, loading(safe_mode=False):  # this program made them
        for name, data in (("prepare", prepare), ("tower", model)):
            path = pathlib.Path(folder, f"{name}.keras")
            path.write_bytes(data)
            models.append(load_model(path))
    layout = settings.pop("layout")
    tower = Tower(*models, **settings)
    tower.fingerprint, tower.layout = fingerprint, layout  # saving may change how calls are written down
    return tower

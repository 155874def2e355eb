"""The trunk: the first two stages with their cache, on which any head runs and trains."""

import collections
import contextlib
import copy
import dataclasses
import functools
import threading

import keras
import numpy as np

from mmkeras.backend import replicas
from mmkeras.data.batches import Order, settle
from mmkeras.data.columns import example_values
from mmkeras.graph import arithmetic
from mmkeras.heads.inputs import HeadInputs
from mmkeras.modalities.base import EACH_PRESENT, PRESENT
from mmkeras.modalities.encoders import lora
from mmkeras.trunk.attached import Attached, keep_all
from mmkeras.trunk.chunks import InChunks
from mmkeras.trunk.encoding import Tower
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.mirrored import Mirrored, dealt
from mmkeras.trunk.paces import Paces
from mmkeras.trunk.parts import read_by
from mmkeras.trunk.prepared import Piece, PreparePart
from mmkeras.trunk.reading import Readings
from mmkeras.trunk.stages import Cut, build_encode, build_prepare, cut_frozen, renewed
from mmkeras.trunk.store import CacheFolder
from mmkeras.trunk.training import PlainLogs, StopAtNaN, compile_for_training, make_loss_means, quiet_tracing

MOST_ATTACHED = 16  # heads whose graphs are kept


@dataclasses.dataclass
class Rows:
    """Rows to learn from, or to be validated on.

    Attributes:
        df: DataFrame.
        target: `Target` of these rows.
        weights: (rows,) sample weights, or None.
    """

    df: object
    target: object
    weights: object = None


class Trunk:
    """`prepare` and `encode` with a cache of what frozen towers gave: runs and trains any head on them.

    Args:
        modalities: adapted modalities.
        prepare, encode: the two stages; None builds them.
        cache: `CacheFolder`, or None for one by its rules.
        engine: what runs the frozen towers, one of `engines.ENGINES`.

    A tower is fingerprinted once; where weights of `encode` were changed by hand, make another Trunk.
    """

    def __init__(self, modalities, prepare=None, encode=None, *, cache=None, engine="auto"):
        self.modalities = list(modalities)
        self.prepare = build_prepare(self.modalities) if prepare is None else prepare
        self.encode = build_encode(self.modalities, self.prepare) if encode is None else encode
        self.cache = CacheFolder() if cache is None else cache
        self.engine = engine
        self._readings, self._known, self._changing = Readings(), {}, False
        self._pieces, self._cuts, self._attached, self._lock = {}, {}, collections.OrderedDict(), threading.RLock()
        # Whether a phase that fine-tunes differs from one that does not.
        self._tunes = any(trains for m in self.modalities for trains in m.tower_layers(True).values())
        self._set_trainable(True)

    @functools.cached_property
    def fingerprint(self):
        """16 bytes of both stages, the same once they were saved and loaded; taken once."""
        return fingerprint(self.prepare, self.encode, loaded=True)

    def head_inputs(self, names=None):
        """`HeadInputs` to build a head from: all features, or those of the modalities named."""
        chosen = [m for m in self.modalities if names is None or m.name in names]
        return HeadInputs(
            {**self.prepare.output, **self.encode.output},
            [m.name for m in chosen],
            normalise=[m.name for m in chosen if m.normalise],
            whole=[m.name for m in chosen if m.few_features],
            scaled=[m.name for m in chosen if m.scaled],
            ways={m.name: m.alike for m in chosen},
        )

    @property
    def frozen(self):
        """{modality: `Tower`} of the towers that are frozen."""
        return self._cut(False)[1]

    def grid(self):
        """(h, w) of the patches where all sequences come from one image, else None."""
        return self.modalities[0].grid(self.encode) if len(self.modalities) == 1 else None

    def notes(self):
        """Sentences about towers with adapters that a report should hold."""
        encode = self.encode
        towers = {m.name: [encode.get_layer(layer) for layer in m.tower_layers(True)] for m in self.modalities}
        return [sentence for name, layers in towers.items() for sentence in lora.told(name, layers)]

    # --- running

    def runner(self, df, **settings):
        """A function (model, each=keep_all) → {key: (rows, …)} for the rows of `df`; settings are those of `outputs`."""
        return lambda model, each=keep_all: self.outputs(model, df, each=each, **settings)

    def outputs(self, model, df, *, each=keep_all, absent=(), batch_size=64, verbose=0, keep=True):
        """What a model of features gives for the rows of `df`.

        Args:
            model: keras.Model whose inputs are among those that `prepare` and `encode` give. Only the modalities that it
                takes are read.
            df: DataFrame.
            each: function of the model's outputs for a batch, {key: tensor}, and of the numbers of its rows, to what is
                kept of them.
            absent: names of modalities that are taken for missing in all rows.
            batch_size: int.
            verbose: 1 shows progress of encoding.
            keep: bool, whether features that frozen towers give for the first time go to the cache.

        Returns:
            {key: (rows, …) array}, in the order of `df`.
        """
        gone = [f"{name}{suffix}" for name in absent for suffix in (PRESENT, EACH_PRESENT)]
        if self._changing:  # towers train meanwhile: nothing of them is as it was at the last call, or worth keeping
            self._cuts.pop(False, None)
            self._attached, keep = collections.OrderedDict(), False
        attached = self.attach(model)
        reading, again = self._read(attached, df, verbose=verbose, keep=keep)
        batches = attached.outputs(reading, batch_size=batch_size, each=each, absent=gone, again=again)
        order, kept = zip(*batches, strict=True)
        back = np.argsort(np.concatenate(order))
        return {key: _joined([np.asarray(batch[key]) for batch in kept])[back] for key in kept[0]}

    def features(self, df, *, names=None, verbose=0):
        """{modality: (rows, D) or (rows, T, D)} with "modality.present" (rows, 1); what frozen towers give goes to the cache.

        Args:
            df: DataFrame.
            names: names of modalities; None takes all.
            verbose: 1 shows progress of encoding.
        """
        inputs = self.head_inputs(names)
        outputs = {key: inputs(key) for name in inputs.names for key in (name, f"{name}{PRESENT}")}
        copies = {key: keras.layers.Identity(dtype=tensor.dtype)(tensor) for key, tensor in outputs.items()}
        return self.outputs(keras.Model(inputs.inputs, copies), df, verbose=verbose)

    def _read(self, attached, df, **how):
        """(`Reading` of a DataFrame, whether it is kept for other models)."""

        def read(reader):
            return reader.read(df, self.cache.open(), engine=self.engine, **how)

        kept = self._readings.find(df, attached, read)
        return (read(attached), False) if kept is None else (kept, True)

    def over(self, *dfs, model=None):
        """The same trunk, but it reads the rows of some DataFrames once for all that is run and trained on them.

        Args:
            dfs: the DataFrames; these objects, not others of like rows.
            model: keras.Model of features whose reading serves others that need less; None reads as is asked for first.
        """
        twin = copy.copy(self)
        twin._readings = Readings(dfs, None if model is None else self.attach(model))
        return twin

    def arranged(self, rows):
        """The same trunk, but for some DataFrames it reads what was arranged; rows are [(DataFrame, `Arranged`), …]."""
        twin = copy.copy(self)
        twin._readings = Readings.of(rows)
        return twin

    def anew(self):
        """A trunk of the same modalities, cache and kept readings, whose weights are made anew; frozen ones are known already."""
        twin = Trunk(self.modalities, self.prepare, cache=self.cache, engine=self.engine)
        twin._pieces, twin._readings = self._pieces, self._readings
        twin._known = self._cuts[False][1] if False in self._cuts else {}
        return twin

    def branch(self):
        """A trunk with the same frozen towers and cache, and new weights in what trains of `encode`, which it leaves alone."""
        twin, (cut, towers) = copy.copy(self), self._cut(False)
        rest = None if cut.rest is None else renewed(cut.rest)
        twin._cuts, twin._attached = {False: (Cut(cut.towers, rest), towers)}, collections.OrderedDict()
        twin._tunes = False
        return twin

    def attach(self, head, *, fine_tune=False):
        """`Attached` of a model of features; kept for the next call.

        Args:
            head: keras.Model.
            fine_tune: bool, whether the layers that the modalities' `trainable` names train.
        """
        fine_tune = fine_tune and self._tunes
        key = (id(head), fine_tune, arithmetic(head))
        with self._lock:  # predictions may be asked for in many threads
            if key not in self._attached:
                cut, towers = self._cut(fine_tune)
                attached = Attached(head, cut.rest, self._part, towers, modalities=self.modalities)
                self._attached[key] = (head, attached)  # the head, so that its id stays its own
                if len(self._attached) > MOST_ATTACHED:
                    self._attached.popitem(last=False)
            self._attached.move_to_end(key)
            return self._attached[key][1]

    def _part(self, keys):
        """`PreparePart` of some outputs of `prepare`; what it has of a modality is traced once for all models that read that."""
        parts = []
        for modality in self.modalities:
            own = frozenset(key for key in keys if key.partition(".")[0] == modality.name) & set(self.prepare.output)
            if own and own not in self._pieces:
                self._pieces[own] = Piece(self.prepare, own)
            parts += [self._pieces[own]] if own else []
        return PreparePart(parts)

    def _cut(self, fine_tune):
        """(`Cut`, {modality: `Tower`}) of a phase."""
        if fine_tune not in self._cuts:
            with self._phase(fine_tune):
                cut = cut_frozen(self.encode)
            towers = {}
            for modality in self.modalities:
                model = cut.towers.get(modality.name)
                if model is not None:
                    before, model, parts = read_by(self.prepare, model)
                    heavy, examples = modality.preparing == "heavy", example_values(modality)
                    model = lora.without_adapters(model, merged=True)
                    tower = Tower(before, model, repr(modality), heavy, examples=examples, parts=parts)
                    known = self._known.get(modality.name)
                    towers[modality.name] = known if known and known.equals(tower) else tower
            self._cuts[fine_tune] = (cut, towers)
        return self._cuts[fine_tune]

    @contextlib.contextmanager
    def _phase(self, fine_tune):
        """Towers' layers train as a phase needs it; afterwards, as the modalities' `trainable` says."""
        self._set_trainable(fine_tune)
        try:
            yield
        finally:
            self._set_trainable(True)

    def _set_trainable(self, fine_tune):
        for modality in self.modalities:
            for layer, trains in modality.tower_layers(fine_tune).items():
                lora.set_trainable(self.encode.get_layer(layer), trains)

    # --- training

    def paces(self, plan, first=0):
        """[`Paces`] of the phase that fine-tunes, which begins at an epoch; [] where towers learn as fast as the head.

        Raises:
            ValueError: a pace without a tower that trains, or with more groups than it has layers.
        """
        if not plan.paced:
            return []
        names = [name for m in self.modalities for name, trains in m.tower_layers(True).items() if trains]
        if not names:
            raise ValueError(
                "`tower_rate` and `unfreeze` go with a pretrained tower that trains. Received: modalities "
                f"{[m.name for m in self.modalities]}, none with one. Use trainable=True, or leave them out."
            )
        return [Paces([self.encode.get_layer(name) for name in names], plan.tower_rate, plan.unfreeze, first)]

    def train(self, training, rows, plan, *, validation=None, fine_tune=False, callbacks=(), first=0):
        """Train a head, and what is not frozen before it.

        Args:
            training: `Training`, what trains and how it is judged.
            rows: `Rows`.
            plan: `Plan`, of which the first phase is run.
            validation: `Rows`, or None.
            fine_tune: see `attach`.
            callbacks: Keras callbacks.
            first: int, number of the first epoch.

        Returns:
            keras.callbacks.History.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        if fine_tune and self._tunes:  # features will be others
            self._readings.stop()
        with self._phase(fine_tune):
            attached = self.attach(training.model, fine_tune=fine_tune)

            def dataset(rows, seed=None):
                outputs = tuple(training.losses)
                order = Order(plan.batch_size, seed, None, rows.target, rows.weights, outputs, replicas())
                return attached.batches(self._read(attached, rows.df, verbose=plan.verbose)[0], order)

            learnt = dataset(rows, plan.seed + first)
            judged = None if validation is None else dataset(validation)
            steps = int(learnt.cardinality()) // replicas()
            paces = self.paces(plan, first) if fine_tune else []
            model = attached.model
            if training.after is not None:
                model = InChunks(model, training.after, training.rows_at_once, plan.batch_size)
            elif replicas() > 1:
                model = Mirrored(model)
            compile_for_training(model, training, plan, plan.schedule(steps, callbacks), pace=next(iter(paces), None))
            if replicas() == 1:
                make_loss_means(model, rows.target.take(np.arange(1))[1])
            else:
                model.know(learnt.element_spec)
            self._changing = fine_tune and self._tunes
            settling = keras.callbacks.LambdaCallback(on_train_end=lambda logs: settle())
            try:
                with quiet_tracing():
                    return model.fit(
                        # One iterator for all epochs: Keras makes two for each otherwise, and both would prepare rows.
                        dealt(learnt.repeat(plan.epochs)),
                        steps_per_epoch=steps,
                        validation_data=None if judged is None else dealt(judged),
                        validation_steps=None if judged is None else int(judged.cardinality()) // replicas(),
                        initial_epoch=first,
                        epochs=first + plan.epochs,
                        callbacks=[
                            StopAtNaN(),
                            PlainLogs(training.main, training.losses),
                            *paces,
                            *training.callbacks,
                            *callbacks,
                            settling,
                        ],
                        verbose=plan.verbose,
                        shuffle=False,  # the dataset does it
                    )
            except BaseException:  # an interruption, too
                settle()
                raise
            finally:
                if self._changing:  # the towers have other weights now
                    self._cuts.clear()
                    self._attached.clear()
                self._changing = False


def _joined(batches):
    """Batches one after another; those of sequences are padded with zeros to the longest."""
    most = np.max([batch.shape for batch in batches], axis=0)[1:]
    room = [[(0, 0), *((0, side - own) for side, own in zip(most, b.shape[1:], strict=True))] for b in batches]
    return np.concatenate([np.pad(b, more) if np.any(more) else b for b, more in zip(batches, room, strict=True)])

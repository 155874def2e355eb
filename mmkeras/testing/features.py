"""Checks of what makes and joins features: modalities, encoders, fusions."""

import pathlib
import tempfile

import keras
import numpy as np

from mmkeras.data.columns import Column, raw_values, row_keys
from mmkeras.fusion import Fusion
from mmkeras.graph import load_model, loading
from mmkeras.heads.decisions import build_head
from mmkeras.modalities.base import PADDING, PRESENT, Modality
from mmkeras.registry import describe, rebuild, subclasses
from mmkeras.tasks import MultiClass
from mmkeras.testing.must import must, must_equal, must_raise
from mmkeras.trunk.trunk import Trunk


def check_modality(modality, df):
    """Check that a modality keeps the contract of `modalities.base.Modality`.

    Args:
        modality: as a user writes it, not adapted.
        df: DataFrame of at least ten different rows that it can read, without gaps.

    Raises:
        AssertionError: it does not; the message says where.

    Example:
        >>> import mmkeras as mm
        >>> mm.testing.check_modality(mm.Tabular(numeric=["budget", "runtime"]), mm.samples.movies(30, seed=0))
    """
    what = type(modality).__name__
    must(issubclass(type(modality), Modality), f"{what} must derive from Modality.")
    must(rebuild(Modality, describe(modality)) == modality, f"{what} must be made anew from its settings.")
    columns = modality.columns_read
    must(columns and all(issubclass(type(c), Column) for c in columns.values()), f"{what} must read columns.", columns)
    before = dict(vars(modality))
    adapted = modality.adapt(df)
    must(vars(modality) == before, f"{what}.adapt must leave the original as it was.")
    must(adapted.state is not None and adapted.settings == modality, f"{what}.adapt must give a copy by `learn`.")
    must(adapted.adapt(df.tail(5)).settings == modality, f"{what}.adapt must be able to learn anew.")
    with tempfile.TemporaryDirectory() as folder:
        trunk = Trunk([adapted], engine="tensorflow")
        must(not trunk.prepare.trainable_weights, f"{what}.prepare must have no trainable weights.")
        _check_tensors(modality, trunk)
        _check_rows(adapted, trunk, df)
        stages = {"prepare": trunk.prepare, "encode": trunk.encode}
        for name, model in stages.items():
            model.save(pathlib.Path(folder) / f"{name}.keras")
        with loading(safe_mode=False):  # of this very process
            loaded = Trunk([modality], *(load_model(pathlib.Path(folder) / f"{name}.keras") for name in stages))
        for key, values in trunk.features(df).items():
            must_equal(values, loaded.features(df)[key], f"{what} must give the same {key!r} once saved and loaded.")


def _check_tensors(modality, trunk):
    """Names and shapes of what `prepare` and `encode` give."""
    what, name = type(modality).__name__, modality.name
    strange = [key for key in trunk.prepare.output if not key.startswith(f"{name}.")]
    must(not strange, f"{what}.prepare must name its tensors {name!r} and a dot first.", strange)
    present = trunk.prepare.output.get(f"{name}{PRESENT}")
    must(
        present is not None and present.shape[1:] == (1,),
        f"{what}.prepare must say who has it in '{name}{PRESENT}' (B, 1).",
    )
    feature = trunk.encode.output[name]
    must(len(feature.shape) in (2, 3), f"{what}.encode must give (B, D) or (B, T, D).", feature.shape)
    must((len(feature.shape) == 3) == modality.sequence, f"{what}.sequence must say whether it gives (B, T, D).")
    if len(feature.shape) == 3 and feature.shape[1] is None:
        must(f"{name}{PADDING}" in trunk.prepare.output, f"{what} must say in '{name}{PADDING}' what is no padding.")
    for fine_tune in (False, True):
        for layer in modality.tower_layers(fine_tune):
            must(
                any(layer == x.name for x in trunk.encode.layers),
                f"{what}.tower_layers must name layers of encode.",
                layer,
            )


def _check_rows(modality, trunk, df):
    """One row equals the row in a batch; equal rows have equal keys; empty cells are absent, and no NaN."""
    what, name = type(modality).__name__, modality.name
    whole = trunk.features(df)
    for row in (0, len(df) - 1):
        alone = trunk.features(df.iloc[[row]])
        for key, values in whole.items():
            batch = values[[row]]
            if batch.ndim == 3:  # padding of others
                batch = batch[:, : alone[key].shape[1]]
            must_equal(alone[key], batch, f"{what}: {key!r} of one row must equal that of the row in a batch.", 1e-3)
    doubled = df.iloc[[0, 1, 0]]
    keys = row_keys(modality, raw_values(doubled, [modality]))
    must(keys[0] == keys[2] and keys[0] != keys[1], f"Columns of {what} must give equal keys to equal rows alone.")
    empty = df.iloc[:3].copy()
    for column in modality.columns_read:
        empty[column] = [None] * 3
    absent = trunk.features(empty)
    must(not absent[f"{name}{PRESENT}"].any(), f"{what} must be absent where all its cells are empty.")
    must(np.isfinite(absent[name]).all(), f"{what} must give finite features where it is absent.")


def check_encoder(modality, df):
    """Check that an encoder keeps the contract of `modalities.encoders.base.Encoder`, through the modality that names it.

    Args:
        modality: such as `mm.Text("overview", encoder="yours")`.
        df: see `check_modality`.

    Raises:
        AssertionError: it does not; the message says where.

    Example:
        >>> import mmkeras as mm
        >>> mm.testing.check_encoder(mm.Text("overview", encoder="lexical"), mm.samples.movies(30, seed=0))
    """
    check_modality(modality, df)
    adapted = modality.adapt(df)
    trunk = Trunk([adapted], engine="tensorflow")
    trainable = {x.name for x in trunk.encode.layers if x.trainable_weights}
    towers = adapted.tower_layers(True)
    if adapted.pretrained:
        frozen = [name for name, trains in towers.items() if not trains]
        must(towers, "A pretrained encoder must name its tower in `tower_layers`.")
        must(not trainable & set(frozen), "What `tower_layers` freezes must not train.", trainable & set(frozen))
    else:
        must(not towers, "An encoder without weights of its own must name no tower.", towers)
        trains = adapted.made_encoder().trains
        must(
            bool(trainable) == trains, "An encoder must have something to train with the head, or say `trains = False`."
        )


def check_fusion(fusion):
    """Check that a fusion keeps the contract of `fusion.Fusion`: in heads of two and three modalities.

    Args:
        fusion: the class.

    Raises:
        AssertionError: it does not; the message says where.

    Example:
        >>> import mmkeras as mm
        >>> mm.testing.check_fusion(mm.fusion.GatedFusion)
    """
    what = fusion.__name__
    must(issubclass(fusion, Fusion) and fusion.label, f"{what} must derive from Fusion and have a label.")
    last = [cls for cls in subclasses(Fusion) if cls.label == fusion.label][-1]
    must(last is fusion, f"The label {fusion.label!r} must be of {what} alone.", last.__name__)
    task = MultiClass("label", classes=["a", "b", "c"])
    must_raise(ValueError, lambda: task.check_settings(["x"], fusion.label + "?"), "An unknown fusion must be refused.")
    for count in (2, 3):
        keras.utils.set_random_seed(count)
        names = [f"part_{number}" for number in range(count)]
        features = {}
        for number, name in enumerate(names):
            shape = (4, 3 + number) if number < fusion.sequences else (3 + number,)
            features[name], features[f"{name}{PRESENT}"] = keras.Input(shape), keras.Input((1,))
        head = build_head(features, task, fusion.label, 8, 0.0)
        inputs = {
            key: np.random.default_rng(number).normal(size=(6, *tensor.shape[1:])).astype("float32")
            for number, (key, tensor) in enumerate(features.items())
        }
        inputs.update({f"{name}{PRESENT}": np.ones((6, 1), "float32") for name in names})
        _check_head(what, head, inputs, names)


def _check_head(what, head, inputs, names):
    """Rows by themselves, absent inputs, gradients, and a head that is saved."""
    whole = head(inputs)["label"].numpy()
    must(whole.shape == (6, 3) and np.isfinite(whole).all(), f"A head with {what} must give (B, C) finite numbers.")
    alone = head({key: values[:1] for key, values in inputs.items()})["label"].numpy()
    must_equal(alone, whole[:1], f"A row's prediction through {what} must not depend on its neighbours.")
    for name in names:
        gone = {**inputs, f"{name}{PRESENT}": np.zeros((6, 1), "float32")}
        nothing = {**gone, name: np.full_like(inputs[name], np.nan)}
        absent = head(gone)["label"].numpy()
        must_equal(absent, head(nothing)["label"].numpy(), f"{what} must not read what an absent modality holds.")
        must(np.abs(absent - whole).max() > 1e-7, f"{what} must read {name!r}: it changes nothing when it is gone.")
    none = {**inputs, **{f"{name}{PRESENT}": np.zeros((6, 1), "float32") for name in names}}
    must(
        np.isfinite(head(none)["label"].numpy()).all(),
        f"{what} must give finite numbers where every modality is absent.",
    )
    with tempfile.TemporaryDirectory() as folder:
        head.save(f"{folder}/head.keras")
        again = load_model(f"{folder}/head.keras")(inputs)["label"].numpy()
    must_equal(again, whole, f"A head with {what} must predict the same once saved and loaded.")

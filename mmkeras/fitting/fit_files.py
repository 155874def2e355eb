"""A fit on rows that stream from files, with features that stream from a folder."""

import contextlib
import pathlib
import tempfile
import warnings

import keras

from mmkeras.data.targets import Values
from mmkeras.fitting.fitted import Fitted
from mmkeras.fitting.row_files import RowFiles, Sides, features_of, look, placed
from mmkeras.modalities.base import adapt
from mmkeras.trunk.arranged import ANSWERS, Arranged
from mmkeras.trunk.trunk import Rows, Trunk

KEYS = ":key."  # tensors of what features are found by


def fit_files(recipe, rows, cache, settings, *, features=None, key=None, validation_data=None, callbacks=()):
    """(`Fitted`, History, sentences) of a model that learns from files, see `Pipeline.fit`.

    Args:
        recipe: `Recipe`. rows: paths. cache: `CacheFolder`, in which rows are arranged meanwhile.
        settings: of `Recipe.plan`.
        features, key, validation_data, callbacks: see `Pipeline.fit`.
    """
    check_streams(recipe, settings, settings.pop("sample_weight", None))
    store = None if features is None else features_of(features)

    def files(some):
        return RowFiles(some, recipe.modalities, recipe.task, key=key)

    sides = Sides.of(files(rows), validation_data, files)
    found = look(sides, recipe.task, key, settings["seed"])
    plan = recipe.plan(found.train, **settings)
    (sample, held), task = found.samples, found.task
    target = task.target(sample)
    loss = task.choose_loss(plan.loss, target)
    keras.utils.set_random_seed(plan.seed)
    trunk = Trunk([adapt(modality, sample) for modality in recipe.modalities], cache=cache, engine=recipe.engine)
    head = task.build_head(trunk.head_inputs(), target, **recipe.head)
    attached = trunk.attach(head)
    check_towers(attached, store)
    with arranged(sides, task, attached, cache) as (train, validation):
        for rows in (train, validation):
            join(rows, attached, store)
        readings, judged = [(sample, train)], None
        if len(validation):
            judged = Rows(held, Values(validation.answers()))
            readings.append((held, validation))
        fitted = Fitted(task, trunk.arranged(readings), head, recipe.head, Rows(sample, target), judged, plan)
        history = recipe.train(fitted, loss, callbacks)
    held = task.judged(held)[0]
    fitted.trunk, fitted.validation = trunk.over(), Rows(held, task.target(held)) if len(held) else None
    return fitted, history, found.told


def check_streams(recipe, settings, sample_weight=None):
    """Raise a ValueError for what does not go with rows in files."""
    trains = [name for modality in recipe.modalities for name, on in modality.tower_layers(True).items() if on]
    wrong = {
        f"{type(recipe.task).__name__}, whose rows are looked at together": not recipe.task.streams,
        f"towers that train, {trains}": bool(trains) or settings["fine_tune_epochs"] > 0,
        f"distribute={recipe.distribute!r}": recipe.distribute is not None,
        "class_weight": settings["class_weight"] is not None,
        "sample_weight": sample_weight is not None,
    }
    for what, there in wrong.items():
        if there:
            raise ValueError(
                "Rows in files train heads on features that stay as they are, on one device, all rows alike. "
                f"Received: {what}. Leave it out, or give a DataFrame."
            )


def check_towers(attached, store):
    """Raise a ValueError unless a `ParquetStore`, or None, has features of all towers."""
    known = {} if store is None else store.towers()
    for name, tower in attached.towers.items():
        if tower.parts or any(None in spec["shape"] for spec in tower.layout.values()):
            raise ValueError(
                f"Features that stream must have the same length in all rows. Received: those of {name!r}, which differ. Give a DataFrame, or "
                "a modality that pools them."
            )
        if tower.fingerprint not in known:
            there = (
                "no `features`"
                if store is None
                else f"{str(store.path)!r}, with those of {[own['tower'] for own in known.values()]}"
            )
            raise ValueError(
                f"`features` must be those of the tower of {name!r}, {tower.describe}. Received: {there}. Call mm.encode_table(rows, "
                "modalities, folder) with the same modalities, and give features=folder."
            )


@contextlib.contextmanager
def arranged(sides, task, attached, cache):
    """(`Arranged`, `Arranged`) of the rows to learn from and of those that are held out, as long as the context lasts."""
    folder = pathlib.Path(cache.path).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mmkeras-rows-", dir=folder, ignore_cleanup_errors=True) as fresh:
        made, strangers = [], 0
        for name in ("train", "validation"):
            pathlib.Path(fresh, name).mkdir()
            made.append(Arranged(pathlib.Path(fresh, name)))
        for block, df, _, held in sides:
            with placed(block):
                for side, rows in zip(made, (df[~held], df[held]), strict=True):
                    if side is made[1] and len(rows):
                        judged = task.judged(rows)[0]
                        rows, strangers = judged, strangers + len(rows) - len(judged)
                    if len(rows):
                        side.add(_prepared(rows, task, attached))
        if strangers:
            warnings.warn(
                f"Validation rows must have answers that training rows have. Received: {strangers:,} that have not, which are left out.",
                stacklevel=6,
            )
        yield made


def _prepared(rows, task, attached):
    """{tensor: values} of some rows."""
    tensors, keys = attached.prepared(rows)
    answers = {ANSWERS: task.target(rows).values}
    return {**tensors, **{f"{KEYS}{name}": digests for name, digests in keys.items()}, **answers}


def join(rows, attached, store):
    """Add the features of all towers to `Arranged` rows."""
    for name, tower in attached.towers.items() if len(rows) else ():
        missing = rows.join(store, tower.fingerprint, tower.layout, f"{KEYS}{name}")
        if missing:
            raise ValueError(
                f"Each row must have its features in {str(store.path)!r}. Received: {missing:,} rows of {len(rows):,} without those of "
                f"{name!r}. Call mm.encode_table(rows, modalities, {str(store.path)!r}), which encodes those alone."
            )
        rows.take_out(f"{KEYS}{name}")

"""One trial: a head trained on features in memory, or an ordinary Pipeline, and its score on validation rows."""

import gc

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.batches import plan_batches
from mmkeras.evaluation.metrics import interval
from mmkeras.evaluation.report import scores, tune_thresholds
from mmkeras.graph import compiled
from mmkeras.heads.decisions import build_head
from mmkeras.pipeline import Pipeline
from mmkeras.search.space import fit_settings
from mmkeras.trunk.stages import build_encode, build_prepare
from mmkeras.trunk.training import compile_for_training, planned_rate
from mmkeras.trunk.trunk import CachedModel

SAMPLES = 300  # of the bootstrap: enough for an interval that nobody reads to three digits


class FailedTrial(Exception):
    """A trial that gave no score, with its reason."""


class Judge:
    """Scores predictions of the validation rows.

    Args:
        task: adapted task.
        target: encoded target of the validation rows.
        objective: name of the metric that is to be best.
    """

    def __init__(self, task, target, objective):
        self.task, self.target, self.objective = task, target, objective

    def __call__(self, predictions):
        """{"score", "low", "high"} of (rows, outputs).

        Raises:
            FailedTrial: predictions that are no numbers.
        """
        if not np.isfinite(predictions).all():
            raise FailedTrial("predictions are NaN: the training diverged")
        cuts = tune_thresholds(self.target, predictions) if self.task.kind == "multilabel" else None
        point, drawn = scores(self.task, self.target, predictions, cuts, SAMPLES)
        low, high = interval(drawn[self.objective])
        return {"score": float(point[self.objective]), "low": float(low), "high": float(high)}


class Rows:
    """Encoded rows in memory: what frozen towers gave, and what the trained parts read.

    Args:
        part: `CachedModel` that uses all features.
        df: DataFrame.
        verbose: 1 shows the encoding of rows that are not yet cached.

    Attributes:
        arrays: {key: (rows, …)}; sequences are padded with zeros to the longest.
    """

    def __init__(self, part, df, verbose=0):
        dataset, order = part.dataset(df, batch_size=256, verbose=verbose)
        found = [{key: value.numpy() for key, value in tensors.items()} for (tensors,) in dataset]
        back = np.argsort(order)
        self.arrays = {key: _joined([batch[key] for batch in found])[back] for key in part.model.input}
        self.sequences = {key for key in part.model.input if part.model.input[key].shape[1:2] == (None,)}
        self.lengths = {}
        for key in self.sequences:
            values = self.arrays[key].reshape(len(df), self.arrays[key].shape[1], -1).any(axis=-1)
            own = np.where(values.any(axis=1), values.shape[1] - values[:, ::-1].argmax(axis=1), 1)
            group = (key.partition(".")[0], values.shape[1])  # tensors of one modality stay equally long
            self.lengths[group] = np.maximum(self.lengths.get(group, 1), own)

    def __len__(self):
        return len(next(iter(self.arrays.values())))

    def take(self, keys, rows):
        """{key: (rows, …)}, sequences cut to the longest of these rows."""
        batch = {}
        for key in keys:
            values = self.arrays[key][rows]
            if key in self.sequences:
                values = values[:, : self.lengths[key.partition(".")[0], values.shape[1]][rows].max()]
            batch[key] = values
        return batch

    def dataset(self, model, target, batch_size, seed, weights=None):
        """(endless tf.data batches of what `model` takes, batches of an epoch), shuffled anew in each epoch."""
        keys = list(model.input)
        lengths = sum(self.lengths.values()) if self.lengths else None

        def generate():
            rng = np.random.default_rng(seed)
            while True:
                for rows in plan_batches(len(self), batch_size, lengths, rng):
                    yield (self.take(keys, rows), *(v[rows] for v in (target, weights) if v is not None))

        def spec(values, tensor=None):
            shape = values.shape[1:] if tensor is None else tensor.shape[1:]
            return tf.TensorSpec((None, *shape), values.dtype)

        signature = ({key: spec(self.arrays[key], model.input[key]) for key in keys},)
        signature += tuple(spec(v) for v in (target, weights) if v is not None)
        dataset = tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(2)
        return dataset, -(-len(self) // batch_size)

    def predict(self, model, column):
        """(rows, outputs) of a model; of one with several decisions the first."""
        run, found = compiled(model), []
        for start in range(0, len(self), 256):
            rows = np.arange(start, min(start + 256, len(self)))
            found.append(run(self.take(model.input, rows))[column].numpy())
        values = np.concatenate(found)
        return values[:, 0] if values.ndim == 3 else values


def _joined(batches):
    """Batches one after another; those of sequences are padded to the longest."""
    if batches[0].ndim > 1:
        longest = max(batch.shape[1] for batch in batches)
        batches = [
            np.pad(b, [(0, 0), (0, longest - b.shape[1])] + [(0, 0)] * (b.ndim - 2)) if b.shape[1] < longest else b
            for b in batches
        ]
    return np.concatenate(batches)


class HeadTrials:
    """Trials that train heads, and what is not frozen before them, on rows encoded once.

    Args:
        modalities: all candidates.
        task: adapted task.
        train, validation: DataFrames.
        judge: `Judge`.
        directory: folder of the feature cache.
        seed: int.
        verbose: int.
    """

    def __init__(self, modalities, task, train, validation, judge, directory, seed, verbose=0):
        self.task, self.judge, self.seed = task, judge, seed
        self.target = task.encode(train)
        self.directory = directory
        self.modalities = {m.name: m for m in (modality.adapt(train) for modality in modalities)}
        adapted = list(self.modalities.values())
        self.prepare = build_prepare(adapted)
        self.encode = build_encode(adapted, self.prepare)
        self.tensors = {**self.prepare.output, **self.encode.output}
        part = self._part(build_head(self.tensors, task, modalities=list(self.modalities)))
        self.shapes = {key: tensor.shape[1:] for key, tensor in part.model.input.items()}
        self.train, self.validation = Rows(part, train, verbose), Rows(part, validation, verbose)

    def _part(self, head, fresh=False):
        stages = (self.prepare, self.encode, head)
        return CachedModel(list(self.modalities.values()), *stages, self.directory, fresh=fresh)

    def build(self, plan):
        """keras.Model of a plan as it trains: from arrays of `train` to {target column: decisions}."""
        used = [self.modalities[m.name] for m in plan.modalities]
        head = build_head(
            self.tensors, self.task, plan.fusion, target=self.target, modalities=[m.name for m in used],
            normalise=[m.name for m in used if m.normalise], whole=[m.name for m in used if m.few_features], **plan.head,
        )  # fmt: skip
        return self._part(head, fresh=True).training_model(self.task)

    def run(self, plan, epochs=None, model=None):
        """Train and judge. Returns {"score", "low", "high"}.

        Raises:
            FailedTrial: the loss, or a prediction, is no number.
        """
        keras.utils.set_random_seed(self.seed)
        model = self.build(plan) if model is None else model
        settings = fit_settings(plan, self.task, self.target)
        epochs = epochs or settings["epochs"]
        weights = self.task.row_weights(self.target, settings.get("class_weight"))
        rows, steps = self.train.dataset(model, self.target, settings["batch_size"], self.seed, weights)
        rate = planned_rate(settings["learning_rate"], (), warmup=0.05)(epochs * steps)
        loss = self.task.choose_loss(settings["loss"])
        compile_for_training(model, self.task, rate, False, loss, settings["optimizer"])
        history = model.fit(
            rows, steps_per_epoch=steps, epochs=epochs, verbose=0, shuffle=False,
            callbacks=[keras.callbacks.TerminateOnNaN()],
        )  # fmt: skip
        check_loss(history)
        return self.judge(self.validation.predict(model, self.task.column))


class PipelineTrials:
    """Trials that are ordinary Pipelines, whose towers may train: rows are streamed, nothing is held in memory.

    Args: as for `HeadTrials`.
    """

    def __init__(self, modalities, task, train, validation, judge, directory, seed, verbose=0):
        self.task, self.judge, self.seed, self.directory = task, judge, seed, directory
        self.train, self.validation = train, validation
        self.target = task.encode(train)

    def run(self, plan, epochs=None):
        """Train and judge. Returns {"score", "low", "high"}; see `HeadTrials.run`."""
        settings = fit_settings(plan, self.task, self.target)
        settings["epochs"] = epochs or settings["epochs"]
        pipe = Pipeline(plan.modalities, self.task, plan.fusion, **plan.head)
        history = pipe.fit(
            self.train, validation_data=False, cache_dir=self.directory, seed=self.seed, verbose=0,
            callbacks=[keras.callbacks.TerminateOnNaN()], **settings,
        )  # fmt: skip
        check_loss(history)
        found = self.judge(pipe.predict(self.validation).to_numpy())
        del pipe  # it holds graphs and, in reference cycles, its rows' features
        gc.collect()
        return found


def check_loss(history):
    """Raise a FailedTrial when the loss is no number."""
    losses = history.history["loss"]
    if not np.isfinite(losses).all():
        raise FailedTrial(f"the loss became {losses[-1]} in epoch {len(losses)}: the training diverged")

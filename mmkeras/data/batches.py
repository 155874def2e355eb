"""Arrays → batches: which rows share one, and how it is made of their raw values and cached features.

All models share it: `stream` for a single pass, `batches` as a tf.data pipeline for Keras's `fit`. Nothing is copied for the
whole table: a batch is cut out, and prepared in a thread, when it is needed. That is not left to tf.data, which would
instantiate the graph of the preparation anew for each pass: up to a second where there are images.
"""

import collections
import concurrent.futures
import dataclasses
import os
import threading
import time

import numpy as np
import tensorflow as tf

from mmkeras.data.columns import lengths, raw_values
from mmkeras.data.files import examine
from mmkeras.data.frames import as_frame


def plan_batches(rows, batch_size, lengths=None, rng=None, *, together=None):
    """Row numbers of each batch, such that rows of a batch have nearly the same length.

    Args:
        rows: int, how many rows there are.
        batch_size: int.
        lengths: (rows,) ints or None, what padding depends on.
        rng: a NumPy Generator to shuffle for training; None keeps the order by length (or by row).
        together: (rows,) ints; shuffled are groups of equal ones, as far as a batch holds them. None shuffles rows.

    Returns:
        list of int arrays; together they hold every row number once.
    """
    if rng is None:
        order = np.arange(rows) if lengths is None else np.argsort(lengths, kind="stable")
        return [order[i : i + batch_size] for i in range(0, rows, batch_size)]
    order = rng.permutation(rows)
    if together is not None:
        _, groups = np.unique(together, return_inverse=True)
        order = order[np.argsort(rng.permutation(groups.max(initial=0) + 1)[groups[order]], kind="stable")]
    if lengths is None:
        return [order[i : i + batch_size] for i in range(0, rows, batch_size)]
    # Sorting inside windows of 64 batches groups lengths and still mixes rows anew in every epoch.
    plan, window = [], 64 * batch_size
    for start in range(0, rows, window):
        near = order[start : start + window]
        near = near[np.argsort(np.asarray(lengths)[near], kind="stable")]
        plan += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [plan[i] for i in rng.permutation(len(plan))]


@dataclasses.dataclass
class Order:
    """Which rows share a batch, and what goes with them.

    Attributes:
        batch_size: int, see `plan_batches`; where rows have several answers, about so many answers share a batch.
        seed: int to shuffle anew in each epoch; None for evaluation, which is never shuffled.
        lengths: (rows,) ints or None, what padding depends on.
        target: `Target`, or None.
        weights: (rows,) sample weights, or None.
        outputs: names of a model's outputs that all answer the target; () gives the bare answers.
        replicas: int, into how many shares a batch is cut, one after another, for as many devices; a batch of fewer rows than those joins
            the one before.
    """

    batch_size: int = 32
    seed: int | None = None
    lengths: object = None
    target: object = None
    weights: object = None
    outputs: tuple = ()
    replicas: int = 1

    def plan(self, rows, epoch):
        """Row numbers of each batch of an epoch, see `plan_batches`."""
        size, lengths = self.batch_size, self.lengths
        if self.target is not None and self.target.values is None:
            size = max(1, round(size * rows / self.target.answers))
            lengths = self.target.lengths
        rng = None if self.seed is None else np.random.default_rng([self.seed, epoch])
        together = None if self.target is None else self.target.batched
        plan = plan_batches(rows, size, lengths, rng, together=together)
        return plan if self.replicas == 1 else _shares(plan, self.replicas)


def _shares(plan, replicas):
    """Batches of a plan, each as so many arrays one after another, of at least a row."""
    kept = []
    for rows in plan:
        if kept and min(len(rows), len(kept[-1])) < replicas:
            kept[-1] = np.concatenate([kept[-1], rows])
        else:
            kept.append(rows)
    if any(len(rows) < replicas for rows in kept):
        raise ValueError(
            f"Training on {replicas} devices needs at least as many rows, and as many to validate on. Received: {sum(map(len, kept))}. "
            "Give more rows, or distribute=None."
        )
    return [share for rows in kept for share in np.array_split(rows, replicas)]


def batches(columns, order, *, prepare=None, fetch=None):
    """The one tf.data pipeline, of every training and validation pass; `stream` gives a single pass without it.

    Args:
        columns: {name: array}, values by row; or of what gives arrays for row numbers, `Ragged` or `Files`.
        order: `Order`.
        prepare: a Keras model, or a graph of one, from raw columns to tensors, or None to keep raw values.
        fetch: function of row numbers → {name: array} of cached features, or None.

    Returns:
        tf.data.Dataset of batches of ({name: tensor}[, answers[, weight]]).
    """
    rows, target = len(next(iter(columns.values()))), order.target
    fixed = order.plan(rows, 0) if order.seed is None else None
    epoch = iter(range(2**31))

    def next_plan():
        return fixed or order.plan(rows, next(epoch))

    batch = _Batch(columns, order, prepare, fetch)
    plain = prepare is None and (target is None or target.values is not None)
    if plain and fetch is None and all(isinstance(v, np.ndarray) for v in columns.values()):
        dataset = _gathered(fixed, next_plan, batch)
    else:
        dataset = tf.data.Dataset.from_generator(
            lambda: _python.watched(batch.each_of(next_plan())), output_signature=batch.signature(rows)
        )
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(fixed or order.plan(rows, 0))))
    # The next batches are made ready while the model works.
    return dataset.prefetch(tf.data.AUTOTUNE)


def stream(columns, order, *, prepare=None, fetch=None):
    """(row numbers, {name: tensor}) of each batch of one pass; see `batches`."""
    plan = order.plan(len(next(iter(columns.values()))), 0)
    made = _Batch(columns, order, prepare, fetch).each_of(plan)
    for numbers, (tensors, *_) in zip(plan, made, strict=True):
        yield numbers, tensors


class _Batch:
    """How a batch is made of row numbers; see `batches`."""

    def __init__(self, columns, order, prepare, fetch):
        self.columns, self.order, self.prepare, self.fetch = columns, order, prepare, fetch

    def take(self, numbers):
        """(raw values, cached features[, answers[, weights]]) of some rows; the first two apart, as names may be the same."""
        raw = {name: np.asarray(values[numbers]) for name, values in self.columns.items()}
        cached, beside, target = {} if self.fetch is None else self.fetch(numbers), [], self.order.target
        if target is not None:
            words, answers = target.take(numbers)
            cached, beside = {**cached, **words}, [answers]
        if self.order.weights is not None:
            beside.append(target.spread(self.order.weights, numbers))
        return (raw, cached, *beside)

    def finish(self, raw, cached, *beside):
        """What the model gets: tokens, vocabularies, scaling, pixels of the raw values, and answers for each output."""
        if self.prepare is not None:
            raw = self.prepare({name: tf.convert_to_tensor(raw[name]) for name in self.prepare.input})
        if self.order.target is not None and self.order.outputs:
            beside = (dict.fromkeys(self.order.outputs, beside[0]), *beside[1:])
        return ({**cached, **raw}, *beside)

    def make(self, numbers):
        """A batch."""
        return self.finish(*self.take(numbers))

    def each_of(self, plan):
        """The batches of a plan, in turn; those that are prepared are made ahead, as many at once as there are cores."""
        if self.prepare is None:
            yield from map(self.make, plan)
            return
        cores, made = os.cpu_count() or 1, collections.deque()
        pool = concurrent.futures.ThreadPoolExecutor(cores)
        try:
            for numbers in plan:
                made.append(pool.submit(self.make, numbers))
                if len(made) > cores:
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def signature(self, rows):
        """tf.TensorSpecs of a batch; the batch axis, and the time axis of sequences, vary."""

        def spec(value, shape=None):
            value = np.asarray(value)
            shape = [None, *(value.shape if shape is None else shape)[1:]]
            if value.ndim == 3 or (value.ndim == 2 and value.dtype == np.int32):  # sequences of vectors, of words
                shape[1] = None
            return tf.TensorSpec(shape, tf.string if value.dtype == object else value.dtype)

        raw, cached, *beside = self.take(np.arange(min(rows, 1)))
        if self.prepare is None:
            given = {name: spec(value, getattr(self.columns[name], "shape", None)) for name, value in raw.items()}
        else:
            given = {key: tf.TensorSpec(tensor.shape, tensor.dtype) for key, tensor in self.prepare.output.items()}
        fixed = self.order.target is not None and self.order.target.values is not None  # else answers are sentences
        beside = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) if fixed else spec(x) for x in map(np.asarray, beside)]
        if beside and self.order.outputs:
            beside[0] = dict.fromkeys(self.order.outputs, beside[0])
        return ({**{name: spec(value) for name, value in cached.items()}, **given}, *beside)


class _Python:
    """Whether threads of tf.data are at work in Python."""

    def __init__(self):
        self.lock, self.running, self.last = threading.Lock(), 0, -np.inf

    def watched(self, items):
        """The items of an iterable, each of which is made under watch."""
        items = iter(items)
        while True:
            with self.lock:
                self.running += 1
            try:
                item = next(items, None)
            finally:
                with self.lock:
                    self.running -= 1
                    self.last = time.monotonic()
            if item is None:
                return
            yield item

    def settle(self, quiet=0.2, longest=10.0):
        """Wait until no thread of tf.data is at work in Python; call it before an unfinished iterator is let go.

        TensorFlow lets an iterator go while it holds Python's lock, and waits for its threads: one that is about to
        call Python then waits for the lock, for ever. With full buffers, they rest.

        Args:
            quiet: float, seconds without work after which they count as resting.
            longest: float, seconds after which it returns in any case.
        """
        end = time.monotonic() + longest
        while time.monotonic() < end and (self.running or time.monotonic() - self.last < quiet):
            time.sleep(0.01)


_python = _Python()
settle, watched = _python.settle, _python.watched


def _gathered(fixed, next_plan, batch):
    """Batches that TensorFlow cuts from tensors of all rows: Python is asked once per epoch, or never where the plan is fixed."""
    everything = tf.nest.map_structure(tf.convert_to_tensor, batch.take(slice(None)))

    def planned():
        plan = next_plan()
        sizes = np.array([len(numbers) for numbers in plan])
        table = np.zeros((len(plan), sizes.max(initial=0)), "int64")
        table[np.arange(table.shape[1]) < sizes[:, None]] = np.concatenate(plan)
        yield table, sizes

    @tf.autograph.experimental.do_not_convert
    def gather(numbers, size):
        return batch.finish(*tf.nest.map_structure(lambda values: tf.gather(values, numbers[:size]), everything))

    if fixed:
        return tf.data.Dataset.from_tensor_slices(next(planned())).map(gather)
    table, sizes = tf.TensorSpec([None, None], tf.int64), tf.TensorSpec([None], tf.int64)
    plans = tf.data.Dataset.from_generator(lambda: _python.watched(planned()), output_signature=(table, sizes))
    return plans.unbatch().map(gather)


def make_dataset(df, modalities, task=None, batch_size=32, training=False, seed=None):
    """A tf.data pipeline of raw columns, for people's own training loops.

    Args:
        df: pandas DataFrame; never modified.
        modalities: list of modalities, which say what columns are read and how.
        task: a task, already adapted (or with `classes` given), to add targets; None for inputs only.
        batch_size: int.
        training: bool; True shuffles anew in each epoch. Rows of similar length share a batch either way.
        seed: int, fixes the shuffling; None draws one.

    Returns:
        tf.data.Dataset of `{column: (B,) strings or float32}` or `({column: …}, target)`. With `training=False`
        rows come in the order of `df`.

    Raises:
        KeyError, TypeError, ValueError: see `check_frame`.

    Example:
        >>> import mmkeras as mm
        >>> df = mm.samples.movies(8, seed=0)
        >>> ds = mm.make_dataset(df, [mm.Text("overview", encoder="scratch")], batch_size=4)
        >>> next(iter(ds))["overview"].shape
        TensorShape([4])
    """
    df = as_frame(df)
    columns = raw_values(df, modalities)
    examine(columns.values())  # files, which their reader will decode
    order = Order(batch_size, target=None if task is None else task.target(df))
    if training:
        order.seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        order.lengths = lengths(modalities, columns)
    dataset = batches(columns, order)
    return dataset if task is not None else dataset.map(lambda features: features)

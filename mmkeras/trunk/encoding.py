"""The one pass of frozen towers over the rows whose features are not stored yet.

The next rows are read, decoded or tokenised while a tower runs; rows of tokens are sorted by length, a window at a time.
"""

import collections
import functools
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from mmkeras.data.batches import Order, stream
from mmkeras.graph import all_layers, compiled, submodel
from mmkeras.modalities.base import PADDING
from mmkeras.trunk import engines
from mmkeras.trunk.fingerprint import fingerprint
from mmkeras.trunk.folder import TOWERS
from mmkeras.trunk.packing import layout_of, pack

EXAMPLES = 8  # rows on which engines are compared where nothing else is known
WINDOW = 1024  # rows that are tokenised together, before they are sorted by length
MOST_ROWS = 64  # of short texts that a tower takes at a time


class Tower:
    """A frozen tower with the preparation before it.

    Args:
        prepare: keras.Model from raw columns to the tower's inputs.
        model: keras.Model, see `stages.cut_frozen`.
        describe: str, what `mmkeras cache info` shows for it.
        heavy: bool, whether rows take so long to prepare that others should be encoded meanwhile.
        examples: {column: array} of the raw values of a few rows, always the same, see `example_values`; or None.
        parts: bool, whether it reads the parts of rows, such as files, one by one.

    Attributes:
        layout: see `packing.layout_of`.
        opened: {what: graph} that were made for it, and stay.
    """

    def __init__(self, prepare, model, describe="", heavy=False, *, examples=None, parts=False):
        self.prepare, self.model, self.describe, self.heavy, self.parts = prepare, model, describe, heavy, parts
        self.layout, self.opened, self._examples = layout_of(model), {}, examples

    @functools.cached_property
    def fingerprint(self):
        """16 bytes, see `fingerprint`; taken once, so that a tower with other weights is another object."""
        return fingerprint(self.prepare, self.model)

    @functools.cached_property
    def exact(self):
        """Whether a layer of it counts, so that only TensorFlow in float32 may run it."""
        return any(getattr(layer, "exact", False) for layer in all_layers(self.model))

    def equals(self, other):
        """Whether another tower on the same preparation has the same weights; quicker than a fingerprint."""
        own, others = self.model.weights, other.model.weights
        same = self.model.input.keys() == other.model.input.keys() and self.layout == other.layout
        return same and len(own) == len(others) and all(map(np.array_equal, own, others))

    @functools.cached_property
    def run_prepare(self):
        """The preparation as one graph."""
        return compiled(self.prepare)

    def open(self, engine, key, *, folder, rows, columns):
        """`run` of an engine for this tower, see `engines.open_tower`; what was opened stays open.

        Args:
            engine: one that `engines.candidates` gave. key: its key of this tower.
            folder: where converted towers are kept.
            rows: see `OpenVINO.open`.
            columns: {column: array} of raw values, on which it is tried where the tower has no examples.
        """
        if (key, rows) not in self.opened:
            self.opened[key, rows] = engines.open_tower(
                engine, self.model, key, folder=folder, rows=rows, sample=self.sample(columns)
            )
        return self.opened[key, rows]

    def sample(self, columns):
        """(tensors of a few rows, their lengths or None), on which engines are compared: of its examples, or of `columns`."""
        raw = self._examples or {name: np.asarray(values[:EXAMPLES]) for name, values in columns.items()}
        tensors = self.run_prepare(raw)
        return {name: value.numpy() for name, value in tensors.items()}, longest_of(
            tensors, padding_masks(self.prepare.output)
        )


def encode_rows(store, tower, columns, row_keys, *, engine="tensorflow", batch_size=None, verbose=1, keep=True):
    """The tower's features of all rows, encoding each distinct row once that is not stored.

    Args:
        store: a `Store`.
        tower: `Tower`.
        columns: {column: array} of raw values.
        row_keys: list of 16-byte digests of the rows, see `data.columns.row_keys`.
        engine: one of `engines.ENGINES`, or an engine.
        batch_size: int, most rows of a pass; None leaves it to the engine.
        verbose: 0 for silence, else a progress bar in rows.
        keep: bool, whether what is encoded now goes to the store.

    Returns:
        (list of bytes, the key of each row in the store; {key: packed features} of those that were not kept).

    Raises:
        EngineError: an engine that was named cannot run the tower; "auto" warns and takes another.
        tf.errors.OpError: a row that cannot be prepared; the rows before it are stored.
    """
    own = tower.fingerprint
    left = engines.candidates("tensorflow" if tower.exact else engine)
    while left:
        candidate, *left = left
        key = candidate.key(own)
        keys = [key + row for row in row_keys]
        todo = store.missing(keys, tower.layout)
        if not todo:
            return keys, {}
        size = min(batch_size or candidate.rows, len(todo)) if tower.heavy else None
        rows = {name: values[todo] for name, values in columns.items()}
        try:
            run = tower.open(candidate, key, folder=store.path / TOWERS, rows=size, columns=rows)
            if verbose:
                what = tower.model.name.removesuffix("_frozen")
                print(f"Encoding {len(todo):,} rows of {what!r} by {candidate}; {candidate.why}")
            fresh = {}
            if keep:
                what = tower.describe if key == own else f"{tower.describe} by {candidate}"
                store.describe(key, what, tower.layout, str(candidate))
            parts = cut_windows(tower.prepare, windows_of(tower, rows, size), batch_size, candidate.tokens)
            todo_keys = [keys[row] for row in todo]
            write = store.write if keep else fresh.update
            _write_features(write, run, parts, layout=tower.layout, keys=todo_keys, verbose=verbose)
            return keys, fresh
        except engines.EngineError as error:
            if engine != "auto":
                raise
            left = engines.after(error, left)
            warnings.warn(f"{error} {left[0]} encodes instead.", stacklevel=2)


def _write_features(write, run, parts, *, layout, keys, verbose):
    """Run a tower over parts of the rows, and `write` what it gives for each row as (key, packed features)."""
    bar = keras.utils.Progbar(len(keys), unit_name="row", verbose=min(verbose, 1), stateful_metrics=["rows/s"])
    sent, done, pending, start = collections.deque(), 0, [], time.monotonic()
    last = start

    def tensors():
        for rows, lengths, batch in parts:
            sent.append((rows, lengths))
            yield batch

    try:
        for outputs in run(tensors()):
            rows, lengths = sent.popleft()
            for position, row in enumerate(rows):
                length = None if lengths is None else int(lengths[position])
                pending.append((keys[row], pack({k: v[position] for k, v in outputs.items()}, layout, length)))
            done += len(rows)
            now = time.monotonic()
            if now - last > 1.0:  # what a killed process loses: a second's work
                write(pending)
                pending, last = [], now
            bar.update(done, [("rows/s", done / max(now - start, 1e-9))])
    finally:
        write(pending)


def windows_of(tower, columns, batch_size):
    """(row numbers, lengths or None, tensors) of rows in their order.

    Light rows come in windows of many batches, for `cut_windows` to sort by length and cut. Heavy ones come in batches,
    made ready while earlier ones are encoded.

    Args:
        tower: `Tower`.
        columns: {name: array}.
        batch_size: int, of heavy rows.
    """
    if not tower.heavy:  # words take so little time that tf.data would take more to begin
        masks, rows = padding_masks(tower.prepare.output), len(next(iter(columns.values())))
        for start in range(0, rows, WINDOW):
            tensors = tower.run_prepare({name: values[start : start + WINDOW] for name, values in columns.items()})
            count = min(WINDOW, rows - start)
            yield np.arange(start, start + count), longest_of(tensors, masks), tensors
        return
    for rows, tensors in stream(columns, Order(batch_size), prepare=tower.run_prepare):
        yield rows, None, tensors


def cut_windows(prepare, windows, most_rows, most_tokens):
    """(row numbers, lengths or None, tensors) of rows of nearly the same length, padded to the longest of them.

    The long ones come first: memory is then taken once, and the cores finish together.
    """
    for rows, lengths, tensors in windows:
        if lengths is None and len(rows) <= (most_rows or MOST_ROWS):
            yield rows, lengths, tensors
            continue
        window = (rows, lengths, {name: np.asarray(value) for name, value in tensors.items()})
        even = np.ones(len(rows), int) if lengths is None else lengths
        for positions in plan_parts(even, most_rows or MOST_ROWS, most_tokens):
            yield rows_of(prepare, window, positions)


def rows_of(prepare, window, positions):
    """Some rows of a window, padded to the longest of them."""
    rows, lengths, tensors = window
    padded = [] if lengths is None else [name for name, tensor in prepare.output.items() if None in tensor.shape[1:2]]
    longest = None if lengths is None else max(lengths[positions])
    cut = {}
    for name, value in tensors.items():
        value = np.asarray(value)
        cut[name] = value[positions, :longest] if name in padded else value[positions]
    return rows[positions], None if lengths is None else lengths[positions], cut


def plan_parts(lengths, most_rows, most_tokens, padding=0.05):
    """Positions of the rows of each part, the longest first; at most the share `padding` of a part is padding.

    Args:
        lengths: (rows,) ints.
        most_rows, most_tokens: ints, limits of a part. One row may be longer.
        padding: float.
    """
    order = np.argsort(-lengths, kind="stable")
    start, tokens = 0, 0
    for position, row in enumerate(order):
        size = (position + 1 - start) * lengths[order[start]]  # of the part with this row
        full = position - start >= most_rows or size > most_tokens or size - tokens - lengths[row] > padding * size
        if full and position > start:
            yield order[start:position]
            start, tokens = position, 0
        tokens += lengths[row]
    yield order[start:]


def padding_masks(keys):
    """Those of some keys of what says which positions of sequences are no padding."""
    return [key for key in keys if key.endswith(PADDING)]


def longest_of(tensors, masks):
    """(rows,) the longest sequence of each row, or None when there are no masks."""
    if not masks:
        return None
    return np.max([tf.reduce_sum(tensors[key], axis=1).numpy() for key in masks], axis=0)


def token_lengths(prepare, columns):
    """The longest tokenised length of each row over all token sequences, or None when there are none.

    Args:
        prepare: keras.Model, or graph as `masks_of` gives it of one.
        columns: {column: array} of raw values.
    """
    run = masks_of(prepare) if isinstance(prepare, keras.Model) else prepare
    if run is None:
        return None
    rows, lengths = len(next(iter(columns.values()))), []
    for start in range(0, rows, WINDOW):
        tensors = run({name: columns[name][start : start + WINDOW] for name in run.input})
        lengths.append(longest_of(tensors, list(run.output)))
    return np.concatenate(lengths)


def masks_of(prepare):
    """A graph of what says where sequences have no padding, all that their lengths need; None when there are no sequences of tokens."""
    masks = padding_masks(prepare.output)
    return compiled(submodel(prepare.input, {key: prepare.output[key] for key in masks})) if masks else None

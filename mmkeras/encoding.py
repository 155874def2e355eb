"""The one pass of frozen towers over the rows whose features are not stored yet.

The next rows are read, decoded or tokenised while a tower runs; rows of tokens are sorted by length, a window at a time.
"""

import collections
import itertools
import time
import warnings

import keras
import numpy as np
import tensorflow as tf

from mmkeras import engines
from mmkeras.datasets import batches
from mmkeras.features import TOWERS, fingerprint, layout_of, pack
from mmkeras.graph import compiled, submodel

WINDOW = 1024  # rows that are tokenised together, before they are sorted by length
MOST_ROWS = 64  # of short texts that a tower takes at a time


def encode_rows(
    store, prepare, tower, columns, row_keys, *, describe="", engine="tensorflow", batch_size=None, verbose=1
):
    """Make sure that the tower's features of all rows are stored, encoding each missing distinct row once.

    Args:
        store: a `Store`.
        prepare: keras.Model from raw columns to the tower's inputs.
        tower: keras.Model, see `stages.cut_frozen`.
        columns: {column: array} of raw values.
        row_keys: list of 16-byte digests of the rows, see `Modality.row_keys`.
        describe: str, what `mmkeras cache info` shows for this tower.
        engine: one of `engines.ENGINES`, or an engine.
        batch_size: int, most rows of a pass; None leaves it to the engine.
        verbose: 0 for silence, else a progress bar in rows.

    Returns:
        list of bytes, the key of each row in the store.

    Raises:
        EngineError: an engine that was named cannot run the tower; "auto" warns and takes TensorFlow.
    """
    own = fingerprint(prepare, tower)
    for one in engines.candidates(engine):
        key = one.key(own)
        keys = [key + row for row in row_keys]
        todo = store.missing(keys)
        if not todo:
            return keys
        size = None if token_masks(prepare) else min(batch_size or one.rows, len(todo))
        windows = windows_of(prepare, {name: values[todo] for name, values in columns.items()}, size)
        first = next(windows)
        try:
            run = one.open(tower, key, store.path / TOWERS, size, *sample_of(first))
            break
        except engines.EngineError as error:
            if engine != "auto":
                raise
            warnings.warn(f"{error} TensorFlow encodes in float32 instead.", stacklevel=2)
    if verbose:
        print(f"Encoding {len(todo):,} rows with {describe} by {one}: {one.why}")
    store.describe(key, describe if key == own else f"{describe} by {one}")
    parts = cut_windows(prepare, itertools.chain([first], windows), batch_size, one.tokens)
    _write_features(store, run, parts, layout_of(tower), [keys[row] for row in todo], verbose)
    return keys


def _write_features(store, run, parts, layout, keys, verbose):
    """Run a tower over parts of the rows, and write what it gives for each row under its key."""
    bar = keras.utils.Progbar(len(keys), unit_name="row", verbose=min(verbose, 1), stateful_metrics=["rows/s"])
    sent, done, pending, start = collections.deque(), 0, [], time.monotonic()
    last = start

    def tensors():
        for rows, lengths, part in parts:
            sent.append((rows, lengths))
            yield part

    for outputs in run(tensors()):
        rows, lengths = sent.popleft()
        for position, row in enumerate(rows):
            length = None if lengths is None else int(lengths[position])
            pending.append((keys[row], pack({k: v[position] for k, v in outputs.items()}, layout, length)))
        done += len(rows)
        now = time.monotonic()
        if now - last > 1.0 or done == len(keys):  # what a killed process loses: a second's work
            store.write(pending)
            pending, last = [], now
        bar.update(done, [("rows/s", done / max(now - start, 1e-9))])


def windows_of(prepare, columns, batch_size):
    """(row numbers, lengths or None, tensors) of rows in their order, made ready while earlier ones are encoded.

    Rows of tokens come in windows of many batches, for `cut_windows` to sort and cut; other rows in batches.
    """
    masks = token_masks(prepare)
    dataset, order = batches(columns, batch_size=batch_size or WINDOW, prepare=prepare)
    done = 0
    for (tensors,) in dataset:
        count = len(next(iter(tensors.values())))
        lengths = np.max([tf.reduce_sum(tensors[key], axis=1).numpy() for key in masks], axis=0) if masks else None
        yield order[done : done + count], lengths, tensors
        done += count


def cut_windows(prepare, windows, most_rows, most_tokens):
    """(row numbers, lengths or None, tensors) of rows of nearly the same length, padded to the longest of them.

    The long ones come first: memory is then taken once, and the cores finish together.
    """
    padded = [name for name, tensor in prepare.output.items() if None in tensor.shape[1:2]]
    for rows, lengths, tensors in windows:
        if lengths is None:
            yield rows, lengths, tensors
            continue
        arrays = {name: value.numpy() for name, value in tensors.items()}
        for part in plan_parts(lengths, most_rows or MOST_ROWS, most_tokens):
            longest = lengths[part[0]]
            cut = {name: v[part, :longest] if name in padded else v[part] for name, v in arrays.items()}
            yield rows[part], lengths[part], cut


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


def sample_of(window, most=8):
    """(tensors of a few rows of a window, from all of it; their lengths or None)."""
    rows, lengths, tensors = window
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))
    some = {name: tf.gather(value, chosen) for name, value in tensors.items()}
    return some, None if lengths is None else lengths[chosen]


def token_masks(prepare):
    return [key for key in prepare.output if key.endswith(".padding_mask")]


def token_lengths(prepare, columns, chunk=1024):
    """The longest tokenised length of each row over all token sequences, or None when there are none."""
    masks = token_masks(prepare)
    if not masks:
        return None
    rows = len(next(iter(columns.values())))
    tokens = submodel(prepare.input, {key: prepare.output[key] for key in masks})
    run = compiled(tokens)
    found = []
    for start in range(0, rows, chunk):
        tensors = run({name: columns[name][start : start + chunk] for name in tokens.input})
        found.append(np.max([tf.reduce_sum(tensors[key], axis=1).numpy() for key in masks], axis=0))
    return np.concatenate(found)

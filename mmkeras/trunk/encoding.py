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

from mmkeras.data.batches import batches, settle
from mmkeras.graph import compiled, submodel
from mmkeras.trunk import engines
from mmkeras.trunk.store import TOWERS, fingerprint, layout_of, pack

WINDOW = 1024  # rows that are tokenised together, before they are sorted by length
MOST_ROWS = 64  # of short texts that a tower takes at a time


def encode_rows(
    store,
    prepare,
    tower,
    columns,
    row_keys,
    *,
    describe="",
    engine="tensorflow",
    batch_size=None,
    verbose=1,
    opened=None,
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
        opened: dict in which the graphs of one `prepare` and `tower` stay from call to call; None makes them anew.

    Returns:
        list of bytes, the key of each row in the store.

    Raises:
        EngineError: an engine that was named cannot run the tower; "auto" warns and takes TensorFlow.
        tf.errors.OpError: a row that cannot be prepared; the rows before it are stored.
    """
    own = fingerprint(prepare, tower)
    opened = {} if opened is None else opened
    for one in engines.candidates(engine):
        key = one.key(own)
        keys = [key + row for row in row_keys]
        todo = store.missing(keys)
        if not todo:
            return keys
        size = None if token_masks(prepare) else min(batch_size or one.rows, len(todo))
        if "prepare" not in opened:
            opened["prepare"] = compiled(prepare)
        windows = windows_of(opened["prepare"], {name: values[todo] for name, values in columns.items()}, size)
        first = next(windows)
        try:
            if (key, size) not in opened:
                opened[key, size] = one.open(tower, key, store.path / TOWERS, size, *sample_of(prepare, first))
            if verbose:
                what = tower.name.removesuffix("_frozen")
                print(f"Encoding {len(todo):,} rows of {what!r} by {one}; {one.why}")
            store.describe(key, describe if key == own else f"{describe} by {one}")
            parts = cut_windows(prepare, itertools.chain([first], windows), batch_size, one.tokens)
            _write_features(store, opened[key, size], parts, layout_of(tower), [keys[row] for row in todo], verbose)
            return keys
        except engines.EngineError as error:
            if engine != "auto":
                raise
            warnings.warn(f"{error} TensorFlow encodes in float32 instead.", stacklevel=2)


def _write_features(store, run, parts, layout, keys, verbose):
    """Run a tower over parts of the rows, and write what it gives for each row under its key."""
    bar = keras.utils.Progbar(len(keys), unit_name="row", verbose=min(verbose, 1), stateful_metrics=["rows/s"])
    sent, done, pending, start = collections.deque(), 0, [], time.monotonic()
    last = start

    def tensors():
        for rows, lengths, part in parts:
            sent.append((rows, lengths))
            yield part

    try:
        for outputs in run(tensors()):
            rows, lengths = sent.popleft()
            for position, row in enumerate(rows):
                length = None if lengths is None else int(lengths[position])
                pending.append((keys[row], pack({k: v[position] for k, v in outputs.items()}, layout, length)))
            done += len(rows)
            now = time.monotonic()
            if now - last > 1.0:  # what a killed process loses: a second's work
                store.write(pending)
                pending, last = [], now
            bar.update(done, [("rows/s", done / max(now - start, 1e-9))])
    finally:
        store.write(pending)


def windows_of(prepare, columns, batch_size):
    """(row numbers, lengths or None, tensors) of rows in their order.

    Rows of tokens come in windows of many batches, for `cut_windows` to sort and cut. Other rows come in batches, made
    ready while earlier ones are encoded.

    Args:
        prepare: what `compiled` made of the model.
        columns: {name: array}.
        batch_size: int, of rows without tokens.
    """
    masks = token_masks(prepare)
    if masks:  # words take so little time that tf.data would take more to begin
        rows = len(next(iter(columns.values())))
        for start in range(0, rows, WINDOW):
            tensors = prepare({name: values[start : start + WINDOW] for name, values in columns.items()})
            lengths = np.max([tf.reduce_sum(tensors[key], axis=1).numpy() for key in masks], axis=0)
            yield np.arange(start, start + len(lengths)), lengths, tensors
        return
    dataset, order = batches(columns, batch_size=batch_size, prepare=prepare)
    done = 0
    try:
        for (tensors,) in dataset:
            count = len(next(iter(tensors.values())))
            yield order[done : done + count], None, tensors
            done += count
    except BaseException:  # the rest is not wanted
        settle()
        raise


def cut_windows(prepare, windows, most_rows, most_tokens):
    """(row numbers, lengths or None, tensors) of rows of nearly the same length, padded to the longest of them.

    The long ones come first: memory is then taken once, and the cores finish together.
    """
    for rows, lengths, tensors in windows:
        if lengths is None:
            yield rows, lengths, tensors
            continue
        window = (rows, lengths, {name: np.asarray(value) for name, value in tensors.items()})
        for part in plan_parts(lengths, most_rows or MOST_ROWS, most_tokens):
            yield rows_of(prepare, window, part)


def rows_of(prepare, window, part):
    """Some rows of a window, padded to the longest of them."""
    rows, lengths, tensors = window
    padded = [] if lengths is None else [name for name, tensor in prepare.output.items() if None in tensor.shape[1:2]]
    longest = None if lengths is None else max(lengths[part])
    cut = {}
    for name, value in tensors.items():
        value = np.asarray(value)
        cut[name] = value[part, :longest] if name in padded else value[part]
    return rows[part], None if lengths is None else lengths[part], cut


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


def sample_of(prepare, window, most=8):
    """(tensors of a few rows of a window, their lengths or None); of the shorter half, as both engines must run them."""
    rows, lengths, _ = window
    order = np.arange(len(rows)) if lengths is None else np.argsort(lengths, kind="stable")[: len(rows) // 2 + 1]
    _, lengths, tensors = rows_of(
        prepare, window, order[np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).astype(int))]
    )
    return tensors, lengths


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

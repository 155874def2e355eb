"""DataFrame → tf.data: column checks, raw values, splits and the order of batches.

All models share one pipeline, visible in `batches`: row numbers grouped by length → raw values of those rows →
(prepared tensors) → prefetch. Nothing is copied for the whole table: a batch is cut out when it is needed.
"""

import difflib
import threading
import time
import warnings

import numpy as np
import tensorflow as tf


def check_frame(df, columns, what="the model"):
    """Raise unless `df` is a non-empty pandas DataFrame that has every column of `columns`.

    Raises:
        TypeError: `df` is not a DataFrame.
        KeyError: a column is missing; the message names the nearest existing one.
        ValueError: no rows, or two columns of the same name.
    """
    if not (hasattr(df, "columns") and hasattr(df, "iloc")):
        raise TypeError(f"{what} reads a pandas DataFrame. Received: {type(df).__name__}. Use pandas.DataFrame(...).")
    present = [str(name) for name in df.columns]
    for column in columns:
        if column not in df.columns:
            near = difflib.get_close_matches(str(column), present, n=1, cutoff=0.5)
            parts = [part.strip() for part in str(column).split(",")]
            hint = f"Did you mean {near[0]!r}?" if near else "Rename the column or change the setting."
            if len(parts) > 1 and set(parts) <= set(present):
                hint = f"Give several columns as a list: {parts}."
            raise KeyError(f"{what} needs the column {column!r}. Received the columns: {present}. {hint}")
        if present.count(str(column)) > 1:
            raise ValueError(f"Column names must be unique. Received {column!r} twice. Rename one of them.")
    if len(df) == 0:
        raise ValueError(f"{what} needs at least one row. Received: an empty DataFrame. Check the filter before.")


def texts(series):
    """A column as a NumPy array of str objects: missing values become '', everything else its `str`."""
    missing = series.isna().to_numpy()
    values = series.to_numpy(dtype=object)
    return np.array(["" if gone else str(value) for value, gone in zip(values, missing, strict=True)], dtype=object)


def numbers(series):
    """A column as float32 with NaN for what is missing, infinite or not a number (warned about, with an example)."""
    import pandas as pd

    values = pd.to_numeric(series, errors="coerce").to_numpy(dtype="float64", na_value=np.nan)
    unread = np.isnan(values) & ~series.isna().to_numpy()
    infinite = np.isinf(values) | (np.abs(values) > np.finfo(np.float32).max)
    for flags, what in ((unread, "not numbers"), (infinite, "infinite")):
        if flags.any():
            example = series.to_numpy(dtype=object)[np.flatnonzero(flags)[0]]
            warnings.warn(
                f"Column {series.name!r}: {int(flags.sum())} values are {what} (for example {example!r}) "
                "and are treated as missing.",
                stacklevel=2,
            )
    return np.where(infinite, np.nan, values).astype("float32")


def categories(series):
    """A column as strings: 3.0 becomes '3', so that integers with gaps keep their names; missing becomes ''."""
    values = series.to_numpy(dtype=object)
    missing = series.isna().to_numpy()

    def name(value):
        if isinstance(value, float | np.floating) and float(value).is_integer():
            value = int(value)
        return str(value)

    return np.array(["" if gone else name(v) for v, gone in zip(values, missing, strict=True)], dtype=object)


def iso_dates(series):
    """A column of dates as ISO 8601 strings; '' where missing or unreadable (warned about, with an example).

    Dates are datetimes, strings that pandas can read, or whole numbers from 1000 to 9999, which are years.
    """
    import pandas as pd

    if pd.api.types.is_numeric_dtype(series) and not pd.api.types.is_bool_dtype(series):
        # pandas would take whole numbers for nanoseconds since 1970.
        years = (series % 1 == 0) & series.between(1000, 9999)
        cells = [
            f"{int(v)}-01-01" if year else None if v != v else f"number {v}"
            for v, year in zip(series, years, strict=True)
        ]
        series = pd.Series(cells, dtype=object, name=series.name)
    dates = pd.to_datetime(series, errors="coerce", format=None if len(series) == 0 else "mixed", utc=True)
    unread = dates.isna().to_numpy() & ~series.isna().to_numpy() & (series.astype(str).str.strip() != "").to_numpy()
    if unread.any():
        example = series.to_numpy(dtype=object)[np.flatnonzero(unread)[0]]
        warnings.warn(
            f"Column {series.name!r}: {int(unread.sum())} values are not dates (for example {example!r}) "
            "and are treated as missing.",
            stacklevel=2,
        )
    return dates.dt.strftime("%Y-%m-%dT%H:%M:%S").fillna("").to_numpy(dtype=object)


def check_kinds(modalities):
    """Raise a ValueError if two modalities read one column in different ways: it has one array of raw values."""
    kinds = {}
    for modality in modalities:
        for column, kind in modality.column_kinds.items():
            seen = kinds.setdefault(column, kind)
            if seen != kind:
                raise ValueError(
                    f"A column must be read in one way. Received: {column!r} read both as {seen} and as {kind}. "
                    "Copy the column under a second name."
                )


def raw_values(df, modalities):
    """{column: NumPy array} of everything the modalities read, in the form `prepare` takes."""
    check_kinds(modalities)
    check_frame(df, [column for modality in modalities for column in modality.all_columns])
    values = {}
    for modality in modalities:
        values.update({c: v for c, v in modality.raw_values(df).items() if c not in values})
    return values


def split_frame(df, fraction, seed=0):
    """Split rows at random into (rest, part), `part` holding `fraction` of them.

    The order of rows within each part is that of `df`; index labels stay with their rows.

    Args:
        df: pandas DataFrame; never modified.
        fraction: float, the share of rows of `part`.
        seed: int; the same seed gives the same parts.

    Returns:
        (rest, part), two DataFrames.

    Raises:
        ValueError: unless 0 < fraction < 1 and both parts get a row.

    Example:
        >>> import mmkeras as mm
        >>> rest, part = mm.split_frame(mm.samples.movies(10, seed=0), 0.2, seed=0)
        >>> len(rest), len(part)
        (8, 2)
    """
    count = round(len(df) * fraction) if 0 < fraction < 1 else 0
    if not 0 < count < len(df):
        raise ValueError(
            "`fraction` must lie between 0 and 1 and leave a row on each side. "
            f"Received: {fraction} of {len(df)} rows. Use a DataFrame of your own as validation_data instead."
        )
    chosen = np.zeros(len(df), bool)
    chosen[np.random.default_rng(seed).permutation(len(df))[:count]] = True
    return df[~chosen], df[chosen]


class Sentences:
    """Target sentences of rows, one or several for each: N sentences of T words.

    A batch holds rows with all their sentences, so that what is computed for a row, such as the patches of its image,
    serves them all.

    Args:
        rows: (N,) ints in ascending order, the row each belongs to.
        tokens: (N, T) ints, padded with 0 behind.
        name: str, the target; a model reads the words as "name.tokens", to answer the next ones, and as "name.row" to
            which row of the batch each sentence belongs.
    """

    def __init__(self, rows, tokens, name):
        self.tokens, self.name = tokens, name
        count = int(rows[-1]) + 1 if len(rows) else 0
        self.starts = np.searchsorted(rows, np.arange(count + 1))  # those of row r are starts[r] … starts[r + 1] − 1
        self.lengths = np.zeros(count, int)  # of each row's longest
        np.maximum.at(self.lengths, rows, (tokens > 0).sum(axis=1))

    def __len__(self):
        return len(self.tokens)

    def take(self, rows):
        """Sentences of some rows: ({"name.tokens": (n, longest − 1), "name.row": (n,)}, (n, longest − 1) to answer)."""
        counts = np.diff(self.starts)[rows]
        numbers = np.concatenate([np.arange(self.starts[row], self.starts[row + 1]) for row in rows])
        part = self.tokens[numbers, : self.lengths[rows].max(initial=2)]
        place = np.repeat(np.arange(len(rows), dtype="int32"), counts)
        return {f"{self.name}.tokens": part[:, :-1], f"{self.name}.row": place}, part[:, 1:]


def plan_batches(rows, batch_size, lengths=None, rng=None):
    """Row numbers of each batch, such that rows of a batch have nearly the same length.

    Args:
        rows: int, how many rows there are.
        batch_size: int.
        lengths: (rows,) ints or None, what padding depends on.
        rng: a NumPy Generator to shuffle for training; None keeps the order by length (or by row).

    Returns:
        list of int arrays; together they hold every row number once.
    """
    if rng is None:
        order = np.arange(rows) if lengths is None else np.argsort(lengths, kind="stable")
        return [order[i : i + batch_size] for i in range(0, rows, batch_size)]
    order = rng.permutation(rows)
    if lengths is None:
        return [order[i : i + batch_size] for i in range(0, rows, batch_size)]
    # Sorting inside windows of 64 batches groups lengths and still mixes rows anew in every epoch.
    plan, window = [], 64 * batch_size
    for start in range(0, rows, window):
        part = order[start : start + window]
        part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
        plan += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [plan[i] for i in rng.permutation(len(plan))]


def batches(columns, target=None, batch_size=32, lengths=None, seed=None, prepare=None, fetch=None, weights=None):
    """The one tf.data pipeline: every training, validation, prediction and encoding pass is made here.

    Args:
        columns: {name: array}, values by row.
        target: array by row, `Sentences`, or None.
        batch_size, lengths: see `plan_batches`; of `Sentences`, about so many share a batch.
        seed: int to shuffle anew in each epoch; None for evaluation, which is never shuffled.
        prepare: a Keras model from raw columns to tensors, or None to keep raw values.
        fetch: function of row numbers → {name: array} of cached features, or None.
        weights: (rows,) sample weights, or None.

    Returns:
        (dataset, order): batches of ({name: tensor}[, target[, weight]]), and the row numbers in the order of an
        unshuffled pass (None when shuffled).
    """
    rows = len(next(iter(columns.values())))
    sentences = target if isinstance(target, Sentences) else None
    if sentences is not None:
        batch_size, lengths, target = max(1, round(batch_size * rows / len(sentences))), sentences.lengths, None
    epoch = iter(range(2**31))
    plan = plan_batches(rows, batch_size, lengths) if seed is None else None
    extra = [values for values in (target, weights) if values is not None]

    # 1. which rows go together
    def next_plan():
        return plan or plan_batches(rows, batch_size, lengths, np.random.default_rng([seed, next(epoch)]))

    # 2. their raw values and cached features, apart, as names may be the same; their targets and weights
    def take(numbers):
        raw = {name: np.asarray(values[numbers]) for name, values in columns.items()}
        cached = {} if fetch is None else fetch(numbers)
        given = [values[numbers] for values in extra]
        if sentences is not None:
            words, answers = sentences.take(numbers)
            cached, given = {**cached, **words}, [answers, *given]
        return (raw, cached, *given)

    in_memory = sentences is None and fetch is None and all(isinstance(v, np.ndarray) for v in columns.values())
    dataset = (_gathered if in_memory else _generated)(next_plan, take, rows)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-rows // batch_size)))

    # 3. tokens, vocabularies, scaling, pixels: several batches at once, in order
    def prepared(raw, cached, *rest):
        tensors = raw if prepare is None else prepare({name: raw[name] for name in prepare.input})
        return ({**cached, **tensors}, *rest)

    prepared = tf.autograph.experimental.do_not_convert(prepared)
    dataset = dataset.map(prepared, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # 4. the next batches are made ready while the model works
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return dataset, None if plan is None else np.concatenate(plan)


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

    def settle(self, quiet, longest):
        end = time.monotonic() + longest
        while time.monotonic() < end and (self.running or time.monotonic() - self.last < quiet):
            time.sleep(0.01)


_python = _Python()


def settle(quiet=0.2, longest=10.0):
    """Wait until no thread of tf.data is at work in Python; call it before an unfinished iterator is let go.

    TensorFlow lets an iterator go while it holds Python's lock, and waits for its threads: one that is about to call
    Python then waits for the lock, for ever. With full buffers, they rest.

    Args:
        quiet: float, seconds without work after which they count as resting.
        longest: float, seconds after which it returns in any case.
    """
    _python.settle(quiet, longest)


def _generated(next_plan, take, rows):
    """Batches that Python makes one by one, for what is too large for memory, or of many lengths."""
    return tf.data.Dataset.from_generator(
        lambda: _python.watched(map(take, next_plan())), output_signature=_signature(take(np.arange(min(rows, 1))))
    )


def _gathered(next_plan, take, rows):
    """Batches that TensorFlow cuts from tensors of all rows: Python is asked once per epoch."""
    everything = tf.nest.map_structure(tf.convert_to_tensor, take(slice(None)))

    def planned():
        plan = next_plan()
        yield np.concatenate(plan), [len(part) for part in plan]

    @tf.autograph.experimental.do_not_convert
    def split(order, sizes):
        return tf.data.Dataset.from_tensor_slices(tf.RaggedTensor.from_row_lengths(order, sizes))

    @tf.autograph.experimental.do_not_convert
    def gather(numbers):
        return tf.nest.map_structure(lambda values: tf.gather(values, numbers), everything)

    vector = tf.TensorSpec([None], tf.int64)
    plans = tf.data.Dataset.from_generator(lambda: _python.watched(planned()), output_signature=(vector, vector))
    return plans.flat_map(split).map(gather)


def _signature(example):
    """tf.TensorSpecs of a generator's items; the batch axis, and the time axis of sequences, vary."""

    def spec(value):
        value = np.asarray(value)
        shape = [None, *value.shape[1:]]
        if value.ndim == 3 or (value.ndim == 2 and value.dtype == np.int32):  # sequences of vectors, of words
            shape[1] = None
        return tf.TensorSpec(shape, tf.string if value.dtype == object else value.dtype)

    raw, cached, *rest = example
    named = ({name: spec(value) for name, value in part.items()} for part in (raw, cached))
    return (*named, *map(spec, rest))


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
    columns = raw_values(df, modalities)
    for values in columns.values():
        if hasattr(values, "examine"):  # files, which their reader will decode
            values.examine()
    target = None if task is None else task.encode(df)
    lengths = None
    if training:
        seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        lengths = sum((m.lengths(columns) for m in modalities), np.zeros(len(df)))
    dataset, _ = batches(columns, target, batch_size, lengths, seed=seed if training else None)
    return dataset if task is not None else dataset.map(lambda features: features)

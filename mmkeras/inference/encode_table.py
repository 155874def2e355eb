"""encode_table: the features that frozen towers give of all rows of a table, in files of Parquet."""

import contextlib
import dataclasses
import pathlib
import time
import warnings

from mmkeras.data.columns import columns_of
from mmkeras.inference.block_encoder import BlockEncoder, Shipped
from mmkeras.inference.on_ray import outcomes_on_ray
from mmkeras.modalities.base import adapt
from mmkeras.trunk.parquet import ParquetStore
from mmkeras.trunk.row_blocks import RowBlocks
from mmkeras.trunk.trunk import Trunk

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows
    flock = None

SAMPLE = 10_000  # rows that vocabularies and means are learnt from
PLACES = ("local", "ray")
EVERY = 5.0  # seconds between lines of progress
TOLD = 5  # failures


@dataclasses.dataclass(frozen=True)
class Workers:
    """What encodes.

    Attributes:
        on: "local" or "ray". count: int, of workers on Ray. gpus: float, of each.
    """

    on: str = "local"
    count: int = 2
    gpus: float = 0


@dataclasses.dataclass
class Encoding:
    """What `encode_table` did.

    Attributes:
        folder: pathlib.Path of the features.
        rows: int, how many were looked at. encoded: int, features that were made now, of all towers.
        stored: {modality: int} features that the folder holds.
        seconds: float.
        failures: list of `Failure`, the rows that are not among them, by file and number.
    """

    folder: pathlib.Path
    rows: int
    encoded: int
    stored: dict
    seconds: float
    failures: list


def encode_table(
    rows,
    modalities,
    out,
    on="local",
    workers=2,
    gpus_per_worker=0,
    rows_per_block=2000,
    resume=True,
    verbose=1,
):
    """Encode every distinct row of a table once by the modalities' frozen towers, and write the features to files of Parquet.

    A call that was broken off, even killed, goes on where it was: what is stored is not encoded again. Vocabularies and means are
    learnt from 10,000 rows or so, spread evenly over files and row groups (of CSV the first of each file); modalities that have learnt keep
    what they know. Rows need no column of keys: equal rows are known by what their columns hold.

    Args:
        rows: DataFrame; or a path or pattern of files of Parquet or CSV, a URL such as "s3://bucket/*.parquet", or a list of these.
        modalities: list of modalities, at least one of them with a pretrained tower.
        out: folder of the features, which `fit(cache_dir=out)` reads; with on="ray" one that all machines see.
        on: "local", in this process; "ray", on a cluster: that of $RAY_ADDRESS, or else this machine.
        workers: int, processes on Ray, each with a CPU of its own.
        gpus_per_worker: float, GPUs of each.
        rows_per_block: int, rows that are read, encoded and written together: what a kill loses for each worker.
        resume: bool; whether `out` may hold features of these towers already.
        verbose: 0 for silence, else lines of progress.

    Returns:
        `Encoding`; of rows that failed, which the others outlive, it warns.

    Raises:
        ValueError: a wrong setting; files of other columns; modalities without frozen towers; an `out` of other towers.
        BlockingIOError: another call writes to `out`. OSError: no space left; what was stored before is intact.
        ImportError: pyarrow or Ray is not there. ConnectionError: the cluster does not answer.

    Example:
        >>> import tempfile, mmkeras as mm
        >>> folder = tempfile.mkdtemp()
        >>> posts = mm.samples.entailment(12, seed=0, directory=folder)
        >>> photo = mm.Image("image_2", encoder="MobileNetV2", weights=None, image_size=(32, 32))
        >>> encoding = mm.encode_table(posts, [photo], tempfile.mkdtemp(), verbose=0)
        >>> encoding.rows, encoding.failures
        (12, [])
    """
    _check(on, workers, rows_per_block)
    modalities = list(modalities)
    say = print if verbose else lambda *_, **__: None
    blocks = RowBlocks(rows, columns_of(modalities), rows_per_block)
    workers = Workers(on, workers, gpus_per_worker)
    return encode_blocks(_trunk(modalities, blocks, say), blocks, out, workers, resume=resume, say=say)


def encode_blocks(trunk, blocks, out, workers, *, resume=True, say=print):
    """`Encoding` of `RowBlocks` by a `Trunk` and `Workers`; see `encode_table`."""
    start, towers = time.monotonic(), trunk.frozen
    if not towers:
        raise ValueError(
            "`encode_table` needs a modality with a frozen tower, whose features are worth keeping. Received: "
            f"{[modality.name for modality in trunk.modalities]}, none with one. Give a pretrained encoder."
        )
    store = ParquetStore(out)
    with alone(store.path):
        _check_towers(store, towers, resume)
        if workers.on == "ray":
            shipped = Shipped.of(trunk)
            outcomes = outcomes_on_ray(shipped, blocks, store.path, workers=workers.count, gpus=workers.gpus, say=say)
        else:
            encoder = BlockEncoder(trunk.modalities, towers, store.path)
            outcomes = map(encoder.encode, blocks)
        with contextlib.closing(_Progress(blocks.total, say)) as progress:
            for outcome in outcomes:
                for prefix, about in outcome.towers.items():
                    store.describe(prefix, *about)
                progress.add(outcome, _written(store, outcome))
    failures = [*blocks.failures, *progress.failures]
    if failures:
        more = f" and {len(failures) - TOLD:,} more" if len(failures) > TOLD else ""
        warnings.warn(
            f"All rows should be encoded. Received: {len(failures):,} places that could not be: "
            f"{'; '.join(map(str, failures[:TOLD]))}{more}. Mend them, and call again: only they are encoded.",
            stacklevel=3,
        )
    stored = {name: store.count(tower.fingerprint) for name, tower in towers.items()}
    return Encoding(store.path, progress.rows, progress.encoded, stored, time.monotonic() - start, failures)


def _written(store, outcome):
    """How many features of a block were new; blocks that ran at one time may have made the same."""
    keys = [key for key, _ in outcome.items]
    fresh = [outcome.items[place] for place in store.missing(keys)] if keys else []
    if fresh:
        store.write(fresh)
    return len(fresh)


def _trunk(modalities, blocks, say):
    """A `Trunk` of the modalities, which have learnt from a sample where they had not."""
    if any(modality.state is None for modality in modalities):
        sample = blocks.sample(SAMPLE)
        say(f"Vocabularies and means are those of {len(sample):,} rows, spread over the table.", flush=True)
        modalities = [adapt(modality, sample) if modality.state is None else modality for modality in modalities]
    return Trunk(modalities, engine="tensorflow")


class _Progress:
    """Counts outcomes, and says how fast they come."""

    def __init__(self, total, say):
        self.total, self.say, self.rows, self.encoded, self.failures = total, say, 0, 0, []
        self._start = self._last = time.monotonic()

    def add(self, outcome, encoded):
        self.rows += outcome.block.count
        self.encoded += encoded
        self.failures += outcome.failures
        if time.monotonic() - self._last > EVERY:
            self.close()

    def close(self):
        """Say how far it is."""
        self._last = time.monotonic()
        of = "" if self.total is None else f" of {self.total:,}"
        rate = self.rows / max(self._last - self._start, 1e-9)
        self.say(
            f"{self.rows:,}{of} rows, {self.encoded:,} features made, {rate:,.0f} rows/s over all workers", flush=True
        )


@contextlib.contextmanager
def alone(path):
    """Only one call at a time writes to a folder; the system unlocks what a killed one held, whose halves of files go."""
    with open(path / ".lock", "w", encoding="utf-8") as file:
        if flock is not None:
            try:
                flock(file, LOCK_EX | LOCK_NB)
            except BlockingIOError as error:
                raise BlockingIOError(
                    f"One call at a time may write features to a folder. Received: {str(path)!r}, to which another writes. Wait for "
                    "it, or give another `out`."
                ) from error
        for half in path.glob("*/.part-*.parquet.*"):
            half.unlink(missing_ok=True)
        yield


def _check_towers(store, towers, resume):
    """Raise unless a folder is empty, or holds features of these towers."""
    known, own = store.towers(), {tower.fingerprint for tower in towers.values()}
    if known and not own & set(known):
        raise ValueError(
            f"`out` must be empty, or hold features of these towers. Received: {str(store.path)!r}, with those of "
            f"{', '.join(about['tower'] for about in known.values())}. Give another folder, or the same modalities."
        )
    if known and not resume:
        raise ValueError(f"With resume=False `out` must be empty. Received: {str(store.path)!r}. Give another folder.")


def _check(on, workers, rows_per_block):
    if on not in PLACES:
        raise ValueError(f"`on` must be one of {PLACES}. Received: {on!r}.")
    for name, value in (("workers", workers), ("rows_per_block", rows_per_block)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an integer of 1 or more. Received: {value!r}.")

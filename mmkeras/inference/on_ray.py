"""Blocks of rows encoded by workers on a Ray cluster: each holds the towers, and is made anew when it dies.

This process gives blocks out and is the only one that writes: nothing is lost or doubled, whatever dies.
"""

import contextlib
import os
import socket
import time

from mmkeras.inference.block_encoder import BlockEncoder, Outcome
from mmkeras.trunk.row_blocks import Failure

STALL = 45.0  # seconds without an outcome, after which it is told what is short
AHEAD = 2  # blocks that each worker has before it
TRIES = 3  # times that a block may kill its worker before it is left out
ANSWER = 5.0  # seconds


def library():
    """Ray.

    Raises:
        ImportError: it is not there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "`on='ray'` needs the package ray. Received: a Python without it. Run `pip install 'mmkeras[ray]'`, or use on='local'."
        ) from error
    return ray


class Worker:
    """Holds the towers; Ray makes it in a process of its own."""

    def __init__(self, shipped, out):
        self._encoder = BlockEncoder(shipped.modalities, shipped.open(), out)

    def encode(self, block):
        """`Outcome` of a block."""
        return self._encoder.encode(block)


def outcomes_on_ray(shipped, blocks, out, *, workers, gpus, say):
    """`Outcome` of each block, as they come.

    Args:
        shipped: `Shipped`. blocks: iterable of `Block`. out: folder that all machines see.
        workers: int. gpus: float, of each worker. say: function of a sentence.

    Raises:
        ImportError: no Ray. ConnectionError: the cluster does not answer. RuntimeError: it has no room for a worker. OSError: no space.
    """
    ray = library()
    with _cluster(ray):
        count = _room(ray, workers, gpus, say)
        options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": TRIES}
        shared = ray.put(shipped)
        actors = [ray.remote(Worker).options(**options).remote(shared, str(out)) for _ in range(count)]
        yield from _outcomes(ray, actors, iter(blocks), say)


def _outcomes(ray, actors, blocks, say):
    """Give each worker blocks, a few ahead, and yield what comes back."""
    pending = {}

    def give(actor):
        block = next(blocks, None)
        if block is not None:
            pending[actor.encode.remote(block)] = (actor, block)

    for _ in range(AHEAD):
        for actor in actors:
            give(actor)
    last = time.monotonic()
    while pending:
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=STALL)
        if not ready:
            say(_stalled(ray, len(pending), time.monotonic() - last), flush=True)
            continue
        last = time.monotonic()
        actor, block = pending.pop(ready[0])
        give(actor)
        yield _outcome(ray, ready[0], block)


def _outcome(ray, reference, block):
    """What came back of a block; a failure where it killed its worker again and again."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from error
    except ray.exceptions.RayActorError as error:
        last = block.start + block.count - 1
        why = f"its worker died {TRIES + 1} times: {str(error).splitlines()[0]}"
        return Outcome(block, [], {}, [Failure(block.source, block.start, last, why)])


@contextlib.contextmanager
def _cluster(ray):
    """Connected to Ray; a connection that is made here is closed here."""
    if ray.is_initialized():
        yield
        return
    _check_address(os.environ.get("RAY_ADDRESS", ""))
    ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address):
    """Raise unless something listens at an address of the form host:port; Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except OSError as error:
        raise ConnectionError(
            f"$RAY_ADDRESS must be that of a running cluster. Received: {address!r}, which does not answer ({error}). Run `ray start "
            "--head` there, or unset it to use this machine."
        ) from error


def _room(ray, workers, gpus, say):
    """How many workers fit; fewer than asked for are told."""
    free = ray.available_resources()
    fits = {"CPU": int(free.get("CPU", 0))}
    if gpus:
        fits["GPU"] = int(free.get("GPU", 0) / gpus)
    short, count = min(fits, key=fits.get), min(fits.values())
    if not count:
        raise RuntimeError(
            f"Each worker needs a free CPU{f' and {gpus:g} GPUs' if gpus else ''}. Received: a cluster with no free {short} for one "
            f"({_resources(ray)}). End other jobs, or add machines."
        )
    if count < workers:
        say(
            f"{workers} workers need more {short}s than are free ({_resources(ray)}): {count} run. End other jobs, or add machines.",
            flush=True,
        )
    return min(count, workers)


def _stalled(ray, pending, seconds):
    """A sentence about what is short."""
    return (
        f"No block came back for {seconds:.0f} s, {pending} are under way ({_resources(ray)}). Where CPU or GPU is 0, other jobs hold "
        "it; else workers load their towers, or a block takes that long: smaller `rows_per_block` come sooner."
    )


def _resources(ray):
    free, total = ray.available_resources(), ray.cluster_resources()
    told = [f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("CPU", "GPU") if name in total]
    return ", ".join(told) or "no CPUs"

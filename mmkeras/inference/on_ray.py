"""Blocks of rows encoded by workers on a Ray cluster: each holds the towers, and is made anew when it dies.

This process gives blocks out and is the only one that writes: nothing is lost or doubled, whatever dies.
"""

import time

from mmkeras.inference.block_encoder import BlockEncoder, Outcome
from mmkeras.trunk.cluster import connected, library, resources, room
from mmkeras.trunk.row_blocks import Failure

STALL = 45.0  # seconds without an outcome, after which it is told what is short
AHEAD = 2  # blocks that each worker has before it
TRIES = 3  # times that a block may kill its worker before it is left out


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
    with connected(ray):
        count = room(ray, workers, gpus, say)
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
        raise (error.cause or error) from error  # Ray's own mixture of both says nothing of an OSError
    except ray.exceptions.RayActorError as error:
        last = block.start + block.count - 1
        why = f"its worker died {TRIES + 1} times: {str(error).splitlines()[0]}"
        return Outcome(block, [], {}, [Failure(block.source, block.start, last, why)])


def _stalled(ray, pending, seconds):
    """A sentence about what is short."""
    return (
        f"No block came back for {seconds:.0f} s, {pending} are under way ({resources(ray)}). Where CPU or GPU is 0, other jobs hold "
        "it; else workers load their towers, or a block takes that long: smaller `rows_per_block` come sooner."
    )

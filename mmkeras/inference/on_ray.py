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
DEATHS = 2 * AHEAD  # blocks in turn that a worker may leave out before it gets no more


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
    pending, deaths = {}, dict.fromkeys(actors, 0)

    def give(actor):
        block = next(blocks, None) if deaths[actor] < DEATHS else None
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
        outcome, died = _outcome(ray, ready[0], block)
        deaths[actor] = deaths[actor] + 1 if died else 0
        if min(deaths.values()) >= DEATHS:
            raise _ended(outcome.failures[0].why)
        give(actor)
        yield outcome


def _outcome(ray, reference, block):
    """(what came back of a block, whether its worker died): a failure where it died again and again."""
    try:
        return ray.get(reference), False
    except ray.exceptions.RayTaskError as error:
        raise (error.cause or error) from error  # Ray's own mixture of both says nothing of an OSError
    except ray.exceptions.RayActorError as error:
        last = block.start + block.count - 1
        why = f"its worker died: {' '.join(str(error).split())[:500]}"
        return Outcome(block, [], {}, [Failure(block.source, block.start, last, why)]), True


def _stalled(ray, pending, seconds):
    """A sentence about what is short.

    Raises:
        RuntimeError: no machine is left.
    """
    if not any(node["Alive"] for node in ray.nodes()):
        raise _ended("none is alive")
    return (
        f"No block came back for {seconds:.0f} s, {pending} are under way ({resources(ray)}; these workers hold one CPU each). They load "
        "their towers, wait for a machine, or a block takes that long: smaller `rows_per_block` come sooner."
    )


def _ended(why):
    return RuntimeError(
        f"Encoding needs machines on which workers live. Received: a cluster where they do not: {why}. Look at it, and call again: what "
        "is stored is not encoded again."
    )

"""Micro-batches: requests that wait for the model are predicted together."""

import asyncio
import collections
import dataclasses

from mmkeras.serving.answers import Part, Reply
from mmkeras.serving.limits import Refused

MOST_TOGETHER = 64  # rows that are predicted at a time
MOST_WAITING = 4096  # rows of all requests


@dataclasses.dataclass
class Waiting:
    """A part and the future of its answer."""

    part: Part
    future: asyncio.Future


class Batcher:
    """Asks a model from one thread; nobody waits but while it is busy.

    Args:
        answers: `Answers`.
        pool: executor of one thread, which models may share.
    """

    def __init__(self, answers, pool):
        self._answers, self._pool = answers, pool
        self._waiting, self._rows, self._task = collections.deque(), 0, None

    async def ask(self, question):
        """The `Reply` to a `Question`. Many rows go in parts, so that other requests come in between.

        Raises:
            Refused: see `Answers.one`; or too much is waiting already.
        """
        parts = []
        for start in range(0, question.rows, MOST_TOGETHER):
            cells = {name: listed[start : start + MOST_TOGETHER] for name, listed in question.cells.items()}
            parts.append(await self._ask(Part(cells, min(MOST_TOGETHER, question.rows - start), start)))
        return Reply.joined(parts) if parts else self._answers.nothing

    async def _ask(self, part):
        if self._rows + part.rows > MOST_WAITING:
            raise Refused(503, f"The server is busy: {self._rows:,} rows are waiting already. Try again in a while.")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(Waiting(part, future))
        self._rows += part.rows
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self):
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._take()
            parts = [waiting.part for waiting in batch]
            try:
                answers = await loop.run_in_executor(self._pool, self._answers.together, parts) if parts else []
            except Exception as error:
                answers = [error] * len(batch)
            for waiting, answer in zip(batch, answers, strict=True):
                if waiting.future.done():  # nobody waits for it any more
                    continue
                if isinstance(answer, Exception):
                    waiting.future.set_exception(answer)
                else:
                    waiting.future.set_result(answer)

    def _take(self):
        """The next ones that fit in a batch, of those that are still wanted."""
        batch, rows = [], 0
        while self._waiting and rows + self._waiting[0].part.rows <= MOST_TOGETHER:
            waiting = self._waiting.popleft()
            self._rows -= waiting.part.rows
            if not waiting.future.done():
                batch.append(waiting)
                rows += waiting.part.rows
        return batch

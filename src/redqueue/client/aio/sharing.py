"""Adds of one turn of the event loop share a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redqueue.core import add
from redqueue.core.add import NewJob, Stored


class SharedAdds:
    """The adds of one queue's handle in one event loop.

    While none is on its way, one goes alone and at once: who adds one at a time waits for nobody. The others gather
    until the end of the turn, so that fifty tasks which add at the same time take two calls and not fifty. Each task
    hears of its own job, and one that is cancelled takes nothing from the others.

    Args:
        add: stores so many jobs, by one call.
    """

    __slots__ = ("_add", "_calls", "_gathering", "_under_way")

    def __init__(self, add: Callable[[Sequence[NewJob]], Awaitable[list[Stored]]]) -> None:
        self._add = add
        self._under_way = 0
        self._gathering: _Batch | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def store(self, job: NewJob) -> Stored:
        """Add one job."""
        if self._under_way:
            return await self._join(job)
        self._under_way = 1
        try:
            return (await self._add((job,)))[0]
        finally:
            self._under_way -= 1

    def _join(self, job: NewJob) -> asyncio.Future[Stored]:
        batch = self._gathering
        if batch is None or not batch.has_room(job):
            batch = self._gathering = _Batch()
            call = asyncio.get_running_loop().create_task(self._carry(batch), name="redqueue adds")
            self._calls.add(call)  # the loop itself keeps no task alive
            call.add_done_callback(self._calls.discard)
        return batch.take(job)

    async def _carry(self, batch: _Batch) -> None:
        """Begins in the next turn of the loop."""
        if self._gathering is batch:
            self._gathering = None
        self._under_way += 1
        try:
            batch.tell(await self._add(batch.jobs))
        except Exception as error:
            batch.fail(error)
        finally:
            self._under_way -= 1
            batch.leave()


class _Batch:
    __slots__ = ("_size", "_waiting", "jobs")

    def __init__(self) -> None:
        self.jobs: list[NewJob] = []
        self._size = 0
        self._waiting: list[asyncio.Future[Stored]] = []

    def has_room(self, job: NewJob) -> bool:
        return len(self.jobs) < add.MOST_A_CALL and self._size + len(job.envelope) <= add.MOST_BYTES

    def take(self, job: NewJob) -> asyncio.Future[Stored]:
        told: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self.jobs.append(job)
        self._size += len(job.envelope)
        self._waiting.append(told)
        return told

    def tell(self, answers: list[Stored]) -> None:
        for told, stored in zip(self._waiting, answers, strict=True):
            if not told.done():
                told.set_result(stored)

    def fail(self, error: Exception) -> None:
        for told in self._waiting:
            if not told.done():
                told.set_exception(error)

    def leave(self) -> None:
        """The call was cancelled, as when the loop ends: nobody will be told."""
        for told in self._waiting:
            told.cancel()

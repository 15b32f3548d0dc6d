"""Adds of one turn of the event loop share a call."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
from collections.abc import Awaitable, Callable, Sequence

from redqueue.core import add
from redqueue.core.add import NewJob, Stored
from redqueue.errors import NotConfirmed, RedisUnavailable


class SharedAdds:
    """The adds of one queue's handle in one event loop.

    While none is on its way, one goes alone and at once: who adds one at a time waits for nobody. The others gather
    until the end of the turn, so that fifty tasks which add at the same time take two calls and not fifty. Each task
    hears of its own job, and one that is cancelled takes nothing from the others. When all of a call gave up, it is
    given up, too.

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
            batch = self._batch_for(job)
            try:
                return await batch.take(job)
            except asyncio.CancelledError:
                batch.lose_one()
                raise
        self._under_way = 1
        try:
            return (await self._add((job,)))[0]
        finally:
            self._under_way -= 1

    def _batch_for(self, job: NewJob) -> _Batch:
        batch = self._gathering
        if batch is None or not batch.has_room(job):
            batch = self._gathering = _Batch()
            # In a context of its own: it belongs to none of those who add.
            asyncio.get_running_loop().call_soon(self._send, batch, context=contextvars.Context())
        return batch

    def _send(self, batch: _Batch) -> None:
        """The turn is over."""
        if self._gathering is batch:
            self._gathering = None
        if batch.is_given_up:
            return
        call = batch.call = asyncio.get_running_loop().create_task(self._carry(batch), name="redqueue adds")
        self._under_way += 1
        self._calls.add(call)  # the loop itself keeps no task alive
        call.add_done_callback(functools.partial(self._end, batch))

    async def _carry(self, batch: _Batch) -> None:
        try:
            batch.tell(await self._add(batch.jobs))
        except Exception as error:
            batch.fail(error)

    def _end(self, batch: _Batch, call: asyncio.Task[None]) -> None:
        """Also when the call was cancelled before it began, as by who cancels all tasks."""
        self._under_way -= 1
        self._calls.discard(call)
        batch.fail(RedisUnavailable("The call that was to add the job was cancelled", sent=True))


class _Batch:
    __slots__ = ("_lost", "_size", "_waiting", "call", "jobs")

    def __init__(self) -> None:
        self.jobs: list[NewJob] = []
        self.call: asyncio.Task[None] | None = None
        self._size = 0
        self._lost = 0
        self._waiting: list[asyncio.Future[Stored]] = []

    def has_room(self, job: NewJob) -> bool:
        return len(self.jobs) < add.MOST_A_CALL and self._size + len(job.envelope) <= add.MOST_BYTES

    def take(self, job: NewJob) -> asyncio.Future[Stored]:
        told: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()
        self.jobs.append(job)
        self._size += len(job.envelope)
        self._waiting.append(told)
        return told

    @property
    def is_given_up(self) -> bool:
        return self._lost == len(self.jobs)

    def lose_one(self) -> None:
        """Of those who wait one gave up."""
        self._lost += 1
        if self.is_given_up and self.call is not None:
            self.call.cancel()

    def tell(self, answers: list[Stored]) -> None:
        for told, stored in zip(self._waiting, answers, strict=True):
            if not told.done():
                told.set_result(stored)

    def fail(self, error: Exception) -> None:
        """Each task gets an error of its own, since what it makes of it is its own affair."""
        for told, job in zip(self._waiting, self.jobs, strict=True):
            if not told.done():
                told.set_exception(_error_of(job, error))


def _error_of(job: NewJob, error: Exception) -> Exception:
    own = copy.copy(error)
    if isinstance(own, NotConfirmed):
        own.job_ids = (job.id,)
    return own

"""Waiting for results: all waiters of a queue's handle and an event loop share one reader of its events."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

from redqueue.client.aio.runner import AsyncRunner
from redqueue.core import results
from redqueue.core.results import Ending, Waiter, Watch
from redqueue.errors import RedisUnavailable, Seconds
from redqueue.units import to_ms


class AsyncResults:
    """The results of one queue's jobs, for tasks of any event loop."""

    __slots__ = ("_hubs", "runner")

    def __init__(self, runner: AsyncRunner) -> None:
        self.runner = runner
        self._hubs: dict[asyncio.AbstractEventLoop, _Hub] = {}

    async def wait(self, job_id: str, position: str | None, timeout: Seconds | None) -> Any:
        """What the job returned.

        Args:
            position: an event before all that becomes of the job, where one is known.
        """
        ms = None if timeout is None else to_ms("timeout", timeout)
        if ms == 0:
            ending = await self.runner.run_steps(results.look_once(self.runner.keys, job_id, position))
        else:
            ending = await self._here().wait(job_id, position, None if ms is None else ms / 1000)
        return results.value_of(job_id, ending, self.runner.keys.seal)

    async def close(self) -> None:
        """End the waiting in this event loop."""
        hub = self._hubs.pop(asyncio.get_running_loop(), None)
        if hub is not None:
            await hub.close()

    def _here(self) -> _Hub:
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None:
            for closed in [one for one in list(self._hubs) if one.is_closed()]:
                self._hubs.pop(closed, None)
            hub = self._hubs[loop] = _Hub(self.runner)
        return hub


class _Hub:
    """Who waits in one event loop; a task that looks for those who need it, and one that reads the events."""

    __slots__ = ("_looker", "_reader", "_runner", "_watch")

    def __init__(self, runner: AsyncRunner) -> None:
        self._runner = runner
        self._watch = Watch()
        self._looker: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None

    async def wait(self, job_id: str, position: str | None, seconds: float | None) -> Ending | None:
        """How the job ended; None when it did not in time."""
        told = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not told.done():
                told.set_result(None)

        waiter = Waiter(job_id, position, wake)
        self._watch.join(waiter)
        self._go_on()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await told
        finally:
            self._watch.leave(waiter)
        return waiter.ending

    async def close(self) -> None:
        self._watch.close()
        tasks = [task for task in (self._looker, self._reader) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _go_on(self) -> None:
        if self._watch.unseen and (self._looker is None or self._looker.done()):
            self._looker = asyncio.create_task(self._look(), name="redqueue results: look")
        if self._watch.position is not None and (self._reader is None or self._reader.done()):
            self._reader = asyncio.create_task(self._read(), name="redqueue results: read")

    async def _look(self) -> None:
        await asyncio.sleep(0)  # those who come in the same turn of the loop share a call
        while waiters := self._watch.take_unseen():
            try:
                seen = await self._runner.run_steps(results.look_for(self._runner.keys, waiters))
            except RedisUnavailable:
                self._watch.put_back(waiters)
                await _pause()
            except Exception as error:
                self._watch.fail(error)
            else:
                self._watch.looked(waiters, seen)
                self._go_on()

    async def _read(self) -> None:
        while not self._watch.rests(time.monotonic()):
            try:
                found = await self._runner.run(self._watch.next_call(self._runner.keys))
                last = self._watch.feed(found)
                self._go_on()
                if last is not None:
                    await self._runner.wait_for_event(last, results.BLOCK_S)
            except RedisUnavailable:
                await _pause()
            except Exception as error:
                self._watch.fail(error)


async def _pause() -> None:
    await asyncio.sleep(random.uniform(0.1, 1))  # noqa: S311 - spreading load, not a secret

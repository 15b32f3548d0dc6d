"""Carries calls out: sends each until it is answered or there is no use in trying any longer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar, get_args

from redqueue.client.aio.sharing import SharedAdds
from redqueue.client.faults import CAUGHT
from redqueue.client.lanes import producer
from redqueue.client.patience import PATIENCE, Patience, Trouble
from redqueue.client.transport import AsyncTransport
from redqueue.core import add
from redqueue.core.add import NewJob, Stored
from redqueue.core.keys import Keys
from redqueue.core.script import Call, Steps
from redqueue.errors import RedisUnavailable
from redqueue.records import Durability

R = TypeVar("R")


class AsyncRunner:
    """Carries out the calls of one queue, for tasks of any event loop.

    A numbered call travels on a lane of this process's, so that sending it again changes nothing. The lane of a call
    that was given up or cancelled is not used again: a copy of the call may still be on its way.
    """

    __slots__ = ("_adds", "_closing", "_transport", "keys", "patience")

    def __init__(self, transport: AsyncTransport, keys: Keys, patience: Patience = PATIENCE) -> None:
        self._transport = transport
        self.keys = keys
        self.patience = patience
        self._closing: dict[asyncio.AbstractEventLoop, asyncio.Future[None]] = {}
        self._adds: dict[asyncio.AbstractEventLoop, dict[Durability, SharedAdds]] = {}

    async def run(self, call: Call[R], until: asyncio.Future[None] | None = None) -> R:
        """What the call's answer says.

        Args:
            until: when it is done, a call that isn't numbered is not sent again.
        Raises:
            RedisUnavailable: not reached in 5 s, or no answer in 30 s; `sent` says which.
            RedisRefused, RedisFull: Redis said no.
        Cost: one round trip.
        """
        if not call.script.numbered:
            return call.read(await self._send(call, until))
        ours = producer()
        lane = ours.take()
        raw = await self._send(call.on(self.keys.producer(lane), next(ours.numbers)))
        ours.give_back(lane)
        return call.read(raw)

    async def store(self, job: NewJob) -> Stored:
        """Add one job. Cost: one round trip, which adds of one turn of the event loop share that wait for the same."""
        loop = asyncio.get_running_loop()
        adds = self._adds.get(loop)
        if adds is None:
            _forget_closed(self._adds)
            adds = self._adds[loop] = {one: SharedAdds(self._add) for one in get_args(Durability)}
        return await adds[job.durability].store(job)

    async def _add(self, jobs: Sequence[NewJob]) -> list[Stored]:
        return await self.run(add.add(self.keys, jobs))

    async def run_steps(self, steps: Steps[R]) -> R:
        """What an operation of several round trips returns. Calls that were carried out stay so when a later fails."""
        answer: Any = None
        try:
            while True:
                answer = await self.run(steps.send(answer))
        except StopIteration as end:
            result: R = end.value
            return result

    async def wait_for_event(self, after: str, seconds: float, until: asyncio.Future[None] | None = None) -> None:
        """Wait until the queue has an event behind that one, or that long; less when the way to Redis is in trouble.

        It says nothing of what happened: look by `run`.

        Args:
            until: ends the waiting when it is done.
        Raises:
            RedisRefused, RedisFull: Redis said no.
        """
        if until is not None and until.done():
            return
        tried_at = time.monotonic()
        try:
            await self._transport.wait_for_entry(self.keys["events"], after, seconds, until)
        except CAUGHT as error:
            if until is not None and until.done():
                return
            trouble = Trouble(self.patience, self._transport.target, tried_at)
            with suppress(RedisUnavailable):
                trouble.wait_after(error, time.monotonic())
            await asyncio.sleep(random.uniform(0.1, 1))  # noqa: S311 - spreading load, not a secret
            await self._renew_connections(trouble, tried_at)

    def closing(self) -> asyncio.Future[None]:
        """It is done once this is closed in this event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._closing:
            _forget_closed(self._closing)
            self._closing[loop] = loop.create_future()
        return self._closing[loop]

    async def close(self) -> None:
        """Give this loop's share of the pool back. A later call takes one again."""
        closing = self._closing.pop(asyncio.get_running_loop(), None)
        if closing is not None:
            closing.set_result(None)
        await self._transport.close()

    async def _send(self, call: Call[Any], until: asyncio.Future[None] | None = None) -> Any:
        send = self._transport.send if call.durability == "memory" else self._transport.send_and_confirm
        began = time.monotonic()
        try:
            return await send(call)
        except CAUGHT as error:
            return await self._send_again(call, error, began, until)

    async def _send_again(
        self, call: Call[Any], error: Exception, began: float, until: asyncio.Future[None] | None
    ) -> Any:
        send = self._transport.send if call.durability == "memory" else self._transport.send_and_confirm
        trouble, tried_at = Trouble(self.patience, self._transport.target, began), began
        while True:
            await asyncio.sleep(trouble.wait_after(error, time.monotonic()))
            if until is not None and until.done():
                raise RedisUnavailable("The queue's handle was closed", sent=trouble.sent)
            await self._renew_connections(trouble, tried_at)
            tried_at = time.monotonic()
            try:
                return await send(call)
            except CAUGHT as again:
                error = again

    async def _renew_connections(self, trouble: Trouble, since: float) -> None:
        if trouble.reconnect:
            await self._transport.reset(since)
        elif trouble.unanswered:
            await self._transport.drop_idle(since)


def _forget_closed(by_loop: dict[asyncio.AbstractEventLoop, Any]) -> None:
    for closed in [loop for loop in list(by_loop) if loop.is_closed()]:
        by_loop.pop(closed, None)

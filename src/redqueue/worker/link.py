"""A worker's way to Redis: calls are sent again until they are answered, for ever.

When a call fails the whole worker waits until the heartbeat has renewed its leases again, and only then goes on: a
claim that came first could be handed to another worker by a recovery before its lease is known to be alive.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, TypeVar

from redqueue.client.faults import CAUGHT, NO_CONNECTION_LEFT, Action, classify, to_error, told
from redqueue.client.transport import AsyncTransport
from redqueue.core.script import Call

R = TypeVar("R")

ANSWER_WITHIN: Final = 3.0
"""Seconds for one round trip of a script that Redis carries out in milliseconds."""

LONGEST_ANSWER: Final = 60.0

LATE: Final = 0.5
"""Seconds beyond those that Redis was told to wait: then the connection is taken for dead."""

OPEN_EVERY: Final = 0.2
"""Seconds from one opening of the gate to the next."""

logger = logging.getLogger("redqueue.worker")


class Link:
    """One worker's calls.

    Attributes:
        is_up: the last that was heard of Redis was an answer.
    """

    def __init__(self, transport: AsyncTransport, on_lost: Callable[[], None]) -> None:
        self._transport = transport
        self._on_lost = on_lost
        self._up = asyncio.Event()
        self._up.set()
        self._said_at = -60.0
        self._lost_at: float | None = None
        self._opened_at = -60.0
        self._opening: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether calls get through."""
        return self._up.is_set()

    async def deliver(self, call: Call[R]) -> R:
        """Send the same bytes until Redis answers them.

        Raises:
            RedisRefused: no resending will help.
        """
        within = ANSWER_WITHIN
        while True:
            await self._up.wait()
            answer = await self._try(call, within)
            if answer is not None:
                return call.read(answer[0])
            within = min(within * 2, LONGEST_ANSWER)  # a large answer over a slow line needs its time

    async def insist(self, call: Call[R]) -> R:
        """Send a call of entering or leaving, when there is no heartbeat yet, or any more, to say that Redis is back.

        Raises:
            RedisRefused: no resending will help.
        """
        while (answer := await self._try(call, ANSWER_WITHIN)) is None:
            await self._transport.drop_idle()
            await asyncio.sleep(random.uniform(0.2, 1))  # noqa: S311
        self._open()
        return call.read(answer[0])

    async def block_on(self, wake: str, seconds: float, until: asyncio.Future[None]) -> bool:
        """Wait for a token, a while, `until`, or the loss of the connection: whatever comes first.

        Answers whether Redis said that no token came.
        """
        await self._up.wait()
        try:
            async with asyncio.timeout(seconds + LATE):
                # A token has no data: losing one, as when this is given up, loses nothing.
                return await self._transport.wait_on(wake, seconds, until) is None and not until.done()
        except CAUGHT as error:
            await self._endure(error)
            return False

    async def take_from(self, inbox: str, seconds: float) -> tuple[str | None, bool]:
        """What comes into a list within that time, and whether nothing can have been lost."""
        await self._up.wait()
        try:
            async with asyncio.timeout(seconds + LATE):
                popped = await self._transport.wait_on(inbox, seconds)
                return (None if popped is None else popped[1].decode("ascii", "replace")), True
        except CAUGHT as error:
            await self._endure(error)
            return None, False

    def lose(self, why: str) -> None:
        """Redis doesn't answer: hold all calls until `restore`. Says so at most once a second."""
        if self._up.is_set():
            self._up.clear()
            self._lost_at = monotonic()
            self._on_lost()
        self._say(f"Redis is away, and this worker waits for it: {why}")

    def _say(self, text: str) -> None:
        """At most once a second."""
        if monotonic() - self._said_at >= 1:
            self._said_at = monotonic()
            logger.warning("%s", text)

    def restore(self) -> None:
        """Leases are renewed: let the calls go on, by new connections. Those of before may be dead without a word."""
        if not self._up.is_set() and (self._opening is None or self._opening.done()):
            self._opening = asyncio.get_running_loop().create_task(self._open_anew())

    async def _open_anew(self) -> None:
        """Not more often than so: what is lost again at once would be restored for ever, without a pause."""
        await asyncio.sleep(self._opened_at + OPEN_EVERY - monotonic())
        try:
            await self._transport.drop_idle(monotonic() if self._lost_at is None else self._lost_at)
        except Exception:  # the worker's calls depend on what follows
            logger.exception("dropping connections failed")
        self._open()

    def _open(self) -> None:
        now = monotonic()
        if self._lost_at is not None:
            if now - self._opened_at >= 1:
                logger.warning("Redis is back after %.1f s", now - self._lost_at)
            self._lost_at = None
        self._opened_at = now
        self._up.set()

    async def _try(self, call: Call[Any], within: float) -> tuple[Any] | None:
        """One attempt: the raw answer, or None when the call must be sent again."""
        try:
            async with asyncio.timeout(within):
                return (await self._transport.send(call),)
        except CAUGHT as error:
            await self._endure(error)
            return None

    async def _endure(self, error: Exception) -> None:
        fault = classify(error)
        if fault.action is Action.GIVE_UP:
            raise to_error(fault, error, self._transport.target, sent=False) from error
        if fault.action is Action.BACK_PRESSURE:
            logger.warning("Redis refuses writes: %s", fault.explain)
            await asyncio.sleep(0.5 + random.random())  # noqa: S311 - spreading load
            return
        if fault in NO_CONNECTION_LEFT:
            self._say(told(fault, error, self._transport.target))
            await asyncio.sleep(random.uniform(0.2, 0.5))  # noqa: S311
            return
        if fault.action is Action.RECONNECT:
            await self._transport.reset()
        self.lose(told(fault, error, self._transport.target))

"""Reads that wait at the server, and the connections that they hold meanwhile."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary

from redis.exceptions import ConnectionError

from redqueue.client.leisure import at_leisure
from redqueue.client.pools import connections_of
from redqueue.client.wire import Wire

LOOK_AGAIN_S: Final = 0.1
"""How often who waits looks itself, where no connection is left that could wait at the server."""


class Held:
    """How many connections of each pool are held by reads that wait. Several handles may have one pool."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    @contextmanager
    def one_more(self, client: Any) -> Iterator[bool]:
        """Whether one more may be held, so that another one is left for calls."""
        pool = getattr(client, "connection_pool", client)
        with self._lock:
            others = self._counts.get(pool, 0)
            held = others + 1 < connections_of(client)
            self._counts[pool] = others + held
        try:
            yield held
        finally:
            with self._lock:
                self._counts[pool] -= held


class Waits:
    """The reads that wait at the server for an event loop: each has a wire to itself while it waits.

    Wires are taken from a pool of redis-py's and count as in use there, so that its limit holds.
    """

    __slots__ = ("_at_rest", "_closed", "_pool", "_waiting")

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._closed = False
        self._waiting: set[_Borrowed] = set()
        self._at_rest: list[_Borrowed] = []

    async def read(self, words: tuple[Any, ...], until: asyncio.Future[None] | None = None) -> Any:
        """What a read says; None when `until` was done before. Raises what redis-py raises."""
        while (borrowed := await self._take()) is None:
            await at_leisure(self._open(), until)
            if until is not None and until.done():
                return None
        self._waiting.add(borrowed)
        try:
            return await borrowed.read(words, until)
        finally:
            self._waiting.discard(borrowed)
            if borrowed.wire.at_rest:
                self._at_rest.append(borrowed)
            else:  # what it still says would be taken for the next answer
                await self._give_back(borrowed)

    async def make_room(self) -> None:
        """Close what no read uses while the pool has nothing else for a call."""
        while self._at_rest and not self._pool.can_get_connection():
            await self._give_back(self._at_rest.pop())

    async def drop_idle(self) -> None:
        """Close what no read uses: it may be dead without a word."""
        while self._at_rest:
            await self._give_back(self._at_rest.pop())

    async def close(self) -> None:
        """Close all of them: reads that wait fail, and so do later ones."""
        self._closed = True
        for borrowed in self._waiting:
            borrowed.close()
        await self.drop_idle()

    async def _take(self) -> _Borrowed | None:
        while self._at_rest:
            borrowed = self._at_rest.pop()
            if borrowed.wire.at_rest:
                return borrowed
            await self._give_back(borrowed)  # it was lost meanwhile
        return None

    async def _open(self) -> None:
        """One more at rest, so that none is lost when whom it was opened for has given up."""
        self._at_rest.append(_Borrowed(await self._pool.get_connection()))
        if self._closed:
            await self.drop_idle()
            raise ConnectionError("Error connecting to it: the handle was closed")

    async def _give_back(self, borrowed: _Borrowed) -> None:
        borrowed.close()
        await self._pool.release(borrowed.connection)


class _Borrowed:
    """A connection of a pool's, and the wire over its socket."""

    __slots__ = ("connection", "wire")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.wire = Wire(connection)

    async def read(self, words: tuple[Any, ...], until: asyncio.Future[None] | None) -> Any:
        if until is None:
            return await self.wire.execute(words)
        answer = asyncio.get_running_loop().create_future()
        give_up = partial(_give_up, answer)
        until.add_done_callback(give_up)
        try:
            return await self.wire.execute(words, answer)
        finally:
            until.remove_done_callback(give_up)

    def close(self) -> None:
        self.wire.abort()
        self.connection._close()


def _give_up(answer: asyncio.Future[Any], until: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)


def blocking_read(client: Any, stream: str, after: str, seconds: float) -> tuple[Any, ...]:
    """The words of a read that waits at the server for an entry of a stream."""
    ms = int(1000 * most_seconds(client, seconds))
    return "XREAD", "COUNT", 1, "BLOCK", max(ms, 1), "STREAMS", stream, after  # 0 would be for ever


def blocking_pop(client: Any, name: str, seconds: float) -> tuple[Any, ...]:
    """The same for an item of a list."""
    return "BLPOP", name, f"{max(most_seconds(client, seconds), 0.001):.3f}"


def most_seconds(client: Any, seconds: float) -> float:
    """That long; or so that it ends well before a short `socket_timeout` takes the connection for lost."""
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    # Redis looks for who has waited long enough ten times a second.
    return min(seconds, (options.get("socket_timeout") or math.inf) * 0.75 - 0.1)

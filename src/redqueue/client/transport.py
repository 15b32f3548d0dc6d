"""A handle's way to Redis: it sends one call, once, over its share of a pool, and answers with the raw answer."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any, Final

from redis.exceptions import ConnectionError, MaxConnectionsError, RedisClusterException

from redqueue.client import confirming
from redqueue.client.cuts import CUT, in_our_words, is_cut
from redqueue.client.faults import CAUGHT, Action, classify
from redqueue.client.leisure import at_leisure
from redqueue.client.pools import (
    CONNECT_TIMEOUT,
    AsyncRedisClient,
    RedisClient,
    check_given,
    check_given_async,
    drop_idle,
    drop_idle_async,
)
from redqueue.client.shares import AsyncPool, Pool, process
from redqueue.client.urls import Location, parse
from redqueue.client.waiting import LOOK_AGAIN_S, blocking_pop, blocking_read
from redqueue.core.durability import Confirmation
from redqueue.core.script import Call
from redqueue.errors import ConfigurationError

GIVEN: Final = "the client that was given"

_UNDROPPED: Final = (*CAUGHT, AttributeError, TypeError)
"""A given RedisCluster sees to that itself, and the blocking pool of redis-py 5 can drop only all or none."""


class Transport:
    """One handle's way to Redis, for threads.

    Args:
        location: where to; or a client of the user's, which is used as it is and never closed.
    """

    __slots__ = ("__weakref__", "_location", "_pid", "_pool", "target")

    def __init__(self, location: Location | None, client: RedisClient | None = None) -> None:
        self._location = location
        self._pool = None if client is None else Pool(check_given(client), lambda: None)
        self._pid = os.getpid()
        self.target = GIVEN if location is None else str(location)

    def send(self, call: Call[Any], until: Future[None] | None = None) -> Any:
        """The raw answer to one call; raises what redis-py raises.

        Args:
            until: when it is done, nothing is opened any more.
        Cost: one round trip, two when the server doesn't have the script.
        """
        script, keys = call.script, call.keys
        pool = self._ready() or self._open(until)
        try:
            return _execute(pool, "EVALSHA", script.sha, len(keys), *keys, *call.args)
        except CAUGHT as error:
            if classify(error).action is not Action.RELOAD:
                raise
        return _execute(pool, "EVAL", script.text, len(keys), *keys, *call.args)

    def send_and_confirm(self, call: Call[Any], until: Future[None] | None = None) -> Confirmation:
        """The answer to one call, and whether what it wrote is as safe as it asks for; raises as `send`.

        Raises:
            RedisRefused: the server can't tell; nothing was sent.
        Cost: one round trip and what Redis waits for, at most 5 s; one more before the first of a pool.
        """
        pool = self._ready() or self._open(until)
        if pool.kept is not None:
            pool.kept.hand_back()
        with in_our_words(pool):
            return confirming.send(pool.client, call, pool.probed)

    def wait_for_entry(self, stream: str, after: str, seconds: float, until: Future[None] | None = None) -> None:
        """Wait until a stream has an entry behind that one, or that long; raises what redis-py raises.

        It may end early: a client with few connections keeps one for calls.

        Args:
            until: when it is done, nothing is opened any more.
        """
        pool = self._ready() or self._open(until)
        with process().held.one_more(pool.client) as held:
            if held:
                _execute(pool, *blocking_read(pool.client, stream, after, seconds))
            else:
                time.sleep(min(seconds, LOOK_AGAIN_S))

    def client(self) -> Any:
        """The redis-py client, opened when there is none in this process."""
        pool = self._ready() or self._open()
        if pool.kept is not None:
            pool.kept.hand_back()
        return pool.client

    def _ready(self) -> Pool | None:
        pool = self._pool
        if pool is not None and pool.open and (self._pid == os.getpid() or self._location is None):
            return pool
        return None

    def _open(self, until: Future[None] | None = None) -> Pool:
        assert self._location is not None
        location, here = _resolve(self._location), process()
        with here.lock:
            if until is not None and until.done():
                raise ConnectionError("Error connecting to it: the handle was closed")
            pool = here.sync.get(self._location.url)
            if pool is None:
                pool = here.sync[self._location.url] = Pool.connected(location)
            pool.shares.add(self)
            self._pool, self._pid = pool, here.pid
        return pool

    def reset(self, since: float = math.inf) -> None:
        """Drop the idle connections, so that the next ones are opened to where the address leads now.

        Args:
            since: by the monotonic clock, when the trouble began: what was renewed after it stays.
        """
        pool, location = self._ready(), self._location
        if pool is None or pool.renewed_at > since:
            return
        if location is not None and location.kind == "embedded":
            _resolve(location)
        if location is not None and location.kind == "cluster" and pool.lost:
            # redis-py asks for the new layout itself, as long as it knows a node that answers.
            self._leave(even_if_shared=True)
        else:
            self.drop_idle(since)

    def drop_idle(self, since: float = math.inf) -> None:
        """Drop the idle connections: one of them was dead without a word, so the others may be, too."""
        pool = self._ready()
        if pool is None or pool.renewed_at > since:
            return
        pool.renewed_at = time.monotonic()
        if pool.kept is not None:
            pool.kept.hand_back()
        with suppress(*_UNDROPPED):
            drop_idle(pool.client)

    def close(self) -> None:
        """Give the share back; the last one closes the pool. Twice is fine, and using the handle again opens it."""
        self._leave(even_if_shared=False)

    def _leave(self, *, even_if_shared: bool) -> None:
        here = process()
        with here.lock:
            pool = self._pool
            if pool is None or self._location is None or self._pid != here.pid:
                return
            self._pool = None
            pool.shares.discard(self)
            if not pool.open or (pool.shares and not even_if_shared):
                return
            pool.open = False
            if here.sync.get(self._location.url) is pool:
                del here.sync[self._location.url]
        pool.close()


class AsyncTransport:
    """One handle's way to Redis, for tasks; each event loop has a pool of its own.

    A pool ends with its loop: what `asyncio.run` does before it closes a loop (`shutdown_asyncgens`) closes it.

    Args:
        location: where to; or a client of the user's, which is used as it is and never closed.
    """

    __slots__ = ("__weakref__", "_location", "_pid", "_pool", "target")

    def __init__(self, location: Location | None, client: AsyncRedisClient | None = None) -> None:
        self._location = location
        self._pool = None if client is None else AsyncPool(check_given_async(client), lambda: None)
        self._pid = os.getpid()
        self.target = GIVEN if location is None else str(location)

    async def send(self, call: Call[Any]) -> Any:
        """The raw answer to one call; raises what redis-py raises.

        Cost: one round trip, two when the server doesn't have the script.
        """
        pool = self._ready() or await self._opened()
        script, keys = call.script, call.keys
        try:
            return await _execute_async(pool, "EVALSHA", script.sha, len(keys), *keys, *call.args)
        except CAUGHT as error:
            if classify(error).action is not Action.RELOAD:
                raise
        return await _execute_async(pool, "EVAL", script.text, len(keys), *keys, *call.args)

    async def send_and_confirm(self, call: Call[Any]) -> Confirmation:
        """As `Transport.send_and_confirm`."""
        pool = self._ready() or await self._opened()
        if pool.waits is not None:
            await pool.waits.make_room()
        async with _turn(pool.confirming), _turn(pool.gate):
            with in_our_words(pool):
                told: Confirmation = await at_leisure(confirming.send_async(pool.client, call, pool.probed))
                return told

    async def wait_on(self, wake: str, seconds: float, until: asyncio.Future[None] | None = None) -> Any:
        """Take what is in a list, or wait that long at most for it: (key, item), or None. Other calls go on.

        Raises what redis-py raises.

        Args:
            until: ends the waiting when it is done.
        """
        pool = self._ready() or await self._opened()
        return await _read_at_leisure(pool, blocking_pop(pool.client, wake, seconds), until)

    async def wait_for_entry(
        self, stream: str, after: str, seconds: float, until: asyncio.Future[None] | None = None
    ) -> None:
        """Wait until a stream has an entry behind that one, or that long; raises what redis-py raises. Others go on.

        It may end early: a client with few connections keeps one for calls.

        Args:
            until: ends the waiting when it is done.
        """
        pool = self._ready() or await self._opened()
        with process().held.one_more(pool.client) as held:
            if held:
                await _read_at_leisure(pool, blocking_read(pool.client, stream, after, seconds), until)
            else:
                await asyncio.sleep(min(seconds, LOOK_AGAIN_S))

    async def client(self) -> Any:
        """The redis-py client, opened when there is none for the loop that runs."""
        pool = self._ready() or await self._opened()
        if pool.waits is not None:
            await pool.waits.make_room()
        return pool.client

    def _ready(self) -> AsyncPool | None:
        pool = self._pool
        if pool is None or not pool.open:
            return None
        if pool.loop is None or (pool.loop is asyncio.get_running_loop() and self._pid == os.getpid()):
            return pool
        return None

    async def _opened(self) -> AsyncPool:
        location = self._location
        assert location is not None
        url = location.url
        if location.kind == "embedded":
            location = await asyncio.to_thread(_resolve, location)
        return await self._open(url, location)

    async def _open(self, url: str, location: Location) -> AsyncPool:
        here = process()
        pool = await here.pool_here(url, location)
        pool.shares.add(self)
        self._pool, self._pid = pool, here.pid
        return pool

    async def reset(self, since: float = math.inf) -> None:
        """As `Transport.reset`, for the loop that runs."""
        pool, location = self._ready(), self._location
        if pool is None or pool.renewed_at > since:
            return
        if location is not None and location.kind == "embedded":
            await asyncio.to_thread(_resolve, location)
        if location is not None and location.kind == "cluster" and pool.lost:
            await pool.shut()
        else:
            await self.drop_idle(since)

    async def drop_idle(self, since: float = math.inf) -> None:
        """As `Transport.drop_idle`, for the loop that runs."""
        pool = self._ready()
        if pool is None or pool.renewed_at > since:
            return
        pool.renewed_at = time.monotonic()
        if pool.shared is not None:
            pool.shared.leave()
        if pool.waits is not None:
            await pool.waits.drop_idle()
        with suppress(*_UNDROPPED):
            await drop_idle_async(pool.client)

    async def close(self) -> None:
        """Give this loop's share back; the last one closes the pool. Twice is fine, and using the handle opens it."""
        if self._location is None:
            return
        pool = process().loops.get(asyncio.get_running_loop(), {}).get(self._location.url)
        if pool is None or self not in pool.shares:
            return
        pool.shares.discard(self)
        self._pool = None
        if not pool.shares:
            await pool.shut()


def _execute(pool: Pool, *words: Any) -> Any:
    try:
        return pool.client.execute_command(*words) if pool.kept is None else pool.kept.execute(*words)
    except RedisClusterException:
        pool.lost = True
        raise
    except Exception as error:
        if isinstance(error, CAUGHT) or (pool.open and not is_cut(error)):
            raise
        raise ConnectionError(CUT) from error


async def _execute_async(pool: AsyncPool, *words: Any) -> Any:
    """The answer to a command that Redis carries out at once."""
    if pool.shared is not None:
        try:
            return await pool.shared.execute(*words)
        except Exception as error:
            if isinstance(error, CAUGHT) or not is_cut(error):
                raise
            raise ConnectionError(CUT) from error
    await (pool.gate.acquire() if not pool.gate.locked() else _take_turn(pool.gate))
    try:
        return await _execute_by_client(pool, *words)
    finally:
        pool.gate.release()


async def _execute_by_client(pool: AsyncPool, *words: Any) -> Any:
    """The same by a connection of its own, unless the task was cancelled meanwhile.

    redis-py sends by `asyncio.wait_for`, which on Python 3.11 drops a cancel that comes in the turn of the loop in
    which the sending is done. Who cancels a call learns nothing of its answer: it may have been carried out.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        with in_our_words(pool):
            return await pool.client.execute_command(*words)
    finally:
        if task.cancelling() > before:
            raise asyncio.CancelledError


async def _read_at_leisure(pool: AsyncPool, words: tuple[Any, ...], until: asyncio.Future[None] | None) -> Any:
    """What a read that waits at the server says; None when `until` was done before."""
    if pool.waits is None:
        return await at_leisure(_execute_by_client(pool, *words), until)
    with in_our_words(pool):
        return await pool.waits.read(words, until)


@asynccontextmanager
async def _turn(gate: asyncio.Semaphore) -> AsyncGenerator[None]:
    await _take_turn(gate)
    try:
        yield
    finally:
        gate.release()


async def _take_turn(gate: asyncio.Semaphore) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            await gate.acquire()
    except TimeoutError:
        raise MaxConnectionsError("Too many calls are on their way") from None


def _resolve(location: Location) -> Location:
    """The server itself, where the location names something that has to be started first."""
    if location.kind != "embedded":
        return location
    from redqueue.embedded import ensure

    return replace(parse(ensure(location.path or None)), options=location.options)


def locate(url: str | None, client: object, default: Callable[[], str]) -> Location | None:
    """The location of a handle, or None when a client is given.

    Raises:
        ConfigurationError: both are given, or the URL can't work.
    """
    if client is None:
        return parse(default() if url is None else url)
    if url is not None:
        raise ConfigurationError("give url or client, not both")
    return None

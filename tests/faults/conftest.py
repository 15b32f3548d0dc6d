"""A server of the test's own, a way to it that can be broken, and a worker whose runs are counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
import redis

from redqueue import AsyncQueue, ServiceRegistry, Worker
from redqueue.embedded import PrivateServer

from .proxy import Proxy

GUARD: Final = 20.0
"""Seconds; only against hanging."""


class Ran:
    """What ran in this process's workers: jobs of type "note" at once, those of "hold" until told to go on.

    Attributes:
        starts, ends: how often a job's run began, and how often it got to its end, by the job's data.
    """

    def __init__(self) -> None:
        self.registry = ServiceRegistry()
        self.starts: Counter[Any] = Counter()
        self.ends: Counter[Any] = Counter()
        self.go = asyncio.Event()
        self._news = asyncio.Event()
        self.registry.register_processor("note", self._note)
        self.registry.register_processor("hold", self._hold)
        self.registry.register_processor("flaky", self._flaky)

    def worker(self, url: str, **options: Any) -> Worker:
        """Of the queue "q"."""
        return Worker(["q"], url, registry=self.registry, **options)

    async def wait_until(self, condition: Callable[[], bool], seconds: float = GUARD) -> None:
        """Look again whenever a run begins or ends."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def _note(self, data: Any) -> Any:
        self.starts[data] += 1
        self.ends[data] += 1
        self._news.set()
        return data

    async def _hold(self, data: Any) -> None:
        self.starts[data] += 1
        self._news.set()
        await self.go.wait()
        self.ends[data] += 1
        self._news.set()

    async def _flaky(self, data: Any) -> None:
        self.starts[data] += 1
        self._news.set()
        if self.starts[data] == 1:
            raise RuntimeError("not yet")
        self.ends[data] += 1
        self._news.set()


@pytest.fixture
async def ran() -> Ran:
    return Ran()


@pytest.fixture
def own_server() -> Iterator[PrivateServer]:
    """A server of the test's own, which keeps all that it acknowledged over a kill -9."""
    with PrivateServer(appendonly=True, arguments=["--appendfsync", "always"]) as server:
        yield server


@pytest.fixture
async def queue(own_server: PrivateServer) -> AsyncIterator[AsyncQueue]:
    """The queue "q" by a way of its own, that no fault of the worker's meets; it is audited when the test ends."""
    async with AsyncQueue("q", f"{own_server.url}&client_name=test", backoff=0) as opened:
        yield opened
        assert await opened.audit() == []


@pytest.fixture
def admin(own_server: PrivateServer) -> Iterator[Any]:
    """A client of the test's for what users don't do."""
    with redis.Redis(unix_socket_path=str(own_server.socket), decode_responses=True, protocol=2) as client:
        yield client


@pytest.fixture
async def proxy(own_server: PrivateServer) -> AsyncIterator[Proxy]:
    async with Proxy(own_server) as listening:
        yield listening


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = GUARD) -> None:
    """Wait for what Redis knows and announces to nobody."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def all_done(queue: AsyncQueue, count: int, seconds: float = GUARD) -> None:
    """Return when so many jobs have completed."""

    async def done() -> bool:
        return (await queue.get_stats()).succeeded >= count

    await until(done, seconds)


@pytest.fixture
def shared_server(server: PrivateServer, real_url: str) -> PrivateServer:
    """The server of all tests of the session, empty, for faults that it survives; it is audited when the test ends."""
    return server


@pytest.fixture
async def shared_queue(shared_server: PrivateServer) -> AsyncIterator[AsyncQueue]:
    """The queue "q" by a way of its own."""
    async with AsyncQueue("q", f"{shared_server.url}&client_name=test", backoff=0) as opened:
        yield opened


@pytest.fixture
async def shared_proxy(shared_server: PrivateServer) -> AsyncIterator[Proxy]:
    async with Proxy(shared_server) as listening:
        yield listening

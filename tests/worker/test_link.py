"""A worker's calls, and the gate that holds them while Redis is away."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import pytest
from redis.exceptions import MaxConnectionsError

from redqueue import ConfigurationError, Queue, ServiceRegistry, Worker
from redqueue.embedded import PrivateServer
from redqueue.worker.link import Link


class Breaks:
    """A way to Redis whose connections can't even be dropped."""

    async def drop_idle(self, since: float) -> None:
        raise RuntimeError("the handler is closed")


async def test_the_gate_opens_also_when_dropping_connections_breaks() -> None:
    transport: Any = Breaks()
    link = Link(transport, lambda: None)
    link.lose("a test")
    link.restore()
    async with asyncio.timeout(5):
        await link._up.wait()


async def test_a_worker_is_refused_whose_url_allows_too_few_connections(server: PrivateServer) -> None:
    for queues, most in ((["a"], 2), (["a", "b"], 4)):
        worker = Worker(queues, f"{server.url}&max_connections={most}", registry=ServiceRegistry())
        with pytest.raises(ConfigurationError, match=rf"max_connections={most} .* needs {most + 1}"):
            await worker.serve()


async def test_it_works_with_as_many_as_it_needs(server: PrivateServer, caplog: pytest.LogCaptureFixture) -> None:
    registry, begun, end = ServiceRegistry(), asyncio.Event(), asyncio.Event()

    async def hold(data: Any) -> None:
        begun.set()
        await end.wait()

    registry.register_processor("hold", hold)
    with caplog.at_level(logging.WARNING, "redqueue.worker"):
        async with Worker(["hold"], f"{server.url}&max_connections=3", registry=registry), asyncio.timeout(10):
            with Queue("hold", server.url) as queue:
                job = await asyncio.to_thread(queue.add, "hold")
                await begun.wait()
                end.set()
                await asyncio.to_thread(job.result, 5)
    assert caplog.messages == []


class Crowded:
    """A way to Redis on which no connection is left, for a while."""

    target = "a test"

    def __init__(self, times: int) -> None:
        self.times = times

    async def wait_on(self, wake: str, seconds: float, until: asyncio.Future[None]) -> object:
        self.times -= 1
        if self.times >= 0:
            raise MaxConnectionsError("Too many connections")
        return None


async def test_a_lack_of_connections_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    """Redis is there: a heartbeat would say so at once, and the worker would try again without a pause."""
    transport: Any = Crowded(2)
    link = Link(transport, lambda: pytest.fail("it took that for an outage"))
    began = time.monotonic()
    for _ in range(2):
        assert not await link.block_on("wake", 1, asyncio.get_running_loop().create_future())
    assert time.monotonic() - began >= 0.4
    assert link.is_up
    assert len(caplog.messages) == 1
    assert "max_connections" in caplog.messages[0]

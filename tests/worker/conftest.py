"""Workers within the test's own process and event loop, on a genuine server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from typing import Any, Protocol

import pytest

from redqueue import AsyncJob, AsyncQueue, JobStatus, ServiceRegistry, Worker
from redqueue.core import lease
from redqueue.core.lease import Claimed, ListRule, Settles, Trip
from redqueue.core.lifecycle import Complete, RunRules, words_of
from redqueue.defaults import MAX_CRASHES
from redqueue.testing import advance_async
from redqueue.worker import runner as runner_module


class MakeWorker(Protocol):
    def __call__(self, *queues: str, **options: Any) -> Worker: ...


class Work(Protocol):
    async def __call__(self, **options: Any) -> None: ...


def echo(data: Any) -> Any:
    return data


async def status_of(job: AsyncJob[Any]) -> JobStatus:
    status = await job.status()
    assert status is not None
    return status


@pytest.fixture
def registry() -> ServiceRegistry:
    return ServiceRegistry()


@pytest.fixture
async def queue(real_url: str) -> AsyncIterator[AsyncQueue]:
    """The queue "q"; its jobs are retried at once, unless they say otherwise."""
    async with AsyncQueue("q", real_url, backoff=0) as opened:
        yield opened


@pytest.fixture
def make_worker(real_url: str, registry: ServiceRegistry) -> MakeWorker:
    """Makes workers of the queue "q", or of the ones named."""

    def make(*queues: str, **options: Any) -> Worker:
        return Worker(options.pop("queues", queues or ["q"]), real_url, registry=registry, **options)

    return make


@pytest.fixture
def work(make_worker: MakeWorker) -> Work:
    """Runs all that can be claimed, and ends."""

    async def run(**options: Any) -> None:
        await asyncio.wait_for(make_worker(burst=True, **options).serve(), 20)

    return run


@pytest.fixture
def outcome(queue: AsyncQueue, work: Work) -> Callable[..., Awaitable[JobStatus]]:
    """Adds one job, runs it, and answers what became of it."""

    async def run(job_type: str, data: object = None, **options: Any) -> JobStatus:
        job = await queue.add(job_type, data, **options)
        await work()
        status = await job.status()
        assert status is not None
        return status

    return run


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Waits for what Redis knows and announces to nobody, at most 10 s."""

    async def wait(condition: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(10):
            while not await condition():
                await asyncio.sleep(0.005)

    return wait


@pytest.fixture
def soon_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "STUCK_AFTER", 0.1)


@pytest.fixture
def door() -> Iterator[threading.Event]:
    """Lets threads go that a test holds."""
    event = threading.Event()
    yield event
    event.set()


class Ghost:
    """Another worker's session, driven call by call: it renews nothing unless told to, as if it had died."""

    def __init__(self, queue: AsyncQueue, lease_ms: int) -> None:
        self.session = f"ghost{next(GHOSTS)}"
        self._queue = queue
        self._lease_ms = lease_ms
        self._numbers = count(1)

    async def claim(self, n: int = 1) -> list[Claimed]:
        keys = self._queue._keys
        await self._queue._runner.run(lease.enter(keys, self.session, "ghost", "host", 1, self._lease_ms))
        return (await self._pump(Settles([], [], []), n)).claimed

    async def complete(self, run: Claimed, result: bytes = b'"by the ghost"') -> str:
        settles = Settles([], [], [])
        settles.add(run, *words_of(Complete(result), attempt=run.failed + 1, rules=RunRules(retries=3, backoff=1)))
        return (await self._pump(settles, 0)).words

    async def recover(self) -> int:
        recovery = await self._queue._runner.run(lease.recover(self._queue._keys, MAX_CRASHES))
        return recovery.count

    async def let_expire(self) -> int:
        """Let the leases of all workers end, and take their jobs back."""
        await self.recover()
        await advance_async(self._queue, 2 * self._lease_ms / 1000 + 1)
        return await self.recover()

    async def _pump(self, settles: Settles, n: int) -> Trip:
        call = lease.pump(
            self._queue._keys, self.session, "ghost", "0", next(self._numbers), settles, n, (), ListRule()
        )
        return await self._queue._runner.run(call)


GHOSTS = count(1)


@pytest.fixture
def make_ghost(queue: AsyncQueue) -> Callable[..., Ghost]:
    def make(lease_ms: int = 30_000) -> Ghost:
        return Ghost(queue, lease_ms)

    return make

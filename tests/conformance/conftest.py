"""One suite for every implementation: the queue for tasks and the one for threads, on a genuine server and a fake one.

The sync handles are made awaitable, so that each test is written once. $REDQUEUE_WAYS names other ways to a server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from typing import Any, Final, Literal, Protocol, cast

import pytest
import redis
from tests.conftest import audit_stored

from redqueue.client.aio.queue import AsyncQueue
from redqueue.client.aio.service import AsyncJobQueueService
from redqueue.client.sync.job import Job
from redqueue.client.sync.queue import Queue
from redqueue.client.sync.service import JobQueueService
from redqueue.registry import ServiceRegistry
from redqueue.worker.worker import Worker

from .users import ByLeastUser
from .ways import Way, asked, open_way

Shell = Literal["async", "sync"]

NOT_AWAITED: Final = frozenset({"job", "queue", "with_options"})


class Awaited:
    """A sync handle with the methods of its async twin."""

    def __init__(self, target: Any) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, name)
        if isinstance(value, Queue | ByLeastUser):
            return Awaited(value)
        if not callable(value):
            return value
        if name == "events":
            return lambda **options: one_by_one(cast("Any", value)(**options))
        if name == "result":  # waits, while the worker and other waiters go on
            return lambda *args, **options: asyncio.to_thread(value, *args, **options)
        if name in NOT_AWAITED:
            return lambda *args, **options: awaited(value(*args, **options))

        async def call(*args: Any, **options: Any) -> Any:
            return awaited(value(*args, **options))

        return call


async def one_by_one(events: Generator[Any]) -> AsyncGenerator[Any]:
    """What a generator yields, while others go on."""
    try:
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event
    finally:
        events.close()


def awaited(value: Any) -> Any:
    if isinstance(value, Job | Queue | JobQueueService | ByLeastUser):
        return Awaited(value)
    if isinstance(value, list) and value and isinstance(value[0], Job):
        return [Awaited(job) for job in value]
    return value


class MakeQueue(Protocol):
    def __call__(self, name: str = "q", *, url: str | None = None, **options: Any) -> AsyncQueue: ...


class MakeService(Protocol):
    def __call__(self, **options: Any) -> AsyncJobQueueService: ...


class Work(Protocol):
    async def __call__(self, *queues: str, **options: Any) -> None: ...


@pytest.fixture(scope="session", params=asked())
def _way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with open_way(request.param, tmp_path_factory.mktemp("way")) as way:
        yield way


@pytest.fixture
def way(_way: Way, request: pytest.FixtureRequest) -> Iterator[Way]:
    """A way to a server that is empty, and that is audited afterwards."""
    for marker in request.node.iter_markers("not_by"):
        name, reason = marker.args
        if name == _way.name:
            pytest.skip(f"not by {name}: {reason}")
    _way.empty()
    yield _way
    audit_stored(_way.administrator, request)
    if refusals := _way.refusals():
        pytest.fail("\n".join(refusals), pytrace=False)


@pytest.fixture
def url(way: Way) -> str:
    return way.url


@pytest.fixture(params=["async", "sync"])
def shell(request: pytest.FixtureRequest) -> Shell:
    return cast(Shell, request.param)


@pytest.fixture
async def make_queue(way: Way, shell: Shell) -> AsyncIterator[MakeQueue]:
    """Makes handles on queues, which are closed at the end."""
    made: list[AsyncQueue] = []

    def make(name: str = "q", *, url: str | None = None, **options: Any) -> AsyncQueue:
        kind: Any = AsyncQueue if shell == "async" else Queue
        given = url is not None or "client" in options
        handle = kind(name, url, **options) if given else way.handle(kind, name, **options)
        made.append(handle if shell == "async" else cast(AsyncQueue, Awaited(handle)))
        return made[-1]

    yield make
    for queue in made:
        await queue.close()


@pytest.fixture
def queue(make_queue: MakeQueue) -> AsyncQueue:
    return make_queue()


@pytest.fixture
async def make_service(way: Way, shell: Shell, registry: ServiceRegistry) -> AsyncIterator[MakeService]:
    made: list[AsyncJobQueueService] = []

    def make(**options: Any) -> AsyncJobQueueService:
        kind: Any = AsyncJobQueueService if shell == "async" else JobQueueService
        handle = way.handle(kind, **{"registry": registry, **options})
        made.append(handle if shell == "async" else cast(AsyncJobQueueService, Awaited(handle)))
        return made[-1]

    yield make
    for service in made:
        await service.close()


@pytest.fixture
def service(make_service: MakeService) -> AsyncJobQueueService:
    return make_service()


class Broken(Exception):
    pass


@pytest.fixture
def ran() -> list[Any]:
    """The data of the jobs that ran, in order."""
    return []


@pytest.fixture
def registry(ran: list[Any]) -> ServiceRegistry:
    """Two job types: "ok" returns its data, "fail" raises."""
    registry = ServiceRegistry()

    @registry.processor("ok")
    async def ok(data: Any) -> Any:
        ran.append(data)
        return data

    @registry.processor("fail")
    async def fail(data: Any) -> None:
        ran.append(data)
        raise Broken(f"no {data}")

    return registry


@pytest.fixture
def work(url: str, registry: ServiceRegistry) -> Work:
    """Runs what can be claimed now, one job after the other."""

    async def run(*queues: str, **options: Any) -> None:
        given = {"concurrency": 1, "retries": 0, **options}
        await Worker(queues or ["q"], url, registry=registry, burst=True, **given).serve()

    return run


@pytest.fixture
def client(way: Way) -> redis.Redis:
    """What is stored, for tests that look at it."""
    return cast("redis.Redis", way.administrator)


@pytest.fixture
def unchanged(client: redis.Redis) -> Callable[[], bool]:
    """Whether the server has as many keys as when the test began."""
    before = client.dbsize()
    return lambda: client.dbsize() == before


@pytest.fixture
def in_line(queue: AsyncQueue) -> Callable[[], Awaitable[Sequence[str]]]:
    """The ids of the waiting jobs, the next one first."""

    async def look() -> Sequence[str]:
        return [job.job_id for job in await queue.jobs("waiting", newest=False)]

    return look

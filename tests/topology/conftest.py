"""The ways to more than one server, and both kinds of handles."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import pytest

from redqueue import (
    AsyncJobQueueService,
    AsyncQueue,
    JobQueueService,
    Queue,
    RedisUnavailable,
    ServiceRegistry,
    Worker,
)
from redqueue.client.patience import Patience
from redqueue.embedded import PrivateServer

from .servers import GUARD, Authority, Cluster, NoTls, Sentinels, start_tls

T = TypeVar("T")


class Handles:
    """The handles for threads, or those for tasks, so that a test says once what both do."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.queue: Any = Queue if kind == "sync" else AsyncQueue
        self.service: Any = JobQueueService if kind == "sync" else AsyncJobQueueService
        self._loop = asyncio.Runner()

    @contextmanager
    def open(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        """A queue, closed afterwards."""
        queue = self.queue(*arguments, **options)
        yield queue
        self.do(queue.close())

    def impatient(self, url: str) -> Any:
        """A queue whose calls fail soon."""
        queue = self.queue("q", url)
        queue._runner.patience = Patience(unsent=0.3, sent=0.3)
        return queue

    def do(self, answer: Any) -> Any:
        """What the method answers: it did already, or is awaited now."""
        return self._loop.run(_awaited(answer)) if inspect.isawaitable(answer) else answer

    def close(self) -> None:
        self._loop.close()


async def _awaited(answer: Any) -> Any:
    return await answer


@pytest.fixture(params=["sync", "async"])
def handles(request: pytest.FixtureRequest) -> Iterator[Handles]:
    both = Handles(request.param)
    yield both
    both.close()


async def insist(add: Callable[[], Awaitable[T]]) -> T:
    """Add as a producer should: when nobody knows whether a job is stored, it is added again with the same id."""
    async with asyncio.timeout(3 * GUARD):
        while True:
            with suppress(RedisUnavailable):
                return await add()


class Ledger:
    """What ran in this process's workers, told by the processors themselves.

    Attributes:
        ended: how often each job ran to its end.
    """

    def __init__(self) -> None:
        self.ended: Counter[int] = Counter()
        self.registry = ServiceRegistry()
        self.registry.register_processor("count", self._count)
        self.registry.register_processor("flaky", self._flaky)

    def worker(self, queues: list[str], url: str, **options: Any) -> Worker:
        return Worker(queues, url, registry=self.registry, **options)

    async def _count(self, data: int) -> int:
        await asyncio.sleep(0.002)
        self.ended[data] += 1
        return data

    async def _flaky(self, data: int) -> int:
        self.ended[data] += 1
        if self.ended[data] < 3:
            raise RuntimeError("not yet")
        return data


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture(scope="session")
def _cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """Three nodes, empty; they are whole again when the test ends."""
    _cluster.empty()
    return _cluster


@pytest.fixture
def replicated_cluster() -> Iterator[Cluster]:
    """Three primaries with a replica each, of the test's own."""
    with Cluster(replicated=True) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _sentinels() -> Iterator[Sentinels]:
    with Sentinels() as sentinels:
        yield sentinels


@pytest.fixture
def sentinels(_sentinels: Sentinels) -> Sentinels:
    """A watched primary with a replica, empty; they are whole again when the test ends."""
    _sentinels.empty()
    return _sentinels


@pytest.fixture
def own_sentinels() -> Iterator[Sentinels]:
    """A watched primary with a replica, of the test's own."""
    with Sentinels() as sentinels:
        yield sentinels


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls_server(authority: Authority) -> Iterator[PrivateServer]:
    """A server that takes TLS only, with a certificate for localhost; where CI is set, it must be there."""
    try:
        server = start_tls(authority)
    except NoTls as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    with server:
        yield server


@pytest.fixture
def tls_url(tls_server: PrivateServer, authority: Authority) -> Callable[..., str]:
    """Makes URLs of that server; options are those of the query."""

    def make(host: str = "localhost", **options: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss://{host}:{tls_server.port}/0?{query}"

    return make

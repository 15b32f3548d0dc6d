"""A queue and workers for attackers who can write to Redis, or who send jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Protocol

import pytest
import redis

from redqueue import AsyncQueue, JobContext, JobStatus, Queue, ServiceRegistry, Worker


class Work(Protocol):
    async def __call__(self, **options: Any) -> None: ...


@pytest.fixture
def ran() -> list[Any]:
    """The data of the jobs whose functions were entered."""
    return []


@pytest.fixture
def registry(ran: list[Any]) -> ServiceRegistry:
    """ "echo" returns its data, "tells" reports it, "fail" raises it; the task "note" notes it."""
    registry = ServiceRegistry()

    @registry.processor("echo")
    async def echo(data: Any) -> Any:
        ran.append(data)
        return data

    @registry.processor("tells")
    async def tells(data: Any, context: JobContext) -> Any:
        ran.append(context.restored)
        await context.progress(0.5, str(data), data)
        await context.log(str(data))
        await context.checkpoint(data)
        return data

    @registry.processor("fail")
    async def fail(data: Any) -> None:
        ran.append(data)
        raise ValueError(data)

    @registry.task("note")
    def note(value: Any) -> Any:
        ran.append(value)
        return value

    return registry


@pytest.fixture
def work(real_url: str, registry: ServiceRegistry) -> Work:
    """Runs what can be claimed of "q" and of generic tasks; nothing waits for a newer worker."""

    async def run(**options: Any) -> None:
        given = {"retries": 0, "unknown_grace": 0, "burst": True, "queues": ["q", "generic-task"], **options}
        await Worker(url=real_url, registry=registry, **given).serve()

    return run


@pytest.fixture
def queue(real_url: str) -> Iterator[Queue]:
    with Queue("q", real_url) as opened:
        yield opened


@pytest.fixture
def client(real_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(real_url, protocol=2) as opened:
        yield opened


Look = Callable[[str], Awaitable[JobStatus]]


@pytest.fixture
def look(real_url: str) -> Look:
    """The status of a job of "q"."""

    async def find(job_id: str) -> JobStatus:
        async with AsyncQueue("q", real_url) as opened:
            status = await opened.get_status(job_id)
            assert status is not None
            return status

    return find

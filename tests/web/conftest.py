"""The app, asked without a network, and workers in the test's own event loop, on a genuine server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from tests.web.parts import Ask, Steps, anything

from redqueue import AsyncJobQueueService, JobContext, ServiceRegistry, Worker
from redqueue.web import Authorize, JobsApp, jobs_app


@pytest.fixture
async def service(real_url: str, registry: ServiceRegistry) -> AsyncIterator[AsyncJobQueueService]:
    async with AsyncJobQueueService(real_url, registry=registry) as opened:
        yield opened


@pytest.fixture
async def open_client() -> AsyncIterator[Callable[[Any], Awaitable[httpx.AsyncClient]]]:
    """Clients of any ASGI app, closed at the end."""
    async with AsyncExitStack() as stack:

        async def open(app: Any) -> httpx.AsyncClient:
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://app.example")
            return await stack.enter_async_context(client)

        yield open


@pytest.fixture
def ask(service: AsyncJobQueueService, open_client: Callable[[Any], Awaitable[httpx.AsyncClient]]) -> Ask:
    async def make(authorize: Authorize = anything, **options: Any) -> httpx.AsyncClient:
        return await open_client(jobs_app(service, authorize=authorize, **options))

    return make


@pytest.fixture
def app(service: AsyncJobQueueService) -> JobsApp:
    return jobs_app(service, authorize=anything)


@pytest.fixture
async def client(ask: Ask) -> httpx.AsyncClient:
    """Who may ask for anything, and add "sms"."""
    return await ask(allow_add=["sms"])


@pytest.fixture
async def steps() -> Steps:
    return Steps()


@pytest.fixture
def registry(steps: Steps) -> ServiceRegistry:
    """Job types: "sms" returns its data, "slow" goes on step by step, "fail" raises."""
    registry = ServiceRegistry()

    @registry.processor("sms")
    async def sms(data: Any) -> Any:
        return data

    @registry.processor("fail")
    async def fail(data: Any) -> None:
        raise ValueError(data)

    @registry.processor("slow")
    async def slow(data: Any, context: JobContext) -> str:
        steps.started.set()
        await steps.go_on.wait()
        await context.progress(0.5, "half of it")
        steps.told.set()
        await steps.end.wait()
        return "done"

    return registry


@pytest.fixture
def work(real_url: str, registry: ServiceRegistry) -> Callable[..., Awaitable[None]]:
    """Runs all that can be claimed, and ends."""

    async def run(*queues: str) -> None:
        worker = Worker(queues or ["sms"], real_url, registry=registry, retries=0, burst=True)
        await asyncio.wait_for(worker.serve(), 20)

    return run

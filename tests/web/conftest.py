"""The app, asked without a network, with workers in the test's own event loop; and a page of it in Chromium."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from tests.web.browsing import GUARD, Browser, Site, Stage
from tests.web.parts import Ask, Steps, anything

from redqueue import AsyncJobQueueService, JobContext, JobQueueService, ServiceRegistry, Worker
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


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """One browser for all tests; where CI is set, it must be there."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        if os.environ.get("CI"):
            pytest.fail("chromium and chromedriver are missing: apt-get install chromium chromium-driver")
        pytest.skip("chromium and chromedriver are not installed")
    options = ChromeOptions()
    options.binary_location = program
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for word in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=800,600"):
            options.add_argument(f"--{word}")
        for word in ("disable-background-networking", "disable-component-update", "disable-sync", "no-first-run"):
            options.add_argument(f"--{word}")
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        with Chrome(options, Service(driver)) as chrome:
            chrome.set_script_timeout(GUARD)
            yield chrome


@pytest.fixture
def site(real_url: str) -> Iterator[Site]:
    with Site(real_url).open() as site:
        yield site


@pytest.fixture
def browser(chrome: Chrome, site: Site) -> Iterator[Browser]:
    browser = Browser(chrome)
    assert browser.complaints is not None  # those of before are forgotten
    browser.open(site.url)
    yield browser
    assert browser.complaints == []
    assert browser.run("return window.hacked ?? null") is None
    chrome.get("about:blank")


@pytest.fixture
def jobs(real_url: str) -> Iterator[JobQueueService]:
    with JobQueueService(real_url) as service:
        yield service


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.go_on.set()
    stage.end.set()


@pytest.fixture
def working(real_url: str, stage: Stage) -> Callable[[], Any]:
    def start() -> Any:
        return Worker(["export", "broken"], real_url, registry=stage.registry, retries=0).in_thread()

    return start

"""Servers of one's own, both kinds of handles, and Python processes of their own."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from redqueue import AsyncJobQueueService, AsyncQueue, JobQueueService, Queue
from redqueue.core.keys import Keys
from redqueue.embedded import PrivateServer


@pytest.fixture(scope="session")
def _server() -> Iterator[PrivateServer]:
    with PrivateServer() as server:
        yield server


@pytest.fixture
def server(_server: PrivateServer) -> Iterator[PrivateServer]:
    """A server of the session's, without data, that is still there at the end of the test."""
    with redis.Redis.from_url(_server.url) as client:
        client.flushall()
        yield _server


@pytest.fixture
def own_server() -> Iterator[PrivateServer]:
    """A server of the test's, to be killed, paused and reconfigured."""
    with PrivateServer() as server:
        yield server


@pytest.fixture
def admin(server: PrivateServer) -> Iterator[Any]:
    """A client of the test's for what users don't do."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        yield client


@pytest.fixture
def keys() -> Keys:
    return Keys("q", "redqueue")


@pytest.fixture
def python() -> Callable[..., str]:
    """Runs a script in a Python of its own with warnings as errors; what it printed. Fails when it fails."""

    def run(script: str, *arguments: object) -> str:
        command = [sys.executable, "-X", "dev", "-W", "error", "-c", script, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr, done.stderr
        return done.stdout

    return run


class Handles:
    """The handles for threads, or those for tasks, so that a test says once what both do."""

    def __init__(self, kind: str) -> None:
        self.queue: Any = Queue if kind == "sync" else AsyncQueue
        self.service: Any = JobQueueService if kind == "sync" else AsyncJobQueueService
        self._loop = asyncio.Runner()

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

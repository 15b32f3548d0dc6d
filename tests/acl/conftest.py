"""A server with three users, and all that each of them may do."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import pytest
import redis

from redqueue import Discard, JobContext, Queue, ServiceRegistry, Snooze, Worker
from redqueue.core import acl
from redqueue.core.acl import Role
from redqueue.embedded import PrivateServer

GUARD: Final = 20


class Guarded:
    """A server on a port, its administrator, and the users that the rules make."""

    def __init__(self, server: PrivateServer, admin: Any) -> None:
        self.server = server
        self.admin = admin

    def url(self, role: Role) -> str:
        return f"redis://redqueue-{role}:secret@127.0.0.1:{self.server.port}/0"

    def allow(self, role: Role, *more: str, **options: Any) -> None:
        """Make the user anew, with that beside or without."""
        line = acl.setuser(role, prefix="redqueue", **options).replace("PASSWORD", "secret")
        self.admin.execute_command(*line.split(), *more)

    def queue(self, role: Role, **options: Any) -> Queue:
        return Queue("q", self.url(role), **options)

    def used(self) -> set[str]:
        """The commands that were carried out since the count began."""
        return {name.removeprefix("cmdstat_") for name in self.admin.info("commandstats")}

    def count_anew(self) -> None:
        self.admin.config_resetstat()

    def audit(self) -> list[str]:
        with Queue("q", self.server.url) as queue:
            return list(queue.audit())


@pytest.fixture(scope="module")
def _server() -> Iterator[PrivateServer]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with PrivateServer(port=port) as server:
        yield server


@pytest.fixture
def guarded(_server: PrivateServer) -> Iterator[Guarded]:
    with redis.Redis(unix_socket_path=str(_server.socket), decode_responses=True, protocol=2) as admin:
        admin.flushall()
        admin.script_flush()
        made = Guarded(_server, admin)
        for role in acl.SCRIPTS:
            made.allow(role)
        yield made


def produce(queue: Queue) -> None:
    """All that a producer does."""
    queue.add("t", 1, job_id="one")
    queue.add("t", 1, job_id="one")
    queue.add("t", 2, delay=60, priority=3, job_id="later", expires_in=5)
    queue.add("t", 3, lifo=True)
    queue.add("t", 4, delay=30, job_id="sooner")
    queue.add_many([("t", n) for n in range(3)])
    queue.cancel("one", "not wanted")
    queue.cancel("later")
    look(queue)


def look(queue: Queue) -> None:
    """All that a reader does, but for the audit."""
    queue.get_stats()
    queue.get_status("one")
    queue.get_data("sooner")
    queue.get_logs("one")
    for newest in (True, False):
        for state in ("waiting", "delayed", "cancelled"):
            queue.jobs(state, newest=newest)
    with suppress(Exception):
        queue.job("one").result(0.05)
    with suppress(TimeoutError, LookupError):
        queue.job("sooner").result(0.05)
    for event in queue.events(since="0"):
        assert event.kind
        break


def registry_of() -> ServiceRegistry:
    registry = ServiceRegistry()

    @registry.processor("t")
    async def t(data: Any, context: JobContext) -> Any:
        await context.progress(0.5, "half")
        await context.checkpoint({"at": data})
        context.log("a line")
        return "x" * 2000 if data == 3 else data

    @registry.processor("flaky", retries=1, backoff=0)
    async def flaky(data: Any, context: JobContext) -> None:
        if context.attempt == 1:
            raise RuntimeError("again")

    @registry.processor("snoozing")
    async def snoozing(data: Any, context: JobContext) -> None:
        if context.restored is None:
            await context.checkpoint(1)
            raise Snooze(0.05, "later")

    @registry.processor("failing")
    async def failing(data: Any) -> None:
        raise Discard("no")

    @registry.processor("long")
    async def long(data: Any) -> None:
        await asyncio.sleep(60)

    return registry


async def work(url: str, act: Callable[[threading.Event], None]) -> None:
    """A worker that does all a worker does, while somebody acts in a thread, who is told when it ended early."""
    worker, ended = Worker(["q"], url, registry=registry_of(), lease=1, keep_completed=5), threading.Event()
    serving = asyncio.create_task(worker.serve())
    serving.add_done_callback(lambda _: ended.set())
    try:
        await asyncio.to_thread(act, ended)
    finally:
        await worker.stop()
        await serving


STEERING: Final[Sequence[Callable[[Queue], object]]] = (
    lambda queue: queue.add("t", 1, job_id="a", delay=60),
    lambda queue: queue.add("t", 1, job_id="b", delay=60),
    lambda queue: queue.promote("b"),
    lambda queue: queue.cancel("a"),
    lambda queue: queue.retry("a"),
    lambda queue: queue.retry("a", fresh=False),
    lambda queue: queue.remove("a"),
    lambda queue: queue.pause(),
    lambda queue: queue.resume(),
    lambda queue: queue.add("t", 1, keep_completed=timedelta(hours=1)),
    lambda queue: queue.clean("waiting", limit=1),
    lambda queue: queue.clean("cancelled"),
    lambda queue: queue.drain(delayed=True),
    lambda queue: queue.audit(),
    lambda queue: queue.obliterate(force=True),
)
"""All that only a worker's user may do to a queue."""


def steer(queue: Queue) -> None:
    """Do all of it."""
    for step in STEERING:
        step(queue)

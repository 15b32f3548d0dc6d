"""Many jobs, connections and failures: each call stays bounded, and what is over leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
from collections import Counter
from typing import Any, Final

import pytest
from tests.worker.conftest import Ghost

from redqueue import AsyncQueue, ServiceRegistry, Worker
from redqueue.embedded import PrivateServer
from redqueue.testing import advance_async

from .conftest import Ran, all_done, until
from .outages import client_of

MANY: Final = 100_000 if os.environ.get("REDQUEUE_SLOW") else 5_000


@pytest.fixture
def nothing() -> ServiceRegistry:
    registry = ServiceRegistry()

    @registry.processor("nothing")
    async def nothing(data: Any) -> None:
        pass

    @registry.processor("fail")
    async def fail(data: Any) -> None:
        raise ValueError(data)

    return registry


async def test_all_jobs_that_are_due_at_the_same_moment_run(
    nothing: ServiceRegistry, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """More than one script could name at once.

    Faults: S16.
    """
    await shared_queue.add_many([("nothing", n) for n in range(MANY)], delay=3600)
    await advance_async(shared_queue, 3600)
    async with Worker(["q"], shared_server.url, registry=nothing, concurrency=200):
        await all_done(shared_queue, MANY, 120)


async def test_all_jobs_of_a_dead_worker_run_however_many(
    nothing: ServiceRegistry, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """Faults: L01, S16."""
    count = MANY // 2
    await shared_queue.add_many([("nothing", n) for n in range(count)])
    ghost, claimed = Ghost(shared_queue, 1000), 0
    while claimed < count:
        claimed += len(await ghost.claim(1000))
    assert (await shared_queue.get_stats()).active == count
    await ghost.recover()
    await advance_async(shared_queue, 10)
    async with Worker(["q"], shared_server.url, registry=nothing, lease=1, concurrency=200):
        await all_done(shared_queue, count, 120)


async def test_a_sweep_sees_all_that_was_there_while_others_add(shared_queue: AsyncQueue) -> None:
    """Faults: S16, O03."""
    await shared_queue.add_many([("nothing", n) for n in range(MANY)], priority=1)
    draining = asyncio.create_task(shared_queue.drain())
    later = 0
    while not draining.done():
        await shared_queue.add("nothing", job_id=f"later{later}", priority=2)
        later += 1
    removed = await draining
    left = await shared_queue.jobs("waiting", 0, 1000)
    assert later > 3
    assert removed >= MANY
    assert {job.job_id for job in left} <= {f"later{n}" for n in range(later)}
    assert removed + (await shared_queue.get_stats()).waiting == MANY + later


async def test_a_worker_that_ran_many_jobs_keeps_nothing_of_them(
    nothing: ServiceRegistry,
    shared_server: PrivateServer,
    shared_queue: AsyncQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither of those that succeeded nor of those that failed: no job, no exception, no traceback.

    Faults: M02, M05, M09.
    """
    monkeypatch.setattr(logging.getLogger("redqueue.worker"), "disabled", True)  # pytest keeps what is logged
    async with Worker(["q"], shared_server.url, registry=nothing, concurrency=50) as worker:
        await _run(shared_queue, worker, 200)
        before = _counted()
        await _run(shared_queue, worker, 2000)
        after = _counted()
    grown = {name: count - before[name] for name, count in after.items() if count - before[name] > 200}
    assert grown == {}
    stats = await shared_queue.get_stats()
    assert (stats.kept_completed, stats.kept_failed) == (10, 50)


async def _run(queue: AsyncQueue, worker: Worker, count: int) -> None:
    assert worker._shift is not None
    (pump,) = worker._shift._pumps
    await queue.add_many([("fail" if n % 2 else "nothing", n) for n in range(count)], retries=0)

    async def is_idle() -> bool:
        stats = await queue.get_stats()
        return (stats.waiting, stats.active) == (0, 0) and not (pump.held or pump.backlog or len(pump._outbox))

    await until(is_idle, 60)


def _counted() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__qualname__ for one in gc.get_objects())


async def test_losing_its_connections_again_and_again_leaks_none(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """Neither a worker's nor those of who waits for a result.

    Faults: M04.
    """
    with client_of(shared_server) as admin:
        async with ran.worker(shared_server.url, lease=0.5):
            waiting = [asyncio.ensure_future((await shared_queue.add("hold", n)).result(60)) for n in range(3)]
            await ran.wait_until(lambda: len(ran.starts) == 3)
            before = len(admin.client_list())
            kills = 0
            for _ in range(60):
                kills += int(admin.client_kill_filter(_type="normal", skipme=True))
                await asyncio.sleep(0.02)
            await asyncio.sleep(1)
            assert len(admin.client_list()) <= before + 6
            ran.go.set()
            await asyncio.wait_for(asyncio.gather(*waiting), 20)
    assert kills > 20


async def test_workers_that_died_are_forgotten(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """By the renewals of those that live, an hour after they were seen last.

    Faults: M08.
    """
    name = shared_queue._keys["sessions"]
    with client_of(shared_server) as admin:
        seconds, _ = admin.time()
        admin.zadd(name, {f"dead{n}": (seconds - 3700) * 1000 + n for n in range(1000)})
        async with ran.worker(shared_server.url, lease=0.5):

            async def are_gone() -> bool:
                return int(admin.zcard(name)) == 1

            await until(are_gone, 5)


ADDER: Final = """
import sys, time
from redqueue import Queue
with Queue("q", sys.argv[1]) as queue:
    queue.get_stats()
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(queue.add("t", job_id=f"same{n}").answer == "created" for n in range(50)))
"""


def test_of_processes_that_add_the_same_ids_at_once_each_makes_its_share(
    shared_server: PrivateServer, real_url: str
) -> None:
    """Whether an id is known and its being stored are one step.

    Faults: D07.
    """
    command = [sys.executable, "-c", ADDER, real_url]
    pipe = subprocess.PIPE
    adders = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    try:
        for adder in adders:
            assert adder.stdout is not None and adder.stdout.readline() == "ready\n"
        for adder in adders:
            assert adder.stdin is not None
            adder.stdin.write("go\n")
            adder.stdin.flush()
        created = [int(adder.communicate(timeout=30)[0]) for adder in adders]
    finally:
        for adder in adders:
            adder.kill()
            adder.wait()
    assert sum(created) == 50

"""What may happen between a worker and Redis: lost calls and answers, cut connections, restarts, a full server."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError

from redqueue import AsyncQueue, RedisFull, RedisRefused, ServiceRegistry, Worker
from redqueue.client.transport import AsyncTransport
from redqueue.embedded import PrivateServer

from .conftest import MakeWorker


@pytest.fixture
def admin(real_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(real_url) as client:
        yield client


@pytest.fixture
def counted(registry: ServiceRegistry) -> Counter[int]:
    """How often each job of the type "count" ran."""
    ran: Counter[int] = Counter()

    @registry.processor("count")
    async def count(data: int) -> None:
        ran[data] += 1
        await asyncio.sleep(0.001)

    return ran


async def all_done(queue: AsyncQueue, count: int, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while (await queue.get_stats()).succeeded < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("lost", ["calls", "answers"])
async def test_lost_calls_and_answers_cost_no_job_and_no_second_run(
    counted: Counter[int],
    queue: AsyncQueue,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    """Each trip is sent again with the same number, and is answered as the first time."""
    chance, faults = random.Random(7), 0
    send = AsyncTransport.send

    async def lossy(self: AsyncTransport, call: Any) -> Any:
        nonlocal faults
        if call.script.name not in ("pump", "recover", "leave") or chance.random() < 0.6:
            return await send(self, call)
        faults += 1
        if lost == "answers":
            await send(self, call)
        raise ConnectionError("Connection closed by server.")

    await queue.add_many([("count", n) for n in range(300)])
    monkeypatch.setattr(AsyncTransport, "send", lossy)
    async with make_worker(concurrency=20, prefetch=0):
        await all_done(queue, 300)
    assert faults > 3
    assert counted == Counter(range(300))


async def test_an_add_whose_answer_is_lost_stores_one_job(queue: AsyncQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    send, faults = AsyncTransport.send, 0

    async def lossy(self: AsyncTransport, call: Any) -> Any:
        nonlocal faults
        answer = await send(self, call)
        if call.script.name == "add" and faults % 3 < 2:
            faults += 1
            raise ConnectionError("Connection closed by server.")
        faults += call.script.name == "add"
        return answer

    monkeypatch.setattr(AsyncTransport, "send", lossy)
    jobs = [await queue.add("count", n) for n in range(3)]
    assert faults == 9
    assert [job.answer for job in jobs] == ["created"] * 3
    assert (await queue.get_stats()).waiting == 3


async def test_cut_connections_cost_no_job_and_no_second_run(
    counted: Counter[int], queue: AsyncQueue, make_worker: MakeWorker, admin: redis.Redis
) -> None:
    cuts = 0
    await queue.add_many([("count", n) for n in range(500)])
    async with make_worker(concurrency=5):
        while (await queue.get_stats()).succeeded < 500:
            cuts += int(admin.client_kill_filter(_type="normal", skipme=True))
            await asyncio.sleep(0.03)
    assert cuts > 2
    assert counted == Counter(range(500))


async def test_a_server_that_forgot_its_scripts_gets_them_again(
    counted: Counter[int], queue: AsyncQueue, make_worker: MakeWorker, admin: redis.Redis
) -> None:
    """Faults: R03."""
    async with make_worker():
        for n in range(5):
            admin.script_flush()
            await queue.add("count", n)
            await all_done(queue, n + 1)
    assert counted == Counter(range(5))


async def test_a_worker_goes_on_after_a_restart_of_the_server(counted: Counter[int], registry: ServiceRegistry) -> None:
    """Faults: L12."""
    with PrivateServer(appendonly=True) as server:
        async with AsyncQueue("q", server.url) as queue:
            await queue.add_many([("count", n) for n in range(50)])
            async with Worker(["q"], server.url, registry=registry):
                await all_done(queue, 50)
                await queue.add("count", 50, delay=0.5)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(0.3)
                await asyncio.to_thread(server.start)
                back = time.monotonic()
                await queue.add("count", 51)
                await all_done(queue, 52)
                assert time.monotonic() - back < 5
    assert counted == Counter(range(52))


async def test_a_job_that_runs_through_an_outage_is_recorded_and_not_run_again(
    registry: ServiceRegistry,
) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @registry.processor("hold")
    async def hold(data: Any) -> str:
        ran.append("ran")
        started.set()
        await go.wait()
        return "done"

    with PrivateServer(appendonly=True, arguments=["--appendfsync", "always"]) as server:
        async with AsyncQueue("q", server.url) as queue:
            await queue.add("hold", job_id="x")
            async with (
                Worker(["q"], server.url, registry=registry, lease=1),
                Worker(["q"], server.url, registry=registry, lease=1),
            ):
                await asyncio.wait_for(started.wait(), 5)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(1.5)
                go.set()
                await asyncio.to_thread(server.start)
                await all_done(queue, 1)
            status = await queue.get_status("x")
    assert status is not None
    assert (status.result, ran) == ("done", ["ran"])


async def test_a_server_that_stands_still_for_longer_than_a_lease_costs_no_second_run(
    registry: ServiceRegistry,
) -> None:
    """Faults: D19."""
    started, go = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @registry.processor("hold")
    async def hold(data: Any) -> None:
        ran.append("ran")
        started.set()
        await go.wait()

    with PrivateServer() as server:
        async with AsyncQueue("q", server.url) as queue:
            await queue.add("hold", job_id="x")
            async with (
                Worker(["q"], server.url, registry=registry, lease=1),
                Worker(["q"], server.url, registry=registry, lease=1),
            ):
                await asyncio.wait_for(started.wait(), 5)
                server.pause()
                await asyncio.sleep(2)
                server.resume()
                await asyncio.sleep(1)
                go.set()
                await all_done(queue, 1)
    assert ran == ["ran"]


async def test_a_worker_drains_a_full_server(
    counted: Counter[int], queue: AsyncQueue, make_worker: MakeWorker, admin: redis.Redis
) -> None:
    """Faults: R01."""
    await queue.add_many([("count", n) for n in range(100)])
    admin.config_set("maxmemory", 1)
    try:
        with pytest.raises(RedisFull):
            await queue.add("count", 100)
        async with make_worker():
            # Entering needs memory; a worker that is at work needs none.
            admin.config_set("maxmemory", 1)
            await all_done(queue, 100)
    finally:
        admin.config_set("maxmemory", 0)
    assert counted == Counter(range(100))


def take_rights(admin: redis.Redis) -> None:
    admin.acl_setuser("limited", enabled=True, commands=["-evalsha", "-eval"])


def change_password(admin: redis.Redis) -> None:
    admin.acl_setuser("limited", enabled=True, passwords=["-right", "+another"])
    for client in admin.client_list():
        if client["user"] == "limited":
            admin.client_kill_filter(_id=client["id"])


@pytest.mark.no_audit  # the lease of the job that is held is left to end
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize(("refuse", "why"), [(take_rights, "ACL"), (change_password, "password")])
async def test_a_worker_that_redis_refuses_ends_at_once_and_says_why(
    registry: ServiceRegistry,
    queue: AsyncQueue,
    server: PrivateServer,
    admin: redis.Redis,
    refuse: Callable[[redis.Redis], None],
    why: str,
    busy: bool,
) -> None:
    """It waits for no job whose outcome nobody would take: that is cancelled.

    Faults: A12.
    """
    started, cancelled = asyncio.Event(), asyncio.Event()

    @registry.processor("hold")
    async def hold(data: None) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    if busy:
        await queue.add("hold")
    admin.acl_setuser("limited", enabled=True, passwords=["+right"], commands=["+@all"], keys=["*"])
    mark = "&" if "?" in server.url else "?"
    worker = Worker(["q"], f"{server.url}{mark}username=limited&password=right", registry=registry, lease=1)
    try:
        serving = asyncio.create_task(worker.serve())
        async with asyncio.timeout(5):
            while (await queue.get_stats()).workers == 0 or started.is_set() < busy:
                await asyncio.sleep(0.01)
        refuse(admin)
        since = time.monotonic()
        with pytest.raises(RedisRefused, match=why):
            await asyncio.wait_for(serving, 60)
        assert time.monotonic() - since < 4  # shorter than any time that a worker gives its outcomes
    finally:
        admin.acl_deluser("limited")
    assert cancelled.is_set() == busy

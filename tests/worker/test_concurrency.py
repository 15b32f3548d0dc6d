"""How many jobs run at once, over all queues, and which come next."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from typing import Any

import pytest

from redqueue import AsyncQueue, ServiceRegistry, Worker

from .conftest import MakeWorker, Work


class Gauge:
    """How many are inside at once; each stays until as many as expected are."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.inside = 0
        self.most = 0
        self.full = asyncio.Event()

    async def visit(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        if self.inside >= self.expected:
            self.full.set()
        await asyncio.wait_for(self.full.wait(), 5)
        await asyncio.sleep(0)
        self.inside -= 1


@pytest.mark.parametrize("concurrency", [1, 2, 7])
async def test_as_many_coroutines_run_at_once_as_allowed_and_no_more(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, concurrency: int
) -> None:
    gauge = Gauge(concurrency)

    @registry.processor("visit")
    async def visit(data: Any) -> None:
        await gauge.visit()

    await queue.add_many([("visit", n) for n in range(40)])
    await work(concurrency=concurrency)
    assert gauge.most == concurrency
    assert (await queue.get_stats()).succeeded == 40


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_as_many_threads_run_at_once_as_allowed_and_no_more(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, concurrency: int
) -> None:
    barrier = threading.Barrier(concurrency)
    lock, inside, most = threading.Lock(), 0, 0

    @registry.processor("visit")
    def visit(data: Any) -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        barrier.wait(5)
        with lock:
            inside -= 1

    await queue.add_many([("visit", n) for n in range(concurrency * 5)])
    await work(concurrency=concurrency)
    assert most == concurrency
    assert (await queue.get_stats()).succeeded == concurrency * 5


async def test_one_slow_job_does_not_hold_up_the_others(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    finished, go = asyncio.Event(), asyncio.Event()
    left = 50

    @registry.processor("slow")
    async def slow(data: Any) -> None:
        await go.wait()

    @registry.processor("quick")
    async def quick(data: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            finished.set()

    await queue.add("slow")
    await queue.add_many([("quick", n) for n in range(50)])
    async with make_worker(concurrency=2):
        await asyncio.wait_for(finished.wait(), 5)
        go.set()
    assert (await queue.get_stats()).succeeded == 51


async def test_each_queue_can_have_a_concurrency_of_its_own(
    registry: ServiceRegistry, real_url: str, make_worker: MakeWorker
) -> None:
    gauges = {"one": Gauge(1), "three": Gauge(3)}

    @registry.processor("visit")
    async def visit(data: str) -> None:
        await gauges[data].visit()

    for name in gauges:
        async with AsyncQueue(name, real_url) as queue:
            await queue.add_many([("visit", name)] * 12)
    worker = make_worker(queues={"one": 1, "three": 3}, burst=True)
    assert worker.concurrency == 4
    await asyncio.wait_for(worker.serve(), 20)
    assert {name: gauge.most for name, gauge in gauges.items()} == {"one": 1, "three": 3}


async def test_several_queues_share_the_slots_and_each_gets_its_turn(
    registry: ServiceRegistry, real_url: str, make_worker: MakeWorker
) -> None:
    gauge, order = Gauge(3), list[str]()

    @registry.processor("visit")
    async def visit(data: str) -> None:
        order.append(data)
        await gauge.visit()

    for name in ("a", "b"):
        async with AsyncQueue(name, real_url) as queue:
            await queue.add_many([("visit", name)] * 30)
    # What is prefetched runs before another queue's first answer, however late that comes on a busy machine.
    await asyncio.wait_for(make_worker("a", "b", concurrency=3, prefetch=0, burst=True).serve(), 20)
    assert gauge.most == 3
    assert Counter(order) == {"a": 30, "b": 30}
    # Neither queue waits until the other is empty.
    assert set(order[:20]) == {"a", "b"}


@pytest.mark.parametrize("prefetch", [None, 0, 20])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_queue_that_is_never_empty_does_not_starve_another(
    registry: ServiceRegistry, real_url: str, make_worker: MakeWorker, prefetch: int | None, concurrency: int
) -> None:
    busy, quiet = AsyncQueue("busy", real_url), AsyncQueue("quiet", real_url)
    warm, done = asyncio.Event(), asyncio.Event()
    ran = 0

    @registry.processor("refill")
    async def refill(data: Any) -> None:
        nonlocal ran
        ran += 1
        if ran == 100:
            warm.set()
        if not done.is_set():
            await busy.add_many([("refill", None)] * 2 if ran % 2 else [])

    @registry.processor("once")
    async def once(data: Any) -> None:
        done.set()

    await busy.add_many([("refill", None)] * 10)
    async with make_worker("busy", "quiet", concurrency=concurrency, prefetch=prefetch):
        await asyncio.wait_for(warm.wait(), 5)
        await quiet.add("once")
        await asyncio.wait_for(done.wait(), 5)
    await busy.close()
    await quiet.close()


async def test_without_names_a_worker_works_on_all_that_its_registry_names(
    registry: ServiceRegistry, real_url: str
) -> None:
    ran: list[str] = []

    @registry.processor("sms")
    async def sms(data: Any) -> None:
        ran.append("sms")

    @registry.processor("email")
    async def email(data: Any) -> None:
        ran.append("email")

    registry.register_task("note", lambda: ran.append("task"))
    from redqueue import AsyncJobQueueService

    async with AsyncJobQueueService(real_url, registry=registry) as service:
        await service.add_job("sms", 1)
        await service.add_job("email", 1)
        await service.execute_task("", "note")
        await asyncio.wait_for(Worker(None, real_url, registry=registry, burst=True).serve(), 20)
    assert sorted(ran) == ["email", "sms", "task"]


async def test_a_priority_job_is_next_when_a_slot_gets_free(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    ran: list[str] = []
    running, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @registry.processor("step")
    async def step(data: str) -> None:
        ran.append(data)
        running.set()
        await go.wait()
        if len(ran) == 4:
            done.set()

    await queue.add_many([("step", "first"), ("step", "second"), ("step", "third")])
    async with make_worker(concurrency=1, prefetch=0):
        await asyncio.wait_for(running.wait(), 5)
        await queue.add("step", "urgent", priority=-10)
        go.set()
        await asyncio.wait_for(done.wait(), 5)
    assert ran == ["first", "urgent", "second", "third"]


async def test_without_prefetch_nothing_is_claimed_that_cannot_run_now(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    active: list[int] = []

    @registry.processor("count")
    async def count(data: Any) -> None:
        active.append((await queue.get_stats()).active)

    await queue.add_many([("count", n) for n in range(30)])
    await asyncio.wait_for(make_worker(concurrency=2, prefetch=0, burst=True).serve(), 20)
    assert max(active) <= 2


async def test_short_jobs_are_prefetched_and_long_ones_are_not(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    active: list[int] = []

    @registry.processor("count")
    async def count(data: float) -> None:
        active.append((await queue.get_stats()).active)
        await asyncio.sleep(data)

    await queue.add_many([("count", 0)] * 200)
    await asyncio.wait_for(make_worker(concurrency=1, burst=True).serve(), 20)
    assert max(active) > 2
    active.clear()
    await queue.add_many([("count", 0.06)] * 8)
    await asyncio.wait_for(make_worker(concurrency=1, burst=True).serve(), 20)
    assert max(active) <= 1


async def test_prefetched_jobs_that_a_long_one_holds_up_go_back(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, until: Any
) -> None:
    """Faults: S21."""
    ran: list[int] = []
    go = asyncio.Event()

    @registry.processor("step")
    async def step(data: int) -> None:
        ran.append(data)
        if data == 0:
            await go.wait()

    await queue.add_many([("step", n) for n in range(20)])

    async def all_but_the_long_one_are_back() -> bool:
        stats = await queue.get_stats()
        return (stats.active, stats.waiting) == (1, 19)

    async with make_worker(concurrency=1, prefetch=10):
        await until(all_but_the_long_one_are_back)
        async with make_worker(concurrency=1):
            async with asyncio.timeout(5):
                while len(ran) < 10:
                    await asyncio.sleep(0.01)
        go.set()


async def test_two_workers_share_a_queue_and_run_each_job_once(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    ran: list[int] = []
    done = asyncio.Event()

    @registry.processor("note")
    async def note(data: int) -> None:
        ran.append(data)
        if len(ran) == 500:
            done.set()

    async with make_worker(concurrency=5), make_worker(concurrency=5):
        await queue.add_many([("note", n) for n in range(500)])
        await asyncio.wait_for(done.wait(), 10)
    assert sorted(ran) == list(range(500))
    assert (await queue.get_stats()).succeeded == 500


async def test_an_idle_worker_starts_a_job_at_once_and_a_delayed_one_when_it_is_due(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    loop = asyncio.get_running_loop()
    started: dict[str, float] = {}
    both = asyncio.Event()

    @registry.processor("note")
    async def note(data: str) -> None:
        started[data] = loop.time()
        if len(started) == 2:
            both.set()

    async with make_worker():
        await queue.add("note", "later", delay=0.3)
        added = loop.time()
        await queue.add("note", "now")
        await asyncio.wait_for(both.wait(), 5)
    assert started["now"] - added < 0.2
    assert 0.29 <= started["later"] - added + 0.01 < 0.6


async def test_plain_jobs_do_not_use_the_loops_own_threads(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    """asyncio resolves host names in its default pool: jobs that fill it would stop reconnecting.

    Faults: A02.
    """
    loop = asyncio.get_running_loop()
    entered, go = asyncio.Event(), threading.Event()
    inside = 0

    @registry.processor("block")
    def block(data: Any) -> None:
        nonlocal inside
        inside += 1
        if inside == 60:
            loop.call_soon_threadsafe(entered.set)
        assert go.wait(5)

    await queue.add_many([("block", n) for n in range(60)])
    async with make_worker(concurrency=60):
        await asyncio.wait_for(entered.wait(), 5)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 1) == "free"
        go.set()

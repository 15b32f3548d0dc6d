"""Leaving in trouble: while suspects wait, when Redis refuses, when whoever serves is cancelled, or in a hurry."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
import redis
import redis.asyncio

from redqueue import AsyncQueue, ConfigurationError, Queue, RedisRefused, ServiceRegistry, Worker
from redqueue.client import shares
from redqueue.core.script import Call
from redqueue.worker import shift as shift_module
from redqueue.worker.link import Link
from redqueue.worker.pump import Pump

from .conftest import Ghost, MakeWorker, echo
from .test_wedges import Held, HeldPlain, at_once, becomes, counts, shift_of, state_of


@pytest.fixture
def held(registry: ServiceRegistry) -> Held:
    return Held(registry)


@pytest.fixture
def admin(real_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(real_url) as client:
        yield client


@pytest.fixture
async def other(real_url: str) -> AsyncIterator[AsyncQueue]:
    """The queue "other"."""
    async with AsyncQueue("other", real_url, backoff=0) as opened:
        yield opened


@pytest.fixture
async def suspect(queue: AsyncQueue) -> str:
    """A job of the type "hold" under which two workers died, the only one in line."""
    await queue.add("hold", job_id="suspect")
    for _ in range(2):
        ghost = Ghost(queue, 500)
        assert len(await ghost.claim()) == 1
        assert await ghost.let_expire() == 1
    return "suspect"


async def is_waiting(worker: Worker) -> bool:
    return bool(shift_of(worker)._slots._suspects)


async def is_hungry(worker: Worker) -> bool:
    shift = shift_of(worker)
    return bool(shift._slots._hungry) and not any(pump._in_flight for pump in shift._pumps)


async def is_stopping(worker: Worker) -> bool:
    return shift_of(worker)._pumps[0].stopping


async def never(self: Link, call: Call[Any]) -> None:
    await asyncio.Event().wait()


# -- suspects


async def test_other_queues_go_on_when_a_suspect_has_run_alone(
    held: Held, suspect: str, queue: AsyncQueue, other: AsyncQueue, make_worker: MakeWorker, admin: redis.Redis
) -> None:
    admin.delete(queue._keys["wake"])  # a token would send both queues to look again
    async with make_worker("q", "other", concurrency=1, grace=0) as worker:
        await at_once(held.started)
        await other.add("note")
        await becomes(True, lambda: is_hungry(worker))
        held.go.set()
        await at_once(held.did_note)


async def test_a_suspect_that_waits_is_not_started_only_in_its_own_queue(
    held: Held, suspect: str, other: AsyncQueue, make_worker: MakeWorker, admin: redis.Redis
) -> None:
    """What a dead worker lists as not started is not counted as crashed, so it must not list what runs."""
    await other.add("hold", job_id="runs")
    async with make_worker("other", "q", concurrency=5, grace=0) as worker:
        await becomes(True, lambda: is_waiting(worker))
        listed = []
        for pump in shift_of(worker)._pumps:
            await pump.announce()
            session = pump.keys.session(shift_of(worker)._session.id)
            listed.append(str(admin.hget(session, "u")).partition("|")[2])
    assert listed == ["'", "1:1-1'"]


async def test_while_a_suspect_runs_alone_its_worker_leaves_the_other_jobs_in_line(
    registry: ServiceRegistry, suspect: str, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    seen: list[tuple[int, int, int]] = []
    started, go = asyncio.Event(), asyncio.Event()

    @registry.processor("hold")
    async def hold(data: Any) -> None:
        seen.append(await counts(queue))
        started.set()
        await go.wait()

    registry.register_processor("note", echo)
    await queue.add_many([("note", n) for n in range(3)])
    async with make_worker(concurrency=10, grace=0) as worker:
        await at_once(started)
        await queue.add_many([("note", n) for n in range(3)])
        await shift_of(worker)._pumps[0].announce()
        assert [*seen, await counts(queue)] == [(3, 1, 0), (6, 1, 0)]
        go.set()


async def test_a_suspect_that_waits_keeps_no_job_from_others_and_is_given_back_when_its_worker_stops(
    held: Held, suspect: str, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    await queue.add("hold", job_id="runs", priority=-1)
    await queue.add_many([("note", n) for n in range(3)])
    async with make_worker(concurrency=10) as worker:
        await becomes(True, lambda: is_waiting(worker))
        await shift_of(worker)._pumps[0].announce()
        assert await counts(queue) == (3, 2, 0)
        worker.request_stop()
        await becomes("waiting", lambda: state_of(queue, suspect))
        assert await state_of(queue, "runs") == "active"
        held.go.set()
    assert await state_of(queue, "runs") == "completed"
    assert (await counts(queue), held.noted) == ((4, 0, 1), [])


async def test_a_suspect_whose_turn_comes_while_its_worker_stops_is_given_back(
    held: Held, suspect: str, queue: AsyncQueue, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce, announcing = Pump.announce, asyncio.Event()

    async def slow(self: Pump) -> None:
        await announce(self)
        announcing.set()
        while not self.stopping:
            await asyncio.sleep(0)

    monkeypatch.setattr(Pump, "announce", slow)
    async with make_worker():
        await at_once(announcing)
    assert not held.started.is_set()
    assert await counts(queue) == (1, 0, 0)


# -- refused


@pytest.mark.no_audit
@pytest.mark.parametrize("broken", ["sessions", "expiring"])
async def test_a_worker_that_one_queue_refuses_finishes_and_leaves_the_others(
    held: Held,
    queue: AsyncQueue,
    other: AsyncQueue,
    make_worker: MakeWorker,
    admin: redis.Redis,
    broken: str,
) -> None:
    """Only the heartbeat and the leave meet the first of the keys, only the recovery meets the second."""

    async def lease_end() -> Any:
        return admin.zscore(other._keys["active"], "x")

    async def is_renewed(since: Any) -> bool:
        return bool(await lease_end() > since)

    await other.add("hold", job_id="x")
    worker = make_worker("q", "other", lease=0.5)
    serving = asyncio.create_task(worker.serve())
    await at_once(held.started)
    admin.set(queue._keys[broken], "of another type")
    await becomes(True, lambda: is_stopping(worker))
    for _ in range(2):
        since = await lease_end()
        await becomes(True, partial(is_renewed, since))
    held.go.set()
    with pytest.raises(RedisRefused, match="holds something else"):
        await asyncio.wait_for(serving, 5)
    assert ((await other.get_stats()).workers, await counts(other)) == (0, (0, 0, 1))


# -- interrupted


async def test_cancelling_whoever_serves_gives_the_jobs_back_and_leaves_no_run_going_on(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    before = asyncio.all_tasks()
    await queue.add_many([("hold", n) for n in range(4)])
    serving = asyncio.create_task(make_worker(concurrency=2, prefetch=2).serve())
    await at_once(held.started)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(serving, 5)
    stats = await queue.get_stats()
    assert (stats.waiting, stats.active, stats.workers) == (4, 0, 0)
    assert held.ended.is_set()
    assert asyncio.all_tasks() == before


async def test_an_entry_that_is_interrupted_leaves_no_worker_behind(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Link, "insist", never)
    before, worker = asyncio.all_tasks(), make_worker()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), worker:
            raise AssertionError("entered")
    await asyncio.sleep(0)
    assert worker._shift is None
    assert asyncio.all_tasks() == before


# -- stopped twice, or from elsewhere


@pytest.mark.parametrize("noticed", [True, False])
async def test_leaving_after_a_requested_stop_keeps_the_grace(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker, noticed: bool
) -> None:
    await queue.add("hold", job_id="x")
    async with make_worker() as worker:
        await at_once(held.started)
        worker.request_stop()
        if noticed:
            await becomes(True, lambda: is_stopping(worker))
        asyncio.get_running_loop().call_later(0.05, held.go.set)
    assert await state_of(queue, "x") == "completed"


def test_leaving_a_worker_in_a_thread_after_a_requested_stop_keeps_the_grace(
    registry: ServiceRegistry, real_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shift_module, "CANCEL_WITHIN", 0)
    plain = HeldPlain(registry)
    with Queue("q", real_url) as queue:
        queue.add("plain")
        with Worker(["q"], real_url, registry=registry).in_thread() as worker:
            assert plain.started.wait(5)
            worker.request_stop()
            threading.Timer(0.05, plain.go.set).start()
        assert queue.get_stats().succeeded == 1


def test_stop_in_another_loop_than_the_workers_is_refused(real_url: str, registry: ServiceRegistry) -> None:
    registry.register_processor("note", echo)
    with Worker(["q"], real_url, registry=registry).in_thread() as worker:
        with pytest.raises(ConfigurationError, match=r"request_stop\(\)"):
            asyncio.run(asyncio.wait_for(worker.stop(), 2))
        assert worker._shift is not None


async def test_a_worker_that_leaves_gives_back_more_than_1000_jobs(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, full = 0, asyncio.Event()

    @registry.processor("many")
    async def many(data: Any) -> None:
        nonlocal inside
        inside += 1
        if inside == 1100:
            full.set()
        await asyncio.Event().wait()

    await queue.add_many([("many", n) for n in range(1000)])
    await queue.add_many([("many", n) for n in range(100)])
    async with make_worker(concurrency=1100, grace=0):
        await at_once(full)
        monkeypatch.setattr(shift_module, "FLUSH_WITHIN", 0.05)
        monkeypatch.setattr(Link, "deliver", never)
    assert await counts(queue) == (1100, 0, 0)


def test_a_plain_function_that_ends_after_its_worker_raises_nothing_in_its_thread(
    registry: ServiceRegistry, real_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shift_module, "CANCEL_WITHIN", 0.05)
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    plain = HeldPlain(registry)
    with Queue("q", real_url) as queue:
        queue.add("plain")
        with Worker(["q"], real_url, registry=registry, grace=0).in_thread():
            assert plain.started.wait(5)
        plain.go.set()
        (thread,) = plain.threads
        thread.join(5)
        assert (queue.get_stats().waiting, thread.is_alive(), raised) == (1, False, [])


async def test_a_cancel_that_the_blocking_read_drops_holds_no_worker_up(
    make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As redis-py does where the worker has no wires.

    Faults: A01.
    """
    watching, dropped = asyncio.Event(), 0
    execute: Any = redis.asyncio.Redis.execute_command

    async def drops(client: redis.asyncio.Redis, *words: Any) -> Any:
        nonlocal dropped
        if words[0] != "BLPOP":
            return await execute(client, *words)
        watching.set()
        while dropped < 3:  # more than a worker that leaves cancels by the way
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                dropped += 1
        raise asyncio.CancelledError

    monkeypatch.setattr(shares, "can_share", lambda client: False)
    monkeypatch.setattr(redis.asyncio.Redis, "execute_command", drops)
    worker = make_worker()
    async with worker:
        await watching.wait()
        async with asyncio.timeout(2):
            await worker.stop()
    assert dropped == 3


async def test_a_worker_that_blocks_on_its_wake_list_stops_at_once(make_worker: MakeWorker) -> None:
    worker = make_worker()
    async with worker:
        (pump,) = shift_of(worker)._pumps
        async with asyncio.timeout(2):
            while pump._watch is None:
                await asyncio.sleep(0)
            await worker.stop()

"""What once left a worker standing still, spinning or holding jobs that others could have run."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from redqueue import AsyncQueue, Queue, ServiceRegistry, Worker
from redqueue.core import steer
from redqueue.core.lease import MOST_BYTES, Claimed, Settles
from redqueue.embedded import PrivateServer
from redqueue.testing import advance_async
from redqueue.worker.pump import Pump
from redqueue.worker.runner import Runner
from redqueue.worker.shift import Shift

from .conftest import Ghost, MakeWorker, echo


class Held:
    """Jobs of type "hold" stay until told to go on; those of type "note" are noted with their data."""

    def __init__(self, registry: ServiceRegistry) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.ended = asyncio.Event()
        self.noted: list[Any] = []
        self.did_note = asyncio.Event()
        registry.register_processor("hold", self.hold)
        registry.register_processor("note", self.note)

    async def hold(self, data: Any) -> None:
        self.started.set()
        try:
            await self.go.wait()
        finally:
            self.ended.set()

    async def note(self, data: Any) -> None:
        self.noted.append(data)
        self.did_note.set()


class HeldPlain:
    """The same in a thread, of the type "plain"."""

    def __init__(self, registry: ServiceRegistry) -> None:
        self.started, self.go = threading.Event(), threading.Event()
        self.threads: list[threading.Thread] = []
        registry.register_processor("plain", self.hold)

    def hold(self, data: Any) -> None:
        self.threads.append(threading.current_thread())
        self.started.set()
        assert self.go.wait(5)


@pytest.fixture
def held(registry: ServiceRegistry) -> Held:
    return Held(registry)


@pytest.fixture
def admin(real_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(real_url) as client:
        yield client


async def at_once(event: asyncio.Event) -> None:
    """Sooner than what wakes a worker every 4.2 s could have helped."""
    await asyncio.wait_for(event.wait(), 4)


async def becomes(wanted: object, ask: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(4):
        while await ask() != wanted:
            await asyncio.sleep(0.005)


async def state_of(queue: AsyncQueue, job_id: str) -> str:
    status = await queue.get_status(job_id)
    assert status is not None
    return status.state


async def counts(queue: AsyncQueue) -> tuple[int, int, int]:
    stats = await queue.get_stats()
    return stats.waiting, stats.active, stats.succeeded


def shift_of(worker: Worker) -> Shift:
    assert worker._shift is not None
    return worker._shift


# -- ends and slots


async def test_the_ends_of_two_plain_functions_at_the_same_moment_are_both_noticed(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    both = threading.Barrier(2)

    class Together(deque[Any]):
        def append(self, end: Any) -> None:
            super().append(end)
            both.wait(5)

    @registry.processor("meet")
    def meet(data: Any) -> None:
        both.wait(5)

    async with make_worker(concurrency=2, grace=0) as worker:
        shift_of(worker).runner._ended = Together()
        await queue.add_many([("meet", n) for n in range(2)])
        await becomes((0, 0, 2), lambda: counts(queue))


async def test_a_lost_lease_frees_its_slot_for_the_next_job(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    await queue.add("hold", job_id="x")
    async with make_worker(lease=0.5, concurrency=1):
        await at_once(held.started)
        assert await queue._runner.run(steer.remove(queue._keys, "x", force=True))
        await at_once(held.ended)
        await queue.add("note")
        await at_once(held.did_note)


async def test_a_burst_ends_after_a_lost_lease(held: Held, queue: AsyncQueue, make_worker: MakeWorker) -> None:
    await queue.add("hold", job_id="x")
    worker = make_worker(lease=0.5, burst=True)
    serving = asyncio.create_task(worker.serve())
    await at_once(held.started)
    assert await queue._runner.run(steer.remove(queue._keys, "x", force=True))
    done, _ = await asyncio.wait([serving], timeout=5)
    await worker.stop(grace=0)
    assert done


async def test_a_coroutine_that_is_cancelled_before_its_first_step_leaves_its_slot_free(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker, real_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Runner.start

    def start_and_cancel(self: Runner, pump: Pump, claimed: Claimed) -> None:
        start(self, pump, claimed)
        if claimed.id == "x":
            with Queue("q", real_url) as other:
                assert other.cancel("x") == "requested"
            self.stop(claimed, "cancelled")

    monkeypatch.setattr(Runner, "start", start_and_cancel)
    await queue.add("hold", job_id="x")
    await queue.add("note", "next")
    async with make_worker(concurrency=1, grace=0):
        await at_once(held.did_note)
    assert not held.started.is_set()
    assert await state_of(queue, "x") == "cancelled"


def limit_threads(monkeypatch: pytest.MonkeyPatch, working: int) -> None:
    """Let the system give no more threads for jobs than so many."""
    start = threading.Thread.start
    started: list[str] = []

    def limited(self: threading.Thread) -> None:
        if self.name.startswith("redqueue-job-"):
            if len(started) >= working:
                raise RuntimeError("can't start new thread")
            started.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)


async def test_a_job_waits_when_its_worker_can_start_no_thread(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults: L09."""
    registry.register_processor("plain", echo)
    async with make_worker(grace=0):
        with monkeypatch.context() as patched:
            limit_threads(patched, 0)
            await queue.add("plain", job_id="x", retries=0)
            await becomes("delayed", lambda: state_of(queue, "x"))
        status = await queue.get_status("x")
        assert status is not None
        assert (status.message, status.attempts) == ("its worker could start no thread", 0)
        await advance_async(queue, 2)
        await becomes("completed", lambda: state_of(queue, "x"))


async def test_threads_that_run_take_over_the_work_of_those_that_could_not_start(
    registry: ServiceRegistry,
    queue: AsyncQueue,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = HeldPlain(registry)
    limit_threads(monkeypatch, 1)
    async with make_worker(concurrency=4, grace=0):
        await queue.add_many([("plain", n) for n in range(4)])
        assert await asyncio.to_thread(plain.started.wait, 5)
        await becomes((0, 4, 0), lambda: counts(queue))
        plain.go.set()
        await becomes((0, 0, 4), lambda: counts(queue))
    assert (len(set(plain.threads)), caplog.text) == (1, "")


# -- the size of what is sent


async def test_a_claim_answers_with_about_4_mib_and_leaves_the_rest_at_its_place_in_line(
    queue: AsyncQueue, admin: redis.Redis
) -> None:
    line = queue._keys["waiting"]
    for n in range(12):
        await queue.add("big", "x" * 1_000_000, job_id=str(n), priority=n % 3)
    before: Any = admin.zrange(line, 0, -1, withscores=True)
    ghost, seen = Ghost(queue, 30_000), list[str]()
    await ghost.claim(0)
    for left in (7, 2):
        trip = await ghost._pump(Settles([], [], []), 100)
        assert sum(len(run.envelope) for run in trip.claimed) < MOST_BYTES + 1024 * 1024 + 1024
        seen += [run.id for run in trip.claimed]
        assert trip.more
        assert admin.zrange(line, 0, -1, withscores=True) == before[-left:]
        assert await queue.audit() == []
    last = await ghost._pump(Settles([], [], []), 100)
    assert ([*seen, *(run.id for run in last.claimed)], last.more) == ([job_id.decode() for job_id, _ in before], False)


async def test_a_claim_of_large_jobs_reads_little_more_than_it_takes(queue: AsyncQueue, admin: redis.Redis) -> None:
    for _ in range(30):
        await queue.add("big", "x" * 1_000_000)
    ghost = Ghost(queue, 30_000)
    await ghost.claim(0)
    before = admin.info("stats")["keyspace_hits"]
    trip = await ghost._pump(Settles([], [], []), 100)
    # Those that it takes, one more, and the keys that every claim looks at.
    assert (len(trip.claimed), admin.info("stats")["keyspace_hits"] - before < 20) == (5, True)


@pytest.mark.parametrize(("sizes", "taken"), [([1] * 9, 5), ([MOST_BYTES // 2] * 3, 2), ([MOST_BYTES * 2] * 2, 1)])
def test_a_trip_takes_about_4_mib_of_outcomes_and_at_least_one(sizes: list[int], taken: int) -> None:
    settles = Settles([], [], [])
    runs = [Claimed(str(n), n, 1, b"") for n in range(len(sizes))]
    for run, size in zip(runs, sizes, strict=True):
        settles.add(run, "c", bytes(size))
    first = settles.take(5)
    assert (first.runs, settles.runs) == (runs[:taken], runs[taken:])
    assert (first.size, settles.size) == (sum(sizes[:taken]), sum(sizes[taken:]))


@pytest.mark.parametrize("delay", [4, 0])
async def test_a_queue_without_a_free_slot_does_not_spin_when_a_job_is_due_or_soon_due(
    held: Held, queue: AsyncQueue, make_worker: MakeWorker, real_url: str, admin: redis.Redis, delay: float
) -> None:
    """Faults: A07."""

    def calls() -> int:
        told: Any = admin.info("commandstats")
        return int(told["cmdstat_evalsha"]["calls"])

    async with AsyncQueue("other", real_url) as other, make_worker("q", "other", concurrency=1, grace=0):
        await queue.add("hold")
        await at_once(held.started)
        await other.add("note", delay=delay)
        before = calls()
        await asyncio.sleep(0.3)
        assert calls() - before < 20


async def test_who_asks_for_nothing_wakes_nobody(queue: AsyncQueue, admin: redis.Redis) -> None:
    ghost = Ghost(queue, 30_000)
    await queue.add("note", delay=4)
    await ghost.claim(0)
    admin.delete(queue._keys["wake"])
    await ghost.claim(0)
    assert admin.exists(queue._keys["wake"]) == 0


async def test_a_worker_follows_its_address_to_the_new_primary(
    held: Held, registry: ServiceRegistry, tmp_path: Path
) -> None:
    """Faults: R04."""
    address = tmp_path / "now.sock"
    with PrivateServer() as old, PrivateServer() as new, redis.Redis.from_url(old.url) as client:
        address.symlink_to(old.socket)
        url = old.url.replace(str(old.socket), str(address))
        async with AsyncQueue("q", new.url) as queue, Worker(["q"], url, registry=registry, lease=0.5) as worker:
            session = queue._keys.session(shift_of(worker)._session.id)

            async def has_beaten() -> bool:
                return bool(client.hexists(session, "seen"))

            client.hdel(session, "seen")
            await becomes(True, has_beaten)
            address.unlink()
            address.symlink_to(new.socket)
            client.replicaof("127.0.0.1", 1)
            await queue.add("note")
            await at_once(held.did_note)

"""What becomes of runs when their worker, their queue or their server fails under them."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
import time
from typing import Any

import pytest
from redis.exceptions import ResponseError

from redqueue import AsyncQueue, JobCancelled, JobContext, Queue, RedisRefused, Worker
from redqueue.client.patience import Patience
from redqueue.client.transport import Transport
from redqueue.core.keys import FIXED
from redqueue.embedded import PrivateServer

from .conftest import Ran, all_done, until
from .outages import client_of


async def test_a_run_that_fails_while_redis_is_away_is_tried_once_more(
    ran: Ran, own_server: PrivateServer, queue: AsyncQueue
) -> None:
    """The retry waits in the worker until Redis is back, longer than the lease.

    Faults: L07.
    """

    started, attempts = asyncio.Event(), list[int]()

    @ran.registry.processor("fail-late")
    async def fail_late(data: Any, context: JobContext) -> None:
        attempts.append(context.attempt)
        started.set()
        if context.attempt == 1:
            await ran.go.wait()
            raise ValueError("while nobody listened")

    async with ran.worker(own_server.url, lease=0.5):
        job = await queue.add("fail-late", backoff=60)
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.to_thread(own_server.kill)
        ran.go.set()
        await asyncio.sleep(1)
        await asyncio.to_thread(own_server.start)

        async def is_delayed() -> bool:
            status = await job.status()
            assert status is not None
            return (status.state, status.error) == ("delayed", "ValueError: while nobody listened")

        await until(is_delayed)
        assert await queue.promote(job.id)
        await all_done(queue, 1)
    assert attempts == [1, 2]


@pytest.mark.parametrize("gone", ["lease", "deadline's holder"])
async def test_a_running_job_that_nobody_holds_any_more_runs_again(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, gone: str
) -> None:
    """Its lease is missing, or that of a worker that is gone; its place among the active ones is enough to find it.

    Faults: L17.
    """
    keys = shared_queue._keys
    async with ran.worker(shared_server.url, lease=0.5):
        await shared_queue.add("hold", 1, job_id="x")
        await ran.wait_until(lambda: ran.starts[1] == 1)
        with client_of(shared_server) as admin:
            lease = admin.hget(keys["leases"], "x").decode()
            assert lease
            if gone == "lease":
                assert admin.hdel(keys["leases"], "x") == 1
            else:
                assert admin.hset(keys["leases"], "x", "nobody" + lease[lease.index(":") :]) == 0
        await ran.wait_until(lambda: ran.starts[1] == 2)
        ran.go.set()
        await all_done(shared_queue, 1)


async def test_jobs_that_run_while_their_worker_stops_keep_their_leases(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """For the whole grace, however many leases long; another worker of the same process takes nothing over.

    Faults: D14, D16, A05.
    """
    first = ran.worker(shared_server.url, lease=0.5, grace=30)
    serving = asyncio.create_task(first.serve())
    await shared_queue.add_many([("hold", n) for n in range(3)])
    await ran.wait_until(lambda: len(ran.starts) == 3)
    async with ran.worker(shared_server.url, lease=0.5):
        first.request_stop()
        await asyncio.sleep(1.5)
        assert not serving.done()
        ran.go.set()
        await asyncio.wait_for(serving, 10)
        await all_done(shared_queue, 3)
    assert ran.starts == dict.fromkeys(range(3), 1)


async def test_a_job_that_waits_for_longer_than_many_leases_runs_once(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """Nobody holds what isn't due.

    Faults: D11.
    """
    async with ran.worker(shared_server.url, lease=0.5), ran.worker(shared_server.url, lease=0.5):
        await shared_queue.add("note", 1, delay=1.5)
        await all_done(shared_queue, 1)
        await asyncio.sleep(0.6)
    assert ran.starts == {1: 1}


async def test_a_cancel_reaches_a_worker_whose_connections_were_cut(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """The list that it listens to is asked again, and the next renewal would tell, too.

    Faults: S19.
    """
    async with ran.worker(shared_server.url, lease=60):
        job = await shared_queue.add("hold", 1)
        await ran.wait_until(lambda: ran.starts[1] == 1)
        with client_of(shared_server) as admin:
            assert int(admin.client_kill_filter(_type="normal", skipme=True)) > 1
        began = time.monotonic()
        assert await job.cancel("enough") == "requested"
        with pytest.raises(JobCancelled, match="enough"):
            await job.result(10)
        assert time.monotonic() - began < 5


@pytest.mark.no_audit
@pytest.mark.parametrize("key", FIXED)
async def test_a_key_that_was_evicted_stops_no_worker(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, key: str
) -> None:
    """What it held may be lost; jobs that are added later run, and none is held for ever.

    Faults: R02.
    """
    async with ran.worker(shared_server.url, lease=0.5, concurrency=3):
        await shared_queue.add_many([("note", n) for n in range(3)])
        await shared_queue.add("hold", "held")
        await shared_queue.add("note", "delayed", delay=60)
        await all_done(shared_queue, 3)
        await ran.wait_until(lambda: ran.starts["held"] == 1)
        with client_of(shared_server) as admin:
            admin.delete(shared_queue._keys[key])
        await shared_queue.add("note", "after")
        await ran.wait_until(lambda: ran.ends["after"] == 1, 5)
        ran.go.set()
        await ran.wait_until(lambda: ran.ends["held"] > 0, 5)


async def test_a_server_that_lost_everything_is_filled_again(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a failover to a replica that was behind: what was acknowledged and is gone can be added by its id again.

    Faults: R10.
    """
    async with ran.worker(shared_server.url, lease=0.5):
        await shared_queue.add("hold", "lost", job_id="x")
        await ran.wait_until(lambda: ran.starts["lost"] == 1)
        with client_of(shared_server) as admin:
            admin.flushall()
        assert await shared_queue.get_status("x") is None
        assert (await shared_queue.add("hold", "again", job_id="x")).answer == "created"
        await ran.wait_until(lambda: ran.starts["again"] == 1, 5)
        ran.go.set()
        await all_done(shared_queue, 1)
    assert ran.starts["again"] == 1


@pytest.mark.parametrize("last", [0, 2**32 - 2, 2**40], ids=["the first", "beyond 32 bits", "far beyond"])
async def test_jobs_of_one_priority_keep_their_order_at_every_edge(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, last: int
) -> None:
    """Priority and place are one number, which a sorted set keeps whole up to 2^53.

    Faults: O01.
    """
    with client_of(shared_server) as admin:
        admin.hset(shared_queue._keys["meta"], mapping={"seq": last, "format": "1"})
    ends = [(priority, n) for priority in (-1000, 0, 1000) for n in range(2)]
    for n in range(2):
        for priority in (1000, -1000, 0):
            await shared_queue.add("note", f"{priority} {n}", priority=priority)
    async with ran.worker(shared_server.url, concurrency=1, prefetch=0):
        await all_done(shared_queue, 6)
    assert list(ran.starts) == [f"{priority} {n}" for priority, n in ends]


@pytest.mark.parametrize("job_id", ["0", "-1", "__proto__", "nan", "1e3", "a:b", "@", "x" * 128])
async def test_an_id_is_never_taken_for_something_else(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, job_id: str
) -> None:
    """Faults: S07."""
    async with ran.worker(shared_server.url):
        job = await shared_queue.add("note", job_id, job_id=job_id)
        assert (job.id, job.answer) == (job_id, "created")
        assert await job.result(10) == job_id
        assert (await shared_queue.add("note", job_id=job_id)).answer == "duplicate"


async def test_the_id_of_a_cancelled_job_is_known_until_it_is_removed_and_says_so(shared_queue: AsyncQueue) -> None:
    """An add is never swallowed: it answers which of the two it is.

    Faults: S09.
    """
    job = await shared_queue.add("note", job_id="x")
    assert await job.cancel() == "cancelled"
    assert (await shared_queue.add("note", job_id="x")).answer == "duplicate"
    assert await shared_queue.remove("x")
    assert (await shared_queue.add("note", job_id="x")).answer == "created"


@pytest.mark.parametrize("how", ["stop", "cancel"])
async def test_a_worker_can_be_told_to_end_at_any_moment_of_its_start(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, how: str
) -> None:
    """After each number of turns of the loop; it always ends, and leaves no job and no worker behind.

    Faults: L09, S11.
    """
    await shared_queue.add_many([("note", n) for n in range(5)])
    for turns in [*range(20), *range(20, 80, 5)]:
        worker = ran.worker(shared_server.url)
        serving = asyncio.create_task(worker.serve())
        for _ in range(turns):
            await asyncio.sleep(0)
        if how == "cancel":
            serving.cancel()
        else:
            await _ask_to_stop(worker, serving)
        await asyncio.wait([serving], timeout=5)
        assert serving.done(), f"it hangs when told after {turns} turns"
        stats = await shared_queue.get_stats()
        assert (stats.workers, stats.active) == (0, 0), turns
    assert set(ran.starts.values()) <= {1}


async def _ask_to_stop(worker: Worker, serving: asyncio.Task[None]) -> None:
    """A stop before there is anything to stop does nothing; so it is asked again, as the second ask of a hurry."""
    while not serving.done():
        worker.request_stop()
        await asyncio.sleep(0.005)


async def test_a_wall_clock_that_goes_back_makes_no_run_negative(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are those of Redis; how long something took is measured by a clock that never goes back.

    Faults: C03, C06.
    """
    now, moved = time.time, 0.0
    monkeypatch.setattr(time, "time", lambda: now() + moved)
    async with ran.worker(shared_server.url, lease=0.5):
        for hours, n in ((-1, 1), (24, 2)):
            job = await shared_queue.add("hold", n, job_id=str(n))
            await ran.wait_until(lambda n=n: ran.starts[n] == 1)  # type: ignore[misc]
            moved = hours * 3600.0
            await asyncio.sleep(0.7)
            ran.go.set()
            await job.result(10)
            ran.go.clear()
            status = await job.status()
            assert status is not None and status.started_at is not None and status.completed_at is not None
            assert 0.5 < (status.completed_at - status.started_at).total_seconds() < 10
    assert ran.starts == {1: 1, 2: 1}


async def test_a_call_that_holds_the_interpreter_for_longer_than_the_lease_records_one_outcome(
    ran: Ran, shared_server: PrivateServer, shared_queue: AsyncQueue
) -> None:
    """No thread can renew a lease then: the job may run twice, and says so once.

    Faults: D03.
    """
    sleep = ctypes.PyDLL(None).usleep

    @ran.registry.processor("grab")
    def grab(data: Any) -> None:
        sleep(800_000)

    async with ran.worker(shared_server.url, lease=0.5):
        began = time.monotonic()
        job = await shared_queue.add("grab")
        await job.result(10)
        assert time.monotonic() - began > 0.7
    stats = await shared_queue.get_stats()
    assert (stats.succeeded, stats.failed, stats.active, stats.waiting) == (1, 0, 0, 0)


def test_thousands_of_tries_that_find_nobody_end_in_an_error(unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying again is a loop, not a call within a call.

    Faults: A10.
    """
    queue = Queue("q", f"redis://127.0.0.1:{unused_port}/0")
    queue._runner.patience = Patience(unsent=60, first_wait=1e-6, longest_wait=1e-6)
    tries, most, send = 0, sys.getrecursionlimit() + 100, Transport.send

    def counted(*arguments: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries > most:
            raise ResponseError("WRONGTYPE it is enough")
        return send(*arguments)

    monkeypatch.setattr(Transport, "send", counted)
    with pytest.raises(RedisRefused, match="holds something else"):
        queue.add("t")
    queue.close()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port

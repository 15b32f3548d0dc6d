"""A worker's timed right to its jobs: kept while it lives, taken back when it dies, lost when another took over."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from redqueue import AsyncQueue, JobContext, ServiceRegistry
from redqueue.core import steer
from redqueue.core.lease import Claimed
from redqueue.core.script import Call
from redqueue.testing import advance_async
from redqueue.worker.link import Link
from redqueue.worker.pump import Pump

from .conftest import Ghost, MakeWorker, Work, echo

MakeGhost = Callable[..., Ghost]


async def state_of(queue: AsyncQueue, job_id: str) -> str | None:
    status = await queue.get_status(job_id)
    return None if status is None else status.state


# -- alive


async def test_a_job_keeps_its_lease_however_long_it_runs(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    ran: list[str] = []
    done = asyncio.Event()

    @registry.processor("long")
    async def long(data: Any) -> None:
        ran.append("started")
        await asyncio.sleep(1.3)
        done.set()

    await queue.add("long", job_id="x")
    async with make_worker(lease=0.5), make_worker(lease=0.5):
        await asyncio.wait_for(done.wait(), 5)
    assert ran == ["started"]
    assert await state_of(queue, "x") == "completed"


async def test_a_blocked_event_loop_loses_no_job(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    """Faults: D02."""
    ran: list[str] = []

    @registry.processor("block")
    async def block(data: Any) -> None:
        ran.append("started")
        time.sleep(1.3)  # noqa: ASYNC251 - the very mistake

    await queue.add("block", job_id="x")
    with make_worker(lease=0.5).in_thread(), make_worker(lease=0.5).in_thread():
        async with asyncio.timeout(10):
            while await state_of(queue, "x") != "completed":
                await asyncio.sleep(0.05)
    assert ran == ["started"]


async def test_the_worker_that_joins_takes_the_lease_length_of_those_at_work(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    registry.register_processor("ok", echo)
    async with make_worker(lease=20):
        await make_worker(lease=1, burst=True).serve()
    assert "workers with a lease of 20 s are at work, so this one takes theirs instead of 1 s" in caplog.text


# -- dead


async def test_a_dead_workers_job_runs_again_soon(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, make_ghost: MakeGhost
) -> None:
    """Faults: S08."""
    done = asyncio.Event()
    seen: list[JobContext] = []

    @registry.processor("note")
    async def note(data: Any, context: JobContext) -> None:
        seen.append(context)
        done.set()

    async with make_worker(lease=1) as worker:
        await worker.stop()
    await queue.add("note", job_id="x")
    (run,) = await make_ghost(lease_ms=1000).claim()
    died = time.monotonic()
    async with make_worker(lease=1):
        await asyncio.wait_for(done.wait(), 5)
    assert time.monotonic() - died < 2
    assert run.id == "x"
    assert seen[0].attempt == 1
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts) == ("completed", 1)


async def test_a_recovered_job_keeps_its_place_in_line(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, make_ghost: MakeGhost
) -> None:
    ran: list[str] = []

    @registry.processor("note")
    async def note(data: str) -> None:
        ran.append(data)

    await queue.add("note", "first", priority=5)
    ghost = make_ghost()
    await ghost.claim()
    await queue.add("note", "second", priority=5)
    assert await ghost.let_expire() == 1
    await work(concurrency=1)
    assert ran == ["first", "second"]


async def test_a_job_whose_workers_die_three_times_is_failed_without_another_run(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, make_ghost: MakeGhost
) -> None:
    ran: list[str] = []

    @registry.processor("poison")
    async def poison(data: Any) -> None:
        ran.append("ran")

    await queue.add("poison", job_id="x", retries=100)
    for _ in range(3):
        ghost = make_ghost()
        assert [run.id for run in await ghost.claim()] == ["x"]
        assert await ghost.let_expire() == 1
    await work()
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts) == ("failed", 0)
    assert (status.error or "").startswith("WorkerCrashed: its worker died while it ran, 3 times")
    assert ran == []
    assert await queue.retry("x")
    await work()
    assert (await state_of(queue, "x"), ran) == ("completed", ["ran"])


async def test_a_job_that_crashed_its_worker_twice_runs_alone(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, make_ghost: MakeGhost
) -> None:
    inside: set[str] = set()
    beside: dict[str, set[str]] = {}

    @registry.processor("visit")
    async def visit(data: str) -> None:
        inside.add(data)
        for other in inside:
            beside.setdefault(other, set()).update(inside - {other})
        await asyncio.sleep(0.02)
        inside.discard(data)

    await queue.add("visit", "suspect")
    for _ in range(2):
        ghost = make_ghost()
        await ghost.claim()
        await ghost.let_expire()
    await queue.add_many([("visit", f"innocent{n}") for n in range(10)])
    await work(concurrency=5)
    assert beside.pop("suspect") == set()
    assert len(beside) == 10
    assert any(beside.values())
    assert (await queue.get_stats()).succeeded == 11


async def test_several_suspects_run_one_after_the_other(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, make_ghost: MakeGhost
) -> None:
    inside, most = 0, 0

    @registry.processor("visit")
    async def visit(data: int) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1

    await queue.add_many([("visit", n) for n in range(3)])
    for _ in range(2):
        ghost = make_ghost()
        assert len(await ghost.claim(3)) == 3
        await ghost.let_expire()
    await work(concurrency=5)
    assert most == 1
    assert (await queue.get_stats()).succeeded == 3


# -- taken over


async def test_the_outcome_of_a_run_that_lost_its_lease_is_not_recorded(
    registry: ServiceRegistry,
    queue: AsyncQueue,
    make_worker: MakeWorker,
    make_ghost: MakeGhost,
    caplog: pytest.LogCaptureFixture,
) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @registry.processor("slow")
    async def slow(data: Any) -> str:
        started.set()
        await go.wait()
        return "too late"

    await queue.add("slow", job_id="x")
    async with make_worker(concurrency=1):
        await asyncio.wait_for(started.wait(), 5)
        ghost = make_ghost()
        assert await ghost.let_expire() == 1
        (run,) = await ghost.claim()
        go.set()
        async with asyncio.timeout(5):
            while "its lease was lost" not in caplog.text:
                await asyncio.sleep(0.01)
        assert await state_of(queue, "x") == "active"
        assert await ghost.complete(run) == "o"
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.result) == ("completed", "by the ghost")
    assert (await queue.get_stats()).succeeded == 1


async def test_a_run_that_was_given_up_for_dead_may_still_hand_in_its_outcome(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, make_ghost: MakeGhost
) -> None:
    started, go = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    @registry.processor("slow")
    async def slow(data: Any) -> str:
        ran.append("ran")
        started.set()
        await go.wait()
        return "in time"

    await queue.add("slow", job_id="x")
    async with make_worker(concurrency=1):
        await asyncio.wait_for(started.wait(), 5)
        assert await make_ghost().let_expire() == 1
        assert await state_of(queue, "x") == "waiting"
        go.set()
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.result, ran) == ("completed", "in time", ["ran"])


async def test_a_run_that_lost_its_lease_is_told_to_stop(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    started, stopped = threading.Event(), threading.Event()
    ended = asyncio.Event()

    @registry.processor("coroutine")
    async def coroutine(data: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @registry.processor("plain")
    def plain(data: Any, context: JobContext) -> None:
        started.set()
        while not context.cancelled:
            time.sleep(0.005)
        stopped.set()
        context.raise_if_cancelled()

    await queue.add("coroutine", job_id="a")
    await queue.add("plain", job_id="b")
    async with make_worker(lease=0.5):
        assert await asyncio.to_thread(started.wait, 5)
        for job_id in ("a", "b"):
            assert await queue._runner.run(steer.remove(queue._keys, job_id, force=True))
        await asyncio.wait_for(ended.wait(), 5)
        assert await asyncio.to_thread(stopped.wait, 5)
    assert await queue.get_status("a") is None
    stats = await queue.get_stats()
    assert (stats.succeeded, stats.failed, stats.waiting) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["coroutine", "plain"])
async def test_a_cancelled_run_that_completes_all_the_same_is_completed(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, kind: str
) -> None:
    started, go = threading.Event(), threading.Event()

    @registry.processor("coroutine")
    async def coroutine(data: Any) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        return "never"

    @registry.processor("plain")
    def plain(data: Any) -> str:
        started.set()
        assert go.wait(5)
        return "done"

    await queue.add(kind, job_id="x")
    async with make_worker(lease=0.5):
        assert await asyncio.to_thread(started.wait, 5)
        assert await queue.cancel("x", "no") == "requested"
        go.set()
        async with asyncio.timeout(5):
            while await state_of(queue, "x") == "active":
                await asyncio.sleep(0.01)
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.result) == ("completed", "done")


async def test_a_cancelled_job_that_is_retried_or_snoozed_ends_as_cancelled(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    from redqueue import Snooze

    @registry.processor("itself")
    async def itself(data: str) -> None:
        assert await queue.cancel(data, "enough") == "requested"
        raise Snooze(60) if data == "snooze" else ValueError("no")

    for job_id in ("snooze", "retry"):
        await queue.add("itself", job_id, job_id=job_id, retries=5)
    await work()
    assert [await state_of(queue, job_id) for job_id in ("snooze", "retry")] == ["cancelled"] * 2


async def test_a_job_that_was_cancelled_before_it_started_in_its_worker_does_not_run(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, until: Any
) -> None:
    ran: list[int] = []
    go = asyncio.Event()

    @registry.processor("step")
    async def step(data: int) -> None:
        ran.append(data)
        await go.wait()

    await queue.add_many([("step", n, {"job_id": str(n)}) for n in range(3)])

    async def claimed() -> bool:
        return (await queue.get_stats()).active == 3

    async def cancelled() -> bool:
        return await state_of(queue, "1") == "cancelled"

    async with make_worker(concurrency=1, prefetch=5, lease=0.5):
        await until(claimed)
        assert await queue.cancel("1") == "requested"
        await until(cancelled)
        go.set()
    assert 1 not in ran


async def test_time_that_passes_wakes_an_idle_worker(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    ran = asyncio.Event()

    @registry.processor("note")
    async def note(data: Any) -> None:
        ran.set()

    await queue.add("note", delay=3600)
    async with make_worker():
        await advance_async(queue, 3601)
        await asyncio.wait_for(ran.wait(), 2)


async def test_a_job_whose_renewal_before_its_run_breaks_is_given_back_and_not_held_for_ever(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.processor("echo")(echo)
    start, deliver, broken = Pump.start, Link.deliver, list[str]()

    def start_late(pump: Pump, run: Claimed) -> None:
        run.fresh_until = 0
        start(pump, run)

    async def break_once(link: Link, call: Call[Any]) -> Any:
        if call.script.name == "renew" and not broken:
            broken.append("broken")
            raise RuntimeError("nobody foresaw this")
        return await deliver(link, call)

    monkeypatch.setattr(Pump, "start", start_late)
    monkeypatch.setattr(Link, "deliver", break_once)
    await queue.add("echo", 1, job_id="x")
    await work(concurrency=1)
    assert broken
    assert await state_of(queue, "x") == "completed"

"""Runs that take too long, in coroutines and threads, and jobs that nobody starts in time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from redqueue import AsyncQueue, JobContext, JobStatus, ServiceRegistry, WorkerStuck
from redqueue.testing import advance_async

from .conftest import MakeWorker, Work, status_of

Outcome = Callable[..., Awaitable[JobStatus]]


def says_ran(data: None) -> str:
    return "ran"


async def test_a_coroutine_that_takes_too_long_is_cancelled_and_retried(
    registry: ServiceRegistry, outcome: Outcome
) -> None:
    attempts: list[int] = []

    @registry.processor("slow", timeout=0.05)
    async def slow(data: None, context: JobContext) -> str:
        attempts.append(context.attempt)
        assert context.deadline is not None
        if context.attempt == 1:
            await asyncio.sleep(60)
        return "done"

    status = await outcome("slow", retries=1)
    assert (status.status, status.result, attempts) == ("completed", "done", [1, 2])


async def test_a_run_whose_time_was_over_before_it_began_is_not_entered(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, soon_stuck: None
) -> None:
    """Its lease is not renewed any more, so another worker may have it."""
    entered: list[str] = []

    @registry.processor("hog")
    async def hog(data: None) -> None:
        entered.append("hog")
        time.sleep(0.5)  # noqa: ASYNC251 - it holds the loop up

    @registry.processor("late", timeout=0.1)
    async def late(data: None) -> None:
        entered.append("late")

    await queue.add_many([("hog", None), ("late", None)], retries=0)
    await work(concurrency=2)
    (status,) = await queue.jobs("failed")
    assert (entered, status.job_type) == (["hog"], "late")
    assert status.error == "TimeoutError: the run took longer than its timeout of 0.1 s"


async def test_the_last_attempt_that_takes_too_long_fails_the_job(registry: ServiceRegistry, outcome: Outcome) -> None:
    told: list[str] = []

    @registry.processor("slow")
    async def slow(data: None) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            told.append("cleaned up")

    status = await outcome("slow", retries=0, timeout=0.05)
    assert status.status == "failed"
    assert status.error == "TimeoutError: the run took longer than its timeout of 0.05 s"
    assert told == ["cleaned up"]


async def test_a_processors_limit_caps_the_jobs_and_a_job_may_have_less(
    registry: ServiceRegistry, outcome: Outcome
) -> None:
    @registry.processor("capped", timeout=5)
    def capped(data: None, context: JobContext) -> float:
        assert context.deadline is not None
        return context.deadline.timestamp() - time.time()

    assert 4 < (await outcome("capped", timeout=60)).result <= 5
    assert 4 < (await outcome("capped")).result <= 5
    assert 1 < (await outcome("capped", timeout=2)).result <= 2


async def test_give_up_on_timeouts(registry: ServiceRegistry, outcome: Outcome) -> None:
    @registry.processor("slow", timeout=0.05, give_up_on=(TimeoutError,))
    async def slow(data: None) -> None:
        await asyncio.sleep(60)

    status = await outcome("slow", retries=5)
    assert (status.status, status.attempts) == ("failed", 1)


async def test_a_thread_that_looks_at_its_context_stops_in_time(registry: ServiceRegistry, outcome: Outcome) -> None:
    @registry.processor("loop", timeout=0.05)
    def loop(data: None, context: JobContext) -> None:
        while True:
            context.raise_if_cancelled()
            time.sleep(0.005)

    status = await outcome("loop", retries=0)
    assert status.error == "TimeoutError: the run took longer than its timeout of 0.05 s"


@pytest.mark.usefixtures("soon_stuck")
async def test_a_stuck_thread_loses_its_slot_and_its_late_result(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, door: threading.Event
) -> None:
    """Faults: S15."""
    ended = threading.Event()

    @registry.processor("stuck", timeout=0.05, retries=0)
    def stuck(data: None) -> str:
        door.wait(20)
        ended.set()
        return "too late"

    @registry.processor("quick")
    def quick(data: None) -> str:
        return "ran"

    job = await queue.add("stuck")
    behind = [await queue.add("quick") for _ in range(3)]
    async with make_worker(concurrency=1):
        assert [await one.result(10) for one in behind] == ["ran"] * 3
        failed = await status_of(job)
        assert failed.error == "TimeoutError: the run took longer than its timeout of 0.05 s"
        door.set()
        await asyncio.to_thread(ended.wait, 10)
        assert await (await queue.add("quick")).result(10) == "ran"
    assert (await status_of(job)).status == "failed"


@pytest.mark.usefixtures("soon_stuck")
async def test_a_coroutine_that_ignores_its_cancellation_loses_its_slot(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    """Faults: S15."""
    going_on = True

    @registry.processor("stubborn", timeout=0.05, retries=0)
    async def stubborn(data: None) -> None:
        while going_on:
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue

    @registry.processor("quick")
    async def quick(data: None) -> str:
        return "ran"

    job = await queue.add("stubborn")
    async with make_worker(concurrency=1):
        assert await (await queue.add("quick")).result(10) == "ran"
        going_on = False
    assert (await status_of(job)).status == "failed"


@pytest.mark.usefixtures("soon_stuck")
async def test_a_worker_with_too_many_stuck_threads_leaves(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, door: threading.Event
) -> None:
    @registry.processor("stuck", timeout=0.05, retries=0)
    def stuck(data: None) -> None:
        door.wait(20)

    await queue.add_many([("stuck", None)] * 5)
    with pytest.raises(WorkerStuck, match="more than the worker has slots"):
        await asyncio.wait_for(make_worker(concurrency=1).serve(), 20)


async def test_a_job_that_nobody_starts_in_time_fails_as_expired(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    ran: list[str] = []
    registry.register_processor("note", ran.append)
    late, delayed, in_time = [
        await queue.add("note", "late", expires_in=1),
        await queue.add("note", "delayed", delay=60, expires_in=1),
        await queue.add("note", "in time", expires_in=3600),
    ]
    await advance_async(queue, 30)
    await work()
    assert ran == ["in time"]
    status = await status_of(late)
    assert (status.status, status.error) == (
        "failed",
        "JobExpired: nobody started it in time: its expires_in is over",
    )
    assert (await status_of(in_time)).status == "completed"
    await advance_async(queue, 30.5)  # due, and within the second that it has from then
    await work()
    assert (await status_of(delayed)).status == "completed"
    assert (await queue.get_stats()).failed == 1


async def test_a_job_that_was_started_in_time_does_not_expire_between_attempts(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.processor("twice", backoff=60)
    def twice(data: None, context: JobContext) -> int:
        if context.attempt == 1:
            raise ValueError
        return context.attempt

    job = await queue.add("twice", expires_in=5)
    await work()
    await advance_async(queue, 61)
    await work()
    assert (await status_of(job)).result == 2


async def test_a_processor_may_say_how_old_its_jobs_may_be(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    registry.register_processor("note", says_ran, expires_in=60)
    job, young = await queue.add("note", delay=61), await queue.add("note")
    await work()
    await advance_async(queue, 62)
    # Its age is told by its producer's clock, which no test can advance on the server: so the producer's goes back.
    assert (await status_of(young)).result == "ran"
    assert (await status_of(job)).status == "pending"


@pytest.mark.parametrize("value", [0, -1, "5", True, float("nan")])
@pytest.mark.parametrize("option", ["timeout", "expires_in"])
async def test_bad_limits_are_refused(queue: AsyncQueue, option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        await queue.add("x", **{option: value})

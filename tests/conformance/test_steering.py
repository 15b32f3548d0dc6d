"""Steering jobs and queues: cancel, retry, promote, remove, pause, resume."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from redqueue.client.aio.queue import AsyncQueue
from redqueue.registry import ServiceRegistry
from redqueue.worker.worker import Worker

from .conftest import MakeQueue, Work

InLine = Callable[[], Awaitable[Sequence[str]]]


async def state_of(queue: AsyncQueue, job_id: str) -> str | None:
    status = await queue.get_status(job_id)
    return None if status is None else status.state


@pytest.mark.parametrize("options", [{}, {"delay": 60}, {"priority": 9}, {"delay": 60, "priority": -9}])
async def test_a_job_that_waits_is_cancelled_at_once(
    queue: AsyncQueue, work: Work, ran: list[Any], options: Any
) -> None:
    job = await queue.add("ok", 1, **options)
    assert await job.cancel("not wanted") == "cancelled"
    status = await job.status()
    assert status is not None
    assert (status.status, status.state, status.message, status.attempts) == ("cancelled", "cancelled", "not wanted", 0)
    assert status.completed_at is not None
    await work()
    assert ran == []
    assert (await queue.get_stats()).cancelled == 1


async def test_cancelling_a_finished_or_unknown_job_says_so(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("ok")
    await work()
    assert await job.cancel() == "finished"
    assert await queue.cancel("nobody") == "missing"
    assert (await queue.get_stats()).cancelled == 0


async def test_cancelling_twice_says_finished(queue: AsyncQueue) -> None:
    job = await queue.add("ok")
    assert await job.cancel("first") == "cancelled"
    assert await job.cancel("second") == "finished"
    status = await job.status()
    assert status is not None
    assert status.message == "first"


async def test_a_running_job_is_asked_to_stop(url: str, make_queue: MakeQueue) -> None:
    registry, queue = ServiceRegistry(), make_queue()
    started, stopped = asyncio.Event(), asyncio.Event()

    @registry.processor("long")
    async def long(data: None) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    await queue.add("long", job_id="x")
    async with Worker(["q"], url, registry=registry, lease=1):
        await asyncio.wait_for(started.wait(), 5)
        assert await queue.cancel("x", "enough") == "requested"
        await asyncio.wait_for(stopped.wait(), 5)
        while await state_of(queue, "x") == "active":
            await asyncio.sleep(0.01)
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.message, status.attempts) == ("cancelled", "enough", 0)


async def test_a_failed_job_runs_again_with_all_its_retries(queue: AsyncQueue, work: Work, ran: list[Any]) -> None:
    await queue.add("fail", 1, job_id="x", retries=1, backoff=0, priority=5)
    await work()
    assert ran == [1, 1]
    assert await queue.retry("x") is True
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts, status.error, status.completed_at) == ("waiting", 0, None, None)
    await work()
    assert ran == [1, 1, 1, 1]
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts) == ("failed", 2)


async def test_a_retry_that_is_not_fresh_counts_on(queue: AsyncQueue, work: Work, ran: list[Any]) -> None:
    await queue.add("fail", 1, job_id="x", retries=1, backoff=0)
    await work()
    assert await queue.retry("x", fresh=False) is True
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts, status.error) == ("waiting", 2, "Broken: no 1")
    await work()
    assert ran == [1, 1, 1]
    status = await queue.get_status("x")
    assert status is not None
    assert (status.state, status.attempts) == ("failed", 3)


async def test_completed_and_cancelled_jobs_run_again_too(queue: AsyncQueue, work: Work, ran: list[Any]) -> None:
    await queue.add("ok", 1, job_id="done")
    await work()
    await queue.add("ok", 2, job_id="cancelled")
    await queue.cancel("cancelled", "no")
    assert await queue.retry("done") is True
    assert await queue.retry("cancelled") is True
    status = await queue.get_status("cancelled")
    assert status is not None
    assert (status.state, status.message) == ("waiting", "retried by hand")
    await work()
    assert ran == [1, 1, 2]


async def test_a_retried_job_joins_the_end_of_its_priority(queue: AsyncQueue, work: Work, in_line: InLine) -> None:
    await queue.add("fail", 1, job_id="x", priority=-3)
    await work()
    await queue.add("ok", job_id="before", priority=-3)
    await queue.add("ok", job_id="behind", priority=-2)
    await queue.retry("x")
    assert list(await in_line()) == ["before", "x", "behind"]


async def test_what_is_not_finished_cannot_be_retried(queue: AsyncQueue, work: Work) -> None:
    await queue.add("ok", job_id="waiting")
    await queue.add("ok", job_id="delayed", delay=60)
    for job_id in ("waiting", "delayed", "nobody"):
        assert await queue.retry(job_id) is False


async def test_a_delayed_job_can_be_run_now_at_its_priority(queue: AsyncQueue, in_line: InLine) -> None:
    await queue.add("ok", job_id="later", delay=60, priority=-1)
    await queue.add("ok", job_id="now")
    assert await queue.promote("later") is True
    assert list(await in_line()) == ["later", "now"]
    assert await queue.promote("later") is False
    assert await queue.promote("nobody") is False


@pytest.mark.parametrize("state", ["waiting", "delayed", "completed", "failed", "cancelled"])
async def test_a_job_that_does_not_run_can_be_removed(queue: AsyncQueue, work: Work, state: str) -> None:
    await queue.add("fail" if state == "failed" else "ok", job_id="x", delay=60 if state == "delayed" else 0)
    if state in ("completed", "failed"):
        await work()
    if state == "cancelled":
        await queue.cancel("x")
    assert await state_of(queue, "x") == state
    assert await queue.remove("x") is True
    assert await queue.get_status("x") is None
    assert await queue.remove("x") is False


async def test_a_job_that_runs_is_not_removed(url: str, make_queue: MakeQueue) -> None:
    registry, queue = ServiceRegistry(), make_queue()
    answers: list[bool] = []

    @registry.processor("itself")
    async def itself(data: str) -> None:
        answers.append(await queue.remove(data))

    await queue.add("itself", "x", job_id="x")
    await Worker(["q"], url, registry=registry, burst=True).serve()
    assert answers == [False]
    assert await state_of(queue, "x") == "completed"


async def test_a_paused_queue_takes_jobs_and_starts_none(queue: AsyncQueue, work: Work, ran: list[Any]) -> None:
    await queue.add("ok", 1)
    await queue.pause()
    await queue.pause()
    await queue.add("ok", 2)
    await work()
    assert ran == []
    stats = await queue.get_stats()
    assert (stats.paused, stats.waiting) == (True, 2)
    await queue.resume()
    await work()
    assert ran == [1, 2]
    assert (await queue.get_stats()).paused is False


async def test_delayed_jobs_of_a_paused_queue_become_due_and_wait(
    queue: AsyncQueue, work: Work, ran: list[Any]
) -> None:
    await queue.add("ok", 1, delay=0.001)
    await queue.pause()
    await asyncio.sleep(0.01)
    await work()
    assert ran == []
    assert (await queue.get_stats()).waiting == 1


async def test_resuming_wakes_an_idle_worker(url: str, make_queue: MakeQueue) -> None:
    registry, queue, ran = ServiceRegistry(), make_queue(), asyncio.Event()

    @registry.processor("ok")
    async def ok(data: None) -> None:
        ran.set()

    await queue.pause()
    async with Worker(["q"], url, registry=registry):
        await queue.add("ok")
        await queue.resume()
        await asyncio.wait_for(ran.wait(), 2)

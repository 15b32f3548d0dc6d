"""How many finished jobs are kept, and how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import redis

from redqueue.client.aio.queue import AsyncQueue
from redqueue.registry import ServiceRegistry
from redqueue.rules import Keep
from redqueue.worker.worker import Worker

from .conftest import MakeQueue, Work
from .test_looking import let_pass

Kept = Callable[..., Awaitable[list[Any]]]


@pytest.fixture
def kept(queue: AsyncQueue) -> Kept:
    """The ids of finished jobs, the oldest first."""

    async def look(state: Any = "completed") -> list[str]:
        return [status.job_id for status in await queue.jobs(state, 0, 1000, newest=False)]

    return look


async def run_each(queue: AsyncQueue, work: Work, count: int, job_type: str = "ok", **options: Any) -> None:
    """One worker after the other: the outcomes of one leave on two lanes and may arrive in any order."""
    for n in range(count):
        await queue.add(job_type, n, job_id=f"{job_type}{n}")
        await work(**options)


async def test_by_default_ten_completed_and_fifty_failed_jobs_are_kept(
    queue: AsyncQueue, work: Work, kept: Kept
) -> None:
    """X21: what finished does not pile up.

    Faults: M09.
    """
    await queue.add_many([("ok", n) for n in range(12)])
    await queue.add_many([("fail", n) for n in range(52)])
    await work()
    stats = await queue.get_stats()
    assert (stats.succeeded, stats.kept_completed, stats.failed, stats.kept_failed) == (12, 10, 52, 50)
    assert (len(await kept()), len(await kept("failed"))) == (10, 50)


async def test_the_workers_count_keeps_the_newest(queue: AsyncQueue, work: Work, kept: Kept) -> None:
    await run_each(queue, work, 5, keep_completed=2)
    assert await kept() == ["ok3", "ok4"]


async def test_a_count_of_zero_keeps_nothing(queue: AsyncQueue, work: Work, client: redis.Redis) -> None:
    await run_each(queue, work, 3, keep_completed=0)
    await run_each(queue, work, 3, "fail", keep_failed=0)
    assert (await queue.get_stats()).kept_completed == 0
    assert (await queue.get_stats()).kept_failed == 0
    assert not list(client.scan_iter("redqueue:{q}:job:*"))
    assert not list(client.scan_iter("redqueue:{q}:outcome:*"))


async def test_an_age_keeps_any_number_for_that_long(queue: AsyncQueue, work: Work, kept: Kept) -> None:
    await queue.add_many([("ok", n) for n in range(30)])
    await work(keep_completed=timedelta(seconds=60))
    assert len(await kept()) == 30
    await let_pass(queue, 45)
    await queue.add("ok", 1, job_id="young")
    await work(keep_completed=timedelta(seconds=60))
    assert len(await kept()) == 31
    await let_pass(queue, 16)
    await queue.add("ok", 1, job_id="younger")
    await work(keep_completed=timedelta(seconds=60))
    assert await kept() == ["young", "younger"]


async def test_of_count_and_age_whichever_is_reached_first_trims(queue: AsyncQueue, work: Work, kept: Kept) -> None:
    keep = Keep(count=3, age=60)
    await run_each(queue, work, 5, keep_completed=keep)
    assert await kept() == ["ok2", "ok3", "ok4"]
    await let_pass(queue, 61)
    await queue.add("ok", 1, job_id="young")
    await work(keep_completed=keep)
    assert await kept() == ["young"]


async def test_a_queues_keep_wins_over_the_workers(make_queue: MakeQueue, work: Work, kept: Kept) -> None:
    queue = make_queue(keep_completed=1)
    await run_each(queue, work, 3, keep_completed=7)
    assert await kept() == ["ok2"]


async def test_a_processors_keep_wins_over_the_workers(url: str, queue: AsyncQueue, kept: Kept) -> None:
    registry = ServiceRegistry()

    @registry.processor("ok", keep_completed=2)
    async def ok(data: int) -> int:
        return data

    for n in range(4):
        await queue.add("ok", n, job_id=str(n))
        await Worker(["q"], url, registry=registry, burst=True, concurrency=1, keep_completed=9).serve()
    assert await kept() == ["2", "3"]


async def test_a_job_can_ask_to_leave_nothing_behind(queue: AsyncQueue, work: Work, kept: Kept) -> None:
    await queue.add("ok", 1, job_id="gone", keep_completed=0)
    await queue.add("fail", 1, job_id="gone-too", keep_failed=0)
    await queue.add("ok", 1, job_id="kept")
    await work()
    assert await kept() == ["kept"]
    assert await kept("failed") == []
    assert await queue.get_status("gone") is None


async def test_a_jobs_own_age_exempts_it_from_the_count(queue: AsyncQueue, work: Work, kept: Kept) -> None:
    await queue.add("ok", 1, job_id="own", keep_completed=timedelta(seconds=100))
    await work(keep_completed=2)
    await run_each(queue, work, 4, keep_completed=2)
    assert await kept() == ["ok2", "ok3", "own"]
    await let_pass(queue, 80)
    assert (await queue.get_status("own")) is not None
    await let_pass(queue, 21)
    assert (await queue.get_status("own")) is None
    assert await kept() == ["ok2", "ok3"]
    await work(keep_completed=2)
    assert (await queue.get_stats()).kept_completed == 2


async def test_cancelled_jobs_are_kept_like_failed_ones(queue: AsyncQueue, work: Work, kept: Kept) -> None:
    await work(keep_failed=2)
    for n in range(4):
        await queue.add("ok", job_id=str(n))
        await queue.cancel(str(n))
    assert await kept("cancelled") == ["2", "3"]
    assert (await queue.get_stats()).cancelled == 4

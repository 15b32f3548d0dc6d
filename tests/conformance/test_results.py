"""Waiting for results, by Queue and AsyncQueue alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import redis

from redqueue import (
    AsyncJob,
    AsyncJobQueueService,
    AsyncQueue,
    InvalidOption,
    JobCancelled,
    JobFailed,
    ResultGone,
    ResultTimeout,
    Retry,
    ServiceRegistry,
    Worker,
)

from .conftest import MakeQueue, MakeService, Work

Working = Callable[..., AbstractContextManager[Worker]]


@pytest.fixture
def working(url: str, registry: ServiceRegistry) -> Working:
    """A worker in a thread while it lasts."""

    @contextmanager
    def work(*queues: str, **options: Any) -> Iterator[Worker]:
        given = {"retries": 0, **options}
        with Worker(queues or ["q"], url, registry=registry, **given).in_thread() as worker:
            yield worker

    return work


async def test_a_result_that_is_there_already(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("ok", {"n": [1, None]})
    await work()
    assert await job.result() == {"n": [1, None]}
    assert await job.result(0) == {"n": [1, None]}
    assert await queue.job(job.id).result(timedelta(seconds=5)) == {"n": [1, None]}


async def test_a_result_that_is_still_to_come(queue: AsyncQueue, working: Working) -> None:
    job = await queue.add("ok", 7)
    waiting = asyncio.gather(job.result(20), job.result(20), queue.job(job.id).result(20))
    with working():
        assert list(await waiting) == [7, 7, 7]


@pytest.mark.parametrize("kept", [0, 10])
async def test_no_result_is_missed_between_adding_and_waiting(queue: AsyncQueue, working: Working, kept: int) -> None:
    with working(keep_completed=kept, keep_failed=kept):
        for n in range(30):
            job = await queue.add("ok", n)
            assert await job.result(20) == n
        jobs = await queue.add_many([("ok", n) for n in range(100)])
        failing = await queue.add("fail", 1)
        async with asyncio.timeout(20):
            while (stats := await queue.get_stats()).waiting + stats.active:
                await asyncio.sleep(0.01)
        assert [await job.result(20) for job in jobs] == list(range(100))
        with pytest.raises(JobFailed):
            await failing.result(20)


@pytest.mark.parametrize("kept", [0, 10])
async def test_a_result_too_large_for_an_event(
    queue: AsyncQueue, working: Working, registry: ServiceRegistry, kept: int
) -> None:
    @registry.processor("fail_at_length")
    async def fail(data: Any) -> None:
        raise ValueError("x" * 3000)

    with working(keep_completed=kept, keep_failed=kept):
        job = await queue.add("ok", ["x" * 5000])
        assert await job.result(20) == ["x" * 5000]
        assert await job.result(20) == ["x" * 5000]
        failing = await queue.add("fail_at_length")
        for _ in range(2):
            with pytest.raises(JobFailed, match=r"x{3000}"):
                await failing.result(20)


async def test_a_failed_job_is_told_as_text(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("fail", 7)
    await work()
    with pytest.raises(JobFailed) as raised:
        await job.result()
    error = raised.value
    assert (error.job_id, error.type, error.message, error.attempts) == (job.id, "Broken", "no 7", 1)
    assert "Broken: no 7" in error.traceback


async def test_a_cancelled_job(queue: AsyncQueue) -> None:
    first, second = await queue.add("ok"), await queue.add("ok")
    await first.cancel("not wanted")
    with pytest.raises(JobCancelled) as raised:
        await first.result()
    assert raised.value.reason == "not wanted"
    waiting = asyncio.ensure_future(second.result(20))
    await asyncio.sleep(0.05)
    await second.cancel()
    with pytest.raises(JobCancelled):
        await waiting


async def test_a_job_that_is_retried_is_waited_for(
    queue: AsyncQueue, working: Working, registry: ServiceRegistry
) -> None:
    runs: list[int] = []

    @registry.processor("third_time")
    async def third(data: Any) -> int:
        runs.append(1)
        if len(runs) < 3:
            raise Retry(0.01)
        return len(runs)

    job = await queue.add("third_time")
    with working(retries=5):
        assert await job.result(20) == 3


async def test_a_job_that_is_run_again_by_hand_has_another_result(queue: AsyncQueue, working: Working) -> None:
    with working():
        job = await queue.add("fail", 7)
        for _ in range(3):
            with pytest.raises(JobFailed):
                await job.result(20)
            assert await queue.retry(job.id)
        with pytest.raises(JobFailed):
            await queue.job(job.id).result(20)


async def test_time_is_up_and_the_job_goes_on(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("ok", 7)
    for timeout in (0, 0.05, timedelta(milliseconds=50)):
        with pytest.raises(ResultTimeout):
            await job.result(timeout)
    with pytest.raises(TimeoutError):
        await queue.job(job.id).result(0)
    await work()
    assert await job.result() == 7


@pytest.mark.parametrize("timeout", [-1, "1", True, float("nan"), float("inf"), timedelta(days=-1)])
async def test_a_timeout_that_is_none_is_refused(queue: AsyncQueue, timeout: Any) -> None:
    with pytest.raises(InvalidOption) as raised:
        await queue.job("a").result(timeout)
    assert raised.value.option == "timeout"


async def test_a_job_that_nobody_knows(queue: AsyncQueue, work: Work) -> None:
    for timeout in (None, 0):
        with pytest.raises(ResultGone):
            await queue.job("unknown").result(timeout)
    job = await queue.add("ok", keep_completed=0)
    await work()
    for timeout in (None, 0):
        with pytest.raises(ResultGone):
            await queue.job(job.id).result(timeout)
        assert await job.result(timeout) is None


async def test_a_removed_job_is_gone(queue: AsyncQueue) -> None:
    job = await queue.add("ok")
    waiting = asyncio.ensure_future(job.result(20))
    await asyncio.sleep(0.05)
    await queue.remove(job.id)
    with pytest.raises(ResultGone):
        await waiting
    for timeout in (None, 0):
        with pytest.raises(ResultGone):
            await job.result(timeout)


async def test_a_duplicate_waits_for_the_job_that_was_there(queue: AsyncQueue, work: Work) -> None:
    await queue.add("ok", 1, job_id="a")
    again: AsyncJob[Any] = await queue.add("ok", 2, job_id="a")
    await work()
    assert await again.result(20) == 1


async def test_a_wait_that_is_given_up_is_forgotten(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("ok", 7)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(job.result(0.3), 0.05)
    await work()
    assert await job.result(20) == 7


@pytest.mark.no_audit
async def test_a_waiter_outlives_a_gap_in_the_events(queue: AsyncQueue, work: Work, client: redis.Redis) -> None:
    job = await queue.add("ok", 7)
    waiting = asyncio.ensure_future(job.result(20))
    await asyncio.sleep(0.1)
    client.delete("redqueue:{q}:events")
    await work()
    client.delete("redqueue:{q}:events")
    await queue.add("other")
    assert await waiting == 7


async def test_closing_ends_the_waiting_and_the_queue_can_be_used_again(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("ok", 7)
    waiting = asyncio.ensure_future(job.result(20))
    await asyncio.sleep(0.1)
    await queue.close()
    with pytest.raises(ResultTimeout, match="closed"):
        await waiting
    await work()
    assert await job.result(20) == 7


async def test_queues_do_not_meet(make_queue: MakeQueue, working: Working) -> None:
    one, two = make_queue("one"), make_queue("two")
    first, second = await one.add("ok", 1, job_id="a"), await two.add("ok", 2, job_id="a")
    waiting = asyncio.gather(first.result(20), second.result(20))
    with working("one", "two"):
        assert list(await waiting) == [1, 2]


async def test_results_through_a_service(make_service: MakeService, working: Working) -> None:
    service: AsyncJobQueueService = make_service()
    queue = service.queue("ok")
    job = await queue.add("ok", 7)
    with working("ok"):
        assert await job.result(20) == 7
        id = await service.add_job("ok", 8)
        assert await queue.job(id).result(20) == 8


async def test_many_wait_at_once(queue: AsyncQueue, working: Working, shell: str) -> None:
    count = 1000 if shell == "async" else 4
    jobs = await queue.add_many([("ok", n) for n in range(count)])
    waiting = asyncio.gather(*(job.result(40) for job in jobs))
    with working():
        assert await waiting == list(range(count))


async def test_who_waits_for_a_job_of_before_the_queue_was_obliterated_is_told(queue: AsyncQueue) -> None:
    first, second = await queue.add("ok"), await queue.add("ok")
    waiting = asyncio.ensure_future(first.result(20))
    await asyncio.sleep(0.2)
    await queue.obliterate()
    with pytest.raises(ResultGone):
        await waiting
    with pytest.raises(ResultGone):
        await second.result(5)


@pytest.mark.parametrize("kept", [0, 10])
async def test_of_a_job_that_was_run_again_by_hand_only_the_last_end_is_told(
    queue: AsyncQueue, work: Work, registry: ServiceRegistry, kept: int
) -> None:
    runs: list[int] = []

    @registry.processor("second_time")
    async def second(data: Any) -> str:
        runs.append(1)
        if len(runs) == 1:
            raise ValueError("first")
        return "second"

    job = await queue.add("second_time")
    await work(keep_completed=kept)
    assert await queue.retry(job.id)
    await work(keep_completed=kept)
    for timeout in (0, 5):
        assert await job.result(timeout) == "second"

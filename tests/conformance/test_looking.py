"""Looking at jobs and queues: status, data, pages, the queue in numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from redqueue.client.aio.queue import AsyncQueue
from redqueue.errors import CorruptEnvelope, InvalidArguments, Snooze
from redqueue.records import QueueStats
from redqueue.registry import ServiceRegistry
from redqueue.testing import advance, advance_async
from redqueue.worker.worker import Worker

from .conftest import Awaited, MakeQueue, Work


async def let_pass(queue: AsyncQueue, seconds: float) -> None:
    if isinstance(queue, Awaited):
        advance(queue.target, seconds)
    else:
        await advance_async(queue, seconds)


async def test_an_unknown_job_has_no_status_and_no_data(queue: AsyncQueue) -> None:
    assert await queue.get_status("nobody") is None
    assert await queue.get_data("nobody") is None
    assert await queue.job("nobody").status() is None


async def test_a_handle_by_id_steers_the_job(queue: AsyncQueue) -> None:
    await queue.add("a", job_id="x")
    handle = queue.job("x")
    assert (handle.id, handle.queue, handle.job_type, handle.answer) == ("x", "q", "", None)
    status = await handle.status()
    assert status is not None
    assert status.job_type == "a"
    assert await handle.cancel("not wanted") == "cancelled"


async def test_a_completed_job_has_its_result_and_times(queue: AsyncQueue, work: Work) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    job = await queue.add("ok", {"sent": [1, None, "x"]})
    await work()
    status = await job.status()
    assert status is not None
    assert (status.status, status.state, status.position) == ("completed", "completed", None)
    assert (status.result, status.error, status.attempts) == ({"sent": [1, None, "x"]}, None, 1)
    assert status.worker
    assert status.started_at is not None
    assert status.completed_at is not None
    assert before < status.started_at <= status.completed_at <= datetime.now(UTC) + timedelta(seconds=1)


async def test_a_failed_job_says_what_was_raised_and_where(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("fail", 7)
    await work()
    status = await job.status()
    assert status is not None
    assert (status.status, status.error, status.attempts) == ("failed", "Broken: no 7", 1)
    assert status.traceback is not None
    assert 'raise Broken(f"no {data}")' in status.traceback


async def test_an_active_job_is_processing_and_has_a_worker(url: str, make_queue: MakeQueue) -> None:
    registry = ServiceRegistry()
    seen: list[Any] = []
    queue = make_queue()

    @registry.processor("look")
    async def look(data: str) -> None:
        seen.append(await queue.get_status(data))
        seen.append(await queue.get_stats())
        seen.append([status.job_id for status in await queue.jobs("active")])

    await queue.add("look", "me", job_id="me")
    await Worker(["q"], url, registry=registry, burst=True).serve()
    status, stats, page = seen
    assert (status.status, status.state, status.position, status.attempts) == ("processing", "active", None, 0)
    assert status.worker
    assert status.started_at is not None
    assert (stats.active, stats.waiting, stats.workers) == (1, 0, 1)
    assert page == ["me"]


async def test_a_snoozed_job_says_why_it_waits(url: str, queue: AsyncQueue) -> None:
    registry = ServiceRegistry()

    @registry.processor("later")
    async def later(data: None) -> None:
        raise Snooze(60, "the shop is closed")

    job = await queue.add("later")
    await Worker(["q"], url, registry=registry, burst=True).serve()
    status = await job.status()
    assert status is not None
    assert (status.status, status.state, status.message) == ("pending", "delayed", "the shop is closed")
    assert (status.attempts, status.error) == (0, None)


async def test_the_place_in_line_counts_who_is_before(queue: AsyncQueue) -> None:
    jobs = [await queue.add("a") for _ in range(3)]
    await queue.add("a", priority=-1)
    assert [(await queue.get_status(job.id)).position for job in jobs] == [1, 2, 3]  # type: ignore[union-attr]


async def test_a_status_goes_onto_the_wire_in_camel_case_without_its_traceback(queue: AsyncQueue, work: Work) -> None:
    await queue.add("fail", 7, job_id="x")
    await work()
    status = await queue.get_status("x")
    assert status is not None
    wire = status.to_wire()
    assert json.loads(json.dumps(wire)) == wire
    assert set(wire) == {
        *("jobId", "queue", "jobType", "label", "status", "state", "position", "attempts", "progress", "message"),
        *("result", "error", "worker", "createdAt", "dueAt", "startedAt", "completedAt"),
    }
    assert wire["completedAt"].endswith("Z")
    assert set(asdict(status)) >= {"job_id", "traceback"}


async def test_a_new_queue_is_empty(queue: AsyncQueue) -> None:
    nothing = QueueStats(
        waiting=0,
        active=0,
        succeeded=0,
        failed=0,
        delayed=0,
        cancelled=0,
        kept_completed=0,
        kept_failed=0,
        paused=False,
        oldest_waiting_s=None,
        workers=0,
    )
    assert await queue.get_stats() == nothing
    for state in ("waiting", "delayed", "active", "completed", "failed", "cancelled"):
        assert list(await queue.jobs(state)) == []
    assert list(await queue.audit()) == []


async def test_a_queue_counts_every_state_and_what_ever_ended(queue: AsyncQueue, work: Work) -> None:
    for n in range(3):
        await queue.add("ok", n)
    for n in range(2):
        await queue.add("fail", n)
    await queue.cancel((await queue.add("ok", 9)).id)
    await work(keep_completed=1)
    await queue.add("ok", delay=60)
    await queue.add("ok")
    await queue.pause()
    stats = await queue.get_stats()
    assert (stats.waiting, stats.active, stats.delayed, stats.workers) == (1, 0, 1, 0)
    assert (stats.succeeded, stats.failed, stats.cancelled) == (3, 2, 1)
    assert (stats.kept_completed, stats.kept_failed, stats.paused) == (1, 2, True)
    assert stats.oldest_waiting_s is not None
    assert 0 <= stats.oldest_waiting_s < 30
    assert stats.to_wire()["keptCompleted"] == 1


async def test_pages_of_a_line_go_from_either_end(queue: AsyncQueue) -> None:
    ids = [job.id for job in await queue.add_many([("a", n) for n in range(10)])]

    async def page(*args: int, **options: bool) -> list[str]:
        return [status.job_id for status in await queue.jobs("waiting", *args, **options)]

    assert await page(0, 3, newest=False) == ids[:3]
    assert await page(3, 3, newest=False) == ids[3:6]
    assert await page(8, 50, newest=False) == ids[8:]
    assert await page(0, 3) == ids[:-4:-1]
    assert await page(8, 3) == [ids[1], ids[0]]
    assert await page(10, 3) == []
    assert await page() == ids[::-1]


async def test_pages_of_finished_jobs_begin_with_the_last_to_finish(queue: AsyncQueue, work: Work) -> None:
    for n in range(4):
        await queue.add("ok", n)
        await work()
    assert [status.result for status in await queue.jobs("completed", 0, 3)] == [3, 2, 1]
    assert [status.result for status in await queue.jobs("completed", 0, 3, newest=False)] == [0, 1, 2]


async def test_pages_of_delayed_jobs_are_by_when_they_are_due(queue: AsyncQueue) -> None:
    for delay in (30, 10, 20):
        await queue.add("a", job_id=str(delay), delay=delay)
    assert [status.job_id for status in await queue.jobs("delayed", newest=False)] == ["10", "20", "30"]


async def test_data_that_does_not_fit_the_asked_type_is_an_error_without_its_value(queue: AsyncQueue) -> None:
    job = await queue.add("a", [1, "hunter2"])
    with pytest.raises(InvalidArguments, match=r"\$\[1\]") as raised:
        await queue.get_data(job.id, list[int])
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("stored", [b"", b"\n", b"{}", b"[1]\n1", b"\xff\xfe\n1", b'["sms","",1]\n{'])
async def test_a_corrupt_envelope_can_be_looked_at(queue: AsyncQueue, client: redis.Redis, stored: bytes) -> None:
    await queue.add("a", job_id="x")
    client.set("redqueue:{q}:job:x", stored)
    status = await queue.get_status("x")
    assert status is not None
    assert status.state == "waiting"
    assert len(await queue.jobs("waiting")) == 1
    assert (await queue.get_stats()).waiting == 1
    with pytest.raises(CorruptEnvelope, match="job x"):
        await queue.get_data("x")


async def test_time_can_pass_at_once(queue: AsyncQueue, work: Work, ran: list[Any]) -> None:
    await queue.add("ok", 1, delay=3600)
    await let_pass(queue, 3500)
    await work()
    assert ran == []
    await let_pass(queue, 101)
    await work()
    assert ran == [1]


async def test_looking_writes_nothing(queue: AsyncQueue, unchanged: Callable[[], bool]) -> None:
    await queue.get_status("x")
    await queue.get_stats()
    await queue.jobs("waiting")
    await queue.get_data("x")
    await queue.audit()
    assert unchanged()

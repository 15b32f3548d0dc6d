"""Removing many jobs: drain, clean, obliterate; and looking for what is inconsistent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis

from redqueue.client.aio.queue import AsyncQueue
from redqueue.errors import InvalidOption
from redqueue.registry import ServiceRegistry
from redqueue.worker.worker import Worker

from .conftest import MakeQueue, Work
from .test_looking import let_pass


async def test_draining_removes_what_waits_and_nothing_else(queue: AsyncQueue, work: Work) -> None:
    await queue.add("ok", job_id="done")
    await work()
    await queue.add_many([("ok", n, {"priority": n % 3}) for n in range(5)])
    await queue.add("ok", job_id="delayed", delay=60)
    assert await queue.drain() == 5
    stats = await queue.get_stats()
    assert (stats.waiting, stats.delayed, stats.kept_completed) == (0, 1, 1)
    assert await queue.drain() == 0


async def test_draining_can_take_delayed_jobs_too(queue: AsyncQueue, client: redis.Redis) -> None:
    await queue.add("ok")
    await queue.add("ok", delay=60, priority=7)
    assert await queue.drain(delayed=True) == 2
    stats = await queue.get_stats()
    assert (stats.waiting, stats.delayed) == (0, 0)
    assert not list(client.scan_iter("redqueue:{q}:job:*"))


async def test_more_jobs_than_fit_one_call_are_drained(queue: AsyncQueue) -> None:
    await queue.add_many([("ok", n) for n in range(1001)])
    assert await queue.drain() == 1001


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
async def test_cleaning_removes_the_oldest_finished_jobs(queue: AsyncQueue, work: Work, state: Any) -> None:
    for n in range(4):
        await queue.add("fail" if state == "failed" else "ok", job_id=str(n))
        if state == "cancelled":
            await queue.cancel(str(n))
        else:
            await work()
    assert await queue.clean(state, limit=3) == 3
    assert [status.job_id for status in await queue.jobs(state)] == ["3"]
    assert await queue.clean(state) == 1


async def test_cleaning_spares_jobs_that_finished_lately(queue: AsyncQueue, work: Work) -> None:
    await queue.add("ok", job_id="old")
    await work()
    await let_pass(queue, 100)
    await queue.add("ok", job_id="new")
    await work()
    assert await queue.clean("completed", older_than=90) == 1
    assert await queue.get_status("old") is None
    assert await queue.get_status("new") is not None


@pytest.mark.parametrize("state", ["waiting", "delayed"])
async def test_cleaning_what_waits_goes_by_when_it_was_added(queue: AsyncQueue, state: Any) -> None:
    for n in range(3):
        await queue.add("ok", job_id=str(n), delay=60 if state == "delayed" else 0)
    assert await queue.clean(state, older_than=3600) == 0
    assert await queue.clean(state, limit=2) == 2
    assert [status.job_id for status in await queue.jobs(state)] == ["2"]
    await asyncio.sleep(0.02)
    assert await queue.clean(state, older_than=0.001) == 1


async def test_active_jobs_cannot_be_cleaned(queue: AsyncQueue) -> None:
    with pytest.raises(InvalidOption, match="active"):
        await queue.clean("active")


async def test_obliterating_leaves_no_key_that_stays(queue: AsyncQueue, work: Work, client: redis.Redis) -> None:
    """Faults: M01."""
    for job_type in ("ok", "fail"):
        await queue.add(job_type)
    await work()
    await queue.add("ok", delay=60, priority=4)
    await queue.cancel((await queue.add("ok")).id)
    await queue.add_many([("ok", n) for n in range(1200)])
    assert await queue.obliterate() == 1204
    left = {key.decode().split(":")[2] for key in client.scan_iter("redqueue:{q}:*")}
    assert left <= {"session", "producer"}
    assert (await queue.get_stats()).waiting == 0
    assert (await queue.add("ok")).answer == "created"
    assert await queue.obliterate() == 1


async def test_a_queue_with_active_jobs_is_obliterated_only_by_force(url: str, make_queue: MakeQueue) -> None:
    registry, queue = ServiceRegistry(), make_queue()
    errors: list[str] = []
    counts: list[int] = []

    @registry.processor("end-it-all")
    async def end_it_all(data: None) -> None:
        try:
            await queue.obliterate()
        except InvalidOption as error:
            errors.append(error.option)
        counts.append(await queue.obliterate(force=True))

    await queue.add("end-it-all")
    await Worker(["q"], url, registry=registry, burst=True).serve()
    assert (errors, counts) == (["force"], [1])
    assert (await queue.get_stats()).succeeded == 0


@pytest.mark.no_audit
async def test_the_audit_says_what_is_inconsistent(queue: AsyncQueue, client: redis.Redis) -> None:
    await queue.add("ok", job_id="x")
    assert list(await queue.audit()) == []
    client.delete("redqueue:{q}:job:x")
    findings = await queue.audit()
    assert any("x" in finding and "job key is missing" in finding for finding in findings)

"""A cancel reaches a running job at once, through the inbox of its worker, and not with the next renewal."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from redqueue import AsyncQueue, JobCancelled, JobContext, ServiceRegistry

from .conftest import MakeWorker, status_of

LEASE = 60
"""Seconds: a renewal, the other way to hear of it, is 20 s away."""


@pytest.mark.parametrize("busy", [False, True], ids=["with free slots", "with none"])
async def test_a_coroutine_is_cancelled_within_a_second(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, busy: bool
) -> None:
    started = asyncio.Event()

    @registry.processor("long")
    async def long(data: None) -> None:
        started.set()
        await asyncio.sleep(60)

    job = await queue.add("long", retries=5)
    async with make_worker(lease=LEASE, concurrency=1 if busy else 10):
        await started.wait()
        asked_at = time.monotonic()
        assert await job.cancel("enough") == "requested"
        with pytest.raises(JobCancelled, match="enough"):
            await job.result(10)
        assert time.monotonic() - asked_at < 1
    status = await status_of(job)
    assert (status.status, status.attempts) == ("cancelled", 0)


async def test_a_plain_function_sees_it_within_a_second(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    started = threading.Event()

    @registry.processor("long")
    def long(data: None, context: JobContext) -> None:
        started.set()
        while True:
            context.raise_if_cancelled()
            time.sleep(0.01)

    job = await queue.add("long")
    async with make_worker(lease=LEASE, concurrency=1):
        await asyncio.to_thread(started.wait, 10)
        asked_at = time.monotonic()
        assert await job.cancel() == "requested"
        with pytest.raises(JobCancelled):
            await job.result(10)
        assert time.monotonic() - asked_at < 1

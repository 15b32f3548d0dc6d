"""Delayed jobs, retries and snoozes start when they are due, however idle the worker is."""

import asyncio
from time import monotonic

import pytest

from redqueue import AsyncQueue, ServiceRegistry, Snooze, Worker
from redqueue.worker.pump import LONGEST_BLOCK


@pytest.mark.parametrize("workers", [1, 2])
async def test_retries_and_snoozes_do_not_wait_until_an_idle_worker_looks_again(real_url: str, workers: int) -> None:
    runs: list[float] = []
    done = asyncio.Event()
    registry = ServiceRegistry()

    async def flaky(data: None) -> None:
        runs.append(monotonic())
        if len(runs) == 1:
            raise ValueError
        if len(runs) == 2:
            raise Snooze(0.2)
        done.set()

    registry.register_processor("flaky", flaky, backoff=0.1)
    shifts = [Worker(["q"], real_url, registry=registry, prefetch=0) for _ in range(workers)]
    async with asyncio.TaskGroup() as group, AsyncQueue("q", real_url) as queue:
        for worker in shifts:
            group.create_task(worker.serve())
        while (await queue.get_stats()).workers < workers:
            await asyncio.sleep(0.01)
        await queue.add("flaky")
        await asyncio.wait_for(done.wait(), 20)
        for worker in shifts:
            worker.request_stop()
    assert 0.1 <= runs[1] - runs[0] < LONGEST_BLOCK / 2
    assert 0.2 <= runs[2] - runs[1] < LONGEST_BLOCK / 2


async def test_a_delayed_job_added_to_an_idle_worker_starts_when_it_is_due(real_url: str) -> None:
    started = asyncio.Event()
    registry = ServiceRegistry()

    async def note(data: None) -> None:
        started.set()

    registry.register_processor("note", note)
    async with Worker(["q"], real_url, registry=registry), AsyncQueue("q", real_url) as queue:
        added = monotonic()
        await queue.add("note", delay=0.3)
        await asyncio.wait_for(started.wait(), 20)
        assert 0.3 <= monotonic() - added < LONGEST_BLOCK / 2

"""What a worker asks of Redis, in numbers that are the same on every machine. None of them grows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis

from redqueue.core import lease
from redqueue.worker import pump as pump_module
from redqueue.worker.link import Link

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.worker.conftest import MakeWorker, Work

    from redqueue import AsyncQueue, ServiceRegistry

LEASE = 1.5
A_MINUTE = 6
"""Scans for jobs of dead workers in the time of two default leases: one each third of a lease."""

NOT_OURS = ("info", "config", "config|resetstat")


@pytest.fixture
def admin(real_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(real_url) as client:
        yield client


def counts(admin: redis.Redis) -> dict[str, int]:
    """How often each command was called since the last reset, in scripts, too."""
    stats: dict[str, dict[str, int]] = admin.info("commandstats")
    found = {one.removeprefix("cmdstat_"): told["calls"] for one, told in stats.items()}
    return {one: calls for one, calls in found.items() if one not in NOT_OURS}


def trips(told: dict[str, int]) -> int:
    return told.get("evalsha", 0) + told.get("eval", 0)


async def test_a_thousand_short_jobs_at_once_cost_few_trips_and_two_commands_each(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work, admin: redis.Redis
) -> None:
    async def noop(data: Any) -> None:
        pass

    registry.register_processor("noop", noop)
    await queue.add_many([("noop", n) for n in range(1000)])
    admin.config_resetstat()
    await work(concurrency=100)
    told = counts(admin)
    assert (await queue.get_stats()).succeeded == 1000
    assert trips(told) <= 40
    assert sum(told.values()) <= 2 * 1000


async def test_an_idle_worker_calls_redis_less_than_every_other_second(
    queue: AsyncQueue, make_worker: MakeWorker, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a shorter time: all that it waits for is shortened as its lease is."""
    shortened = LEASE / 30
    monkeypatch.setattr(pump_module, "LONGEST_BLOCK", pump_module.LONGEST_BLOCK * shortened)
    monkeypatch.setattr(pump_module, "LOOK_EVERY", pump_module.LOOK_EVERY * shortened)
    scans, asked = asyncio.Semaphore(0), lease.recover

    def counted(*args: Any) -> Any:
        scans.release()
        return asked(*args)

    monkeypatch.setattr(lease, "recover", counted)
    async with make_worker(lease=LEASE), asyncio.timeout(30):
        for _ in range(2):  # its connections are open and its scripts known
            await scans.acquire()
        admin.config_resetstat()
        for _ in range(A_MINUTE):
            await scans.acquire()
        told = counts(admin)
    assert trips(told) + told.get("blpop", 0) <= 30
    assert not told.keys() & {"ping", "subscribe", "xread", "brpop"}


async def test_a_worker_that_was_idle_for_long_is_woken_at_once(
    queue: AsyncQueue, registry: ServiceRegistry, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block on the wake list that ends quietly is followed by the next one, not by a look."""
    monkeypatch.setattr(pump_module, "LONGEST_BLOCK", 0.1)
    monkeypatch.setattr(pump_module, "LOOK_EVERY", 3600.0)
    blocks, ran, block_on = asyncio.Semaphore(0), asyncio.Event(), Link.block_on

    async def counted(link: Link, *args: Any) -> bool:
        blocks.release()
        return await block_on(link, *args)

    async def note(data: Any) -> None:
        ran.set()

    monkeypatch.setattr(Link, "block_on", counted)
    registry.register_processor("note", note)
    async with make_worker(), asyncio.timeout(10):
        for _ in range(4):
            await blocks.acquire()
        await queue.add("note")
        await ran.wait()


async def test_a_job_whose_token_was_lost_is_found_by_the_next_look(
    queue: AsyncQueue, registry: ServiceRegistry, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the worker that took the token died before it claimed."""
    monkeypatch.setattr(pump_module, "LONGEST_BLOCK", 0.1)
    monkeypatch.setattr(pump_module, "LOOK_EVERY", 0.5)
    ran, block_on = asyncio.Event(), Link.block_on

    async def deaf(link: Link, wake: str, *args: Any) -> bool:
        return await block_on(link, f"{wake}:nobody", *args)

    async def note(data: Any) -> None:
        ran.set()

    monkeypatch.setattr(Link, "block_on", deaf)
    registry.register_processor("note", note)
    async with make_worker(), asyncio.timeout(10):
        await queue.add("note")
        await ran.wait()

"""Whatever happens to Redis, or to the way to it: a job added once it is back starts within 5 s, always."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pytest

from redqueue import AsyncQueue, Queue
from redqueue.client import wire

from .conftest import Ran, all_done
from .outages import OUTAGES
from .proxy import Proxy

WITHIN: Final = 5.0
LOAD: Final = 0.5
"""Seconds more for a machine that has other things to do."""
SLOW: Final = bool(os.environ.get("REDQUEUE_SLOW"))
STATES: Final = ["idle", "busy"] if SLOW else ["idle"]  # where a case takes about 5 s


async def goes_on(
    ran: Ran,
    queue: AsyncQueue,
    proxy: Proxy,
    outage: str,
    state: str,
    *,
    lease: float,
    seconds: float,
) -> float:
    """Seconds from the end of the outage to the start of a job that is added then."""
    holds = 3 if state == "busy" else 0
    async with ran.worker(proxy.url, lease=lease, concurrency=5):
        await queue.add("note", "before")
        await queue.add_many([("hold", n) for n in range(holds)])
        await ran.wait_until(lambda: len(ran.starts) == holds + 1)
        await all_done(queue, 1)
        await asyncio.sleep(0.1)  # until it blocks
        await OUTAGES[outage](proxy.server, proxy, seconds)
        back = time.monotonic()
        await queue.add("note", "after")
        await ran.wait_until(lambda: ran.ends["after"] > 0)
        took = time.monotonic() - back
        ran.go.set()
        await all_done(queue, holds + 2)
    assert set(ran.starts.values()) == {1}, "no job ran twice"
    print(f"{outage}, {state}, lease {lease:g} s: {took:.2f} s")
    return took


@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_job_added_after_an_outage_starts_soon_and_none_runs_twice(
    ran: Ran, queue: AsyncQueue, proxy: Proxy, outage: str, state: str
) -> None:
    """The outage is longer than the lease, and recovery takes nothing from the living.

    Faults: D19, S01, S03, S13, R04.
    """
    assert await goes_on(ran, queue, proxy, outage, state, lease=0.8, seconds=1) < WITHIN + LOAD


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("outage", ["kill -9", "silent connections", *(["no network"] if SLOW else [])])
async def test_so_it_is_with_the_default_lease(
    ran: Ran, queue: AsyncQueue, proxy: Proxy, outage: str, state: str
) -> None:
    """The heartbeat comes every 10 s only, so each loop must find out for itself.

    Faults: S01.
    """
    assert await goes_on(ran, queue, proxy, outage, state, lease=30, seconds=0.5) < WITHIN + LOAD


@pytest.mark.parametrize("outage", ["kill -9", "no network"] if SLOW else ["kill -9"])
async def test_so_it_is_with_a_long_lease(ran: Ran, queue: AsyncQueue, proxy: Proxy, outage: str) -> None:
    """Probes are no further apart than with a short one.

    Faults: S01.
    """
    assert await goes_on(ran, queue, proxy, outage, "idle", lease=600, seconds=0.5) < WITHIN + LOAD


async def test_losses_that_follow_each_other_are_survived(ran: Ran, queue: AsyncQueue, proxy: Proxy) -> None:
    """Three in three seconds, of different kinds, each as soon as the worker is back from the one before.

    Faults: S02.
    """
    async with ran.worker(proxy.url, lease=1, concurrency=5):
        for n, outage in enumerate(["CLIENT KILL", "READONLY", "kill -9", "CLIENT KILL"]):
            await OUTAGES[outage](proxy.server, proxy, 0.3)
            back = time.monotonic()
            await queue.add("note", n)
            await ran.wait_until(lambda n=n: ran.ends[n] > 0)  # type: ignore[misc]
            assert time.monotonic() - back < WITHIN + LOAD
    assert ran.starts == dict.fromkeys(range(4), 1)


@pytest.mark.parametrize("kind", ["threads", "tasks", "tasks without hiredis"])
async def test_a_producer_whose_connections_all_died_waits_for_one_of_them_only(
    queue: AsyncQueue, proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are idle go with the one that was tried; else each would cost a time-out of its own.

    Tasks share one; without hiredis they have a pool.

    Faults: S01.
    """
    url = f"{proxy.url}?socket_timeout=1"
    if kind == "tasks without hiredis":
        monkeypatch.setattr(wire, "hiredis", None)

    async def add_in_tasks() -> tuple[float, float]:
        async with AsyncQueue("q", url) as producer:
            await asyncio.gather(*(producer.get_stats() for _ in range(8)))
            assert proxy.silence() >= (1 if kind == "tasks" else 8)
            began = time.monotonic()
            assert (await producer.add("note")).answer == "created"
            first = time.monotonic()
            await asyncio.gather(*(producer.add("note") for _ in range(8)))
            return first - began, time.monotonic() - first

    def add_in_threads() -> tuple[float, float]:
        with Queue("q", url) as producer, ThreadPoolExecutor(8) as pool:
            client = producer._runner._transport.client()
            taken = [client.connection_pool.get_connection() for _ in range(8)]
            for connection in taken:
                client.connection_pool.release(connection)
            assert proxy.silence() >= 8
            began = time.monotonic()
            assert producer.add("note").answer == "created"
            first = time.monotonic()
            together = threading.Barrier(8)
            list(pool.map(lambda _: (together.wait(5), producer.add("note")), range(8)))
            return first - began, time.monotonic() - first

    one, eight = await (asyncio.to_thread(add_in_threads) if kind == "threads" else add_in_tasks())
    assert one >= 1
    assert eight < 1
    assert (await queue.get_stats()).waiting == 9


@pytest.mark.skipif(not SLOW, reason="a minute a case: REDQUEUE_SLOW=1 runs it")
@pytest.mark.parametrize("state", ["idle", "busy"])
@pytest.mark.parametrize("outage", ["kill -9", "SIGSTOP", "no network"])
async def test_an_outage_of_a_minute_is_survived(
    ran: Ran, queue: AsyncQueue, proxy: Proxy, outage: str, state: str
) -> None:
    """Twice the default lease; waits between tries may not have grown beyond what is promised.

    Faults: S01.
    """
    assert await goes_on(ran, queue, proxy, outage, state, lease=30, seconds=60) < WITHIN + LOAD

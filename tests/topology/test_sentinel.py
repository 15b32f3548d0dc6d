"""Queues on a primary that sentinels watch: after a failover, workers and producers find the new one by themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from redqueue import AsyncQueue, Queue, RedisUnavailable
from redqueue.client.patience import Patience

from .conftest import Handles, Ledger, insist
from .servers import GUARD, Sentinels, admin, asked, until


async def wait_until(look: Callable[[], bool]) -> None:
    """What this process's worker makes true."""
    async with asyncio.timeout(GUARD):
        while not look():
            await asyncio.sleep(0.01)


class Confirmed:
    """What was acknowledged, and what of it a replica has, too.

    Redis acknowledges a write before its replica has it, so a failover may lose what was acknowledged last. A WAIT
    after it on the same primary, which the queue doesn't make, tells that it can't be lost any more; as it is for the
    writes of its own connection, a marker is written before.
    """

    def __init__(self, sentinels: Sentinels) -> None:
        self.acknowledged: list[int] = []
        self.replicated: set[int] = set()
        self._sentinel = redis.asyncio.Sentinel(sentinels.hosts, sentinel_kwargs={"socket_timeout": 1})  # type: ignore[no-untyped-call]
        self._primary: Any = self._sentinel.master_for("main", socket_timeout=1)

    async def confirm(self) -> None:
        before = list(self.acknowledged)
        try:
            async with self._primary.pipeline(transaction=False) as pipe:
                _, replicas = await pipe.set("marker", "x").execute_command("WAIT", 1, 500).execute()
        except redis.RedisError:
            return
        if replicas:
            self.replicated.update(before)

    async def close(self) -> None:
        await self._primary.aclose()
        for sentinel in self._sentinel.sentinels:
            await sentinel.aclose()


def test_the_primary_is_found_though_a_sentinel_is_dead(sentinels: Sentinels, handles: Handles, ledger: Ledger) -> None:
    url = sentinels.url.replace("://", "://127.0.0.1:1,")
    with handles.open("q", url, backoff=0) as queue, ledger.worker(["q"], url).in_thread():
        handles.do(queue.add_many([("count", n) for n in range(100)]))
        handles.do(queue.add("flaky", 100))
        handles.do(queue.add("count", 101, delay=0.1))
        until(lambda: handles.do(queue.get_stats()).succeeded == 102, "the jobs")
        assert handles.do(queue.audit()) == []
    assert asked(sentinels.primary, "commandstats")["cmdstat_evalsha"]["calls"] > 0
    until(lambda: asked(sentinels.replica, "keyspace"), "the replica to have it, too")


def test_a_service_the_sentinels_do_not_know_is_told(sentinels: Sentinels, handles: Handles) -> None:
    queue = handles.impatient(sentinels.url.replace("/main", "/nope"))
    with pytest.raises(RedisUnavailable, match=r"the sentinels name no primary for the service.*nope") as no:
        handles.do(queue.add("t"))
    assert no.value.sent is False
    handles.do(queue.close())


def test_a_primary_that_must_have_a_replica_takes_nothing_without(
    sentinels: Sentinels, handles: Handles, ledger: Ledger
) -> None:
    """So with min-replicas-to-write a primary that was cut off acknowledges nothing that its successor won't know."""
    with admin(sentinels.primary) as client, ledger.worker(["q"], sentinels.url).in_thread():
        client.config_set("min-replicas-to-write", 1)
        try:
            until(lambda: client.info("replication")["min_slaves_good_slaves"] == 1, "the replica to be seen")
            sentinels.replica.kill()
            until(lambda: client.info("replication")["min_slaves_good_slaves"] == 0, "its loss to be seen")
            queue = handles.impatient(sentinels.url)
            with pytest.raises(RedisUnavailable, match="too few replicas follow it") as no:
                handles.do(queue.add("count", 1))
            assert no.value.sent is False
            sentinels.replica.start()
            queue._runner.patience = Patience(unsent=GUARD)
            handles.do(queue.add("count", 2))
            until(lambda: ledger.ended == {2: 1}, "the job that was taken")
            handles.do(queue.close())
        finally:
            client.config_set("min-replicas-to-write", 0)
            sentinels.replica.start()
    until(sentinels.is_replicated, "the replica")


async def test_a_failover_loses_nothing_that_was_replicated(own_sentinels: Sentinels, ledger: Ledger) -> None:
    """Promised is what is acknowledged and replicated. Workers go on by themselves, and give the scripts again.

    Faults: R10.
    """
    sentinels = own_sentinels
    queue, threads_queue = AsyncQueue("q", sentinels.url), Queue("q", sentinels.url)
    confirmed, enough = Confirmed(sentinels), threading.Event()

    async def produce(begin: int, add: Callable[[int], Any]) -> None:
        for n in range(begin, begin + 100_000):
            await insist(lambda n=n: add(n))  # type: ignore[misc]
            confirmed.acknowledged.append(n)
            if enough.is_set():
                return

    def add_in_thread(n: int) -> Any:
        return asyncio.to_thread(threads_queue.add, "count", n, job_id=f"job{n}")

    async with ledger.worker(["q"], sentinels.url):
        producing = [
            asyncio.create_task(produce(0, lambda n: queue.add("count", n, job_id=f"job{n}"))),
            asyncio.create_task(produce(1_000_000, add_in_thread)),
        ]
        await wait_until(lambda: len(ledger.ended) > 100)
        backlog = range(2_000_000, 2_001_000)
        await queue.add_many([("count", n) for n in backlog])
        confirmed.acknowledged += backlog
        while not confirmed.replicated.issuperset(backlog):
            await confirmed.confirm()
        sentinels.primary.kill()
        assert not ledger.ended.keys() >= set(backlog)
        before = len(confirmed.acknowledged)
        await asyncio.to_thread(until, sentinels.is_failed_over, "the failover")
        await wait_until(lambda: len(confirmed.acknowledged) > before + 100)
        enough.set()
        await asyncio.gather(*producing)
        after = set(confirmed.acknowledged[before + 2 :])
        await wait_until(lambda: ledger.ended.keys() >= confirmed.replicated | after)
    assert max(ledger.ended.values()) <= 2
    assert asked(sentinels.replica, "errorstats")["errorstat_NOSCRIPT"]["count"] > 0
    stats = await queue.get_stats()
    assert (stats.waiting, stats.active) == (0, 0)
    assert await queue.audit() == []
    await queue.close()
    threads_queue.close()
    await confirmed.close()


async def test_work_goes_on_when_the_primary_stands_still(own_sentinels: Sentinels, ledger: Ledger) -> None:
    """Its connections stay open and say nothing. When it goes on, it has become a replica, and nobody writes to it."""
    sentinels = own_sentinels
    queue = AsyncQueue("q", f"{sentinels.url}?socket_timeout=1")
    async with ledger.worker(["q"], sentinels.url, lease=5):
        await asyncio.gather(*(queue.add("count", n) for n in range(50)))
        await wait_until(lambda: len(ledger.ended) == 50)
        await asyncio.to_thread(until, lambda: caught_up(sentinels), "the replica to have all")
        sentinels.primary.pause()
        await insist(lambda: queue.add("count", 50, job_id="job50"))
        await wait_until(lambda: 50 in ledger.ended)
        sentinels.primary.resume()
        await asyncio.to_thread(
            until, lambda: asked(sentinels.primary, "replication")["role"] == "slave", "the old primary's new role"
        )
        await queue.add("count", 51)
        await wait_until(lambda: 51 in ledger.ended)
    assert ledger.ended.keys() == set(range(52))
    assert await queue.audit() == []
    await queue.close()


def caught_up(sentinels: Sentinels) -> bool:
    one, other = (asked(server, "replication") for server in (sentinels.primary, sentinels.replica))
    return bool(one["master_repl_offset"] == other["master_repl_offset"])

"""Under load: what is lost when a queue moves, and when its primary dies; counted outside of Redis."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator

import pytest

from redqueue import AsyncQueue, NotConfirmed, RedisUnavailable
from redqueue.client import confirming

from .conftest import Ledger, insist
from .servers import GUARD, Cluster, Sentinels, admin, until

MOVES = 6
BACKLOG = 2000


class Adding:
    """A producer that adds one job after the other until it is told to end.

    Attributes:
        acknowledged: the numbers of the jobs whose add returned.
        longest: of its adds, in seconds.
    """

    def __init__(self, queue: AsyncQueue, numbers: Iterator[int]) -> None:
        self.acknowledged: list[int] = []
        self.longest = 0.0
        self._queue = queue
        self._numbers = numbers
        self._enough = False

    async def insisting(self) -> None:
        """When nobody knows whether a job is stored, it adds it again."""
        while not self._enough:
            n, began = next(self._numbers), time.monotonic()
            await insist(lambda n=n: self._queue.add("count", n, job_id=f"job{n}"))  # type: ignore[misc]
            self.longest = max(self.longest, time.monotonic() - began)
            self.acknowledged.append(n)

    async def confirmed(self) -> None:
        """Jobs that a replica has, until one is not confirmed any more."""
        while not self._enough:
            n = next(self._numbers)
            try:
                await self._queue.add("count", n, job_id=f"job{n}", durability="replica")
            except (NotConfirmed, RedisUnavailable):
                return
            self.acknowledged.append(n)

    def end(self) -> None:
        self._enough = True


async def wait_until(look: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(GUARD):
        while not look():
            await asyncio.sleep(0.01)
    assert look(), what


async def test_slots_that_move_under_load_lose_nothing(
    cluster: Cluster, ledger: Ledger, record_property: Callable[[str, object], None]
) -> None:
    """A queue goes round the nodes, six times, while four tasks add to it and to two others, and a worker works."""
    names = [cluster.queue_on(0)]
    names += [cluster.queue_on(place, but=names) for place in (1, 2)]
    queues = [AsyncQueue(name, cluster.url) for name in names]
    numbers = itertools.count()
    adding = [Adding(queue, numbers) for queue in (queues[0], *queues)]
    async with ledger.worker(names, cluster.url):
        tasks = [asyncio.create_task(one.insisting()) for one in adding]
        for turn in range(MOVES):
            before = len(adding[0].acknowledged)
            move = cluster.begin_move(names[0], cluster.primaries[turn % 3], cluster.primaries[(turn + 1) % 3])
            await asyncio.to_thread(move)
            await wait_until(lambda before=before: len(adding[0].acknowledged) > before + 20, "adds")  # type: ignore[misc]
        for one in adding:
            one.end()
        await asyncio.gather(*tasks)
        acknowledged = {n for one in adding for n in one.acknowledged}
        await wait_until(lambda: ledger.ended.keys() >= acknowledged, "the jobs")
    record_property("acknowledged", len(acknowledged))
    record_property("longest add, ms", round(1000 * max(one.longest for one in adding)))
    assert ledger.ended.keys() == acknowledged
    assert set(ledger.ended.values()) == {1}
    for queue in queues:
        assert await queue.audit() == []
        await queue.close()


@pytest.mark.parametrize("cut_off", [False, True], ids=["following", "cut-off"])
async def test_a_failover_under_load_loses_at_most_what_no_replica_had(
    own_sentinels: Sentinels,
    ledger: Ledger,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
    cut_off: bool,
) -> None:
    """Redis acknowledges before its replica has it: that is counted. What a replica confirmed is never lost.

    With the replica cut off, nothing runs either before the primary dies: what is lost then has never run.
    """
    monkeypatch.setattr(confirming, "CONFIRM_MS", 1000)
    sentinels, numbers = own_sentinels, itertools.count()
    queue = AsyncQueue("q", sentinels.url)
    plain = [Adding(queue, numbers) for _ in range(8)]
    sure = [Adding(queue, numbers) for _ in range(4)]
    async with ledger.worker(["q"], sentinels.url):
        tasks = [asyncio.create_task(one.insisting()) for one in plain]
        tasks += [asyncio.create_task(one.confirmed()) for one in sure]
        await wait_until(lambda: sum(len(one.acknowledged) for one in plain) > BACKLOG, "a load")
        if cut_off:
            await queue.pause()
            await cut_off_the_replica(sentinels, plain)
        killed_at, before = time.monotonic(), [set(one.acknowledged) for one in plain]
        sentinels.primary.kill()
        sentinels.replica.resume()
        await asyncio.to_thread(until, sentinels.is_failed_over, "the failover")
        await wait_until(lambda: all(len(p.acknowledged) > len(b) + 20 for p, b in zip(plain, before, strict=True)), "")
        went_on_after = time.monotonic() - killed_at
        await queue.resume()
        for one in (*plain, *sure):
            one.end()
        await asyncio.gather(*tasks)
        confirmed = {n for one in sure for n in one.acknowledged}
        after = {n for one, b in zip(plain, before, strict=True) for n in one.acknowledged[len(b) + 1 :]}
        await wait_until(lambda: ledger.ended.keys() >= confirmed | after, "the jobs")
        until_quiet = await queue.get_stats()
        while until_quiet.waiting or until_quiet.active:
            await asyncio.sleep(0.01)
            until_quiet = await queue.get_stats()
    acknowledged = {n for one in plain for n in one.acknowledged}
    lost = acknowledged - ledger.ended.keys()
    record_property("acknowledged", len(acknowledged))
    record_property("of these lost by Redis", len(lost))
    record_property("confirmed by the replica", len(confirmed))
    record_property("run twice", sum(runs > 1 for runs in ledger.ended.values()))
    record_property("all producers went on after, s", round(went_on_after, 1))
    assert confirmed
    assert lost or not cut_off
    assert max(ledger.ended.values()) <= 2
    assert await queue.audit() == []
    await queue.close()


async def cut_off_the_replica(sentinels: Sentinels, plain: list[Adding]) -> None:
    """It stands still and its connection is gone, while a hundred more jobs are acknowledged."""
    await asyncio.to_thread(until, lambda: caught_up(sentinels), "the replica to have the pause")
    sentinels.replica.pause()
    with admin(sentinels.primary) as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    before = sum(len(one.acknowledged) for one in plain)
    await wait_until(lambda: sum(len(one.acknowledged) for one in plain) > before + 100, "adds")


def caught_up(sentinels: Sentinels) -> bool:
    with admin(sentinels.primary) as client:
        marker: int = client.incr("marker")
    with admin(sentinels.replica) as client:
        return int(client.get("marker") or 0) >= marker - 1

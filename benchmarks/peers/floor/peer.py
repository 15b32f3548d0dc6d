"""The floor: a bare redis-py client that sends the very script calls of redqueue, without a queue or a worker.

Adds are made beforehand, so only the round trips are timed. The pump loop has two lanes of 100, which block on the
wake list when there is nothing to claim; its jobs do nothing but count, and their data is read only of one that comes
alone, since it says when it was added.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import measured
import redis
import redis.asyncio

from redqueue.core import add, lease
from redqueue.core.keys import Keys
from redqueue.core.script import Call

KEYS = Keys(measured.QUEUE, "redqueue")
MOST = 1000
LANE = 100
LEASE_MS = 30_000
COMPLETE = "c 0 - 1"
IDLE = measured.make_payload(0)


def command(call: Call[Any]) -> list[object]:
    """As `redqueue` sends it."""
    return ["EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args]


def add_call(payloads: list[measured.Payload], number: int, lane: str) -> list[object]:
    """One call that adds them all, numbered on a producer's lane."""
    created = int(time.time() * 1000)
    ids = (f"{lane}-{number}-{n}" for n in range(len(payloads)))
    jobs = [
        add.prepare(measured.QUEUE, payload, {}, {}, created_ms=created, fresh_id=job_id)
        for payload, job_id in zip(payloads, ids, strict=True)
    ]
    return command(add.add(KEYS, jobs).on(KEYS.producer(lane), number))


async def lane(client: redis.asyncio.Redis, name: str, numbers: Any) -> None:
    """Claim, count and settle for ever, one call after the other."""
    settles = lease.Settles([], [], [])
    while True:
        call = lease.pump(KEYS, "floor", "floor", name, next(numbers), settles, LANE, [], lease.ListRule())
        trip = call.read(await client.execute_command(*command(call)))
        settles = lease.Settles([], [], [])
        alone = len(trip.claimed) == 1
        for run in trip.claimed:
            measured.hit(json.loads(run.envelope.partition(b"\n")[2]) if alone else IDLE)
            settles.add(run, COMPLETE, b"null")
        if not trip.claimed:
            await client.execute_command("BLPOP", KEYS["wake"], 1)


async def pump() -> None:
    async with redis.asyncio.Redis.from_url(measured.URL) as client:
        await client.script_load(lease.PUMP.text)
        await client.script_load(lease.ENTER.text)
        await client.execute_command(*command(lease.enter(KEYS, "floor", "floor", "floor", 1, LEASE_MS)))
        measured.attend()
        numbers = iter(range(1, 1 << 40))  # of the session: both lanes' calls share them
        await asyncio.gather(lane(client, "a", numbers), lane(client, "b", numbers))


class Floor(measured.Producer):
    """The commands of a producer, with the calls made before the clock starts."""

    async def add_one(self, jobs: int) -> measured.Answer:
        calls = [add_call([measured.make_payload(n)], n + 1, "one") for n in range(jobs)]
        return await measured.timed(measured.one_by_one, self.add, calls)

    async def add_one_sync(self, jobs: int) -> measured.Answer:
        calls = [add_call([measured.make_payload(n)], n + 1, "sync") for n in range(jobs)]
        return await measured.timed(measured.one_by_one, self.add_sync, calls)

    async def add_bulk(self, jobs: int) -> measured.Answer:
        payloads = [measured.make_payload(n) for n in range(jobs)]
        starts = enumerate(range(0, jobs, MOST), 1)
        calls = [add_call(payloads[start : start + MOST], n, "bulk") for n, start in starts]
        return await measured.timed(measured.one_by_one, self.add, calls)

    async def ping(self, jobs: int, pause: float) -> measured.Answer:
        began = time.perf_counter()
        for number in range(1, jobs + 1):
            await self.add(add_call([measured.make_payload(number, t=time.monotonic_ns())], number, "ping"))
            await asyncio.sleep(pause)
        return {"seconds": time.perf_counter() - began}

    async def fill_up(self, jobs: int, size: int = 100) -> measured.Answer:
        return await self.add_bulk(jobs)


async def produce() -> None:
    client, plain_client = redis.asyncio.Redis.from_url(measured.URL), redis.Redis.from_url(measured.URL)

    async def send_async(call: Any) -> None:
        await client.execute_command(*call)

    def send(call: Any) -> None:
        plain_client.execute_command(*call)

    await client.script_load(add.ADD.text)
    none = "a bare client has no such thing"
    await measured.obey(Floor(send_async, none, none, add_sync=send))


if __name__ == "__main__":
    measured.main({"async": pump}, produce)

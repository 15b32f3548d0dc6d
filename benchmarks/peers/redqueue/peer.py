"""redqueue itself, on asyncio's own loop or, with ``BENCH_LOOP=uvloop``, on uvloop."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from typing import Any

import measured

from redqueue import AsyncQueue, Queue, ServiceRegistry, Worker

UVLOOP = os.environ.get("BENCH_LOOP") == "uvloop"


async def noop(data: dict[str, Any]) -> None:
    measured.hit(data)


def plain(data: dict[str, Any]) -> None:
    measured.hit(data)


def work(job: Any) -> None:
    registry = ServiceRegistry()
    registry.processor(measured.QUEUE)(job)
    worker = Worker([measured.QUEUE], measured.URL, registry=registry, concurrency=measured.concurrency(100))
    measured.attend()
    if UVLOOP:
        worker.run()
    else:
        asyncio.run(worker.serve())


async def answer() -> None:
    queue, plain_queue = AsyncQueue(measured.QUEUE, measured.URL), Queue(measured.QUEUE, measured.URL)

    async def add(payload: measured.Payload) -> None:
        await queue.add(measured.QUEUE, payload)

    def add_sync(payload: measured.Payload) -> None:
        plain_queue.add(measured.QUEUE, payload)

    async def bulk(payloads: list[measured.Payload]) -> None:
        await queue.add_many((measured.QUEUE, payload) for payload in payloads)

    async def delayed(payloads: list[measured.Payload], due_at: float) -> None:
        due = datetime.fromtimestamp(due_at, UTC)
        await queue.add_many(((measured.QUEUE, payload) for payload in payloads), at=due)

    await measured.obey(measured.Producer(add, bulk, delayed, add_sync=add_sync))


def produce() -> None:
    if UVLOOP:
        import uvloop

        uvloop.run(answer())
    else:
        asyncio.run(answer())


if __name__ == "__main__":
    measured.main({"async": lambda: work(noop), "plain": lambda: work(plain)}, produce)

"""saq, with 100 jobs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import measured
from saq import Queue, Worker


async def noop(context: dict[str, Any], *, payload: measured.Payload) -> None:
    measured.hit(payload)


def plain(context: dict[str, Any], *, payload: measured.Payload) -> None:
    measured.hit(payload)


def work(job: Callable[..., Any]) -> None:
    async def serve() -> None:
        queue = Queue.from_url(measured.URL, name=measured.QUEUE)
        await queue.connect()
        worker = Worker(queue, [("noop", job)], concurrency=measured.concurrency(100))
        measured.attend()
        await worker.start()

    asyncio.run(serve())


async def produce() -> None:
    queue = Queue.from_url(measured.URL, name=measured.QUEUE)
    await queue.connect()

    async def add(payload: measured.Payload) -> None:
        await queue.enqueue("noop", payload=payload)

    async def delayed(payloads: list[measured.Payload], due_at: float) -> None:
        async def add_later(payload: measured.Payload) -> None:
            await queue.enqueue("noop", payload=payload, scheduled=int(due_at))

        await measured.at_once(add_later, payloads)

    await measured.obey(measured.Producer(add, "saq adds one job a call", delayed))


if __name__ == "__main__":
    measured.main({"async": lambda: work(noop), "plain": lambda: work(plain)}, produce)

"""BullMQ for Python: one worker process. Its processors are coroutine functions only."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Sequence

from bullmq import Job, Queue, Worker
from measured import QUEUE, URL, Payload, Producer, attend, concurrency, hit, main, obey

AT_ONCE = 100
BULK = 1000  # jobs a call of addBulk, which is one pipeline


async def noop(job: Job, token: str) -> None:
    """The least that a job can do."""
    hit(job.data)


async def work_on_loop() -> None:
    """Run the worker until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    worker = Worker(QUEUE, noop, {"connection": URL, "concurrency": concurrency(AT_ONCE)})
    await stopped.wait()
    await worker.close()


def work() -> None:
    attend()
    asyncio.run(work_on_loop())


async def add_all(queue: Queue, payloads: Sequence[Payload], opts: dict[str, int]) -> None:
    for start in range(0, len(payloads), BULK):
        share = payloads[start : start + BULK]
        await queue.addBulk([{"name": "noop", "data": payload, "opts": opts} for payload in share])


async def produce() -> None:
    queue = Queue(QUEUE, {"connection": URL})

    async def add(payload: Payload) -> None:
        await queue.add("noop", payload)

    async def bulk(payloads: Sequence[Payload]) -> None:
        await add_all(queue, payloads, {})

    async def delayed(payloads: Sequence[Payload], due_at: float) -> None:
        timestamp = round(time.time() * 1000)
        await add_all(queue, payloads, {"timestamp": timestamp, "delay": max(0, round(due_at * 1000) - timestamp)})

    await obey(Producer(add=add, bulk=bulk, delayed=delayed))
    await queue.close()


if __name__ == "__main__":
    main({"async": work}, produce)

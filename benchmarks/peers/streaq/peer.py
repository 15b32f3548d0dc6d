"""streaQ: one worker process; plain functions run in as many threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from measured import QUEUE, URL, Payload, Producer, attend, concurrency, hit, main, obey
from streaq import Worker

AT_ONCE = 32
BULK = 1000  # tasks a call of enqueue_many, which is one pipeline

worker: Worker[None] = Worker(URL, queue_name=QUEUE, concurrency=concurrency(AT_ONCE))


async def noop(payload: Payload) -> None:
    """The least that a task can do, on the loop."""
    hit(payload)


def plain(payload: Payload) -> None:
    """The least that a task can do, in a thread."""
    hit(payload)


def work(function: Callable[..., object]) -> None:
    """Run the worker until SIGTERM, with this function as the task."""
    worker.task(name="noop")(function)
    attend()
    worker.run_sync()


async def produce() -> None:
    task = worker.task(name="noop")(noop)

    async def add(payload: Payload) -> None:
        await task.enqueue(payload)

    async def bulk(payloads: Sequence[Payload]) -> None:
        for start in range(0, len(payloads), BULK):
            await worker.enqueue_many([task.enqueue(payload) for payload in payloads[start : start + BULK]])

    async def delayed(payloads: Sequence[Payload], due_at: float) -> None:
        schedule = datetime.fromtimestamp(due_at, UTC)
        for start in range(0, len(payloads), BULK):
            share = payloads[start : start + BULK]
            await worker.enqueue_many([task.enqueue(payload).start(schedule=schedule) for payload in share])

    async with worker:
        await obey(Producer(add=add, bulk=bulk, delayed=delayed))


if __name__ == "__main__":
    main({"async": lambda: work(noop), "plain": lambda: work(plain)}, produce)

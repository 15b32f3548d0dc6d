"""Celery with Redis as its broker and result backend: one worker process, whose pool is solo, or threads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime

from celery import Celery, group
from measured import AT_ONCE, QUEUE, URL, Payload, Producer, attend, concurrency, hit, main, obey

THREADS = 10

app = Celery("bench", broker=URL, backend=URL)
app.conf.update(task_default_queue=QUEUE, worker_prefetch_multiplier=128, broker_pool_limit=AT_ONCE)


@app.task(name="noop")
def noop(payload: Payload) -> None:
    """The only kind of function there is."""
    hit(payload)


def work() -> None:
    """Run the worker until SIGTERM. The solo pool runs one task at a time: several at once take threads."""
    pool = os.environ.get("BENCH_POOL", "solo")
    at_once = 1 if pool == "solo" else concurrency(THREADS)
    attend()
    app.worker_main(["worker", "--pool", pool, "--concurrency", str(at_once), "--loglevel", "ERROR"])


def bulk(payloads: Sequence[Payload]) -> None:
    group(noop.s(payload) for payload in payloads).apply_async()


def delayed(payloads: Sequence[Payload], due_at: float) -> None:
    eta = datetime.fromtimestamp(due_at, UTC)
    for payload in payloads:
        noop.apply_async((payload,), eta=eta)


async def produce() -> None:
    await obey(Producer(add=noop.delay, bulk=bulk, delayed=delayed))


if __name__ == "__main__":
    main({"plain": work}, produce)

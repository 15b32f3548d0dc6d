"""arq, with 100 jobs at once and a short poll_delay."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import measured
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

SETTINGS = RedisSettings.from_dsn(measured.URL)


async def noop(context: dict[str, Any], payload: measured.Payload) -> None:
    measured.hit(payload)


async def noop_in_a_thread(context: dict[str, Any], payload: measured.Payload) -> None:
    """What its documentation shows for blocking code."""
    await asyncio.get_running_loop().run_in_executor(context["pool"], measured.hit, payload)


def work(job: Any) -> None:
    job.__name__ = job.__qualname__ = "noop"
    asyncio.set_event_loop(asyncio.new_event_loop())
    at_once = measured.concurrency(100)
    worker = Worker(
        [job],
        redis_settings=SETTINGS,
        queue_name=measured.QUEUE,
        max_jobs=at_once,
        poll_delay=0.005,
        log_results=False,
        ctx={"pool": ThreadPoolExecutor(at_once)},
    )
    measured.attend()
    worker.run()


async def produce() -> None:
    pool = await create_pool(SETTINGS, default_queue_name=measured.QUEUE)

    async def add(payload: measured.Payload) -> None:
        await pool.enqueue_job("noop", payload)

    async def delayed(payloads: list[measured.Payload], due_at: float) -> None:
        due = datetime.fromtimestamp(due_at, UTC)

        async def add_later(payload: measured.Payload) -> None:
            await pool.enqueue_job("noop", payload, _defer_until=due)

        await measured.at_once(add_later, payloads)

    await measured.obey(measured.Producer(add, "arq adds one job a call", delayed))


if __name__ == "__main__":
    measured.main({"async": lambda: work(noop), "plain": lambda: work(noop_in_a_thread)}, produce)

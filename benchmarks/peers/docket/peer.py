"""Docket: one worker process in its fire-and-forget mode. Its tasks are coroutine functions only."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from docket import Docket, Worker
from measured import QUEUE, URL, Payload, Producer, attend, concurrency, hit, main, obey

AT_ONCE = 50


async def noop(payload: Payload) -> None:
    """The least that a task can do."""
    hit(payload)


def open_docket() -> Docket:
    docket = Docket(name=QUEUE, url=URL, execution_ttl=timedelta(0))
    docket.register(noop)
    return docket


async def work_on_loop() -> None:
    """Run the worker until SIGTERM."""
    async with open_docket() as docket, Worker(docket, concurrency=concurrency(AT_ONCE)) as worker:
        running = asyncio.ensure_future(worker.run_forever())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        with suppress(asyncio.CancelledError):
            await running


def work() -> None:
    attend()
    asyncio.run(work_on_loop())


async def produce() -> None:
    async with open_docket() as docket:

        async def add(payload: Payload) -> None:
            await docket.add(noop)(payload)

        async def bulk(payloads: Sequence[Payload]) -> None:
            await docket.add_many(docket.call(noop)(payload) for payload in payloads)

        async def delayed(payloads: Sequence[Payload], due_at: float) -> None:
            when = datetime.fromtimestamp(due_at, UTC)
            await docket.add_many(docket.call(noop, when=when)(payload) for payload in payloads)

        await obey(Producer(add=add, bulk=bulk, delayed=delayed))


if __name__ == "__main__":
    main({"async": work}, produce)

"""Taskiq with the stream broker of taskiq-redis: one worker process, run by what `taskiq worker` runs."""

from __future__ import annotations

from collections.abc import Callable

import uvloop
from measured import QUEUE, URL, Payload, Producer, attend, concurrency, hit, main, obey
from taskiq.cli.common_args import LogLevel
from taskiq.cli.worker.args import WorkerArgs
from taskiq.cli.worker.run import start_listen
from taskiq_redis import RedisStreamBroker

AT_ONCE = 100
NO_BULK = "one XADD each: taskiq has no way to send many"
NO_DELAYED = "delayed tasks need the separate scheduler process, which looks for new ones once a minute"

# From the stream's start: what was added before the worker is read too.
broker = RedisStreamBroker(URL, queue_name=QUEUE, consumer_id="0")


def work(function: Callable[..., object]) -> None:
    """Run the worker until SIGTERM, with this function as the task. It takes uvloop because that is installed."""
    broker.register_task(function, task_name="noop")
    at_once = concurrency(AT_ONCE)
    args = WorkerArgs(
        broker=broker,  # type: ignore[arg-type]  # its code takes the object too
        modules=[],
        log_level=LogLevel.WARNING,
        max_async_tasks=at_once,
        max_prefetch=at_once,
        max_threadpool_threads=at_once,
    )
    attend()
    start_listen(args)


async def noop(payload: Payload) -> None:
    """The least that a task can do, on the loop."""
    hit(payload)


def plain(payload: Payload) -> None:
    """The least that a task can do, in a thread."""
    hit(payload)


async def produce_on_loop() -> None:
    task = broker.register_task(noop, task_name="noop")

    async def add(payload: Payload) -> None:
        await task.kiq(payload)

    await broker.startup()
    await obey(Producer(add=add, bulk=NO_BULK, delayed=NO_DELAYED))
    await broker.shutdown()


if __name__ == "__main__":
    main({"async": lambda: work(noop), "plain": lambda: work(plain)}, lambda: uvloop.run(produce_on_loop()))

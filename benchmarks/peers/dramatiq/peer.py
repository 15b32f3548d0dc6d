"""dramatiq on its Redis broker: one process, with the middleware that it has by default."""

from __future__ import annotations

import logging
import signal
import threading
import time
from typing import Any

import dramatiq
import measured
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO

logging.getLogger("dramatiq").setLevel(logging.ERROR)
broker = RedisBroker(url=measured.URL)
dramatiq.set_broker(broker)


def plain(payload: measured.Payload) -> None:
    measured.hit(payload)


async def noop(payload: measured.Payload) -> None:
    measured.hit(payload)


def make_actor(job: Any) -> Any:
    return dramatiq.actor(job, actor_name="noop", queue_name=measured.QUEUE)


def work(job: Any) -> None:
    broker.add_middleware(AsyncIO())
    make_actor(job)
    worker = dramatiq.Worker(broker, worker_threads=measured.concurrency(8))
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    measured.attend()
    worker.start()
    stopped.wait()
    worker.stop()


async def produce() -> None:
    actor = make_actor(plain)

    def add(payload: measured.Payload) -> None:
        actor.send(payload)

    def bulk(payloads: list[measured.Payload]) -> None:
        dramatiq.group([actor.message(payload) for payload in payloads]).run()

    async def delayed(payloads: list[measured.Payload], due_at: float) -> None:
        def add_later(payload: measured.Payload) -> None:
            actor.send_with_options(args=(payload,), delay=max(0, round((due_at - time.time()) * 1000)))

        await measured.at_once(add_later, payloads)

    await measured.obey(measured.Producer(add, bulk, delayed))


if __name__ == "__main__":
    measured.main({"async": lambda: work(noop), "plain": lambda: work(plain)}, produce)

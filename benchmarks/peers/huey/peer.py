"""huey on its Redis list, with worker threads."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import measured
from huey import RedisHuey

logging.getLogger("huey").setLevel(logging.ERROR)
huey = RedisHuey(measured.QUEUE, url=measured.URL)


@huey.task(name="noop")
def noop(payload: measured.Payload) -> None:
    measured.hit(payload)


def work() -> None:
    consumer = huey.create_consumer(workers=measured.concurrency(10), worker_type="thread", periodic=False)
    measured.attend()
    consumer.run()


async def produce() -> None:
    def add(payload: measured.Payload) -> None:
        noop(payload)

    def bulk(payloads: list[measured.Payload]) -> None:
        noop.map(payloads)

    async def delayed(payloads: list[measured.Payload], due_at: float) -> None:
        due = datetime.fromtimestamp(due_at, UTC)
        await measured.at_once(lambda payload: noop.schedule((payload,), eta=due), payloads)

    await measured.obey(measured.Producer(add, bulk, delayed))


if __name__ == "__main__":
    measured.main({"plain": work}, produce)

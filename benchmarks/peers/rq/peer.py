"""rq, by its SimpleWorker: jobs run in the worker's own process and thread, without a fork each."""

from __future__ import annotations

from datetime import UTC, datetime

import measured
from redis import Redis
from rq import Queue, SimpleWorker

JOB = "peer.plain"  # rq refuses functions of __main__


def plain(payload: measured.Payload) -> None:
    measured.hit(payload)


def work() -> None:
    queue = Queue(measured.QUEUE, connection=Redis.from_url(measured.URL))
    worker = SimpleWorker([queue], connection=queue.connection, log_job_description=False)
    measured.attend()
    worker.work(logging_level="ERROR", with_scheduler=True)  # the scheduler is what delayed jobs need


async def produce() -> None:
    queue = Queue(measured.QUEUE, connection=Redis.from_url(measured.URL))

    def add(payload: measured.Payload) -> None:
        queue.enqueue(JOB, payload)

    def bulk(payloads: list[measured.Payload]) -> None:
        for start in range(0, len(payloads), 1000):
            queue.enqueue_many([Queue.prepare_data(JOB, (payload,)) for payload in payloads[start : start + 1000]])

    async def delayed(payloads: list[measured.Payload], due_at: float) -> None:
        due = datetime.fromtimestamp(due_at, UTC)
        await measured.at_once(lambda payload: queue.enqueue_at(due, JOB, payload), payloads)

    await measured.obey(measured.Producer(add, bulk, delayed))


if __name__ == "__main__":
    measured.main({"plain": work}, produce)

"""A producer process of a scenario: adds its jobs, asks again until each is accepted, and cancels a few of them."""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from chaos.jobs import JOB_TYPE, Fate, Order
from chaos.ledger import Ledger, now_us
from chaos.lifeline import end_with_parent

from redqueue import Queue
from redqueue.errors import RedisFull, RedisUnavailable

R = TypeVar("R")

LOOK_EVERY: Final = 10
ASK_AGAIN_S: Final = 0.1


def main() -> None:
    """Add all, and end."""
    options = _options()
    end_with_parent()
    random_of = random.Random(f"{options.seed} {options.name}")
    with Queue(options.queue, options.url) as queue, Ledger(options.ledger, options.name) as ledger:
        for batch, first in enumerate(range(0, options.count, options.batch)):
            if batch % LOOK_EVERY == 0:
                _wait_for_room(queue, ledger, options.backlog)
            ids = [f"{options.name}.{n}" for n in range(first, min(first + options.batch, options.count))]
            jobs = [_job(job_id, random_of, options) for job_id in ids]
            insist(ledger, lambda: queue.add_many(jobs))  # noqa: B023 - called here and now
            at = now_us()
            ledger.note_all([f"accepted {job_id} {at}" for job_id in ids])
            for job_id in ids:
                if random_of.random() < options.cancels:
                    ledger.note("cancel", job_id, "asked", now_us())
                    answer = insist(ledger, lambda: queue.cancel(job_id, "chaos"))  # noqa: B023
                    ledger.note("cancel", job_id, answer, now_us())


def insist(ledger: Ledger, call: Callable[[], R]) -> R:
    """Call until it is answered."""
    while True:
        try:
            return call()
        except (RedisUnavailable, RedisFull):
            ledger.note("refused", now_us())
            time.sleep(ASK_AGAIN_S)


def _job(job_id: str, random_of: random.Random, options: argparse.Namespace) -> tuple[str, Order, Any]:
    """Nine in ten are plain; the others are delayed, of another priority, flaky or broken."""
    draw = random_of.random()
    how: dict[str, Any] = {"job_id": job_id}
    if draw < 0.03:
        how["delay"] = random_of.uniform(0.01, 2)
    elif draw < 0.06:
        how["priority"] = random_of.randint(-3, 3)
    does: Fate = "flaky" if 0.06 <= draw < 0.09 else "broken" if 0.09 <= draw < 0.1 else "ok"
    return JOB_TYPE, Order(random_of.uniform(options.ms / 2, options.ms), "ok" if options.plain else does), how


def _wait_for_room(queue: Queue, ledger: Ledger, backlog: int) -> None:
    """Adding goes on for as long as the work does, so that faults hit both."""
    while insist(ledger, queue.get_stats).waiting > backlog:
        time.sleep(0.05)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos.produce")
    parser.add_argument("--name", required=True)
    parser.add_argument("--ledger", required=True, type=Path)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--ms", type=float, required=True, help="that a job takes at most")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--backlog", type=int, default=20_000)
    parser.add_argument("--cancels", type=float, default=0.005, help="the share of jobs that are cancelled")
    parser.add_argument("--plain", action="store_true", help="none is flaky or broken")
    return parser.parse_args()


if __name__ == "__main__":
    main()

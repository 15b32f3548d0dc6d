"""What a job costs when there are more workers, more jobs, or larger ones."""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks.scaling.rig import CHUNK, PAYLOAD, Cost, Rig

from redqueue import JobOptions

BATCH: Final = 20_000
ADDED: Final[list[tuple[str, object, JobOptions]]] = [("noop", PAYLOAD, {})] * BATCH

Rounds = dict[str, Any]


def note(rounds: Rounds, kind: str, cost: Cost) -> None:
    """Keep one round of that kind."""
    for name in ("jobs_a_second", "redis_us", "worker_us", "redis_share"):
        rounds.setdefault(f"{kind}_{name}", []).append(round(getattr(cost, name), 4))


def by_workers(counts: Sequence[int], rounds: int, jobs: int) -> list[Rounds]:
    """Jobs processed by that many worker processes of one queue."""
    found = [Rounds(workers=count) for count in counts]
    with Rig() as rig:
        rig.queue.pause()
        for _ in range(rounds):
            for one in found:
                rig.fill(jobs)
                rig.enter(one["workers"])
                note(one, "process", rig.process(jobs))
                rig.leave()
    return found


def open_waiting(stack: ExitStack, size: int) -> tuple[Rig, Rounds]:
    """A paused queue of that many waiting jobs, and one worker."""
    rig = stack.enter_context(Rig())
    rig.queue.pause()
    before = rig.used_memory()
    rig.fill(size)
    found = Rounds(state="waiting", size=size, bytes=(rig.used_memory() - before) / size)
    rig.enter()
    rig.fill(BATCH // 4)
    rig.process(BATCH // 4)  # a warm worker, and scripts that are loaded
    return rig, found


def measure_waiting(rig: Rig, found: Rounds) -> None:
    """Add a batch behind those that wait, and process as many of the first."""
    note(found, "add", rig.add(ADDED))
    note(found, "process", rig.process(BATCH))


def open_delayed(stack: ExitStack, size: int) -> tuple[Rig, Rounds]:
    """A paused queue of that many jobs that are due in an hour or two, and one worker."""
    chance = random.Random(size)
    rig = stack.enter_context(Rig())
    rig.queue.pause()
    before = rig.used_memory()
    for start in range(0, size, CHUNK):
        delays = [chance.randrange(3600, 7200) for _ in range(min(CHUNK, size - start))]
        rig.queue.add_many([("noop", PAYLOAD, {"delay": delay}) for delay in delays])
    found = Rounds(state="delayed", size=size, bytes=(rig.used_memory() - before) / size)
    rig.enter()
    return rig, found


def measure_delayed(rig: Rig, found: Rounds) -> None:
    """Add a batch before all others, due at one moment; then, when it is due, promote and process it."""
    due_at = time.time() + 1
    note(found, "add", rig.add([("noop", PAYLOAD, {"at": datetime.fromtimestamp(due_at, UTC)})] * BATCH))
    time.sleep(max(due_at - time.time(), 0) + 0.1)
    note(found, "process", rig.process(BATCH))


def by_active(held: Sequence[int], rounds: int) -> list[Rounds]:
    """Jobs processed while another worker holds that many."""
    with ExitStack() as stack:
        pairs = []
        for count in held:
            rig = stack.enter_context(Rig())
            if count:
                rig.fill(count, "hold")
                rig.enter(concurrency=count)
                while rig.queue.get_stats().active < count:
                    time.sleep(0.1)
            rig.queue.pause()
            rig.enter()
            rig.fill(BATCH)
            rig.process(BATCH // 4)
            pairs.append((rig, Rounds(active=count)))
        for _ in range(rounds):
            for rig, found in pairs:
                measure_waiting(rig, found)
    return [found for _, found in pairs]


def by_payload(sizes: Sequence[tuple[int, int]], rounds: int) -> list[Rounds]:
    """Jobs with that many bytes of data, so many of each."""
    found: dict[int, Rounds] = defaultdict(Rounds)
    with Rig() as rig:
        rig.queue.pause()
        rig.enter()
        for _ in range(rounds):
            for size, jobs in sizes:
                batch: list[tuple[str, object, JobOptions]] = [("noop", {"n": 0, "text": "x" * (size - 17)}, {})] * jobs
                note(found[size], "add", rig.add(batch))
                note(found[size], "process", rig.process(jobs))
    return [Rounds(payload=size, **one) for size, one in found.items()]

"""First figures of redqueue beside its floor, in under a minute: ``make bench-quick``.

The floor is a bare redis-py client that sends the very same script calls, made beforehand. Ratios travel between
machines, absolute figures don't. Each figure is the median of interleaved rounds, with the least and the most.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import redis
import redis.asyncio

from redqueue import AsyncQueue, Queue, ServiceRegistry, Worker
from redqueue.core import add
from redqueue.core.keys import Keys
from redqueue.embedded import PrivateServer

HERE = Path(__file__).parent
PAYLOAD = {"n": 0, "text": "x" * 80}
registry = ServiceRegistry()


@registry.processor("noop")
async def noop(data: dict[str, object]) -> None:
    """The least that a job can do, on the loop."""


@registry.processor("plain")
def plain(data: dict[str, object]) -> None:
    """The least that a job can do, in a thread."""


@dataclass
class Figure:
    """One measured thing: jobs or calls a second, or bytes."""

    name: str
    unit: str
    rounds: list[float]

    def __str__(self) -> str:
        low, high = min(self.rounds), max(self.rounds)
        return f"{self.name:<44} {statistics.median(self.rounds):>12,.0f} {self.unit:<8} ({low:,.0f} to {high:,.0f})"


async def process(url: str, job_type: str, jobs: int, concurrency: int) -> float:
    """Jobs a second of one worker that drains a full queue."""
    async with AsyncQueue(job_type, url) as queue:
        await queue.obliterate(force=True)
        await queue.add_many([(job_type, PAYLOAD)] * jobs)
        worker = Worker([job_type], url, registry=registry, concurrency=concurrency, burst=True)
        began = time.perf_counter()
        await worker.serve()
        seconds = time.perf_counter() - began
        stats = await queue.get_stats()
        assert stats.succeeded == jobs, stats
        return jobs / seconds


async def add_many(url: str, jobs: int) -> float:
    """Jobs a second added in bulk."""
    async with AsyncQueue("bulk", url) as queue:
        await queue.obliterate(force=True)
        batch = [("noop", PAYLOAD)] * jobs
        began = time.perf_counter()
        await queue.add_many(batch)
        return jobs / (time.perf_counter() - began)


async def add_one_async(url: str, jobs: int) -> float:
    """Jobs a second added one after the other, by the async queue."""
    async with AsyncQueue("single", url) as queue:
        await queue.obliterate(force=True)
        began = time.perf_counter()
        for _ in range(jobs):
            await queue.add("noop", PAYLOAD)
        return jobs / (time.perf_counter() - began)


async def add_one(url: str, jobs: int) -> float:
    """The same by the sync queue."""
    with Queue("single", url) as queue:
        queue.obliterate(force=True)
        began = time.perf_counter()
        for _ in range(jobs):
            queue.add("noop", PAYLOAD)
        return jobs / (time.perf_counter() - began)


def prepared_calls(calls: int) -> list[list[object]]:
    """The very commands of that many adds, made beforehand."""
    keys = Keys("floor", "redqueue")
    made = [
        add.prepare("noop", PAYLOAD, {}, {}, created_ms=int(time.time() * 1000), fresh_id=f"{n:016}")
        for n in range(calls)
    ]
    numbered = [add.add(keys, [job]).on(keys.producer("floor:0"), n) for n, job in enumerate(made, 1)]
    return [["EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args] for call in numbered]


async def bare_async(url: str, calls: int) -> float:
    """The floor: the same script calls by a bare asyncio client."""
    commands = prepared_calls(calls)
    async with redis.asyncio.Redis.from_url(url) as client:
        await client.flushall()
        await client.script_load(add.ADD.text)
        began = time.perf_counter()
        for command in commands:
            await client.execute_command(*command)  # type: ignore[no-untyped-call]
        return calls / (time.perf_counter() - began)


async def bare(url: str, calls: int) -> float:
    """The same by a bare sync client."""
    commands = prepared_calls(calls)
    with redis.Redis.from_url(url) as client:
        client.flushall()
        client.script_load(add.ADD.text)
        began = time.perf_counter()
        for command in commands:
            client.execute_command(*command)
        return calls / (time.perf_counter() - began)


async def start_to_first_job(url: str) -> float:
    """Milliseconds from the start of a worker's process to its first run of a job that waits."""
    async with AsyncQueue("first", url) as queue:
        job = await queue.add("first")
        arguments = ["-m", "redqueue.worker", "first_job:registry", "-q", "first", "--url", url]
        began = time.monotonic_ns()
        worker = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=HERE, stderr=DEVNULL)
        try:
            return (int(await job.result(30)) - began) / 1e6
        finally:
            worker.terminate()
            await worker.wait()


async def bytes_a_job(url: str, jobs: int) -> float:
    """Memory that one waiting job with a 100-byte payload takes in Redis."""
    with redis.Redis.from_url(url) as client, Queue("memory", url) as queue:
        client.execute_command("FLUSHALL", "SYNC")
        before = int(client.info("memory")["used_memory"])
        queue.add_many([("noop", PAYLOAD)] * jobs)
        return (int(client.info("memory")["used_memory"]) - before) / jobs


Measure = Callable[[str], Awaitable[float]]


def measures(scale: float) -> Mapping[str, tuple[str, Measure]]:
    """What is measured, by name."""
    many, few = int(60_000 * scale), int(4_000 * scale)
    return {
        "process, async, concurrency 100": ("jobs/s", lambda url: process(url, "noop", many, 100)),
        "process, async, concurrency 10 (default)": ("jobs/s", lambda url: process(url, "noop", many, 10)),
        "process, plain function in threads": ("jobs/s", lambda url: process(url, "plain", many // 2, 10)),
        "add_many": ("jobs/s", lambda url: add_many(url, many)),
        "add, one at a time, async": ("jobs/s", lambda url: add_one_async(url, few)),
        "  floor: bare EVALSHA, async": ("calls/s", lambda url: bare_async(url, few)),
        "add, one at a time, sync": ("jobs/s", lambda url: add_one(url, few)),
        "  floor: bare EVALSHA, sync": ("calls/s", lambda url: bare(url, few)),
        "start of a worker's process to its first job": ("ms", start_to_first_job),
        "memory a waiting job": ("bytes", lambda url: bytes_a_job(url, many)),
    }


async def run(rounds: int, scale: float) -> list[Figure]:
    """All figures, in interleaved rounds on one server."""
    figures = [Figure(name, unit, []) for name, (unit, _) in measures(scale).items()]
    with PrivateServer() as server:
        for _ in range(rounds):
            for figure, (_, measure) in zip(figures, measures(scale).values(), strict=True):
                figure.rounds.append(await measure(server.url))
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="how many jobs, against the usual number")
    parser.add_argument("--json", action="store_true", help="print the rounds as JSON")
    options = parser.parse_args()
    figures = asyncio.run(run(options.rounds, options.scale))
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    else:
        print(*figures, sep="\n")
        by_name = {figure.name: statistics.median(figure.rounds) for figure in figures}
        for kind in ("async", "sync"):
            ratio = by_name[f"add, one at a time, {kind}"] / by_name[f"  floor: bare EVALSHA, {kind}"]
            print(f"add, one at a time, {kind}: {ratio:.0%} of its floor")
    return 0


if __name__ == "__main__":
    sys.exit(main())

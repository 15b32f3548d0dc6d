"""A server of its own, worker processes, and what they cost."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self

import redis

from redqueue import JobOptions, Queue
from redqueue.embedded import PrivateServer

CHECKOUT = Path(__file__).parents[2]
QUEUE = "bench"
PAYLOAD = {"n": 0, "text": "x" * 80}
CHUNK = 20_000
GUARD_S = 600.0


class Sample(NamedTuple):
    """Counters of one moment: seconds, Redis's CPU seconds, jobs that ended."""

    at: float
    redis_cpu: float
    ended: int


@dataclass(frozen=True)
class Cost:
    """What some jobs took. CPU is in microseconds a job; `redis_share` is of one core."""

    jobs: int
    seconds: float
    redis_us: float
    worker_us: float = 0.0

    @property
    def jobs_a_second(self) -> float:
        return self.jobs / self.seconds

    @property
    def redis_share(self) -> float:
        return self.redis_us * self.jobs / 1e6 / self.seconds


class Process:
    """One worker process of `benchmarks.scaling.noop_worker`."""

    def __init__(self, url: str, *, concurrency: int | None = 100, lease: float = 30) -> None:
        words = [] if concurrency is None else ["--concurrency", str(concurrency)]
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.scaling.noop_worker", url, QUEUE, "--lease", str(lease), *words],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: str = "gauge") -> dict[str, Any]:
        """What it answers: cpu in seconds, rss in bytes, and holdings when inspected."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(question + "\n")
        self._popen.stdin.flush()
        line = self._popen.stdout.readline()
        if not line:
            raise ChildProcessError("a worker process of the benchmark has ended; what it said is above")
        told: dict[str, Any] = json.loads(line)
        return told

    def kill(self) -> None:
        """End it as a crash does."""
        self._popen.kill()
        self._popen.wait()

    def close(self) -> None:
        """End it in order; by force after 10 s."""
        self._popen.terminate()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


class Rig:
    """One server with one queue, `workers` processes for it, and gauges on all of them."""

    def __init__(self) -> None:
        self._server = PrivateServer(port=_free_port(), binary=shutil.which("redis-server"))
        self.url = self._server.url
        self.workers: list[Process] = []

    def __enter__(self) -> Self:
        self._server.__enter__()
        self.client: redis.Redis = redis.Redis.from_url(self.url)
        self.queue = Queue(QUEUE, self.url)
        return self

    def __exit__(self, *exc: object) -> None:
        self.leave()
        self.queue.close()
        self.client.close()
        self._server.close()

    def enter(self, count: int = 1, *, concurrency: int | None = 100, lease: float = 30) -> list[Process]:
        """Start that many worker processes and wait until they are known."""
        known = self.queue.get_stats().workers
        fresh = [Process(self.url, concurrency=concurrency, lease=lease) for _ in range(count)]
        self.workers += fresh
        wait_until(lambda: self.queue.get_stats().workers >= known + count)
        return fresh

    def leave(self) -> None:
        """End all worker processes."""
        for worker in self.workers:
            worker.close()
        self.workers = []

    def fill(self, jobs: int, job_type: str = "noop", data: object = PAYLOAD, **options: Any) -> None:
        """Add that many jobs, in pieces, since a call of `add_many` encodes all of its jobs first."""
        for start in range(0, jobs, CHUNK):
            self.queue.add_many([(job_type, data)] * min(CHUNK, jobs - start), **options)

    def add(self, jobs: Sequence[tuple[str, object, JobOptions]]) -> Cost:
        """The cost of adding them."""
        before = self.sample()
        self.queue.add_many(jobs)
        return self._cost(len(jobs), before, self.sample())

    def sample(self) -> Sample:
        with self.client.pipeline() as pipe:
            pipe.info("cpu")
            pipe.hmget(f"redqueue:{{{QUEUE}}}:meta", "completed", "failed")
            cpu, totals = pipe.execute()
        ended = sum(int(total or 0) for total in totals)
        return Sample(time.monotonic(), cpu["used_cpu_user"] + cpu["used_cpu_sys"], ended)

    def used_memory(self) -> int:
        return int(self.client.info("memory")["used_memory"])

    @contextlib.contextmanager
    def measured(self) -> Iterator[Callable[[int], Cost]]:
        """Between enter and the call with a number of jobs: the cost of what ended, when at least so many have."""
        before, spent = self.sample(), self._worker_cpu()

        def when_ended(jobs: int) -> Cost:
            wait_until(lambda: self.ended() - before.ended >= jobs, pause=0.005)
            after = self.sample()
            cost = self._cost(after.ended - before.ended, before, after)
            worker_us = (self._worker_cpu() - spent) * 1e6 / cost.jobs
            return Cost(cost.jobs, cost.seconds, cost.redis_us, worker_us)

        yield when_ended

    def process(self, jobs: int) -> Cost:
        """The cost of processing at least so many of those that wait. The queue must be paused, and is afterwards."""
        with self.measured() as when_ended:
            self.queue.resume()
            cost = when_ended(jobs)
        self.queue.pause()
        return cost

    def ended(self) -> int:
        return sum(int(total or 0) for total in self.client.hmget(f"redqueue:{{{QUEUE}}}:meta", "completed", "failed"))

    def _worker_cpu(self) -> float:
        return sum(float(worker.ask()["cpu"]) for worker in self.workers)

    @staticmethod
    def _cost(jobs: int, before: Sample, after: Sample) -> Cost:
        return Cost(jobs, after.at - before.at, (after.redis_cpu - before.redis_cpu) * 1e6 / jobs)


def wait_until(true: Callable[[], bool], *, pause: float = 0.02) -> None:
    """Look until it is so. Raises TimeoutError after 10 minutes, which only something broken takes."""
    deadline = time.monotonic() + GUARD_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so after {GUARD_S:g} s: {true.__qualname__}")
        time.sleep(pause)


def facts(rig: Rig) -> dict[str, Any]:
    """The machine and the programs, with nothing that tells whose they are."""
    info = rig.client.info("server")
    name = "Valkey" if "valkey_version" in info else "Redis"
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "server": f"{name} {info.get('valkey_version') or info['redis_version']}",
        "redis-py": version("redis"),
        "load": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

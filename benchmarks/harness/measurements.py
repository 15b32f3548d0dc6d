"""The measurements: each empties the server, starts fresh processes, and returns figures by key."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.harness import environments
from benchmarks.harness.peers import Peer
from benchmarks.harness.processes import SERVER_CORE, WORKER_CORE, Broken, Producer, Worker
from benchmarks.harness.server import Server

GUARD_SECONDS: Final = 30  # without a sign of life
WARM_UP: Final = 20
TEN: Final = {"BENCH_CONCURRENCY": "10"}


class Unsupported(Exception):
    """The peer has no such thing; the reason is shown."""


class Bench:
    """One peer on the server."""

    def __init__(self, peer: Peer, server: Server) -> None:
        self.peer = peer
        self._server = server
        self._command = environments.command(peer)

    def producer(self, core: int = WORKER_CORE) -> Producer:
        return Producer(self._command, self._environment(), core)

    def worker(self, flavour: str, more: Mapping[str, str]) -> Worker:
        return Worker(self._command, flavour, {**self._environment(), **more}, WORKER_CORE)

    def _environment(self) -> dict[str, str]:
        return {**self.peer.environment, "BENCH_URL": self._server.url}

    def add(self, what: str, jobs: int) -> dict[str, float]:
        """Jobs a second of one way to add."""
        self._server.empty()
        with self.producer() as producer:
            return {what: jobs / seconds(producer.do(what, GUARD_SECONDS, jobs=jobs))}

    def process(self, key: str, flavour: str, jobs: int, more: Mapping[str, str]) -> dict[str, float]:
        """Jobs a second of one worker from its first to its last hit, over a backlog that was there before."""
        if flavour not in self.peer.flavours:
            raise Unsupported(f"its worker runs only {' and '.join(self.peer.flavours)} functions")
        self._server.empty()
        empty = self._server.work()
        with self.producer() as producer:
            producer.do("fill", GUARD_SECONDS * 2, jobs=jobs, size=100)
        self._server.wait_until_alone()  # a connection takes memory, too
        full = self._server.work()
        with self.worker(flavour, more) as worker:
            idle = self._server.work()
            worker.expect(jobs)
            report = worker.hear(GUARD_SECONDS + jobs / 100)
            done = self._server.work()
        if report["last"] <= report["first"]:
            raise Broken("all hits at one time")
        added, processed = full.since(empty), done.since(idle)
        return {
            key: (jobs - 1) / (report["last"] - report["first"]) * 1e9,
            "bytes": added.memory / jobs,
            "redis_add": added.cpu / jobs * 1e6,
            "redis_process": processed.cpu / jobs * 1e6,
            "worker_cpu": report["cpu"] / jobs * 1e6,
            "commands": processed.commands / jobs,
            "reads": processed.reads / jobs,
        }

    def latency(self, jobs: int, pause: float) -> dict[str, float]:
        """Milliseconds from just before the add to the hit; the pause keeps the worker idle between two."""
        self._server.empty()
        with self.worker(self.peer.flavours[0], {}) as worker, self.producer(SERVER_CORE) as producer:
            worker.expect(jobs + WARM_UP)
            producer.do("ping", GUARD_SECONDS + 2 * pause * jobs, jobs=jobs + WARM_UP, pause=pause)
            found = worker.hear(GUARD_SECONDS)["latencies_ns"][WARM_UP:]
        ordered = sorted(found)
        worst = ordered[math.ceil(len(ordered) * 0.99) - 1]
        return {"latency_p50": statistics.median(ordered) / 1e6, "latency_p99": worst / 1e6}

    def delayed(self, jobs: int, adding_seconds: float) -> dict[str, float]:
        """Seconds from the moment at which all jobs are due to the last hit; once more when adding took too long."""
        lead = adding_seconds
        for _ in range(2):
            self._server.empty()
            with self.worker(self.peer.flavours[0], {}) as worker, self.producer() as producer:
                producer.do("add_one", GUARD_SECONDS, jobs=0)  # answers once it has started
                worker.expect(jobs)
                due_at = math.ceil(time.time() + lead + 1)  # whole seconds: some peers know no others
                offset = time.time() - time.monotonic()
                taken = seconds(producer.do("add_delayed", GUARD_SECONDS * 2, jobs=jobs, due_at=due_at))
                if time.time() < due_at:
                    last = worker.hear(GUARD_SECONDS + lead + jobs / 100)["last"] / 1e9 + offset
                    return {"delayed": last - due_at}
                lead = taken * 2
        raise Broken(f"adding took {taken:.1f} s, longer than until they were due")

    def measurements(self) -> Mapping[str, Callable[[int], dict[str, float]]]:
        """Those that take nothing but a number of jobs, by name."""
        first = self.peer.flavours[0]
        return {
            "process_async": lambda jobs: self.process("process_async", "async", jobs, {}),
            "process_plain": lambda jobs: self.process("process_plain", "plain", jobs, {}),
            "process_ten": lambda jobs: self.process("process_ten", first, jobs, TEN),
            "add_one": lambda jobs: self.add("add_one", jobs),
            "add_one_sync": lambda jobs: self.add("add_one_sync", jobs),
            "add_fifty": lambda jobs: self.add("add_fifty", jobs),
            "add_bulk": lambda jobs: self.add("add_bulk", jobs),
        }


def seconds(answer: Mapping[str, object]) -> float:
    """What a producer's answer says. Raises Unsupported, or Broken when it says nothing."""
    if "unsupported" in answer:
        raise Unsupported(str(answer["unsupported"]))
    if not isinstance(found := answer.get("seconds"), float | int) or found <= 0:
        raise Broken(f"not an answer of a producer: {answer}")
    return float(found)

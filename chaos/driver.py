"""The stage of a scenario: a server, workers and producers as processes, and what is done to them.

What to hit and when is drawn from the seed; what was hit and when is noted in the ledger. How the operating system
plays along is not in any seed, so a run can't be repeated step by step: a seed repeats the plan.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import redis
from chaos.auditor import Auditor
from chaos.ledger import EVERYBODY, Ledger, now_us
from chaos.patching import Change
from chaos.proxy import Proxy
from chaos.witness import Witness

from redqueue import Queue
from redqueue.embedded import PrivateServer
from redqueue.errors import RedQueueError
from redqueue.records import QueueStats

QUEUE: Final = "chaos"
ROOT: Final = Path(__file__).parents[1]
KEEP_ALL: Final = 10_000_000
PATIENCE_S: Final = 120
"""After so long without an outcome nothing is expected any more; what is left is lost."""


class Plan(msgspec.Struct, frozen=True):
    """How large a scenario is, and of what.

    Attributes:
        ms: that a job takes at most.
        batch: jobs that are added by one call.
        loss: the share of replies that the proxy loses; None: there is no proxy.
        keep: finished jobs that are kept of either kind.
        plain: no job is flaky, broken, or cancelled.
        fsync: by which the server writes an append-only file: everysec, always; none by default.
        changes: of the workers' scripts.
    """

    jobs: int
    workers: int = 3
    concurrency: int = 50
    lease: float = 5
    producers: int = 2
    ms: float = 20
    batch: int = 100
    backlog: int = 20_000
    loss: float | None = None
    keep: int = KEEP_ALL
    plain: bool = False
    fsync: str = ""
    changes: tuple[Change, ...] = ()


class Stage:
    """Everything that runs, and the faults. A context manager that ends all of it."""

    def __init__(self, folder: Path, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.random = random.Random(seed)
        self.seed = seed
        self.folder = folder
        self.facts = folder / "ledger"
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._producers: list[subprocess.Popen[bytes]] = []
        self._names = 0
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        self.facts.mkdir(parents=True)
        enter = self._exits.enter_context
        self._exits.callback(self._end_all)
        self.server = enter(_server(self.plan.fsync))
        self.ledger = enter(Ledger(self.facts, "driver"))
        self.proxy = enter(Proxy(self.server.socket, seed=self.seed)) if self.plan.loss is not None else None
        self.url = self.proxy.url if self.proxy else self.server.url
        self.queue = enter(Queue(QUEUE, self.server.url))
        if self.plan.fsync:
            enter(Witness(self.server.url, self.ledger))
        self.auditor = enter(Auditor(QUEUE, self.server.url))
        return self

    def __exit__(self, *exc: object) -> None:
        self._exits.close()

    # -- who runs

    def start_worker(self, changes: Sequence[Change] = ()) -> str:
        """One more worker, by its name, with further changes of its scripts."""
        self._names += 1
        name = f"worker-{self._names}"
        plan = self.plan
        self.workers[name] = self._start(
            "chaos.work",
            *("--name", name, "--concurrency", plan.concurrency, "--lease", plan.lease, "--keep", plan.keep),
            *("--changes", msgspec.json.encode([*plan.changes, *changes]).decode()),
        )
        return name

    def start_workers(self) -> None:
        """As many as planned."""
        for _ in range(self.plan.workers):
            self.start_worker()

    def start_producers(self) -> None:
        """As many as planned, which share the jobs."""
        plan = self.plan
        for n in range(plan.producers):
            count = plan.jobs // plan.producers + (n < plan.jobs % plan.producers)
            words: list[object] = ["--name", f"p{n}", "--count", count, "--seed", self.seed, "--ms", plan.ms]
            words += [
                "--batch",
                plan.batch,
                "--backlog",
                plan.backlog,
                *(("--plain", "--cancels", 0) if plan.plain else ()),
            ]
            self._producers.append(self._start("chaos.produce", *words))

    def _start(self, module: str, *words: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, "--url", self.url, "--queue", QUEUE, "--ledger", str(self.facts)]
        ours = ("REDQUEUE_", "REDIS_", "QUEUE_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*command, *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )

    def _end_all(self) -> None:
        for process in (*self.workers.values(), *self._producers):
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()

    # -- how far it is

    def stats(self) -> QueueStats | None:
        """The queue in numbers; None while Redis is away."""
        try:
            return self.queue.get_stats()
        except RedQueueError:
            return None

    def recorded(self) -> int | None:
        """How many outcomes were recorded so far."""
        stats = self.stats()
        return None if stats is None else stats.succeeded + stats.failed + stats.cancelled

    def moments(self, count: int) -> Iterator[int]:
        """Come back at so many random moments of the work: when a random share of its jobs has been done.

        No more of them when nothing moves any more.
        """
        shares = sorted(self.random.uniform(0.02, 0.95) for _ in range(count))
        for n, share in enumerate(shares, 1):
            if not self._wait_until_done(int(share * self.plan.jobs)):
                return
            yield n

    def wait_until_busy(self) -> None:
        """Return when as many jobs run as can.

        Raises:
            TimeoutError: that never was.
        """
        running = self.plan.workers * self.plan.concurrency
        ends = time.monotonic() + PATIENCE_S
        while (stats := self.stats()) is None or stats.active < running:
            if time.monotonic() > ends:
                raise TimeoutError(f"{running} jobs should run at once, and never did: {stats}")
            time.sleep(0.02)

    def wait_until_drained(self) -> bool:
        """Return when everything has been added and done; False when nothing moves any more."""
        before, moved = -1, time.monotonic()
        while time.monotonic() - moved < PATIENCE_S:
            stats = self.stats()
            added = all(process.poll() is not None for process in self._producers)
            if stats is not None:
                if added and not (stats.waiting or stats.active or stats.delayed):
                    return True
                done = stats.succeeded + stats.failed + stats.cancelled
                before, moved = (done, time.monotonic()) if done != before else (before, moved)
            time.sleep(0.02)
        return False

    def _wait_until_done(self, count: int) -> bool:
        before, moved = -1, time.monotonic()
        while (done := self.recorded()) is None or done < count:
            if done is not None and done != before:
                before, moved = done, time.monotonic()
            if time.monotonic() - moved > PATIENCE_S:
                return False
            time.sleep(0.02)
        return True

    # -- what is done to them

    def pick(self) -> str:
        """A worker by lot."""
        return self.random.choice(sorted(self.workers))

    def kill_worker(self) -> None:
        """kill -9 one, and start another one."""
        name = self.pick()
        process = self.workers.pop(name)
        with self.fault("killed", name):
            process.kill()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()
        self.start_worker()

    def stop_worker(self, seconds: float) -> None:
        """SIGSTOP one for a while."""
        name = self.pick()
        with self.fault("stopped", name):
            self.workers[name].send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            self.workers[name].send_signal(signal.SIGCONT)

    def replace_worker(self, name: str, changes: Sequence[Change]) -> None:
        """SIGTERM one, as a deploy does, and start another one with other scripts."""
        process = self.workers.pop(name)
        with self.fault("replaced", name):
            self.start_worker(changes)
            process.terminate()
            process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def kill_redis(self) -> None:
        """kill -9 it, and start it again with what its append-only file has."""
        with self.fault("redis killed"):
            self.server.kill()
            time.sleep(self.random.uniform(0, 0.5))
            self.server.start()

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """Redis takes no call that needs memory."""
        with self.fault("out of memory"), self._client() as client:
            client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)

    def flush_scripts(self, every: float) -> None:
        """SCRIPT FLUSH, again and again, until all jobs are done."""
        moved, before = time.monotonic(), -1
        with self._client() as client:
            while (done := self.recorded()) is not None and done < self.plan.jobs:
                with self.fault("scripts flushed"):
                    client.script_flush()
                if done != before:
                    before, moved = done, time.monotonic()
                if time.monotonic() - moved > PATIENCE_S:
                    return
                time.sleep(every)

    @contextmanager
    def fault(self, kind: str, target: str = EVERYBODY) -> Iterator[None]:
        """Note what is done within."""
        since = now_us()
        try:
            yield
        finally:
            self.ledger.note("fault", kind.replace(" ", "-"), target, since, now_us())

    def leave(self) -> None:
        """SIGTERM all workers, and wait for them."""
        for process in self.workers.values():
            process.terminate()
        for process in self.workers.values():
            process.wait()

    def _client(self) -> Any:
        return redis.Redis.from_url(self.server.url, protocol=2)


def _server(fsync: str) -> PrivateServer:
    return PrivateServer(appendonly=bool(fsync), arguments=["--appendfsync", fsync] if fsync else [])

"""What every Python peer shares: counting in its worker, and the commands of its producer.

A peer's `peer.py` runs in an environment of its own, with this folder on its path. It ends with one call of `main`.
Times are ``CLOCK_MONOTONIC`` nanoseconds, which all processes of one machine share.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

URL = os.environ.get("BENCH_URL", "redis://127.0.0.1:6379/0")
QUEUE = "bench"
AT_ONCE = 50

Payload: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, object]
Way: TypeAlias = Callable[..., Any]


def concurrency(fastest: int) -> int:
    """The number of jobs at once: what the run asks for, else the peer's fastest documented setting."""
    return int(os.environ.get("BENCH_CONCURRENCY") or fastest)


def make_payload(n: int, *, size: int = 100, t: int = 0) -> Payload:
    """A payload of about that many bytes as JSON; a `t` above 0 has its latency measured."""
    return {"n": n, "t": t, "text": "x" * max(0, size - 20)}


# ---- the worker's side


@dataclass(slots=True)
class Count:
    """What `hit` counts between one ``expect`` and its answer."""

    goal: int = 0
    next: Callable[[], int] = field(default_factory=lambda: itertools.count(1).__next__)  # atomic between threads
    first: int = 0
    cpu: float = 0.0
    latencies: list[int] = field(default_factory=list)


class Reporter:
    """The connection to the harness. It counts nothing before the harness said how many hits to expect."""

    def __init__(self, connection: socket.socket, stop: Callable[[], object]) -> None:
        self._lines = connection.makefile("rw", encoding="utf-8")
        self._stop = stop
        self.expected = threading.Event()

    def listen(self) -> None:
        """Obey the harness's lines until it stops this process or goes away."""
        global _count
        for line in self._lines:
            command = json.loads(line)
            if "expect" in command:
                _count = Count(goal=int(command["expect"]))
                self.expected.set()
            elif command.get("stop"):
                self._stop()
                return
        os._exit(1)  # the harness is gone: leave nothing behind

    def say(self, answer: Answer) -> None:
        self._lines.write(json.dumps(answer) + "\n")
        self._lines.flush()


_count = Count()
_reporter: Reporter | None = None


def hit(payload: Payload) -> None:
    """Count one run of the job; the last one expected is reported. Cost: an increment and three comparisons."""
    count = _count
    number = count.next()
    if payload["t"]:
        count.latencies.append(time.monotonic_ns() - payload["t"])
    if number == 1:  # its start is no cost of its jobs
        count.first, count.cpu = time.monotonic_ns(), time.process_time()
    if number == count.goal and _reporter is not None:
        last, cpu = time.monotonic_ns(), time.process_time() - count.cpu
        _reporter.say({"first": count.first, "last": last, "cpu": cpu, "latencies_ns": count.latencies})


def attend(stop: Callable[[], object] | None = None) -> None:
    """Tell the harness that this worker is ready, and wait for its first ``expect``.

    Call it last before the library's worker starts, so that no hit is missed.

    Args:
        stop: leaves gracefully, called in a thread of its own; SIGTERM to this process unless given.
    """
    global _reporter
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ["BENCH_REPORT"])
    _reporter = Reporter(connection, stop or (lambda: os.kill(os.getpid(), signal.SIGTERM)))
    threading.Thread(target=_reporter.listen, daemon=True, name="report").start()
    _reporter.say({"ready": os.getpid()})
    _reporter.expected.wait()


# ---- the producer's side


@dataclass(frozen=True, slots=True)
class Producer:
    """How a peer adds jobs: each a plain function or a coroutine function, or the reason why it can't.

    With a plain `add`, fifty threads add at once, else fifty tasks. What `delayed` adds must all be due at that time.
    """

    add: Way  # add(payload)
    bulk: Way | str  # bulk(payloads): the fastest documented way
    delayed: Way | str  # delayed(payloads, due_at): due_at in Unix seconds
    fill: Way | str | None = None  # fill(payloads), untimed; bulk where there is one, else add by fifty at once
    add_sync: Way | str = "one kind of producer only"  # add_sync(payload), of a library that has both

    async def add_one(self, jobs: int) -> Answer:
        return await timed(one_by_one, self.add, [make_payload(n) for n in range(jobs)])

    async def add_one_sync(self, jobs: int) -> Answer:
        if isinstance(self.add_sync, str):
            return {"unsupported": self.add_sync}
        return await timed(one_by_one, self.add_sync, [make_payload(n) for n in range(jobs)])

    async def add_bulk(self, jobs: int) -> Answer:
        if isinstance(self.bulk, str):
            return {"unsupported": self.bulk}
        return await timed(self.bulk, [make_payload(n) for n in range(jobs)])

    async def add_fifty(self, jobs: int) -> Answer:
        return await timed(at_once, self.add, [make_payload(n) for n in range(jobs)])

    async def fill_up(self, jobs: int, size: int = 100) -> Answer:
        payloads = [make_payload(n, size=size) for n in range(jobs)]
        way = self.fill or self.bulk
        return await (timed(at_once, self.add, payloads) if isinstance(way, str) else timed(way, payloads))

    async def add_delayed(self, jobs: int, due_at: float) -> Answer:
        if isinstance(self.delayed, str):
            return {"unsupported": self.delayed}
        return await timed(self.delayed, [make_payload(n) for n in range(jobs)], due_at)

    async def ping(self, jobs: int, pause: float) -> Answer:
        began = time.perf_counter()
        for n in range(jobs):
            await _called(self.add, make_payload(n, t=time.monotonic_ns()))
            await asyncio.sleep(pause)
        return {"seconds": time.perf_counter() - began}


async def one_by_one(add: Way, payloads: Sequence[Payload]) -> None:
    """Call ``add(payload)`` for each payload, each after the last one's answer."""
    if inspect.iscoroutinefunction(add):
        for payload in payloads:
            await add(payload)
    else:
        for payload in payloads:
            add(payload)


async def at_once(add: Way, payloads: Sequence[Payload], *more: object) -> None:
    """Call ``add(payload, *more)`` for each payload, fifty at a time: by tasks, or threads for a plain function."""
    shares = [payloads[start::AT_ONCE] for start in range(AT_ONCE)]

    async def by_task(share: Sequence[Payload]) -> None:
        for payload in share:
            await add(payload, *more)

    def by_thread(share: Sequence[Payload]) -> None:
        for payload in share:
            add(payload, *more)

    if inspect.iscoroutinefunction(add):
        await asyncio.gather(*map(by_task, shares))
    else:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(by_thread, shares))


async def timed(way: Way, *arguments: object) -> Answer:
    """Run it, and answer how many seconds it took."""
    began = time.perf_counter()
    await _called(way, *arguments)
    return {"seconds": time.perf_counter() - began}


async def _called(way: Way, *arguments: object) -> None:
    answer = way(*arguments)
    if inspect.isawaitable(answer):
        await answer


async def obey(producer: Producer) -> None:
    """Run the commands that come on stdin, one a line, and answer each with a line."""
    commands: Mapping[str, Callable[..., Awaitable[Answer]]] = {
        "add_one": producer.add_one,
        "add_one_sync": producer.add_one_sync,
        "add_bulk": producer.add_bulk,
        "add_fifty": producer.add_fifty,
        "fill": producer.fill_up,
        "add_delayed": producer.add_delayed,
        "ping": producer.ping,
    }
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        answer = await commands[command.pop("do")](**command)
        print(json.dumps(answer), flush=True)


def main(workers: Mapping[str, Callable[[], object]], produce: Callable[[], object]) -> None:
    """Be what the command line says: ``worker <flavour>`` or ``produce``.

    Args:
        workers: by flavour, a function that calls `attend` and then runs the library's worker.
        produce: makes a `Producer` and gives it to `obey`; a coroutine function runs in `asyncio.run`.
    """
    if sys.argv[1:2] == ["produce"]:
        chosen = produce
    elif sys.argv[1:2] == ["worker"] and len(sys.argv) == 3 and sys.argv[2] in workers:
        chosen = workers[sys.argv[2]]
    else:
        sys.exit(f"usage: peer.py produce, or peer.py worker {'|'.join(workers)}; got {sys.argv[1:]}")
    if inspect.iscoroutinefunction(chosen):
        asyncio.run(chosen())
    else:
        chosen()

"""An event loop that stands is told while it stands, with the job that blocks it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from redqueue import AsyncQueue, ServiceRegistry
from redqueue.worker import lag
from redqueue.worker.lag import stands_after

from .conftest import MakeWorker, Work, echo

GUARD = 10
LEASE = 0.5
HELD = 1.2
"""Seconds: over two leases."""


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if "been standing" in one.message or "process stood" in one.message]


async def until_told(caplog: pytest.LogCaptureFixture, count: int = 1) -> list[logging.LogRecord]:
    async with asyncio.timeout(GUARD):
        while len(told(caplog)) < count:
            await asyncio.sleep(0.005)
    return told(caplog)


@pytest.mark.parametrize(("lease", "seconds"), [(500, 0.25), (6_000, 0.4), (30_000, 2.0), (600_000, 2.0)])
def test_it_is_told_long_before_a_lease_is_over(lease: int, seconds: float) -> None:
    assert stands_after(lease) == pytest.approx(seconds)
    assert 1.5 * stands_after(lease) < lease / 1000


async def test_a_job_that_blocks_the_loop_is_named_while_it_does(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """Faults: D02."""
    door = threading.Event()

    @registry.processor("waits")
    async def waits(data: Any) -> None:
        await asyncio.Event().wait()

    @registry.processor("blocks")
    async def blocks(data: Any) -> None:
        await asyncio.sleep(0)
        door.wait(GUARD)

    await queue.add("waits", job_id="innocent")
    worker = make_worker(lease=LEASE)
    with worker.in_thread():
        await until_running(queue, 1)
        await queue.add("blocks", job_id="guilty")
        (line,) = await until_told(caplog)
        health = worker.health()
        assert 0.25 <= health.longest_lag_s < GUARD
        door.set()
        await queue.cancel("innocent")
        assert worker.health().longest_lag_s >= health.longest_lag_s
    assert (line.name, line.levelname) == ("redqueue.worker", "WARNING")
    assert "job guilty of queue q (" in line.message
    assert "innocent" not in line.message
    assert "leases (0.5 s)" in line.message
    assert "plain def" in line.message and "execution='process'" in line.message
    assert "\n" not in line.message
    assert (vars(line)["queue"], vars(line)["job_id"]) == ("q", "guilty")


async def until_running(queue: AsyncQueue, count: int) -> None:
    async with asyncio.timeout(GUARD):
        while (await queue.get_stats()).active < count:
            await asyncio.sleep(0.005)


async def test_a_job_that_blocks_before_it_waits_for_anything_is_named_too(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """Such runs share one task."""

    @registry.processor("quick")
    async def quick(data: Any) -> None: ...

    @registry.processor("blocks")
    async def blocks(data: Any) -> None:
        time.sleep(HELD)  # noqa: ASYNC251 - the very mistake

    await queue.add_many([("quick", n) for n in range(3)])
    await queue.add("blocks", job_id="guilty")
    with make_worker(lease=LEASE).in_thread():
        (line,) = await until_told(caplog)
    assert "job guilty of queue q (" in line.message and " runs on it." in line.message


async def test_of_a_job_that_blocks_in_a_task_of_its_own_all_that_may_be_it_are_named(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    async def part() -> None:
        time.sleep(HELD)  # noqa: ASYNC251

    @registry.processor("splits")
    async def splits(data: int) -> None:
        if data < 4:
            await asyncio.sleep(HELD / 2)
            return
        async with asyncio.TaskGroup() as parts:
            parts.create_task(part())

    await queue.add_many([("splits", n) for n in range(5)])
    with make_worker(lease=LEASE, concurrency=5).in_thread():
        (line,) = await until_told(caplog)
    assert "one of its jobs may block it (job " in line.message
    assert line.message.count(" of queue q (") == lag.MOST_NAMED
    assert "and 2 more" in line.message


async def test_a_loop_that_somebody_else_blocks_is_told_so(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a web application that runs a worker beside itself, with plain functions that run in threads."""
    started, door = threading.Event(), threading.Event()

    @registry.processor("plain")
    def plain(data: Any) -> None:
        started.set()
        door.wait(GUARD)

    await queue.add("plain", job_id="innocent")
    async with make_worker(lease=LEASE):
        assert await asyncio.to_thread(started.wait, GUARD)
        time.sleep(HELD)  # noqa: ASYNC251
        door.set()
    (line,) = told(caplog)
    assert "no job runs on it, so other code of this process blocks it" in line.message
    assert "innocent" not in line.message


async def test_it_is_told_once_a_minute_at_most(
    registry: ServiceRegistry,
    queue: AsyncQueue,
    make_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @registry.processor("blocks")
    async def blocks(data: Any) -> None:
        time.sleep(0.6)  # noqa: ASYNC251

    jobs = await queue.add_many([("blocks", n) for n in range(3)])
    with make_worker(lease=LEASE).in_thread():
        await jobs[-1].result(GUARD)
        assert len(told(caplog)) == 1
        monkeypatch.setattr(lag, "WARN_EVERY", 0.0)
        await queue.add("blocks", 3)
        await until_told(caplog, 2)


async def test_jobs_that_wait_and_threads_that_block_are_no_reason_to_warn(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    @registry.processor("waits")
    async def waits(data: Any) -> None:
        await asyncio.sleep(HELD)

    @registry.processor("plain")
    def plain(data: Any) -> None:
        time.sleep(HELD)

    registry.register_processor("echo", echo)
    await queue.add_many([("waits", 1), ("plain", 2), ("echo", 3)])
    await work(lease=2)
    assert told(caplog) == []


def test_a_loop_is_asked_only_while_something_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle worker's loop sleeps on."""
    asked, looks = list[object](), 0
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *told: asked.append(told))

    def looked() -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            looked_twice.set()

    looked_twice, ended = threading.Event(), threading.Event()
    watch = lag.LagWatch(loop, list, lambda: 500, looked, ended.set)
    watch.start()
    assert looked_twice.wait(GUARD)
    watch.end()
    assert ended.wait(GUARD)
    assert (asked, watch.longest) == ([], 0.0)
    running: Any = [object()]
    watch = lag.LagWatch(loop, lambda: running, lambda: 60_000, looked, ended.set)
    watch._look(0.0)
    watch._look(0.0)
    assert len(asked) == 1
    loop.close()


STOPPED_PROCESS = """
import asyncio, logging, sys, threading
from redqueue.worker import lag
logging.basicConfig(format="%(message)s", stream=sys.stdout)
class Run:
    task, in_thread = None, False
    class facts: queue = "q"
    class claimed: id = "x"
    class prepared:
        class binding: name = "t"
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
watch = lag.LagWatch(loop, lambda: [Run], lambda: 500, lambda: print("look", flush=True), lambda: None)
watch.start()
threading.Event().wait()
"""


def test_a_process_that_was_stopped_as_a_whole_says_so_and_blames_no_loop() -> None:
    """Faults: D03."""
    process = subprocess.Popen([sys.executable, "-c", STOPPED_PROCESS], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "look\n"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        time.sleep(0.8)  # the stop itself
        process.send_signal(signal.SIGCONT)
        line = next(line for line in process.stdout if line != "look\n")
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert line.startswith("this process stood for ")
    assert "while it ran job x of queue q (t)" in line
    assert "execution='process'" in line


def test_a_loop_that_answers_while_the_process_comes_back_is_not_taken_to_stand_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each question that is out has an answer of its own, and a former one's says nothing."""
    answers = list[Any]()
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda answer, at: answers.append(lambda: answer(at)))
    running: Any = [Stub]
    watch = lag.LagWatch(loop, lambda: running, lambda: 60_000, lambda: None, lambda: None)
    watch._look(0.0)
    watch._look(10.0)  # it overslept
    assert len(answers) == 2
    answers[0]()
    assert watch.standing > 0
    answers[1]()
    assert (watch.standing, watch.longest < 5) == (0.0, True)
    loop.close()


class Stub:
    """A run, as a warning names it."""

    task, in_thread = None, False

    class facts:
        queue = "q"

    class claimed:
        id = "x"

    class prepared:
        class binding:
            name = "t"


async def test_a_log_that_blocks_costs_no_lease(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    """Who tells of a standing loop waits for the same log, and nobody who renews waits for it."""
    stuck, released, runs = threading.Event(), threading.Event(), list[int]()

    class Blocks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "a job":
                stuck.set()
                released.wait(GUARD)

    @registry.processor("logs")
    async def logs(data: Any) -> int:
        runs.append(1)
        logging.getLogger("a job").warning("a word")
        return len(runs)

    handler = Blocks()
    logging.getLogger().addHandler(handler)
    try:
        job = await queue.add("logs")
        with make_worker(lease=LEASE).in_thread():
            assert await asyncio.to_thread(stuck.wait, GUARD)
            async with make_worker(lease=LEASE):  # it would take the job of a lease that is over
                await asyncio.sleep(4 * LEASE)
                released.set()
            assert await job.result(GUARD) == 1
    finally:
        released.set()
        logging.getLogger().removeHandler(handler)
    assert runs == [1]

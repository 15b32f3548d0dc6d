"""Ready is a worker whose calls Redis answers, not one whose process is there."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redqueue import AsyncQueue, InvalidOption, ServiceRegistry, Worker, WorkerHealth
from redqueue.core.script import Call
from redqueue.embedded import PrivateServer
from redqueue.worker import ready as ready_module
from redqueue.worker.link import Link

from .conftest import MakeWorker, echo

GUARD = 10


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(GUARD):
        while not condition():
            await asyncio.sleep(0.005)


async def until_ready(worker: Worker) -> WorkerHealth:
    await until(lambda: worker.health().ready)
    return worker.health()


async def test_a_worker_is_ready_once_a_call_that_claims_was_answered_and_until_it_stops(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    registry.register_processor("echo", echo)
    worker = make_worker()
    before = worker.health()
    assert (before.ready, before.worker, before.claimed_s_ago) == (False, None, None)
    assert "not started" in (before.problem or "")
    async with worker:
        health = await until_ready(worker)
        assert (health.problem, health.running, health.worker) == (None, 0, f"{os.uname().nodename[:64]}:{os.getpid()}")
        assert health.claimed_s_ago is not None and 0 <= health.claimed_s_ago < GUARD
        assert set(health.to_wire()) == {"ready", "worker", "running", "claimedSAgo", "longestLagS", "problem"}
        assert worker._shift is not None
        worker._shift.stop()
        assert "leaves" in (worker.health().problem or "")
    assert worker.health() == before


async def test_a_worker_that_renews_and_whose_claims_get_no_answer_is_not_ready(
    registry: ServiceRegistry,
    queue: AsyncQueue,
    make_worker: MakeWorker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Faults: A12, S01."""
    monkeypatch.setattr(ready_module, "CLAIM_WITHIN", 0.4)
    deliver, wedged = Link.deliver, asyncio.Event()

    async def deaf(link: Link, call: Call[Any]) -> Any:
        if call.script.name == "pump" and wedged.is_set():
            await asyncio.Event().wait()
        return await deliver(link, call)

    monkeypatch.setattr(Link, "deliver", deaf)
    async with make_worker(lease=0.5) as worker:
        await until_ready(worker)
        wedged.set()
        await queue.add("echo")
        await until(lambda: not worker.health().ready)
        assert "queue q: no call that claims was answered for" in (worker.health().problem or "")
        assert (await queue.get_stats()).workers == 1, "it is alive all the same"
        await until(lambda: "not ready: queue q: no call that claims" in caplog.text)
        assert worker._task is not None
        worker._task.cancel()
        await asyncio.wait([worker._task])
        worker._task = None


async def test_a_worker_without_a_free_slot_is_ready_however_long_its_jobs_take(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready_module, "CLAIM_WITHIN", 0.5)
    go, looks = asyncio.Event(), list[bool]()

    @registry.processor("hold")
    async def hold(data: Any) -> None:
        await go.wait()

    job = await queue.add("hold")
    async with make_worker(concurrency=1, lease=1) as worker:
        await until(lambda: worker.health().running == 1)
        until_then = time.monotonic() + 1.2
        while time.monotonic() < until_then:
            looks.append(worker.health().ready)
            await asyncio.sleep(0.01)
        assert all(looks) and (worker.health().claimed_s_ago or 0) > 1
        go.set()
        await job.result(GUARD)
        assert worker.health().ready


async def test_a_worker_whose_leases_are_not_renewed_is_not_ready(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    """Faults: A12."""

    @registry.processor("hold")
    async def hold(data: Any) -> None:
        await asyncio.Event().wait()

    job = await queue.add("hold")
    async with make_worker(concurrency=1, lease=30) as worker:
        await until(lambda: worker.health().running == 1)
        shift = worker._shift
        assert shift is not None
        for pump in shift._pumps:
            shift._heartbeat.renewed_at[pump] = time.monotonic() - 25
        assert "queue q: its leases were not renewed for 25 s" in (worker.health().problem or "")
        await job.cancel()


async def test_a_worker_is_not_ready_while_redis_is_away_and_is_again_afterwards(registry: ServiceRegistry) -> None:
    """Faults: S01."""
    with PrivateServer() as server:
        async with Worker(["q"], server.url, registry=registry, lease=0.5) as worker:
            await until_ready(worker)
            server.kill()
            await until(lambda: not worker.health().ready)
            assert worker.health().problem == "Redis doesn't answer, and it waits for it"
            await asyncio.to_thread(server.start)
            assert (await until_ready(worker)).problem is None


async def test_a_worker_that_starts_while_redis_is_away_is_not_ready(registry: ServiceRegistry) -> None:
    with PrivateServer() as server:
        server.kill()
        async with Worker(["q"], server.url, registry=registry) as worker:
            assert not worker.health().ready
            await asyncio.to_thread(server.start)
            await until_ready(worker)


async def test_a_worker_whose_loop_stands_for_a_lease_is_not_ready(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    door = threading.Event()

    @registry.processor("blocks")
    async def blocks(data: Any) -> None:
        door.wait(GUARD)

    await queue.add("blocks")
    worker = make_worker(concurrency=1, lease=0.5)
    with worker.in_thread():
        await until(lambda: "event loop has been standing" in (worker.health().problem or ""))
        door.set()
        await until_ready(worker)


async def test_the_ready_file_is_there_while_the_worker_is_ready(
    registry: ServiceRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults: A12."""
    monkeypatch.setattr(ready_module, "TOUCH_EVERY", 0.1)
    path = tmp_path / "ready"
    path.write_text("left behind by a worker that was killed")
    with PrivateServer() as server:
        worker = Worker(["q"], server.url, registry=registry, lease=0.5, ready_file=path)
        assert path.exists()
        async with worker:
            await until(path.exists)
            await until(lambda: path.read_text().startswith(f"{worker.health().worker}\n"))
            os.utime(path, (1, 1))
            await until(lambda: path.stat().st_mtime > 1)
            server.kill()
            await until(lambda: not path.exists())
            await asyncio.to_thread(server.start)
            await until(path.exists)
        assert not path.exists()


async def test_a_ready_file_that_can_not_be_kept_is_told_once_and_stops_nothing(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, tmp_path: Path, caplog: Any
) -> None:
    registry.register_processor("echo", echo)
    target, path = tmp_path / "target", tmp_path / "ready"
    async with make_worker(lease=0.5, ready_file=path) as worker:
        await until(path.exists)
        path.unlink()
        path.symlink_to(target)
        ready_file = worker._shift._readiness._file if worker._shift is not None else None
        assert ready_file is not None
        ready_file._kept_at = None
        await until(lambda: "can't be kept" in caplog.text)
        ready_file._kept_at = None
        assert await (await queue.add("echo", 1)).result(GUARD) == 1
        assert worker.health().ready
    assert caplog.text.count("can't be kept") == 1
    assert not target.exists()


@pytest.mark.parametrize("value", ["", 7, b"ready", "/no/such/folder/ready", ".", "a\0b"])
def test_a_ready_file_that_can_be_none_is_refused(registry: ServiceRegistry, value: Any) -> None:
    with pytest.raises(InvalidOption, match="ready_file must be the path of a file") as refused:
        Worker(["q"], registry=registry, ready_file=value)
    assert refused.value.option == "ready_file"


def test_health_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ready_module.STOPPED.ready = True  # type: ignore[misc]

"""Jobs in child processes: reused, killed, replaced."""

from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from redqueue import AsyncQueue, JobCancelled, JobFailed, JobStatus, ServiceRegistry, Worker
from redqueue.worker import judge
from redqueue.worker import runner as runner_module
from redqueue.worker.executors import child_process

from .child_jobs import registry_of_all
from .conftest import MakeWorker, Work, status_of

Outcome = Callable[..., Awaitable[JobStatus]]
Until = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]


@pytest.fixture
def registry() -> ServiceRegistry:
    return registry_of_all()


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A file by which a job says that it has begun; with ``.ended`` that it has cleaned up."""
    return str(tmp_path / "begun")


def is_there(name: str) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return exists(name)

    return look


def exists(name: str) -> bool:
    return Path(name).exists()


@pytest.fixture(params=["spawn", "forkserver"])
def start_method(request: pytest.FixtureRequest) -> Iterator[str]:
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(None, force=True)


@pytest.mark.usefixtures("start_method")
async def test_a_job_runs_in_another_process(queue: AsyncQueue, work: Work) -> None:
    jobs = [await queue.add("echo", {"n": n}) for n in range(20)]
    where = await queue.add("pid")
    await work(concurrency=2)
    assert [(await status_of(job)).result for job in jobs[-5:]] == [{"n": n} for n in range(15, 20)]
    assert (await status_of(where)).result[0] != os.getpid()


async def test_what_a_child_raises_is_told_as_text(outcome: Outcome) -> None:
    status = await outcome("fail", "no such number", retries=0)
    assert status.error == "ValueError: no such number"
    assert "child_jobs.py" in (status.traceback or "")
    assert "executors" not in (status.traceback or "")


async def test_steering_from_a_child(queue: AsyncQueue, work: Work) -> None:
    jobs = [await queue.add("steer", how, retries=1) for how in ("retry", "snooze", "discard", "exit")]
    await work()
    statuses = [await status_of(job) for job in jobs]
    assert [status.status for status in statuses] == ["completed", "completed", "failed", "failed"]
    assert [status.attempts for status in statuses] == [2, 1, 1, 2]


async def test_a_child_knows_its_job(queue: AsyncQueue, work: Work) -> None:
    job = await queue.add("facts", timeout=60)
    await work()
    assert (await status_of(job)).result == [job.id, 1, True, "", True]


async def test_a_child_tells_of_itself(queue: AsyncQueue, work: Work) -> None:
    job, other = await queue.add("tell"), await queue.add("tell-async")
    await work()
    status = await status_of(job)
    assert (status.status, status.progress, status.message) == ("completed", 0.5, "half")
    assert await queue.get_logs(job.id) == ["one", "two"]
    assert (await status_of(other)).progress == 0.25
    assert await queue.get_logs(other.id) == ["three"]


@pytest.mark.parametrize("how", ["SIGSEGV", "SIGKILL"])
async def test_a_child_that_dies_costs_its_own_job_a_crash_and_no_other(
    queue: AsyncQueue, make_worker: MakeWorker, how: str
) -> None:
    dying = await queue.add("die", how)
    others = [await queue.add("echo", n) for n in range(10)]
    async with make_worker(concurrency=2):
        assert [await other.result(20) for other in others] == list(range(10))
        with pytest.raises(JobFailed, match=how):
            await dying.result(20)
    status = await status_of(dying)
    assert (status.status, status.error) == ("failed", f"ChildDied: the child process was ended by {how}")


async def test_a_function_that_takes_too_long_cleans_up(queue: AsyncQueue, work: Work, mark: str) -> None:
    await queue.add("echo")
    job = await queue.add("sleep-long", mark, timeout=1, retries=0)
    await work(concurrency=1)
    assert "TimeoutError" in ((await status_of(job)).error or "")
    assert exists(mark + ".ended")


async def test_a_coroutine_that_takes_too_long_cleans_up(queue: AsyncQueue, work: Work, mark: str) -> None:
    await queue.add("echo")  # a child is there when the next one begins
    job = await queue.add("sleep-async", mark, timeout=1, retries=0)
    await work(concurrency=1)
    assert "TimeoutError" in ((await status_of(job)).error or "")
    assert exists(mark + ".ended")


async def test_a_call_that_holds_the_interpreter_is_killed(
    queue: AsyncQueue, make_worker: MakeWorker, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults: D03."""
    monkeypatch.setattr(runner_module, "STUCK_AFTER", 0.2)
    await queue.add("echo")
    job = await queue.add("hold-gil", mark, timeout=1, retries=0)
    async with make_worker(concurrency=1):
        with pytest.raises(JobFailed, match="TimeoutError"):
            await job.result(20)
        assert await (await queue.add("echo", "next")).result(20) == "next"


@pytest.mark.parametrize("job_type", ["sleep-until-cancelled", "sleep-async"])
async def test_a_cancel_reaches_a_child(
    queue: AsyncQueue, make_worker: MakeWorker, mark: str, until: Until, job_type: str
) -> None:
    job = await queue.add(job_type, mark)
    async with make_worker(concurrency=1):
        await until(is_there(mark))
        assert await job.cancel("enough") == "requested"
        with pytest.raises(JobCancelled, match="enough"):
            await job.result(5)
    assert exists(mark + ".ended")


async def test_children_are_replaced_and_open_their_own_resources(queue: AsyncQueue, make_worker: MakeWorker) -> None:
    async def pids(**options: int) -> list[tuple[int, int]]:
        async with make_worker(concurrency=1, **options):
            found = [await (await queue.add("pid")).result(20) for _ in range(4)]
        assert all(pid == of_resource for pid, of_resource, _ in found)
        return [(pid, one) for pid, _, one in found]

    assert len(set(await pids())) == 1
    assert len({pid for pid, _ in await pids(max_jobs_per_child=2)}) == 2
    assert len({pid for pid, _ in await pids(max_memory_per_child=1024 * 1024)}) == 4


async def test_no_child_outlives_its_worker(queue: AsyncQueue, make_worker: MakeWorker, until: Until) -> None:
    async with make_worker(concurrency=1):
        pid, _, _ = await (await queue.add("pid")).result(20)

    async def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    await until(is_gone)


async def test_a_worker_that_leaves_gives_the_job_back(
    queue: AsyncQueue, make_worker: MakeWorker, mark: str, until: Until
) -> None:
    job = await queue.add("sleep-until-cancelled", mark)
    worker: Worker = make_worker(concurrency=1, grace=0)
    async with worker:
        await until(is_there(mark))
    assert (await status_of(job)).state == "waiting"


async def test_a_job_waits_while_no_child_can_be_started(
    queue: AsyncQueue, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = child_process._start
    refusals = iter(range(2))

    def refuse(*given: Any) -> None:
        if next(refusals, None) is not None:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        start(*given)

    monkeypatch.setattr(judge, "NO_CHILD_MS", 10)
    monkeypatch.setattr(child_process, "_start", refuse)
    job = await queue.add("echo", 1, retries=0)
    async with make_worker(concurrency=1):
        assert await job.result(20) == 1
    assert (await status_of(job)).attempts == 1

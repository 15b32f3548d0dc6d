"""Coroutines that don't wait share a task; nothing of one is seen in another."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from redqueue import JobContext
from redqueue.worker.executors.coroutine import Coroutines

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from tests.worker.conftest import Work

    from redqueue import AsyncQueue, JobStatus, ServiceRegistry

SEEN: contextvars.ContextVar[int] = contextvars.ContextVar("seen", default=-1)
COUNT = 30


async def add(queue: AsyncQueue, job_type: str, count: int = COUNT) -> None:
    await queue.add_many([(job_type, n) for n in range(count)])


async def succeeded(queue: AsyncQueue) -> int:
    return (await queue.get_stats()).succeeded


async def test_jobs_that_do_not_wait_share_a_task_and_no_contextvars(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    tasks: Counter[int] = Counter()
    found: list[tuple[int, str]] = []

    async def note(n: int, context: JobContext) -> None:
        assert JobContext.current() is context
        tasks[id(asyncio.current_task())] += 1
        found.append((SEEN.get(), context.job_id))
        SEEN.set(n)

    registry.register_processor("note", note)
    await add(queue, "note")
    await work()
    assert [seen for seen, _ in found] == [-1] * COUNT
    assert len({job_id for _, job_id in found}) == COUNT
    assert max(tasks.values()) > 1


async def test_one_that_waits_has_the_task_to_itself_and_its_contextvars_to_the_end(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    ends: Counter[tuple[bool, bool]] = Counter()
    tasks: list[asyncio.Task[Any] | None] = []

    async def wait(n: int) -> None:
        SEEN.set(n)
        before = asyncio.current_task()
        if n % 3 == 0:
            tasks.append(before)
            await asyncio.sleep(0.01)
        ends[asyncio.current_task() is before, SEEN.get() == n] += 1

    registry.register_processor("wait", wait)
    await add(queue, "wait")
    await work()
    assert ends == {(True, True): COUNT}
    assert len(set(tasks)) == COUNT // 3


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks_begin_no_run_within_what_starts_it(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    """That is mostly the end of another run: the stack would grow by each."""
    found: set[tuple[int, bool]] = set()

    async def wait(n: int) -> None:
        within = [one.frame.f_code for one in inspect.stack(0)]
        found.add((SEEN.get(), Coroutines.enter.__code__ in within))
        SEEN.set(n)
        if n % 2:
            await asyncio.sleep(0)

    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
    registry.register_processor("wait", wait)
    await add(queue, "wait", 200)
    await work(concurrency=2)
    assert await succeeded(queue) == 200
    assert found == {(-1, False)}


async def test_a_job_that_waits_keeps_none_behind_it_from_beginning(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    begun: list[int] = []
    all_begun = asyncio.Event()

    async def meet(n: int) -> None:
        begun.append(n)
        if len(begun) == 10:
            all_begun.set()
        if n == 0:
            await all_begun.wait()

    registry.register_processor("meet", meet)
    await add(queue, "meet", 10)
    await work()
    assert await succeeded(queue) == 10


async def test_timeouts_and_task_groups_work_in_the_first_step_and_after_it(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    timed_out: list[int] = []

    async def use(n: int) -> None:
        async with asyncio.timeout(5):
            await done()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        except TimeoutError:
            timed_out.append(n)
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(asyncio.sleep(0, m)) for m in range(3)]
        assert [child.result() for child in children] == [0, 1, 2]
        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.sleep(5)

    registry.register_processor("use", use, retries=0)
    await add(queue, "use", 5)
    await work()
    assert sorted(timed_out) == [0, 1, 2, 3, 4]
    assert await succeeded(queue) == 5


async def done() -> None:
    """Awaited, it doesn't wait."""


async def fail() -> None:
    raise ValueError("no")


@pytest.mark.parametrize("taken_back", [False, True])
async def test_a_job_that_cancels_its_task_and_returns_cancels_no_other(
    taken_back: bool, queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    async def cancel(n: int) -> None:
        if n % 2 == 0:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            if taken_back:
                task.uncancel()
        else:
            await asyncio.sleep(0)

    registry.register_processor("cancel", cancel, retries=0)
    await add(queue, "cancel")
    await work()
    assert await succeeded(queue) == COUNT


async def test_a_worker_whose_every_task_but_its_own_is_cancelled_goes_on(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work
) -> None:
    """A turn may be cancelled before it begins: what is in line has the next one."""
    done: list[int] = []

    async def stray(n: int) -> None:
        done.append(n)
        if n == 0:
            asyncio.get_running_loop().call_soon(cancel_turns)

    def cancel_turns() -> None:
        for task in asyncio.all_tasks():
            if "_take_turn" in repr(task):
                task.cancel()

    registry.register_processor("stray", stray)
    await add(queue, "stray", 60)
    await work()
    assert sorted(done) == list(range(60))


async def test_what_a_first_step_raises_is_its_own_job_s_failure(
    registry: ServiceRegistry, queue: AsyncQueue, outcome: Callable[..., Awaitable[JobStatus]]
) -> None:
    async def end(data: str) -> None:
        raise {"exit": SystemExit(3), "cancel": asyncio.CancelledError(), "stop": StopAsyncIteration()}[data]

    registry.register_processor("end", end, retries=0)
    for data in ("exit", "cancel", "stop"):
        status = await outcome("end", data)
        assert status.state == "failed"


@pytest.mark.parametrize("leaves", ["a timer", "a child", "a time-out"])
async def test_what_a_job_leaves_on_its_task_hits_no_other_one(
    queue: AsyncQueue, registry: ServiceRegistry, work: Work, leaves: str
) -> None:
    """A cancel that comes after the job's end is for a task that has ended, as if each had its own."""
    kept: list[Any] = []

    async def timed() -> AsyncGenerator[int]:
        async with asyncio.timeout(0.05):
            yield 1

    async def leave(data: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        if leaves == "a timer":
            asyncio.get_running_loop().call_later(0.05, task.cancel)
        elif leaves == "a child":

            async def cancel_parent() -> None:
                await asyncio.sleep(0.05)
                task.cancel()

            kept.append(asyncio.ensure_future(cancel_parent()))
        else:
            generator = timed()
            kept.append(generator)
            await anext(generator)

    async def wait(data: Any) -> str:
        await asyncio.sleep(0.2)
        return "undisturbed"

    registry.register_processor("leave", leave)
    registry.register_processor("wait", wait)
    await queue.add("leave", retries=0)
    job = await queue.add("wait", retries=0)
    await work()
    status = await job.status()
    assert status is not None
    assert (status.status, status.result) == ("completed", "undisturbed")


async def test_jobs_that_leave_nothing_share_a_task(queue: AsyncQueue, registry: ServiceRegistry, work: Work) -> None:
    seen = list[int]()

    async def note(data: Any) -> None:
        seen.append(id(asyncio.current_task()))

    registry.register_processor("note", note)
    await queue.add_many([("note", n) for n in range(200)])
    await work(concurrency=100)
    assert len(seen) == 200
    assert max(Counter(seen).values()) > 10

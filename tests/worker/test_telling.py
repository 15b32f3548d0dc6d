"""What a running job tells: progress, log lines, checkpoints; and what a later run finds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from redqueue import AsyncQueue, Discard, JobContext, Retry, ServiceRegistry, Snooze
from redqueue.core.bombs import READ_DEPTH
from redqueue.core.lease import Claimed
from redqueue.core.report import LINE
from redqueue.worker.reports import Desk

from .conftest import Ghost, MakeWorker, Work, status_of


class Nest(msgspec.Struct, array_like=True):
    """A type of an author's: it may nest deeper than plain data."""

    within: Nest | int = 0

    @classmethod
    def of_depth(cls, depth: int) -> Nest:
        nest = cls()
        for _ in range(depth - 1):
            nest = cls(nest)
        return nest


async def test_progress_is_seen_while_the_job_runs(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    seen, go_on = asyncio.Event(), asyncio.Event()

    @registry.processor("work")
    async def work(data: None, context: JobContext) -> None:
        context.progress(0.1)
        await context.progress(0.4, "sending", {"sent": 4})
        seen.set()
        await go_on.wait()

    job = await queue.add("work")
    async with make_worker():
        await seen.wait()
        status = await status_of(job)
        assert (status.progress, status.message, status.state) == (0.4, "sending", "active")
        go_on.set()
        await job.result(10)
    status = await status_of(job)
    assert (status.progress, status.message) == (0.4, "sending")


async def test_a_plain_function_waits_for_its_receipts(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.processor("work")
    def tell(data: None, context: JobContext) -> str:
        context.progress(1, "all").wait(10)
        context.log("one")
        JobContext.current().log("two").wait(10)
        context.checkpoint([1, 2]).wait(10)
        return threading.current_thread().name

    job = await queue.add("work")
    await work()
    status = await status_of(job)
    assert status.result.startswith("redqueue-job")
    assert status.progress == 1
    assert await queue.get_logs(job.id) == ["one", "two"]


async def test_what_is_told_last_arrives_without_waiting(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.processor("work")
    async def tell(data: None, context: JobContext) -> None:
        for n in range(100):
            context.progress(n / 100)
            context.log(f"line {n}")

    job = await queue.add("work")
    await work()
    assert (await status_of(job)).progress == 0.99
    assert await queue.get_logs(job.id) == [f"line {n}" for n in range(100)]
    assert await queue.get_logs(job.id, start=98, count=1) == ["line 98"]


@pytest.mark.parametrize("how", ["raise", "retry", "snooze"])
async def test_a_later_run_resumes_from_the_checkpoint(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, how: str
) -> None:
    sent: list[int] = []

    @registry.processor("campaign")
    async def campaign(data: int, context: JobContext) -> int:
        first: int = context.restored or 0
        for n in range(first, data):
            if n == 7 and not first:
                raise {"raise": ConnectionError(), "retry": Retry(0), "snooze": Snooze(0)}[how]
            sent.append(n)
            await context.checkpoint(n + 1)
        return len(sent)

    job = await queue.add("campaign", 10)
    await work()
    assert (await status_of(job)).result == 10
    assert sent == list(range(10))


async def test_a_recovered_run_resumes_from_the_checkpoint(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, make_ghost: Callable[..., Ghost]
) -> None:
    checkpointed = asyncio.Event()
    restored: list[Any] = []

    @registry.processor("campaign")
    async def campaign(data: None, context: JobContext) -> None:
        restored.append(context.restored)
        if context.restored is None:
            await context.checkpoint({"sent": 7000})
            checkpointed.set()
            await asyncio.sleep(60)

    job = await queue.add("campaign")
    async with make_worker(lease=60):
        await checkpointed.wait()
        assert await make_ghost(60_000).let_expire() == 1
        await job.result(10)
    assert restored == [None, {"sent": 7000}]


async def test_a_job_that_is_retried_by_hand_resumes_too(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.processor("campaign")
    async def campaign(data: None, context: JobContext) -> Any:
        if context.restored is None:
            await context.checkpoint("half")
            raise Discard("the gateway is closed")
        return context.restored

    job = await queue.add("campaign")
    await work()
    assert (await status_of(job)).status == "failed"
    assert await queue.retry(job.id)
    await work()
    assert (await status_of(job)).result == "half"


async def test_fences_grow_with_every_claim(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    fences: list[int] = []

    @registry.processor("fenced")
    def fenced(data: None, context: JobContext) -> None:
        fences.append(context.fence)
        if len(fences) < 3:
            raise Retry(0)

    await queue.add("fenced")
    await work()
    assert len(fences) == 3
    assert fences == sorted(set(fences))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (lambda context: context.progress(1.5), "InvalidOption: done must be a number from 0 to 1, or None, not 1.5"),
        (lambda context: context.progress(float("nan")), "InvalidOption: done must be"),
        (lambda context: context.progress(0.5, "x" * 2000), "PayloadTooLarge: the progress message is 2,000 bytes"),
        (lambda context: context.checkpoint("x" * 2_000_000), "PayloadTooLarge: the checkpoint is"),
        (lambda context: context.checkpoint({1, 2}), "PayloadNotSerializable: the data at $ is a set"),
        (lambda context: context.log(b"bytes"), "InvalidOption: line must be text"),
    ],
)
async def test_what_can_not_be_told_fails_the_attempt(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, bad: Callable[[JobContext], Any], error: str
) -> None:
    @registry.processor("bad")
    def tell(data: None, context: JobContext) -> None:
        bad(context)

    job = await queue.add("bad", retries=0)
    await work()
    status = await status_of(job)
    assert status.status == "failed"
    assert (status.error or "").startswith(error)


@pytest.mark.parametrize("execution", ["loop", "thread"])
async def test_what_is_nested_as_deep_as_can_be_read_comes_back(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, execution: str
) -> None:
    restored: list[Any] = []

    def tell(data: None, context: JobContext) -> Nest:
        if context.restored is None:
            context.progress(0.5, "half", Nest.of_depth(READ_DEPTH - 1))
            context.checkpoint(Nest.of_depth(READ_DEPTH))
            raise Retry(0)
        restored.append(context.restored)
        return Nest.of_depth(READ_DEPTH)

    async def tell_here(data: None, context: JobContext) -> Nest:
        return tell(data, context)

    registry.processor("nests")(tell if execution == "thread" else tell_here)
    job = await queue.add("nests")
    await work()
    status = await status_of(job)
    assert (status.state, status.progress, status.message) == ("completed", 0.5, "half")
    deepest = msgspec.to_builtins(Nest.of_depth(READ_DEPTH))
    assert restored == [deepest]
    assert await job.result(0) == status.result == deepest
    async for event in queue.events(since="0", kinds={"progress"}):
        assert event.facts["data"] == deepest[0]
        break


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (
            lambda context: context.progress(0.5, None, Nest.of_depth(READ_DEPTH)),
            "PayloadNotSerializable: the progress data is nested deeper than 255",
        ),
        (
            lambda context: context.checkpoint(Nest.of_depth(READ_DEPTH + 1)),
            "PayloadNotSerializable: the checkpoint is nested deeper than 256",
        ),
        (
            lambda context: Nest.of_depth(READ_DEPTH + 1),
            "ResultNotSerializable: the result is nested deeper than 256",
        ),
    ],
    ids=["progress", "checkpoint", "result"],
)
async def test_what_is_nested_too_deep_to_be_read_is_not_written(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, bad: Callable[[JobContext], Any], error: str
) -> None:
    @registry.processor("nests")
    def tell(data: None, context: JobContext) -> Any:
        return bad(context)

    job = await queue.add("nests", retries=0)
    await work()
    status = await status_of(job)
    assert (status.state, status.error) == ("failed", error)


async def test_strange_text_is_told(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    @registry.processor("strange")
    def strange(data: None, context: JobContext) -> None:
        context.log("x" * 1_000_000)
        context.log("a\x00b \ud800")
        context.progress(None, "\ud800\x00")

    job = await queue.add("strange")
    await work()
    status = await status_of(job)
    long, short = await queue.get_logs(job.id)
    assert status.status == "completed"
    assert len(long) <= 4096
    assert long.endswith("(cut)")
    assert short == "a\x00b \\ud800"
    assert status.message == "\\ud800\x00"


async def test_waiting_on_the_event_loop_is_refused_instead_of_hanging(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.processor("hang")
    async def hang(data: None, context: JobContext) -> None:
        context.progress(0.5).wait()

    job = await queue.add("hang", retries=0)
    await work()
    assert "await the receipt instead" in ((await status_of(job)).error or "")


async def test_a_receipt_of_a_lost_lease_says_so(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, make_ghost: Callable[..., Ghost]
) -> None:
    started, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    errors: list[str] = []

    @registry.processor("lose")
    async def lose(data: None, context: JobContext) -> None:
        started.set()
        await go_on.wait()
        try:
            await context.checkpoint("stale")
        except Exception as error:
            errors.append(type(error).__name__)
        told.set()

    job = await queue.add("lose")
    async with make_worker(lease=60, concurrency=1):
        await started.wait()
        ghost = make_ghost(60_000)
        await ghost.let_expire()
        (run,) = await ghost.claim()
        go_on.set()
        await told.wait()
        assert await ghost.complete(run) == "o"
    assert errors == ["LeaseLost"]
    assert (await status_of(job)).result == "by the ghost"


async def test_an_await_of_a_receipt_that_is_cancelled_harms_no_later_one(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.processor("impatient")
    async def impatient(data: None, context: JobContext) -> str:
        waiting = asyncio.ensure_future(context.checkpoint(1))
        await asyncio.sleep(0)
        waiting.cancel()  # before a trip can have taken it along
        await context.checkpoint(2)
        return "went on"

    job = await queue.add("impatient", retries=0)
    await work()
    status = await status_of(job)
    assert (status.error, status.result) == (None, "went on")


async def test_lines_that_wait_for_redis_are_bounded_as_those_that_it_keeps(queue: AsyncQueue) -> None:
    desk = Desk(lambda: None)
    run, other = Claimed("a", 1, 1, b""), Claimed("b", 1, 2, b"")
    receipts = [desk.note(run, LINE, b"%d" % n) for n in range(1500)]
    desk.note(other, LINE, b"other")
    receipts[0].wait(0)  # 1,000 newer ones: it would not be kept either
    assert [one.text for one in desk.take([run])] == [b"%d" % n for n in range(500, 1500)]

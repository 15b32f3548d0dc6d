"""Running jobs in tests without waiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from redqueue import (
    AsyncQueue,
    ConfigurationError,
    InvalidOption,
    JobCancelled,
    JobContext,
    JobFailed,
    Queue,
    ServiceRegistry,
    Snooze,
    Worker,
)
from redqueue.core import lease
from redqueue.core.lease import ListRule, Settles
from redqueue.testing import (
    NeverIdle,
    Report,
    advance,
    advance_async,
    job_context,
    run_until_idle,
    run_until_idle_async,
)


def echo(data: Any) -> Any:
    return data


@pytest.fixture
def registry() -> ServiceRegistry:
    return ServiceRegistry()


@pytest.fixture
async def queue(url: str) -> AsyncIterator[AsyncQueue]:
    async with AsyncQueue("q", url) as opened:
        yield opened


@pytest.fixture
def worker(url: str, registry: ServiceRegistry) -> Worker:
    return Worker(["q"], url, registry=registry)


async def test_an_empty_queue_is_idle(registry: ServiceRegistry, worker: Worker) -> None:
    registry.register_processor("ok", echo)
    assert await run_until_idle_async(worker) == Report(0, 0, 0, 0, 0, 0, ())


def test_it_runs_without_a_loop(registry: ServiceRegistry, worker: Worker, url: str) -> None:
    registry.register_processor("ok", echo)
    with Queue("q", url) as queue:
        job = queue.add("ok", 1, delay=3600)
        assert run_until_idle(worker).completed == 1
        assert run_until_idle(worker).completed == 0
        status = job.status()
    assert status is not None
    assert status.result == 1


async def test_within_a_loop_it_says_what_to_await(worker: Worker) -> None:
    with pytest.raises(ConfigurationError, match="await run_until_idle_async"):
        run_until_idle(worker)


async def test_it_reports_what_became_of_each_run(registry: ServiceRegistry, worker: Worker, queue: AsyncQueue) -> None:
    snoozed = 0

    @registry.processor("ok")
    async def ok(data: Any) -> None: ...

    @registry.processor("bad")
    def bad(data: Any) -> None:
        raise ValueError("no")

    @registry.processor("later")
    async def later(data: Any) -> None:
        nonlocal snoozed
        snoozed += 1
        if snoozed < 3:
            raise Snooze(600)

    await queue.add_many([("ok", 1), ("ok", 2), ("later", 3)])
    await queue.add("bad", 4, retries=2, job_id="bad")
    report = await run_until_idle_async(worker)
    assert (report.completed, report.failed, report.retried, report.snoozed) == (3, 1, 2, 2)
    (failure,) = report.failures
    assert (failure.job_id, failure.type, failure.message, failure.attempts) == ("bad", "ValueError", "no", 3)
    assert "raise ValueError" in failure.traceback


async def test_jobs_run_in_the_order_in_which_they_are_due(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue
) -> None:
    ran: list[str] = []

    @registry.processor("note")
    async def note(data: str) -> None:
        ran.append(data)
        if data == "an hour":
            await queue.add("note", "a minute after that", delay=60)

    await queue.add("note", "a day", delay=86_400)
    await queue.add("note", "an hour", delay=3600)
    await queue.add("note", "two hours", delay=7200)
    await queue.add("note", "now")
    await run_until_idle_async(worker)
    assert ran == ["now", "an hour", "a minute after that", "two hours", "a day"]


async def test_time_passes_in_all_queues_of_the_worker(registry: ServiceRegistry, url: str) -> None:
    ran: list[str] = []

    @registry.processor("note")
    async def note(data: str) -> None:
        ran.append(data)

    async with AsyncQueue("a", url) as a, AsyncQueue("b", url) as b:
        await a.add("note", "a late", delay=100)
        await b.add("note", "b early", delay=50)
        await a.add("note", "a early", delay=10)
        report = await run_until_idle_async(Worker(["a", "b"], url, registry=registry))
    assert ran == ["a early", "b early", "a late"]
    assert report.completed == 3


async def test_one_failure_is_raised_as_it_is_and_several_as_a_group(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue
) -> None:
    @registry.processor("bad")
    async def bad(data: int) -> None:
        raise ValueError(data)

    await queue.add("bad", 1, retries=0)
    with pytest.raises(JobFailed, match="ValueError: 1"):
        await run_until_idle_async(worker, raise_failed=True)
    await queue.add_many([("bad", 1), ("bad", 2)], retries=0)
    with pytest.raises(ExceptionGroup, match="2 jobs failed") as raised:
        await run_until_idle_async(worker, raise_failed=True)
    assert {type(error) for error in raised.value.exceptions} == {JobFailed}


async def test_an_unknown_name_fails_at_once(registry: ServiceRegistry, worker: Worker, queue: AsyncQueue) -> None:
    registry.register_processor("ok", echo)
    await queue.add("misspelt")
    with pytest.raises(JobFailed, match="UnknownJobType: job type 'misspelt'"):
        await run_until_idle_async(worker, raise_failed=True)


@pytest.mark.parametrize("after", [0, 5, 86_400])
async def test_a_job_that_snoozes_for_ever_is_named(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue, after: float
) -> None:
    @registry.processor("later")
    async def later(data: Any) -> None:
        raise Snooze(after, "not yet")

    await queue.add("later", job_id="sleepy")
    with pytest.raises(NeverIdle, match=r"job sleepy asked 200 times to be run later \(not yet\)"):
        await run_until_idle_async(worker)


async def test_a_job_that_runs_for_ever_is_named_after_the_timeout(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue
) -> None:
    @registry.processor("hang")
    async def hang(data: Any) -> None:
        await asyncio.Event().wait()

    await queue.add("hang", job_id="endless")
    with pytest.raises(NeverIdle, match=r"not idle after 0\.3 s: in queue q endless \(hang\) runs"):
        await run_until_idle_async(worker, timeout=0.3)
    assert (await queue.get_stats()).waiting == 1


async def test_a_paused_queue_with_jobs_is_an_error(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue
) -> None:
    registry.register_processor("ok", echo)
    await queue.pause()
    await run_until_idle_async(worker)
    await queue.add("ok")
    with pytest.raises(NeverIdle, match="queue q is paused"):
        await run_until_idle_async(worker)


async def test_a_dead_workers_job_is_taken_back_and_run(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue
) -> None:
    registry.register_processor("ok", echo)
    await queue.add("ok", 1, job_id="x")
    run = queue._runner.run
    await run(lease.enter(queue._keys, "ghost", "ghost", "host", 1, 30_000))
    await run(lease.pump(queue._keys, "ghost", "ghost", "0", 1, Settles([], [], []), 1, (), ListRule()))
    assert (await queue.get_stats()).active == 1
    report = await run_until_idle_async(worker)
    assert (report.completed, report.recovered) == (1, 1)


async def test_a_worker_at_work_is_refused(registry: ServiceRegistry, worker: Worker) -> None:
    registry.register_processor("ok", echo)
    async with worker:
        with pytest.raises(ConfigurationError, match="at work"):
            await run_until_idle_async(worker)


async def test_a_cancelled_run_is_reported(registry: ServiceRegistry, url: str, queue: AsyncQueue) -> None:
    @registry.processor("itself")
    async def itself(data: str) -> None:
        await queue.cancel(data)
        await asyncio.Event().wait()

    await queue.add("itself", "x", job_id="x")
    report = await run_until_idle_async(Worker(["q"], url, registry=registry, lease=0.5))
    assert (report.cancelled, report.completed) == (1, 0)


async def test_many_retries_with_jitter_take_few_rounds(
    registry: ServiceRegistry, worker: Worker, queue: AsyncQueue
) -> None:
    @registry.processor("twice")
    async def twice(data: int, context: JobContext) -> None:
        if context.attempt < 3:
            raise ValueError

    await queue.add_many([("twice", n) for n in range(300)])
    report = await run_until_idle_async(worker, timeout=20)
    assert (report.completed, report.retried) == (300, 600)


# -- time


def test_time_can_pass_in_a_queue(url: str) -> None:
    with Queue("q", url) as queue:
        job = queue.add("a", delay=60)
        before = job.status()
        advance(queue, 59.5)
        after = job.status()
        assert before is not None
        assert after is not None
        assert before.due_at is not None
        assert after.due_at is not None
        assert (before.due_at - after.due_at).total_seconds() == 59.5
        for bad in (-1, float("nan"), "1"):
            with pytest.raises(InvalidOption, match="seconds"):
                advance(queue, bad)  # type: ignore[arg-type]


async def test_time_can_pass_in_an_async_queue(queue: AsyncQueue) -> None:
    job = await queue.add("a", delay=60)
    await advance_async(queue, 61)
    status = await job.status()
    assert status is not None
    assert status.due_at is not None
    assert status.due_at < datetime.now(UTC)


# -- contexts


def test_a_context_has_sensible_defaults() -> None:
    context = job_context()
    assert (context.job_id, context.queue, context.job_type, context.attempt, context.retries) == (
        *("job-1", "test", "test"),
        *(1, 3),
    )
    assert (context.label, context.given, context.sub_account_id, context.user_id) == ("", {}, None, None)
    assert context.idempotency_key == "test:job-1"
    assert abs((context.created_at - datetime.now(UTC)).total_seconds()) < 5
    assert isinstance(context, JobContext)


def test_a_context_says_what_it_is_told() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    context = job_context(
        queue="sms", job_id="x", job_type="sms", label="Send", attempt=2, retries=5, created_at=at,
        sub_account_id="s", user_id="u", given={"source": "upload"},
    )  # fmt: skip
    assert (context.queue, context.job_id, context.label, context.attempt, context.retries) == (
        "sms",
        "x",
        "Send",
        2,
        5,
    )
    assert (context.created_at, context.given) == (at, {"source": "upload"})
    assert (context.sub_account_id, context.user_id) == ("s", "u")
    with pytest.raises(InvalidOption, match="aware"):
        job_context(created_at=datetime(2026, 1, 1))


def test_a_context_can_be_cancelled() -> None:
    context = job_context()
    context.raise_if_cancelled()
    context.cancelled = True
    assert context.cancelled
    with pytest.raises(JobCancelled, match="job-1"):
        context.raise_if_cancelled()
    assert job_context(cancelled=True).cancelled


def test_a_context_can_be_the_current_one() -> None:
    with job_context() as context:
        assert JobContext.current() is context
        seen: list[object] = []
        thread = threading.Thread(target=lambda: seen.append(_current_or_none()))
        thread.start()
        thread.join()
        assert seen == [None]
    assert _current_or_none() is None


def _current_or_none() -> JobContext | None:
    try:
        return JobContext.current()
    except LookupError:
        return None

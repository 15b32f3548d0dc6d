"""Failed attempts and what follows: retries, waits, and what a processor may ask for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from redqueue import (
    AsyncQueue,
    Discard,
    Exponential,
    JobContext,
    JobStatus,
    Retry,
    ServiceRegistry,
    Snooze,
)

from .conftest import Work, status_of

Outcome = Callable[..., Awaitable[JobStatus]]


async def test_a_job_that_fails_twice_completes_at_its_third_attempt(
    registry: ServiceRegistry, outcome: Outcome
) -> None:
    runs: list[int] = []

    @registry.processor("flaky")
    async def flaky(data: Any, context: JobContext) -> str:
        runs.append(context.attempt)
        if len(runs) < 3:
            raise ValueError("not yet")
        return "done"

    status = await outcome("flaky", retries=3)
    assert runs == [1, 2, 3]
    assert (status.state, status.result, status.attempts, status.error) == ("completed", "done", 3, None)


@pytest.mark.parametrize(("retries", "runs"), [(0, 1), (1, 2), (4, 5)])
async def test_retries_are_counted(registry: ServiceRegistry, outcome: Outcome, retries: int, runs: int) -> None:
    ran: list[int] = []

    @registry.processor("bad")
    def bad(data: Any) -> None:
        ran.append(1)
        raise KeyError("x")

    status = await outcome("bad", retries=retries)
    assert len(ran) == status.attempts == runs
    assert (status.state, status.error) == ("failed", "KeyError: 'x'")


async def test_the_jobs_options_win_over_the_processors_and_these_over_the_workers(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    ran: list[str] = []

    @registry.processor("own", retries=1)
    async def own(data: str) -> None:
        ran.append(data)
        raise ValueError

    @registry.processor("plain")
    async def plain(data: str) -> None:
        ran.append(data)
        raise ValueError

    await queue.add("own", "job's", retries=3)
    await queue.add("own", "processor's")
    await queue.add("plain", "worker's")
    await work(retries=2)
    assert {who: ran.count(who) for who in ran} == {"job's": 4, "processor's": 2, "worker's": 3}


async def test_without_a_wait_a_retry_joins_the_end_of_its_priority(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    ran: list[str] = []

    @registry.processor("once")
    async def once(data: str, context: JobContext) -> None:
        ran.append(data)
        if data.startswith("bad") and context.attempt == 1:
            raise ValueError

    for data, priority in (("bad", 0), ("good", 0), ("low", 1), ("bad urgent", -1), ("good urgent", -1)):
        await queue.add("once", data, priority=priority)
    await work(concurrency=1, prefetch=0)
    assert ran == ["bad urgent", "good urgent", "bad urgent", "bad", "good", "bad", "low"]


async def test_the_backoff_is_asked_for_each_attempt(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    asked: list[int] = []

    class Mine:
        def delay(self, attempt: int) -> float:
            asked.append(attempt)
            return 0

    @registry.processor("bad", retries=3, backoff=Mine())
    async def bad(data: Any) -> None:
        raise ValueError

    asked.clear()  # it is tried out at registration
    await AsyncQueueWithoutBackoff.add(queue, "bad")
    await work()
    assert asked == [1, 2, 3]


class AsyncQueueWithoutBackoff:
    """The queue's own default would win over the processor's backoff."""

    @staticmethod
    async def add(queue: AsyncQueue, job_type: str, **options: Any) -> Any:
        bare = AsyncQueue(queue.name, client=await queue._runner._transport.client())
        return await bare.add(job_type, **options)


async def test_a_backoff_that_answers_nonsense_does_not_lose_the_job(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [0] * 20  # it is tried out at registration

    class Nonsense:
        def delay(self, attempt: int) -> Any:
            return answers.pop() if answers else "soon"

    @registry.processor("bad", backoff=Nonsense())
    async def bad(data: Any) -> None:
        raise ValueError

    job = await AsyncQueueWithoutBackoff.add(queue, "bad")
    await work()
    assert (await status_of(job)).state in ("delayed", "waiting", "failed")
    assert "its backoff is no wait" in caplog.text


async def test_an_exponential_backoff_doubles(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    from redqueue.testing import advance_async

    @registry.processor("bad")
    async def bad(data: Any) -> None:
        raise ValueError

    job = await queue.add("bad", retries=4, backoff=Exponential(first=100, cap=300, jitter=0))
    waits: list[int] = []
    for _ in range(4):
        await work()
        due = (await status_of(job)).due_at
        assert due is not None
        waits.append(round((due - datetime.now(UTC)).total_seconds() / 10) * 10)
        await advance_async(queue, 400)
    assert waits == [100, 200, 300, 300]


async def test_a_processor_can_ask_for_a_retry_after_a_wait_of_its_own(
    registry: ServiceRegistry, outcome: Outcome
) -> None:
    @registry.processor("again")
    async def again(data: Any) -> None:
        raise Retry(after=100, reason="the shop is closed")

    status = await outcome("again", retries=1)
    assert (status.state, status.attempts, status.error) == ("delayed", 1, "Retry: the shop is closed")
    assert status.due_at is not None
    assert timedelta(seconds=90) < status.due_at - datetime.now(UTC) < timedelta(seconds=110)


async def test_asking_for_retries_ends_when_there_are_none_left(registry: ServiceRegistry, outcome: Outcome) -> None:
    @registry.processor("again")
    def again(data: Any) -> None:
        raise Retry

    status = await outcome("again", retries=2)
    assert (status.state, status.attempts) == ("failed", 3)


async def test_a_snooze_burns_no_attempt_and_keeps_the_place(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    from redqueue.testing import advance_async

    ran: list[tuple[str, int]] = []

    @registry.processor("later")
    async def later(data: str, context: JobContext) -> None:
        ran.append((data, context.attempt))
        if data == "first" and len(ran) < 3:
            raise Snooze(50, "not now")

    job = await queue.add("later", "first", retries=0)
    for _ in range(2):
        await work()
        assert (await status_of(job)).message == "not now"
        await advance_async(queue, 51)
    await queue.add("later", "behind")
    await work(concurrency=1)
    assert ran == [("first", 1), ("first", 1), ("first", 1), ("behind", 1)]
    status = await status_of(job)
    assert (status.state, status.attempts, status.message) == ("completed", 1, None)


@pytest.mark.parametrize("after", [-1, float("nan"), "soon", 10**12])
async def test_a_bad_wait_of_a_processor_is_a_failure_that_names_it(
    registry: ServiceRegistry, outcome: Outcome, after: Any
) -> None:
    @registry.processor("later")
    async def later(data: Any) -> None:
        raise Snooze(after)

    status = await outcome("later", retries=0)
    assert status.state == "failed"
    assert (status.error or "").startswith("InvalidOption: Snooze.after must be")


async def test_discarding_fails_without_the_retries_that_are_left(registry: ServiceRegistry, outcome: Outcome) -> None:
    class Hopeless(Discard):
        pass

    @registry.processor("give-up")
    async def give_up(data: Any) -> None:
        raise Hopeless("no such customer")

    status = await outcome("give-up", retries=5)
    assert (status.state, status.attempts, status.error) == ("failed", 1, "Hopeless: no such customer")


async def test_only_listed_errors_are_retried_and_others_given_up(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    ran: list[str] = []
    errors: dict[str, Exception] = {"os": ConnectionResetError(), "value": ValueError(), "key": KeyError()}

    def raise_it(data: str) -> None:
        ran.append(data)
        raise errors[data]

    registry.register_processor("some", raise_it, retry_on=(OSError, KeyError), give_up_on=(LookupError,))
    for data in errors:
        await queue.add("some", data, retries=2)
    await work()
    assert {who: ran.count(who) for who in ran} == {"os": 3, "value": 1, "key": 1}

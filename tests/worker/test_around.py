"""Middlewares, hooks and resources, in a worker and before an add."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from redqueue import (
    INJECTED,
    AsyncJobQueueService,
    AsyncQueue,
    AttemptEnded,
    BaseProcessor,
    JobContext,
    JobToAdd,
    RegistrationError,
    ServiceRegistry,
    WorkerStarted,
    WorkerStopped,
)

from .child_jobs import echo as echo_in_child
from .child_jobs import fail
from .conftest import Work, status_of

GoOn = Callable[[], Awaitable[object]]


@pytest.mark.parametrize("where", ["loop", "thread", "process"])
async def test_middlewares_are_around_each_run(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, where: str
) -> None:
    steps: list[str] = []

    @registry.middleware("run")
    async def outer(job: JobContext, go_on: GoOn) -> object:
        steps.append(f"outer {job.job_type}")
        try:
            return [await go_on()]
        finally:
            steps.append("outer ends")

    @registry.middleware("run")
    async def inner(job: JobContext, go_on: GoOn) -> object:
        steps.append("inner")
        return await go_on()

    async def on_loop(data: int) -> int:
        return data

    def in_thread(data: int, context: JobContext) -> int:
        assert JobContext.current() is context
        return data

    if where == "process":
        registry.register_processor("echo", echo_in_child, execution="process")
        registry.register_processor("fail", fail, execution="process")
    else:
        registry.register_processor("echo", on_loop if where == "loop" else in_thread)
        registry.register_processor("fail", fail)
    job, failing = await queue.add("echo", 1), await queue.add("fail", "broken", retries=0)
    await work(concurrency=1)
    assert (await status_of(job)).result == [1]
    assert (await status_of(failing)).error == "ValueError: broken"
    assert steps == ["outer echo", "inner", "outer ends", "outer fail", "inner", "outer ends"]


async def test_a_middleware_that_raises_fails_the_attempt(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    @registry.middleware("run")
    async def refuse(job: JobContext, go_on: GoOn) -> object:
        raise PermissionError("not here")

    registry.register_processor("echo", echo_in_child)
    job = await queue.add("echo", 1, retries=0)
    await work()
    assert (await status_of(job)).error == "PermissionError: not here"


async def test_hooks_are_told_and_harm_nobody(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    facts: list[Any] = []
    registry.hook("start")(facts.append)
    registry.hook("stop")(facts.append)
    registry.hook("attempt_end")(facts.append)

    @registry.hook("attempt_end")
    def broken(fact: AttemptEnded) -> None:
        raise RuntimeError

    @registry.hook("attempt_end")
    async def slow(fact: AttemptEnded) -> None:
        facts.append(fact.outcome)

    registry.register_processor("fail", fail)
    job = await queue.add("fail", "x", retries=1)
    await work()
    started, *ends, stopped = [fact for fact in facts if not isinstance(fact, str)]
    assert isinstance(started, WorkerStarted)
    assert started.queues == ("q",)
    assert isinstance(stopped, WorkerStopped)
    assert [(end.job_id, end.attempt, end.outcome, end.error_type) for end in ends] == [
        (job.id, 1, "retrying", "ValueError"),
        (job.id, 2, "failed", "ValueError"),
    ]
    assert all(end.run_ms >= 0 for end in ends)
    assert facts.count("retrying") == facts.count("failed") == 1


async def test_a_worker_opens_its_resources_once(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    steps: list[str] = []

    class Line:
        pass

    @registry.resource
    async def line() -> AsyncIterator[Line]:
        steps.append("open")
        yield Line()
        steps.append("close")

    async def call(data: int, line=INJECTED) -> None:  # type: ignore[no-untyped-def]
        steps.append(type(line).__name__)

    call.__annotations__["line"] = Line
    line.__annotations__["return"] = AsyncIterator[Line]
    registry.register_processor("call", call)
    for n in range(2):
        await queue.add("call", n)
    await work()
    assert steps == ["open", "Line", "Line", "close"]


async def test_jobs_pass_the_middlewares_of_the_add(real_url: str, registry: ServiceRegistry) -> None:
    @registry.middleware("add")
    def stamp(job: JobToAdd) -> JobToAdd:
        if job.job_type == "refused":
            raise PermissionError("no such jobs")
        return msgspec.structs.replace(job, data={**job.data, "stamped": True}, options={**job.options, "priority": 5})

    async with AsyncJobQueueService(real_url, registry=registry) as service:
        job_id = await service.add_job("sms", {"n": 1})
        (many,) = await service.queue("sms").add_many([("sms", {"n": 2})])
        assert await service.queue("sms").get_data(job_id) == {"n": 1, "stamped": True}
        assert await service.queue("sms").get_data(many.id) == {"n": 2, "stamped": True}
        with pytest.raises(PermissionError):
            await service.add_job("refused", {})
        assert (await service.get_queue_stats("refused")).waiting == 0


def forget(job: JobToAdd) -> None:
    """No middleware: it returns nothing."""


async def test_a_middleware_of_the_add_returns_the_job(real_url: str, registry: ServiceRegistry) -> None:
    registry.middleware("add")(forget)
    async with AsyncJobQueueService(real_url, registry=registry) as service:
        with pytest.raises(RegistrationError, match="nothing was sent"):
            await service.add_job("sms", {})


async def test_a_middleware_that_waits_for_ever_ends_with_the_runs_time(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    entered: list[int] = []

    @registry.middleware("run")
    async def wait(job: JobContext, go_on: GoOn) -> object:
        await asyncio.Event().wait()
        return await go_on()

    registry.register_processor("note", entered.append, timeout=0.05, retries=0)
    registry.register_processor("echo", echo_in_child, execution="process", timeout=0.05, retries=0)
    jobs = [await queue.add("note", 1), await queue.add("echo", 1)]
    await work()
    assert [(await status_of(job)).error for job in jobs] == [
        "TimeoutError: the run took longer than its timeout of 0.05 s"
    ] * 2
    assert entered == []


@pytest.mark.parametrize("error", [StopIteration("over"), SystemExit(3), GeneratorExit()])
async def test_whatever_a_plain_function_raises_within_middlewares_is_one_failed_attempt(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, error: BaseException
) -> None:
    @registry.middleware("run")
    async def around(job: JobContext, go_on: GoOn) -> object:
        return await go_on()

    @registry.processor("raise")
    def throw(data: None) -> None:
        raise error

    job = await queue.add("raise", retries=0)
    await work()
    status = await status_of(job)
    assert status.status == "failed"
    assert type(error).__name__ in (status.error or "")


async def test_on_failed_of_a_plain_processor_stays_in_a_thread(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    threads: list[str] = []

    class Failing(BaseProcessor[int, int]):
        def process(self, data: int, context: JobContext) -> int:
            raise ValueError(data)

        def on_failed(self, data: int, error: Exception, context: JobContext) -> None:
            threads.append(threading.current_thread().name)

    @registry.middleware("run")
    async def around(job: JobContext, go_on: GoOn) -> object:
        return await go_on()

    registry.register_processor("fail", Failing())
    job = await queue.add("fail", 1, retries=0)
    await work()
    assert (await status_of(job)).error == "ValueError: 1"
    assert [name.startswith("redqueue-job") for name in threads] == [True]

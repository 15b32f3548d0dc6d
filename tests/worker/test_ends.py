"""How runs end when more than one thing ends them: late, told twice, given up, with reports on their way."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from redqueue import (
    AsyncQueue,
    AttemptEnded,
    BaseProcessor,
    ConfigurationError,
    Discard,
    InvalidOption,
    JobContext,
    JobFailed,
    JobStatus,
    LeaseLost,
    RegistrationError,
    ServiceRegistry,
    Worker,
)

from .conftest import MakeWorker, Work, echo, status_of

Outcome = Callable[..., Awaitable[JobStatus]]
GoOn = Callable[[], Awaitable[object]]


class Telling(BaseProcessor[Any, None]):
    """Notes what `on_failed` is told."""

    def __init__(self) -> None:
        self.told: list[Exception] = []

    def on_failed(self, data: Any, error: Exception, context: JobContext, /) -> None:
        self.told.append(error)


async def test_on_failed_is_told_of_a_coroutine_that_ran_out_of_time(
    registry: ServiceRegistry, outcome: Outcome
) -> None:
    class Slow(Telling):
        async def process(self, data: Any, context: JobContext, /) -> None:
            await asyncio.sleep(60)

    slow = Slow()
    registry.register_processor("slow", slow, timeout=0.05)
    assert (await outcome("slow", retries=1)).status == "failed"
    assert [type(error) for error in slow.told] == [TimeoutError]


async def test_on_failed_is_told_of_a_thread_that_ran_out_of_time(registry: ServiceRegistry, outcome: Outcome) -> None:
    class Slow(Telling):
        def process(self, data: Any, context: JobContext, /) -> None:
            while True:
                context.raise_if_cancelled()
                threading.Event().wait(0.005)

    slow = Slow()
    registry.register_processor("slow", slow, timeout=0.05)
    assert (await outcome("slow", retries=0)).status == "failed"
    assert [str(error) for error in slow.told] == ["the run took longer than its timeout of 0.05 s"]


async def test_a_run_that_was_given_up_says_nothing_more(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, door: threading.Event, soon_stuck: None
) -> None:
    done = threading.Event()

    class Stubborn(Telling):
        def process(self, data: Any, context: JobContext, /) -> None:
            door.wait()
            done.set()
            raise ValueError("late")

    stubborn = Stubborn()

    @registry.middleware("run")
    async def around(job: JobContext, go_on: GoOn) -> object:
        return await go_on()

    @registry.processor("quick")
    def quick(data: int) -> int:
        return data

    registry.register_processor("stubborn", stubborn, timeout=0.05)
    async with make_worker(concurrency=2):
        stuck = [await queue.add("stubborn", n, retries=0) for n in range(2)]
        for job in stuck:
            with pytest.raises(Exception, match="TimeoutError"):
                await job.result(10)
        door.set()
        await asyncio.to_thread(done.wait, 10)
        # Their threads come back, each counted once: the two slots have two threads again.
        jobs = [await queue.add("quick", n) for n in range(20)]
        assert [await job.result(10) for job in jobs] == list(range(20))
    assert stubborn.told == []


async def test_on_failed_is_not_told_when_another_run_has_the_job(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    ended: list[AttemptEnded] = []
    entered, lost = asyncio.Event(), asyncio.Event()

    class Loses(Telling):
        async def process(self, data: Any, context: JobContext, /) -> None:
            entered.set()
            await lost.wait()
            raise LeaseLost("as a receipt does")

    loses = Loses()
    registry.register_processor("loses", loses)
    registry.hook("attempt_end")(ended.append)
    async with make_worker():
        job = await queue.add("loses", retries=0)
        await asyncio.wait_for(entered.wait(), 10)
        lost.set()
        with pytest.raises(Exception, match="LeaseLost"):
            await job.result(10)
    assert loses.told == []


async def test_what_was_decided_stays_however_long_on_failed_takes(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, door: threading.Event, soon_stuck: None
) -> None:
    runs: list[int] = []

    class Slow(Telling):
        def process(self, data: Any, context: JobContext, /) -> None:
            runs.append(context.attempt)
            raise Discard("never")

        def on_failed(self, data: Any, error: Exception, context: JobContext, /) -> None:
            door.wait()

    registry.register_processor("slow", Slow(), timeout=0.05)
    async with make_worker(concurrency=2):
        job = await queue.add("slow", retries=2)
        with pytest.raises(JobFailed, match="never"):
            await job.result(10)
    door.set()
    assert runs == [1]


async def test_a_hook_that_raises_whatever_keeps_no_slot(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    @registry.hook("attempt_end")
    def plain(fact: AttemptEnded) -> None:
        raise asyncio.CancelledError

    @registry.hook("attempt_end")
    async def leaves(fact: AttemptEnded) -> None:
        raise SystemExit(3)

    @registry.processor("quick")
    async def quick(data: int) -> int:
        return data

    async with make_worker(concurrency=2):
        jobs = await queue.add_many([("quick", n) for n in range(20)], keep_completed=0)
        assert [await job.result(10) for job in jobs] == list(range(20))


async def test_all_that_a_run_told_is_kept_however_much_others_told(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    restored: list[Any] = []

    @registry.processor("chatty")
    async def chatty(data: int, context: JobContext) -> None:
        for n in range(300):
            context.log(f"line {n}")

    @registry.processor("goes_on", retries=1)
    async def goes_on(data: None, context: JobContext) -> None:
        restored.append(context.restored)
        for n in range(1000):
            context.log(f"line {n}")
        context.checkpoint({"at": 7})
        if context.attempt == 1:
            raise ValueError

    async with make_worker(concurrency=10):
        jobs = await queue.add_many([("chatty", n) for n in range(10)])
        for job in jobs:
            await job.result(20)
        for job in jobs:
            assert (await queue.get_logs(job.id, 299))[-1] == "line 299"
        await (await queue.add("goes_on")).result(20)
    assert restored == [None, {"at": 7}]


async def test_progress_of_a_busy_thread_goes_on(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, door: threading.Event
) -> None:
    @registry.processor("counts")
    def counts(data: None, context: JobContext) -> None:
        n = 0
        while not door.is_set():
            n += 1
            context.progress(None, str(n))

    async with make_worker(concurrency=1):
        job = await queue.add("counts")
        seen: list[str] = []
        async for event in queue.events(since="0", kinds={"progress"}):
            assert event.job_id == job.id
            seen.append(event.id)
            if len(seen) == 4:
                break
        door.set()
        await job.result(10)


@pytest.mark.parametrize("option", ["expires_in of the job", "expires_in of the processor"])
async def test_what_was_started_in_time_does_not_expire_later(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, work: Work, option: str
) -> None:
    runs: list[str] = []
    entered = asyncio.Event()

    async def waits(data: None) -> None:
        runs.append("run")
        entered.set()
        if len(runs) == 1:
            await asyncio.sleep(60)

    in_time = {"expires_in": 0.3}
    of_job = in_time if option.endswith("job") else {}
    registry.register_processor("waits", waits, **({} if of_job else in_time))  # type: ignore[arg-type]
    async with make_worker(grace=0):
        job = await queue.add("waits", **of_job)  # type: ignore[call-overload]
        await asyncio.wait_for(entered.wait(), 10)
    assert (await status_of(job)).message == "its last run was interrupted"
    await asyncio.sleep(0.35)  # past its time: nothing tells of that
    await work()
    assert (await status_of(job)).status == "completed"
    assert len(runs) == 2


async def test_a_processors_expiry_counts_from_when_a_job_is_due(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    @registry.processor("waits", expires_in=0.4)
    async def waits(data: None) -> str:
        return "ran"

    async with make_worker():
        assert await (await queue.add("waits", delay=0.6)).result(10) == "ran"


async def test_a_job_that_is_retried_by_hand_is_not_late(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work
) -> None:
    good: list[bool] = [False]

    @registry.processor("mended", expires_in=0.2)
    async def mended(data: None) -> None:
        if not good[0]:
            raise ValueError

    job = await queue.add("mended", retries=0)
    await work()
    good[0] = True
    await asyncio.sleep(0.25)  # past its time: nothing tells of that
    assert await queue.retry(job.id)
    await work()
    assert (await status_of(job)).status == "completed"


async def test_a_worker_that_is_cancelled_over_and_over_gives_its_jobs_back(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    entered = asyncio.Event()

    @registry.processor("waits")
    async def waits(data: None) -> None:
        entered.set()
        await asyncio.sleep(60)

    job = await queue.add("waits")
    serving = asyncio.create_task(make_worker().serve())
    await asyncio.wait_for(entered.wait(), 10)
    async with asyncio.timeout(10):
        while not serving.done():
            serving.cancel()
            await asyncio.sleep(0)
    assert serving.cancelled()
    assert (await status_of(job)).state == "waiting"
    assert not [thread.name for thread in threading.enumerate() if thread.name == "redqueue-heartbeat"]


async def test_a_resource_that_takes_long_to_open_keeps_nobody_from_stopping(
    registry: ServiceRegistry, make_worker: MakeWorker
) -> None:
    opening = asyncio.Event()

    class Client:
        pass

    async def client() -> AsyncIterator[Client]:
        opening.set()
        await asyncio.sleep(60)
        yield Client()

    client.__annotations__["return"] = AsyncIterator[Client]
    registry.resource(client)
    registry.register_processor("echo", echo)
    worker = make_worker()
    serving = asyncio.create_task(worker.serve())
    await asyncio.wait_for(opening.wait(), 10)
    worker.request_stop()
    await asyncio.wait_for(serving, 10)


async def test_what_was_open_is_closed_in_peace_when_another_resource_hangs(
    registry: ServiceRegistry, make_worker: MakeWorker
) -> None:
    opening, closed = asyncio.Event(), asyncio.Event()

    class First:
        pass

    class Second:
        pass

    async def first() -> AsyncIterator[First]:
        yield First()
        await asyncio.sleep(0.5)  # longer than the worker would wait before it cancels again
        closed.set()

    async def second() -> AsyncIterator[Second]:
        opening.set()
        await asyncio.sleep(60)
        yield Second()

    first.__annotations__["return"] = AsyncIterator[First]
    second.__annotations__["return"] = AsyncIterator[Second]
    registry.resource(first)
    registry.resource(second)
    registry.register_processor("echo", echo)
    worker = make_worker()
    serving = asyncio.create_task(worker.serve())
    await asyncio.wait_for(opening.wait(), 10)
    worker.request_stop()
    await asyncio.wait_for(serving, 10)
    assert closed.is_set()


async def test_data_whose_class_raises_whatever_fails_its_job_alone(
    registry: ServiceRegistry, queue: AsyncQueue, outcome: Outcome
) -> None:
    registry.register_processor("poison", takes_poison)
    status = await outcome("poison", {"x": 1})
    assert (status.status, status.attempts) == ("failed", 1)


class Panic(BaseException):
    pass


class Poison(msgspec.Struct):
    x: int

    def __post_init__(self) -> None:
        raise Panic


def takes_poison(data: Poison) -> None:
    raise AssertionError("entered")


def test_what_can_not_work_is_refused_when_the_worker_is_made(registry: ServiceRegistry) -> None:
    with pytest.raises(InvalidOption, match="queues must name at least one"):
        Worker([], registry=registry)
    with pytest.raises(InvalidOption, match="registry must be a ServiceRegistry object"):
        Worker(["q"], registry=ServiceRegistry)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="a Redis URL begins with"):
        Worker(["q"], "http://x", registry=registry)
    with pytest.raises(RegistrationError, match="with parentheses"):
        registry.processor(takes_poison)  # type: ignore[arg-type]


async def test_run_inside_a_loop_says_what_to_do(registry: ServiceRegistry, make_worker: MakeWorker) -> None:
    with pytest.raises(ConfigurationError, match="async with worker"):
        make_worker().run()

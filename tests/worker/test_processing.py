"""How processors are called: their data, their context, their parts."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import pytest
import redis

from redqueue import (
    AsyncJobQueueService,
    AsyncQueue,
    BaseProcessor,
    Discard,
    JobContext,
    JobData,
    JobStatus,
    ServiceRegistry,
    Signed,
    Worker,
)
from redqueue.testing import advance_async

from .conftest import MakeWorker, Work, status_of

Outcome = Callable[..., Awaitable[JobStatus]]


tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


class Checked(msgspec.Struct):
    seen: ClassVar[list[str]]

    name: str

    def __post_init__(self) -> None:
        self.seen.append(tenant.get())
        tenant.set("the check's")


class Sms(JobData[Any], kw_only=True):
    job_type: ClassVar[str] = "sms"

    phone_numbers: list[str]


# -- how processors are called


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_processor_gets_its_data_and_its_result_is_kept(
    registry: ServiceRegistry, outcome: Outcome, kind: str
) -> None:
    if kind == "async":

        @registry.processor("sms")
        async def send(data: Sms) -> dict[str, int]:
            return {"sent": len(data.phone_numbers)}

    else:

        @registry.processor("sms")
        def send_plainly(data: Sms) -> dict[str, int]:
            return {"sent": len(data.phone_numbers)}

    status = await outcome("sms", {"phoneNumbers": ["+31", "+32"]})
    assert (status.state, status.result, status.attempts) == ("completed", {"sent": 2}, 1)


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}, 1.5, "é🎈", [1, [2, {"a": None}]]])
async def test_a_result_reads_back_equal(registry: ServiceRegistry, outcome: Outcome, value: Any) -> None:
    @registry.processor("give")
    async def give(data: Any) -> Any:
        return value

    assert (await outcome("give")).result == value


async def test_a_result_may_be_typed(registry: ServiceRegistry, outcome: Outcome) -> None:
    @dataclass
    class Sent:
        at: datetime
        n: int

    @registry.processor("give")
    def give(data: Any) -> Sent:
        return Sent(datetime(2026, 1, 1, tzinfo=UTC), 2)

    assert (await outcome("give")).result == {"at": "2026-01-01T00:00:00Z", "n": 2}


async def test_plain_functions_run_in_threads_of_the_worker_and_leave_the_loop_free(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    names: list[str] = []
    entered, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    @registry.processor("block")
    def block(data: Any) -> None:
        names.append(threading.current_thread().name)
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(5)

    job = await queue.add("block")
    async with make_worker():
        await asyncio.wait_for(entered.wait(), 5)
        go.set()
    assert names[0].startswith("redqueue-job")
    assert (await status_of(job)).state == "completed"


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_the_context_says_which_job_runs(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, kind: str
) -> None:
    seen: list[JobContext] = []
    current: list[JobContext] = []

    if kind == "async":

        @registry.processor("look")
        async def look(data: Any, context: JobContext) -> None:
            seen.append(context)
            current.append(JobContext.current())
            if context.attempt == 1:
                raise ValueError

    else:

        @registry.processor("look")
        def look_plainly(data: Any, context: JobContext) -> None:
            seen.append(context)
            current.append(JobContext.current())
            if context.attempt == 1:
                raise ValueError

    await queue.add("look", {"subAccountId": "s1", "userId": "u1"}, job_id="x", retries=7)
    await work()
    first, second = seen
    assert current == seen
    assert (first.job_id, first.queue, first.job_type, first.label) == ("x", "q", "look", "")
    assert (first.attempt, second.attempt, first.retries) == (1, 2, 7)
    assert (first.sub_account_id, first.user_id, first.given) == ("s1", "u1", {})
    assert first.idempotency_key == second.idempotency_key == "q:x"
    assert abs(first.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    assert first.cancelled is False
    first.raise_if_cancelled()
    with pytest.raises(LookupError):
        JobContext.current()


async def test_contextvars_of_the_worker_reach_its_threads_and_stay_apart(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker
) -> None:
    seen: list[str] = []

    @registry.processor("plain")
    def plain(data: str) -> None:
        seen.append(tenant.get())
        tenant.set(data)

    @registry.processor("coroutine")
    async def coroutine(data: str) -> None:
        seen.append(tenant.get())
        tenant.set(data)

    await queue.add_many([(kind, f"{kind}{n}") for n in range(3) for kind in ("plain", "coroutine")])
    tenant.set("the worker's")
    await make_worker(burst=True, concurrency=1).serve()
    assert seen == ["the worker's"] * 6
    assert tenant.get() == "the worker's"


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_a_classs_own_checks_have_the_contextvars_of_the_worker(
    registry: ServiceRegistry, queue: AsyncQueue, make_worker: MakeWorker, kind: str
) -> None:
    """Neither those of the job whose end starts this one, nor what the check before left, nor none."""
    seen: list[str] = []
    Checked.seen = seen

    def plain(data: Checked) -> None:
        tenant.set(data.name)

    async def coroutine(data: Checked) -> None:
        tenant.set(data.name)

    registry.processor("checked")(plain if kind == "plain" else coroutine)
    await queue.add_many([("checked", {"name": f"job {n}"}) for n in range(4)])
    tenant.set("the worker's")
    await make_worker(burst=True, concurrency=1).serve()
    assert seen == ["the worker's"] * 4


async def test_data_that_does_not_fit_fails_at_once_and_enters_nothing(
    registry: ServiceRegistry, outcome: Outcome
) -> None:
    entered: list[Any] = []

    @registry.processor("sms")
    async def send(data: Sms) -> None:
        entered.append(data)

    for data in ({"phoneNumbers": "secret"}, {"phoneNumbers": [], "more": 1}, {}, None, [1]):
        status = await outcome("sms", data, retries=5)
        assert (status.state, status.attempts) == ("failed", 1)
        assert (status.error or "").startswith("InvalidArguments: send")
        assert "secret" not in (status.error or "")
        assert status.traceback is None
    assert entered == []


async def test_an_unknown_type_waits_and_then_fails(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, until: Any
) -> None:
    job = await queue.add("never-heard-of", 1)
    await work(unknown_grace=1)
    status = await status_of(job)
    assert (status.state, status.attempts) == ("delayed", 0)
    assert "'never-heard-of' is registered in no worker" in (status.message or "")

    async def is_over() -> bool:
        await work(unknown_grace=1)
        return (await status_of(job)).state == "failed"

    await until(is_over)
    status = await status_of(job)
    assert (status.error or "").startswith("UnknownJobType: job type 'never-heard-of'")


async def test_workers_that_lack_different_things_wait_for_a_job_no_longer_than_one_would(
    queue: AsyncQueue, real_url: str, work: Work
) -> None:
    """One has no keys, one another key, one doesn't know the name: each says so, and the time counts on."""
    signed = {name: Signed({name: name.encode() * 32}) for name in ("a", "b")}
    async with AsyncQueue("q", real_url, seal=signed["a"]) as sealed:
        job = await sealed.add("never-heard-of", 1)
        said: list[str] = []
        for lacking in ({}, {"seal": signed["b"]}, {"seal": signed["a"]}, {}):
            await work(unknown_grace=100, **lacking)
            said.append((await status_of(job)).message or "")
            await advance_async(queue, 30)
        for message, part in zip(said, ["pass seal=", "there are b", "'never-heard-of'", "pass seal="], strict=True):
            assert message.startswith("waits for a worker that can run it: ")
            assert part in message
        await work(unknown_grace=100, seal=signed["a"])
        status = await status_of(job)
    assert (status.state, status.attempts) == ("failed", 1)
    assert (status.error or "").startswith("UnknownJobType: ")


async def test_a_worker_that_knows_the_type_takes_over_what_waits(
    real_url: str, queue: AsyncQueue, work: Work, make_worker: MakeWorker, registry: ServiceRegistry
) -> None:
    job = await queue.add("new", 1)
    await work()
    newer = ServiceRegistry()

    @newer.processor("new")
    async def new(data: int) -> int:
        return data

    await advance_async(queue, 60)
    await Worker(["q"], real_url, registry=newer, burst=True).serve()
    status = await status_of(job)
    assert (status.state, status.result, status.attempts, status.message) == ("completed", 1, 1, None)


async def test_unknown_services_and_tasks_wait_and_wrong_methods_fail(
    registry: ServiceRegistry, real_url: str, make_worker: MakeWorker
) -> None:
    class Shop:
        def buy(self) -> str:
            return "bought"

        def close(self) -> None: ...

    registry.register_service("Shop", Shop(), ["buy"])
    async with AsyncJobQueueService(real_url, registry=registry) as service:
        bought = await service.execute_service_method("", "Shop", "buy")
        unknown = await service.execute_service_method("", "Bank", "rob")
        no_task = await service.execute_task("", "no_such_task")
        closed = await service.execute_service_method("", "Shop", "close", retries=9)
        await make_worker("generic-task", burst=True).serve()
        found = {one: await service.get_job_status("generic-task", one) for one in (bought, unknown, no_task, closed)}
    states = [status.state for status in found.values() if status is not None]
    assert states == ["completed", "delayed", "delayed", "failed"]
    assert "service 'Bank'" in (found[unknown].message or "")  # type: ignore[union-attr]
    assert "task 'no_such_task'" in (found[no_task].message or "")  # type: ignore[union-attr]
    assert "Service method 'Shop.close' not found in registry; it has: buy" in (found[closed].error or "")  # type: ignore[union-attr]


async def test_the_built_in_tasks_run(real_url: str, make_worker: MakeWorker) -> None:
    async with AsyncJobQueueService(real_url) as service:
        slept = await service.execute_task("", "delay", [3])
        added = await service.execute_task("", "calculate_sum", {"numbers": [1, 2, 3.5]})
        await make_worker("generic-task", burst=True).serve()
        results = [(await service.get_job_status("generic-task", one)).result for one in (slept, added)]  # type: ignore[union-attr]
    assert results == [3, 6.5]


@pytest.mark.parametrize("stored", [b"", b"\x00\xff", b"[1,2]\n{}", b'["sms","",1]', b'["sms","",1]\n{"a":', b"{}\n{}"])
async def test_a_corrupt_envelope_fails_alone(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, real_url: str, stored: bytes
) -> None:
    """Faults: L15, P05."""

    @registry.processor("sms")
    async def send(data: Any) -> Any:
        return data

    before, broken, behind = [await queue.add("sms", n) for n in range(3)]
    with redis.Redis.from_url(real_url) as client:
        client.set(f"redqueue:{{q}}:job:{broken.id}", stored)
    await work(concurrency=1)
    assert [(await status_of(job)).state for job in (before, broken, behind)] == ["completed", "failed", "completed"]
    assert ((await status_of(broken)).error or "").split(":")[0] in ("CorruptEnvelope", "InvalidArguments")


# -- processors with parts


class Parts(BaseProcessor[int, int]):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def validate(self, data: int) -> None:
        self.calls.append("validate")
        if data < 0:
            raise Discard("negative")

    def process(self, data: int, context: JobContext) -> int:
        self.calls.append("process")
        if data == 0:
            raise ValueError("zero")
        return data

    def on_completed(self, data: int, result: int, context: JobContext) -> None:
        self.calls.append(f"completed {result}")

    def on_failed(self, data: int, error: Exception, context: JobContext) -> None:
        self.calls.append(f"failed {type(error).__name__} {context.attempt}")


class AsyncParts(BaseProcessor[int, int]):
    def __init__(self) -> None:
        self.calls: list[str] = []

    async def validate(self, data: int) -> None:
        self.calls.append("validate")
        if data < 0:
            raise Discard("negative")

    async def process(self, data: int, context: JobContext) -> int:
        self.calls.append("process")
        if data == 0:
            raise ValueError("zero")
        return data

    async def on_completed(self, data: int, result: int, context: JobContext) -> None:
        self.calls.append(f"completed {result}")

    async def on_failed(self, data: int, error: Exception, context: JobContext) -> None:
        self.calls.append(f"failed {type(error).__name__} {context.attempt}")


@pytest.mark.parametrize("kind", [Parts, AsyncParts])
async def test_the_parts_of_a_processor_are_called_in_order(
    registry: ServiceRegistry, outcome: Outcome, kind: type[Parts | AsyncParts]
) -> None:
    parts = kind()
    registry.register_processor("parts", parts)
    assert (await outcome("parts", 3)).result == 3
    assert parts.calls == ["validate", "process", "completed 3"]
    parts.calls.clear()
    assert (await outcome("parts", 0, retries=1)).state == "failed"
    assert parts.calls == ["validate", "process"] * 2 + ["failed ValueError 2"]
    parts.calls.clear()
    assert (await outcome("parts", -1, retries=5)).state == "failed"
    assert parts.calls == ["validate", "failed Discard 1"]
    parts.calls.clear()
    assert (await outcome("parts", "text")).state == "failed"
    assert parts.calls == []


@pytest.mark.parametrize("broken", [ValueError("hunter2"), asyncio.CancelledError(), SystemExit()])
async def test_on_failed_that_raises_changes_nothing(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, caplog: pytest.LogCaptureFixture, broken: BaseException
) -> None:
    class Sore(AsyncParts):
        async def on_failed(self, data: int, error: Exception, context: JobContext) -> None:
            raise broken

    registry.register_processor("sore", Sore())
    job = await queue.add("sore", 0, retries=0)
    await work()
    status = await status_of(job)
    assert (status.state, status.error) == ("failed", "ValueError: zero")
    assert f"on_failed raised {type(broken).__name__}" in caplog.text


async def test_data_is_decoded_anew_for_each_run(registry: ServiceRegistry, queue: AsyncQueue, work: Work) -> None:
    seen: list[list[int]] = []

    @registry.processor("grow")
    async def grow(data: list[int]) -> None:
        seen.append([*data])
        data.append(9)
        raise ValueError

    await queue.add("grow", [1], retries=2)
    await work()
    assert seen == [[1]] * 3

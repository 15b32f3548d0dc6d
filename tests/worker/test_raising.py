"""Whatever a processor raises or returns concerns its own job only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from redqueue import (
    AsyncQueue,
    JobStatus,
    ServiceRegistry,
)

from .conftest import Work, echo, status_of

Outcome = Callable[..., Awaitable[JobStatus]]


class OfItsOwnKind(BaseException):
    pass


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


ERRORS: list[BaseException] = [
    asyncio.CancelledError("stop"),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    StopIteration(1),
    StopAsyncIteration(),
    OfItsOwnKind("odd"),
    ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
    BaseExceptionGroup("worse", [SystemExit(1)]),
    TimeoutError(),
    RecursionError(),
    MemoryError(),
    Unspeakable(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_whatever_a_processor_raises_is_one_failed_attempt(
    registry: ServiceRegistry, queue: AsyncQueue, work: Work, error: BaseException, kind: str
) -> None:
    ran: list[int] = []

    async def coroutine(data: Any) -> None:
        ran.append(1)
        raise error

    def plain(data: Any) -> None:
        ran.append(1)
        raise error

    registry.register_processor("bad", coroutine if kind == "async" else plain)
    registry.register_processor("good", echo)
    bad = await queue.add("bad", retries=1)
    good = await queue.add("good", priority=1)
    await work()
    status = await status_of(bad)
    assert (status.state, status.attempts, len(ran)) == ("failed", 2, 2)
    # A coroutine can't raise StopIteration: Python makes a RuntimeError of it.
    expected = {type(error).__name__, "RuntimeError"}
    assert (status.error or "").split(":")[0] in expected
    assert (await status_of(good)).state == "completed"


async def test_a_long_error_is_cut_and_says_so(registry: ServiceRegistry, outcome: Outcome) -> None:
    @registry.processor("loud")
    async def loud(data: Any) -> None:
        raise ValueError("é" * 100_000)

    status = await outcome("loud", retries=0)
    assert status.error is not None
    assert len(status.error.encode()) < 17 * 1024
    assert status.error.endswith("... (cut)")


async def test_an_errors_text_is_in_the_status_and_not_in_the_log(
    registry: ServiceRegistry, outcome: Outcome, caplog: pytest.LogCaptureFixture
) -> None:
    @registry.processor("leak")
    async def leak(data: Any) -> None:
        raise ValueError("password hunter2")

    with caplog.at_level(logging.DEBUG, "redqueue"):
        status = await outcome("leak", retries=1)
    assert status.error == "ValueError: password hunter2"
    assert "ValueError" in caplog.text
    assert "hunter2" not in caplog.text


async def test_a_traceback_begins_in_the_users_code(registry: ServiceRegistry, outcome: Outcome) -> None:
    def inner() -> None:
        raise ValueError("deep")

    @registry.processor("deep")
    def deep(data: Any) -> None:
        inner()

    trace = (await outcome("deep", retries=0)).traceback or ""
    assert "in deep" in trace
    assert "in inner" in trace
    assert "redqueue/worker" not in trace


UNSTORABLE: list[Any] = [
    object(),
    float("nan"),
    [float("inf")],
    {1: 2},
    {"a", "b"},
    2**70,
    lambda: None,
    "x" * (1024 * 1024),
    "\ud800",
]


@pytest.mark.parametrize("value", UNSTORABLE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_result_that_cannot_be_stored_fails_the_job_at_once(
    registry: ServiceRegistry, outcome: Outcome, value: Any, kind: str
) -> None:
    """Faults: P04."""
    ran: list[int] = []

    async def coroutine(data: Any) -> Any:
        ran.append(1)
        return value

    def plain(data: Any) -> Any:
        ran.append(1)
        return value

    registry.register_processor("odd", coroutine if kind == "async" else plain)
    status = await outcome("odd", retries=5)
    assert (status.state, status.attempts, len(ran)) == ("failed", 1, 1)
    assert (status.error or "").startswith("ResultNotSerializable: the result")


async def test_a_plain_function_that_returns_a_coroutine_fails(registry: ServiceRegistry, outcome: Outcome) -> None:
    async def inner() -> int:
        return 1

    @registry.processor("odd")
    def odd(data: Any) -> Any:
        return inner()

    status = await outcome("odd", retries=0)
    assert "returned a coroutine" in (status.error or "")

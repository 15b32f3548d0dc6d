"""What a binding says of its function, and how it is entered."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import msgspec
import pytest

from redqueue.context import INJECTED, JobContext
from redqueue.errors import InvalidArguments
from redqueue.registry import Binding, ServiceRegistry

CONTEXT: JobContext = JobContext.__new__(JobContext)


async def awaited(number: int, context: JobContext = INJECTED) -> int:
    return number


def plain(number: int) -> int:
    return number


class Callable:
    def __call__(self, number: int) -> int:
        return number


class AsyncCallable:
    async def __call__(self, number: int) -> int:
        return number

    async def method(self, number: int) -> int:
        return number


@functools.wraps(awaited)
def forgets_to_await(*args: Any, **kwargs: Any) -> Any:
    return awaited(*args, **kwargs)


def bound(function: Any) -> Binding:
    registry = ServiceRegistry()
    registry.register_task("task", function)
    registry.check()
    return registry.task_bindings()["task"]


@pytest.mark.parametrize(
    ("function", "is_coroutine"),
    [
        (plain, False),
        (awaited, True),
        (functools.partial(awaited), True),
        (functools.partial(functools.partial(plain)), False),
        (Callable(), False),
        (AsyncCallable(), True),
        (functools.partial(AsyncCallable()), True),
        (AsyncCallable().method, True),
        (len, False),
    ],
)
def test_async_functions_are_known_however_they_are_wrapped(function: Any, is_coroutine: bool) -> None:
    assert bound(function).is_coroutine is is_coroutine


async def test_an_async_function_gives_a_coroutine() -> None:
    result = bound(awaited).prepare(b"[7]").call(CONTEXT)
    assert inspect.isawaitable(result) and await result == 7


def test_a_plain_function_that_returns_a_coroutine_is_told() -> None:
    with pytest.raises(TypeError, match="is not async and returned a coroutine"):
        bound(forgets_to_await).prepare(b"[7]").call(CONTEXT)


@pytest.mark.parametrize("raw", [b"[7]", msgspec.Raw(b"[7]"), b'{"number": 7}', b"  [7]  "])
def test_data_may_be_bytes_or_raw(raw: bytes | msgspec.Raw) -> None:
    assert bound(plain).prepare(raw).call(CONTEXT) == 7


def test_names_say_what_runs() -> None:
    class Service:
        def run(self) -> None: ...

    registry = ServiceRegistry()
    registry.register_service("S", Service(), ["run"])
    registry.register_task("a task", plain)
    registry.register_processor("sms", functools.partial(plain))
    registry.register_processor("email", plain)
    registry.check()
    assert (registry.service_bindings("S") or {})["run"].name == "S.run"
    assert registry.task_bindings()["a task"].name == "a task"
    assert registry.processor_binding("sms").name == "partial"
    assert registry.processor_binding("email").name == "plain"


def test_a_refusal_names_the_function_and_enters_nothing() -> None:
    entered = []

    def run(number: int) -> None:
        entered.append(number)

    with pytest.raises(InvalidArguments, match=r"^task: \$\.number: expected `int`, got `str`$"):
        bound(run).prepare(b'["7"]')
    assert entered == []


def test_only_a_processor_with_parts_is_told_of_its_failure() -> None:
    prepared = bound(plain).prepare(b"[7]")
    assert prepared.binding.on_failed is None and prepared.failed(ValueError(), CONTEXT) is None

"""Resources open in order and close in reverse, whatever goes wrong; and which parameters they go to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Annotated, Any, Optional

import pytest

from redqueue import INJECTED, InvalidArguments, JobContext, RegistrationError, ServiceRegistry
from redqueue.registry.resources import OpenResources
from redqueue.testing import job_context


class One:
    pass


class Two:
    pass


class Three:
    pass


steps: list[str] = []


def one() -> Iterator[One]:
    yield One()
    steps.append("one")
    raise ValueError("a secret")


async def two() -> AsyncGenerator[Two, None]:
    yield Two()
    steps.append("two")
    raise KeyError("a secret")


def three() -> Generator[Annotated[Three, "the third"], None, None]:
    yield Three()
    steps.append("three")


def opened(*functions: Callable[..., Any], only: Any = None) -> OpenResources:
    steps.clear()
    registry = ServiceRegistry()
    for function in functions:
        registry.resource(function)
    registry.check()
    return OpenResources(registry.resources(), only)


async def test_all_are_closed_whatever_some_raise(caplog: pytest.LogCaptureFixture) -> None:
    resources = opened(three, one, two)
    values = await resources.open()
    assert list(values) == [Three, One, Two] and all(type(value) is kind for kind, value in values.items())
    with caplog.at_level(logging.ERROR, "redqueue"):
        await resources.close()
    assert steps == ["two", "one", "three"]
    assert [record.getMessage().split(" raised ")[1].split()[0] for record in caplog.records] == [
        "KeyError",
        "ValueError",
    ]
    assert "secret" not in caplog.text
    await resources.close()
    assert len(steps) == 3


async def test_only_those_that_are_needed_are_opened() -> None:
    resources = opened(one, two, three, only={Three})
    assert list(await resources.open()) == [Three]
    await resources.close()
    assert steps == ["three"]


async def test_a_cancelled_opening_closes_what_is_open() -> None:
    reached = asyncio.Event()

    async def hangs() -> AsyncIterator[Two]:
        reached.set()
        await asyncio.Event().wait()
        yield Two()

    opening = asyncio.create_task(opened(three, hangs).open())
    await reached.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert steps == ["three"]


async def test_a_cancelled_closing_closes_the_others() -> None:
    reached = asyncio.Event()

    async def hangs() -> AsyncIterator[Two]:
        yield Two()
        reached.set()
        await asyncio.Event().wait()

    resources = opened(three, hangs)
    await resources.open()
    closing = asyncio.create_task(resources.close())
    await reached.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert steps == ["three"]


async def test_one_that_yields_nothing_says_so() -> None:
    def never() -> Iterator[One]:
        yield from ()

    async def anever() -> AsyncIterator[One]:
        for one in list[One]():
            yield one

    for function in (never, anever):
        with pytest.raises(RegistrationError, match=f"{function.__name__} yielded nothing"):
            await opened(three, function).open()
        assert steps == ["three"]


async def test_one_that_yields_twice_is_logged_and_closed(caplog: pytest.LogCaptureFixture) -> None:
    def twice() -> Iterator[One]:
        try:
            yield One()
            yield One()
        finally:
            steps.append("twice")

    async def atwice() -> AsyncIterator[Two]:
        try:
            yield Two()
            yield Two()
        finally:
            steps.append("atwice")

    resources = opened(three, twice, atwice)
    await resources.open()
    await resources.close()
    assert steps == ["atwice", "twice", "three"]
    assert caplog.text.count("yielded twice") == 2


def untyped():  # type: ignore[no-untyped-def]
    yield 1


def anything() -> Iterator[Any]:
    yield 1


def bare_iterator() -> Iterator:  # type: ignore[type-arg]
    yield 1


def iterable() -> Iterable[One]:
    yield One()


def elsewhere() -> Iterator[Nowhere]:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]
    yield 1


async def plainly() -> Any:
    yield 1


plainly.__annotations__["return"] = Iterator[One]


def context() -> Iterator[JobContext]:
    yield job_context()


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (untyped, r"untyped doesn't say what it yields: annotate it, as in `-> Iterator\[Client\]`"),
        (anything, "doesn't say what it yields"),
        (bare_iterator, "doesn't say what it yields"),
        (iterable, "doesn't say what it yields"),
        (plainly, r"plainly doesn't say .*`-> AsyncIterator\[Client\]`"),
        (elsewhere, "elsewhere: the annotation of 'return' can't be resolved.*Nowhere"),
        (context, "yields a JobContext"),
    ],
)
def test_the_type_must_be_told(function: Any, why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        opened(function)


def test_no_resource_is_registered_after_a_worker_started() -> None:
    registry = ServiceRegistry()
    registry.check()
    with pytest.raises(RegistrationError, match="registered after a worker started"):
        registry.resource(three)
    assert registry.resources() == ()


def optional(a: int, b: Optional[Three] = INJECTED, c: Annotated[One | None, "x"] = INJECTED) -> Any:  # noqa: UP045
    return a, b, c


def same_twice(first: Three = INJECTED, *, second: Three = INJECTED) -> Any:
    return first, second


def all_sorts(one: One = INJECTED, context: JobContext = INJECTED, a: int = 1, *, three: Three = INJECTED) -> Any:
    return one, context, a, three


def shelve(data: int, three: Three = INJECTED, extra: int = 3, context: JobContext = INJECTED) -> Any:
    return data, three, extra, context


VALUES: dict[Any, object] = {One: One(), Three: Three()}
CONTEXT = job_context()


def registered(function: Any) -> ServiceRegistry:
    registry = ServiceRegistry()
    registry.resource(one)
    registry.resource(three)
    registry.register_task("t", function)
    registry.register_processor("p", shelve)
    registry.check()
    return registry


@pytest.mark.parametrize(
    ("function", "raw", "result"),
    [
        (optional, b"[7]", (7, VALUES[Three], VALUES[One])),
        (optional, b'{"a": 7}', (7, VALUES[Three], VALUES[One])),
        (same_twice, b"[]", (VALUES[Three], VALUES[Three])),
        (all_sorts, b"[5]", (VALUES[One], CONTEXT, 5, VALUES[Three])),
        (all_sorts, b"{}", (VALUES[One], CONTEXT, 1, VALUES[Three])),
    ],
)
def test_each_parameter_gets_its_own(function: Any, raw: bytes, result: Any) -> None:
    prepared = registered(function).task_bindings()["t"].prepare(raw)
    assert prepared.raw == raw
    assert prepared.call(CONTEXT, VALUES) == result


def test_a_processors_other_defaults_stay() -> None:
    prepared = registered(same_twice).processor_binding("p").prepare(b"7")
    assert prepared.call(CONTEXT, VALUES) == (7, VALUES[Three], 3, CONTEXT)


@pytest.mark.parametrize("raw", [b'{"one": {}}', b'{"three": null}', b'{"context": {}}', b"[1, 2]"])
def test_a_job_sets_none_of_them(raw: bytes) -> None:
    with pytest.raises(InvalidArguments):
        registered(all_sorts).task_bindings()["t"].prepare(raw)


def by_position(a: int, three: Three = INJECTED, /) -> None: ...


def one_of(a: int, some: One | Three = INJECTED) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (by_position, "by_position: 'three' can't be given by name"),
        (one_of, r"one_of: nothing yields .*One \| .*Three for 'some'"),
    ],
)
def test_what_cannot_be_injected_is_refused(function: Any, why: str) -> None:
    with pytest.raises(RegistrationError, match=why):
        registered(function)

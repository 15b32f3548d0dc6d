"""Middlewares wrap runs and change adds; hooks are told, and harm nobody."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast

import msgspec
import pytest

from redqueue import InvalidOption, JobContext, JobToAdd, LeaseGone, RegistrationError, ServiceRegistry
from redqueue.registry.around import options_view, pass_through, run_around
from redqueue.testing import job_context

GoOn = Callable[[], Awaitable[object]]
FACT = LeaseGone("q", "j", 1)


async def outer(job: JobContext, go_on: GoOn) -> object:
    return ["outer", job.job_id, await go_on()]


async def inner(job: JobContext, go_on: GoOn) -> object:
    return ["inner", await go_on()]


async def ends_early(job: JobContext, go_on: GoOn) -> object:
    return "early"


async def three(one: int, two: int, three: int) -> object: ...


async def by_name(job: JobContext, *, go_on: GoOn) -> object: ...


def plain_run(job: JobContext, go_on: GoOn) -> object: ...


def same(job: JobToAdd) -> JobToAdd:
    return job


async def async_add(job: JobToAdd) -> JobToAdd:
    return job


async def result() -> object:
    return "result"


async def test_the_first_middleware_is_outermost() -> None:
    registry = ServiceRegistry()
    assert registry.middleware("run")(outer) is outer
    registry.middleware("run")(inner)
    context = job_context()
    assert registry.around_run == (outer, inner)
    assert await run_around(registry.around_run, context, result) == ["outer", context.job_id, ["inner", "result"]]
    assert await run_around((), context, result) == "result"


async def test_a_middleware_may_leave_the_run_out() -> None:
    async def never() -> object:
        raise AssertionError

    assert await run_around((outer, ends_early), job_context(), never) == ["outer", job_context().job_id, "early"]


@pytest.mark.parametrize("function", [three, by_name, plain_run, same, object, 7])
def test_a_middleware_of_the_run_is_async_and_takes_two(function: Any) -> None:
    registry = ServiceRegistry()
    with pytest.raises(RegistrationError):
        registry.middleware("run")(function)
    assert registry.around_run == ()


@pytest.mark.parametrize("function", [three, plain_run, async_add, JobToAdd, None])
def test_a_middleware_of_the_add_is_plain_and_takes_one(function: Any) -> None:
    registry = ServiceRegistry()
    with pytest.raises(RegistrationError):
        registry.middleware("add")(function)
    assert registry.before_add == ()


@pytest.mark.parametrize("word", ["runs", "", None, same, ["run"]])
def test_other_kinds_are_refused(word: Any) -> None:
    with pytest.raises(InvalidOption, match="run, add") as caught:
        ServiceRegistry().middleware(word)
    assert caught.value.option == "where"
    with pytest.raises(InvalidOption, match="lease_lost") as caught:
        ServiceRegistry().hook(word)
    assert caught.value.option == "kind"


JOB = JobToAdd("q", "sms", {"n": 1}, options_view({"priority": 1}))


def test_a_job_passes_the_middlewares_in_order() -> None:
    def more(letter: str, job: JobToAdd) -> JobToAdd:
        return msgspec.structs.replace(job, job_type=job.job_type + letter)

    assert pass_through([partial(more, "a"), same, partial(more, "b")], JOB).job_type == "smsab"
    assert pass_through([], JOB) is JOB


@pytest.mark.parametrize(
    ("returned", "why"),
    [
        (None, "returned no JobToAdd"),
        ({"queue": "q"}, "returned no JobToAdd"),
        (msgspec.structs.replace(JOB, options=cast("Any", None)), "returned no JobToAdd"),
        (msgspec.structs.replace(JOB, queue="other"), "moved a job from the queue 'q' to 'other'"),
    ],
)
def test_a_middleware_of_the_add_returns_the_job_for_its_queue(returned: Any, why: str) -> None:
    def give(job: JobToAdd) -> Any:
        return returned

    def next_one(job: JobToAdd) -> JobToAdd:
        raise AssertionError("called after a refusal")

    with pytest.raises(RegistrationError, match=f"give.* {why}.*nothing was sent"):
        pass_through([give, next_one], JOB)


def test_options_are_changed_by_giving_others() -> None:
    with pytest.raises(TypeError):
        cast("Any", JOB.options)["priority"] = 2
    assert msgspec.structs.replace(JOB, options={**JOB.options, "priority": 2}).options == {"priority": 2}


def test_nothing_is_put_around_after_a_worker_started() -> None:
    registry = ServiceRegistry()
    registry.check()
    late: list[Callable[[], object]] = [
        lambda: registry.middleware("run")(outer),
        lambda: registry.middleware("add")(same),
        lambda: registry.hook("start")(print),
    ]
    for register in late:
        with pytest.raises(RegistrationError, match="registered after a worker started"):
            register()
    assert (registry.around_run, registry.before_add) == ((), ()) and not registry.hooks().wants("start")


def test_only_kinds_with_hooks_are_wanted() -> None:
    registry = ServiceRegistry()
    registry.hook("lease_lost")(print)
    hooks = registry.hooks()
    assert hooks.wants("lease_lost") and not hooks.wants("error")
    hooks.tell("error", FACT)


@pytest.mark.parametrize("function", [outer, lambda: None, dict, "print"])
def test_a_hook_takes_one_fact(function: Any) -> None:
    with pytest.raises(RegistrationError):
        ServiceRegistry().hook("error")(function)


async def test_hooks_are_told_in_order_and_none_harms_another(caplog: pytest.LogCaptureFixture) -> None:
    registry, told = ServiceRegistry(), list[object]()

    @registry.hook("lease_lost")
    def breaks(fact: LeaseGone) -> None:
        raise ValueError("a secret")

    @registry.hook("lease_lost")
    async def breaks_later(fact: LeaseGone) -> None:
        raise KeyError("a secret")

    @registry.hook("lease_lost")
    def listens(fact: LeaseGone) -> None:
        told.append(fact)

    @registry.hook("lease_lost")
    async def listens_later(fact: LeaseGone) -> None:
        told.append(("later", fact))

    hooks = registry.hooks()
    with caplog.at_level(logging.ERROR, "redqueue"):
        hooks.tell("lease_lost", FACT)
        assert told == [FACT]
        await hooks.finish(10)
    assert told == [FACT, ("later", FACT)]
    first, second = [record.getMessage() for record in caplog.records]
    assert "breaks" in first and "ValueError" in first
    assert "breaks_later" in second and "KeyError" in second
    assert "secret" not in caplog.text


async def test_hooks_that_do_not_end_are_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    registry, ends = ServiceRegistry(), list[str]()

    @registry.hook("stop")
    async def waits(fact: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ends.append("cancelled")

    hooks = registry.hooks()
    hooks.tell("stop", FACT)
    await asyncio.sleep(0)
    await hooks.finish(0)
    assert ends == ["cancelled"] and "waits was still running" in caplog.text
    await hooks.finish(10)


async def test_an_async_hook_is_kept_alive_until_it_ends() -> None:
    registry, told = ServiceRegistry(), asyncio.Event()
    go = asyncio.Event()

    @registry.hook("start")
    async def waits(fact: object) -> None:
        await go.wait()
        told.set()

    hooks = registry.hooks()
    hooks.tell("start", FACT)
    gc.collect()
    go.set()
    await asyncio.wait_for(told.wait(), 10)

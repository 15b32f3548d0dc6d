from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import exceptions as redis_errors

from redqueue.client.aio.runner import AsyncRunner
from redqueue.client.lanes import producer
from redqueue.client.patience import Patience
from redqueue.client.sync.runner import Runner
from redqueue.core import add, inspect
from redqueue.core.keys import Keys
from redqueue.core.script import Call, Steps
from redqueue.errors import RedisFull, RedisRefused, RedisUnavailable

QUICK = Patience(unsent=0.3, sent=0.6, first_wait=0.005, longest_wait=0.02)

LOST = redis_errors.ConnectionError("Connection closed by server.")
REFUSED = redis_errors.ConnectionError("Error 111 connecting to h:1. Connection refused.")
CREATED = [b"c 1-0"]


class Flaky:
    """A transport that raises or answers what it is told to, and remembers what it was sent."""

    target = "redis://flaky"

    def __init__(self, *results: Any) -> None:
        self.results = list(results)
        self.sent: list[tuple[list[str], list[Any]]] = []
        self.resets = 0
        self.drops = 0

    def send(self, call: Call[Any], until: object = None) -> Any:
        self.sent.append((call.keys, call.args))
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, BaseException):
            raise result
        return result

    def reset(self, since: float) -> None:
        self.resets += 1

    def drop_idle(self, since: float) -> None:
        self.drops += 1


class ForTasks:
    """The same for tasks; with `hang` it never answers."""

    def __init__(self, flaky: Flaky, hang: asyncio.Event | None = None) -> None:
        self.flaky = flaky
        self.hang = hang
        self.target = flaky.target

    async def send(self, call: Call[Any]) -> Any:
        answer = self.flaky.send(call)
        if self.hang is not None:
            self.hang.set()
            await asyncio.Event().wait()
        return answer

    async def reset(self, since: float) -> None:
        self.flaky.reset(since)

    async def drop_idle(self, since: float) -> None:
        self.flaky.drop_idle(since)


class Both:
    """Runs a call through both runners' code: the same results, the same facts to look at."""

    def __init__(self, kind: str, keys: Keys) -> None:
        self.kind = kind
        self.keys = keys

    def __call__(self, flaky: Flaky, call: Call[Any]) -> Any:
        return self._do(flaky, lambda runner: runner.run(call))

    def steps(self, flaky: Flaky, steps: Steps[Any]) -> Any:
        return self._do(flaky, lambda runner: runner.run_steps(steps))

    def _do(self, flaky: Flaky, what: Callable[[Any], Any]) -> Any:
        transport: Any = flaky if self.kind == "sync" else ForTasks(flaky)
        if self.kind == "sync":
            return what(Runner(transport, self.keys, QUICK))

        async def main() -> Any:
            return await what(AsyncRunner(transport, self.keys, QUICK))

        return asyncio.run(main())


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest, keys: Keys) -> Both:
    return Both(request.param, keys)


def adding(keys: Keys, count: int = 1) -> Call[Any]:
    jobs = [add.prepare("t", None, {}, {}, created_ms=0, fresh_id=f"id{n}") for n in range(count)]
    return add.add(keys, jobs)


def lane_of(flaky: Flaky, n: int) -> str:
    record: str = flaky.sent[n][0][0]
    return record


def test_an_answer_is_read(both: Both, keys: Keys) -> None:
    flaky = Flaky(CREATED)
    assert both(flaky, adding(keys)) == [add.Stored("created", "1-0")]
    assert lane_of(flaky, 0).startswith(f"redqueue:{{q}}:producer:{producer().id}:")


def test_a_call_that_changes_nothing_takes_no_lane(both: Both, keys: Keys) -> None:
    free = len(producer()._free)
    flaky = Flaky([b"missing"] + [None] * 20)
    with pytest.raises(TypeError):
        both(flaky, inspect.get_status(keys, "id"))
    assert len(producer()._free) == free
    assert all("producer" not in key for key in flaky.sent[0][0])


def test_the_same_bytes_are_sent_again_until_answered(both: Both, keys: Keys) -> None:
    flaky = Flaky(LOST, redis_errors.TimeoutError("Timeout reading"), REFUSED, CREATED)
    assert both(flaky, adding(keys)) == [add.Stored("created", "1-0")]
    assert len(flaky.sent) == 4
    assert all(sent == flaky.sent[0] for sent in flaky.sent)


def test_the_connections_are_dropped_when_that_helps(both: Both, keys: Keys) -> None:
    flaky = Flaky(LOST, redis_errors.ReadOnlyError("You can't write"), REFUSED, CREATED)
    both(flaky, adding(keys))
    assert (flaky.resets, flaky.drops) == (2, 1)


def test_an_answered_lane_is_used_again_with_a_higher_number(both: Both, keys: Keys) -> None:
    flaky = Flaky(CREATED)
    both(flaky, adding(keys))
    both(flaky, adding(keys))
    assert lane_of(flaky, 0) == lane_of(flaky, 1)
    assert flaky.sent[0][1][0] < flaky.sent[1][1][0]


@pytest.mark.parametrize("error", [LOST, REFUSED, redis_errors.OutOfMemoryError("command not allowed")])
def test_the_lane_of_a_call_that_was_given_up_is_not_used_again(both: Both, keys: Keys, error: Exception) -> None:
    dropped = Flaky(error)
    with pytest.raises((RedisUnavailable, RedisFull)):
        both(dropped, adding(keys))
    again = Flaky(CREATED)
    both(again, adding(keys))
    assert lane_of(again, 0) != lane_of(dropped, 0)


async def test_the_lane_of_a_cancelled_call_is_not_used_again(keys: Keys) -> None:
    first, second, on_its_way = Flaky(CREATED), Flaky(CREATED), asyncio.Event()
    hanging: Any = ForTasks(first, on_its_way)
    answering: Any = ForTasks(second)
    task = asyncio.create_task(AsyncRunner(hanging, keys, QUICK).run(adding(keys)))
    await on_its_way.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await AsyncRunner(answering, keys, QUICK).run(adding(keys))
    assert lane_of(second, 0) != lane_of(first, 0)


def test_nothing_sent_is_given_up_soon_and_told_so(both: Both, keys: Keys) -> None:
    flaky = Flaky(REFUSED)
    with pytest.raises(RedisUnavailable, match="Connection refused") as raised:
        both(flaky, adding(keys))
    assert raised.value.sent is False
    assert raised.value.__cause__ is REFUSED
    assert len(flaky.sent) > 3


def test_once_sent_it_is_tried_longer_and_told_so(both: Both, keys: Keys) -> None:
    few, more = Flaky(REFUSED), Flaky(LOST, REFUSED)
    with pytest.raises(RedisUnavailable):
        both(few, adding(keys))
    with pytest.raises(RedisUnavailable, match="same job_id") as raised:
        both(more, adding(keys))
    assert raised.value.sent is True
    assert len(more.sent) > len(few.sent)


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (redis_errors.OutOfMemoryError("command not allowed"), RedisFull),
        (redis_errors.NoPermissionError("no permissions"), RedisRefused),
        (redis_errors.AuthenticationError("Authentication required."), RedisRefused),
    ],
)
def test_what_trying_again_cannot_change_is_raised_at_once(
    both: Both, keys: Keys, error: Exception, ours: type[Exception]
) -> None:
    flaky = Flaky(error)
    with pytest.raises(ours):
        both(flaky, adding(keys))
    assert len(flaky.sent) == 1


def test_a_bug_is_not_taken_for_a_fault(both: Both, keys: Keys) -> None:
    flaky = Flaky(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        both(flaky, adding(keys))


def test_steps_are_carried_out_in_order_and_return_their_result(both: Both, keys: Keys) -> None:
    jobs = [add.prepare("t", n, {}, {}, created_ms=0, fresh_id=f"id{n}") for n in range(1500)]
    flaky = Flaky([b"c" * 1000], [b"d" * 500])
    answers = both.steps(flaky, add.add_many(keys, jobs))
    assert [one.answer for one in answers] == ["created"] * 1000 + ["duplicate"] * 500
    assert len(flaky.sent) == 2


def test_steps_end_with_the_first_that_fails(both: Both, keys: Keys) -> None:
    jobs = [add.prepare("t", n, {}, {}, created_ms=0, fresh_id=f"id{n}") for n in range(2500)]
    flaky = Flaky([b"c" * 1000], redis_errors.OutOfMemoryError("command not allowed"))
    with pytest.raises(RedisFull):
        both.steps(flaky, add.add_many(keys, jobs))
    assert len(flaky.sent) == 2

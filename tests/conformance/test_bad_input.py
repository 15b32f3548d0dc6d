"""What can't be right is refused by a typed error before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import redis
import redis.asyncio

from redqueue.client.aio.queue import AsyncQueue
from redqueue.errors import (
    BadInput,
    ConfigurationError,
    InvalidName,
    InvalidOption,
    NotRegistered,
    PayloadNotSerializable,
    PayloadTooLarge,
    RedisRefused,
    RedisUnavailable,
)
from redqueue.rules import Keep

from .conftest import MakeQueue, Shell
from .ways import Way

NO_USERS = "it knows no users"
Unchanged = Callable[[], bool]


@pytest.mark.parametrize("name", ["", " ", "a b", "a:b", "{a}", "a/b", "-a", ".a", "é", "a\n", "a" * 65, None, 7, b"a"])
def test_a_bad_queue_name_is_refused(make_queue: MakeQueue, name: Any) -> None:
    """X08: before anything is sent."""
    with pytest.raises(InvalidName, match="queue name"):
        make_queue(name)


@pytest.mark.parametrize("prefix", ["", "a:b", "a{b", "a*", None])
def test_a_bad_prefix_is_refused(make_queue: MakeQueue, prefix: Any) -> None:
    """X08: before anything is sent."""
    with pytest.raises(InvalidName, match="prefix"):
        make_queue(prefix=prefix)


@pytest.mark.parametrize("job_id", ["", " ", "a b", "a\n", "é", "a/b", "{x}", "x" * 129, 7, b"a", 1.5, True])
async def test_a_bad_job_id_is_refused(queue: AsyncQueue, unchanged: Unchanged, job_id: Any) -> None:
    """X08: before anything is sent."""
    for call in (
        lambda: queue.add("a", job_id=job_id),
        lambda: queue.add_many([("a", 1), ("a", 2, {"job_id": job_id})]),
        lambda: queue.get_status(job_id),
        lambda: queue.get_data(job_id),
        lambda: queue.cancel(job_id),
        lambda: queue.retry(job_id),
        lambda: queue.promote(job_id),
        lambda: queue.remove(job_id),
    ):
        with pytest.raises(InvalidName, match="job id"):
            await call()
    with pytest.raises(InvalidName):
        queue.job(job_id)
    assert unchanged()


@pytest.mark.parametrize("job_type", ["", "a\nb", "x" * 129, None, 7])
async def test_a_bad_job_type_is_refused(queue: AsyncQueue, unchanged: Unchanged, job_type: Any) -> None:
    with pytest.raises((InvalidName, NotRegistered)):
        await queue.add(job_type, 1)
    assert unchanged()


FAR_AWAY = datetime(2200, 1, 1, tzinfo=UTC)


BAD_VALUES: dict[str, list[Any]] = {
    "priority": [-1001, 1001, 1.0, 1.5, "1", True, math.nan, []],
    "delay": [-1, -0.001, math.nan, math.inf, -math.inf, True, "5", [], 10**10, 10**400, timedelta(-1), timedelta.max],
    "at": [5, "2026-01-01", datetime(2026, 1, 1), FAR_AWAY, datetime(1969, 1, 1, tzinfo=UTC)],
    "retries": [-1, 1.5, "3", True, 10_001],
    "backoff": [-1, math.nan, math.inf, "1", True, object()],
    "lifo": [1, "yes"],
    "keep_completed": [-1, 5, True, 1.5, "10", Keep(), Keep(count=5, age=9), timedelta(-1)],
    "keep_failed": [-1, 5, Keep(age=math.nan), object()],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option, values in BAD_VALUES.items() for value in values]
)
async def test_an_option_out_of_bounds_is_refused_by_its_name(
    queue: AsyncQueue, unchanged: Unchanged, option: str, value: Any
) -> None:
    """Faults: P01."""
    given: Any = {option: value}
    with pytest.raises(InvalidOption, match=option):
        await queue.add("a", **given)
    with pytest.raises(InvalidOption, match=option):
        await queue.add_many([("a", 1), ("a", 2, given)])
    assert unchanged()


@pytest.mark.parametrize(
    "options",
    [
        {"delay": 5, "at": datetime.now(UTC)},
        {"lifo": True, "delay": 5},
        {"lifo": True, "at": datetime.now(UTC) + timedelta(hours=1)},
    ],
)
async def test_options_that_contradict_each_other_are_refused(
    queue: AsyncQueue, unchanged: Unchanged, options: Any
) -> None:
    with pytest.raises(InvalidOption):
        await queue.add("a", **options)
    assert unchanged()


@pytest.mark.parametrize(
    "option",
    [
        *("retry", "attempts", "Delay", "jobId"),
        *("unique", "unique_for", "on_conflict", "group"),
        *("sub_account_id", "user_id", "context", "queue"),
    ],
)
async def test_an_unknown_option_is_refused(
    queue: AsyncQueue, make_queue: MakeQueue, unchanged: Unchanged, option: str
) -> None:
    given: Any = {option: "x"}
    with pytest.raises(InvalidOption, match=option) as raised:
        await queue.add("a", **given)
    assert raised.value.option == option
    assert "there are: at, backoff" in str(raised.value)
    with pytest.raises(InvalidOption, match=option):
        make_queue(**given)
    assert unchanged()


@pytest.mark.parametrize("option", ["priority", "delay", "retries"])
def test_a_bad_default_is_refused_when_the_queue_is_made(make_queue: MakeQueue, option: str) -> None:
    given: Any = {option: -10_000}
    with pytest.raises(InvalidOption, match=option):
        make_queue(**given)
    with pytest.raises(InvalidOption, match="job_id"):
        make_queue(job_id="same")


class Struct(msgspec.Struct):
    value: Any


class Opaque:
    pass


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


def circle() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ([1, math.nan], "$[1]"),
        ({"a": {"b": math.inf}}, "$.a.b"),
        (-math.inf, "$"),
        (Struct(math.nan), "$"),
        ({"n": 2**64}, "$.n"),
        ([-(2**63) - 1], "$[0]"),
        ({"s": {1, 2}}, "$.s"),
        (frozenset(), "$"),
        ({1: "a"}, "$"),
        ({"a": {None: 1}}, "$.a"),
        ({(1, 2): 1}, "$"),
        ({b"a": 1}, "$"),
        (Opaque(), "$"),
        ([{"deep": Opaque()}], "$"),
        (object, "$"),
        (1j, "$"),
        (nested(65), "$[0]"),
        (circle(), "$[0]"),
        ("\ud800", "$"),
    ],
)
async def test_data_that_json_cannot_carry_is_refused_by_its_path(
    queue: AsyncQueue, unchanged: Unchanged, data: Any, path: str
) -> None:
    """X11: finite floats, integers of 64 bits.

    Faults: L15, P02.
    """
    with pytest.raises(PayloadNotSerializable) as raised:
        await queue.add("a", data)
    assert raised.value.path.startswith(path)
    with pytest.raises(PayloadNotSerializable):
        await queue.add_many([("a", 1), ("a", data)])
    assert unchanged()


@pytest.mark.parametrize("data", [2**64 - 1, -(2**63), 1.7976931348623157e308, nested(63), Decimal("1.5"), "\x00\x7f"])
async def test_data_at_the_edge_is_taken(queue: AsyncQueue, data: Any) -> None:
    """X09: the limit itself."""
    assert (await queue.add("a", data)).answer == "created"


async def test_data_that_is_too_large_is_refused_with_its_size(queue: AsyncQueue, unchanged: Unchanged) -> None:
    """X09: one byte more than the limit.

    Faults: P08.
    """
    with pytest.raises(PayloadTooLarge, match="store it elsewhere") as raised:
        await queue.add("a", "é" * 524_288)
    assert (raised.value.size, raised.value.limit) == (1024 * 1024 + 2, 1024 * 1024)
    assert unchanged()
    assert (await queue.add("a", "x" * (1024 * 1024 - 2))).answer == "created"


@pytest.mark.parametrize("bad", ["sms", 7, None, ("a",), ("a", 1, 2), ("a", 1, {}, 4), ["a"]])
async def test_what_is_no_job_is_refused_among_many(queue: AsyncQueue, unchanged: Unchanged, bad: Any) -> None:
    with pytest.raises(BadInput):
        await queue.add_many([("a", 1), bad])
    assert unchanged()


async def test_one_id_for_many_jobs_is_refused(queue: AsyncQueue, unchanged: Unchanged) -> None:
    with pytest.raises(InvalidOption, match="job_id"):
        await queue.add_many([("a", 1), ("a", 2)], job_id="same")
    assert unchanged()


async def test_a_function_that_is_no_processor_is_refused(queue: AsyncQueue, unchanged: Unchanged) -> None:
    with pytest.raises(NotRegistered):
        await queue.add(nested, 1)
    assert unchanged()


@pytest.mark.parametrize(
    "call",
    [
        lambda q: q.jobs("done"),
        lambda q: q.jobs(None),
        lambda q: q.jobs("waiting", -1),
        lambda q: q.jobs("waiting", 0, 0),
        lambda q: q.jobs("waiting", 0, 1001),
        lambda q: q.jobs("waiting", 0.5),
        lambda q: q.jobs("waiting", True),
        lambda q: q.clean("done"),
        lambda q: q.clean("waiting", older_than=-1),
        lambda q: q.clean("waiting", older_than=math.nan),
        lambda q: q.clean("waiting", limit=0),
        lambda q: q.clean("waiting", limit=1.5),
        lambda q: q.cancel("x", 7),
        lambda q: q.cancel("x", "é" * 2049),
    ],
)
async def test_bad_arguments_of_looking_and_steering_are_refused(
    queue: AsyncQueue, unchanged: Unchanged, call: Any
) -> None:
    with pytest.raises(InvalidOption):
        await call(queue)
    assert unchanged()


# -- servers and clients


@pytest.mark.parametrize(
    "url", ["", "localhost", "http://localhost", "redis://localhost:port", "redis://h:99999", "redis://h/x", "unix://x"]
)
def test_a_bad_url_is_refused_without_a_connection(make_queue: MakeQueue, url: str) -> None:
    with pytest.raises(ConfigurationError):
        make_queue(url=url or " ")


async def test_a_client_that_decodes_is_refused(way: Way, shell: Shell, make_queue: MakeQueue) -> None:
    client = way.client(module_of(shell), decode_responses=True)
    with pytest.raises(ConfigurationError, match="decode_responses=False"):
        make_queue(client=client)


async def test_a_client_of_the_other_kind_is_refused(way: Way, shell: Shell, make_queue: MakeQueue) -> None:
    with pytest.raises(ConfigurationError, match="client is"):
        make_queue(client=way.client(redis if shell == "async" else redis.asyncio))
    with pytest.raises(ConfigurationError, match="client must be"):
        make_queue(client=object())


async def test_url_and_client_together_are_refused(way: Way, shell: Shell) -> None:
    from redqueue.client.sync.queue import Queue

    kind: Any = AsyncQueue if shell == "async" else Queue
    with pytest.raises(ConfigurationError, match="not both"):
        kind("q", way.url, client=way.client(module_of(shell)))


async def test_a_given_client_is_used_and_stays_open(way: Way, shell: Shell, make_queue: MakeQueue) -> None:
    client = way.client(module_of(shell))
    queue = make_queue(client=client)
    assert (await queue.add("a", 1, job_id="x")).answer == "created"
    assert (await queue.get_stats()).waiting == 1
    await queue.close()
    pinged = client.ping()
    assert (await pinged if shell == "async" else pinged) is True
    await way.close(client)


def module_of(shell: Shell) -> Any:
    return redis.asyncio if shell == "async" else redis


async def test_a_server_that_is_not_there_is_unavailable(make_queue: MakeQueue) -> None:
    queue = make_queue(url="redis://127.0.0.1:1/0")
    _impatient(queue)
    with pytest.raises(RedisUnavailable, match=r"127\.0\.0\.1:1") as raised:
        await queue.add("a", 1)
    assert raised.value.sent is False


@pytest.mark.not_by("fakeredis", NO_USERS)
async def test_a_wrong_password_is_refused_and_not_shown(way: Way, make_queue: MakeQueue) -> None:
    with way.user("known", commands=["+@all"], keys=["*"]):
        for password in ("wrong-secret", "x"):
            queue = make_queue(url=way.url_as("known", password))
            with pytest.raises(RedisRefused) as raised:
                await queue.add("a", 1)
            assert "wrong-secret" not in str(raised.value)


@pytest.mark.not_by("fakeredis", NO_USERS)
@pytest.mark.parametrize("rights", [["+@all", "-@scripting"], ["+@all", "-evalsha", "-eval"]])
async def test_a_server_that_forbids_scripts_is_refused(
    way: Way, make_queue: MakeQueue, rights: list[str], unchanged: Unchanged
) -> None:
    with way.user("limited", commands=rights, keys=["*"]):
        queue = make_queue(url=way.url_as("limited", "right"))
        with pytest.raises(RedisRefused, match="ACL"):
            await queue.add("a", 1)
    assert unchanged()


def _impatient(queue: Any) -> None:
    """Let the handle give up at once."""
    from redqueue.client.patience import Patience

    runner = getattr(queue, "target", queue)._runner
    runner.patience = Patience(unsent=0.05, sent=0.05)

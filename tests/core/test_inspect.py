"""Reading what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pydantic
import pytest

from redqueue.core import inspect, steer
from redqueue.core.add import NewJob, add
from redqueue.core.codec import make_head, seal
from redqueue.core.lease import Settles, recover
from redqueue.core.lifecycle import Complete, Fail, Release, RetryIn, SnoozeFor
from redqueue.errors import CorruptEnvelope, InvalidArguments, InvalidName, InvalidOption
from redqueue.options import plan_job
from redqueue.records import QueueStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.core.conftest import World

    from redqueue.options import State
    from redqueue.records import JobStatus

ERROR = b'{"type":"ValueError","message":"no such number","traceback":"Traceback ..."}'
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def status(world: World, job_id: str) -> JobStatus:
    found = world(inspect.get_status(world.keys, job_id))
    assert found is not None
    return found


def page(world: World, state: State, *args: int, **named: Any) -> list[str]:
    return [one.job_id for one in world(inspect.jobs(world.keys, state, *args, **named))]


# Status


def test_a_waiting_job(world: World) -> None:
    world.add("first", "a")
    found = status(world, "a")
    assert (found.job_id, found.queue, found.job_type, found.label) == ("a", "q", "sms", "Send it")
    assert (found.status, found.state, found.position, found.attempts) == ("pending", "waiting", 1, 0)
    assert (found.message, found.result, found.error, found.traceback, found.worker) == (None,) * 5
    assert (found.due_at, found.started_at, found.completed_at) == (None, None, None)
    assert abs(found.created_at.timestamp() * 1000 - world.now_ms()) < 5000


def test_a_run_tells_its_progress(world: World) -> None:
    world.enter()
    world.finish("active", "a")
    assert (status(world, "a").progress, status(world, "a").message) == (None, None)
    world.client.hset(world.keys["progress"], "a", '[0.25,"a quarter",{"n":1}]')
    for found in (status(world, "a"), world(inspect.jobs(world.keys, "active"))[0]):
        assert (found.progress, found.message) == (0.25, "a quarter")


def test_a_job_that_waits_for_its_next_run_shows_the_progress_of_the_last(world: World) -> None:
    world.enter()
    world.add("a")
    world.snooze("a", note="the shop is closed")
    world.client.hset(world.keys["progress"], "a", '[1,"all",null]')
    found = status(world, "a")
    assert (found.progress, found.message) == (1.0, "the shop is closed")


@pytest.mark.parametrize(
    ("state", "told", "progress", "message"),
    [
        ("completed", None, 1.0, None),
        ("completed", '[null,"bye",null]', 1.0, "bye"),
        ("completed", "[0.5,null,null]", 0.5, None),
        ("failed", None, None, None),
        ("failed", '[0.5,"half",null]', 0.5, "half"),
        ("cancelled", '[0.5,"half",null]', 0.5, "not wanted"),
    ],
)
def test_the_progress_of_a_finished_job(
    world: World, state: str, told: str | None, progress: float | None, message: str | None
) -> None:
    world.enter()
    world.finish(state, "a")
    if told is not None:
        world.client.hset(world.keys.family("outcome") + "a", "progress", told)
    found = status(world, "a")
    assert (found.progress, found.message) == (progress, message)


@pytest.mark.parametrize("told", ["", "{", '["x",null,null]', "[]", b"\xff"])
def test_progress_that_cannot_be_read_is_none(world: World, told: str | bytes) -> None:
    world.enter()
    world.finish("active", "a")
    world.client.hset(world.keys["progress"], "a", told)
    assert (status(world, "a").progress, status(world, "a").message) == (None, None)


def test_the_lines_of_a_log(world: World) -> None:
    assert world(inspect.get_logs(world.keys, "a")) == []
    world.add("a")
    world.client.rpush(world.keys.log("a"), *[f"line {n}" for n in range(150)], b"\xff")
    world.client.hset(world.keys["logged"], "a", 151)
    assert world(inspect.get_logs(world.keys, "a")) == [f"line {n}" for n in range(100)]
    assert world(inspect.get_logs(world.keys, "a", 148, 1000)) == ["line 148", "line 149", "\ufffd"]
    assert world(inspect.get_logs(world.keys, "a", 5, 1)) == ["line 5"]


@pytest.mark.parametrize("wrong", [{"start": -1}, {"count": 0}, {"count": 1001}, {"count": None}, {"start": 1.0}])
def test_lines_that_cannot_be_asked_for(world: World, wrong: Any) -> None:
    with pytest.raises(InvalidOption):
        inspect.get_logs(world.keys, "a", **wrong)


def test_a_delayed_job(world: World) -> None:
    world.add("a", delay=60)
    found = status(world, "a")
    assert (found.status, found.state, found.position) == ("pending", "delayed", None)
    assert found.due_at is not None
    assert timedelta(seconds=59) < found.due_at - found.created_at < timedelta(seconds=61)


def test_a_job_that_is_due_at_a_time(world: World) -> None:
    due = datetime(2101, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
    world.add("a", at=due)
    assert status(world, "a").due_at == due


def test_a_running_job(world: World) -> None:
    world.enter("s")
    world.add("a")
    world.claim()
    found = status(world, "a")
    assert (found.status, found.state, found.worker) == ("processing", "active", "host:s")
    assert found.started_at is not None
    assert found.completed_at is None


def test_the_worker_of_a_session_that_is_gone_is_not_known(world: World) -> None:
    world.finish("active", "a")
    world.client.delete(world.keys.session("s"))
    assert status(world, "a").worker is None


def test_a_completed_job(world: World) -> None:
    world.finish("completed", "a")
    found = status(world, "a")
    assert (found.status, found.state, found.attempts) == ("completed", "completed", 1)
    assert (found.result, found.error, found.worker) == ({"sent": 2}, None, "host:s")
    assert found.started_at is not None
    assert found.completed_at is not None
    assert found.started_at <= found.completed_at


def test_a_completed_job_without_a_result(world: World) -> None:
    world.add("a")
    world.run("a", Complete(b""))
    assert status(world, "a").result is None


def test_a_failed_job(world: World) -> None:
    world.finish("failed", "a")
    found = status(world, "a")
    assert (found.status, found.state, found.attempts) == ("failed", "failed", 1)
    assert (found.error, found.traceback) == ("ValueError: no such number", "Traceback ...")


def test_a_cancelled_job(world: World) -> None:
    world.finish("cancelled", "a")
    found = status(world, "a")
    assert (found.status, found.message, found.error) == ("cancelled", "not wanted", None)


def test_a_job_whose_retry_is_due(world: World) -> None:
    world.add("a")
    world.fail_once("a", delay_ms=60_000)
    found = status(world, "a")
    assert (found.state, found.attempts, found.error) == ("delayed", 1, "ValueError: no such number")
    assert (found.worker, found.started_at, found.completed_at) == (None, None, None)


def test_a_snoozed_job_says_why_it_waits(world: World) -> None:
    world.add("a")
    world.snooze("a", note="the gateway is busy")
    found = status(world, "a")
    assert (found.state, found.attempts, found.message) == ("delayed", 0, "the gateway is busy")


@pytest.mark.parametrize("delay_ms", [0, 60_000])
def test_a_job_that_failed_waits_for_nothing_that_it_was_snoozed_for(world: World, delay_ms: int) -> None:
    world.enter()
    world.add("a", "b")
    for run in world.claim(2):
        world.settle(run, SnoozeFor(0, "the gateway is closed"))
    assert status(world, "a").message == "the gateway is closed"
    world.fail_once("a", delay_ms=delay_ms)
    assert status(world, "a").message is None
    assert status(world, "b").message == "the gateway is closed"


def test_released_and_crashed_runs_are_no_attempts(world: World) -> None:
    world.add("a")
    world.run("a", Release())
    world.claim()
    world.client.zadd(world.keys["active"], {"a": 0})
    world(recover(world.keys, 3))
    assert (status(world, "a").state, status(world, "a").attempts) == ("waiting", 0)


def test_an_error_that_is_no_json_is_shown_as_it_is(world: World) -> None:
    world.add("a")
    world.run("a", Fail(b"\xffboom"))
    assert status(world, "a").error == "Error: �boom"


def test_a_result_that_is_no_json_is_not_shown(world: World) -> None:
    world.add("a")
    world.run("a", Complete(b"{"))
    assert status(world, "a").result is None


@pytest.mark.parametrize("stored", [b"", b"?", b"[]", b'["sms"]\nnull', b'["sms","",1e400]\nnull', b"\xff\xfe\n"])
def test_a_corrupt_envelope_breaks_nothing(world: World, stored: bytes) -> None:
    world.add("before", "a", "after")
    world.client.set(world.keys.job("a"), stored)
    found = status(world, "a")
    assert (found.job_type, found.label, found.created_at) == ("?", "", EPOCH)
    assert found.error == "CorruptEnvelope: corrupt envelope"
    assert page(world, "waiting") == ["after", "a", "before"]


def test_a_snoozed_job_that_runs_waits_for_nothing(world: World) -> None:
    world.add("a")
    world.snooze("a", note="the gateway is busy")
    world(steer.promote(world.keys, "a"))
    assert status(world, "a").message == "the gateway is busy"
    world.claim()
    assert status(world, "a").message is None


def test_what_redqueue_did_not_write_breaks_no_page(world: World) -> None:
    world.broken = True
    world.finish("failed", "a")
    nonsense = dict.fromkeys(("attempt", "started", "finished", "worker", "error", "result"), b"\xff{")
    world.client.hset(world.keys.family("outcome") + "a", mapping=nonsense)
    world.client.zadd(world.keys["failed"], {b"\xff b": 1})
    found = world(inspect.jobs(world.keys, "failed"))
    assert [one.job_id for one in found] == ["a", "\\xff b"]
    assert (found[0].attempts, found[0].result, found[0].error) == (0, None, "Error: �{")


def test_a_time_beyond_the_calendar_breaks_nothing(world: World) -> None:
    world.add("a")
    world.client.set(world.keys.job("a"), b'["sms","",9223372036854775807]\nnull')
    assert status(world, "a").created_at == EPOCH


def test_the_longest_head_is_read_whole(world: World) -> None:
    label, asker = "\U0001f600\x01" * 128, "\x01" * 128
    options = {"retries": 100, "backoff": Growing(), "keep_failed": timedelta(days=3650)}
    prepared = _prepare("a", label=label, job_type="\U0001f600" * 128, sub_account_id=asker, user_id=asker, **options)
    world(add(world.keys, [prepared]))
    assert status(world, "a").label == label


def test_an_unknown_job_has_no_status(world: World) -> None:
    assert world(inspect.get_status(world.keys, "nobody")) is None
    with pytest.raises(InvalidName):
        inspect.get_status(world.keys, "no such id")


def test_a_job_whose_own_age_is_over_is_gone(world: World) -> None:
    world.add("a")
    world.run("a", Complete(b"1"), keep_completed="60000")
    assert status(world, "a").state == "completed"
    world.client.zadd(world.keys["expiring"], {"a": world.now_ms()})
    assert world(inspect.get_status(world.keys, "a")) is None
    assert world(inspect.get_data(world.keys, "a")) is None
    assert page(world, "completed") == []
    assert world(steer.retry(world.keys, "a")) is False


# Data


class Message(msgspec.Struct):
    number: str
    tries: int = 0


@dataclass
class Plain:
    number: str


class Model(pydantic.BaseModel):
    number: str
    tries: Literal[1, 2] = 1


class Holder(msgspec.Struct):
    inner: Model


def test_data_is_decoded(world: World) -> None:
    world.add("a", data={"number": "123"})
    assert world(inspect.get_data(world.keys, "a")) == {"number": "123"}
    assert world(inspect.get_data(world.keys, "a", Message)) == Message("123")
    assert world(inspect.get_data(world.keys, "a", Plain)) == Plain("123")
    assert world(inspect.get_data(world.keys, "a", Model)) == Model(number="123")
    assert world(inspect.get_data(world.keys, "a", dict[str, str])) == {"number": "123"}


def test_data_of_an_unknown_job_is_none(world: World) -> None:
    assert world(inspect.get_data(world.keys, "nobody", Message)) is None


@pytest.mark.parametrize(
    ("data", "type", "path"),
    [
        ({"number": 666}, Message, r"Expected `str`, got `int` - at `\$\.number`"),
        ({}, Message, "missing required field `number`"),
        ({"number": "x", "tries": "secret"}, Message, r"at `\$\.tries`"),
        (["secret"], list[Literal["a", "b"]], r"Invalid enum value - at `\$\[0\]`"),
        ({"number": "x", "tries": "secret"}, Model, "Expected `Model`: literal_error at tries"),
        ({"inner": {"number": 666}}, Holder, r"string_type at number - at `\$\.inner`"),
        ("secret", datetime, "Invalid RFC3339 encoded datetime"),
    ],
)
def test_data_that_does_not_fit_says_where_and_never_what(world: World, data: Any, type: Any, path: str) -> None:
    world.add("a", data=data)
    with pytest.raises(InvalidArguments, match=path) as caught:
        world(inspect.get_data(world.keys, "a", type))
    assert "secret" not in str(caught.value)
    assert "666" not in str(caught.value)


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"?", "what Redis holds is not a job of redqueue's: JSON is malformed"),
        (b'["sms","",1]\n{"number', "its data can't be read: Input data was truncated"),
        (b'["sms","",1]\n\xff', "its data can't be read: JSON is malformed"),
        (b'["sms","",1]\n' + b"[" * 300 + b"]" * 300, "its data can't be read: JSON is nested deeper than 256"),
    ],
)
def test_data_of_a_corrupt_job_is_refused(world: World, stored: bytes, why: str) -> None:
    world.add("a")
    world.client.set(world.keys.job("a"), stored)
    with pytest.raises(CorruptEnvelope, match=f"^job a: {why}"):
        world(inspect.get_data(world.keys, "a"))


# Stats


def test_a_new_queue_is_all_zero(world: World) -> None:
    stats = world(inspect.get_stats(world.keys))
    assert stats == QueueStats(0, 0, 0, 0, 0, 0, 0, 0, False, None, 0)


def test_a_queue_in_numbers(world: World) -> None:
    world.enter("s")
    world.enter("t")
    for state, count in (("completed", 3), ("failed", 2), ("cancelled", 1)):
        for n in range(count):
            world.finish(state, f"{state}-{n}")
    world.add(*"abcde")
    world.claim(2)
    world.add("later", delay=60)
    world(steer.remove(world.keys, "completed-0"))
    stats = world(inspect.get_stats(world.keys))
    assert (stats.waiting, stats.active, stats.delayed) == (3, 2, 1)
    assert (stats.succeeded, stats.failed, stats.cancelled) == (3, 2, 1)
    assert (stats.kept_completed, stats.kept_failed) == (2, 2)
    assert (stats.workers, stats.paused) == (2, False)
    assert stats.oldest_waiting_s is not None
    assert 0 <= stats.oldest_waiting_s < 5


def test_a_queue_whose_jobs_have_all_run_has_no_active_one(world: World) -> None:
    world.finish("completed", "a")
    assert world(inspect.get_stats(world.keys)).active == 0


def test_sessions_that_were_not_seen_for_two_leases_do_not_count(world: World) -> None:
    world.enter("s", 1000)
    world.client.zadd(world.keys["sessions"], {"s": world.now_ms() - 2001})
    assert world(inspect.get_stats(world.keys)).workers == 0


# Pages


@pytest.mark.parametrize("state", ["waiting", "delayed", "active", "completed", "failed", "cancelled"])
def test_each_state_is_paged_from_both_ends(world: World, state: State) -> None:
    ids = [f"j{n}" for n in range(7)]
    for n, job_id in enumerate(ids):
        if state == "delayed":
            world.add(job_id, delay=60 + n)
        elif state in ("waiting", "active"):
            world.add(job_id)
        else:
            world.finish(state, job_id)
            world.client.zadd(world.keys[state], {job_id: world.now_ms() - 100 + n})
    if state == "active":
        world.claim(7)
        world.client.zadd(world.keys["active"], {job_id: world.now_ms() + n for n, job_id in enumerate(ids)})
    assert page(world, state) == ids[::-1]
    assert page(world, state, newest=False) == ids
    assert page(world, state, 2, 3) == ids[4:1:-1]
    assert page(world, state, 2, 3, newest=False) == ids[2:5]
    assert page(world, state, 5, 5) == ids[1::-1]
    assert page(world, state, 5, 5, newest=False) == ids[5:]
    assert page(world, state, 7) == []
    assert page(world, state, 7, newest=False) == []
    everything = [page(world, state, n, 1)[0] for n in range(7)]
    assert everything == ids[::-1]


def test_a_page_tells_the_same_as_a_status(world: World) -> None:
    world.enter("s")
    for state in ("completed", "failed", "cancelled"):
        world.finish(state, state)
    world.add("a", "b", "c", "d")
    world.claim()
    world.fail_once("b")
    world.snooze("c", note="busy")
    states: Sequence[State] = ("waiting", "delayed", "active", "completed", "failed", "cancelled")
    for state in states:
        found = world(inspect.jobs(world.keys, state))
        assert found, state
        for one in found:
            assert status(world, one.job_id) == one


def test_a_page_of_an_empty_queue(world: World) -> None:
    for newest in (True, False):
        assert page(world, "active", newest=newest) == []


def test_a_page_of_a_thousand(world: World) -> None:
    ids = [f"j{n}" for n in range(1001)]
    world.add(*ids)
    assert page(world, "waiting", 0, 1000, newest=False) == ids[:1000]
    world.pump(Settles(), 1000)
    assert len(page(world, "active", 0, 1000)) == 1000


def test_a_page_of_large_results_ends_early_and_loses_none(world: World) -> None:
    world.enter()
    large = b'"' + b"x" * 2**20 + b'"'
    for n in range(10):
        world.add(f"j{n}")
        world.run(f"j{n}", Complete(large if n else b"1"))
    first = world(inspect.jobs(world.keys, "completed", 0, 50))
    assert [one.job_id for one in first] == ["j9", "j8", "j7", "j6"]
    assert all(len(one.result) == 2**20 for one in first)
    assert page(world, "completed", 4, 50) == ["j5", "j4", "j3", "j2"]
    assert page(world, "completed", 8, 50) == ["j1", "j0"]


def test_a_page_of_large_errors_ends_early_with_the_tries_of_its_jobs(world: World) -> None:
    world.enter()
    world.add(*"abcdefgh")
    for one in "abcdefgh":
        world.run(one, RetryIn(60_000, b'{"type":"E","message":"' + b"x" * 2**20 + b'"}'))
    found = world(inspect.jobs(world.keys, "delayed", newest=False))
    assert [one.job_id for one in found] == list("abcd")
    assert all(one.attempts == 1 and one.error is not None for one in found)


def test_jobs_with_an_age_of_their_own_come_last(world: World) -> None:
    world.add("own", "a", "b")
    world.run("own", Complete(b""), keep_completed="60000")
    world.run("a", Complete(b""))
    assert page(world, "completed", newest=False) == ["a", "own"]
    assert status(world, "own").completed_at is not None


@pytest.mark.parametrize(
    ("args", "option"),
    [
        (("blocked",), "state"),
        ((None,), "state"),
        (("waiting", -1), "start"),
        (("waiting", 0, 0), "count"),
        (("waiting", 0, 1001), "count"),
        (("waiting", 0, True), "count"),
    ],
)
def test_what_a_page_refuses(world: World, args: tuple[Any, ...], option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        inspect.jobs(world.keys, *args)
    assert caught.value.option == option


class Growing:
    """A backoff whose waits are long numbers."""

    def delay(self, attempt: int) -> float:
        return 100_000_000.001 + attempt


def _prepare(job_id: str, *, label: str, job_type: str, sub_account_id: str, user_id: str, **options: Any) -> NewJob:
    plan = plan_job({"job_id": job_id, **options}, {})
    head = make_head(job_type, label, 2**42, None, plan.given, sub_account_id=sub_account_id, user_id=user_id)
    return NewJob(job_id, job_type, plan.place, seal(head, b"null"))

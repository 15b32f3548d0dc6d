"""Steering one job, or the whole queue."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ResponseError

from redqueue.core import inspect, steer
from redqueue.core.lease import ListRule, Settles, recover
from redqueue.core.lifecycle import Complete, Fail, Release, RetryIn, SnoozeFor
from redqueue.errors import InvalidName, InvalidOption, RedisRefused

if TYPE_CHECKING:
    from tests.core.conftest import World

    from redqueue.records import JobStatus

ERROR = b'{"type":"ValueError","message":"no such number"}'


def status(world: World, job_id: str) -> JobStatus:
    found = world(inspect.get_status(world.keys, job_id))
    assert found is not None
    return found


# Cancel


@pytest.mark.parametrize("options", [{}, {"delay": 60}])
def test_a_job_that_waits_is_cancelled_at_once(world: World, options: dict[str, Any]) -> None:
    world.add("a", priority=7, **options)
    assert world(steer.cancel(world.keys, "a", "changed my mind")) == "cancelled"
    found = status(world, "a")
    assert (found.state, found.message, found.attempts) == ("cancelled", "changed my mind", 0)
    assert found.completed_at is not None
    assert world(inspect.get_stats(world.keys)).cancelled == 1
    assert world.client.hget(world.keys.family("outcome") + "a", "priority") == b"7"
    assert not world.client.exists(world.keys["parked"])


def test_a_cancelled_job_that_was_snoozed_knows_its_priority(world: World) -> None:
    world.add("a", priority=-7)
    world.snooze("a", note="the gateway is busy")
    world(steer.cancel(world.keys, "a"))
    assert world.client.hget(world.keys.family("outcome") + "a", "priority") == b"-7"
    assert not world.client.exists(world.keys["notes"])


def test_a_cancelled_job_that_had_failed_keeps_its_count(world: World) -> None:
    world.add("a")
    world.fail_once("a")
    assert world(steer.cancel(world.keys, "a")) == "cancelled"
    found = status(world, "a")
    assert (found.attempts, found.error) == (1, None)


def test_a_running_job_is_flagged_and_the_first_reason_is_kept(world: World) -> None:
    world.finish("active", "a")
    assert world(steer.cancel(world.keys, "a", "first")) == "requested"
    assert world(steer.cancel(world.keys, "a", "second")) == "requested"
    assert world.client.hgetall(world.keys["cancels"]) == {b"a": b"first"}


@pytest.mark.parametrize(
    ("settlement", "letter", "state", "attempts"),
    [
        (Complete(b"1"), "o", "completed", 1),
        (Fail(ERROR), "o", "failed", 1),
        (RetryIn(0, ERROR), "x", "cancelled", 1),
        (SnoozeFor(1000, ""), "x", "cancelled", 0),
        (Release(), "x", "cancelled", 0),
    ],
)
def test_what_a_flagged_run_becomes(world: World, settlement: Any, letter: str, state: str, attempts: int) -> None:
    world.add("a")
    (run,) = world.claim()
    world(steer.cancel(world.keys, "a", "why"))
    assert world.settle(run, settlement) == letter
    found = status(world, "a")
    assert (found.state, found.attempts) == (state, attempts)
    assert not world.client.exists(world.keys["cancels"])


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_a_finished_job_is_not_cancelled(world: World, state: str) -> None:
    world.finish(state, "a")
    assert world(steer.cancel(world.keys, "a")) == "finished"
    assert world.places("a") == [state]


def test_an_unknown_job_is_not_cancelled(world: World) -> None:
    assert world(steer.cancel(world.keys, "nobody")) == "missing"


def test_the_cancelled_list_follows_the_rule_of_failed_jobs(world: World) -> None:
    world.add("a", "b", "c")
    world.pump(Settles(), 0, rule=ListRule(failed=(2, -1)))
    for job_id in ("a", "b", "c"):
        assert world(steer.cancel(world.keys, job_id)) == "cancelled"
    assert world.kept_keys() == {"job:b", "outcome:b", "job:c", "outcome:c"}
    assert world(inspect.get_stats(world.keys)).cancelled == 3


def test_a_late_settle_of_a_recovered_job_that_was_cancelled_is_lost(world: World) -> None:
    world.add("a")
    (run,) = world.claim()
    world.client.zadd(world.keys["active"], {"a": 0})
    assert world(recover(world.keys, 3)).count == 1
    assert world(steer.cancel(world.keys, "a")) == "cancelled"
    assert world.settle(run, Complete(b"1")) == "l"
    assert status(world, "a").state == "cancelled"


@pytest.mark.parametrize("reason", ["x" * 4097, "é" * 2049, 7, None])
def test_a_reason_is_text_of_at_most_4_kib(world: World, reason: Any) -> None:
    with pytest.raises(InvalidOption) as caught:
        steer.cancel(world.keys, "a", reason)
    assert caught.value.option == "reason"


def test_a_reason_may_hold_anything(world: World) -> None:
    world.add("a")
    world(steer.cancel(world.keys, "a", "lone \ud800, né\n"))
    assert status(world, "a").message == "lone \\ud800, né\n"


# Retry


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_finished_job_runs_again_at_the_end_of_its_priority(world: World, state: str, fresh: bool) -> None:
    world.finish(state, "a", priority=3)
    world.add("before", priority=3)
    world.add("after", priority=4)
    world.take_token()
    assert world(steer.retry(world.keys, "a", fresh=fresh)) is True
    assert world.tokens() == 1
    found = status(world, "a")
    assert (found.state, found.position, found.result, found.completed_at) == ("waiting", 1, None, None)
    assert [run.id for run in world.claim(3)] == ["before", "a", "after"]


def test_a_fresh_retry_forgets_the_failures(world: World) -> None:
    world.add("a")
    world.fail_once("a")
    world.run("a", Fail(ERROR))
    assert status(world, "a").attempts == 2
    assert world(steer.retry(world.keys, "a")) is True
    found = status(world, "a")
    assert (found.attempts, found.error) == (0, None)
    assert world.claim()[0].failed == 0


def test_a_retry_that_is_not_fresh_counts_on(world: World) -> None:
    world.add("a")
    world.fail_once("a")
    world.run("a", Fail(ERROR))
    assert world(steer.retry(world.keys, "a", fresh=False)) is True
    found = status(world, "a")
    assert (found.attempts, found.error) == (2, "ValueError: no such number")
    assert world.claim()[0].failed == 2


def test_a_job_with_an_age_of_its_own_leaves_it_behind(world: World) -> None:
    world.add("a")
    world.run("a", Complete(b"1"), keep_completed="60000")
    assert world(steer.retry(world.keys, "a")) is True
    assert not world.client.exists(world.keys["expiring"])


@pytest.mark.parametrize("state", ["waiting", "active"])
def test_what_is_not_finished_is_not_retried(world: World, state: str) -> None:
    world.finish(state, "a")
    assert world(steer.retry(world.keys, "a")) is False
    assert world(steer.retry(world.keys, "nobody")) is False
    assert world.places("a") == [state]


def test_a_retry_in_a_paused_queue_wakes_nobody(world: World) -> None:
    world.finish("failed", "a")
    world.take_token()
    world(steer.pause(world.keys))
    world(steer.retry(world.keys, "a"))
    assert world.tokens() == 0


# Promote


def test_a_delayed_job_runs_now_at_its_priority(world: World) -> None:
    world.add("later", delay=60, priority=5)
    world.add("sooner", priority=4)
    world.add("last", priority=6)
    world.take_token()
    assert world(steer.promote(world.keys, "later")) is True
    assert world.tokens() == 1
    assert [run.id for run in world.claim(3)] == ["sooner", "later", "last"]
    assert not world.client.exists(world.keys["parked"])


def test_a_snoozed_job_runs_now_at_its_place(world: World) -> None:
    world.add("a", "b")
    world.snooze("a")
    assert world(steer.promote(world.keys, "a")) is True
    assert [run.id for run in world.claim(2)] == ["a", "b"]


@pytest.mark.parametrize("state", ["waiting", "active", "completed"])
def test_what_is_not_delayed_is_not_promoted(world: World, state: str) -> None:
    world.finish(state, "a")
    assert world(steer.promote(world.keys, "a")) is False
    assert world(steer.promote(world.keys, "nobody")) is False
    assert world.places("a") == [state]


# Remove


@pytest.mark.parametrize("state", ["waiting", "completed", "failed", "cancelled"])
def test_a_removed_job_leaves_nothing(world: World, state: str) -> None:
    world.finish(state, "a")
    before = world(inspect.get_stats(world.keys))
    assert world(steer.remove(world.keys, "a")) is True
    after = world(inspect.get_stats(world.keys))
    assert world.places("a") == []
    assert world.kept_keys() == set()
    assert (before.succeeded, before.failed, before.cancelled) == (after.succeeded, after.failed, after.cancelled)
    assert world(inspect.get_status(world.keys, "a")) is None
    assert world.add("a") == ["created"]


def test_a_removed_delayed_job_takes_its_tries_along(world: World) -> None:
    world.add("a", priority=2)
    world.fail_once("a", delay_ms=60_000)
    assert world(steer.remove(world.keys, "a")) is True
    assert world.kept_keys() == set()
    assert not world.client.exists(world.keys["tries"], world.keys["parked"])


def test_an_active_job_is_removed_by_force_only(world: World) -> None:
    world.add("a")
    (run,) = world.claim()
    assert world(steer.remove(world.keys, "a")) is False
    assert world.places("a") == ["active"]
    assert world(steer.remove(world.keys, "a", force=True)) is True
    assert world.settle(run, Complete(b"1")) == "l"
    assert world.kept_keys() == set()


def test_an_unknown_job_is_not_removed(world: World) -> None:
    assert world(steer.remove(world.keys, "nobody")) is False


# Pause and resume


def test_a_paused_queue_hands_nothing_out(world: World) -> None:
    world.add("a")
    world(steer.pause(world.keys))
    assert world.claim() == []
    assert world(inspect.get_stats(world.keys)).paused is True
    world.take_token()
    world(steer.resume(world.keys))
    assert world.tokens() == 1
    assert world(inspect.get_stats(world.keys)).paused is False
    assert [run.id for run in world.claim()] == ["a"]


@pytest.mark.parametrize("options", [{}, {"delay": 60}, {"delay": 0.001}])
def test_resuming_wakes_somebody_for_what_waits_or_will_be_due(world: World, options: dict[str, Any]) -> None:
    """An idle worker of a paused queue does not watch what is delayed."""
    world(steer.pause(world.keys))
    world.add("a", **options)
    world.take_token()
    world(steer.resume(world.keys))
    assert world.tokens() == 1


def test_resuming_an_empty_queue_wakes_nobody(world: World) -> None:
    world(steer.resume(world.keys))
    assert world.tokens() == 0


# All of them


def test_ids_are_checked_before_anything_is_sent(world: World) -> None:
    for steering in (steer.cancel, steer.retry, steer.promote, steer.remove):
        with pytest.raises(InvalidName):
            steering(world.keys, "no such id")


def test_a_call_sent_again_changes_nothing_and_answers_the_same(world: World) -> None:
    record = world.keys.producer("q:0")
    world.add("a")
    call = steer.cancel(world.keys, "a").on(record, 5)
    assert call.read(world.send(call)) == "cancelled"
    assert world(steer.retry(world.keys, "a")) is True
    assert call.read(world.send(call)) == "cancelled"
    assert world.places("a") == ["waiting"]


def test_a_late_copy_of_an_older_call_changes_nothing(world: World) -> None:
    record = world.keys.producer("q:0")
    world.add("a")
    older, newer = (steer.remove(world.keys, "a").on(record, 5), steer.pause(world.keys).on(record, 6))
    newer.read(world.send(newer))
    with pytest.raises(RedisRefused, match="share a lane"):
        older.read(world.send(older))
    assert world.places("a") == ["waiting"]


def test_the_sentinel_can_be_no_jobs_id(world: World) -> None:
    world.finish("active", "a")
    sentinel = world.client.zrange(world.keys["active"], -1, -1)[0].decode()
    with pytest.raises(InvalidName):
        world.add(sentinel)


def test_a_full_server_can_still_be_steered(real: World) -> None:
    for state in ("failed", "completed"):
        real.finish(state, state)
    real.add("running", "waits")
    (running,) = real.claim()
    real.add("later", delay=timedelta(minutes=1), priority=2)
    real.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            real.add("another")
        assert real(steer.cancel(real.keys, "nobody")) == "missing"
        assert real(steer.cancel(real.keys, "running")) == "requested"
        assert real(steer.cancel(real.keys, "waits")) == "cancelled"
        assert real(steer.retry(real.keys, "failed")) is True
        assert real(steer.promote(real.keys, "later")) is True
        assert real(steer.promote(real.keys, "nobody")) is False
        assert real(steer.remove(real.keys, "completed")) is True
        real(steer.pause(real.keys))
        real(steer.resume(real.keys))
        assert real.settle(running, Complete(b"1")) == "o"
    finally:
        real.client.config_set("maxmemory", 0)

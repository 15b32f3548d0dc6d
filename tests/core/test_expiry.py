"""Jobs that must be started in time, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import inspect, steer
from redqueue.core.lease import ListRule, Settles, leave, recover
from redqueue.core.lifecycle import Complete, Crash, Fail, Release, RetryIn, SnoozeFor

if TYPE_CHECKING:
    from tests.core.conftest import World

ERROR = b'{"type":"ValueError","message":"no"}'


def expires_at(world: World, job_id: str = "a") -> int | None:
    """When it is too late to start it."""
    text = world.noted("expires", job_id)
    return None if text is None else int(text)


def let_it_be_too_late(world: World, *ids: str) -> None:
    """For those that can still expire, and no others."""
    for one in ids:
        if world.noted("expires", one) is not None:
            world.client.hset(world.keys["expires"], one, world.now_ms() - 1)


def test_it_counts_from_the_add(world: World) -> None:
    before = world.now_ms()
    world.add("a", expires_in=60)
    world.add("b", expires_in=60, lifo=True, priority=3)
    world.add("c")
    assert before + 60_000 <= (expires_at(world) or 0) <= world.now_ms() + 60_000
    assert expires_at(world, "b") is not None
    assert expires_at(world, "c") is None


@pytest.mark.parametrize("priority", [0, -5])
def test_of_a_delayed_job_it_counts_from_when_it_is_due(world: World, priority: int) -> None:
    world.add("a", delay=100, expires_in=0.5, priority=priority)
    assert expires_at(world) == world.client.zscore(world.keys["delayed"], "a") + 500


def test_a_duplicate_changes_nothing_about_it(world: World) -> None:
    world.add("a", expires_in=60)
    kept = expires_at(world)
    assert world.add("a", expires_in=1) == ["duplicate"]
    assert expires_at(world) == kept


def test_what_is_started_in_time_runs(world: World) -> None:
    world.add("a", expires_in=60)
    world.run("a", Complete(b"1"))
    assert world.places("a") == ["completed"]
    assert not world.client.exists(world.keys["expires"])


def test_what_nobody_started_in_time_fails_when_it_would_be_claimed(world: World) -> None:
    world.enter()
    world.add("a", expires_in=60, priority=4)
    world.add("b")
    let_it_be_too_late(world, "a")
    assert [run.id for run in world.claim(2)] == ["b"]
    assert world.places("a") == ["failed"]
    outcome = world.outcome("a")
    assert (outcome["attempt"], outcome["priority"]) == ("0", "4")
    status = world(inspect.get_status(world.keys, "a"))
    assert status is not None
    assert (status.state, status.attempts) == ("failed", 0)
    assert status.error is not None
    assert status.error.startswith("JobExpired")
    assert world(inspect.get_stats(world.keys)).failed == 1
    assert not world.client.exists(world.keys["expires"])


def test_it_is_told_as_expired_and_then_as_failed(world: World) -> None:
    world.add("a", "b", expires_in=60)
    let_it_be_too_late(world, "a", "b")
    assert world.claim(5) == []
    told = world.events("expired", "failed", "active")
    assert [one[:2] for one in told] == [("expired", "a"), ("expired", "b"), ("failed", "a"), ("failed", "b")]
    assert [detail is not None and detail.startswith('0 {"type":"JobExpired"') for _, _, detail in told] == [
        *(False, False, True, True)
    ]


def test_a_claim_that_finds_only_expired_jobs_leaves_the_token_for_the_rest(world: World) -> None:
    world.add("a", "b", expires_in=60)
    world.add("c")
    let_it_be_too_late(world, "a", "b")
    world.take_token()
    assert world.claim(2) == []
    assert world.tokens() == 1
    assert [run.id for run in world.claim(2)] == ["c"]


def test_they_are_kept_by_the_rule_of_failed_jobs(world: World) -> None:
    world.add(*"abcd", expires_in=60)
    let_it_be_too_late(world, *"abcd")
    assert world.pump(Settles(), 9, rule=ListRule((10, -1), (2, -1))).claimed == []
    assert [world.places(one) for one in "abcd"] == [[], [], ["failed"], ["failed"]]


@pytest.mark.parametrize("settlement", [RetryIn(0, ERROR), SnoozeFor(0, ""), Crash()])
def test_what_was_started_once_does_not_expire(world: World, settlement: Any) -> None:
    world.add("a", expires_in=60)
    world.run("a", settlement)
    assert expires_at(world) is None
    assert [run.id for run in world.claim()] == ["a"]


def test_what_was_started_and_recovered_does_not_expire(world: World) -> None:
    world.enter()
    world.add("a", expires_in=60)
    world.claim()
    world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
    world(recover(world.keys, 9))
    assert expires_at(world) is None


def test_what_was_started_late_and_goes_on_later_does_not_expire(world: World) -> None:
    """Its time ends while it runs."""
    world.add("a", "b", expires_in=60)
    first, second = world.claim(2)
    let_it_be_too_late(world, "a", "b")
    assert world.settle(first, RetryIn(60_000, ERROR)) == "o"
    assert world.settle(second, Complete(b"1")) == "o"
    assert (world.places("a"), world.places("b")) == (["delayed"], ["completed"])


def test_what_was_claimed_and_given_back_still_expires(world: World) -> None:
    world.add("a", "b", expires_in=60)
    first, second = world.claim(2)
    world.settle(first, Release())
    world(leave(world.keys, "s", ["0"], [second]))
    let_it_be_too_late(world, "a", "b")
    assert world.claim(2, session="t") == []
    assert (world.places("a"), world.places("b")) == (["failed"], ["failed"])


def test_an_expired_job_that_is_run_again_by_hand_has_time(world: World) -> None:
    world.add("a", expires_in=60)
    let_it_be_too_late(world, "a")
    world.claim()
    world(steer.retry(world.keys, "a"))
    assert expires_at(world) is None
    world.run("a", Complete(b"1"))


@pytest.mark.parametrize("options", [{}, {"delay": 60}])
def test_a_job_that_ends_otherwise_leaves_no_time_behind(world: World, options: dict[str, Any]) -> None:
    world.add("a", "b", expires_in=60, **options)
    world(steer.cancel(world.keys, "a"))
    world(steer.remove(world.keys, "b"))
    assert not world.client.exists(world.keys["expires"])


def test_a_failed_job_is_not_told_as_expired(world: World) -> None:
    world.add("a", expires_in=60)
    world.run("a", Fail(ERROR))
    assert world.events("expired") == []


def test_a_thousand_that_expired_are_ended_in_one_call(real: World) -> None:
    real.add(*(f"j{n}" for n in range(2000)), expires_in=60)
    commands = []
    for batch in range(2):
        ids = [f"j{n}" for n in range(1000 * batch, 1000 * batch + 1000)]
        real.client.hset(real.keys["expires"], mapping=dict.fromkeys(ids, real.now_ms() - 1))
        call = real.trip(n=1000)
        before = len(real.entries())
        real.client.config_resetstat()
        assert real(call).claimed == []
        commands.append(sum(one["calls"] for one in real.client.info("commandstats").values()))
        # Ten say that they expired, ten that they failed, and the last one of all that nothing is left.
        assert len(real.entries()) - before == 20 + batch
    # Fifty are kept, at two commands each; the rest is by the call, or for fifty or a hundred jobs.
    assert max(commands) <= 200
    assert real(inspect.get_stats(real.keys)).failed == 2000
    assert real.client.zcard(real.keys["failed"]) == 50
    assert len(real.kept_keys()) == 2 * 50


def test_of_those_that_expired_together_the_rule_keeps_the_last_ones(world: World) -> None:
    world.add(*"cab", expires_in=60)
    let_it_be_too_late(world, *"abc")
    world.pump(Settles(), 9, rule=ListRule((10, -1), (1, -1)))
    assert world.kept_keys() == {"job:b", "outcome:b"}
    assert [job_id for _, job_id, _ in world.events("failed")] == ["c", "a", "b"]


def test_without_a_limit_all_that_expired_are_kept(world: World) -> None:
    world.add(*"abc", expires_in=60)
    let_it_be_too_late(world, *"abc")
    world.pump(Settles(), 9, rule=ListRule((10, -1), (-1, -1)))
    assert [world.places(one) for one in "abc"] == [["failed"]] * 3

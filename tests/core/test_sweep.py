"""Removing many jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ResponseError

from redqueue.core import inspect, steer, sweep
from redqueue.core.lease import ListRule, Settles, recover
from redqueue.core.lifecycle import Complete, RetryIn
from redqueue.errors import InvalidOption

if TYPE_CHECKING:
    from tests.core.conftest import World

    from redqueue.options import State

MANY = [f"j{n}" for n in range(2345)]


def left(world: World) -> list[int]:
    stats = world(inspect.get_stats(world.keys))
    return [stats.waiting, stats.active, stats.delayed, stats.kept_completed, stats.kept_failed]


def suffixes(world: World) -> set[str]:
    return {key.decode().removeprefix(world.keys.base) for key in world.client.scan_iter(count=1000)}


# Drain


def test_drain_removes_what_waits(world: World) -> None:
    world.finish("completed", "done")
    world.add("runs")
    world.claim()
    world.add("a", "b")
    world.add("later", delay=60)
    assert world.drive(sweep.drain(world.keys)) == 2
    assert left(world) == [0, 1, 1, 1, 0]
    assert world.kept_keys() == {"job:done", "outcome:done", "job:runs", "job:later"}


def test_drain_removes_delayed_jobs_when_asked(world: World) -> None:
    world.add("a")
    world.add("later", delay=60, priority=2)
    assert world.drive(sweep.drain(world.keys, delayed=True)) == 2
    assert world.kept_keys() == set()
    assert not world.client.exists(world.keys["parked"])


def test_drain_of_many(world: World) -> None:
    world.add(*MANY)
    assert world.drive(sweep.drain(world.keys)) == len(MANY)
    assert world.kept_keys() == set()
    assert world.drive(sweep.drain(world.keys)) == 0


def test_drain_takes_failures_and_last_leases_along(world: World) -> None:
    world.add("a", "b")
    world.fail_once("a")
    world.claim()
    world.client.zadd(world.keys["active"], {"b": 0})
    world(recover(world.keys, 3))
    assert world.drive(sweep.drain(world.keys)) == 2
    assert world.kept_keys() == set()
    assert not world.client.exists(world.keys["tries"])
    assert world.client.hlen(world.keys["leases"]) == 1


# Clean


@pytest.mark.parametrize("state", ["completed", "failed", "cancelled"])
def test_clean_removes_what_finished_long_ago(world: World, state: State) -> None:
    for job_id in "abc":
        world.finish(state, job_id)
    now = world.now_ms()
    world.client.zadd(world.keys[state], {"a": now - 120_000, "b": now - 61_000, "c": now - 30_000})
    assert world.drive(sweep.clean(world.keys, state, older_than=60)) == 2
    assert world.kept_keys() == {"job:c", "outcome:c"}
    assert world.drive(sweep.clean(world.keys, state)) == 1
    assert world.kept_keys() == set()


@pytest.mark.parametrize(("state", "delay"), [("waiting", 0), ("delayed", 60)])
def test_clean_removes_what_was_added_long_ago(world: World, state: State, delay: int) -> None:
    world.add("new", "old", "corrupt", "older", delay=delay)
    created = world.now_ms()
    for job_id, age in (("old", 61_000), ("older", 90_000)):
        world.client.set(world.keys.job(job_id), b'["sms","",%d]\nnull' % (created - age))
    world.client.set(world.keys.job("corrupt"), b"?")
    assert world.drive(sweep.clean(world.keys, state, older_than=60)) == 2
    assert world.kept_keys() == {"job:new", "job:corrupt"}
    assert world.drive(sweep.clean(world.keys, state)) == 2
    assert world.kept_keys() == set()


def test_clean_by_creation_pages_through_all(world: World) -> None:
    world.add(*MANY)
    old = b'["sms","",1]\nnull'
    world.client.mset({world.keys.job(one): old for one in MANY[::2]})
    assert world.drive(sweep.clean(world.keys, "waiting", older_than=60, limit=5000)) == len(MANY[::2])
    assert left(world)[0] == len(MANY[1::2])


def test_clean_by_creation_reads_no_errors(world: World) -> None:
    """A page that large errors cut short would end it early."""
    world.enter()
    world.add(*"abcdefgh")
    for one in "abcdefgh":
        world.run(one, RetryIn(60_000, b"x" * 2**20))
    assert world.drive(sweep.clean(world.keys, "delayed", older_than=1e-3)) == 8


def test_clean_by_creation_spares_what_has_been_claimed_meanwhile(world: World) -> None:
    world.add("a", "b")
    world.client.mset({world.keys.job(one): b'["sms","",1]\nnull' for one in "ab"})
    steps = sweep.clean(world.keys, "waiting", older_than=60)
    page = world(steps.send(None))
    world.claim()
    removal = steps.send(page)
    with pytest.raises(StopIteration) as stop:
        steps.send(world(removal))
    assert stop.value.value == 1
    assert world.places("a") == ["active"]


def test_clean_stops_at_its_limit(world: World) -> None:
    world.add(*MANY)
    assert world.drive(sweep.clean(world.keys, "waiting", limit=1500)) == 1500
    assert left(world)[0] == len(MANY) - 1500
    world.client.mset({world.keys.job(one): b'["sms","",1]\nnull' for one in MANY[1500:]})
    assert world.drive(sweep.clean(world.keys, "waiting", older_than=60, limit=7)) == 7
    assert world.claim()[0].id == MANY[1507]


def test_only_a_clean_of_all_ages_takes_jobs_with_an_age_of_their_own(world: World) -> None:
    world.add("own", "a")
    world.run("own", Complete(b""), keep_completed="600000")
    world.run("a", Complete(b""))
    now = world.now_ms()
    world.client.zadd(world.keys["completed"], {"own": 2**42 + now - 90_000, "a": now - 90_000})
    assert world.drive(sweep.clean(world.keys, "completed", older_than=60)) == 1
    assert world.places("own") == ["completed"]
    assert world.drive(sweep.clean(world.keys, "completed")) == 1
    assert not world.client.exists(world.keys["expiring"])


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ({"state": "active"}, "state"),
        ({"state": "blocked"}, "state"),
        ({"state": "failed", "older_than": -1}, "older_than"),
        ({"state": "failed", "limit": 0}, "limit"),
    ],
)
def test_what_clean_refuses(world: World, arguments: dict[str, Any], option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        next(sweep.clean(world.keys, **arguments))
    assert caught.value.option == option


def test_no_sweep_touches_the_totals(world: World) -> None:
    world.finish("completed", "a")
    world.drive(sweep.clean(world.keys, "completed"))
    assert world(inspect.get_stats(world.keys)).succeeded == 1


# Obliterate


def test_an_obliterated_queue_leaves_only_keys_that_end_by_themselves(world: World) -> None:
    world.enter("s")
    for state in ("completed", "failed", "cancelled"):
        world.finish(state, state)
    world.add("a", "b", "c")
    world.fail_once("a")
    world.snooze("b", note="busy")
    world.add("later", delay=60, priority=3)
    world(steer.pause(world.keys))
    assert world.drive(sweep.obliterate(world.keys)) == 7
    assert suffixes(world) - {"inbox:s"} == {"session:s", "producer:p:0"}
    assert world.audit() == []
    world.add("a")
    assert world.claim()[0].id == "a"


def test_obliterate_refuses_while_jobs_run(world: World) -> None:
    world.add("a", "b")
    (run,) = world.claim()
    with pytest.raises(InvalidOption, match="active jobs") as caught:
        world.drive(sweep.obliterate(world.keys))
    assert caught.value.option == "force"
    assert left(world)[:2] == [1, 1]
    assert world(inspect.get_stats(world.keys)).paused is False
    assert world.drive(sweep.obliterate(world.keys, force=True)) == 2
    assert world.settle(run, Complete(b"1")) == "l"
    assert world.kept_keys() == set()


def test_nothing_is_claimed_while_a_queue_is_obliterated(world: World) -> None:
    world.add(*MANY)
    steps = sweep.obliterate(world.keys)
    answer = world(steps.send(None))
    assert world.claim() == []
    removed = int(answer)
    with pytest.raises(StopIteration) as stop:
        while True:
            answer = world(steps.send(answer))
    assert removed == 1000
    assert stop.value.value == len(MANY)


def test_obliterating_nothing(world: World) -> None:
    assert world.drive(sweep.obliterate(world.keys)) == 0
    assert suffixes(world) == {"producer:p:0"}


# All of them


def test_a_sweep_sent_again_changes_nothing(world: World) -> None:
    world.add("a", "b", "c")
    call = next(sweep.clean(world.keys, "waiting", limit=1)).on(world.keys.producer("q:0"), 1)
    assert [call.read(world.send(call)) for _ in range(3)] == [1, 1, 1]
    assert left(world)[0] == 2


def test_a_full_server_can_be_emptied(real: World) -> None:
    real.add("a", "b")
    for n in range(20):
        real.finish("completed", f"done-{n}", priority=-1)
    real.add("later", delay=60)
    real.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(ResponseError, match="maxmemory"):
            real.client.set("another", "1")
        assert real.drive(sweep.clean(real.keys, "completed")) == 10
        assert real.drive(sweep.drain(real.keys)) == 2
        assert real.drive(sweep.obliterate(real.keys)) == 1
    finally:
        real.client.config_set("maxmemory", 0)


def test_a_call_takes_few_milliseconds_of_a_long_queue(real: World) -> None:
    real.add(*(f"j{n}" for n in range(20_000)))
    real.pump(Settles(), 0, rule=ListRule(completed=(-1, 1000)))
    real.client.config_resetstat()
    real.drive(sweep.clean(real.keys, "waiting", limit=3000))
    spent = real.client.info("commandstats")["cmdstat_evalsha"]["usec_per_call"]
    assert spent < 20_000


def test_the_pages_of_a_sweep_never_exceed_a_thousand_ids(world: World) -> None:
    world.add(*MANY)
    counts = []
    steps = sweep.drain(world.keys)
    answer: Any = None
    with pytest.raises(StopIteration):
        while True:
            answer = world(steps.send(answer))
            counts.append(answer)
    assert counts == [1000, 1000, 345]

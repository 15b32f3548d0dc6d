"""What is too large for an event stays for a minute, for who waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from redqueue.core import inspect, results, steer, sweep
from redqueue.core.lease import ListRule, Settles, recover
from redqueue.core.lifecycle import Complete, Crash, Fail, Release, RetryIn
from redqueue.core.results import GONE, Ending

if TYPE_CHECKING:
    from tests.core.conftest import World

ERROR = b'{"type":"ValueError","message":"no"}'
SMALL = b'"' + b"x" * 1022 + b'"'
LARGE = b'"' + b"x" * 1023 + b'"'
NOTHING = ListRule((0, -1), (0, -1))
ONE = ListRule((1, -1), (1, -1))
MINUTE = 60_000


@pytest.fixture(autouse=True)
def _enter(world: World) -> None:
    world.enter()


def life(world: World, job_id: str = "a") -> int:
    """Of its outcome, in ms: -1 for as long as the job, -2 for none."""
    ms: int = world.client.pttl(world.keys.family("outcome") + job_id)
    return ms


def kind_of(settlement: Any) -> Literal["completed", "failed"]:
    return "completed" if isinstance(settlement, Complete) else "failed"


def look(world: World, job_id: str = "a") -> Ending | None:
    return world.drive(results.look(world.keys, {job_id: None})).endings[job_id]


def end(world: World, job_id: str, settlement: Any, **rules: Any) -> None:
    world.add(job_id)
    world.run(job_id, settlement, **rules)


@pytest.mark.parametrize("rules", [{"keep_completed": "0", "keep_failed": "0"}, {"rule": NOTHING}])
@pytest.mark.parametrize("settlement", [Complete(LARGE), Fail(LARGE)])
def test_a_large_outcome_of_a_job_that_is_not_kept_lives_for_a_minute(
    world: World, settlement: Any, rules: dict[str, Any]
) -> None:
    end(world, "a", settlement, **rules)
    assert (world.places("a"), world.kept_keys()) == ([], {"outcome:a"})
    assert MINUTE - 5000 < life(world) <= MINUTE
    assert look(world) == Ending(kind_of(settlement), LARGE, 1)


@pytest.mark.parametrize("settlement", [Complete(SMALL), Fail(SMALL)])
def test_a_small_one_leaves_nothing(world: World, settlement: Any) -> None:
    end(world, "a", settlement, rule=NOTHING)
    assert world.kept_keys() == set()


def test_a_large_reason_lives_for_a_minute_too(world: World) -> None:
    world.add("a")
    (run,) = world.claim()
    world(steer.cancel(world.keys, "a", "x" * 1025))
    world.settle(run, Release(), rule=NOTHING)
    assert 0 < life(world) <= MINUTE
    assert look(world) == Ending("cancelled", b"x" * 1025, 0)


@pytest.mark.parametrize("settlement", [Complete(LARGE), Fail(LARGE)])
def test_a_young_large_one_that_is_trimmed_lives_for_the_rest_of_its_minute(world: World, settlement: Any) -> None:
    end(world, "a", settlement, rule=ONE)
    assert life(world) == -1
    world.client.hincrby(world.keys.family("outcome") + "a", "finished", -40_000)
    end(world, "b", settlement, rule=ONE)
    assert (world.places("a"), world.places("b")) == ([], [kind_of(settlement)])
    assert 0 < life(world) <= 20_000
    assert world.kept_keys() == {"outcome:a", "outcome:b", "job:b"}
    assert look(world) not in (None, GONE)


def test_a_reason_that_is_trimmed_lives_on_as_well(world: World) -> None:
    for one in "ab":
        world.add(one)
        (run,) = world.claim()
        world.settle(run, Release(), rule=ONE)
        world(steer.cancel(world.keys, one, one * 1025))
    assert world.places("a") == []
    assert look(world) == Ending("cancelled", b"a" * 1025, 0)
    assert 0 < life(world) <= MINUTE


@pytest.mark.parametrize("rule", [NOTHING, ONE])
@pytest.mark.parametrize("settlement", [Complete(LARGE), Fail(LARGE)])
def test_only_what_was_counted_lives_on(world: World, settlement: Any, rule: ListRule) -> None:
    """A checkpoint may be a megabyte, and nobody waits for it."""
    for one in "ab":
        world.add(one)
        (run,) = world.claim()
        world.tell((run, "s", LARGE), (run, "p", b"[0.5,null,null]"))
        world.settle(run, settlement, rule=rule)
    assert world.places("a") == []
    assert 0 < life(world) <= MINUTE
    assert {"state", "progress"}.isdisjoint(world.outcome("a"))
    assert look(world) == Ending(kind_of(settlement), LARGE, 1)


@pytest.mark.parametrize("settlement", [Complete(LARGE), Fail(LARGE)])
def test_one_whose_own_age_is_short_lives_as_long_as_one_that_is_not_kept(world: World, settlement: Any) -> None:
    end(world, "a", settlement, keep_completed="30000", keep_failed="30000")
    ended = Ending(kind_of(settlement), LARGE, 1)
    world.client.zadd(world.keys["expiring"], {"a": 1})
    assert look(world) == ended  # nothing has swept it yet
    world(recover(world.keys, 3))
    assert (world.places("a"), world.kept_keys()) == ([], {"outcome:a"})
    assert MINUTE - 5000 < life(world) <= MINUTE
    assert look(world) == ended


@pytest.mark.parametrize(("result", "age"), [(LARGE, 61_000), (SMALL, 1000)])
def test_one_whose_own_age_is_over_is_gone_when_it_is_old_or_small(world: World, result: bytes, age: int) -> None:
    end(world, "a", Complete(result), keep_completed="1")
    world.client.hincrby(world.keys.family("outcome") + "a", "finished", -age)
    world.client.zadd(world.keys["expiring"], {"a": 1})
    world.client.delete(world.keys["events"])
    assert look(world) == GONE
    world(recover(world.keys, 3))
    assert world.kept_keys() == set()


@pytest.mark.parametrize(("result", "age"), [(LARGE, 61_000), (SMALL, 1000)])
def test_an_old_one_and_a_small_one_go_when_they_are_trimmed(world: World, result: bytes, age: int) -> None:
    end(world, "a", Complete(result), rule=ONE)
    world.client.hincrby(world.keys.family("outcome") + "a", "finished", -age)
    end(world, "b", Complete(LARGE), rule=ONE)
    assert world.kept_keys() == {"outcome:b", "job:b"}


def test_one_that_is_removed_by_hand_goes_at_once(world: World) -> None:
    end(world, "a", Complete(LARGE))
    world(steer.remove(world.keys, "a"))
    end(world, "b", Complete(LARGE))
    world.drive(sweep.clean(world.keys, "completed"))
    assert world.kept_keys() == set()


def test_at_most_64_mib_live_on_in_a_minute(world: World) -> None:
    world.client.hset(world.keys["meta"], mapping={"linger_since": world.now_ms(), "linger_bytes": 64 * 2**20 - 1500})
    for one in "ab":
        end(world, one, Complete(LARGE), rule=NOTHING)
    assert world.kept_keys() == {"outcome:a"}
    end(world, "c", Complete(LARGE), rule=ONE)
    end(world, "d", Complete(LARGE), rule=ONE)
    assert world.kept_keys() == {"outcome:a", "outcome:d", "job:d"}
    world.client.hincrby(world.keys["meta"], "linger_since", -61_000)
    end(world, "e", Complete(LARGE), rule=NOTHING)
    assert "outcome:e" in world.kept_keys()
    # This one, and the one that it trimmed.
    assert world.client.hget(world.keys["meta"], "linger_bytes") == b"%d" % (2 * len(LARGE))


@pytest.mark.parametrize("settlement", [Complete(b"1"), Fail(ERROR)])
@pytest.mark.parametrize("first", [Complete(LARGE), Fail(LARGE)])
def test_a_new_job_of_the_same_id_inherits_nothing(world: World, first: Any, settlement: Any) -> None:
    end(world, "a", first, rule=NOTHING)
    assert life(world) > 0
    end(world, "a", settlement)
    assert life(world) == -1
    assert len({"result", "error"} & world.outcome("a").keys()) == 1


def test_an_outcome_of_a_failed_attempt_inherits_nothing(world: World) -> None:
    end(world, "a", Complete(LARGE), rule=NOTHING)
    end(world, "a", RetryIn(MINUTE, ERROR))
    assert life(world) == -1
    assert "result" not in world.outcome("a")


def test_a_job_that_is_cancelled_before_it_runs_inherits_nothing(world: World) -> None:
    end(world, "a", Complete(LARGE), rule=NOTHING)
    world.pump(Settles(), 0)  # by the ordinary rule again
    world.add("a")
    world(steer.cancel(world.keys, "a"))
    assert life(world) == -1
    assert "result" not in world.outcome("a")


def test_a_job_of_the_same_id_inherits_nothing_when_its_queue_was_made_again(world: World) -> None:
    end(world, "a", Complete(LARGE), rule=NOTHING)
    world.drive(sweep.obliterate(world.keys))
    assert life(world) > 0
    world.enter()
    end(world, "a", Fail(ERROR))
    assert life(world) == -1
    assert "result" not in world.outcome("a")


@pytest.mark.parametrize("how", ["crashed", "retried"])
def test_the_status_of_a_new_job_shows_nothing_of_the_former_one(world: World, how: str) -> None:
    end(world, "a", Fail(LARGE), rule=NOTHING)
    world.add("a")
    world.run("a", Crash() if how == "crashed" else RetryIn(0, ERROR))
    for status in (world(inspect.get_status(world.keys, "a")), *world(inspect.jobs(world.keys, "waiting"))):
        assert status is not None
        assert status.error == (None if how == "crashed" else "ValueError: no")


def test_who_waits_for_the_new_job_is_not_told_of_the_former_one(world: World) -> None:
    end(world, "a", Complete(LARGE), rule=NOTHING)
    world.add("a")
    assert look(world) is None
    world.claim()
    assert look(world) is None


def test_the_lines_of_a_job_whose_outcome_lives_on_go(world: World) -> None:
    world.add("a")
    (run,) = world.claim()
    world.tell((run, "l", b"one"))
    world.settle(run, Complete(LARGE), rule=NOTHING)
    assert not world.client.exists(world.keys.log("a"), world.keys["logged"])

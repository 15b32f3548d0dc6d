"""What running jobs tell of themselves, and the settlement of a run whose process died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import steer, sweep
from redqueue.core.lease import ListRule, Settles, leave, recover
from redqueue.core.lifecycle import Complete, Crash, Fail, Release, RetryIn, RunRules, SnoozeFor, words_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.core.conftest import Told, World

    from redqueue.core.lease import Claimed

ERROR = b'{"type":"ValueError","message":"no"}'
HALF = b'[0.5,"half",null]'
DONE = Complete(b"1")


@pytest.fixture
def run(world: World) -> Claimed:
    """Job a, which session s runs."""
    world.enter()
    world.enter("t")
    world.add("a", priority=2)
    (run,) = world.claim()
    return run


def tell_all(world: World, run: Claimed, session: str = "s") -> str:
    return world.tell((run, "p", HALF), (run, "s", b'{"at":7}'), (run, "l", b"one"), session=session)


def lose_the_lease(world: World, run: Claimed) -> None:
    """Its holder is given up, the job waits, and another session claims it."""
    world.client.zadd(world.keys["active"], {run.id: 0}, xx=True)
    world(recover(world.keys, 9))
    assert [one.id for one in world.claim(session="t")] == [run.id]


# The token


def test_what_a_run_tells_is_noted(world: World, run: Claimed) -> None:
    assert tell_all(world, run) == "ooo"
    assert (world.noted("progress"), world.noted("states"), world.noted("logged")) == (HALF.decode(), '{"at":7}', "1")
    assert world.lines("a") == ["one"]
    assert world.events("progress") == [("progress", "a", HALF.decode())]


def test_a_run_that_lost_its_lease_is_told_so_and_changes_nothing(world: World, run: Claimed) -> None:
    lose_the_lease(world, run)
    before, told = world.stored(), world.events()
    assert tell_all(world, run) == "lll"
    assert (world.stored(), world.events()) == (before, told)


def test_a_run_of_another_session_is_not_told_of(world: World, run: Claimed) -> None:
    before = world.stored()
    assert tell_all(world, run, session="t") == "lll"
    assert world.stored() == before


@pytest.mark.parametrize("end", [DONE, Fail(ERROR), RetryIn(60_000, ERROR), SnoozeFor(60_000, ""), Release()])
def test_who_has_handed_its_run_back_tells_nothing_more(world: World, run: Claimed, end: Any) -> None:
    world.settle(run, end)
    before = world.stored()
    assert tell_all(world, run) == "lll"
    assert world.stored() == before


def test_a_job_that_was_removed_is_not_told_of(world: World, run: Claimed) -> None:
    world(steer.remove(world.keys, "a", force=True))
    assert tell_all(world, run) == "lll"
    assert world.kept_keys() == set()


def test_a_recovered_run_may_tell_while_nobody_claimed_its_job(world: World, run: Claimed) -> None:
    world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
    world(recover(world.keys, 9))
    assert world.tell((run, "s", b"1")) == "o"
    assert [one.saved for one in world.claim()] == [b"1"]


def test_each_report_has_a_letter_of_its_own(world: World, run: Claimed) -> None:
    world.add("b")
    (other,) = world.claim()
    world.settle(run, DONE)
    assert world.tell((run, "l", b"late"), (other, "l", b"one"), (run, "p", HALF), (other, "s", b"1")) == "lolo"
    assert (world.lines("a"), world.lines("b")) == ([], ["one"])


# A numbered call


def test_a_resent_trip_notes_nothing_twice_and_answers_the_same(world: World, run: Claimed) -> None:
    world.add("b")
    call = world.trip(told=[(run, "l", b"one"), (run, "p", HALF), (run, "s", b"1")], n=1)
    first = world(call)
    before, told = world.stored(), world.events()
    again = world(call)
    assert first.told == again.told == "ooo"
    assert [(one.id, one.fence) for one in first.claimed] == [(one.id, one.fence) for one in again.claimed] != []
    assert (world.stored(), world.events()) == (before, told)
    assert world.lines("a") == ["one"]


def test_a_late_copy_of_a_trip_notes_nothing(world: World, run: Claimed) -> None:
    call = world.trip(told=[(run, "l", b"one")])
    world.tell((run, "l", b"two"))
    late = world(call)
    assert (late.stale, late.told) == (True, "")
    assert world.lines("a") == ["two"]


def test_a_report_comes_before_the_outcome_in_the_same_trip(world: World, run: Claimed) -> None:
    settles = Settles([], [], [])
    settles.add(run, *words_of(DONE, attempt=1, rules=RunRules(retries=0, backoff=1)))
    trip = world(world.trip(settles, told=[(run, "p", HALF), (run, "l", b"the last line")]))
    assert (trip.told, trip.words) == ("oo", "o")
    assert (world.outcome("a")["progress"], world.lines("a")) == (HALF.decode(), ["the last line"])


# What is kept


def test_the_latest_progress_and_checkpoint_win(world: World, run: Claimed) -> None:
    world.tell((run, "p", b"[0.1,null,null]"), (run, "s", b"1"), (run, "s", b"2"))
    world.tell((run, "s", b"3"), (run, "p", b"[0.2,null,null]"), (run, "p", HALF))
    assert (world.noted("progress"), world.noted("states")) == (HALF.decode(), "3")


def test_the_last_thousand_lines_are_kept(world: World, run: Claimed) -> None:
    """X09: of a log."""
    for start in range(0, 2100, 700):
        lines: list[Told] = [(run, "l", b"%d" % n) for n in range(start, start + 700)]
        world.tell(*lines)
    assert world.lines("a") == [str(n) for n in range(1100, 2100)]


@pytest.mark.parametrize(
    ("end", "kept"),
    [(DONE, {"progress"}), (Fail(ERROR), {"progress", "state"}), ("cancelled", {"progress", "state"})],
)
def test_a_job_that_ended_keeps_what_it_told_in_its_outcome(
    world: World, run: Claimed, end: Any, kept: set[str]
) -> None:
    tell_all(world, run)
    if end == "cancelled":
        world(steer.cancel(world.keys, "a"))
        end = Release()
    world.settle(run, end)
    assert not world.client.exists(world.keys["progress"], world.keys["states"])
    assert {"progress", "state"} & world.outcome("a").keys() == kept
    assert {"progress": HALF.decode(), "state": '{"at":7}'}.items() >= {
        (name, text) for name, text in world.outcome("a").items() if name in kept
    }
    assert world.lines("a") == ["one"]


def cancel_waiting(world: World, run: Claimed) -> None:
    world.settle(run, RetryIn(60_000, ERROR))
    world(steer.cancel(world.keys, "a"))


def crash_too_often(world: World, run: Claimed) -> None:
    world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
    world(recover(world.keys, 1))


def cancel_and_leave(world: World, run: Claimed) -> None:
    world(steer.cancel(world.keys, "a"))
    world(leave(world.keys, "s", ["0"], [run]))


@pytest.mark.parametrize("end", [cancel_waiting, crash_too_often, cancel_and_leave])
def test_a_checkpoint_is_kept_also_when_nobody_settled(
    world: World, run: Claimed, end: Callable[[World, Claimed], None]
) -> None:
    tell_all(world, run)
    end(world, run)
    assert not world.client.exists(world.keys["progress"], world.keys["states"])
    assert world.outcome("a")["state"] == '{"at":7}'


@pytest.mark.parametrize("fresh", [True, False])
def test_a_job_that_is_retried_by_hand_goes_on_from_its_checkpoint(world: World, run: Claimed, fresh: bool) -> None:
    tell_all(world, run)
    world.settle(run, Fail(ERROR))
    world(steer.retry(world.keys, "a", fresh=fresh))
    assert not {"progress", "state"} & world.outcome("a").keys()
    (again,) = world.claim(session="t")
    assert again.saved == b'{"at":7}'
    assert world.tell((again, "l", b"two"), session="t") == "o"
    assert world.lines("a") == ["one", "two"]


def test_a_completed_job_begins_anew(world: World, run: Claimed) -> None:
    tell_all(world, run)
    world.settle(run, DONE)
    world(steer.retry(world.keys, "a"))
    assert [one.saved for one in world.claim()] == [None]


def fail_once(world: World, run: Claimed) -> None:
    world.settle(run, RetryIn(0, ERROR))


def snooze(world: World, run: Claimed) -> None:
    world.settle(run, SnoozeFor(0, ""))


def crash(world: World, run: Claimed) -> None:
    world.settle(run, Crash())


def release(world: World, run: Claimed) -> None:
    world.settle(run, Release())


def recover_it(world: World, run: Claimed) -> None:
    world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
    world(recover(world.keys, 9))


def leave_it(world: World, run: Claimed) -> None:
    world(leave(world.keys, "s", ["0"], [run]))


@pytest.mark.parametrize("back", [fail_once, snooze, crash, release, recover_it, leave_it])
def test_the_next_run_is_given_the_checkpoint(
    world: World, run: Claimed, back: Callable[[World, Claimed], None]
) -> None:
    world.add("b")
    tell_all(world, run)
    back(world, run)
    found = world.claim(2, session="t")
    assert {one.id: one.saved for one in found} == {"a": b'{"at":7}', "b": None}
    assert world.noted("progress") == HALF.decode()


# Logs go with the job


def retention(world: World) -> None:
    world.finish("completed", "b")


def own_age(world: World) -> None:
    world.client.zadd(world.keys["expiring"], {"a": 1})
    world(recover(world.keys, 9))


def remove(world: World) -> None:
    world(steer.remove(world.keys, "a"))


def clean(world: World) -> None:
    world.drive(sweep.clean(world.keys, "completed"))


def obliterate(world: World) -> None:
    world.drive(sweep.obliterate(world.keys))


@pytest.mark.parametrize("way", [retention, own_age, remove, clean, obliterate])
def test_the_lines_of_a_finished_job_go_with_it(world: World, run: Claimed, way: Callable[[World], None]) -> None:
    tell_all(world, run)
    world.settle(run, DONE, **({"keep_completed": "60000"} if way is own_age else {}))
    assert world.lines("a") == ["one"]
    if way is retention:
        world.add("b")
        (other,) = world.claim()
        world.settle(other, DONE, rule=ListRule((1, -1)))
    else:
        way(world)
    assert not world.client.exists(world.keys.log("a"))
    assert world.noted("logged") is None


@pytest.mark.parametrize("rules", [{"keep_completed": "0"}, {"rule": ListRule((0, -1))}])
def test_the_lines_of_a_job_that_is_not_kept_go_at_once(world: World, run: Claimed, rules: dict[str, Any]) -> None:
    tell_all(world, run)
    world.settle(run, DONE, **rules)
    assert not world.client.exists(world.keys.log("a"), world.keys["logged"])
    assert world.kept_keys() == set()


def test_a_drain_takes_all_that_a_job_told_along(world: World, run: Claimed) -> None:
    tell_all(world, run)
    world.settle(run, Release())
    world.drive(sweep.drain(world.keys))
    told = [world.keys[name] for name in ("progress", "states", "logged")]
    assert not world.client.exists(world.keys.log("a"), *told)


# A run whose process died


def test_a_crash_counts_and_keeps_the_place_in_line(world: World, run: Claimed) -> None:
    world.add("b", priority=2)
    place = float((world.noted("leases") or "").split(" ")[1])
    assert world.settle(run, Crash()) == "o"
    assert world.client.zscore(world.keys["waiting"], "a") == place
    assert world.noted("tries") == "0 1 1"
    assert world.events("recovered") == [("recovered", "a", "crashed")]
    (again,) = world.claim()
    assert (again.id, again.failed, again.crashes) == ("a", 0, 1)
    world.settle(again, Crash())
    assert world.noted("tries") == "0 2 2"


def test_a_crash_is_no_failure_and_forgets_none(world: World, run: Claimed) -> None:
    world.settle(run, RetryIn(0, ERROR))
    (again,) = world.claim()
    world.settle(again, Crash())
    assert world.noted("tries") == "1 1 1"
    assert world.outcome("a")["error"] == ERROR.decode()


def test_a_crash_wakes_an_idle_worker(world: World, run: Claimed) -> None:
    world.take_token()
    world.settle(run, Crash())
    assert world.tokens() == 1


def test_a_job_that_was_to_be_cancelled_ends_so_when_it_crashes(world: World, run: Claimed) -> None:
    world(steer.cancel(world.keys, "a", "not wanted"))
    assert world.settle(run, Crash()) == "x"
    assert world.places("a") == ["cancelled"]
    assert world.noted("tries") is None
    outcome = world.outcome("a")
    assert (outcome["reason"], outcome["attempt"]) == ("not wanted", "0")


def test_a_crash_of_a_run_that_lost_its_lease_changes_nothing(world: World, run: Claimed) -> None:
    lose_the_lease(world, run)
    before = world.stored()
    assert world.settle(run, Crash()) == "l"
    assert world.stored() == before


def test_a_recovered_job_whose_run_then_crashed_counts_one_crash(world: World, run: Claimed) -> None:
    recover_it(world, run)
    assert world.noted("tries") == "0 1 1"
    assert world.settle(run, Crash()) == "o"
    assert world.noted("tries") == "0 1 2"
    assert world.places("a") == ["waiting"]


# The fence


def test_a_fence_grows_with_every_claim(world: World, run: Claimed) -> None:
    fences = [run.fence]
    for _ in range(20):
        world.settle(run, Release())
        (run,) = world.claim()
        fences.append(run.fence)
    assert fences[0] > 0
    assert fences == sorted(set(fences))
    assert fences[-1] < 2**53


def test_jobs_of_one_claim_have_one_fence_and_an_empty_claim_draws_none(world: World, run: Claimed) -> None:
    world.add("b", "c")
    first, second = world.claim(2)
    assert first.fence == second.fence > run.fence
    kept = world.client.hget(world.keys["meta"], "fence")
    assert world.claim() == []
    assert world.client.hget(world.keys["meta"], "fence") == kept


def test_a_fence_grows_also_when_a_queue_was_removed_and_made_again(world: World, run: Claimed) -> None:
    for _ in range(50):
        world.settle(run, Release())
        (run,) = world.claim()
    world.drive(sweep.obliterate(world.keys, force=True))
    assert not world.client.exists(world.keys["meta"])
    world.add("a")
    (again,) = world.claim()
    assert again.fence > run.fence


# A cancel reaches the session that runs the job


def test_a_cancel_of_a_running_job_is_put_into_its_session_s_inbox(world: World, run: Claimed) -> None:
    world(steer.cancel(world.keys, "a"))
    inbox = world.keys.inbox("s")
    assert world.client.lrange(inbox, 0, -1) == [b"a"]
    assert 0 < world.client.ttl(inbox) <= 3600
    assert not world.client.exists(world.keys.inbox("t"))


def test_an_inbox_that_nobody_empties_is_bounded(world: World, run: Claimed) -> None:
    """X09: of an inbox."""
    world.client.rpush(world.keys.inbox("s"), *("x" for _ in range(1000)))
    world(steer.cancel(world.keys, "a"))
    assert world.client.llen(world.keys.inbox("s")) == 1000
    assert world.client.lindex(world.keys.inbox("s"), -1) == b"a"


def test_a_cancel_of_a_job_that_does_not_run_tells_no_session(world: World, run: Claimed) -> None:
    world.add("b")
    world.settle(run, Release())
    world(steer.cancel(world.keys, "a"))
    world(steer.cancel(world.keys, "b"))
    assert not world.client.exists(world.keys.inbox("s"))

"""The histories that broke an earlier protocol, each played again.

The numbers are those of the search that found them. Not here, since nothing in the scripts can break them: P18, a fixed
backoff of 2 s, is a worker's; P25, huge entries of the event stream, comes with the stream.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.protocol.driver import ERROR, LEASE, START, Session

from redqueue.core import inspect, lease, steer, sweep
from redqueue.core.lease import ListRule, Settles
from redqueue.core.lifecycle import Complete, Crash, Fail, Release, RetryIn, SnoozeFor

if TYPE_CHECKING:
    from tests.protocol.driver import Producer, Wire

    from redqueue.core.lease import Claimed
    from redqueue.core.lifecycle import Settlement

DONE = Complete(b"1")
NOTHING = ListRule((0, -1), (0, -1))


def pass_lease(wire: Wire, *living: Session) -> None:
    """Let every lease end but theirs who renew, in steps in which a living worker touches the guard."""
    for _ in range(5):
        wire.pass_time(LEASE // 3)
        for session in living:
            session.renew()


# P1


def test_an_add_sent_again_after_its_job_was_run_and_trimmed_makes_no_second_job(
    wire: Wire, producer: Producer, session: Session
) -> None:
    call = producer.prepare_add("a")
    assert [stored.answer for stored in wire(call)] == ["created"]
    (run,) = session.claim()
    assert session.settle(run, DONE, rule=NOTHING) == "o"
    assert wire.client.exists(wire.keys.job("a")) == 0
    before = wire.everything()
    assert [stored.answer for stored in wire(call)] == ["created"]
    assert wire.everything() == before


def test_a_late_copy_of_an_add_makes_no_second_job(wire: Wire, producer: Producer, session: Session) -> None:
    call = producer.prepare_add("a")
    wire(call)
    (run,) = session.claim()
    session.settle(run, DONE, rule=NOTHING)
    producer.add("b")
    before = wire.everything()
    assert wire.send(call) == [b"stale"]
    assert wire.everything() == before


# P2


def test_each_lane_keeps_the_answer_to_its_own_settles(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    a, b = session.claim(2)
    one, two = session.trip((a, DONE), lane="0"), session.trip((b, Fail(ERROR)), lane="1")
    assert wire(one).words == "o"
    assert wire(two).words == "o"
    assert wire(one).words == "o"
    assert wire(two).words == "o"


# P3


def test_a_claim_sent_again_answers_the_same_jobs(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b", "c")
    call = session.trip(n=2)
    first = wire.send(call)
    before = wire.everything()
    assert wire.send(call) == first
    assert wire.everything() == before
    assert [run.id for run in wire(call).claimed] == ["a", "b"]


def test_a_claim_that_found_nothing_finds_nothing_when_it_is_sent_again(
    wire: Wire, producer: Producer, session: Session
) -> None:
    call = session.trip(n=2)
    assert wire(call).claimed == []
    producer.add("a")
    assert wire(call).claimed == []
    assert wire.ids("waiting") == ["a"]


def test_a_late_copy_of_a_claim_leases_nothing(wire: Wire, producer: Producer, session: Session) -> None:
    call = session.trip(n=2)
    wire(call)
    session.claim()
    producer.add("a")
    late = wire(call)
    assert (late.stale, late.claimed) == (True, [])
    assert wire.ids("waiting") == ["a"]


def test_a_claim_sent_again_tells_anew_when_the_next_delayed_job_is_due(
    wire: Wire, producer: Producer, session: Session
) -> None:
    nothing_delayed = session.trip(n=1)
    assert [wire(nothing_delayed).next_due_ms for _ in range(2)] == [-1, -1]
    producer.add("a", delay=5)
    producer.add("b", delay=9)
    claim = session.trip(n=1)
    assert [wire(claim).next_due_ms for _ in range(2)] == [5000, 5000]
    wire.pass_time(4999)
    assert wire(claim).next_due_ms == 1
    wire.pass_time(2)
    assert wire(claim).next_due_ms == 0


def test_a_claim_sent_again_leaves_out_what_was_recovered_and_waits_for_anybody(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    claim = session.trip(n=1)
    assert [run.id for run in wire(claim).claimed] == ["a"]
    for _ in range(4):
        wire.pass_time(LEASE // 3)
        other.renew()
    wire.recover()
    assert wire.ids("waiting") == ["a"]
    assert wire(claim).claimed == []


def test_a_claim_sent_again_leaves_out_what_its_session_lost_and_keeps_the_positions_of_the_rest(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b", "c")
    call = session.trip(n=3)
    wire(call)
    assert producer(steer.remove(wire.keys, "a", force=True))
    again = wire(call).claimed
    assert [(run.id, run.position) for run in again] == [("b", 2), ("c", 3)]
    # By its position a job is known as not started: neither crashed.
    wire(session.trip(unstarted=again))
    pass_lease(wire, session)
    wire.recover()
    assert [wire.tries("b"), wire.tries("c")] == [(0, 0, 1), (0, 0, 1)]


# P4


@pytest.mark.parametrize("settlement", [DONE, Fail(ERROR), RetryIn(0, ERROR), SnoozeFor(1000, ""), Release()])
def test_a_late_settle_does_not_touch_another_job_of_the_same_id(
    wire: Wire, producer: Producer, session: Session, other: Session, settlement: Settlement
) -> None:
    producer.add("a")
    (old,) = session.claim()
    pass_lease(wire, other)
    assert wire.recover().count == 1
    (run,) = other.claim()
    assert other.settle(run, DONE, rule=NOTHING) == "o"
    assert producer.add("a") == ["created"]
    assert session.settle(old, settlement) == "l"
    assert wire.ids("waiting") == ["a"]


@pytest.mark.parametrize("how", ["removed", "drained", "cancelled"])
def test_a_late_settle_of_a_recovered_job_does_not_touch_its_successor(
    wire: Wire, producer: Producer, session: Session, other: Session, how: str
) -> None:
    producer.add("a")
    (old,) = session.claim()
    pass_lease(wire, other)
    wire.recover()
    if how == "removed":
        assert producer(steer.remove(wire.keys, "a"))
    elif how == "drained":
        assert producer.drive(sweep.drain(wire.keys)) == 1
    else:
        assert producer(steer.cancel(wire.keys, "a")) == "cancelled"
        assert producer(steer.remove(wire.keys, "a"))
    assert producer.add("a") == ["created"]
    assert session.renew(old) == "l"
    assert session.settle(old, DONE) == "l"
    assert wire.ids("waiting") == ["a"]


# P5


@pytest.mark.parametrize("settlement", [Release(), SnoozeFor(1000, "busy"), RetryIn(0, ERROR), RetryIn(1000, ERROR)])
def test_a_cancel_is_not_forgotten_when_the_run_ends_otherwise(
    wire: Wire, producer: Producer, session: Session, settlement: Settlement
) -> None:
    producer.add("a")
    (run,) = session.claim()
    assert producer(steer.cancel(wire.keys, "a", "not wanted")) == "requested"
    assert session.settle(run, settlement) == "x"
    assert wire.ids("cancelled") == ["a"]
    assert producer.add("b") == ["created"]
    assert [one.id for one in session.claim(2)] == ["b"]


@pytest.mark.parametrize(("settlement", "state"), [(DONE, "completed"), (Fail(ERROR), "failed")])
def test_a_run_that_ends_by_itself_before_it_is_told_of_its_cancel_ends_so(
    wire: Wire, producer: Producer, session: Session, settlement: Settlement, state: str
) -> None:
    producer.add("a")
    (run,) = session.claim()
    producer(steer.cancel(wire.keys, "a", "not wanted"))
    assert session.settle(run, settlement) == "o"
    assert (wire.ids(state), wire.ids("cancelled")) == (["a"], [])
    assert wire.client.exists(wire.keys["cancels"]) == 0


@pytest.mark.parametrize(
    ("settlement", "attempts"), [(Release("cut"), 0), (SnoozeFor(0, ""), 0), (Crash(), 0), (RetryIn(0, ERROR), 1)]
)
def test_a_run_that_a_cancel_cut_short_burns_an_attempt_only_if_it_failed(
    wire: Wire, producer: Producer, session: Session, settlement: Settlement, attempts: int
) -> None:
    producer.add("a")
    (run,) = session.claim()
    producer(steer.cancel(wire.keys, "a", "not wanted"))
    assert session.settle(run, settlement) == "x"
    status = wire(inspect.get_status(wire.keys, "a"))
    assert status is not None
    assert (status.state, status.attempts) == ("cancelled", attempts)


def test_a_renewal_tells_of_each_run_that_was_cancelled(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    first, second = session.claim(2)
    producer(steer.cancel(wire.keys, "b", "not wanted"))
    assert session.renew(second) == "c"
    assert session.renew(first, second) == "kc"
    assert session.renew(first) == "k"
    assert session.renew() == ""


def test_a_cancel_is_not_forgotten_when_the_lease_ends(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    session.claim()
    producer(steer.cancel(wire.keys, "a", "not wanted"))
    pass_lease(wire, other)
    assert wire.recover().count == 1
    assert wire.ids("cancelled") == ["a"]
    assert wire.client.exists(wire.keys["cancels"]) == 0


def test_a_cancel_is_not_forgotten_when_the_worker_leaves(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    runs = session.claim(2)
    producer(steer.cancel(wire.keys, "a", "not wanted"))
    assert session.leave(*runs) == 2
    assert (wire.ids("cancelled"), wire.ids("waiting")) == (["a"], ["b"])
    assert wire.client.exists(wire.keys["cancels"]) == 0
    status = wire(inspect.get_status(wire.keys, "a"))
    assert status is not None
    assert (status.message, status.attempts) == ("not wanted", 0)
    assert wire(inspect.get_stats(wire.keys)).cancelled == 1


def test_a_job_cancelled_by_its_lease_s_end_keeps_nothing_of_an_earlier_attempt(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    session.settle(session.claim()[0], RetryIn(0, ERROR))
    session.claim()
    producer(steer.cancel(wire.keys, "a", "not wanted"))
    pass_lease(wire, other)
    wire.recover()
    status = wire(inspect.get_status(wire.keys, "a"))
    assert status is not None
    assert (status.state, status.error, status.attempts) == ("cancelled", None, 1)


def test_a_job_that_completes_keeps_nothing_of_an_earlier_attempt(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    session.settle(session.claim()[0], RetryIn(0, ERROR))
    session.settle(session.claim()[0], DONE)
    status = wire(inspect.get_status(wire.keys, "a"))
    assert status is not None
    assert (status.state, status.error, status.attempts) == ("completed", None, 2)


# P6


def test_a_poison_job_does_not_condemn_its_neighbours(wire: Wire, producer: Producer, other: Session) -> None:
    names = [f"j{n:02}" for n in range(100)]
    producer.add(*names)
    for life in range(3):
        dying = Session(wire, f"dies{life}")
        dying.enter()
        runs = dying.claim(100)
        assert [run.id for run in runs] == names
        # It starts the first one, which kills it.
        wire(dying.trip(unstarted=runs[1:]))
        pass_lease(wire, other)
        recovery = wire.recover()
        assert (recovery.count, recovery.crashed) == (100, ["j00"] if life == 2 else [])
    assert wire.ids("failed") == ["j00"]
    assert wire.ids("waiting") == names[1:]
    assert {wire.tries(name) for name in names[1:]} == {(0, 0, 3)}


# P7


def test_scans_that_are_far_apart_recover_when_somebody_renews(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    session.claim()
    died = wire.now
    # Scans every 16 s find a gap of more than half a lease each time; that the other one renews says there was none.
    for step in range(48):
        wire.pass_time(1000)
        if step % 10 == 0:
            other.renew()
        if step % 16 == 15 and wire.recover().count == 1:
            break
    assert wire.ids("waiting") == ["a"]
    assert wire.now - died <= 1.6 * LEASE


# P8


def test_a_queue_has_one_lease_length_the_longest_that_a_living_worker_asked_for(
    wire: Wire, producer: Producer
) -> None:
    slow, quick = Session(wire, "slow"), Session(wire, "quick")
    assert slow.enter(60_000) == 60_000
    assert quick.enter(5_000) == 60_000
    producer.add("a")
    trip = wire(quick.trip(n=1))
    assert trip.lease_ms == 60_000
    assert wire.deadline("a") == wire.now + 60_000


# P9


def test_a_clock_that_goes_back_an_hour_does_not_stop_recovery(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    session.claim()
    wire.pass_time(-3_600_000)
    stepped = wire.now
    while not wire.recover().count:
        wire.pass_time(LEASE // 3)
        other.renew()
        assert wire.now - stepped < 2 * LEASE
    assert wire.ids("waiting") == ["a"]


# P10


def test_six_hundred_leases_of_a_dead_worker_are_recovered_in_one_go(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    names = [f"j{n:03}" for n in range(600)]
    producer.add(*names)
    assert len(session.claim(600)) == 600
    pass_lease(wire, other)
    assert wire.recover_all() == [100] * 6 + [0]
    assert wire.ids("waiting") == names


# P11


def test_a_retry_is_due_by_the_clock_of_redis(wire: Wire, producer: Producer, session: Session) -> None:
    """Faults: C03."""
    assert abs(START - time.time() * 1000) > 3_600_000  # the worker's clock is another one
    producer.add("a", "b")
    a, b = session.claim(2)
    wire.pass_time(700)
    wire(session.trip((a, RetryIn(5000, ERROR)), (b, SnoozeFor(6000, ""))))
    due = wire.client.zrange(wire.keys["delayed"], 0, -1, withscores=True)
    assert due == [(b"a", START + 5700), (b"b", START + 6700)]


# P12


def test_a_job_whose_lease_ended_on_the_way_is_found_out_by_renewing_it(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    call = session.trip(n=1)
    (late,) = wire(call).claimed
    pass_lease(wire, other)
    wire.recover()
    other.claim()
    assert session.renew(late) == "l"
    assert wire(call).claimed == []


def test_a_job_that_was_recovered_and_not_claimed_is_taken_back_by_renewing_it(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    (late,) = session.claim()
    pass_lease(wire, other)
    wire.recover()
    assert wire.tries("a") == (0, 1, 1)
    assert session.renew(late) == "k"
    assert wire.tries("a") == (0, 0, 1)
    assert other.claim() == []
    assert session.settle(late, DONE) == "o"


@pytest.mark.parametrize(
    ("settlement", "state", "tries"),
    [
        (DONE, "completed", (0, 0, 0)),
        (Fail(ERROR), "failed", (0, 0, 0)),
        (RetryIn(1000, ERROR), "delayed", (1, 0, 1)),
        (SnoozeFor(1000, "busy"), "delayed", (0, 0, 1)),
        (Release("cut"), "waiting", (0, 0, 1)),
    ],
)
def test_a_job_that_was_recovered_and_not_claimed_is_settled_by_its_owner_after_all(
    wire: Wire,
    producer: Producer,
    session: Session,
    other: Session,
    settlement: Settlement,
    state: str,
    tries: tuple[int, int, int],
) -> None:
    producer.add("a")
    (run,) = session.claim()
    for _ in range(4):
        wire.pass_time(LEASE // 3)
        other.renew()
    wire.recover()
    assert (wire.ids("waiting"), wire.tries("a")) == (["a"], (0, 1, 1))
    assert session.settle(run, settlement) == "o"
    places = ("waiting", "active", "delayed", "completed", "failed")
    assert [place for place in places if wire.ids(place)] == [state]
    assert wire.tries("a") == tries


def test_a_late_copy_of_a_renewal_gives_nothing_back_to_a_session_that_left(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b")
    recovered, held = session.claim(2)
    pass_lease(wire, other)
    assert wire.recover().count == 2
    assert session.renew(held) == "k"
    session.leave()
    assert session.renew(recovered, held) == "ll"
    assert wire.ids("waiting") == ["a"]
    assert [name for name, _ in wire.client.zscan_iter(wire.keys["sessions"])] == [b"t"]


def test_a_late_copy_of_an_entry_lists_no_session_that_left(wire: Wire, session: Session, other: Session) -> None:
    """Nor does its lease, which the others would have to take."""
    late = lease.enter(wire.keys, session.name, "host:s", "host", 7, 2 * LEASE)
    session.leave()
    before = wire.everything()
    assert wire(late) == LEASE
    assert wire.everything() == before
    assert [name for name, _ in wire.client.zscan_iter(wire.keys["sessions"])] == [b"t"]


# P13, P14


@pytest.mark.parametrize("way", ["due", "promoted", "retried", "snoozed", "cancelled and retried"])
def test_a_delayed_job_keeps_its_priority(wire: Wire, producer: Producer, session: Session, way: str) -> None:
    producer.add("before", priority=6)
    producer.add("after", priority=8)
    if way in ("retried", "snoozed"):
        producer.add("a", priority=7)
        before, run = session.claim(2)
        settlement = RetryIn(1000, ERROR) if way == "retried" else SnoozeFor(1000, "busy")
        wire(session.trip((run, settlement), (before, Release())))
    else:
        producer.add("a", priority=7, delay=1)
    if way == "promoted":
        assert producer(steer.promote(wire.keys, "a"))
    elif way == "cancelled and retried":
        assert producer(steer.cancel(wire.keys, "a")) == "cancelled"
        assert producer(steer.retry(wire.keys, "a"))
    else:
        wire.pass_time(1000)
    assert [run.id for run in session.claim(3)] == ["before", "a", "after"]


@pytest.mark.parametrize("priority", [-1000, -1, 0, 1, 1000])
def test_a_lifo_job_keeps_its_priority(wire: Wire, producer: Producer, session: Session, priority: int) -> None:
    producer.add("plain", priority=priority)
    producer.add("a", priority=priority, lifo=True)
    if priority > -1000:
        producer.add("sooner", priority=priority - 1)
        session.claim()
    (run,) = session.claim()
    assert run.id == "a"
    assert session.settle(run, Fail(ERROR)) == "o"
    assert wire.client.hget(wire.keys.family("outcome") + "a", "priority") == str(priority).encode()
    assert producer(steer.retry(wire.keys, "a"))
    assert wire.ids("waiting") == ["plain", "a"]


# P15


def crash(wire: Wire, session: Session, other: Session) -> None:
    session.claim()
    pass_lease(wire, other)
    assert wire.recover().count == 1


@pytest.mark.parametrize("way", ["completed", "removed", "drained", "cleaned", "obliterated", "crashed too often"])
def test_what_a_job_went_through_ends_with_it(
    wire: Wire, producer: Producer, session: Session, other: Session, way: str
) -> None:
    producer.add("a")
    crash(wire, session, other)
    crash(wire, session, other)
    assert wire.tries("a") == (0, 2, 2)
    if way == "completed":
        session.settle(session.claim()[0], DONE, keep="0")
    elif way == "removed":
        producer(steer.remove(wire.keys, "a"))
    elif way == "drained":
        producer.drive(sweep.drain(wire.keys))
    elif way == "cleaned":
        producer.drive(sweep.clean(wire.keys, "waiting"))
    elif way == "obliterated":
        producer.drive(sweep.obliterate(wire.keys))
        other.enter()
    else:
        crash(wire, session, other)
        assert wire.ids("failed") == ["a"]
        producer(steer.remove(wire.keys, "a"))
    assert producer.add("a") == ["created"]
    assert wire.tries("a") == (0, 0, 0)
    crash(wire, session, other)
    assert wire.ids("waiting") == ["a"]


def test_a_job_run_again_by_hand_begins_with_no_crashes(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    for _ in range(3):
        crash(wire, session, other)
    assert producer(steer.retry(wire.keys, "a"))
    crash(wire, session, other)
    assert wire.tries("a") == (0, 1, 1)


# P16


def test_a_paused_queue_wakes_nobody_and_spins_nobody(wire: Wire, producer: Producer, session: Session) -> None:
    producer(steer.pause(wire.keys))
    producer.add("a")
    assert not wire.token_out()
    trip = wire(session.trip(n=1))
    assert (trip.paused, trip.claimed) == (True, [])
    assert not wire.token_out()


def test_a_token_that_was_lost_with_who_took_it_is_put_out_again_by_the_next_scan(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    wire.take_token()
    assert wire.recover().count == 0
    assert wire.token_out()


def test_resume_wakes_an_idle_worker(wire: Wire, producer: Producer) -> None:
    producer(steer.pause(wire.keys))
    producer.add("a")
    producer(steer.resume(wire.keys))
    assert wire.token_out()


def test_a_delayed_job_that_is_due_before_all_others_wakes_an_idle_worker(wire: Wire, producer: Producer) -> None:
    producer.add("a", delay=60)
    assert wire.token_out()
    wire.take_token()
    producer.add("b", delay=70)
    assert not wire.token_out()
    producer.add("c", delay=50)
    assert wire.token_out()


def test_whoever_finds_less_than_it_asked_for_passes_no_token_on(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b", "c")
    producer.add("later", delay=1)
    wire.take_token()
    assert len(session.claim(2)) == 2
    assert wire.token_out()
    wire.take_token()
    assert len(session.claim(2)) == 1
    assert not wire.token_out()


def test_a_worker_with_no_free_slot_passes_the_token_on(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a")
    wire.take_token()
    assert session.claim(0) == []
    assert wire.token_out()


@pytest.mark.parametrize("way", ["recovered", "promoted", "retried", "left", "released", "retried at once"])
def test_every_move_into_waiting_wakes_an_idle_worker(
    wire: Wire, producer: Producer, session: Session, other: Session, way: str
) -> None:
    """Faults: S05."""
    if way == "promoted":
        producer.add("a", delay=60)
        wire.take_token()
        assert producer(steer.promote(wire.keys, "a"))
    else:
        producer.add("a")
        (run,) = session.claim()
        wire.take_token()
        bring_back(wire, producer, session, other, run, way)
    assert wire.token_out()
    assert wire.ids("waiting") == ["a"]


def bring_back(wire: Wire, producer: Producer, session: Session, other: Session, run: Claimed, way: str) -> None:
    if way == "recovered":
        pass_lease(wire, other)
        wire.recover()
    elif way == "retried":
        session.settle(run, Fail(ERROR))
        producer(steer.retry(wire.keys, "a"))
    elif way == "left":
        assert session.leave(run) == 1
    else:
        session.settle(run, Release() if way == "released" else RetryIn(0, ERROR))


# P17


def test_a_result_that_is_trimmed_in_the_call_that_settles_it_is_answered_as_recorded(
    wire: Wire, producer: Producer, session: Session
) -> None:
    names = [f"j{n:02}" for n in range(25)]
    producer.add(*names)
    call = session.trip(*((run, DONE) for run in session.claim(25)))
    assert wire(call).words == "o" * 25
    assert wire(call).words == "o" * 25
    assert wire.ids("completed") == names[15:]
    assert wire.client.exists(*map(wire.keys.job, names)) == 10
    assert wire(inspect.get_stats(wire.keys)).succeeded == 25


def test_jobs_that_are_kept_for_an_age_of_their_own_take_no_place_of_those_that_are_counted(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b", "c", "d")
    handed = Settles([], [], [])
    for run, keep in zip(session.claim(4), ("-", "-", "9000", "9000"), strict=True):
        handed.add(run, f"c 0 {keep} 1", b"1")
    two = ListRule((2, -1))
    assert wire(lease.pump(wire.keys, "s", "host:s", "0", next(session.numbers), handed, 0, (), two)).words == "oooo"
    assert wire.ids("completed") == ["a", "b", "c", "d"]


def test_a_job_whose_own_age_is_over_is_gone_for_everybody_who_steers_it(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    session.settle(session.claim()[0], DONE, keep="9000")
    assert producer(steer.cancel(wire.keys, "a")) == "finished"
    wire.pass_time(9000)
    assert producer(steer.cancel(wire.keys, "a")) == "missing"
    assert not producer(steer.retry(wire.keys, "a"))
    assert not producer(steer.remove(wire.keys, "a"))


# P20


def test_keys_that_every_claim_writes_are_no_flat_lists(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a")
    session.claim()
    assert wire.client.object("encoding", wire.keys["active"]) == b"skiplist"
    assert wire.client.object("encoding", wire.keys["leases"]) == b"hashtable"


# P21


def test_a_queue_s_numbers_leave_the_sentinel_out(wire: Wire, producer: Producer, session: Session) -> None:
    def active() -> int:
        return wire(inspect.get_stats(wire.keys)).active

    assert active() == 0
    producer.add("a")
    assert active() == 0
    (run,) = session.claim()
    assert active() == 1
    session.settle(run, DONE)
    assert active() == 0


# P22


def test_the_same_id_twice_in_one_add_makes_one_job(wire: Wire, producer: Producer) -> None:
    assert producer.add("a", "b", "a") == ["created", "created", "duplicate"]
    assert wire.ids("waiting") == ["a", "b"]


@pytest.mark.parametrize("how", ["its worker", "its process"])
def test_a_job_that_somebody_ran_waits_no_more_since_before_that_run(
    wire: Wire, producer: Producer, session: Session, how: str
) -> None:
    """Else a worker that can't run it would find its wait for another one over, though one was there."""
    producer.add("a")
    (run,) = session.claim()
    session.settle(run, SnoozeFor(0, "waits for a worker that can run it: one with a key"))
    (run,) = session.claim()
    assert run.note
    if how == "its worker":
        while not wire.recover().count:
            wire.pass_time(LEASE // 3)
    else:
        session.settle(run, Crash())
    (run,) = session.claim()
    assert (run.note, run.crashes) == ("", 1)

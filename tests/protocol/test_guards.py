"""Outages, clocks that jump, a full server, keys that are not ours and envelopes that are gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError
from tests.protocol.driver import ERROR, LEASE, Session

from redqueue.core import inspect, lease, steer, sweep
from redqueue.core.lease import ListRule
from redqueue.core.lifecycle import Complete, Fail, Release, RetryIn, SnoozeFor

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.protocol.driver import Producer, Wire

    from redqueue.core.lease import Claimed
    from redqueue.core.lifecycle import Settlement
    from redqueue.core.report import Kind

DONE = Complete(b"1")
HALF = LEASE // 2
HOUR = 3_600_000
LATEST_BEAT = LEASE // 3 + LEASE // 30
"""A third of a lease and 10 %: how late a renewal may be, and a scan."""


def pass_lease(wire: Wire, living: Session) -> None:
    """Let every lease end while somebody touches the guard."""
    for _ in range(4):
        wire.pass_time(LEASE // 3)
        living.renew()


# An outage of Redis


def test_after_an_outage_of_half_a_lease_recovery_goes_on_and_the_living_have_time_to_renew(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    (run,) = session.claim()
    wire.pass_time(LATEST_BEAT)  # the session was just about to renew
    other.renew()
    wire.pass_time(HALF)
    assert (wire.recover().count, wire.recover().hold_ms) == (0, 0)
    left = wire.deadline("a") - wire.now
    assert left == LEASE - LATEST_BEAT - HALF
    # A renewal waits a fifteenth for its turn, and at most another one for its answer.
    assert left >= 2 * LEASE // 15
    wire.pass_time(left - 1)
    assert wire.recover().count == 0
    assert session.renew(run) == "k"


@pytest.mark.parametrize("outage", [HALF + 1, LEASE, 2 * LEASE, HOUR])
def test_after_a_longer_outage_recovery_holds_until_the_living_have_renewed(
    wire: Wire, producer: Producer, session: Session, other: Session, outage: int
) -> None:
    producer.add("living", "dead")
    (run,), _ = session.claim(), other.claim()
    wire.pass_time(outage)
    scan = wire.recover()
    assert (scan.count, scan.hold_ms) == (0, HALF)
    wire.pass_time(HALF - 1)
    assert wire.recover().count == 0
    assert session.renew(run) == "k"
    wire.pass_time(1)
    assert wire.recover().count == 1
    assert wire.ids("waiting") == ["dead"]


def test_the_hold_is_not_prolonged_by_scans_that_follow_each_other(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    session.claim()
    wire.pass_time(HOUR)
    holds = []
    for _ in range(4):
        holds.append(wire.recover().hold_ms)
        wire.pass_time(HALF // 3)
    assert holds == [HALF, HALF * 2 // 3, HALF // 3, 0]
    assert wire.ids("waiting") == ["a"]


def test_a_job_whose_holder_is_known_dead_is_recovered_during_the_hold(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b")
    session.claim(2)
    wire.client.zadd(wire.keys["active"], {"a": 0})
    wire.pass_time(HOUR)
    scan = wire.recover()
    assert (scan.count, scan.hold_ms) == (1, HALF)
    assert wire.ids("waiting") == ["a"]
    session.renew()


def test_a_dead_worker_s_job_is_recovered_within_41_s_while_another_one_lives(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a")
    session.claim()
    died = wire.now
    while not wire.recover().count:
        wire.pass_time(LATEST_BEAT)
        other.renew()
    assert wire.now - died <= 1.37 * LEASE + LATEST_BEAT - LEASE // 3
    assert wire.ids("waiting") == ["a"]


@pytest.mark.parametrize("after", [0, 10_000, HALF, LEASE, HOUR])
def test_a_dead_worker_s_job_is_recovered_within_45_s_when_the_next_one_starts(
    wire: Wire, producer: Producer, session: Session, after: int
) -> None:
    producer.add("a")
    session.claim()
    died = wire.now
    wire.pass_time(after)
    started = wire.now
    successor = Session(wire, "u")
    successor.enter()
    while not (scan := wire.recover()).count:
        wire.pass_time(min(LEASE // 3, scan.hold_ms or LEASE))
        successor.renew()
    assert wire.now <= max(started + HALF, died + 1.5 * LEASE)


# Clocks


def test_a_clock_that_goes_back_takes_no_job_from_the_living_and_keeps_none_for_the_dead(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("living", "dead")
    (run,), _ = session.claim(), other.claim()
    wire.pass_time(-HOUR)
    assert sorted(wire.audit()) == [
        "active dead: its deadline is more than two leases away",
        "active living: its deadline is more than two leases away",
        "meta: hold is more than half a lease away",
        "meta: seen is in the future",
    ]
    scan = wire.recover()
    assert (scan.count, scan.hold_ms) == (0, HALF)
    assert wire.audit() == []
    assert wire.deadline("dead") == wire.now + LEASE
    stepped = wire.now
    while not wire.recover().count:
        wire.pass_time(LEASE // 3)
        assert session.renew(run) == "k"
    assert wire.now - stepped <= 1.5 * LEASE
    assert (wire.ids("waiting"), wire.ids("active")) == (["dead"], ["living"])


def test_a_clock_that_went_back_holds_recovery_as_an_outage_does(wire: Wire, session: Session) -> None:
    wire.pass_time(HALF)
    assert wire.recover().hold_ms == 0
    wire.pass_time(-1)
    assert wire.recover().hold_ms == HALF
    assert wire.recover().hold_ms == HALF
    wire.pass_time(HALF)
    assert wire.recover().hold_ms == 0


def test_a_fence_is_the_clock_in_microseconds_or_one_more_than_the_last(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b", "c", "d")
    first = wire.now * 1000
    fences = [session.claim()[0].fence, session.claim()[0].fence]
    wire.pass_time(-HOUR)
    fences.append(session.claim()[0].fence)
    assert fences == [first, first + 1, first + 2]
    wire.pass_time(HOUR + 1)
    assert session.claim()[0].fence == first + 1000
    wire.pass_time(1)
    assert session.claim() == []  # draws none
    assert wire.client.hget(wire.keys["meta"], "fence") == str(first + 1000).encode()


def test_a_clock_that_goes_forward_takes_no_job_from_the_living(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    (run,) = session.claim()
    wire.pass_time(HOUR)
    assert wire.recover().count == 0
    assert session.renew(run) == "k"
    wire.pass_time(HALF)
    assert wire.recover().count == 0
    assert session.settle(run, DONE) == "o"


def test_deadlines_that_would_never_come_are_cut_a_hundred_a_scan(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add(*[f"j{n:03}" for n in range(250)])
    session.claim(250)
    wire.pass_time(-HOUR)

    def far() -> int:
        count: int = wire.client.zcount(wire.keys["active"], wire.now + 2 * LEASE, "(+inf")
        return count

    seen = [far()]
    while seen[-1]:
        wire.recover()
        seen.append(far())
    assert seen == [250, 150, 50, 0]


def test_a_scan_trims_by_the_rule_that_the_queue_was_given_last(
    wire: Wire, producer: Producer, session: Session
) -> None:
    rule = ListRule((60, HOUR), (70, 2 * HOUR))
    producer.add(*(f"j{n}" for n in range(80)))
    runs = session.claim(64)
    ends: list[Settlement] = [*[DONE] * 12, *[Fail(ERROR)] * 52]
    wire(session.trip(*zip(runs, ends, strict=True), rule=rule))
    for n in range(64, 80):
        producer(steer.cancel(wire.keys, f"j{n}"))

    def scan_after(ms: int) -> list[int]:
        wire.pass_time(ms)
        wire.recover()
        return [len(wire.ids(state)) for state in ("completed", "failed", "cancelled")]

    assert scan_after(HOUR - 1) == [12, 52, 16]
    assert scan_after(1) == [0, 52, 16]
    assert scan_after(HOUR - 1) == [0, 52, 16]
    assert scan_after(1) == [0, 0, 0]


def test_a_deadline_two_leases_away_is_cut_and_a_nearer_one_is_not(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    session.claim()
    deadline = wire.deadline("a")
    wire.pass_time(1 - LEASE)
    wire.recover()
    assert wire.deadline("a") == deadline
    wire.pass_time(-1)
    wire.recover()
    assert wire.deadline("a") == wire.now + LEASE


def test_a_hold_is_never_longer_than_half_the_lease_that_a_queue_has_now(wire: Wire) -> None:
    Session(wire, "slow").enter(600_000)
    Session(wire, "slow").leave()
    quick = Session(wire, "quick")
    assert quick.enter(10_000) == 10_000
    assert wire.recover().hold_ms == 5_000


# Crashes


def test_a_job_that_is_given_up_again_and_again_before_it_starts_counts_as_crashed_in_the_end(
    wire: Wire, producer: Producer, other: Session
) -> None:
    producer.add("a")
    tries = []
    for life in range(7):
        dying = Session(wire, f"dies{life}")
        dying.enter()
        (run,) = dying.claim()
        wire(dying.trip(unstarted=[run]))
        pass_lease(wire, other)
        wire.recover()
        tries.append(wire.tries("a"))
    assert tries == [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 0, 5), (0, 1, 6), (0, 2, 7)]


def test_what_is_listed_as_not_started_is_taken_by_its_place_in_the_claim(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b", "c", "d", "e")
    runs = session.claim(5)
    wire(session.trip(unstarted=(runs[1], runs[3])))
    pass_lease(wire, other)
    wire.recover()
    assert [wire.tries(one) for one in "abcde"] == [(0, 1, 1), (0, 0, 1), (0, 1, 1), (0, 0, 1), (0, 1, 1)]


def test_an_active_job_without_a_lease_counts_a_crash_and_joins_the_end(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("z", "b", priority=5)
    session.claim(2)
    producer.add("c")
    wire.client.hdel(wire.keys["leases"], "z")
    pass_lease(wire, other)
    wire.recover()
    producer.add("a")
    assert wire.ids("waiting") == ["c", "z", "a", "b"]
    assert wire.tries("z") == (0, 1, 1)


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_an_active_job_without_a_lease_ends_without_a_priority(
    wire: Wire, producer: Producer, session: Session, other: Session, state: str
) -> None:
    producer.add("a", priority=5)
    session.claim()
    if state == "cancelled":
        producer(steer.cancel(wire.keys, "a"))
    wire.client.hdel(wire.keys["leases"], "a")
    pass_lease(wire, other)
    wire.recover(max_crashes=1)
    assert wire.ids(state) == ["a"]
    assert wire.client.hget(wire.keys.family("outcome") + "a", "priority") == b"0"


@pytest.mark.parametrize(("started", "crashes"), [(True, 2), (False, 1)])
def test_a_worker_that_was_only_slow_takes_its_own_crash_back_and_no_other(
    wire: Wire, producer: Producer, session: Session, other: Session, started: bool, crashes: int
) -> None:
    producer.add("a")
    session.claim()
    pass_lease(wire, other)
    wire.recover()
    (run,) = other.claim()
    wire(other.trip(unstarted=() if started else (run,)))
    pass_lease(wire, session)
    wire.recover()
    assert wire.tries("a") == (0, crashes, 2)
    assert other.renew(run) == "k"
    assert wire.tries("a") == (0, 1, 2)


def test_a_worker_that_leaves_gives_only_back_what_it_holds(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    """Faults: D09."""
    producer.add("a", "b", "c")
    runs = session.claim(3)
    pass_lease(wire, other)
    wire.recover()
    assert session.renew(runs[0]) == "k"
    (taken,) = other.claim()
    assert taken.id == "b"
    assert session.leave(*runs) == 1
    assert (wire.ids("waiting"), wire.ids("active")) == (["a", "c"], ["b"])
    # The last lease of what was recovered before is left as it is: a crash was counted.
    assert wire.tries("c") == (0, 1, 1)


def test_a_call_of_a_worker_that_left_is_not_carried_out_however_late_it_comes(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a")
    late = session.trip(n=1)
    session.leave()
    before = wire.everything()
    assert wire(late).stale
    assert wire.everything() == before


def test_the_marks_of_a_worker_that_left_stay_for_ten_minutes(wire: Wire, session: Session) -> None:
    session.leave()
    assert wire.client.ttl(wire.keys.session(session.name)) == 600


def test_a_session_lives_for_an_hour_after_it_was_seen_last(wire: Wire, session: Session, other: Session) -> None:
    wire.client.persist(wire.keys.session(session.name))
    session.renew()
    assert wire.client.ttl(wire.keys.session(session.name)) == 3600
    for wait, names in ((HOUR - 1, [b"s", b"t"]), (1, [b"t"])):
        wire.pass_time(wait)
        other.renew()
        assert wire.client.zrange(wire.keys["sessions"], 0, -1) == names


def test_what_a_worker_does_not_give_back_when_it_leaves_counts_as_started(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    """It knows no more what it had not started."""
    producer.add("a")
    runs = session.claim()
    wire(session.trip(unstarted=runs))
    session.leave()
    pass_lease(wire, other)
    wire.recover()
    assert wire.tries("a") == (0, 1, 1)


# What one call may hold


def test_a_run_that_is_settled_twice_in_one_call_ends_once(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a")
    (run,) = session.claim()
    trip = wire(session.trip((run, DONE), (run, Fail(ERROR))))
    assert trip.words == "ol"
    assert (wire.ids("completed"), wire.ids("failed")) == (["a"], [])
    assert wire(inspect.get_stats(wire.keys)).succeeded == 1


# Leases of different lengths


def test_a_queue_that_nobody_has_entered_has_the_lease_of_every_default(wire: Wire, producer: Producer) -> None:
    scan = wire.recover()
    assert (scan.count, scan.hold_ms) == (0, HALF)
    assert wire(lease.renew(wire.keys, "s", ())).lease_ms == LEASE
    producer.add("a")
    trip = wire(Session(wire).trip(n=1))
    assert (trip.lease_ms, wire.deadline("a")) == (LEASE, wire.now + LEASE)


def test_a_worker_with_a_short_lease_beside_one_with_a_long_lease_loses_nothing(wire: Wire, producer: Producer) -> None:
    slow, quick = Session(wire, "slow"), Session(wire, "quick")
    assert quick.enter(5_000) == 5_000
    producer.add("a", "b")
    (a,) = quick.claim()
    assert wire.deadline("a") == wire.now + 5_000
    assert slow.enter(60_000) == 60_000
    (b,) = slow.claim()
    # The quick one hears of it with its next renewal, which comes by the lease that it knows.
    wire.pass_time(5_000 // 3)
    assert wire(lease.renew(wire.keys, "quick", [a])).lease_ms == 60_000
    for _ in range(9):
        wire.pass_time(20_000)
        assert (quick.renew(a), slow.renew(b), wire.recover().count) == ("k", "k", 0)


def test_the_lease_gets_shorter_again_when_nobody_lives_who_asked_for_the_longer_one(wire: Wire) -> None:
    assert Session(wire, "slow").enter(60_000) == 60_000
    wire.pass_time(120_001)
    assert Session(wire, "quick").enter(5_000) == 5_000


def test_a_queue_that_is_removed_under_its_workers_gets_the_longest_lease_that_they_asked_for_again(
    wire: Wire, producer: Producer
) -> None:
    short, long, gone = Session(wire, "short"), Session(wire, "long"), Session(wire, "gone")
    short.enter(10_000)
    long.enter(20_000)
    gone.enter(40_000)
    gone.leave()
    producer.drive(sweep.obliterate(wire.keys))
    lengths = [wire(lease.renew(wire.keys, one.name, [])).lease_ms for one in (short, long, gone, short)]
    assert lengths == [10_000, 20_000, 20_000, 20_000]
    producer.add("a")
    short.claim()
    assert wire.deadline("a") == wire.now + 20_000


def test_a_renewal_makes_no_lease_shorter(wire: Wire) -> None:
    short, long = Session(wire, "short"), Session(wire, "long")
    long.enter(40_000)
    short.enter(10_000)
    assert wire(lease.renew(wire.keys, "short", [])).lease_ms == 40_000


def test_a_worker_that_left_does_not_keep_the_lease_long(wire: Wire) -> None:
    slow = Session(wire, "slow")
    slow.enter(60_000)
    slow.leave()
    assert Session(wire, "quick").enter(5_000) == 5_000


# A full server


def test_an_add_to_a_full_server_is_refused_as_a_whole(wire: Wire, producer: Producer) -> None:
    """Faults: R01."""
    producer.add("known")
    before = wire.everything()
    call = producer.prepare_add("known", *[f"j{n}" for n in range(100)])
    with wire.full(), pytest.raises(ResponseError, match="maxmemory"):
        wire(call)
    assert wire.everything() == before
    assert [stored.answer for stored in wire(call)] == ["duplicate"] + ["created"] * 100


@pytest.mark.parametrize(
    ("settlement", "state"),
    [
        (DONE, "completed"),
        (Fail(ERROR), "failed"),
        (RetryIn(1000, ERROR), "delayed"),
        (RetryIn(0, ERROR), "waiting"),
        (SnoozeFor(1000, "busy"), "delayed"),
        (Release(), "waiting"),
    ],
)
def test_a_full_server_takes_outcomes_and_hands_out_jobs(
    wire: Wire, producer: Producer, session: Session, settlement: Settlement, state: str
) -> None:
    producer.add("a", priority=5)
    producer.add("b", priority=9)
    producer.add("later", delay=1)
    (run,) = session.claim()
    wire.pass_time(1000)
    with wire.full():
        trip = wire(session.trip((run, settlement), n=1))
    assert (trip.words, [one.id for one in trip.claimed]) == ("o", ["later"])
    assert "a" in wire.ids(state)


@pytest.mark.parametrize("kind", ["p", "s", "l"])
def test_a_full_server_takes_what_a_run_tells_of_itself(
    wire: Wire, producer: Producer, session: Session, kind: Kind
) -> None:
    producer.add("a")
    (run,) = session.claim()
    reports = lease.Reports((run,), (kind,), (b"1",))
    with wire.full():
        trip = wire(lease.pump(wire.keys, "s", "host:s", "0", 9, lease.Settles([], [], []), 0, (), ListRule(), reports))
    assert trip.told == "o"


def test_a_full_server_hands_out_the_first_job_of_all(wire: Wire, producer: Producer) -> None:
    producer.add("a")
    session = Session(wire)
    with wire.full():
        session.enter()
        assert [run.id for run in session.claim()] == ["a"]


def lose(wire: Wire, session: Session, other: Session) -> list[Claimed]:
    """Two jobs whose leases end."""
    runs = session.claim(2)
    pass_lease(wire, other)
    return runs


def test_a_full_server_recovers_and_gives_back_to_who_was_only_slow(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b")
    runs = lose(wire, session, other)
    producer(steer.cancel(wire.keys, "b", "not wanted"))
    with wire.full():
        assert wire.recover().count == 2
        assert session.renew(*runs) == "kl"
    assert (wire.ids("active"), wire.ids("cancelled")) == (["a"], ["b"])


def test_a_full_server_fails_what_crashed_too_often(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b")
    lose(wire, session, other)
    with wire.full():
        assert wire.recover(max_crashes=1).crashed == ["a", "b"]
    assert wire.ids("failed") == ["a", "b"]


def test_a_worker_can_leave_a_full_server(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    runs = session.claim(2)
    producer(steer.cancel(wire.keys, "b", "not wanted"))
    with wire.full():
        assert session.leave(*runs) == 2
    assert (wire.ids("waiting"), wire.ids("cancelled")) == (["a"], ["b"])


def test_a_full_server_can_be_steered(wire: Wire, producer: Producer, session: Session) -> None:
    keys = wire.keys
    producer.add("active", "waiting", "w1", "w2")
    producer.add("delayed", "promoted", "d1", delay=60)
    session.claim()
    with wire.full():
        assert producer(steer.cancel(keys, "active")) == "requested"
        assert producer(steer.cancel(keys, "waiting")) == "cancelled"
        assert producer(steer.cancel(keys, "delayed")) == "cancelled"
        assert producer(steer.cancel(keys, "nobody")) == "missing"
        assert producer(steer.retry(keys, "waiting"))
        assert producer(steer.promote(keys, "promoted"))
        assert producer(steer.remove(keys, "promoted"))
        producer(steer.pause(keys))
        producer(steer.resume(keys))
        assert producer.drive(sweep.clean(keys, "cancelled")) == 1
        assert producer.drive(sweep.drain(keys, delayed=True)) == 4
        assert wire(inspect.get_stats(keys)).active == 1
        assert producer.drive(sweep.obliterate(keys, force=True)) == 1
    session.enter()


def test_a_full_server_is_drained_by_its_workers(wire: Wire, producer: Producer, session: Session) -> None:
    """Faults: R01."""
    producer.add(*[f"j{n:03}" for n in range(300)])
    runs: list[Claimed] = []
    with wire.full():
        while True:
            trip = wire(session.trip(*((run, DONE) for run in runs), n=50))
            assert trip.words == "o" * len(runs)
            if not (runs := trip.claimed):
                break
            assert session.renew(*runs) == "k" * len(runs)
    assert wire(inspect.get_stats(wire.keys)).succeeded == 300


# Envelopes that are gone, as a server that evicts keys makes them


def lose_envelopes(wire: Wire, *ids: str) -> None:
    wire.client.delete(*map(wire.keys.job, ids))


def test_a_job_whose_envelope_is_gone_is_not_claimed_and_leaves_nothing(
    wire: Wire, producer: Producer, session: Session
) -> None:
    """Faults: R02."""
    producer.add("retried", "gone", "there")
    session.settle(session.claim()[0], RetryIn(0, ERROR))
    lose_envelopes(wire, "retried", "gone")
    assert [run.id for run in session.claim(3)] == ["there"]
    assert wire.audit() == []


def test_a_running_job_whose_envelope_is_gone_is_recovered_to_nothing(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b")
    session.settle(session.claim()[0], RetryIn(0, ERROR))
    lose(wire, session, other)
    lose_envelopes(wire, "a")
    assert wire.recover().count == 2
    assert wire.ids("waiting") == ["b"]


def test_a_claim_sent_again_leaves_out_what_has_no_envelope(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    call = session.trip(n=2)
    wire(call)
    lose_envelopes(wire, "a")
    (run,) = wire(call).claimed
    assert (run.id, run.position) == ("b", 2)
    assert session.settle(run, DONE) == "o"
    wire.expected_findings = ["active a: its job key is missing"]


# Keys that are not ours


@pytest.mark.parametrize(
    ("call", "keys"),
    [
        ("add", "meta"),
        ("enter", "meta leases sessions"),
        ("claim", "meta waiting delayed active"),
        ("settle", "meta active leases cancels"),
        ("renew", "meta active leases cancels"),
        ("recover", "meta active leases completed failed cancelled expiring"),
        ("leave", "leases cancels sessions"),
        ("cancel", "meta waiting leases tries"),
        ("promote", "meta delayed parked leases"),
        ("remove", "waiting leases"),
        ("pause", "meta leases"),
        ("resume", "meta leases waiting wake"),
        ("obliterate", "meta leases"),
    ],
)
def test_a_key_of_another_type_that_is_read_before_the_first_write_stops_a_call_before_it(
    wire: Wire, producer: Producer, session: Session, other: Session, call: str, keys: str
) -> None:
    for key in keys.split():
        wire.client.flushdb()
        wire.set_clock(wire.now)
        session.enter()
        other.enter()
        producer.add("active", "cancelled", "waiting", "w2")
        producer.add("delayed", priority=3, delay=60)
        runs = session.claim(2)
        producer(steer.cancel(wire.keys, "cancelled"))
        pass_lease(wire, other)
        kept = wire.client.dump(wire.keys[key])
        wire.client.delete(wire.keys[key])
        wire.client.setbit(wire.keys[key], 0, 1)
        before = wire.everything()
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            make(call, wire, producer, session, runs)
        assert wire.everything() == before, key
        wire.client.delete(wire.keys[key])
        if kept is not None:
            wire.client.restore(wire.keys[key], 0, kept)


def make(call: str, wire: Wire, producer: Producer, session: Session, runs: list[Claimed]) -> None:
    keys = wire.keys
    acts: dict[str, Callable[[], object]] = {
        "add": lambda: producer.add("new", "newer"),
        "enter": lambda: Session(wire, "u").enter(),
        "claim": lambda: session.claim(2),
        "settle": lambda: session.settle(runs[0], DONE),
        "renew": lambda: session.renew(*runs),
        "recover": wire.recover,
        "leave": lambda: session.leave(*runs),
        "cancel": lambda: producer(steer.cancel(keys, "waiting")),
        "promote": lambda: producer(steer.promote(keys, "delayed")),
        "remove": lambda: producer(steer.remove(keys, "waiting")),
        "pause": lambda: producer(steer.pause(keys)),
        "resume": lambda: producer(steer.resume(keys)),
        "obliterate": lambda: producer.drive(sweep.obliterate(keys, force=True)),
    }
    acts[call]()

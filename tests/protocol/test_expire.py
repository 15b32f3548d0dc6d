"""A session whose process is known to have ended: what it held goes at once, and nothing of it comes late."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ResponseError
from tests.protocol.driver import LEASE, Session

from redqueue.core import inspect, lease, steer
from redqueue.core.lifecycle import Complete

if TYPE_CHECKING:
    from tests.protocol.driver import Producer, Wire

DONE = Complete(b"1")
LANES = ("0", "1")


def expire(wire: Wire, session: Session, max_crashes: int = 3) -> int:
    """What a supervisor sends."""
    return wire.drive(lease.expire_session(wire.keys, session.name, LANES, max_crashes))


def test_jobs_of_the_dead_go_back_at_once_and_nobody_elses_do(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b", "c", "d")
    session.claim(2)
    runs = other.claim(2)
    wire.take_token()
    assert expire(wire, session) == 2
    assert (wire.ids("waiting"), wire.ids("active")) == (["a", "b"], ["c", "d"])
    assert wire.token_out()
    assert {wire.deadline(run.id) for run in runs} == {wire.now + LEASE}
    assert other.renew(*runs) == "kk"


def test_a_session_whose_name_begins_like_the_dead_ones_keeps_its_jobs(wire: Wire, producer: Producer) -> None:
    dead, alike = Session(wire, "s"), Session(wire, "s1")
    dead.enter()
    alike.enter()
    producer.add("a", "b")
    dead.claim()
    (run,) = alike.claim()
    assert expire(wire, dead) == 1
    assert alike.renew(run) == "k"


def test_a_hold_after_an_outage_does_not_keep_what_is_known_dead(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    producer.add("a", "b")
    session.claim()
    other.claim()
    wire.pass_time(2 * LEASE)
    assert wire.recover().hold_ms > 0
    assert expire(wire, session) == 1
    assert (wire.ids("waiting"), wire.ids("active")) == (["a"], ["b"])


def test_only_what_had_been_started_counts_as_crashed(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b", "c")
    runs = session.claim(3)
    wire(session.trip(unstarted=runs[1:]))
    expire(wire, session)
    assert [wire.tries(name) for name in "abc"] == [(0, 1, 1), (0, 0, 1), (0, 0, 1)]


def test_a_job_that_ends_its_worker_too_often_fails(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    runs = session.claim(2)
    wire(session.trip(unstarted=runs[1:]))
    expire(wire, session, max_crashes=1)
    assert (wire.ids("failed"), wire.ids("waiting")) == (["a"], ["b"])


def test_a_job_that_was_to_be_cancelled_ends_so(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a")
    session.claim()
    producer(steer.cancel(wire.keys, "a", "not wanted"))
    assert expire(wire, session) == 1
    assert wire.ids("cancelled") == ["a"]


def test_no_call_of_the_dead_is_carried_out_however_late_it_comes(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b")
    runs = session.claim(2)
    late = [session.trip((runs[0], DONE), n=5, lane=lane) for lane in LANES]
    expire(wire, session)
    before = wire.everything()
    assert [wire(call).stale for call in late] == [True, True]
    assert wire.everything() == before
    assert session.renew(*runs) == "ll"
    assert session.leave(*runs) == 0
    assert (wire.ids("waiting"), wire.ids("completed")) == (["a", "b"], [])
    assert wire.client.zscore(wire.keys["sessions"], session.name) is None
    assert 0 < wire.client.ttl(wire.keys.session(session.name)) <= 3600


def test_a_late_renewal_before_the_scan_saves_nothing(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a")
    runs = session.claim()
    cursor, count = wire(lease.expire(wire.keys, session.name, LANES, "0"))
    assert (cursor, count, wire.deadline("a")) == ("0", 1, 0)
    assert session.renew(*runs) == "l"
    assert wire.deadline("a") == 0
    wire.recover()


def test_it_may_be_sent_again(wire: Wire, producer: Producer, session: Session, other: Session) -> None:
    producer.add("a", "b")
    session.claim()
    call = lease.expire(wire.keys, session.name, LANES, "0")
    assert [wire(call), wire(call)] == [("0", 1), ("0", 1)]
    wire.recover()
    (run, _) = other.claim(2)
    assert (run.id, wire(call)) == ("a", ("0", 0))
    assert other.renew(run) == "k"


def test_a_session_that_holds_nothing_is_closed(wire: Wire, producer: Producer, session: Session) -> None:
    assert expire(wire, session) == 0
    producer.add("a")
    assert wire(session.trip(n=1)).stale


def test_fifteen_hundred_jobs_are_found_page_by_page(
    wire: Wire, producer: Producer, session: Session, other: Session
) -> None:
    names = [f"j{n:04}" for n in range(3000)]
    for start in range(0, 3000, 1000):
        producer.add(*names[start : start + 1000])
    mine: list[str] = []
    for _ in range(3):
        runs = session.claim(500)
        mine += [run.id for run in runs]
        wire(session.trip(unstarted=runs))
        other.claim(500)
    pages = 0
    cursor, count = "0", 0
    while pages == 0 or cursor != "0":
        cursor, more = wire(lease.expire(wire.keys, session.name, LANES, cursor))
        assert more <= 1000
        count += more
        pages += 1
    assert pages >= 5
    assert count >= 1500
    assert expire(wire, session) == 1500
    assert wire.ids("waiting") == mine
    assert len(wire.ids("active")) == 1500


def test_it_works_on_a_full_server(wire: Wire, producer: Producer, session: Session) -> None:
    producer.add("a", "b")
    session.claim(2)
    with wire.full():
        assert expire(wire, session) == 2
    assert wire.ids("waiting") == ["a", "b"]


@pytest.mark.parametrize("key", ["active", "leases"])
def test_a_key_of_another_type_stops_it_before_the_first_write(
    wire: Wire, producer: Producer, session: Session, key: str
) -> None:
    producer.add("a")
    session.claim()
    kept = wire.client.dump(wire.keys[key])
    wire.client.delete(wire.keys[key])
    wire.client.setbit(wire.keys[key], 0, 1)
    before = wire.everything()
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        expire(wire, session)
    assert wire.everything() == before
    wire.client.delete(wire.keys[key])
    wire.client.restore(wire.keys[key], 0, kept)


def test_the_dead_is_no_worker_any_more_and_its_marks_stay_for_ten_minutes(
    wire: Wire, session: Session, other: Session
) -> None:
    expire(wire, session)
    assert wire(inspect.get_stats(wire.keys)).workers == 1
    assert wire.client.ttl(wire.keys.session(session.name)) == 600


def test_an_active_job_without_a_lease_is_nobodys_and_does_not_stop_it(
    wire: Wire, producer: Producer, session: Session
) -> None:
    producer.add("a", "b")
    session.claim(2)
    wire.client.hdel(wire.keys["leases"], "a")
    assert wire(lease.expire(wire.keys, session.name, LANES, "0")) == ("0", 1)
    for _ in range(4):
        wire.pass_time(LEASE // 3)
        wire.recover_all()
    assert sorted(wire.ids("waiting")) == ["a", "b"]

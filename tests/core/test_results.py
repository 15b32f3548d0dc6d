"""What events and looks say to those who wait for results."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import results, steer
from redqueue.core.add import add, prepare
from redqueue.core.events import Entry, EntryId, Tail, after, read_id, tail
from redqueue.core.lease import ListRule
from redqueue.core.lifecycle import Complete, Fail, RetryIn
from redqueue.core.results import GONE, Ending, Seen, Waiter, Watch, value_of
from redqueue.errors import CorruptEnvelope, JobCancelled, JobFailed, RedisRefused, ResultGone, ResultTimeout

if TYPE_CHECKING:
    from tests.core.conftest import World

ERROR = b'{"type":"ValueError","message":"no","traceback":"Traceback ..."}'
NOTHING_KEPT = ListRule((0, -1), (0, -1))
LARGE = b'"' + b"x" * 5000 + b'"'


# Values and exceptions


def test_a_result_is_decoded_for_each_who_waits() -> None:
    ending = Ending("completed", b'{"n":[1]}')
    first, second = value_of("a", ending), value_of("a", ending)
    assert first == second == {"n": [1]}
    assert first is not second
    assert value_of("a", Ending("completed")) is None


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        (b"{", "Input data was truncated"),
        (b"\xff", "JSON is malformed: invalid character (byte 0)"),
        (b"[" * 100_000, "JSON is nested deeper than 256"),
        (b"9" * 5_000, "JSON holds an integer of more than 20 digits; send it as text"),
    ],
    ids=["cut", "bytes", "deep", "digits"],
)
def test_a_result_that_can_not_be_read_says_why(stored: bytes, why: str) -> None:
    with pytest.raises(CorruptEnvelope) as caught:
        value_of("a", Ending("completed", stored))
    assert str(caught.value) == f"job a: its result can't be read: {why}"


def test_a_failure_is_text() -> None:
    with pytest.raises(JobFailed) as raised:
        value_of("a", Ending("failed", ERROR, 3))
    error = raised.value
    assert (error.job_id, error.type, error.message, error.traceback, error.attempts) == (
        *("a", "ValueError", "no", "Traceback ...", 3),
    )


@pytest.mark.parametrize(("stored", "expected"), [(b"", "no longer kept"), (b"not JSON", "not JSON")])
def test_a_failure_whose_error_cannot_be_read_is_one_all_the_same(stored: bytes, expected: str) -> None:
    with pytest.raises(JobFailed, match=expected):
        value_of("a", Ending("failed", stored))


def test_the_other_ends() -> None:
    with pytest.raises(JobCancelled) as raised:
        value_of("a", Ending("cancelled", b"not wanted"))
    assert (raised.value.job_id, raised.value.reason) == ("a", "not wanted")
    with pytest.raises(ResultGone):
        value_of("a", GONE)
    with pytest.raises(ResultTimeout, match="goes on"):
        value_of("a", None)
    with pytest.raises(ResultTimeout, match="closed"):
        value_of("a", Ending("closed"))


def test_each_who_waits_gets_an_error_of_its_own() -> None:
    refused = RedisRefused("no")
    for _ in range(2):
        with pytest.raises(RedisRefused, match="no") as raised:
            value_of("a", Ending("broken", error=refused))
        assert raised.value is not refused


# Looks


def look(world: World, since: dict[str, EntryId | None]) -> dict[str, Ending | None]:
    return world.drive(results.look(world.keys, since)).endings


def stored(world: World, *ids: str) -> list[EntryId]:
    jobs = [prepare("sms", None, {"job_id": one}, {}, created_ms=0, fresh_id="") for one in ids]
    return [read_id(one.position) for one in world(add(world.keys, jobs))]


@pytest.mark.parametrize("state", ["waiting", "active"])
def test_a_job_that_did_not_end(world: World, state: str) -> None:
    world.enter()
    world.finish(state, "a")
    assert look(world, {"a": None}) == {"a": None}


def test_jobs_that_ended_and_are_kept(world: World) -> None:
    world.enter()
    for state in ("completed", "failed", "cancelled"):
        world.finish(state, state)
    assert look(world, dict.fromkeys(("completed", "failed", "cancelled", "missing"))) == {
        "completed": Ending("completed", b'{"sent":2}', 1),
        "failed": Ending("failed", ERROR.replace(b'"no"', b'"no such number"'), 1),
        "cancelled": Ending("cancelled", b"not wanted", 0),
        "missing": GONE,
    }


def test_a_job_that_is_retried_or_run_again_did_not_end(world: World) -> None:
    world.enter()
    world.add("a")
    world.run("a", RetryIn(60_000, ERROR))
    world.finish("failed", "b")
    world(steer.retry(world.keys, "b", fresh=False))
    assert look(world, {"a": None, "b": None}) == {"a": None, "b": None}


def test_a_look_says_until_when_it_is_true(world: World) -> None:
    (position,) = stored(world, "a")
    assert world.drive(results.look(world.keys, {"a": None})).newest == position


def test_what_left_nothing_is_found_in_the_stream(world: World) -> None:
    world.enter()
    positions = dict(zip("abc", stored(world, *"abc"), strict=True))
    world.run("a", Complete(b"7"), rule=NOTHING_KEPT)
    world.run("b", Fail(ERROR), rule=NOTHING_KEPT)
    world(steer.remove(world.keys, "c"))
    assert look(world, {**positions, "d": read_id("0-1")}) == {
        "a": Ending("completed", b"7"),
        "b": Ending("failed", ERROR, 1),
        "c": GONE,
        "d": GONE,
    }
    assert look(world, dict.fromkeys("abc")) == dict.fromkeys("abc", GONE)


def test_a_former_job_of_the_same_id_is_not_found(world: World) -> None:
    world.enter()
    stored(world, "a")
    world.run("a", Complete(b"1"), rule=NOTHING_KEPT)
    (position,) = stored(world, "a")
    world.run("a", Complete(b"2"), rule=NOTHING_KEPT)
    assert look(world, {"a": position}) == {"a": Ending("completed", b"2")}


def test_a_later_job_of_the_same_id_is_not_found(world: World) -> None:
    world.enter()
    (first,) = stored(world, "a")
    world.run("a", Complete(b"1"), rule=NOTHING_KEPT)
    (second,) = stored(world, "a")
    world.run("a", Fail(ERROR), rule=NOTHING_KEPT)
    assert look(world, {"a": first}) == {"a": Ending("completed", b"1")}
    assert look(world, {"a": second}) == {"a": Ending("failed", ERROR, 1)}


def test_a_job_that_was_run_again_by_hand_ended_the_last_time(world: World) -> None:
    world.enter()
    (position,) = stored(world, "a")
    world.run("a", Fail(ERROR))
    assert world(steer.retry(world.keys, "a", fresh=True))
    world.run("a", RetryIn(0, ERROR))
    world.run("a", Complete(b"2"), rule=NOTHING_KEPT)
    assert look(world, {"a": position, "b": position}) == {"a": Ending("completed", b"2"), "b": GONE}


def test_a_job_that_was_run_again_by_hand_and_left_no_end_is_gone(world: World) -> None:
    world.enter()
    (position,) = stored(world, "a")
    world.run("a", Fail(ERROR))
    world(steer.retry(world.keys, "a", fresh=True))
    world.client.flushdb()
    world.client.xadd(world.keys["events"], {"retrying": "x"})
    assert look(world, {"a": position}) == {"a": GONE}


def test_a_stream_is_scanned_no_further_than_it_was(world: World) -> None:
    (position,) = stored(world, "a")
    world.client.delete(world.keys["waiting"], world.keys.job("a"))
    steps = results.look(world.keys, {"a": position})
    world.enter()
    answer, calls = world(next(steps)), 0
    with pytest.raises(StopIteration):
        while True:
            call = steps.send(answer)
            answer, calls = world(call), calls + 1
            world.client.xadd(world.keys["events"], {"added": "more"})
    assert calls == 1


def test_a_large_result_lives_on_for_a_while(world: World) -> None:
    world.enter()
    stored(world, "a")
    world.run("a", Complete(LARGE), rule=NOTHING_KEPT)
    assert world.places("a") == []
    assert look(world, {"a": None}) == {"a": Ending("completed", LARGE, 1)}


def test_what_is_neither_kept_nor_told_is_gone(world: World) -> None:
    world.enter()
    positions = dict(zip("abc", stored(world, *"abc"), strict=True))
    for one, kind in zip("abc", ("completed", "failed", "cancelled"), strict=True):
        detail = "2 >" if kind == "failed" else ">"
        world.client.xadd(world.keys["events"], {kind: one, f":{one}": detail})
        world(steer.remove(world.keys, one))
    assert look(world, dict(positions)) == {
        "a": GONE,
        "b": Ending("failed", b"", 2),
        "c": Ending("cancelled"),
    }


def test_a_job_whose_own_age_is_over_is_gone(world: World) -> None:
    world.enter()
    world.add("a")
    world.run("a", Complete(b"1"), keep_completed="60000")
    assert look(world, {"a": None}) == {"a": Ending("completed", b"1", 1)}
    world.client.zadd(world.keys["expiring"], {"a": world.now_ms() - 1})
    assert look(world, {"a": None}) == {"a": GONE}


def test_thousands_are_looked_at_in_parts(world: World) -> None:
    ids = [str(n) for n in range(2500)]
    world.add(*ids)
    endings = look(world, dict.fromkeys([*ids, "missing"]))
    assert endings.pop("missing") == GONE
    assert endings == dict.fromkeys(ids)


def test_large_results_are_not_sent_all_at_once(real: World) -> None:
    real.enter()
    big = b'"' + b"x" * 1_000_000 + b'"'
    for n in range(10):
        real.add(str(n))
        real.run(str(n), Complete(big), rule=ListRule((100, -1), (0, -1)))
    since: dict[str, EntryId | None] = dict.fromkeys(str(n) for n in range(10))
    steps, calls, answer = results.look(real.keys, since), 0, None
    try:
        while True:
            answer = real(steps.send(answer))
            calls += 1
            assert 1 <= len(answer.endings) < 7
    except StopIteration as end:
        assert set(end.value.endings.values()) == {Ending("completed", big, 1)}
    assert calls > 1


def test_one_look_for_a_job(world: World) -> None:
    (position,) = stored(world, "a")
    for known in (None, "", str(position)):
        assert world.drive(results.look_once(world.keys, "a", known)) is None
    assert world.drive(results.look_once(world.keys, "b", None)) == GONE


# Who waits


class Waiting:
    """A watch, and who waits."""

    def __init__(self, *begun: int) -> None:
        self.watch = Watch()
        self.woken: list[Waiter] = []
        if begun:
            self.sees(self.join("first"), begun[0])

    def join(self, job_id: str = "a", position: str | None = None) -> Waiter:
        waiter = Waiter(job_id, position, lambda: self.woken.append(waiter))
        self.watch.join(waiter)
        return waiter

    def position(self) -> EntryId | None:
        return self.watch.position

    def sees(self, waiter: Waiter, newest: int, ending: Ending | None = None) -> None:
        """A look was needed, and says that."""
        assert self.watch.take_unseen() == [waiter]
        self.watch.looked([waiter], Seen(EntryId(newest, 0), {waiter.job_id: ending}))

    def feed(self, *entries: tuple[int, str, str, str], gap: bool = False) -> None:
        """(when, kind, id, detail) for each."""
        made = [
            Entry(EntryId(ms, 0), [k.encode(), i.encode(), b":" + i.encode(), d.encode()]) for ms, k, i, d in entries
        ]
        self.watch.feed(Tail(made, made[-1].id if made else EntryId(0, 0), gap))


def test_who_waits_is_looked_at_first_and_then_told_by_the_stream() -> None:
    case = Waiting()
    waiter = case.join()
    assert case.position() is None
    case.sees(waiter, 5)
    assert case.position() == EntryId(5, 0)
    case.feed((6, "active", "a", ""), (7, "retrying", "a", "1 0 >"), (8, "completed", "a", "1"))
    assert waiter.ending == Ending("completed", b"1")
    assert case.woken == [waiter]
    assert case.position() == EntryId(8, 0)


def test_who_is_answered_by_a_look_starts_no_reading() -> None:
    case = Waiting()
    waiter = case.join()
    case.sees(waiter, 5, Ending("completed", b"1"))
    assert waiter.ending == Ending("completed", b"1")
    assert case.position() is None
    assert case.watch.rests(0.0)


def test_who_comes_while_the_stream_is_read_from_before_its_job_needs_no_look() -> None:
    case = Waiting(5)
    waiter = case.join("a", "5-0")
    assert not case.watch.unseen
    case.feed((6, "failed", "a", "1 {}"))
    assert waiter.ending == Ending("failed", b"{}", 1)


def test_who_comes_when_the_stream_was_read_beyond_is_looked_at() -> None:
    case = Waiting(5)
    case.feed((7, "added", "a", ""))
    waiter = case.join("a", "6-9")
    assert case.watch.take_unseen() == [waiter]


def test_who_comes_after_nothing_at_all_was_read_is_looked_at() -> None:
    case = Waiting(0)
    waiter = case.join("a", "5-0")
    case.sees(waiter, 0, GONE)
    assert waiter.ending == GONE


def test_two_who_wait_for_one_job_are_both_told() -> None:
    case = Waiting(5)
    waiters = [case.join("a", "5-0"), case.join("a", "5-0"), case.join("b", "5-0")]
    case.feed((6, "cancelled", "a", "why"))
    assert [one.ending for one in waiters] == [Ending("cancelled", b"why"), Ending("cancelled", b"why"), None]


def test_an_end_before_the_look_is_not_this_runs() -> None:
    case = Waiting(5)
    waiter = case.join()
    case.feed((6, "failed", "a", "1 {}"))
    case.sees(waiter, 7)  # retried by hand since
    assert waiter.ending is None
    case.feed((8, "completed", "a", "1"))
    assert waiter.ending == Ending("completed", b"1")


def test_an_end_while_the_look_is_on_its_way_is_not_lost() -> None:
    case = Waiting(5)
    waiter = case.join()
    taken = case.watch.take_unseen()
    case.feed((6, "added", "a", ""), (8, "completed", "a", "1"))
    case.watch.looked(taken, Seen(EntryId(7, 0), {"a": None}))
    assert waiter.ending == Ending("completed", b"1")


def test_a_look_that_was_made_before_the_reading_began_is_made_again() -> None:
    case = Waiting()
    slow, quick = case.join("slow"), case.join("quick")
    case.watch.take_unseen()
    case.watch.looked([quick], Seen(EntryId(9, 0), {"quick": None}))
    case.watch.looked([slow], Seen(EntryId(7, 0), {"slow": None}))
    case.sees(slow, 9)
    case.feed((10, "completed", "slow", "1"))
    assert slow.ending is not None


def test_a_look_that_was_made_before_a_gap_is_made_again() -> None:
    case = Waiting(5)
    case.feed((6, "completed", "first", "1"))
    waiter = case.join()
    taken = case.watch.take_unseen()
    case.feed((9, "added", "x", ""), gap=True)
    case.watch.looked(taken, Seen(EntryId(7, 0), {"a": None}))
    case.sees(waiter, 9, GONE)
    assert waiter.ending == GONE


def test_after_a_gap_all_are_looked_at_again() -> None:
    case = Waiting(5)
    waiters = [case.join("a", "5-0"), case.join("b", "5-0")]
    case.feed((9, "completed", "a", "1"), gap=True)
    taken = case.watch.take_unseen()
    assert {one.job_id for one in taken} == {"a", "b", "first"}
    case.watch.looked(taken, Seen(EntryId(10, 0), {"a": Ending("completed", b"1"), "b": None, "first": None}))
    assert [one.ending for one in waiters] == [Ending("completed", b"1"), None]
    case.feed((11, "completed", "b", "2"))
    assert waiters[1].ending == Ending("completed", b"2")


@pytest.mark.parametrize(
    ("kind", "detail", "found", "expected"),
    [
        ("completed", ">", Ending("completed", b"1"), Ending("completed", b"1")),
        ("completed", ">", GONE, GONE),
        ("failed", "3 >", GONE, Ending("failed", b"", 3)),
        ("cancelled", ">", GONE, Ending("cancelled")),
        ("completed", ">", None, None),  # it was retried by hand since
    ],
)
def test_what_is_too_large_for_an_event_is_looked_up(
    kind: str, detail: str, found: Ending | None, expected: Ending | None
) -> None:
    case = Waiting(5)
    waiter = case.join("a", "5-0")
    case.feed((6, kind, "a", detail))
    assert waiter.ending is None
    case.sees(waiter, 7, found)
    assert waiter.ending == expected


def test_a_removed_job_is_gone() -> None:
    case = Waiting(5)
    waiter = case.join("a", "5-0")
    case.feed((6, "removed", "a", ""))
    assert waiter.ending == GONE


def test_many_who_wait_for_one_job_leave_quickly() -> None:
    case = Waiting(5)
    waiters = [case.join("a", "5-0") for _ in range(30_000)]
    began = time.monotonic()
    for one in waiters[::2]:
        case.watch.leave(one)
    case.feed((6, "completed", "a", "1"))
    assert time.monotonic() - began < 2
    assert len(case.woken) == 15_000


def test_who_left_is_told_nothing() -> None:
    case = Waiting(5)
    waiter, other = case.join("a", "5-0"), case.join("a", "5-0")
    unseen = case.join("b")
    for one in (waiter, unseen, unseen):
        case.watch.leave(one)
    assert case.watch.take_unseen() == []
    case.feed((6, "completed", "a", "1"))
    assert case.woken == [other]


def test_the_reading_goes_on_for_a_while_when_nobody_waits() -> None:
    case = Waiting(5)
    assert not case.watch.rests(100.0)
    case.feed((6, "completed", "first", "1"))
    assert not case.watch.rests(100.0 + results.LINGER_S - 0.1)
    assert case.join("a", "6-0").floor is not None
    assert not case.watch.rests(200.0)
    case.feed((7, "completed", "a", "1"))
    assert case.watch.rests(200.0 + results.LINGER_S)
    assert case.position() is None


def test_an_error_ends_all_waiting() -> None:
    case = Waiting(5)
    waiters = [case.join("a", "5-0"), case.join("b")]
    case.watch.fail(RedisRefused("no"))
    assert {one.ending.kind for one in waiters if one.ending} == {"broken"}
    assert len(case.woken) == 3
    assert case.watch.rests(0.0)
    assert not case.watch.unseen


def test_closing_ends_all_waiting() -> None:
    case = Waiting(5)
    waiter = case.join("a")
    taken = case.watch.take_unseen()
    case.watch.close()
    assert waiter.ending == Ending("closed")
    assert case.watch.rests(0.0)
    case.watch.looked(taken, Seen(EntryId(9, 0), {"a": None}))
    assert case.position() is None
    assert case.watch.feed(Tail([], EntryId(0, 0), gap=True)) is None


def test_one_look_serves_all_who_wait_for_a_job(world: World) -> None:
    world.enter()
    (position,) = stored(world, "a")
    world.run("a", Complete(b"1"), rule=NOTHING_KEPT)
    for known in ([None, str(position)], [str(position), None]):
        waiters: list[Any] = [Waiter("a", one, lambda: None) for one in known]
        assert world.drive(results.look_for(world.keys, waiters)).endings == {"a": Ending("completed", b"1")}


def test_the_stream_is_read_on_from_the_position(world: World) -> None:
    (position,) = stored(world, "a")
    watch = Watch()
    waiter = Waiter("a", None, lambda: None)
    watch.join(waiter)
    watch.looked(watch.take_unseen(), world.drive(results.look(world.keys, {"a": None})))
    assert watch.position == position
    assert watch.feed(world(watch.next_call(world.keys))) == str(position)
    world.enter()
    world.run("a", Complete(b"1"))
    assert watch.feed(world(watch.next_call(world.keys))) is None
    assert waiter.ending == Ending("completed", b"1")
    assert watch.position is not None
    assert world(tail(world.keys, after(watch.position))).entries == []


def test_what_was_dropped_behind_nothing_at_all_is_a_gap(world: World) -> None:
    world.enter()
    (position,) = stored(world, "a")
    world.client.delete(world.keys["events"])
    watch = Watch()
    waiter = Waiter("a", str(position), lambda: None)
    watch.join(waiter)
    watch.looked(watch.take_unseen(), world.drive(results.look(world.keys, {"a": None})))
    assert watch.position == EntryId(0, 0)
    world.run("a", Complete(b"1"))
    world.client.xtrim(world.keys["events"], maxlen=0, approximate=False)
    world.add("b")
    watch.feed(world(watch.next_call(world.keys)))
    assert watch.take_unseen() == [waiter]

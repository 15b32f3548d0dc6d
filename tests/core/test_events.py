"""Reading the stream of events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import steer
from redqueue.core.events import (
    BEGINNING,
    Cursor,
    Entry,
    EntryId,
    Listener,
    Tail,
    after,
    happenings,
    read_entry,
    read_id,
    read_since,
    tail,
)
from redqueue.core.keys import Keys
from redqueue.core.lifecycle import Complete, Fail, RetryIn, SnoozeFor
from redqueue.errors import InvalidOption

if TYPE_CHECKING:
    from tests.core.conftest import World

    from redqueue.records import Event

ERROR = b'{"type":"ValueError","message":"no","traceback":"Traceback ..."}'
WRONG_SINCE = ["", "x", "1", "1-", "-1", "1-2.", "1-2.x", "1-2-3", "+", "$", "\u0661-\u0661", 5, 0, b"0", True]


def entry(*fields: str | bytes, id: str = "1000-0") -> Entry:
    return Entry(read_id(id), [one.encode() if isinstance(one, str) else one for one in fields])


def facts(*fields: str | bytes) -> Any:
    (event,) = read_entry("q", entry(*fields))
    return event.facts


def kinds_of(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(one.kind, one.job_id) for one in events]


class Reader:
    """A listener on a world."""

    def __init__(self, world: World, since: object = None, kinds: object = ()) -> None:
        self.world = world
        self.listener = Listener(world.keys, since, kinds)

    def __call__(self) -> list[Event]:
        return self.listener.take(self.world(self.listener.next_call()))

    def idle(self) -> bool:
        return self.listener.idle

    def all(self) -> list[Event]:
        """Until nothing is new."""
        events = self()
        while not self.idle():
            events += self()
        return events


# Entries


def test_an_entry_is_many_events_in_order() -> None:
    read = read_entry("q", entry("completed", "a b", ":a", "1", "failed", "c", ":c", b"2 " + ERROR, "active", "c d"))
    assert kinds_of(read) == [("completed", "a"), ("completed", "b"), ("failed", "c"), ("active", "c"), ("active", "d")]
    assert [one.id for one in read] == ["1000-0.1", "1000-0.2", "1000-0.3", "1000-0.4", "1000-0.5"]
    assert {(one.queue, one.at) for one in read} == {("q", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))}
    assert [one.facts for one in read] == [
        {"result": 1},
        {"result": None},
        {"attempt": 2, "error_type": "ValueError", "error": "no"},
        {},
        {},
    ]


def test_what_the_queue_as_a_whole_does_concerns_no_job() -> None:
    read = read_entry("q", entry("paused", "", "drained", "", "resumed", ""))
    assert kinds_of(read) == [("paused", None), ("drained", None), ("resumed", None)]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("added", "a"), {}),
        (("expired", "a"), {}),
        (("removed", "a"), {}),
        (("active", "a", "worker", "host:1"), {"worker": "host:1"}),
        (("completed", "a", ":a", '{"n":[1]}'), {"result": {"n": [1]}}),
        (("completed", "a"), {"result": None}),
        (("completed", "a", ":a", ">"), {}),
        (("failed", "a", ":a", "3 >"), {"attempt": 3}),
        (
            ("retrying", "a", ":a", b"1 1500 " + ERROR),
            {"attempt": 1, "delay_s": 1.5, "error_type": "ValueError", "error": "no"},
        ),
        (("retrying", "a", ":a", "1 0 >"), {"attempt": 1, "delay_s": 0}),
        (("retrying", "a"), {}),
        (("delayed", "a", ":a", "250 the shop is closed"), {"delay_s": 0.25, "reason": "the shop is closed"}),
        (("delayed", "a", ":a", "250 "), {"delay_s": 0.25, "reason": ""}),
        (("cancelled", "a", ":a", "not wanted"), {"reason": "not wanted"}),
        (("cancelled", "a"), {"reason": ""}),
        (("cancelled", "a", ":a", ">"), {}),
        (("recovered", "a", ":a", "crashed"), {"crashed": True}),
        (("recovered", "a"), {"crashed": False}),
        (("progress", "a", ":a", '[0.5,"half",{"n":1}]'), {"progress": 0.5, "message": "half", "data": {"n": 1}}),
        (("progress", "a", ":a", "[null,null,null]"), {"progress": None, "message": None, "data": None}),
    ],
)
def test_facts_are_plain_and_have_units(fields: tuple[str, ...], expected: Any) -> None:
    assert facts(*fields) == expected


@pytest.mark.parametrize(
    "fields",
    [
        ("completed", "a", ":a", "{"),
        ("completed", "a", ":a", b"\xff"),
        ("completed", "a", ":a", "[" * 100_000),
        ("failed", "a", ":a", "1 {}"),
        ("failed", "a", ":a", "words"),
        ("retrying", "a", ":a", "1"),
        ("retrying", "a", ":a", "1 x >"),
        ("delayed", "a", ":a", "soon"),
        ("progress", "a", ":a", '{"done":1}'),
        ("progress", "a", ":a", "[]"),
        ("progress", "a"),
    ],
)
def test_what_is_corrupt_has_no_facts(fields: tuple[str, ...]) -> None:
    assert facts(*fields) == {}


@pytest.mark.parametrize("fields", [(), ("added",), ("invented", "a"), (":a", "b"), ("worker", "w"), ("missed", "a")])
def test_what_is_not_known_is_passed_over(fields: tuple[str, ...]) -> None:
    assert list(happenings(entry(*fields).fields)) == []
    assert kinds_of(read_entry("q", entry(*fields, *([] if len(fields) == 1 else ["added", "b"])))) in (
        [],
        [("added", "b")],
    )


def test_an_entry_made_by_hand_may_be_beyond_the_calendar() -> None:
    assert read_entry("q", entry("added", "a", id="999999999999999-0"))[0].at.year > 2100


# Where a reader begins


@pytest.mark.parametrize("since", WRONG_SINCE)
def test_a_wrong_since_is_refused(since: object) -> None:
    with pytest.raises(InvalidOption) as raised:
        read_since(since)
    assert raised.value.option == "since"


def test_a_since_without_a_time_zone_is_refused() -> None:
    with pytest.raises(InvalidOption, match="time zone"):
        read_since(datetime(2024, 1, 1))


def test_a_since_is_now_an_event_the_oldest_or_a_time() -> None:
    assert read_since(None) is None
    assert read_since("0") == read_since("0-0") == read_since("0-0.0") == BEGINNING
    assert read_since("12-3.4") == Cursor(EntryId(12, 3), 4)
    assert read_since("12-3") == Cursor(EntryId(12, 3), None)
    assert read_since(datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC)) == Cursor(EntryId(2000, 0), None, known=False)


@pytest.mark.parametrize("kinds", ["added", 5, None, ["added", "invented"], [None], [["added"]]])
def test_wrong_kinds_are_refused(kinds: object) -> None:
    with pytest.raises(InvalidOption, match="kinds"):
        Listener(Keys("q", "redqueue"), None, kinds)


def test_the_wrong_kind_is_named() -> None:
    with pytest.raises(InvalidOption, match="'finished' is none"):
        Listener(Keys("q", "redqueue"), None, ("added", "finished"))


# The server


def test_the_tail_of_an_empty_queue(world: World) -> None:
    assert world(tail(world.keys, None)) == Tail([], EntryId(0, 0), gap=False)
    assert world(tail(world.keys, BEGINNING)) == Tail([], EntryId(0, 0), gap=False)


def test_only_what_follows_is_read(world: World) -> None:
    ids = [read_id(world.client.xadd(world.keys["events"], {"added": str(n)})) for n in range(5)]
    assert [one.id for one in world(tail(world.keys, BEGINNING)).entries] == ids
    for n, id in enumerate(ids):
        assert world(tail(world.keys, after(id))) == Tail(
            [Entry(one, [b"added", str(m).encode()]) for m, one in list(enumerate(ids))[n + 1 :]], ids[-1], gap=False
        )
        assert world(tail(world.keys, Cursor(id, 0))).entries[0].id == id
    assert [one.id for one in world(tail(world.keys, after(ids[0]), 2)).entries] == ids[1:3]
    assert [one.id for one in world(tail(world.keys, BEGINNING, 2)).entries] == ids[:2]


def test_what_was_trimmed_is_a_gap(world: World) -> None:
    ids = [read_id(world.client.xadd(world.keys["events"], {"added": str(n)})) for n in range(5)]
    world.client.xtrim(world.keys["events"], maxlen=2, approximate=False)
    for id in ids[:3]:
        found = world(tail(world.keys, after(id)))
        assert (found.gap, [one.id for one in found.entries]) == (True, ids[3:])
    for id in ids[3:]:
        assert not world(tail(world.keys, after(id))).gap
    assert not world(tail(world.keys, BEGINNING)).gap
    assert not world(tail(world.keys, Cursor(ids[0], known=False))).gap


def test_a_stream_that_is_gone_is_a_gap(world: World) -> None:
    world.add("a")
    newest = world(tail(world.keys, None)).newest
    world.client.delete(world.keys["events"])
    assert world(tail(world.keys, after(newest))) == Tail([], EntryId(0, 0), gap=True)
    assert after(EntryId(0, 0)) == BEGINNING


def test_reading_changes_nothing(world: World) -> None:
    world.add("a")
    before = {key: world.client.dump(key) for key in world.client.scan_iter()}
    Reader(world, "0").all()
    assert {key: world.client.dump(key) for key in world.client.scan_iter()} == before


# Listeners


def test_by_default_events_come_from_now_on(world: World) -> None:
    world.add("a")
    reader = Reader(world)
    assert reader() == []
    assert reader.idle()
    world.add("b")
    assert kinds_of(reader()) == [("added", "b")]
    assert not reader.idle()
    assert reader() == []
    assert reader.idle()


def test_the_life_of_jobs_is_told(world: World) -> None:
    world.enter()
    world.add("a", "b", "c", "d")
    world.run("a", Complete(b'{"n":1}'))
    world.run("b", Fail(ERROR))
    world.run("c", RetryIn(60_000, ERROR))
    world.run("d", SnoozeFor(60_000, "closed"))
    world(steer.cancel(world.keys, "c", "not wanted"))
    world(steer.pause(world.keys))
    world(steer.remove(world.keys, "d"))
    world(steer.resume(world.keys))
    events = Reader(world, "0").all()
    told = [(one.kind, one.job_id, one.facts) for one in events if one.kind not in ("added", "active", "drained")]
    failure = {"attempt": 1, "error_type": "ValueError", "error": "no"}
    assert told == [
        ("completed", "a", {"result": {"n": 1}}),
        ("failed", "b", failure),
        ("retrying", "c", {**failure, "delay_s": 60.0}),
        ("delayed", "d", {"delay_s": 60.0, "reason": "closed"}),
        ("cancelled", "c", {"reason": "not wanted"}),
        ("paused", None, {}),
        ("removed", "d", {}),
        ("resumed", None, {}),
    ]
    assert {one.facts["worker"] for one in events if one.kind == "active"} == {"host:s"}
    assert [one.job_id for one in events if one.kind == "added"] == ["a", "b", "c", "d"]
    assert all(abs(one.at.timestamp() * 1000 - world.now_ms()) < 60_000 for one in events)


def test_every_event_can_be_resumed_behind(world: World) -> None:
    world.add("a", "b", "c")
    world.add("d")
    world.client.xadd(world.keys["events"], {"completed": "a b", "active": "c"})
    events = Reader(world, "0").all()
    assert len(events) == 7
    for n, event in enumerate(events, 1):
        assert Reader(world, event.id).all() == events[n:]


def test_a_long_stream_is_read_in_parts_without_loss_or_repetition(world: World) -> None:
    for n in range(450):
        world.client.xadd(world.keys["events"], {"added": f"{n}a {n}b"})
    reader = Reader(world, "0")
    first = reader()
    assert 0 < len(first) < 900
    assert [one.job_id for one in first + reader.all()] == [f"{n}{half}" for n in range(450) for half in "ab"]


def test_from_a_time_on(world: World) -> None:
    for ms in (1000, 2000, 3000):
        world.client.xadd(world.keys["events"], {"added": str(ms)}, id=f"{ms}-0")
    begin = datetime(1970, 1, 1, tzinfo=UTC)
    assert [one.job_id for one in Reader(world, begin + timedelta(seconds=2)).all()] == ["2000", "3000"]
    assert [one.job_id for one in Reader(world, begin + timedelta(seconds=2.001)).all()] == ["3000"]
    later = Reader(world, begin + timedelta(seconds=10))
    assert later() == []
    world.client.xadd(world.keys["events"], {"added": "too early"}, id="9999-0")
    world.client.xadd(world.keys["events"], {"added": "10000"}, id="10000-0")
    assert [one.job_id for one in later()] == ["10000"]


def test_other_kinds_are_left_out(world: World) -> None:
    world.client.xadd(world.keys["events"], {"completed": "a", "active": "b"})
    world.client.xadd(world.keys["events"], {"added": "c"})
    reader = Reader(world, "0", ["active"])
    (event,) = reader()
    assert (event.job_id, event.id.partition(".")[2]) == ("b", "2")
    assert not reader.idle()
    assert reader() == []
    assert reader.idle()


def test_who_was_too_slow_is_told_and_goes_on_with_what_is_left(world: World) -> None:
    world.add("a")
    reader = Reader(world, "0", {"added"})
    reader()
    for one in "bcd":
        world.add(one)
    world.client.xtrim(world.keys["events"], maxlen=1, approximate=False)
    missed, left = reader()
    assert (missed.kind, missed.job_id, missed.facts) == ("missed", None, {})
    assert left.job_id == "d"
    assert reader() == []
    assert Reader(world, missed.id).all() == [left]
    assert Reader(world, left.id).all() == []


def test_who_followed_a_queue_that_was_removed_goes_on_with_the_next(world: World) -> None:
    world.add("a")
    reader = Reader(world, "0")
    reader()
    world.client.delete(world.keys["events"])
    (missed,) = reader()
    assert missed.kind == "missed"
    assert reader() == []
    world.add("b")
    assert kinds_of(reader()) == [("added", "b")]
    assert kinds_of(Reader(world, missed.id).all()) == [("added", "b")]


def test_a_server_that_lost_its_newest_events_repeats_no_older_ones(world: World) -> None:
    world.add("a")
    world.add("b")
    reader = Reader(world, "0")
    last = reader()[-1]
    world.client.xdel(world.keys["events"], last.id.partition(".")[0])
    assert [one.kind for one in reader()] == ["missed"]
    world.add("c")
    assert kinds_of(reader()) == [("added", "c")]


def test_waiting_is_for_what_was_not_read(world: World) -> None:
    reader = Reader(world)
    reader()
    assert reader.listener.block_after == "0-0"
    world.add("a")
    reader.all()
    assert read_id(reader.listener.block_after) == world(tail(world.keys, None)).newest

"""What the scripts write into the stream of events, and how much of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import inspect, lease, steer, sweep
from redqueue.core.add import add, prepare
from redqueue.core.events import Entry, EntryId, read_entry
from redqueue.core.lifecycle import Complete, Crash, Fail, Release, RetryIn, SnoozeFor

if TYPE_CHECKING:
    from tests.core.conftest import World

ERROR = b'{"type":"ValueError","message":"no"}'
TEXT = ERROR.decode()
HALF = b"[0.5,null,null]"


@pytest.fixture(autouse=True)
def _enter(world: World) -> None:
    world.enter()


def news(world: World, since: int) -> list[tuple[str, str, str | None]]:
    return world.events()[since:]


def large(limit: int) -> bytes:
    """A JSON text of that many bytes."""
    return b'"' + b"x" * (limit - 2) + b'"'


# Kinds


def test_an_add_tells_of_what_it_stored(world: World) -> None:
    world.add("a", "b", delay=60)
    world.add("b", "c")
    world.add("a")
    assert world.events() == [("added", one, None) for one in "abc"]


def test_a_claim_tells_who_runs_what(world: World) -> None:
    world.add("a", "b")
    world.claim(5)
    assert world.events("active") == [("active", "a", "host:s"), ("active", "b", "host:s")]
    before = world.events()
    assert world.claim(5) == []
    assert world.events() == before


@pytest.mark.parametrize(
    ("settlement", "told"),
    [
        (Complete(b'{"n":1}'), [("completed", "a", '{"n":1}'), ("drained", "", None)]),
        (Complete(b""), [("completed", "a", None), ("drained", "", None)]),
        (Fail(ERROR), [("failed", "a", f"1 {TEXT}"), ("drained", "", None)]),
        (RetryIn(0, ERROR), [("retrying", "a", f"1 0 {TEXT}")]),
        (RetryIn(1500, ERROR), [("retrying", "a", f"1 1500 {TEXT}"), ("drained", "", None)]),
        (SnoozeFor(250, "closed"), [("delayed", "a", "250 closed"), ("drained", "", None)]),
        (Release(), []),
        (Crash(), [("recovered", "a", "crashed")]),
    ],
)
def test_a_settlement_is_told(world: World, settlement: Any, told: list[Any]) -> None:
    world.add("a")
    (run,) = world.claim()
    since = len(world.events())
    world.settle(run, settlement)
    assert news(world, since) == told


def test_a_cancel_is_told_once_it_is_true(world: World) -> None:
    world.add("a", "b")
    (run,) = world.claim()
    since = len(world.events())
    world(steer.cancel(world.keys, "a", "not wanted"))
    assert news(world, since) == []
    world.settle(run, Release())
    world(steer.cancel(world.keys, "b"))
    world(steer.cancel(world.keys, "b"))
    assert news(world, since) == [
        *(("cancelled", "a", "not wanted"), ("cancelled", "b", "")),
        ("drained", "", None),
    ]


def test_a_recovery_is_told(world: World) -> None:
    world.add("a", "b", "c")
    runs = world.claim(2)
    world(
        lease.pump(world.keys, "s", "host:s", "0", runs[0].number + 1, lease.Settles(), 0, runs[1:], lease.ListRule())
    )
    world.client.zadd(world.keys["active"], {"a": 0, "b": 0}, xx=True)
    since = len(world.events())
    world(lease.recover(world.keys, 3))
    assert news(world, since) == [("recovered", "a", "crashed"), ("recovered", "b", None)]


def test_a_job_that_crashed_too_often_is_told_as_failed(world: World) -> None:
    world.add("a")
    world.claim()
    world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
    since = len(world.events())
    world(lease.recover(world.keys, 1))
    (kind, job_id, detail), *more = news(world, since)
    assert (kind, job_id, more) == ("failed", "a", [("drained", "", None)])
    assert detail is not None
    assert detail.startswith('0 {"type":"WorkerCrashed"')


def test_a_job_that_was_to_be_cancelled_is_told_so_when_its_worker_leaves(world: World) -> None:
    world.add("a", "b")
    runs = world.claim(2)
    world(steer.cancel(world.keys, "a", "no"))
    since = len(world.events())
    world(lease.leave(world.keys, "s", ["0"], runs))
    assert news(world, since) == [("cancelled", "a", "no")]


def test_what_is_removed_is_told(world: World) -> None:
    world.add(*"abcd")
    since = len(world.events())
    world(steer.remove(world.keys, "a"))
    world(steer.remove(world.keys, "a"))
    world.drive(sweep.clean(world.keys, "waiting", limit=1))
    world.drive(sweep.drain(world.keys))
    assert news(world, since) == [*(("removed", one, None) for one in "abcd"), ("drained", "", None)]


def test_the_queue_s_own_events(world: World) -> None:
    world(steer.pause(world.keys))
    world(steer.resume(world.keys))
    world.add("a")
    world.run("a", Complete(b"1"))
    assert [kind for kind, _, _ in world.events() if kind != "added"] == [
        *("paused", "resumed", "active", "completed", "drained")
    ]


def test_a_retry_by_hand_and_progress_are_told(world: World) -> None:
    world.finish("failed", "a")
    since = len(world.events())
    world(steer.retry(world.keys, "a"))
    (run,) = world.claim()
    world.tell((run, "p", HALF), (run, "s", b"1"), (run, "l", b"a line"))
    assert news(world, since) == [("retrying", "a", None), ("active", "a", "host:s"), ("progress", "a", HALF.decode())]


def test_a_queue_is_drained_when_its_last_job_ends_and_no_earlier(world: World) -> None:
    world.add("a", "b", "c")
    first, second = world.claim(2)
    world.settle(first, Complete(b"1"))
    world.settle(second, Complete(b"1"))
    assert world.events("drained") == []
    (third,) = world.claim()
    assert world.events("drained") == []
    world.settle(third, Complete(b"1"))
    assert world.events("drained") == [("drained", "", None)]
    assert world.claim() == []
    assert world.events("drained") == [("drained", "", None)]


@pytest.mark.parametrize("how", ["cancel", "remove", "drain", "clean", "expire", "crash", "leave"])
def test_a_queue_is_drained_however_its_last_job_ends(world: World, how: str) -> None:
    world.add("a", "b", expires_in=60)
    world.add("later", delay=60)
    for one in "ab":
        assert world.events("drained") == []
        end_first(world, one, how)
    assert world.events("drained") == [("drained", "", None)]
    # What was delayed neither waited nor ran, and what has ended does not either.
    world(steer.cancel(world.keys, "later"))
    world(steer.remove(world.keys, "later"))
    world(lease.recover(world.keys, 1))
    world(lease.leave(world.keys, "t", ["0"], []))
    assert world.events("drained") == [("drained", "", None)]


def end_first(world: World, job_id: str, how: str) -> None:
    """End the first job of the line, which is this one."""
    if how == "cancel":
        world(steer.cancel(world.keys, job_id))
    elif how == "remove":
        world(steer.remove(world.keys, job_id))
    elif how == "drain" and job_id == "b":
        world.drive(sweep.drain(world.keys))
    elif how in ("drain", "clean"):
        world.drive(sweep.clean(world.keys, "waiting", limit=1))
    elif how == "expire":
        world.client.hset(world.keys["expires"], job_id, 1)
        assert world.claim() == []
    else:
        (run,) = world.claim()
        if how == "leave":
            world(steer.cancel(world.keys, job_id))
            world(lease.leave(world.keys, "s", [], [run]))
        else:
            world.client.zadd(world.keys["active"], {job_id: 0}, xx=True)
            world(lease.recover(world.keys, 1))


def test_a_job_removed_by_force_may_be_the_last_one(world: World) -> None:
    world.add("a")
    world.claim()
    world(steer.remove(world.keys, "a", force=True))
    assert world.events("drained") == [("drained", "", None)]


def test_a_paused_queue_whose_last_job_is_cancelled_is_drained(world: World) -> None:
    world.add("a")
    world(steer.pause(world.keys))
    world(steer.cancel(world.keys, "a"))
    assert world.events("drained") == [("drained", "", None)]


@pytest.mark.parametrize("running", [False, True])
def test_a_reason_is_never_taken_for_one_that_is_looked_up(world: World, running: bool) -> None:
    world.add("a")
    runs = world.claim() if running else []
    world(steer.cancel(world.keys, "a", ">"))
    for run in runs:
        world.settle(run, Release(), rule=lease.ListRule((0, -1), (0, -1)))
    assert world.events("cancelled") == [("cancelled", "a", "> ")]
    (entry,) = (one for one in world.entries() if b"cancelled" in one)
    (event,) = read_entry("q", Entry(EntryId(1, 0), [part for pair in entry.items() for part in pair]))
    assert event.facts == {"reason": "> "}


def test_many_that_crashed_too_often_are_told_together(world: World) -> None:
    ids = [f"j{n}" for n in range(90)]
    world.add(*ids)
    world.claim(90)
    world(steer.cancel(world.keys, "j7", "no"))
    world.client.zadd(world.keys["active"], dict.fromkeys(ids, 0), xx=True)
    before = len(world.entries())
    assert world(lease.recover(world.keys, 1)).count == 90
    assert [next(iter(one)) for one in world.entries()[before:]] == [b"cancelled", b"failed", b"drained"]
    assert (world.outcome("j7")["reason"], len(world.events("failed"))) == ("no", 89)
    assert world(inspect.get_stats(world.keys)).failed == 89


def test_a_resent_call_tells_nothing_twice(world: World) -> None:
    world.add("a", "b")
    call = world.trip(n=2)
    world(call)
    before = world.events()
    world(call)
    pause = steer.pause(world.keys).on(world.keys.producer("p:0"), 1000)
    world.send(pause)
    world.send(pause)
    assert world.events() == [*before, ("paused", "", None)]


def test_an_event_tells_of_the_job_where_it_then_is(world: World) -> None:
    """Everything that a call did is told by it, and nothing else."""
    world.add("a")
    (run,) = world.claim()
    world.client.zadd(world.keys["active"], {"a": 0}, xx=True)
    world(lease.recover(world.keys, 3))
    world.claim(session="t")
    before = world.events()
    assert world.settle(run, Complete(b"1")) == "l"
    assert world.events() == before


# How much is told


@pytest.mark.parametrize(("size", "inline"), [(1024, True), (1025, False)])
def test_what_is_large_is_not_in_the_event(world: World, size: int, inline: bool) -> None:
    text = large(size)
    shown = text.decode() if inline else ">"
    world.add("a", "b", "c", "d")
    world.run("a", Complete(text))
    world.run("b", Fail(text))
    world.run("c", RetryIn(60_000, text))
    world(steer.cancel(world.keys, "d", text.decode()))
    assert world.events("completed", "failed", "retrying", "cancelled") == [
        ("completed", "a", shown),
        ("failed", "b", f"1 {shown}"),
        ("retrying", "c", f"1 60000 {shown}"),
        ("cancelled", "d", shown),
    ]
    assert world.outcome("a")["result"] == world.outcome("b")["error"] == world.outcome("c")["error"] == text.decode()
    assert world.outcome("d")["reason"] == text.decode()


def test_an_entry_tells_of_a_hundred_jobs_at_most(world: World) -> None:
    ids = [f"j{n}" for n in range(250)]
    world.add(*ids)
    assert [len(fields[b"added"].split()) for fields in world.entries()] == [100, 100, 50]
    world.claim(1000)
    assert [len(fields.get(b"active", b"").split()) for fields in world.entries()[3:]] == [100, 100, 50]
    assert {fields[b"worker"] for fields in world.entries()[3:]} == {b"host:s"}
    assert [one for _, one, _ in world.events("added")] == ids
    assert [one for _, one, _ in world.events("active")] == ids


def test_an_entry_holds_about_16_kib_at_most(world: World) -> None:
    world.add(*(f"j{n}" for n in range(100)))
    runs = world.claim(100)
    settles = lease.Settles()
    for run in runs:
        settles.add(run, "c 0 - 1", large(1000))
    world.pump(settles, 0)
    ended = [fields for fields in world.entries() if b"completed" in fields]
    sizes = [sum(len(name) + len(text) for name, text in fields.items()) for fields in ended]
    assert max(sizes) <= 16_384 + 1024 + 100 * 8
    assert len(ended) == 6
    assert {id for _, id, _ in world.events("completed")} == {run.id for run in runs}
    assert {detail for _, _, detail in world.events("completed")} == {large(1000).decode()}


def test_ids_that_are_long_make_entries_of_fewer_jobs(world: World) -> None:
    world.add(*(f"{n:0128}" for n in range(300)))
    assert max(len(fields[b"added"]) for fields in world.entries()) <= 100 * 129
    assert sum(len(fields[b"added"].split()) for fields in world.entries()) == 300


def test_the_stream_stays_bounded(real: World) -> None:
    filler = real.client.pipeline(transaction=False)
    for n in range(10_300):
        filler.xadd(real.keys["events"], {"added": str(n)})
    filler.execute()
    real.add("a")
    assert 10_000 <= real.client.xlen(real.keys["events"]) <= 10_000 + 200
    real.add(*(f"{n:064}" for n in range(100)))
    assert 2_000 <= real.client.xlen(real.keys["events"]) <= 2_000 + 200


def test_a_busy_queue_s_stream_takes_little_memory(real: World) -> None:
    data = [f"{n:0100}" for n in range(1000)]
    for _ in range(40):
        real.add(*data)
        real.drive(sweep.drain(real.keys))
    assert real.client.memory_usage(real.keys["events"], samples=0) < 40 * 2**20


def test_where_an_add_was_told_it_says(world: World) -> None:
    jobs = [prepare("sms", None, {"job_id": f"j{n}"}, {}, created_ms=0, fresh_id="") for n in range(150)]
    stored = world(add(world.keys, jobs))
    newest = world.client.xrevrange(world.keys["events"], count=1)[0][0].decode()
    assert {one.position for one in stored} == {newest}
    world.claim()
    assert world.client.xrevrange(world.keys["events"], count=1)[0][0].decode() > newest

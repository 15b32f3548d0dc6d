"""Each invariant, broken by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import audit as audits
from redqueue.core.codec import make_head, seal
from redqueue.core.lease import recover
from redqueue.core.lifecycle import Complete
from redqueue.options import NOTHING_GIVEN

if TYPE_CHECKING:
    from tests.core.conftest import World

Break = Callable[["World"], Any]


def sound(world: World) -> None:
    """A job in each place, one of each note, and a worker."""
    world.enter("s")
    for state in ("completed", "failed", "cancelled"):
        world.finish(state, state)
    world.add("own")
    world.run("own", Complete(b"1"), keep_completed="600000")
    world.add("retried", priority=-3)
    world.fail_once("retried", delay_ms=60_000)
    world.add("snoozed")
    world.snooze("snoozed", note="the gateway is busy")
    world.add("crashed")
    world.claim()
    world.client.zadd(world.keys["active"], {"crashed": 0})
    assert world(recover(world.keys, 3)).count == 1
    world.add("running", priority=-1)
    assert world.claim()[0].id == "running"
    world.add("waiting")


@pytest.fixture
def broken(world: World) -> World:
    """A queue that is sound until the test breaks it."""
    sound(world)
    assert world.audit() == []
    world.broken = True
    return world


def hset(name: str, field: str, value: str) -> Break:
    return lambda world: world.client.hset(world.keys[name], field, value)


def hdel(name: str, field: str) -> Break:
    return lambda world: world.client.hdel(world.keys[name], field)


def zadd(name: str, member: str, score: float) -> Break:
    return lambda world: world.client.zadd(world.keys[name], {member: score})


def zadd_from_now(name: str, member: str, ms: int) -> Break:
    return lambda world: world.client.zadd(world.keys[name], {member: world.now_ms() + ms})


def delete(suffix: str) -> Break:
    return lambda world: world.client.delete(world.keys.base + suffix)


def expire(suffix: str) -> Break:
    return lambda world: world.client.expire(world.keys.base + suffix, 1000)


def store(suffix: str) -> Break:
    return lambda world: world.client.set(world.keys.base + suffix, "x")


def sentinel(world: World) -> Any:
    return world.client.zrange(world.keys["active"], -1, -1)[0]


def overdue(world: World) -> None:
    now = world.now_ms()
    world.client.zadd(world.keys["active"], {"running": now - 31_000})
    world.client.hset(world.keys["meta"], mapping={"hold": now - 1, "seen": now - 1})


BREAKS: list[tuple[str, Break, list[str]]] = [
    # 1: each id in exactly one place, and stored
    ("in two places", zadd_from_now("delayed", "waiting", 9), ["waiting waiting: it is in delayed, too"]),
    (
        "in two lists",
        zadd("failed", "completed", 9),
        ["completed completed: it is in failed, too"],
    ),
    ("not stored", delete("job:waiting"), ["waiting waiting: its job key is missing"]),
    ("stored in no place", store("job:nowhere"), ["key redqueue:{q}:job:nowhere: a job in no place"]),
    # 2: active
    ("active without a lease", hdel("leases", "running"), ["active running: it has no lease"]),
    (
        "active and marked",
        hset("leases", "running", "s:9 2199023255553 1790000000000 1 R"),
        [
            "active running: its lease is marked as recovered",
            "leases running: it is marked as recovered, and its job is not waiting",
        ],
    ),
    (
        "a deadline far away",
        zadd_from_now("active", "running", 61_000),
        ["active running: its deadline is more than two leases away"],
    ),
    (
        "a sentinel that is due",
        lambda world: world.client.zadd(world.keys["active"], {sentinel(world): 1}),
        ["active: its sentinel is not at +inf"],
    ),
    (
        "no sentinel in active",
        lambda world: world.client.zrem(world.keys["active"], sentinel(world)),
        ["active: its sentinel is not at +inf"],
    ),
    (
        "no sentinel in leases",
        lambda world: world.client.hdel(world.keys["leases"], sentinel(world)),
        ["leases: its sentinel is missing"],
    ),
    # 3: leases
    (
        "a lease of a job that waits",
        hset("leases", "waiting", "s:9 2199023255553 1790000000000 1 ."),
        ["leases waiting: it is held, and its job is not active"],
    ),
    (
        "a last lease of a job that does not wait",
        hset("leases", "completed", "s:9 2199023255553 1790000000000 1 C"),
        ["leases completed: it is marked as recovered, and its job is not waiting"],
    ),
    (
        "a last lease of another order",
        hset("leases", "crashed", "s:9 5 1790000000000 1 C"),
        ["leases crashed: its job waits at another order"],
    ),
    ("a lease that is none", hset("leases", "running", "nonsense ."), ["leases running: it is no lease"]),
    # 4: tries, cancels, parked, notes
    (
        "tries of a finished job",
        hset("tries", "failed", "1 0 0"),
        ["tries failed: its job is not waiting, delayed or active"],
    ),
    ("tries that count nothing", hset("tries", "waiting", "0 0 0"), ["tries waiting: it counts nothing"]),
    ("tries that are no numbers", hset("tries", "waiting", "1 0"), ["tries waiting: it is not three numbers"]),
    (
        "too many crashes",
        hset("tries", "waiting", "0 3 3"),
        ["tries waiting: its job crashed too often to be here"],
    ),
    ("a cancel of a job that waits", hset("cancels", "waiting", ""), ["cancels waiting: its job is not active"]),
    ("parked and not delayed", hset("parked", "waiting", "p3"), ["parked waiting: its job is not delayed"]),
    (
        "parked nowhere",
        hset("parked", "retried", "p1001"),
        ["parked retried: it is neither a priority nor an order"],
    ),
    ("parked as nonsense", hset("parked", "retried", "x"), ["parked retried: it is neither a priority nor an order"]),
    (
        "a note of a finished job",
        hset("notes", "completed", "1 busy"),
        ["notes completed: its job is not waiting, delayed or active"],
    ),
    ("a note without a time", hset("notes", "waiting", "busy"), ["notes waiting: it is not a time and a reason"]),
    # 5: outcomes, retention, ages
    ("no outcome", delete("outcome:failed"), ["failed failed: it has no outcome"]),
    (
        "an outcome of a job that did not fail",
        lambda world: world.client.hset(world.keys.family("outcome") + "waiting", "error", "{}"),
        ["key redqueue:{q}:outcome:waiting: an outcome of no finished and no failed job, for ever"],
    ),
    (
        "an outcome without a job",
        lambda world: world.client.hset(world.keys.family("outcome") + "nobody", "error", "{}"),
        ["key redqueue:{q}:outcome:nobody: an outcome of no finished and no failed job, for ever"],
    ),
    (
        "an age that nothing ends",
        lambda world: world.client.zrem(world.keys["expiring"], "own"),
        ["completed own: nothing says when it expires"],
    ),
    (
        "counted, with an age of its own",
        zadd_from_now("expiring", "completed", 1000),
        ["completed completed: it has an age of its own and is counted, too"],
    ),
    (
        "an age of a job that is not finished",
        zadd_from_now("expiring", "waiting", 1000),
        ["expiring waiting: its job is not finished"],
    ),
    # 6: orders and their source
    ("an order beyond", zadd("waiting", "waiting", 1001 * 2**42), ["waiting waiting: its order is of no priority"]),
    ("a sequence near its end", hset("meta", "seq", str(2 * 10**12)), ["meta: seq is near its end"]),
    # 7: the token
    (
        "two tokens",
        lambda world: world.client.rpush(world.keys["wake"], "1", "1"),
        ["wake: it holds more than one token"],
    ),
    # 8: the guard
    ("seen tomorrow", hset("meta", "seen", "4000000000000"), ["meta: seen is in the future"]),
    ("a hold for ever", hset("meta", "hold", "4000000000000"), ["meta: hold is more than half a lease away"]),
    ("not recovered", overdue, ["active running: its lease ended long ago, and nobody recovers it"]),
    # 9: lives, and shapes
    (
        "a session for ever",
        lambda world: world.client.persist(world.keys.session("s")),
        ["key redqueue:{q}:session:s: it never expires"],
    ),
    (
        "a producer for ever",
        lambda world: world.client.persist(world.keys.producer("p:0")),
        ["key redqueue:{q}:producer:p:0: it never expires"],
    ),
    ("a job that expires", expire("job:waiting"), ["key redqueue:{q}:job:waiting: it expires, and its job does not"]),
    (
        "an outcome that expires",
        expire("outcome:failed"),
        ["key redqueue:{q}:outcome:failed: a finished job's outcome expires before its job"],
    ),
    ("a place that expires", expire("waiting"), ["key redqueue:{q}:waiting: it expires"]),
    ("another key", store("lock"), ["key redqueue:{q}:lock: redqueue makes no such key"]),
    ("another family", store("lock:x"), ["key redqueue:{q}:lock:x: redqueue makes no such key"]),
    ("an id of another shape", store("job:a b"), ["key redqueue:{q}:job:a b: a job in no place"]),
    (
        "a session without its key",
        delete("session:s"),
        ["sessions s: its session key is missing"],
    ),
    # what is kept
    ("another format", hset("meta", "format", "2"), ["meta: format is not 1"]),
    ("a rule that is none", hset("meta", "keep", "10"), ["meta: keep is not four numbers"]),
]


@pytest.mark.parametrize(("break_it", "findings"), [row[1:] for row in BREAKS], ids=[row[0] for row in BREAKS])
def test_what_is_broken_is_found(broken: World, break_it: Break, findings: list[str]) -> None:
    break_it(broken)
    assert broken.audit() == findings


def test_an_outcome_without_a_place_may_live_on_for_a_while(broken: World) -> None:
    broken.client.hset(broken.keys.family("outcome") + "nobody", "error", "{}")
    broken.client.expire(broken.keys.family("outcome") + "nobody", 60)
    assert broken.audit() == []


def test_a_list_that_nobody_trims_is_found(broken: World) -> None:
    now, ids = broken.now_ms(), [f"c{n}" for n in range(1010)]
    for key in ("job", "outcome"):
        pipe = broken.client.pipeline()
        for one in ids:
            if key == "job":
                pipe.set(broken.keys.job(one), "x")
            else:
                pipe.hset(broken.keys.family("outcome") + one, "result", "1")
        pipe.execute()
    broken.client.zadd(broken.keys["completed"], dict.fromkeys(ids[:1009], now))
    broken.client.delete(broken.keys.job(ids[-1]), broken.keys.family("outcome") + ids[-1])
    assert broken.audit() == []
    broken.client.set(broken.keys.job(ids[-1]), "x")
    broken.client.hset(broken.keys.family("outcome") + ids[-1], "result", "1")
    broken.client.zadd(broken.keys["completed"], {ids[-1]: now})
    assert broken.audit() == ["completed: it lists far more jobs than it keeps"]


def test_sleeping_workers_are_found(world: World) -> None:
    world.broken = True
    world.enter("s")
    world.add("a")
    world.take_token()
    assert world.audit() == []
    old = seal(make_head("sms", "", world.now_ms() - 10_001, None, NOTHING_GIVEN), b"null")
    world.client.set(world.keys.job("a"), old)
    assert world.audit() == ["waiting: jobs wait, and the workers are asleep"]


def be_at_work(world: World) -> None:
    world.add("b", priority=-1)
    world.claim()
    world.take_token()


AWAKE: list[tuple[str, Break]] = [
    ("a token is out", lambda world: world.client.rpush(world.keys["wake"], "1")),
    ("paused", hset("meta", "paused", "1")),
    ("no worker lives", zadd("sessions", "s", 5)),
    ("a worker is at work", be_at_work),
    ("nothing waits", lambda world: world.client.delete(world.keys["waiting"], world.keys.job("a"))),
]


@pytest.mark.parametrize("wake", [row[1] for row in AWAKE], ids=[row[0] for row in AWAKE])
def test_jobs_may_wait_when_nobody_sleeps(world: World, wake: Break) -> None:
    world.enter("s")
    world.add("a")
    world.client.set(world.keys.job("a"), seal(make_head("sms", "", 0, None, NOTHING_GIVEN), b"null"))
    world.take_token()
    wake(world)
    assert world.audit() == []


def test_a_finding_that_is_gone_at_the_second_look_is_not_reported(broken: World) -> None:
    broken.client.hset(broken.keys["cancels"], "waiting", "")
    steps = audits.audit(broken.keys)
    answer: Any = None
    with pytest.raises(StopIteration) as stop:
        while True:
            answer = broken(steps.send(answer))
            if getattr(answer, "suspects", None):
                broken.client.hdel(broken.keys["cancels"], "waiting")
    assert stop.value.value == []


def test_what_is_found_is_printable(broken: World) -> None:
    broken.client.hset(broken.keys["cancels"], b"a\n\xff\x1b[2J", "")
    assert broken.audit() == ["cancels a\\n\\xff\\x1b[2J: its job is not active"]


def test_an_audit_reads_only(broken: World) -> None:
    broken.client.hset(broken.keys["cancels"], "waiting", "")
    before = {key: broken.client.dump(key) for key in broken.client.scan_iter()}
    broken.audit()
    after = {key: broken.client.dump(key) for key in broken.client.scan_iter()}
    assert before == after


def test_keys_of_other_queues_are_not_looked_at(broken: World) -> None:
    for other in ("redqueue:{q2}:x", "redqueue:{q:x", "other:{q}:x", "redqueue:{q}", "redqueue:(q):x"):
        broken.client.set(other, "1")
    assert broken.audit() == []


def test_a_long_queue_is_looked_at_page_by_page(world: World) -> None:
    ids = [f"j{n}" for n in range(2500)]
    world.add(*ids)
    for first in range(0, 2000, 1000):
        assert len(world.claim(1000)) == 1000, first
    world.broken = True
    for one in ids[1::500]:
        world.client.delete(world.keys.job(one))
    found = world.audit()
    assert sorted(found) == sorted(
        f"{'active' if n < 2000 else 'waiting'} j{n}: its job key is missing" for n in range(1, 2500, 500)
    )

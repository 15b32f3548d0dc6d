"""Letting time pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redqueue.core import inspect
from redqueue.core.advance import advance
from redqueue.core.lease import Settles, recover
from redqueue.core.lifecycle import Complete

if TYPE_CHECKING:
    from tests.core.conftest import World

HOUR = 3_600_000


def test_delayed_jobs_become_due_in_order(world: World) -> None:
    world.add("later", delay=3000)
    world.add("sooner", delay=60)
    world.take_token()
    world.drive(advance(world.keys, HOUR))
    assert world.tokens() == 1
    assert [run.id for run in world.claim(2)] == ["sooner", "later"]


def test_leases_run_out_although_a_new_queue_holds_recovery(world: World) -> None:
    world.enter("s")
    world.add("a")
    world.claim()
    assert world(recover(world.keys, 3)).hold_ms > 0
    world.drive(advance(world.keys, HOUR))
    assert world(recover(world.keys, 3)).count == 1
    assert world.places("a") == ["waiting"]


def test_many_leases_run_out(world: World) -> None:
    world.add(*(f"j{n}" for n in range(2100)))
    for n in (1000, 1000, 100):
        assert len(world.claim(n)) == n
    world.drive(advance(world.keys, HOUR))
    assert world(inspect.get_stats(world.keys)).active == 2100
    assert world.client.zcount(world.keys["active"], 1, world.now_ms()) == 2100


def test_finished_jobs_and_ages_of_their_own_grow_old(world: World) -> None:
    world.finish("completed", "a")
    world.add("own")
    world.run("own", Complete(b""), keep_completed="600000")
    (listed,) = world.client.zrange(world.keys["completed"], 0, 0, withscores=True)
    world.drive(advance(world.keys, HOUR))
    (moved,) = world.client.zrange(world.keys["completed"], 0, 0, withscores=True)
    assert listed[1] - moved[1] == HOUR
    assert world(inspect.get_status(world.keys, "own")) is None
    world(recover(world.keys, 3))
    assert world.kept_keys() == {"job:a", "outcome:a"}


def test_notes_grow_old(world: World) -> None:
    world.add("a")
    world.snooze("a", note="busy since 5")
    (before,) = world.client.hvals(world.keys["notes"])
    world.drive(advance(world.keys, HOUR))
    (after,) = world.client.hvals(world.keys["notes"])
    assert int(before.split()[0]) - int(after.split()[0]) == HOUR
    assert after.endswith(b" busy since 5")


def test_an_empty_queue_stays_empty(world: World) -> None:
    world.drive(advance(world.keys, HOUR))
    assert world.pump(Settles(), 1).claimed == []

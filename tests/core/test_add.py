"""What an add finds of jobs that are known already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from redqueue.core import inspect, lease
from redqueue.core.add import add, prepare
from redqueue.core.lifecycle import Complete, Fail

if TYPE_CHECKING:
    from tests.core.conftest import World

ERROR = b'{"type":"ValueError","message":"no"}'


def end_with_its_age_over(world: World, job_id: str, settlement: Any) -> None:
    """Finished, with a line logged; its own age is over, and nothing has swept it yet."""
    world.add(job_id, data="former")
    (run,) = world.claim()
    world.tell((run, "l", b"a line"), (run, "s", b"1"))
    world.settle(run, settlement, keep_completed="60000", keep_failed="60000")
    world.client.zadd(world.keys["expiring"], {job_id: world.now_ms()})


@pytest.mark.parametrize("settlement", [Complete(b'"x"'), Fail(ERROR)])
@pytest.mark.parametrize(("options", "state"), [({}, "waiting"), ({"delay": 60, "priority": 2}, "delayed")])
def test_a_job_whose_own_age_is_over_is_no_duplicate(
    world: World, settlement: Any, options: dict[str, Any], state: str
) -> None:
    world.enter()
    end_with_its_age_over(world, "a", settlement)
    assert world(inspect.get_status(world.keys, "a")) is None
    assert world.add("a", "b", data="new", **options) == ["created", "created"]
    assert (world.places("a"), world.outcome("a"), world.lines("a")) == ([state], {}, [])
    assert world(inspect.get_data(world.keys, "a")) == "new"
    assert not world.client.exists(world.keys["expiring"], world.keys["logged"])
    world(lease.recover(world.keys, 3))  # which sweeps what is over
    assert world.places("a") == [state]
    assert world.audit() == []


def test_it_takes_the_place_of_the_former_one_once(world: World) -> None:
    world.enter()
    end_with_its_age_over(world, "a", Complete(b"1"))
    assert world.add("a", "a") == ["created", "duplicate"]
    assert world.add("a") == ["duplicate"]


def test_an_add_sent_again_leaves_what_became_of_its_jobs(world: World) -> None:
    world.enter()
    end_with_its_age_over(world, "a", Complete(b"1"))
    made = [prepare("sms", None, {"job_id": "a"}, {}, created_ms=1, fresh_id="")]
    call = add(world.keys, made).on(world.keys.producer("again"), 1)
    first = call.read(world.send(call))
    world.run("a", Complete(b"2"), keep_completed="60000")
    world.client.zadd(world.keys["expiring"], {"a": world.now_ms()})
    before = world.stored()
    assert call.read(world.send(call)) == first
    assert world.stored() == before


def test_one_that_is_kept_is_a_duplicate(world: World) -> None:
    world.enter()
    world.add("a")
    world.run("a", Complete(b"1"), keep_completed="60000")
    assert world.add("a") == ["duplicate"]
    assert world.places("a") == ["completed"]


def test_no_data_of_what_is_known_is_read(real: World) -> None:
    """A call of a thousand small jobs may name a thousand that are a megabyte each."""
    ids = [f"j{n}" for n in range(20)]
    real.add(*ids)
    real.client.config_resetstat()
    assert real.add(*ids, "new") == ["duplicate"] * 20 + ["created"]
    called = {name: told["calls"] for name, told in real.client.info("commandstats").items()}
    assert (called["cmdstat_exists"], called["cmdstat_get"]) == (1 + 21, 1)  # one is the lane's record
    assert "cmdstat_mget" not in called

"""The checker finds every bug that is planted in a script, and nothing where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from redis.exceptions import ResponseError
from tests.chaos.rehearsal import STORIES, Bug, Story, World

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from chaos.checker import Verdict

NO_LEASE: Final = "  redis.call('HSET', leases, unpack(leasing))\n"
NOT_ACTIVE: Final = "  redis.call('ZADD', active, unpack(deadlines))\n"

BUGS: Final = {
    "settle without a token": Bug(
        "outcome",
        "pump",
        "if not lease or string.sub(lease, 1, #holder) ~= holder then return nil end",
        "if not lease then return nil end",
    ),
    "a settle is lost": Bug(
        "lost", "pump", "end_runs(settled.c, settled.f, settled.x)", "end_runs({}, settled.f, settled.x)"
    ),
    "a failure is lost": Bug("lost", "pump", "finish(broken, failed,", "finish({}, failed,"),
    "an outcome is recorded twice": Bug(
        "recorded twice",
        "pump",
        "redis.call('HINCRBY', meta, total, #runs)",
        "redis.call('HINCRBY', meta, total, 2 * #runs)",
    ),
    "a failure is not counted": Bug(
        "extra run", "pump", "set_tries(run.id, failed_runs + 1,", "set_tries(run.id, failed_runs,"
    ),
    "a release drops the job": Bug(
        "lost", "pump", "    redis.call('ZADD', waiting, (lease_parts(run.lease)), run.id)\n"
    ),
    "a cancelled run is dropped": Bug(
        "lost", "pump", "end_runs(settled.c, settled.f, settled.x)", "end_runs(settled.c, settled.f, {})"
    ),
    "claim without a lease": Bug("audit", "pump", NO_LEASE),
    "claim without a deadline": Bug("lost", "pump", NOT_ACTIVE),
    "claim of more than was asked for": Bug(
        "limit", "pump", "redis.call('ZPOPMIN', waiting, count)", "redis.call('ZPOPMIN', waiting, count + 5)"
    ),
    "claim that does not take out of line": Bug(
        "recorded twice",
        "pump",
        "redis.call('ZPOPMIN', waiting, count)",
        "redis.call('ZRANGE', waiting, 0, count - 1, 'WITHSCORES')",
    ),
    "a late claim is answered though the lease is over": Bug(
        "extra run", "pump", "local still = kept and", "local still = true or kept and"
    ),
    "a fence that does not grow": Bug(
        "fence", "pump", "math.max(tonumber(facts[4] or 0) + 1, clock[1] * 1000000 + clock[2])", "7"
    ),
    "a fence of whole hours": Bug(
        "fence",
        "pump",
        "math.max(tonumber(facts[4] or 0) + 1, clock[1] * 1000000 + clock[2])",
        "math.floor(clock[1] / 3600)",
    ),
    "promote copies": Bug("extra run", "pump", "  redis.call('ZREM', delayed, unpack(ids))\n"),
    "promote drops": Bug("lost", "pump", "  redis.call('ZADD', waiting, unpack(line))\nend", "end"),
    "a retry is not delayed but dropped": Bug(
        "lost", "pump", "redis.call('ZADD', delayed, now + run.ms, run.id)\n      if priority", "if priority"
    ),
    "an add that is not idempotent": Bug("extra run", "add", "if known and not over then", "if false then"),
    "an add that forgets what it did": Bug(
        "recorded twice", "add", "if kept then return {word = kept} end", keep_all=False
    ),
    "an add that stores and does not line up": Bug("lost", "add", "  redis.call('ZADD', waiting, unpack(line))\n"),
    "an add that drops what is delayed": Bug("lost", "add", "  redis.call('ZADD', delayed, unpack(later))\n"),
    "recover without the guard": Bug("extra run", "recover", "'-inf', held > 0 and 0 or now,", "'-inf', now,"),
    "recover leaves the job active": Bug("audit", "recover", "redis.call('ZREM', active, unpack(ids))\n", "\n"),
    "recover drops": Bug(
        "lost",
        "recover",
        "      redis.call('ZADD', waiting, found[i] and order or order_of(0, take_sequence(1) + 1), id)\n",
    ),
    "recover leaves the lease in force": Bug("recorded twice", "recover", "(crash and 'C' or 'R')", "'.'"),
    "recover of those who live": Bug("extra run", "recover", "'-inf', held > 0 and 0 or now,", "'-inf', now + lease,"),
    "renew does not renew": Bug(
        "extra run", "renew", "if #deadlines > 0 then redis.call('ZADD', active, unpack(deadlines)) end"
    ),
    "expire takes everybody's": Bug("extra run", "expire", "string.sub(found[i], 1, #holder) == holder", "true"),
    "a worker that leaves drops its jobs": Bug(
        "lost", "leave", "if #line > 0 then redis.call('ZADD', waiting, unpack(line)) end"
    ),
    "cancel loses": Bug("lost", "cancel", "    listed[#listed + 1] = run\n"),
    "cancel leaves in line": Bug("outcome", "cancel", "redis.call('ZREM', PLACES[state], job_id)\n", "\n"),
    "retention takes from those that wait": Bug(
        "lost",
        "pump",
        "local gone = redis.call('ZRANGE', list, 0, math.min(excess, TRIM) - 1)",
        "local gone = redis.call('ZRANGE', waiting, 0, 0)\n    if #gone == 0 then return end",
        keep_all=False,
    ),
    "retention takes from those that run": Bug(
        "audit",
        "pump",
        "local gone = redis.call('ZRANGE', list, 0, math.min(excess, TRIM) - 1)",
        "local gone = redis.call('ZRANGE', active, 0, 0)",
        keep_all=False,
    ),
}


def play(client: redis.Redis, folder: Path, bug: Bug | None, *, keep_all: bool) -> tuple[World, Verdict]:
    """All stories on one queue, one after the other."""
    folder.mkdir()
    client.flushall()
    world = World(client, folder, bug=bug, keep_all=keep_all)
    for story in STORIES:
        tell(world, story, buggy=bug is not None)
    return world, world.verdict()


def tell(world: World, story: Story, *, buggy: bool) -> None:
    """A bug may take the ground from under a story: what it had claimed isn't there. The rest is told nevertheless."""
    try:
        story(world)
    except (ValueError, ResponseError):
        if not buggy:
            raise
    world.run_the_rest()


@pytest.mark.parametrize("keep_all", [True, False], ids=["all kept", "two kept"])
def test_a_life_without_a_bug_is_accepted(client: redis.Redis, tmp_path: Path, keep_all: bool) -> None:
    _, verdict = play(client, tmp_path / "ledger", None, keep_all=keep_all)
    assert verdict.lines() == []
    assert (verdict.lost, verdict.twice) == (0, 0)
    assert verdict.explained == {"killed": 3, "stopped": 1}
    assert verdict.extra == 4


@pytest.mark.parametrize("bug", [pytest.param(bug, id=name) for name, bug in BUGS.items()])
@pytest.mark.no_audit
def test_a_planted_bug_is_found(client: redis.Redis, tmp_path: Path, bug: Bug) -> None:
    world, verdict = play(client, tmp_path / "ledger", bug, keep_all=bug.keep_all)
    assert world.wire.bitten
    assert bug.found_as in verdict.findings

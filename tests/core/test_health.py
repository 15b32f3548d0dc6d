from __future__ import annotations

from dataclasses import replace

import pytest

from redqueue.core.health import judge, without_stats
from redqueue.errors import RedisFull, RedisRefused, RedisUnavailable
from redqueue.records import QueueStats

IDLE = QueueStats(
    waiting=0,
    active=0,
    succeeded=0,
    failed=0,
    delayed=0,
    cancelled=0,
    kept_completed=0,
    kept_failed=0,
    paused=False,
    oldest_waiting_s=None,
    workers=0,
)


@pytest.mark.parametrize(
    ("stats", "healthy"),
    [
        (IDLE, True),
        (replace(IDLE, waiting=5, workers=1, oldest_waiting_s=3.0), True),
        (replace(IDLE, waiting=5), False),
        (replace(IDLE, paused=True, workers=1), False),
    ],
)
def test_healthy_is_what_moves(stats: QueueStats, healthy: bool) -> None:
    health = judge(stats)
    assert (health.healthy, health.reachable) == (healthy, True)
    assert (health.problem is None) == healthy
    assert (health.waiting, health.oldest_waiting_s) == (stats.waiting, stats.oldest_waiting_s)


def test_who_answered_was_reached() -> None:
    assert without_stats(RedisRefused("no")).reachable
    assert without_stats(RedisFull("full")).reachable
    lost = without_stats(RedisUnavailable("gone", sent=False))
    assert (lost.reachable, lost.healthy, lost.problem) == (False, False, "gone")

"""Whether a queue moves."""

from __future__ import annotations

from redqueue.errors import RedisError, RedisUnavailable
from redqueue.records import QueueHealth, QueueStats


def judge(stats: QueueStats) -> QueueHealth:
    """Healthy: nobody paused the queue, and whatever waits has a worker."""
    problem = None
    if stats.paused:
        problem = "the queue is paused: resume it"
    elif stats.waiting and not stats.workers:
        problem = "jobs wait and no worker was seen: start one for this queue"
    return QueueHealth(
        healthy=problem is None,
        reachable=True,
        workers=stats.workers,
        waiting=stats.waiting,
        oldest_waiting_s=stats.oldest_waiting_s,
        paused=stats.paused,
        problem=problem,
    )


def without_stats(error: RedisError) -> QueueHealth:
    """What is known when Redis didn't tell: whether it answered at all, and why that is no use."""
    return QueueHealth(
        healthy=False,
        reachable=not isinstance(error, RedisUnavailable),
        workers=0,
        waiting=0,
        oldest_waiting_s=None,
        paused=False,
        problem=str(error),
    )

"""Judging a queue. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from redqueue.core.codec import FORMAT
from redqueue.doctor.facts import Facts, Finding, Level, QueueFacts

WITHOUT_WORKER_S: Final = 60.0
"""How long jobs may wait without a worker before that is an error: a deploy takes less."""
BEHIND_S: Final = 600.0
MOST_SHOWN: Final = 10

_START: Final = "start a worker for this queue: python -m redqueue.worker MODULE -q {name}"


def judge(facts: QueueFacts) -> Iterator[Finding]:
    """What there is to say of one queue."""
    where = f"queue {facts.name}"
    if facts.refused:
        yield Finding("hint", "queue", where, f"not allowed to look: {facts.refused}", "see the page on ACLs", True)
        return
    if _is_unknown(facts):
        yield Finding(
            "warning",
            "queue",
            where,
            "nothing is stored under that name: no job was added, and no worker came",
            "compare name, prefix, database and URL with a producer's",
        )
        return
    if facts.format not in (None, "", FORMAT):
        yield Finding(
            "error",
            "format",
            where,
            f"it is stored in format {facts.format}, and this release has format {FORMAT}",
            "upgrade redqueue here, or use another queue name or prefix",
        )
        return
    for level, check, says, do in (*_flow(facts), *_stuck(facts)):
        yield Finding(level, check, where, says, do)
    if facts.late is None or facts.due is None:
        yield Finding("hint", "stuck", where, "not allowed to look (denied: ZCOUNT)", "see the page on ACLs", True)
    yield from _audit(facts, where)


def strangers(facts: Facts) -> Iterator[Finding]:
    """What is to be said of keys under the prefix that no queue has, and of queues that could not be looked for."""
    if facts.searched is None:
        do = "name the queues: -q NAME"
        yield Finding("hint", "orphans", "prefix", "not allowed to look (SCAN is denied)", do, True)
    elif facts.stranger_count:
        shown = ", ".join(facts.strangers[:MOST_SHOWN])
        more = facts.stranger_count - len(facts.strangers[:MOST_SHOWN])
        yield Finding(
            "warning",
            "orphans",
            "prefix",
            f"keys that belong to no queue, {facts.stranger_count:,}: {shown}{f' and {more:,} more' if more else ''}",
            "remove them when nothing else uses them, or give redqueue a prefix of its own",
        )
    elif facts.searched:
        yield Finding("ok", "orphans", "prefix", "all keys under the prefix belong to a queue")
    if facts.searched and not facts.queues:
        yield Finding(
            "hint", "queue", "prefix", "there is no queue", "compare URL, database and prefix with a producer's"
        )


Said = tuple[Level, str, str, str]


def _is_unknown(facts: QueueFacts) -> bool:
    """Queues that were searched for have keys; one that was named may have none."""
    stats = facts.stats
    if facts.format != "" or stats is None:
        return False
    ever = (stats.waiting, stats.active, stats.delayed, stats.succeeded, stats.failed, stats.cancelled, stats.workers)
    return not stats.paused and not any(ever)


def _flow(facts: QueueFacts) -> Iterator[Said]:
    stats = facts.stats
    assert stats is not None
    told = (
        f"{stats.waiting:,} waiting, {stats.delayed:,} delayed, {stats.active:,} active; "
        f"{stats.workers:,} worker{'' if stats.workers == 1 else 's'}"
    )
    oldest = stats.oldest_waiting_s or 0.0
    if stats.paused:
        level: Level = "warning" if stats.waiting or stats.delayed else "hint"
        yield level, "paused", f"it is paused; {told}", "resume it when that is over: queue.resume()"
    elif stats.waiting and not stats.workers:
        level = "error" if oldest > WITHOUT_WORKER_S else "warning"
        yield level, "workers", f"the next job has waited {_age(oldest)}, and no worker was seen; {told}", _start(facts)
    elif oldest > BEHIND_S:
        yield (
            "warning",
            "workers",
            f"the next job has waited {_age(oldest)}; {told}",
            "run more workers, raise their concurrency, or see what holds them up: more comes than is done",
        )
    else:
        yield "ok", "workers", told, ""


def _stuck(facts: QueueFacts) -> Iterator[Said]:
    if facts.late:
        yield (
            "error",
            "stuck",
            f"{facts.late:,} running jobs whose lease ended over {_age(facts.lease_s)} ago, and nobody takes them back",
            _start(facts),
        )
    if facts.due and not (facts.stats and facts.stats.paused):
        yield (
            "error",
            "stuck",
            f"{facts.due:,} delayed jobs are due for over {_age(facts.lease_s)}, and nobody takes them",
            _start(facts),
        )
    if facts.late == 0 and facts.due == 0:
        yield "ok", "stuck", "no job is stuck", ""


def _audit(facts: QueueFacts, where: str) -> Iterator[Finding]:
    if facts.audit_denied:
        yield Finding("hint", "audit", where, "not allowed to look", "see the page on ACLs", True)
    elif facts.audit is None:
        yield Finding("hint", "audit", where, "not looked at")
    elif not facts.audit:
        yield Finding("ok", "audit", where, "all is consistent")
    else:
        for line in facts.audit[:MOST_SHOWN]:
            yield Finding("error", "audit", where, line, "see docs/doctor.md: what an inconsistent queue needs")
        if (more := len(facts.audit) - MOST_SHOWN) > 0:
            yield Finding("error", "audit", where, f"{more:,} more findings of the audit", "queue.audit() has all")


def _start(facts: QueueFacts) -> str:
    return _START.format(name=facts.name)


def _age(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"

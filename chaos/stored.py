"""What Redis says in the end: where each job is, what was recorded of it, and what an audit finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args

import msgspec
import redis

from redqueue import Queue
from redqueue.core.keys import Keys
from redqueue.records import QueueStats, State

FINISHED: Final = frozenset({"completed", "failed", "cancelled"})
CRASHED: Final = "WorkerCrashed"
_PAGE: Final = 1000


class Stored(msgspec.Struct):
    """A queue at rest.

    Attributes:
        states: by job. One in two places has the last of them here, and a finding of the audit.
        fences: by completed job, that of the run whose outcome was recorded; a job's result is its fence.
        errors: by failed job, the type of its error.
        recorded: how many outcomes were recorded in all, by totals that no trimming changes.
        findings: of the audit.
        kept_all: whether every finished job was kept, so that one that is nowhere is lost.
    """

    states: dict[str, str]
    fences: dict[str, int]
    errors: dict[str, str]
    recorded: int
    findings: list[str]
    kept_all: bool


def read_queue(queue: Queue, url: str, *, kept_all: bool) -> Stored:
    """Look at everything: a round trip for each 1,000 jobs, an audit, and the totals."""
    with redis.Redis.from_url(url, protocol=2) as client:
        return read_stored(
            client, Keys(queue.name, "redqueue"), queue.get_stats(), list(queue.audit()), kept_all=kept_all
        )


def read_stored(client: Any, keys: Keys, stats: QueueStats, findings: list[str], *, kept_all: bool) -> Stored:
    """The same from a client, with totals and findings that were asked for already."""
    states, fences, errors = dict[str, str](), dict[str, int](), dict[str, str]()
    for state in get_args(State):
        for ids in _pages(client, keys[state]):
            states.update(dict.fromkeys(ids, state))
            if state in ("completed", "failed"):
                _read_outcomes(client, keys, ids, fences, errors)
    recorded = stats.succeeded + stats.failed + stats.cancelled
    return Stored(states, fences, errors, recorded, findings, kept_all)


def _pages(client: Any, key: str) -> Iterator[list[str]]:
    start = 0
    while page := client.zrange(key, start, start + _PAGE - 1):
        yield [member.decode() for member in page if b" " not in member]  # but for the sentinel
        start += _PAGE


def _read_outcomes(client: Any, keys: Keys, ids: list[str], fences: dict[str, int], errors: dict[str, str]) -> None:
    pipeline = client.pipeline(transaction=False)
    for job_id in ids:
        pipeline.hmget(keys.family("outcome") + job_id, "result", "error")
    for job_id, (result, error) in zip(ids, pipeline.execute(), strict=True):
        if result:
            fences[job_id] = int(result)
        if error:
            errors[job_id] = str(msgspec.json.decode(error)["type"])

"""What redqueue answers with: frozen facts, no I/O.

They are dataclasses, so that FastAPI, pydantic and Flask serialise them as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
State = Literal["waiting", "delayed", "active", "completed", "failed", "cancelled"]
CancelAnswer = Literal["cancelled", "requested", "finished", "missing"]
AddAnswer = Literal["created", "duplicate"]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job as a poller sees it.

    Attributes:
        status: for people and pages: pending, processing, completed, failed or cancelled.
        state: where it is: waiting and delayed are pending, active is processing.
        position: how many jobs are before it in line; None unless it is waiting.
        attempts: runs that failed or finished; not the snoozed, released or crashed ones.
        message: why it waits, when there is a reason worth telling.
        error: ``Type: text`` of the last failure, also while a retry is due.
        created_at: by its producer's clock; the other times are Redis's.
    """

    job_id: str
    queue: str
    job_type: str
    label: str
    status: Status
    state: State
    position: int | None
    attempts: int
    message: str | None
    result: Any
    error: str | None
    traceback: str | None
    worker: str | None
    created_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready: camelCase keys, ISO times in UTC, no traceback."""
        return {_camel(f.name): _wire(getattr(self, f.name)) for f in fields(self) if f.name != "traceback"}


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue in numbers.

    Attributes:
        waiting, active, delayed, kept_completed, kept_failed: now.
        succeeded, failed, cancelled: totals, which never shrink when retention trims.
        oldest_waiting_s: seconds since the next job in line was added, None when none waits.
        workers: sessions seen within two leases.
    """

    waiting: int
    active: int
    succeeded: int
    failed: int
    delayed: int
    cancelled: int
    kept_completed: int
    kept_failed: int
    paused: bool
    oldest_waiting_s: float | None
    workers: int

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready: camelCase keys."""
        return {_camel(f.name): getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """Whether a queue moves: what a health endpoint answers with.

    Attributes:
        healthy: Redis answers, nobody paused the queue, and whatever waits has a worker.
        reachable: Redis answered; when it didn't, the numbers are zero or None and `problem` says why.
        workers: sessions seen within two leases.
    """

    healthy: bool
    reachable: bool
    workers: int
    waiting: int
    oldest_waiting_s: float | None
    paused: bool
    problem: str | None

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready: camelCase keys."""
        return {_camel(f.name): getattr(self, f.name) for f in fields(self)}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _wire(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value

"""What redqueue answers with: frozen facts, no I/O.

They are dataclasses, so that FastAPI, pydantic and Flask serialise them as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

Status = Literal["pending", "processing", "completed", "failed", "cancelled"]
State = Literal["waiting", "delayed", "active", "completed", "failed", "cancelled"]
CancelAnswer = Literal["cancelled", "requested", "finished", "missing"]
AddAnswer = Literal["created", "duplicate"]
Durability = Literal["memory", "replica", "fsync"]
AttemptOutcome = Literal["completed", "failed", "retrying", "snoozed", "cancelled", "released"]
EventKind = Literal[
    "added",
    "active",
    "progress",
    "completed",
    "failed",
    "retrying",
    "delayed",
    "recovered",
    "cancelled",
    "expired",
    "removed",
    "drained",
    "paused",
    "resumed",
    "missed",
]


_NOT_ON_THE_WIRE: Final = frozenset(("traceback", "sub_account_id", "user_id"))


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One job as a poller sees it.

    Attributes:
        status: for people and pages: pending, processing, completed, failed or cancelled.
        state: where it is: waiting and delayed are pending, active is processing.
        position: how many jobs are before it in line; None unless it is waiting.
        attempts: runs that failed or finished; not the snoozed, released or crashed ones.
        progress: from 0 to 1, as the run told it last; 1 for a completed job that told none.
        message: why it waits, when there is a reason worth telling; what the run told with its progress, while it is
            active, and of a finished job when there is no reason why it was cancelled.
        error: ``Type: text`` of the last failure, also while a retry is due.
        created_at: by its producer's clock; the other times are Redis's.
        sub_account_id, user_id: who asked, as the job was added; never on the wire.
    """

    job_id: str
    queue: str
    job_type: str
    label: str
    status: Status
    state: State
    position: int | None
    attempts: int
    progress: float | None
    message: str | None
    result: Any
    error: str | None
    traceback: str | None
    worker: str | None
    created_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    sub_account_id: str | None = None
    user_id: str | None = None

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready: camelCase keys, ISO times in UTC; no traceback, and not who asked."""
        return {_camel(f.name): _wire(getattr(self, f.name)) for f in fields(self) if f.name not in _NOT_ON_THE_WIRE}


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


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """Whether a worker can take jobs: what a readiness probe answers with.

    Attributes:
        ready: its calls that settle and claim are answered, or it has no free slot and its leases are renewed.
        worker: host and process id; None: it doesn't work.
        running: jobs that run now.
        claimed_s_ago: seconds since Redis last answered such a call, of the queue for which that is longest; None:
            before the first.
        longest_lag_s: the longest time since its start for which its event loop stood while jobs ran, as far as looks
            at it tell, twice in 2 s.
    """

    ready: bool
    worker: str | None
    running: int
    claimed_s_ago: float | None
    longest_lag_s: float
    problem: str | None

    def to_wire(self) -> dict[str, Any]:
        """JSON-ready: camelCase keys."""
        return {_camel(f.name): getattr(self, f.name) for f in fields(self)}


class Event(msgspec.Struct, frozen=True):
    """One thing that happened in a queue.

    Attributes:
        id: pass it as ``since`` to go on behind this event.
        kind: "expired" is told beside the "failed" of the same job; "missed" says that this reader lost some events.
        job_id: None for what concerns the whole queue: drained, paused, resumed, missed.
        at: by Redis's clock.
        facts: what there is to say beside that, with units in the names. active: worker. progress: progress, message,
            data. completed: result, unless it is longer than 1 KiB. failed: attempt, and error_type and error, unless
            they are too long. retrying: the same and delay_s; nothing when it was retried by hand. delayed: delay_s,
            reason. recovered: crashed. cancelled: reason.
    """

    id: str
    kind: EventKind
    queue: str
    job_id: str | None
    at: datetime
    facts: Mapping[str, Any]


class JobToAdd(msgspec.Struct, frozen=True):
    """A job on its way to the queue, as a middleware sees it: change it with `msgspec.structs.replace`.

    Attributes:
        data: as it was passed, not encoded yet.
        options: as they were passed; the queue's defaults come after.
    """

    queue: str
    job_type: str
    data: Any
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker has entered its queues and claims from now on."""

    worker: str
    queues: tuple[str, ...]
    concurrency: int


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """A worker has left."""

    worker: str
    jobs_claimed: int


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One run of a job ended.

    Attributes:
        label: what people read; empty for jobs that have none.
        run_ms: from entering the function to its end; 0 when the run was given up.
        error_type: the class name of what it raised, of failed and retried ones.
    """

    queue: str
    job_id: str
    job_type: str
    label: str
    attempt: int
    outcome: AttemptOutcome
    run_ms: float
    error_type: str | None


@dataclass(frozen=True, slots=True)
class WorkerError:
    """Something stands in a worker's way that concerns no single job."""

    worker: str
    where: str
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class LeaseGone:
    """A run's lease is lost: another worker may have the job, and the run is told to stop."""

    queue: str
    job_id: str
    attempt: int


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.title() for word in rest)


def _wire(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value

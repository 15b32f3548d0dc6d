"""What the model is made of: jobs, leases and sessions as objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from redqueue.core.lease import Claimed
from redqueue.core.lifecycle import FOR_ANOTHER

SPAN: Final = 2**42
HALF: Final = 2**41


@dataclass
class Lease:
    """A session's right to a job, or the last one it had."""

    session: str
    number: int
    order: int
    claimed: int
    position: int
    mark: str = "."

    def is_of(self, session: str, number: int) -> bool:
        return (self.session, self.number) == (session, number)

    def text(self) -> tuple[Any, ...]:
        return (f"{self.session}:{self.number}", self.order, self.claimed, self.position, self.mark)


@dataclass
class Job:
    """A job; `score` is its order, when it is due, its deadline, or when it finished."""

    id: str
    envelope: bytes
    created: int
    state: str
    score: int
    parked: str = ""
    lease: Lease | None = None
    failed: int = 0
    crashes: int = 0
    recoveries: int = 0
    note: tuple[int, str] | None = None
    cancel: str | None = None
    outcome: dict[str, Any] = field(default_factory=dict)
    expires: int | None = None
    start_by: int | None = None
    progress: str | None = None
    saved: str | None = None
    lines: list[str] = field(default_factory=list)

    def move(self, state: str, score: int, *, parked: str = "", lease: Lease | None = None) -> None:
        self.state, self.score, self.parked, self.lease = state, score, parked, lease

    def forgive(self, mark: str) -> None:
        """Its holder came back: no crash after all, if one was counted."""
        self.crashes -= mark == "C" and self.crashes > 0

    def tell(self, kind: str, text: str) -> None:
        """Its run tells of itself: the latest progress and checkpoint, and every line."""
        if kind == "p":
            self.progress = text
        elif kind == "s":
            self.saved = text
        else:
            self.lines.append(text)

    def take_note(self, now: int, why: str) -> None:
        """Why it waits; the same reason again holds since it held first."""
        since, before = self.note or (now, "")
        still = why == before or (why.startswith(FOR_ANOTHER) and before.startswith(FOR_ANOTHER))
        self.note = (since if still else now, why) if why else None

    @property
    def order(self) -> int:
        """Where its lease says it goes back to."""
        assert self.lease is not None
        return self.lease.order

    @property
    def tries(self) -> tuple[int, int, int]:
        return (self.failed, self.crashes, self.recoveries)


@dataclass
class Run:
    """An outcome that was handed back, and what it becomes: c f r s l k, or x for cancelled."""

    job: Job
    verb: str
    ms: int
    keep: str
    told: dict[str, Any]

    @classmethod
    def of(cls, job: Job, verdict: str, outcome: bytes | str, worker: str) -> Run:
        assert job.lease is not None
        given, ms, keep, attempt = verdict.split(" ")
        verb = "x" if job.cancel is not None and given in "rslk" else given
        kind = {"c": "result", "x": "reason", "s": "note", "l": "note"}.get(verb, "error")
        text = outcome.decode() if isinstance(outcome, bytes) else outcome
        # What was cut short by a cancel burned no attempt, unless it failed.
        burned = int(attempt) - (verb == "x" and given != "r")
        told = {kind: job.cancel if verb == "x" else text, "attempt": burned, "worker": worker}
        return cls(job, verb, int(ms), keep, {**told, "priority": job.order // SPAN, "started": job.lease.claimed})


class Lane(NamedTuple):
    """What a session's lane did last: what it was answered, and the ids that it claimed."""

    number: int = 0
    words: str = ""
    told: str = ""
    fence: int = 0
    ids: Sequence[str] = ()


@dataclass
class Session:
    """What is kept of one start of one worker."""

    facts: dict[str, Any] = field(default_factory=dict)
    lanes: dict[str, Lane] = field(default_factory=dict)
    unstarted: tuple[int, list[tuple[int, int]]] | None = None


def order_of(priority: int, sequence: int) -> int:
    return priority * SPAN + HALF + sequence


def parked_priority(parked: str) -> int:
    return int(parked[1:]) // SPAN if parked.startswith("o") else int(parked[1:] or 0)


def as_claimed(job: Job, fence: int) -> Claimed:
    assert job.lease is not None
    since, why = job.note or (0, "")
    lease = job.lease
    saved = None if job.saved is None else job.saved.encode()
    return Claimed(
        job.id, lease.number, lease.position, job.envelope, job.failed, job.crashes, why, since, saved, fence
    )

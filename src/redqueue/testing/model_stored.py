"""What is stored of the model's queue, and the moves that several scripts share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from redqueue.core.lease import Claimed
from redqueue.testing.model_parts import SPAN, Job, Session, order_of, parked_priority

HOUR: Final = 3_600_000


@dataclass
class Stored:
    """One queue's jobs and workers.

    Attributes:
        now: the time by Redis's clock, in ms.
        jobs: all that are known, by id.
        sessions, seen: what is kept of workers, and when each gave its last sign of life.
        producers: what each producer's lane did last: its number, and what it was answered.
        meta: what concerns the whole queue: pause, lease, rules, totals.
        token: whether a wake token is there for an idle worker.
    """

    now: int
    jobs: dict[str, Job] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    producers: dict[str, tuple[int, str]] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    token: bool = False

    @property
    def paused(self) -> bool:
        """Whether no jobs are handed out."""
        return "paused" in self.meta

    def jobs_in(self, state: str) -> list[Job]:
        """Those of one state, in its order."""
        return sorted((job for job in self.jobs.values() if job.state == state), key=lambda job: (job.score, job.id))

    def _visible(self, id: str) -> Job | None:
        """A finished job whose own age is over is gone for everybody who asks."""
        job = self.jobs.get(id)
        return None if job is None or (job.expires is not None and job.expires <= self.now) else job

    def _held(self, id: str, session: str, number: int) -> str | None:
        job = self.jobs.get(id)
        return job.lease.mark if job and job.lease and job.lease.is_of(session, number) else None

    def holds(self, session: str, run: Claimed) -> bool:
        """Whether the session may settle that run."""
        return self._held(run.id, session, run.number) is not None

    def _sequence(self) -> int:
        self.meta["seq"] = self.meta.get("seq", 0) + 1
        return int(self.meta["seq"])

    @property
    def lease(self) -> int:
        """Its length in ms."""
        return int(self.meta.get("lease", 30_000))

    def _keep(self) -> list[int]:
        return [int(limit) for limit in self.meta.get("keep", "10 -1 50 -1").split(" ")]

    def _next_due(self) -> int | None:
        return min((job.score for job in self.jobs_in("delayed")), default=None)

    def _wake(self) -> None:
        self.token |= bool(self.jobs_in("waiting")) and not self.paused

    def _wake_if_earlier_than(self, earliest: int | None) -> None:
        """Idle workers sleep until what was the earliest."""
        due = self._next_due()
        self.token |= due is not None and (earliest is None or due < earliest)

    def _line_up(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            sequence = self._sequence()
            kept = job.parked.startswith("o")
            job.move("waiting", int(job.parked[1:]) if kept else order_of(parked_priority(job.parked), sequence))

    def _touch(self, asked: int = 0) -> int:
        if asked > self.meta.get("lease", 0):
            self.meta["lease"] = asked
        lease, seen = self.lease, self.meta.get("seen")
        latest = self.now + lease // 2
        gap = seen is None or self.now < seen or self.now - seen > lease / 2
        self.meta["hold"] = latest if gap else min(self.meta.get("hold", 0), latest)
        self.meta["seen"] = self.now
        return lease

    def _end(self, job: Job, state: str, told: dict[str, Any], keep: str = "-") -> None:
        self.meta[state] = self.meta.get(state, 0) + 1
        ended = self.jobs[job.id] = Job(job.id, job.envelope, job.created, state, self.now)
        ended.outcome = {**told, "finished": self.now}
        ended.lines = job.lines
        if job.saved is not None and state != "completed":
            ended.outcome["state"] = job.saved
        if keep != "-":
            ended.score, ended.expires = SPAN + self.now, self.now + int(keep)

    def _trim(self, state: str, count: int, age: int) -> None:
        counted = [job for job in self.jobs_in(state) if job.expires is None]
        self._drop(counted[: max(len(counted) - count, 0)] if count >= 0 else [])
        self._drop(job for job in counted if age >= 0 and job.score <= self.now - age)

    def _drop(self, jobs: Iterable[Job]) -> None:
        for job in list(jobs):
            self.jobs.pop(job.id, None)

"""The running job, as its processor sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

from redqueue.errors import JobCancelled, Seconds
from redqueue.units import from_epoch_ms


class _Injected:
    def __repr__(self) -> str:
        return "INJECTED"


INJECTED: Any = _Injected()
"""The default of a parameter that the worker fills (``context: JobContext = INJECTED``).

Callers leave it out; a job can't set it.
"""


class Receipt(Awaitable[None], Protocol):
    """Noted when the call returned; what was noted reaches Redis within a quarter of a second.

    Await it, or `wait` for it in a thread or child process, to know that Redis has it. Either raises `LeaseLost` when
    another run has the job by now, so that Redis refused it.
    """

    def wait(self, timeout: Seconds | None = None) -> None:
        """Block until Redis has it: in threads and child processes, never on an event loop.

        Raises:
            LeaseLost: Redis refused it.
            TimeoutError: not yet; it is still on its way.
        """


class Run(Protocol):
    """What an executor provides to the context of the run that it carries."""

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop: it is out of time or of its lease, was cancelled, or the worker leaves."""
        ...

    @property
    def restored(self) -> Any:
        """The last checkpoint of an earlier run; None: there was none."""
        ...

    def note_progress(self, done: float | None, message: str | None, data: object) -> Receipt:
        """Send progress, the latest only."""
        ...

    def note_line(self, line: str) -> Receipt:
        """Send a line of the job's log."""
        ...

    def note_state(self, state: object) -> Receipt:
        """Send a checkpoint, the latest only."""
        ...


class JobFacts(msgspec.Struct, frozen=True):
    """What a context tells; it travels to a child process as it is."""

    queue: str
    job_id: str
    job_type: str
    label: str
    attempt: int
    retries: int
    fence: int
    created_ms: int
    deadline_ms: float | None = None
    sub_account_id: str | None = None
    user_id: str | None = None
    given: Mapping[str, Any] = {}


class JobContext:
    """The running job: the same class in coroutines, threads and child processes.

    Attributes:
        job_id, queue, job_type, label: as the job was added.
        attempt: 1 + the failures counted against `retries`.
        retries: how many failures are forgiven.
        fence: grows with every claim of the job: an external system that keeps the highest can refuse an older run.
        idempotency_key: the same for every run of the job; for systems that refuse to do a thing twice.
        created_at: when the job was added, by its producer's clock.
        deadline: when the run is out of time, by this machine's clock; None: never.
        sub_account_id, user_id: who asked, when it was said or the data says so.
        given: the mapping passed as ``context=`` to execute_*; empty for other jobs.
        restored: the state of the last `checkpoint` of an earlier run, as JSON brings it back; None in a first run.
        cancelled: stop: somebody cancelled the job, it is out of time, its lease is lost, or the worker is leaving.
    """

    __slots__ = ("_facts", "_run")

    def __init__(self, run: Run, facts: JobFacts) -> None:
        self._run = run
        self._facts = facts

    @staticmethod
    def current() -> JobContext:
        """The context of the job that runs here: a contextvar, set in its coroutines and threads alike.

        Raises:
            LookupError: no job runs here.
        """
        try:
            return CURRENT.get()
        except LookupError:
            raise LookupError("no job runs here: JobContext.current() works inside a processor") from None

    @property
    def job_id(self) -> str:
        return self._facts.job_id

    @property
    def queue(self) -> str:
        return self._facts.queue

    @property
    def job_type(self) -> str:
        return self._facts.job_type

    @property
    def label(self) -> str:
        return self._facts.label

    @property
    def attempt(self) -> int:
        return self._facts.attempt

    @property
    def retries(self) -> int:
        return self._facts.retries

    @property
    def fence(self) -> int:
        return self._facts.fence

    @property
    def idempotency_key(self) -> str:
        return f"{self._facts.queue}:{self._facts.job_id}"

    @property
    def created_at(self) -> datetime:
        return from_epoch_ms(self._facts.created_ms)

    @property
    def deadline(self) -> datetime | None:
        deadline_ms = self._facts.deadline_ms
        return None if deadline_ms is None else from_epoch_ms(deadline_ms)

    @property
    def sub_account_id(self) -> str | None:
        return self._facts.sub_account_id

    @property
    def user_id(self) -> str | None:
        return self._facts.user_id

    @property
    def given(self) -> Mapping[str, Any]:
        return self._facts.given

    @property
    def restored(self) -> Any:
        return self._run.restored

    @property
    def cancelled(self) -> bool:
        return self._run.cancelled

    def progress(self, done: float | None, message: str | None = None, data: object = None) -> Receipt:
        """Tell how far the run is, for `JobStatus.progress` and the queue's events. The latest wins.

        Args:
            done: 0 to 1; None when it can't be told.
            message: what it is doing, at most 1 KiB.
            data: what msgspec encodes to JSON, at most 4 KiB.
        Raises:
            InvalidOption, PayloadTooLarge, PayloadNotSerializable: nothing was noted.
        Cost: none of its own: progress travels with the worker's round trips, a few times a second.
        """
        return self._run.note_progress(done, message, data)

    def checkpoint(self, state: object) -> Receipt:
        """Keep how far the run got: a later run, after a failure or a crash, finds it in `restored`.

        Await the receipt to know that Redis has it: what was checkpointed so is never lost. The latest wins.

        Args:
            state: what msgspec encodes to JSON, at most 1 MiB.
        Raises:
            PayloadTooLarge, PayloadNotSerializable: nothing was noted.
        Cost: when awaited, the worker's next round trip, which all its waiting runs share.
        """
        return self._run.note_state(state)

    def log(self, line: str) -> Receipt:
        """Keep a line for `Queue.get_logs`: at most 4 KiB, longer ones are cut, and the last 1,000 lines of a job.

        Cost: none of its own, as `progress`.
        """
        return self._run.note_line(line)

    def raise_if_cancelled(self) -> None:
        """For plain functions: stop here when cancelled, out of time or out of lease.

        Raises:
            JobCancelled: let it pass; what becomes of the job is decided already.
        """
        if self._run.cancelled:
            raise JobCancelled(self._facts.job_id, "the run was told to stop")


CURRENT: Final[ContextVar[JobContext]] = ContextVar("redqueue_job")

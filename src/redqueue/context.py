"""The running job, as its processor sees it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, Protocol

from redqueue.errors import JobCancelled
from redqueue.units import from_epoch_ms


class _Injected:
    def __repr__(self) -> str:
        return "INJECTED"


INJECTED: Any = _Injected()
"""The default of a parameter that the worker fills (``context: JobContext = INJECTED``).

Callers leave it out; a job can't set it.
"""


class Run(Protocol):
    """What an executor provides to the context of the run that it carries."""

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop: its lease is lost, it was cancelled, or the worker's grace is over."""
        ...


class JobContext:
    """The running job: the same class in async and in plain processors.

    Attributes:
        job_id, queue, job_type, label: as the job was added.
        attempt: 1 + the failures counted against `retries`.
        retries: how many failures are forgiven.
        idempotency_key: the same for every run of the job; for systems that refuse to do a thing twice.
        sub_account_id, user_id: who asked, when it was said or the data says so.
        given: the mapping passed as ``context=`` to execute_*; empty for other jobs.
    """

    __slots__ = (
        "_created_ms",
        "_run",
        "attempt",
        "given",
        "job_id",
        "job_type",
        "label",
        "queue",
        "retries",
        "sub_account_id",
        "user_id",
    )

    def __init__(
        self,
        run: Run,
        queue: str,
        job_id: str,
        job_type: str,
        label: str,
        attempt: int,
        retries: int,
        created_ms: int,
        sub_account_id: str | None = None,
        user_id: str | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> None:
        self._run = run
        self._created_ms = created_ms
        self.queue = queue
        self.job_id = job_id
        self.job_type = job_type
        self.label = label
        self.attempt = attempt
        self.retries = retries
        self.sub_account_id = sub_account_id
        self.user_id = user_id
        self.given: Mapping[str, Any] = {} if given is None else given

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
    def idempotency_key(self) -> str:
        """``<queue>:<job id>``, the same for every run of the job."""
        return f"{self.queue}:{self.job_id}"

    @property
    def created_at(self) -> datetime:
        """When the job was added, by its producer's clock."""
        return from_epoch_ms(self._created_ms)

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop: another run has the job, it was cancelled, or the worker is leaving."""
        return self._run.cancelled

    def raise_if_cancelled(self) -> None:
        """For plain functions: stop here when cancelled or out of lease.

        Raises:
            JobCancelled: let it pass; what becomes of the job is decided already.
        """
        if self._run.cancelled:
            raise JobCancelled(self.job_id, "the run was told to stop")


CURRENT: Final[ContextVar[JobContext]] = ContextVar("redqueue_job")

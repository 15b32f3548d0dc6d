"""The context of a job that runs nowhere, to call a processor in a unit test."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextvars import Token
from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from redqueue.context import CURRENT, JobContext, JobFacts, Receipt
from redqueue.core.report import line_text, progress_text, state_text
from redqueue.errors import Seconds
from redqueue.units import to_epoch_ms


class _Done:
    """A receipt of what is nowhere on its way."""

    def wait(self, timeout: Seconds | None = None) -> None:
        """Nothing to wait for."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield  # what makes it a generator


class _Nowhere:
    """The run behind the context: nobody carries it. What it is told is checked as a worker does, and kept."""

    def __init__(self, restored: object, cancelled: bool) -> None:
        self.restored = restored
        self.cancelled = cancelled
        self.progress: list[tuple[float | None, str | None]] = []
        self.checkpoints: list[Any] = []
        self.lines: list[str] = []

    def note_progress(self, done: float | None, message: str | None, data: object) -> Receipt:
        """Keep it."""
        progress_text(done, message, data)
        self.progress.append((done, message))
        return _Done()

    def note_line(self, line: str) -> Receipt:
        """Keep it as a reader of the log would see it."""
        self.lines.append(line_text(line).decode())
        return _Done()

    def note_state(self, state: object) -> Receipt:
        """Keep it as a later run would see it."""
        self.checkpoints.append(msgspec.json.decode(state_text(state)))
        return _Done()


class SettableContext(JobContext):
    """A `JobContext` whose `cancelled` can be set. Within ``with``, it is also what `JobContext.current` finds.

    Attributes:
        told: what the processor passed to `progress`, as (done, message).
        checkpoints: the states that it passed to `checkpoint`.
        lines: what it logged.
    """

    __slots__ = ("_nowhere", "_token")

    def __init__(self, nowhere: _Nowhere, facts: JobFacts) -> None:
        super().__init__(nowhere, facts)
        self._nowhere = nowhere
        self._token: Token[JobContext] | None = None

    @property
    def told(self) -> list[tuple[float | None, str | None]]:
        return self._nowhere.progress

    @property
    def checkpoints(self) -> list[Any]:
        return self._nowhere.checkpoints

    @property
    def lines(self) -> list[str]:
        return self._nowhere.lines

    @property
    def cancelled(self) -> bool:
        """Whether the run should stop; set it to see what the processor does then."""
        return self._nowhere.cancelled

    @cancelled.setter
    def cancelled(self, cancelled: bool) -> None:
        self._nowhere.cancelled = cancelled

    def __enter__(self) -> Self:
        self._token = CURRENT.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._token is not None:
            CURRENT.reset(self._token)
            self._token = None


def job_context(
    *,
    queue: str = "test",
    job_id: str = "job-1",
    job_type: str = "test",
    label: str = "",
    attempt: int = 1,
    retries: int = 3,
    created_at: datetime | None = None,
    sub_account_id: str | None = None,
    user_id: str | None = None,
    given: Mapping[str, Any] | None = None,
    fence: int = 1,
    deadline: datetime | None = None,
    restored: object = None,
    cancelled: bool = False,
) -> SettableContext:
    """A context to call a processor with, as in ``send_sms(data, job_context(attempt=2))``.

    Args:
        created_at: an aware datetime; None is now.
        given: the mapping passed as ``context=`` to execute_*.
        deadline: an aware datetime.
        restored: what an earlier run passed to `checkpoint`.
    Raises:
        InvalidOption: a time is naive, or out of bounds.
    """
    facts = JobFacts(
        queue,
        job_id,
        job_type,
        label,
        attempt,
        retries,
        fence,
        to_epoch_ms("created_at", datetime.now(UTC) if created_at is None else created_at),
        None if deadline is None else to_epoch_ms("deadline", deadline),
        sub_account_id,
        user_id,
        {} if given is None else given,
    )
    return SettableContext(_Nowhere(restored, cancelled), facts)

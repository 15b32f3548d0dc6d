"""The context of a job that runs nowhere, to call a processor in a unit test."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import Token
from datetime import UTC, datetime
from typing import Any, Self

from redqueue.context import CURRENT, JobContext
from redqueue.units import to_epoch_ms


class _Nowhere:
    """The run behind the context: nobody carries it."""

    def __init__(self, cancelled: bool) -> None:
        self.cancelled = cancelled


class SettableContext(JobContext):
    """A `JobContext` whose `cancelled` can be set. Within ``with``, it is also what `JobContext.current` finds."""

    __slots__ = ("_nowhere", "_token")

    def __init__(self, nowhere: _Nowhere, *facts: Any) -> None:
        super().__init__(nowhere, *facts)
        self._nowhere = nowhere
        self._token: Token[JobContext] | None = None

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
    cancelled: bool = False,
) -> SettableContext:
    """A context to call a processor with, as in ``send_sms(data, job_context(attempt=2))``.

    Args:
        created_at: an aware datetime; None is now.
        given: the mapping passed as ``context=`` to execute_*.
    Raises:
        InvalidOption: created_at is naive, or out of bounds.
    """
    return SettableContext(
        _Nowhere(cancelled),
        queue,
        job_id,
        job_type,
        label,
        attempt,
        retries,
        to_epoch_ms("created_at", datetime.now(UTC) if created_at is None else created_at),
        sub_account_id,
        user_id,
        given,
    )
